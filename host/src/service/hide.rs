//! Keeps secrets out of what the kernel shows of this process: its environment, as in `/proc/<pid>/environ`, and core dumps.
//! Leaves reading secrets to `cloud`. Tested on a running host in `tests/`.

use std::ffi::CString;

/// Takes a variable out of the environment, and its value out of the memory where the kernel shows it: removing a variable
/// only unlinks it there.
///
/// # Safety
/// As for `std::env::remove_var`: no other thread may use the environment.
pub(super) unsafe fn forget_variable(name: &str) {
    let Ok(c_name) = CString::new(name) else { return };
    // SAFETY: the caller sees to it that the environment does not change; `getenv` gives its text in place or nothing.
    let value = unsafe { libc::getenv(c_name.as_ptr()) };
    if !value.is_null() {
        // SAFETY: what `getenv` gives ends with a zero.
        for at in 0..unsafe { libc::strlen(value) } {
            // SAFETY: within the text. Volatile, since nobody reads it again.
            unsafe { value.add(at).write_volatile(0) };
        }
    }
    // SAFETY: the caller's.
    unsafe { std::env::remove_var(name) };
}

/// Has the kernel write no core dump of this process.
pub(super) fn refuse_core_dumps() -> std::io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives through the call, which only reads it.
    match unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

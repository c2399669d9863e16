//! Keeps secrets out of what the kernel shows of this process: its environment, as in `/proc/<pid>/environ`, its memory, core
//! dumps, and the files it makes. Leaves reading secrets to `cloud`. Tested on a running host in `tests/tests/it/canary.rs`.

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

/// Has others than this user read no file that is made from here on, and the kernel show nobody but root this process's memory
/// and environment, nor write them into a core dump. The limit alone would not do: a program that takes core dumps
/// (`core(5)`, `core_pattern` with a pipe) gets them whatever it is. A program that is started begins as others do.
pub(super) fn close_to_others() -> std::io::Result<()> {
    // SAFETY: changes a number of this process, while it has one thread.
    unsafe { libc::umask(OTHERS) };
    let done = |code: libc::c_int| if code == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives through the call, which only reads it.
    done(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })?;
    // SAFETY: takes numbers.
    done(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) })
}

/// The bits of a file's mode that are taken from others than its owner.
const OTHERS: libc::mode_t = 0o077;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_closed_to_others() {
        close_to_others().expect("closed");
        let mut core = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        // SAFETY: the limit lives through the call, which writes it; the others take and give numbers.
        let (dumpable, umask) = unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_CORE, &raw mut core), 0);
            (libc::prctl(libc::PR_GET_DUMPABLE), libc::umask(0o022))
        };
        assert_eq!((core.rlim_cur, core.rlim_max, dumpable, umask), (0, 0, 0, 0o077));
        // SAFETY: takes numbers. Whoever looks for what is wrong with a test may look.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }, 0);
    }
}

//! The walls around the runner: what it gives up before it takes the first guest. Each wall that the kernel cannot build is
//! told, with what it takes; the others stand without it. Leaves when that is to `process`. Tested on a running host in `tests/`.
//!
//! Signals, files, network and other programs are out of reach by `seccomp`, which is by system call, and by `landlock`, which
//! is by object: either would do for what both cover.

use super::message::Confined;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr as _,
    RulesetStatus, Scope,
};
use rustix::event::epoll;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;
use std::io;

/// Descriptors it may hold: each memory image of each plugin takes one, of which Rust policies have one and interpreters
/// dozens.
const DESCRIPTORS_MAX: u64 = 8192;
/// `PAGEMAP_SCAN` of Linux 6.7, by which wasmtime finds the pages that a guest has written; not in `libc`.
const PAGEMAP_SCAN: u64 = 0xc060_6610;
/// `PIDFD_SELF` of Linux 6.14, the calling process, as a descriptor; not in `libc`.
const PIDFD_SELF: u64 = (-10_000_i32).cast_unsigned() as u64;
/// `PR_SET_VMA`: names of anonymous memory, which newer C libraries give; not in `libc` for every target.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Gives up what came from the process that started this one: descriptors, living on without it, and being ended by what
/// ends a whole group of processes. To be called before anything is opened; the socket is standard input.
pub(super) fn forsake_inheritance() -> io::Result<()> {
    // SAFETY: nothing in this process has opened or uses any of them. Kernels before 5.9 lack the call: there, what this
    // program opens is closed by `exec` itself.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    // Otherwise it would be called `exe`.
    rustix::thread::set_name(c"opsward-runner")?;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // The keeper drains its runs at such a signal, and ends this process after that.
        // SAFETY: no handler is installed.
        if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    limit(Resource::Core, 0)
}

/// Closes it to other processes of its user. What it reads of itself, it has read by then: that is closed as well.
pub(super) fn close_to_others() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Puts something that takes no text in the place of standard output and error: where they were merely closed, the next
/// descriptor would get what is written to them.
pub(super) fn close_output() -> io::Result<()> {
    let dumb = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    rustix::stdio::dup2_stdout(&dumb)?;
    Ok(rustix::stdio::dup2_stderr(&dumb)?)
}

/// Bounds what it may open and write; `memory_bytes` is the largest memory of a guest, whose image is the one file there is.
pub(super) fn limit_files(memory_bytes: usize) -> io::Result<()> {
    limit(Resource::Nofile, DESCRIPTORS_MAX)?;
    limit(Resource::Fsize, u64::try_from(memory_bytes).unwrap_or(u64::MAX))
}

/// Takes away every file, TCP, and what lies outside in abstract sockets and signals, from this thread and those it starts.
pub(super) fn landlock() -> Confined {
    let newest = ABI::V10;
    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(newest))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(newest)))
        .and_then(|rules| rules.scope(Scope::from_all(newest)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    let lacks = |why: String| Confined { by: "landlock".to_owned(), lacks: Some(why) };
    match restricted {
        Err(problem) => lacks(problem.to_string()),
        Ok(RestrictionStatus { landlock: LandlockStatus::NotImplemented, .. }) => {
            lacks("the kernel does not have it: Linux 5.13 or later does".to_owned())
        }
        Ok(RestrictionStatus { landlock: LandlockStatus::NotEnabled, .. }) => {
            lacks("the kernel was started without it: add `landlock` to its parameter `lsm=`".to_owned())
        }
        Ok(RestrictionStatus { ruleset: RulesetStatus::NotEnforced, .. }) => {
            lacks("the kernel enforces none of it".to_owned())
        }
        Ok(RestrictionStatus { landlock: LandlockStatus::Available { effective_abi, .. }, .. }) => {
            Confined { by: format!("landlock v{}", effective_abi as i32), lacks: None }
        }
    }
}

/// Takes away all system calls but those that running guests and talking over open descriptors take, from every thread.
/// Those that nothing innocent comes near end the process; any other fails.
pub(super) fn seccomp() -> Confined {
    let confined = filters().and_then(|filters| {
        filters
            .iter()
            .try_for_each(|filter| seccompiler::apply_filter_all_threads(filter).map_err(|e| e.to_string()))
    });
    let lacks = confined.err().map(|why| format!("{why}: it takes a kernel with CONFIG_SECCOMP_FILTER"));
    Confined { by: "seccomp".to_owned(), lacks }
}

/// In the order in which they are installed: the second would refuse the first.
fn filters() -> Result<[BpfProgram; 2], String> {
    let deadly = DEADLY.iter().map(|call| (*call, vec![])).collect();
    let mut allowed: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, vec![])).collect();
    let own_pid = u64::from(std::process::id());
    for (call, argument, values) in [
        (libc::SYS_ioctl, 1, &[PAGEMAP_SCAN][..]),
        (libc::SYS_prctl, 0, &[libc::PR_SET_NAME.cast_unsigned().into(), PR_SET_VMA]),
        (libc::SYS_fcntl, 1, &[libc::F_ADD_SEALS, libc::F_GET_SEALS].map(|c| c.cast_unsigned().into())),
        // To itself, by `abort`.
        (libc::SYS_tgkill, 0, &[own_pid]),
        (libc::SYS_process_madvise, 0, &[PIDFD_SELF]),
    ] {
        let rules = values.iter().map(|value| equals(argument, *value)).collect::<Result<_, _>>();
        allowed.insert(call, rules.map_err(|e| e.to_string())?);
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    let denied = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let program = |rules, otherwise, action| {
        let filter = SeccompFilter::new(rules, otherwise, action, arch)?;
        BpfProgram::try_from(filter)
    };
    let deadly = program(deadly, SeccompAction::Allow, SeccompAction::KillProcess);
    let allowed = program(allowed, denied, SeccompAction::Allow);
    Ok([deadly.map_err(|e| e.to_string())?, allowed.map_err(|e| e.to_string())?])
}

fn equals(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
    SeccompRule::new(vec![condition])
}

fn limit(what: Resource, most: u64) -> io::Result<()> {
    let most = rustix::process::getrlimit(what).maximum.map_or(most, |now| now.min(most));
    Ok(rustix::process::setrlimit(what, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// What running guests takes: memory, other threads, the socket, the time; and what the C library does by itself.
const ALLOWED: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_read,
    libc::SYS_recvfrom,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_write,
];

/// What takes hold of another process, program, file or machine.
const DEADLY: &[i64] = &[
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_bpf,
    libc::SYS_connect,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_listen,
    libc::SYS_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_setns,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_have_a_form_the_kernel_takes() {
        for filter in filters().expect("a known processor") {
            assert!((10..4096).contains(&filter.len()), "{} instructions", filter.len());
        }
        assert!(ALLOWED.iter().all(|call| !DEADLY.contains(call)));
    }
}

//! The process that compiles one plugin: takes everything it can from itself, reads the plugin, compiles it, answers. It
//! has no environment, no descriptor but its three pipes, no file to open and none to write, and as much memory and time as it
//! was told. Leaves killing it to its parent. Tested by the bombs in `tests/`.

use super::{COMPILED, OUT_OF_MEMORY, REASON_BYTES_MAX, REFUSED};
use crate::plugin::engine::settings;
use crate::runner::confine;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use std::io::{self, Read, Write};
use std::process::ExitCode;

/// Most memory of the first thread's stack in bytes, which the limit on memory does not count: what Linux gives by itself.
const STACK_BYTES: u64 = 8 << 20;
/// Descriptors it may have: input, answer, last words.
const DESCRIPTORS: u32 = 3;
/// Seconds between the signal that names the limit on computing time, and the one that cannot be caught.
const CPU_GRACE_SECONDS: u64 = 1;
/// The first to go where the machine is out of memory: what it does can be done again.
const OUT_OF_MEMORY_SCORE: &str = "1000";

/// What a compiling process is told by its parent.
#[derive(clap::Args, Debug)]
pub struct CompileArgs {
    /// Memory in bytes
    #[arg(long)]
    memory_bytes: u64,
    /// Computing time in seconds
    #[arg(long)]
    cpu_seconds: u64,
    /// Bytes reserved for each memory of a guest, where there is no pool of them
    #[arg(long)]
    reserved_bytes: Option<u64>,
}

/// Compiles what is on standard input. Its parent reads the answer and not the exit code.
pub fn run(args: &CompileArgs) -> ExitCode {
    match confine(args).and_then(|()| answer(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("cannot compile: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Gives up what compiling does not need, before a byte of the plugin is read.
fn confine(args: &CompileArgs) -> io::Result<()> {
    // SAFETY: nothing in this process has opened any of them: they were left open by whoever started the host. Kernels before 5.9
    // lack the call: there, what this program opens is closed by `exec` itself.
    unsafe { libc::syscall(libc::SYS_close_range, DESCRIPTORS, u32::MAX, 0) };
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // Of no use where the container hides it: then the kernel chooses by itself.
    if let Err(problem) = std::fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE) {
        eprintln!("cannot offer itself to the kernel for want of memory: {problem}");
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::thread::set_no_new_privs(true)?;
    // Neither refuses a call that compiling takes; where the kernel lacks one, the limits below hold all the same. Before
    // them, since the rules of one are a descriptor for a moment.
    for wall in [confine::landlock(), confine::seccomp_deadly()] {
        if let Some(lacks) = wall.lacks {
            eprintln!("compiling without {}: {lacks}", wall.by);
        }
    }
    let seconds = args.cpu_seconds;
    let most = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    let seconds = Rlimit { current: Some(seconds), maximum: Some(seconds.saturating_add(CPU_GRACE_SECONDS)) };
    for (resource, limit) in [
        (Resource::Core, most(0)),
        (Resource::Fsize, most(0)),
        (Resource::Nofile, most(DESCRIPTORS.into())),
        (Resource::Stack, most(STACK_BYTES)),
        // What is mapped to be written and belongs to this process alone: what compiling takes. Code and reserved addresses
        // do not count.
        (Resource::Data, most(args.memory_bytes)),
        (Resource::Cpu, seconds),
    ] {
        rustix::process::setrlimit(resource, limit)?;
    }
    Ok(())
}

fn answer(args: &CompileArgs) -> io::Result<()> {
    let mut plugin = Vec::new();
    io::stdin().lock().read_to_end(&mut plugin)?;
    let compiled = wasmtime::Engine::new(&settings::of_code(args.reserved_bytes))
        .and_then(|wasm| wasm.precompile_component(&plugin));
    match compiled {
        Ok(code) => send(COMPILED, &code),
        Err(problem) if is_out_of_memory(&problem) => send(OUT_OF_MEMORY, b""),
        Err(problem) => {
            let reason = format!("{problem:#}");
            send(REFUSED, &reason.as_bytes()[..reason.floor_char_boundary(REASON_BYTES_MAX)])
        }
    }
}

fn is_out_of_memory(problem: &wasmtime::Error) -> bool {
    let of_system = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::OutOfMemory)
    };
    problem.is::<wasmtime::OutOfMemory>() || problem.chain().any(of_system)
}

fn send(kind: u8, rest: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let length = rest.len() as u64;
    stdout.write_all(&[kind])?;
    stdout.write_all(&length.to_le_bytes())?;
    stdout.write_all(rest)?;
    stdout.flush()
}

//! Compiles a plugin in a process of its own, which is this program again: a file of 147 KiB can cost the compiler ten
//! seconds and more than a gigabyte, and a fault of the compiler must not be one of the host. The process gets the plugin
//! on its standard input, answers on its standard output, and is killed after that.
//!
//! Leaves what the process forbids itself to `child`, and judging what was compiled to `compile`. Tested below, and with
//! real plugins and bombs in `tests/`.

mod child;

pub use child::{CompileArgs, run};

use super::judge::RefusedPlugin;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// The hidden command of this program that compiles a plugin.
const COMMAND: &str = "compile-plugin";
/// This program as it runs, whatever has become of its file since.
pub(crate) const THIS_PROGRAM: &str = "/proc/self/exe";
/// What an answer begins with: its kind, and how many bytes follow the eight that say so.
const COMPILED: u8 = b'C';
const REFUSED: u8 = b'R';
const OUT_OF_MEMORY: u8 = b'M';
/// Most of the reason of a refusal, in bytes: it is for people.
const REASON_BYTES_MAX: usize = 4 << 10;
/// Most that is kept of what a process says as it dies, in bytes: the text of a panic.
const LAST_WORDS_BYTES_MAX: u64 = 4 << 10;
/// Most of that in a refusal, in characters.
const LAST_WORDS_SHOWN_MAX: usize = 300;
/// What std says before it aborts for want of memory.
const ALLOCATION_FAILED: &str = "memory allocation of ";

/// Bounds of one compilation.
#[derive(Debug, Clone)]
pub struct CompileLimits {
    /// Memory of the process in bytes.
    pub memory_bytes: u64,
    /// Computing time in seconds, all its threads together.
    pub cpu_seconds: u64,
    /// Time from its start to its answer: for a process that waits, or a machine that has no time for it.
    pub wall: Duration,
    /// Size of the compiled code in bytes.
    pub code_bytes: u64,
}

impl Default for CompileLimits {
    /// Enough for an interpreter with its library, the largest plugins there are; policies in Rust take a twentieth of it.
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, cpu_seconds: 60, wall: Duration::from_secs(300), code_bytes: 256 << 20 }
    }
}

/// Has plugins compiled, each in a process of its own.
#[derive(Debug, Clone)]
pub struct Compiler {
    program: PathBuf,
    limits: CompileLimits,
}

impl Compiler {
    /// The compiler in this program.
    pub fn in_this_program() -> Self {
        Self::at(THIS_PROGRAM.into())
    }

    /// The compiler in another program that has the commands of this one.
    pub fn at(program: PathBuf) -> Self {
        Self { program, limits: CompileLimits::default() }
    }

    /// The same with other bounds.
    pub fn bounded(self, limits: CompileLimits) -> Self {
        Self { limits, ..self }
    }

    /// The compiled code of a plugin. `reserved` is what an engine without a pool reserves for a memory in bytes: it is part of
    /// the code. Blocks until the process has ended.
    pub(super) fn compile(&self, bytes: &[u8], reserved: Option<u64>) -> Result<Vec<u8>, RefusedPlugin> {
        let cannot = |e: io::Error| RefusedPlugin::Host {
            problem: format!("cannot start {} {COMMAND}: {e}", self.program.display()),
        };
        let mut child = self.command(reserved).spawn().map_err(cannot)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(cannot(io::ErrorKind::BrokenPipe.into()));
        };
        thread::scope(|scope| {
            let (answered, answer) = mpsc::channel();
            let limits = &self.limits;
            // They end with the process, which is killed below: their pipes have no other end.
            scope.spawn(move || hand_over(stdin, bytes));
            scope.spawn(move || answered.send(read_answer(stdout, limits)));
            let last_words = scope.spawn(move || read_last_words(stderr));
            let answer = answer.recv_timeout(limits.wall);
            // It has answered, is dying, or is late. What it dies of is settled before its pipes close.
            let killed = child.kill();
            let status = child.wait().and_then(|status| killed.map(|()| status)).map_err(cannot)?;
            let last_words = last_words.join().unwrap_or_default();
            match answer {
                Ok(Ok(Answer::Compiled(code))) => Ok(code),
                Ok(Ok(Answer::Refused(problem))) => Err(RefusedPlugin::Malformed { problem }),
                Ok(Ok(Answer::OutOfMemory)) => Err(too_much_memory(limits)),
                Ok(Ok(Answer::TooLong)) => {
                    Err(RefusedPlugin::CodeTooLarge { mebibytes: limits.code_bytes >> 20 })
                }
                Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => {
                    Err(name_death(status, &last_words, limits))
                }
                Err(RecvTimeoutError::Timeout) => {
                    Err(RefusedPlugin::CompilerLate { seconds: limits.wall.as_secs() })
                }
            }
        })
    }

    fn command(&self, reserved: Option<u64>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg0("opsward")
            .arg(COMMAND)
            .arg(format!("--memory-bytes={}", self.limits.memory_bytes))
            .arg(format!("--cpu-seconds={}", self.limits.cpu_seconds))
            .args(reserved.map(|bytes| format!("--reserved-bytes={bytes}")))
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// What a compiling process answers.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Compiled(Vec<u8>),
    Refused(String),
    OutOfMemory,
    /// More than it may be.
    TooLong,
}

fn hand_over(mut stdin: ChildStdin, bytes: &[u8]) {
    if let Err(problem) = stdin.write_all(bytes) {
        // It has died, and its end tells more.
        tracing::debug!(%problem, "a plugin was not handed over to its compiler");
    }
}

fn read_answer(mut stdout: impl Read, limits: &CompileLimits) -> io::Result<Answer> {
    let mut head = [0; 9];
    stdout.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = u64::from_le_bytes(length);
    if kind == COMPILED && length > limits.code_bytes {
        return Ok(Answer::TooLong);
    }
    if kind != COMPILED && length > REASON_BYTES_MAX as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut rest = Vec::new();
    stdout.take(length).read_to_end(&mut rest)?;
    match kind {
        _ if rest.len() as u64 != length => Err(io::ErrorKind::UnexpectedEof.into()),
        COMPILED => Ok(Answer::Compiled(rest)),
        REFUSED => Ok(Answer::Refused(String::from_utf8_lossy(&rest).into_owned())),
        OUT_OF_MEMORY => Ok(Answer::OutOfMemory),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The beginning of what it says on its standard error.
fn read_last_words(stderr: ChildStderr) -> String {
    let mut words = Vec::new();
    match stderr.take(LAST_WORDS_BYTES_MAX).read_to_end(&mut words) {
        Ok(_) => String::from_utf8_lossy(&words).into_owned(),
        Err(problem) => format!("its last words are lost: {problem}"),
    }
}

/// What became of a process that died without an answer.
fn name_death(status: ExitStatus, last_words: &str, limits: &CompileLimits) -> RefusedPlugin {
    match status.signal() {
        Some(libc::SIGXCPU) => RefusedPlugin::CompilingTooLong { seconds: limits.cpu_seconds },
        Some(libc::SIGABRT) if last_words.contains(ALLOCATION_FAILED) => too_much_memory(limits),
        _ => {
            let words: String = last_words.split_whitespace().collect::<Vec<_>>().join(" ");
            let shown: String = words.chars().take(LAST_WORDS_SHOWN_MAX).collect();
            let how = if shown.is_empty() { status.to_string() } else { format!("{status}: {shown}") };
            RefusedPlugin::CompilerCrashed { how }
        }
    }
}

fn too_much_memory(limits: &CompileLimits) -> RefusedPlugin {
    RefusedPlugin::CompilingTooLarge { mebibytes: limits.memory_bytes >> 20 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> CompileLimits {
        CompileLimits { code_bytes: 8, ..CompileLimits::default() }
    }

    fn framed(kind: u8, length: u64, rest: &[u8]) -> Vec<u8> {
        [&[kind], &length.to_le_bytes()[..], rest].concat()
    }

    #[test]
    fn an_answer_is_taken_whole_and_within_its_bounds() {
        let read = |bytes: Vec<u8>| read_answer(&bytes[..], &limits());
        assert_eq!(read(framed(COMPILED, 4, b"code")).expect("whole"), Answer::Compiled(b"code".to_vec()));
        assert_eq!(read(framed(REFUSED, 2, b"no")).expect("whole"), Answer::Refused("no".to_owned()));
        assert_eq!(read(framed(OUT_OF_MEMORY, 0, b"")).expect("whole"), Answer::OutOfMemory);
        assert_eq!(read(framed(COMPILED, 9, b"too long.")).expect("a head"), Answer::TooLong);
        for (what, bytes) in [
            ("nothing", Vec::new()),
            ("half a head", vec![COMPILED, 4, 0]),
            ("half an answer", framed(COMPILED, 8, b"half")),
            ("a reason for nobody", framed(REFUSED, u64::MAX, b"")),
            ("another kind", framed(b'X', 0, b"")),
        ] {
            assert!(read(bytes).is_err(), "{what}");
        }
    }

    #[test]
    fn a_death_is_named_by_the_limit_it_ran_into() {
        let died = |signal: i32, words: &str| {
            name_death(ExitStatus::from_raw(signal), words, &CompileLimits::default()).to_string()
        };
        for (signal, words, told) in [
            (libc::SIGXCPU, "", "more than 60 s of computing"),
            (libc::SIGABRT, "memory allocation of 1 bytes failed", "more than 1024 MiB of memory"),
            (libc::SIGABRT, "thread 'main' has overflowed its stack", "overflowed its stack"),
            (libc::SIGSEGV, "", "SIGSEGV"),
            // An exit code of 101.
            (
                101 << 8,
                "thread 'main' panicked at x.rs:1:\n  oh",
                "exit status: 101: thread 'main' panicked at x.rs:1: oh",
            ),
        ] {
            assert!(died(signal, words).contains(told), "{told}: {}", died(signal, words));
        }
    }

    #[test]
    fn a_program_that_cannot_be_started_is_the_hosts_fault() {
        let refused = Compiler::at("/nonexistent".into()).compile(b"", None).expect_err("refused");
        assert!(
            matches!(&refused, RefusedPlugin::Host { problem } if problem.contains("/nonexistent")),
            "{refused}"
        );
    }
}

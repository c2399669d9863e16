//! The runner as a child process: how it is started, ended and waited for. Each child has a thread that does all three: the
//! kernel tells a child of the death of the *thread* that started it, and threads of the runtime come and go. Leaves what is
//! said over the socket to `link`. Tested on a running host in `tests/`.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// A runner's process. Ended when dropped.
pub(super) struct Child {
    pub(super) pid: u32,
    /// Dropped to have it killed.
    _lives: mpsc::Sender<()>,
    ended: oneshot::Receiver<String>,
}

/// Starts `program` as a runner that has one end of a socket, and nothing else of this process.
pub(super) async fn start(program: &Path) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(program);
    command
        .arg0("opsward")
        .arg("runner")
        .env_clear()
        .current_dir("/")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        // Closed by the runner before it takes the first guest.
        .stderr(Stdio::inherit());
    let (started, has_started) = oneshot::channel();
    let (has_ended, ended) = oneshot::channel();
    let (lives, ends) = mpsc::channel::<()>();
    let look_after = move || {
        let spawned = command.spawn();
        // Holds the runner's end of the socket: while this process has it, its closing cannot be seen.
        drop(command);
        match spawned {
            Ok(mut child) => {
                started.send(Ok(child.id())).ok();
                // Nothing is ever sent: this waits until the sender is dropped.
                ends.recv().ok();
                let killed = child.kill();
                let end = child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
                let end = match killed {
                    Ok(()) => end,
                    Err(problem) => format!("{end}, and could not be killed: {problem}"),
                };
                // Where nobody waits any more, nobody is told.
                has_ended.send(end).ok();
            }
            Err(problem) => drop(started.send(Err(problem))),
        }
    };
    std::thread::Builder::new().name("runner-parent".to_owned()).spawn(look_after)?;
    let pid = has_started.await.map_err(io::Error::other)??;
    Ok((Child { pid, _lives: lives, ended }, ours))
}

impl Child {
    /// Kills it where it still runs, and says how it ended.
    pub(super) async fn end(self) -> String {
        let Self { _lives, ended, .. } = self;
        drop(_lives);
        ended.await.unwrap_or_else(|_| "its end was not seen".to_owned())
    }
}

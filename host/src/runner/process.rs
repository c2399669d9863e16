//! The runner's own side: a process that maps and runs guests, and holds nothing but one socket to the keeper. It is set up
//! by the keeper's first message, walls itself in, and only then takes code. Leaves the walls to `confine`, guests to
//! `plugin`, and every decision to the keeper. Tested on a running host in `tests/`.
//!
//! The main thread reads the socket; guests run on the runtime's threads, each of which writes what it has to say itself.

use super::confine;
use super::frame::{self, Frame, Frames};
use super::message::{About, BrokenMessage, GuestEnd, Loaded, ToKeeper, ToRunner, VERSION, read};
use crate::plugin::engine::{Engine, Limits, Mapped};
use crate::plugin::lane;
use crate::plugin::{Ended, GuestCalls};
use futures::FutureExt as _;
use opsward_core::id::Digest;
use opsward_core::run::{Fault, FaultKind, HostReply, HostRequest, Stop};
use opsward_core::time::Timestamp;
use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::FromRawFd as _;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

/// Exit code where it was not started by a keeper: the command line is wrong.
const EXIT_USAGE: i32 = 2;

/// Why the runner ended.
#[derive(Debug, thiserror::Error)]
enum RunnerError {
    /// The keeper has ended, or wants no more of it.
    #[error("the keeper has gone")]
    Closed,
    /// The socket failed.
    #[error("the socket to the keeper failed: {0}")]
    Socket(#[from] io::Error),
    /// Not what a keeper says.
    #[error("what was received is not from a keeper: {0}")]
    Broken(#[from] BrokenMessage),
    /// It cannot do its work here.
    #[error("{0}")]
    Unfit(String),
}

/// Runs guests for the process at the other end of standard input, until that closes it.
pub fn main() -> ! {
    if let Err(problem) = confine::forsake_inheritance() {
        eprintln!("opsward runner: cannot give up what it inherited: {problem}");
        std::process::exit(i32::from(crate::cli::EXIT_SOFTWARE));
    }
    // SAFETY: nothing else in this process uses standard input.
    let socket = Arc::new(unsafe { UnixStream::from_raw_fd(libc::STDIN_FILENO) });
    if socket.peer_addr().is_err() {
        eprintln!("opsward runner: this is started by `opsward serve`, and by nobody else");
        std::process::exit(EXIT_USAGE);
    }
    match serve(&socket) {
        Err(RunnerError::Closed) => std::process::exit(0),
        Err(problem) => {
            // Heard as long as it has an output of its own.
            eprintln!("opsward runner: {problem}");
            std::process::exit(i32::from(crate::cli::EXIT_SOFTWARE));
        }
    }
}

fn serve(socket: &Arc<UnixStream>) -> Result<std::convert::Infallible, RunnerError> {
    let mut inbox = Inbox { socket: socket.clone(), frames: Frames::default() };
    let outbox = Arc::new(Outbox { socket: socket.clone(), state: Mutex::default() });
    let Received::Message(ToRunner::Setup { version, limits }) = inbox.next()? else {
        return Err(BrokenMessage::Unreadable("the first message must set up".to_owned()).into());
    };
    let (engine, runtime) = match set_up(version, limits, &outbox) {
        Ok(ready) => ready,
        Err(problem) => {
            outbox.send(&ToKeeper::Unfit { problem: problem.clone() })?;
            return Err(RunnerError::Unfit(problem));
        }
    };
    let guests = Arc::new(Guests { engine, outbox, mapped: Mutex::default(), waiting: Mutex::default() });
    let mut loading: Option<(Digest, usize, Vec<u8>)> = None;
    loop {
        match inbox.next()? {
            Received::Chunk(chunk) => {
                let (digest, bytes, mut code) = loading.take().ok_or(BrokenMessage::StrayChunk)?;
                code.extend_from_slice(&chunk);
                match code.len().cmp(&bytes) {
                    std::cmp::Ordering::Less => loading = Some((digest, bytes, code)),
                    std::cmp::Ordering::Equal => {
                        let guests = guests.clone();
                        runtime.spawn(async move { guests.load(digest, &code) });
                    }
                    std::cmp::Ordering::Greater => return Err(BrokenMessage::StrayChunk.into()),
                }
            }
            Received::Message(ToRunner::Load { digest, bytes }) => {
                loading = Some((digest, bytes, Vec::new()));
            }
            Received::Message(message) => guests.take(&runtime, message)?,
        }
    }
}

/// Sets up the engine and walls the process in; what comes from here on comes from guests as well.
fn set_up(version: u32, limits: Limits, outbox: &Arc<Outbox>) -> Result<(Engine, Runtime), String> {
    if version != VERSION {
        return Err(format!("the keeper speaks version {version}, this runner {VERSION}"));
    }
    let text = |e: &dyn std::error::Error| e.to_string();
    let memory_bytes = limits.memory_bytes;
    let engine = Engine::for_running(limits).map_err(|e| text(&e))?;
    // Reads files.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    confine::close_to_others()
        .and_then(|()| confine::close_output())
        .and_then(|()| confine::limit_files(memory_bytes))
        .map_err(|e| text(&e))?;
    // Holds for threads that are started after it.
    let landlock = confine::landlock();
    engine.start_ticking().map_err(|e| text(&e))?;
    let runtime = Builder::new_multi_thread().worker_threads(processors).enable_time().build();
    let runtime = runtime.map_err(|e| text(&e))?;
    // No thread can be started after it.
    let seccomp = confine::seccomp();
    let configuration = engine.configuration();
    let ready = ToKeeper::Ready { version: VERSION, configuration, confined: vec![seccomp, landlock] };
    outbox.send(&ready).map_err(|e| text(&e))?;
    Ok((engine, runtime))
}

/// The guests that are here.
struct Guests {
    engine: Engine,
    outbox: Arc<Outbox>,
    mapped: Mutex<HashMap<Digest, Arc<Mapped>>>,
    /// Where the answers for each run go.
    waiting: Mutex<HashMap<u64, mpsc::Sender<Answer>>>,
}

/// What the broker says, and the run's time from then on.
type Answer = (Result<HostReply, Stop>, Timestamp);

impl Guests {
    fn take(self: &Arc<Self>, runtime: &Runtime, message: ToRunner<'static>) -> Result<(), RunnerError> {
        match message {
            ToRunner::Run { id, digest, now, about } => {
                let (answered, answers) = mpsc::channel(1);
                self.waiting().insert(id, answered);
                let asks = Asks { id, guests: self.clone(), answers, now };
                runtime.spawn(self.clone().run(id, digest, *about, asks));
            }
            ToRunner::Answer { id, answer, now } => {
                if let Some(run) = self.waiting().get(&id) {
                    // One that nobody waits for is dropped: the run has ended.
                    run.try_send((answer, now)).ok();
                }
            }
            ToRunner::Describe { id, digest } => drop(runtime.spawn(self.clone().describe(id, digest))),
            ToRunner::Forget { digest } => drop(self.mapped().remove(&digest)),
            ToRunner::Setup { .. } | ToRunner::Load { .. } => {
                let problem = "a message out of order".to_owned();
                return Err(BrokenMessage::Unreadable(problem).into());
            }
        }
        Ok(())
    }

    fn load(&self, digest: Digest, code: &[u8]) {
        // SAFETY: what the keeper sends, its own engine has compiled; that it is one of this configuration, it has checked.
        let mapped = unsafe { self.engine.map(code) };
        let loaded = mapped.map_err(|e| format!("{e:#}")).map(|(interfaces, component)| {
            let bound = self.engine.bind(&component);
            let mismatch = bound.as_ref().err().map(|e| format!("{e:#}"));
            if let Ok(plugin) = bound {
                self.mapped().insert(digest, Arc::new(plugin));
            }
            Loaded { interfaces, mismatch }
        });
        self.tell(&ToKeeper::Loaded { digest, loaded });
    }

    async fn describe(self: Arc<Self>, id: u64, digest: Digest) {
        let plugin = self.find(&digest);
        let told = match plugin {
            Some(plugin) => self.engine.describe(&plugin).await,
            None => Err("its code is not here".to_owned()),
        };
        self.tell(&ToKeeper::Described { id, told });
    }

    async fn run(self: Arc<Self>, id: u64, digest: Digest, about: About<'static>, asks: Asks) {
        let fault = |kind, message: &str| Ended::Faulted(Fault { kind, message: message.to_owned() });
        let ended = match self.find(&digest) {
            Some(plugin) => {
                let handled = self.engine.handle(&plugin, &about.event, about.context.into_owned(), asks);
                match AssertUnwindSafe(handled).catch_unwind().await {
                    Ok((ended, _)) => ended,
                    Err(_) => fault(FaultKind::Host, "the runner panicked while it had the run"),
                }
            }
            None => fault(FaultKind::Instantiate, "the plugin's code is not in the runner"),
        };
        self.waiting().remove(&id);
        let ended = match ended {
            Ended::Done(outcome) => GuestEnd::Done(outcome),
            Ended::Failed(failure) => GuestEnd::Failed(failure),
            Ended::Faulted(fault) => GuestEnd::Faulted(fault),
            Ended::Stopped(_) | Ended::Crashed { .. } => GuestEnd::Stopped,
        };
        self.tell(&ToKeeper::Ended { id, ended });
    }

    fn tell(&self, message: &ToKeeper) {
        // A keeper that has gone is seen by the main thread.
        self.outbox.send(message).ok();
    }

    fn find(&self, digest: &Digest) -> Option<Arc<Mapped>> {
        self.mapped().get(digest).cloned()
    }

    fn mapped(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Mapped>>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, mpsc::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The broker, as a guest here sees it: at the other end of the socket.
struct Asks {
    id: u64,
    guests: Arc<Guests>,
    answers: mpsc::Receiver<Answer>,
    now: Timestamp,
}

impl GuestCalls for Asks {
    async fn perform(&mut self, request: HostRequest) -> Result<HostReply, Stop> {
        let abandoned = |reason: String| Stop::Abandoned { reason };
        let ask = ToKeeper::Ask { id: self.id, request };
        self.guests.outbox.send(&ask).map_err(|e| abandoned(e.to_string()))?;
        let answer = self.answers.recv().await;
        let (reply, now) = answer.ok_or_else(|| abandoned("the keeper has gone".to_owned()))?;
        self.now = now;
        reply
    }

    fn now(&self) -> Timestamp {
        self.now
    }
}

/// What comes from the keeper.
struct Inbox {
    socket: Arc<UnixStream>,
    frames: Frames,
}

enum Received {
    Message(ToRunner<'static>),
    Chunk(Vec<u8>),
}

impl Inbox {
    fn next(&mut self) -> Result<Received, RunnerError> {
        loop {
            match self.frames.next().map_err(BrokenMessage::from)? {
                Some(Frame::Chunk(code)) => return Ok(Received::Chunk(code.to_vec())),
                Some(frame) => return Ok(Received::Message(read(&frame)?)),
                None => {}
            }
            if read_some(&self.socket, self.frames.room())? == 0 {
                return Err(RunnerError::Closed);
            }
        }
    }
}

/// Appends what is there to the room that `bytes` has.
fn read_some(mut socket: &UnixStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let filled = bytes.len();
    bytes.resize(filled + frame::READ_BYTES, 0);
    let read = socket.read(&mut bytes[filled..]);
    bytes.truncate(filled + read.as_ref().map_or(0, |read| *read));
    read
}

/// What goes to the keeper. Whoever has something to say writes it, along with what others have said meanwhile.
struct Outbox {
    socket: Arc<UnixStream>,
    state: Mutex<Unsent>,
}

/// At most one message of each run.
#[derive(Default)]
struct Unsent {
    bytes: Vec<u8>,
    /// Somebody writes, and takes what is added as well.
    writing: bool,
}

impl Outbox {
    fn send(self: &Arc<Self>, message: &ToKeeper) -> io::Result<()> {
        let frame = frame::message(message).map_err(io::Error::other)?;
        let mut state = self.lock();
        state.bytes.extend_from_slice(&frame);
        if std::mem::replace(&mut state.writing, true) {
            return Ok(());
        }
        drop(state);
        if lane::gives_way() {
            // What the others say meanwhile would wait for this thread. Where it fails, the keeper is gone, and reading ends the process.
            let outbox = self.clone();
            tokio::spawn(async move { outbox.write() });
            return Ok(());
        }
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let mut state = self.lock();
        while !state.bytes.is_empty() {
            let bytes = std::mem::take(&mut state.bytes);
            drop(state);
            // Where it fails, it fails for good: nobody need try again.
            (&*self.socket).write_all(&bytes)?;
            state = self.lock();
        }
        state.writing = false;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Unsent> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

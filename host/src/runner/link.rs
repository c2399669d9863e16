//! The keeper's end of the socket to one runner: code goes out, runs go out, host calls come in. The runner is believed
//! nothing that would reach beyond the runs it was given: what it may not say is its end. Leaves starting another one to
//! `runner`, and making host calls to whoever has the run. Tested in `link/tests.rs`, and on a running host in `tests/`.

use super::child::{self, Child};
use super::frame::{self, CHUNK_BYTES, Frames, READ_BYTES};
use super::message::{self, BrokenMessage, Confined, GuestEnd, Loaded, ToKeeper, ToRunner, VERSION};
use super::outbox::Outbox;
use crate::plugin::engine::{Description, Limits};
use opsward_core::id::Digest;
use opsward_core::run::{HostRequest, Stop};
use opsward_core::time::Timestamp;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{OnceCell, mpsc, oneshot, watch};

/// How long a runner may take to be ready, and to map one plugin, on a machine that is busy compiling.
const SETUP_MAX: Duration = Duration::from_secs(60);

/// Why there is no runner, or no plugin in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunnerError {
    /// The process cannot be started.
    #[error("the runner cannot be started: {0}")]
    Start(String),
    /// It was started and is of no use.
    #[error("the runner cannot do its work: {0}")]
    Unfit(String),
    /// It is there no more.
    #[error("the runner has died: {0}")]
    Died(String),
    /// It cannot map a plugin's code.
    #[error("the runner does not take the compiled code: {0}")]
    Refused(String),
}

/// What a runner says about one run.
pub(super) enum Said {
    Ask(HostRequest),
    Ended(GuestEnd),
    Described(Result<Description, String>),
}

/// A runner that has been set up.
pub(super) struct Link {
    pub(super) pid: u32,
    pub(super) confined: Vec<Confined>,
    outbox: Outbox,
    /// The runs it has; `None` once it is dead.
    runs: Mutex<Option<HashMap<u64, Place>>>,
    next_id: AtomicU64,
    plugins: Mutex<HashMap<Digest, Arc<OnceCell<Arc<Loaded>>>>>,
    /// Held while code is sent: one plugin at a time.
    loading: tokio::sync::Mutex<()>,
    loaded: Mutex<Option<Awaited>>,
    /// Why it is to be ended, once that is decided here.
    condemned: watch::Sender<Option<String>>,
    /// How it ended.
    ended: watch::Sender<Option<String>>,
}

/// A plugin that is being loaded.
struct Awaited {
    digest: Digest,
    loaded: oneshot::Sender<Result<Loaded, String>>,
}

/// A run's place in a runner.
enum Place {
    /// What is said of it goes there.
    Taken(mpsc::Sender<Said>),
    /// Whoever had it is gone; the guest may not know yet.
    Left,
}

impl Link {
    /// Starts a runner and sets it up. `configuration` is what compiled code is made for.
    pub(super) async fn start(
        program: &Path,
        limits: Limits,
        configuration: u64,
    ) -> Result<Arc<Self>, RunnerError> {
        let (child, socket) = child::start(program).await.map_err(|e| RunnerError::Start(e.to_string()))?;
        Self::greet(child, socket, limits, configuration).await
    }

    async fn greet(
        child: Child,
        socket: std::os::unix::net::UnixStream,
        limits: Limits,
        configuration: u64,
    ) -> Result<Arc<Self>, RunnerError> {
        let text = |e: &dyn std::error::Error| RunnerError::Start(e.to_string());
        socket.set_nonblocking(true).map_err(|e| text(&e))?;
        let socket = Arc::new(UnixStream::from_std(socket).map_err(|e| text(&e))?);
        let outbox = Outbox::new(socket.clone());
        let setup = frame::message(&ToRunner::Setup { version: VERSION, limits });
        outbox.send(&setup.map_err(|e| text(&e))?).map_err(|e| text(&e))?;
        let mut inbox = Inbox { socket, frames: Frames::default() };
        let ready = async {
            tokio::select! {
                said = inbox.next() => said,
                failed = outbox.go_on() => Err(failed.map_or_else(Broken::from, |never| match never {})),
            }
        };
        let ready = tokio::time::timeout(SETUP_MAX, ready).await;
        let unfit = match ready {
            Ok(Ok(ToKeeper::Ready { version: VERSION, configuration: its, confined }))
                if its == configuration =>
            {
                let link = Arc::new(Self::new(child.pid, confined, outbox));
                tokio::spawn(link.clone().listen(inbox, child));
                return Ok(link);
            }
            Ok(Ok(ToKeeper::Ready { version, configuration: its, .. })) => format!(
                "it speaks version {version} and runs code for {its:016x}, this host {VERSION} and {configuration:016x}"
            ),
            Ok(Ok(ToKeeper::Unfit { problem })) => problem,
            Ok(Ok(_)) => "it does not begin with what it is".to_owned(),
            Ok(Err(problem)) => problem.to_string(),
            Err(_) => format!("it was not ready within {} s", SETUP_MAX.as_secs()),
        };
        let end = child.end().await;
        Err(RunnerError::Unfit(format!("{unfit} ({end})")))
    }

    fn new(pid: u32, confined: Vec<Confined>, outbox: Outbox) -> Self {
        Self {
            pid,
            confined,
            outbox,
            runs: Mutex::new(Some(HashMap::new())),
            next_id: AtomicU64::new(1),
            plugins: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
            loaded: Mutex::default(),
            condemned: watch::Sender::new(None),
            ended: watch::Sender::new(None),
        }
    }

    /// Has the runner map a plugin's code, unless it has; `code` reads it.
    pub(super) async fn load(
        &self,
        digest: Digest,
        code: impl AsyncFnOnce() -> io::Result<Arc<[u8]>>,
    ) -> Result<Arc<Loaded>, RunnerError> {
        let cell = lock(&self.plugins).entry(digest).or_default().clone();
        let loaded = cell.get_or_try_init(async || {
            let _one_at_a_time = self.loading.lock().await;
            let code = code().await.map_err(|e| RunnerError::Refused(e.to_string()))?;
            let (loaded, has_loaded) = oneshot::channel();
            *lock(&self.loaded) = Some(Awaited { digest, loaded });
            self.send(&ToRunner::Load { digest, bytes: code.len() });
            let sent_and_loaded = async {
                for chunk in code.chunks(CHUNK_BYTES) {
                    if let Err(unread) = self.outbox.send_when_empty(&frame::chunk(chunk)).await {
                        self.condemn(unread.to_string());
                    }
                }
                has_loaded.await
            };
            // Also while it is sent: nobody empties the outbox of a runner that is dead.
            let answer = tokio::select! {
                answer = sent_and_loaded => answer.map_err(|_| self.died()),
                how = self.has_ended() => Err(RunnerError::Died(how)),
                () = tokio::time::sleep(SETUP_MAX) => {
                    self.condemn(format!("it did not map {} within {SETUP_MAX:?}", digest.short()));
                    Err(self.died())
                }
            };
            answer?.map(Arc::new).map_err(RunnerError::Refused)
        });
        loaded.await.cloned()
    }

    /// Tells the runner that no more runs of these plugins will come.
    pub(super) fn forget_all_but(&self, keep: impl Fn(&Digest) -> bool) {
        let mut plugins = lock(&self.plugins);
        let gone: Vec<Digest> = plugins.keys().filter(|digest| !keep(digest)).copied().collect();
        for digest in gone {
            plugins.remove(&digest);
            self.send(&ToRunner::Forget { digest });
        }
    }

    /// Whether it takes runs.
    pub(super) fn lives(&self) -> bool {
        lock(&self.runs).is_some()
    }

    /// A place for one run in this runner; `None` where it is dead.
    pub(super) fn place(self: &Arc<Self>) -> Option<InRunner> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        // Room for the one thing that a run may have said before it is answered.
        let (said, hears) = mpsc::channel(1);
        lock(&self.runs).as_mut()?.insert(id, Place::Taken(said));
        Some(InRunner { id, link: self.clone(), hears, is_over: false })
    }

    /// Ends the runner for what it did.
    pub(super) fn condemn(&self, why: String) {
        self.condemned.send_if_modified(|condemned| {
            let is_first = condemned.is_none();
            condemned.get_or_insert(why);
            is_first
        });
    }

    /// Waits until it is dead, and says how it died.
    pub(super) async fn has_ended(&self) -> String {
        let mut ended = self.ended.subscribe();
        // The sender lives as long as this.
        let how = ended.wait_for(Option::is_some).await.ok().and_then(|how| how.clone());
        how.unwrap_or_default()
    }

    fn died(&self) -> RunnerError {
        RunnerError::Died(self.condemned.borrow().clone().unwrap_or_else(|| "it ended by itself".to_owned()))
    }

    fn send(&self, message: &ToRunner<'_>) {
        match frame::message(message) {
            Ok(frame) => self.send_frame(&frame),
            Err(problem) => self.condemn(problem.to_string()),
        }
    }

    fn send_frame(&self, frame: &[u8]) {
        if let Err(unread) = self.outbox.send(frame) {
            self.condemn(unread.to_string());
        }
    }

    /// Hands out what the runner says until it closes the socket, breaks the rules or is condemned.
    async fn listen(self: Arc<Self>, mut inbox: Inbox, child: Child) {
        let mut condemned = self.condemned.subscribe();
        let why = loop {
            let said = tokio::select! {
                said = inbox.next() => said,
                why = condemned.wait_for(Option::is_some) => break why.ok().and_then(|why| why.clone()),
                failed = self.outbox.go_on() => Err(failed.map_or_else(Broken::from, |never| match never {})),
            };
            match said.and_then(|said| self.take(said)) {
                Ok(()) => {}
                Err(Broken::Closed) => break None,
                Err(broken) => break Some(broken.to_string()),
            }
        };
        let runs = lock(&self.runs).take().map_or(0, |runs| runs.len());
        lock(&self.loaded).take();
        let end = child.end().await;
        let how = why.map_or_else(|| end.clone(), |why| format!("ended by this host: {why}"));
        tracing::debug!(pid = self.pid, how, runs, "a runner has ended");
        self.ended.send_replace(Some(how));
    }

    fn take(&self, said: ToKeeper) -> Result<(), Broken> {
        let (id, said) = match said {
            ToKeeper::Ask { id, request } => (id, Said::Ask(request)),
            ToKeeper::Ended { id, ended } => (id, Said::Ended(ended)),
            ToKeeper::Described { id, told } => (id, Said::Described(told)),
            ToKeeper::Loaded { digest, loaded } => {
                let awaited = lock(&self.loaded).take().filter(|awaited| awaited.digest == digest);
                let awaited = awaited.ok_or(Broken::Unasked("that a plugin is loaded"))?;
                // Where nobody waits any more, nobody is told.
                awaited.loaded.send(loaded).ok();
                return Ok(());
            }
            ToKeeper::Ready { .. } | ToKeeper::Unfit { .. } => return Err(Broken::Unasked("what it is")),
        };
        let mut runs = lock(&self.runs);
        let Some(runs) = runs.as_mut() else { return Ok(()) };
        let is_last = matches!(said, Said::Ended(_) | Said::Described(_));
        match runs.get(&id) {
            Some(Place::Taken(hears)) => match hears.try_send(said) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(_)) => return Err(Broken::TwoAtOnce(id)),
            },
            Some(Place::Left) if !is_last => {
                let reason = "nobody has the run any more".to_owned();
                let answer = Err(Stop::Abandoned { reason });
                self.send(&ToRunner::Answer { id, answer, now: Timestamp::default() });
            }
            Some(Place::Left) => {}
            None => return Err(Broken::UnknownRun(id)),
        }
        if is_last {
            runs.remove(&id);
        }
        Ok(())
    }
}

/// A run's place in a runner, for whoever works on the run.
pub(super) struct InRunner {
    id: u64,
    link: Arc<Link>,
    hears: mpsc::Receiver<Said>,
    /// Whether the runner has said the last of it.
    is_over: bool,
}

impl InRunner {
    /// Tells the runner something about this run; `tell` is given its number.
    pub(super) fn tell<'a>(&self, tell: impl FnOnce(u64) -> ToRunner<'a>) -> Result<(), frame::TooLong> {
        self.link.send_frame(&frame::message(&tell(self.id))?);
        Ok(())
    }

    /// Waits until the runner is dead.
    pub(super) async fn dies(&self) {
        self.link.has_ended().await;
    }

    /// What the runner says next of this run; `None` once it is dead.
    pub(super) async fn hear(&mut self) -> Option<Said> {
        let said = self.hears.recv().await;
        self.is_over = matches!(said, None | Some(Said::Ended(_) | Said::Described(_)));
        said
    }
}

impl Drop for InRunner {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // The guest may wait for an answer: it gets one that ends it.
        if let Some(place) = lock(&self.link.runs).as_mut().and_then(|runs| runs.get_mut(&self.id)) {
            *place = Place::Left;
        }
        let reason = "nobody has the run any more".to_owned();
        let answer = Err(Stop::Abandoned { reason });
        self.link.send(&ToRunner::Answer { id: self.id, answer, now: Timestamp::default() });
    }
}

/// What a runner may not say or do.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("it closed the socket")]
    Closed,
    #[error("the socket failed: {0}")]
    Socket(#[from] io::Error),
    #[error("it sent {0}")]
    Message(#[from] BrokenMessage),
    #[error("it named run {0}, which it does not have")]
    UnknownRun(u64),
    #[error("it asked twice at once for run {0}")]
    TwoAtOnce(u64),
    #[error("it said {0} without being asked")]
    Unasked(&'static str),
}

/// What comes from the runner.
struct Inbox {
    socket: Arc<UnixStream>,
    frames: Frames,
}

impl Inbox {
    /// Cancelling it loses nothing.
    async fn next(&mut self) -> Result<ToKeeper, Broken> {
        loop {
            if let Some(frame) = self.frames.next().map_err(BrokenMessage::from)? {
                return Ok(message::read::<ToKeeper>(&frame)?);
            }
            self.socket.readable().await?;
            let room = self.frames.room();
            let filled = room.len();
            room.resize(filled + READ_BYTES, 0);
            let read = self.socket.try_read(&mut room[filled..]);
            room.truncate(filled + read.as_ref().map_or(0, |read| *read));
            match read {
                Ok(0) => return Err(Broken::Closed),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // How a dead process's socket ends, where it had not read all.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Err(Broken::Closed),
                read => drop(read?),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! Guests in a process of their own, which holds no key: the *runner*. This process, the *keeper*, starts it, gives it
//! compiled code and runs, makes the host calls that they ask for, and starts another one when it dies. Leaves compiling to
//! `plugin`, making host calls to whoever has the run, and what becomes of a run whose runner died to the worker.
//!
//! Tested on a running host in `tests/tests/it/runner.rs`. Why there are two: `docs/decisions/0008-two-processes.md`.

mod child;
pub(crate) mod confine;
mod frame;
mod judging;
mod link;
mod message;
mod outbox;
mod process;
mod spent;

pub use link::RunnerError;
pub use process::main;

use crate::failpoint::{haste, wrong};
use crate::plugin::engine::{Code, Engine, Limits, Revision};
use crate::plugin::{Ended, GuestCalls, RunContext};
use link::{InRunner, Link, Said};
use message::{About, GuestEnd, ToRunner};
use opsward_core::event::Event;
use opsward_core::id::Digest;
use opsward_core::retry;
use opsward_core::run::{Fault, FaultKind, Stop};
use spent::Spent;
use std::borrow::Cow;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long a guest may be silent beside what it and all others may compute, one after the other. After that the runner itself must be
/// stuck.
const SILENCE_MAX: Duration = Duration::from_secs(100);
/// How long a run waits for a runner to be there; then it is given back, and waits anew.
const RUNNER_WAIT: Duration = Duration::from_secs(60);
/// A runner that lived as long was well: the next one is started at once.
const LIVED_LONG: Duration = Duration::from_secs(60);

/// Runs guests in another process, and keeps one there.
pub struct Runner {
    /// Compiles; runs nothing.
    engine: Engine,
    program: PathBuf,
    link: watch::Receiver<Option<Arc<Link>>>,
    /// One plugin describes itself at a time: each has a process meanwhile.
    judging: Mutex<()>,
    /// None where it is for judging plugins alone.
    keeping: Option<AbortHandle>,
}

impl Runner {
    /// Starts a runner, and another one whenever it dies. `engine` compiles for it, and need not tick; `program` is this
    /// program's file.
    pub async fn start(engine: Engine, program: PathBuf) -> Result<Arc<Self>, RunnerError> {
        let first = Link::start(&program, engine.limits().clone(), engine.configuration()).await?;
        tell(&first);
        let (current, link) = watch::channel(Some(first.clone()));
        let keeping = tokio::spawn(keep(engine.clone(), program.clone(), first, current)).abort_handle();
        Ok(Arc::new(Self { engine, program, link, judging: Mutex::default(), keeping: Some(keeping) }))
    }

    /// The same without any run: plugins are looked at, each in a process of its own.
    pub fn for_judging(engine: Engine, program: PathBuf) -> Arc<Self> {
        let (_, link) = watch::channel(None);
        Arc::new(Self { engine, program, link, judging: Mutex::default(), keeping: None })
    }

    /// The process that has the runs, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.link.borrow().as_ref().map(|link| link.pid)
    }

    /// The bounds of guests.
    pub fn limits(&self) -> &Limits {
        self.engine.limits()
    }

    /// Forgets what belongs to none of `keep`, here, on disk and in the runner. Gives the number of files removed.
    pub fn prune_cache(&self, keep: &HashSet<Digest>) -> std::io::Result<usize> {
        if let Some(link) = &*self.link.borrow() {
            link.forget_all_but(|digest| keep.contains(digest));
        }
        self.engine.prune_cache(keep)
    }

    /// Runs `handle(event)` of a plugin in the runner. `calls` comes back however the run ended; a call under way is never
    /// cut off because the runner died.
    pub async fn run<C: GuestCalls>(
        &self,
        revision: &Revision,
        event: &Event,
        context: RunContext,
        mut calls: C,
    ) -> (Ended, C) {
        let ended = self.work(revision, event, &context, &mut calls).await;
        (ended, calls)
    }

    async fn work(
        &self,
        revision: &Revision,
        event: &Event,
        context: &RunContext,
        calls: &mut impl GuestCalls,
    ) -> Ended {
        let deadline = Instant::now() + RUNNER_WAIT;
        let mut is_mended = false;
        let (link, place) = loop {
            let Some(link) = self.find(deadline).await else {
                let why = "there is no runner, as the log says".to_owned();
                return Ended::Stopped(Stop::WaitUntil { at: calls.now(), why });
            };
            let digest = revision.digest;
            match link.load(digest, async || self.read(digest, &revision.code).await).await {
                Ok(_) => {
                    if let Some(place) = link.place() {
                        break (link, place);
                    }
                }
                Err(RunnerError::Refused(message)) => {
                    if is_mended || !self.mend(digest, &message).await {
                        return Ended::Faulted(Fault { kind: FaultKind::Instantiate, message });
                    }
                    is_mended = true;
                    continue;
                }
                Err(_) => {}
            }
            // It died before it had the run.
            link.has_ended().await;
        };
        let Limits { cpu, instances, .. } = self.limits();
        let silence = SILENCE_MAX + *cpu * *instances;
        let mut guest = Guest { place, spent: Spent::new(self.limits()), stop: None, silence };
        let about = About { event: Cow::Borrowed(event), context: Cow::Borrowed(context) };
        let (now, digest) = (calls.now(), revision.digest);
        if wrong("runner-dies-of-poison") && event.data.contains("poison") {
            link.condemn("seeded by a test".to_owned());
        }
        if let Err(problem) = guest.place.tell(|id| ToRunner::Run { id, digest, now, about: Box::new(about) })
        {
            return Ended::Faulted(Fault { kind: FaultKind::Size, message: problem.to_string() });
        }
        match guest.until_end(calls).await {
            Ok(ended) => ended,
            Err(Lost::Dead) => Ended::Crashed { how: link.has_ended().await },
            Err(Lost::Condemned(why)) => {
                link.condemn(why);
                Ended::Crashed { how: link.has_ended().await }
            }
        }
    }

    /// A runner that lives, as soon as there is one.
    async fn find(&self, deadline: Instant) -> Option<Arc<Link>> {
        let mut link = self.link.clone();
        let lives = |link: &Option<Arc<Link>>| link.as_ref().is_some_and(|link| link.lives());
        let found = tokio::time::timeout_at(deadline, link.wait_for(lives)).await;
        found.ok()?.ok()?.clone()
    }

    /// Has the runner map a plugin before its first run; what fails is told by that.
    pub async fn warm(&self, revision: &Revision) {
        if let Some(link) = self.find(Instant::now() + RUNNER_WAIT).await {
            link.load(revision.digest, async || self.read(revision.digest, &revision.code).await).await.ok();
        }
    }

    /// Compiles a plugin anew whose kept code is lost or spoilt. Whether that could be done.
    async fn mend(&self, digest: Digest, problem: &str) -> bool {
        tracing::warn!(%digest, problem, "compiled plugin unusable; compiling again");
        let Ok(Some(bytes)) = self.engine.pinned_bytes(digest).await else { return false };
        let compiled = self.engine.compile_apart(bytes.into(), true).await;
        if let Err(problem) = &compiled {
            tracing::error!(%digest, %problem, "a plugin that serves cannot be compiled again");
        }
        compiled.is_ok()
    }

    async fn read(&self, digest: Digest, code: &Code) -> std::io::Result<Arc<[u8]>> {
        match code {
            Code::Held(code) => Ok(code.clone()),
            Code::Kept | Code::Mapped(_) => {
                let engine = self.engine.clone();
                let read = move || engine.kept_code(&digest).map(Arc::from);
                tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?
            }
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(keeping) = &self.keeping {
            keeping.abort();
        }
        if let Some(link) = &*self.link.borrow() {
            link.condemn("this host ends".to_owned());
        }
    }
}

/// Why nothing more is heard of a guest.
enum Lost {
    /// Its runner is dead.
    Dead,
    /// Its runner broke the rules.
    Condemned(String),
}

/// A guest in the runner.
struct Guest {
    place: InRunner,
    spent: Spent,
    /// How long it may be silent.
    silence: Duration,
    /// Why the host ended it, where it did. The runner is not asked: it could say what suits it.
    stop: Option<Ended>,
}

impl Guest {
    /// Makes the host calls that the guest asks for until it ends.
    async fn until_end(&mut self, calls: &mut impl GuestCalls) -> Result<Ended, Lost> {
        loop {
            let said = tokio::time::timeout(self.silence, self.place.hear()).await.map_err(|_| {
                Lost::Condemned(format!("a guest was silent for {} s", self.silence.as_secs()))
            })?;
            let request = match (said, self.stop.take()) {
                // What the host decided holds, whatever became of the runner since.
                (None | Some(Said::Ended(_)), Some(stop)) => return Ok(stop),
                (None, None) => return Err(Lost::Dead),
                (Some(Said::Ended(ended)), None) => {
                    return self.spent.check_end(&ended).map(|()| plain(ended));
                }
                (Some(Said::Ask(request)), None) => request,
                (Some(Said::Ask(_)), Some(_)) => {
                    return Err(Lost::Condemned("a guest went on that was stopped".to_owned()));
                }
                (Some(Said::Described(_)), _) => {
                    return Err(Lost::Condemned("a run was answered as a description".to_owned()));
                }
            };
            self.spent.charge(&request)?;
            let answer = tokio::select! {
                answer = calls.perform(request) => answer,
                () = self.place.dies(), if wrong("effect-dies-with-runner") => return Err(Lost::Dead),
            };
            self.stop = answer.as_ref().err().cloned().map(Ended::Stopped);
            let now = calls.now();
            if self.place.tell(|id| ToRunner::Answer { id, answer, now }).is_err() {
                let message = "the answers are over the limit of one host call".to_owned();
                self.stop = Some(Ended::Faulted(Fault { kind: FaultKind::Size, message: message.clone() }));
                let answer = Err(Stop::Abandoned { reason: message });
                // Short enough.
                self.place.tell(|id| ToRunner::Answer { id, answer, now }).ok();
            }
        }
    }
}

fn plain(ended: GuestEnd) -> Ended {
    match ended {
        GuestEnd::Done(outcome) => Ended::Done(outcome),
        GuestEnd::Failed(failure) => Ended::Failed(failure),
        GuestEnd::Faulted(fault) => Ended::Faulted(fault),
        GuestEnd::Stopped => {
            let reason = "the runner ended the run by itself".to_owned();
            Ended::Stopped(Stop::Abandoned { reason })
        }
    }
}

/// Starts another runner whenever one dies: at once, or, where they keep dying, after a while.
async fn keep(
    engine: Engine,
    program: PathBuf,
    mut link: Arc<Link>,
    current: watch::Sender<Option<Arc<Link>>>,
) {
    let (mut died_soon, mut began) = (0, Instant::now());
    loop {
        let how = link.has_ended().await;
        current.send_replace(None);
        tracing::error!(pid = link.pid, how, "the runner has died; its runs are tried again in another one");
        metrics::counter!("opsward_runner_deaths_total").increment(1);
        died_soon = if began.elapsed() < LIVED_LONG { died_soon + 1 } else { 0 };
        link = loop {
            tokio::time::sleep(haste(retry::restart_pause(died_soon))).await;
            began = Instant::now();
            match Link::start(&program, engine.limits().clone(), engine.configuration()).await {
                Ok(link) => break link,
                Err(problem) => {
                    died_soon += 1;
                    tracing::error!(error = &problem as &dyn std::error::Error, "no runner; runs wait");
                }
            }
        };
        tell(&link);
        if current.send(Some(link.clone())).is_err() {
            return;
        }
    }
}

/// Says once for each runner what holds it.
fn tell(link: &Link) {
    let holds = |confined: &&message::Confined| confined.lacks.is_none();
    let walls: Vec<&str> = link.confined.iter().filter(holds).map(|c| c.by.as_str()).collect();
    let walls =
        if walls.is_empty() { "nothing but being another process".to_owned() } else { walls.join(", ") };
    tracing::info!(pid = link.pid, "runner sandboxed: {walls}");
    for confined in &link.confined {
        if let Some(why) = &confined.lacks {
            tracing::warn!(why, "the runner is not held by {}", confined.by);
        }
    }
}

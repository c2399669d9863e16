//! The worker: claims runs whose time has come, runs each in a fresh guest, and records how it ended. Leaves host calls to
//! the broker, the sandbox to the engine, and when to try again to `opsward_core::retry`.

mod approval;
mod late;
mod outage;

use crate::broker::{Broker, HALTED_PAUSE};
use crate::failpoint::{haste, hit, wrong};
use crate::plugin::engine::Revision;
use crate::plugin::guests::Guests;
use crate::plugin::registry::Registry;
use crate::plugin::{Ended, RunContext};
use crate::policy::{LivePolicy, Policies};
use crate::store::{Claim, Claimed, SUSPECT_AT, Standing, StoreError, Work};
use approval::Asking;
use futures::FutureExt as _;
use opsward_core::event::Event;
use opsward_core::id::AccountName;
use opsward_core::retry::{self, RetrySettings};
use opsward_core::run::{self, Entry, Fault, FaultKind, Mode, OpenEffect, Record, Replay, Stop, Tries};
use opsward_core::time::Timestamp;
use outage::Outage;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// Runs claimed at once: enough to fill the pool, few enough that another claim is never far.
const CLAIM_RUNS_MAX: usize = 64;
/// Longest wait between two looks at the store: bounds what a missed wake-up or a turned clock can cost.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Wait after the store could not be asked: a full disk is not freed by asking it a thousand times a second.
const STORE_FAILED_PAUSE: Duration = Duration::from_secs(1);
/// When a run whose policy is gone or off looks again whether it is back.
const POLICY_ABSENT_PAUSE: Duration = Duration::from_secs(60);
/// How long claiming waits at the start for plugins to be where guests run: a hundred take a second or two.
const WARM_UP: Duration = Duration::from_secs(10);
/// How long a drain waits for running guests: most of the 20 s that the whole host has for it.
pub const DRAIN: Duration = Duration::from_secs(15);

/// What workers share.
pub struct Worker {
    /// The sandbox, here or in a process of its own.
    pub guests: Guests,
    /// Finds plugin revisions.
    pub registry: Arc<Registry>,
    /// The live policies.
    pub policies: Arc<Policies>,
    /// Makes the guests' host calls.
    pub broker: Broker,
    /// Runs that may be in a guest at the same time.
    pub runs_max: usize,
    /// Rung when there may be work.
    pub work: Arc<Notify>,
    /// When the next sleeping run is due, in milliseconds since 1970, as far as is known; begins at 0, to be asked.
    pub next_wake: AtomicI64,
}

impl Worker {
    /// Claims and works until `shutdown` turns true; then claims nothing more, lets running guests end for up to `DRAIN`, and
    /// leaves the rest to be claimed at the next start.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(self.runs_max));
        let mut tasks = JoinSet::new();
        // A host that dies before it can run guests has had none of the runs.
        tokio::select! {
            _ = tokio::time::timeout(WARM_UP, self.warm_up()) => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
        loop {
            while tasks.try_join_next().is_some() {}
            let claimed = tokio::select! {
                claimed = self.claim(&slots) => claimed,
                _ = shutdown.wait_for(|stop| *stop) => break,
            };
            hit("after-claim");
            for (run, slot) in claimed {
                let worker = self.clone();
                tasks.spawn(async move {
                    worker.work(run).await;
                    drop(slot);
                });
            }
        }
        self.broker.close();
        let drained = tokio::time::timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(runs = tasks.len(), "drain timed out; these runs continue after the next start");
        }
    }

    /// Has the plugins of all policies be where guests run.
    async fn warm_up(&self) {
        for policy in &self.policies.load().policies {
            self.guests.warm(&policy.revision).await;
        }
    }

    /// Waits until there are runs to work on and room for them.
    async fn claim(&self, slots: &Arc<Semaphore>) -> Vec<(Claimed, OwnedSemaphorePermit)> {
        let mut outage = Outage::default();
        loop {
            // The wish to be woken comes before the look, so that nothing falls between the two.
            let woken = self.work.notified();
            let first = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
            let free = 1 + slots.available_permits();
            let now = self.broker.clock.now();
            let store = &self.broker.store;
            let claimed = store.claim(free.min(CLAIM_RUNS_MAX), now).await;
            if claimed.is_ok()
                && let Some(failed) = outage.is_over()
            {
                tracing::info!(failed, "runs can be claimed again");
            }
            match claimed {
                Ok(claimed) if !claimed.is_empty() => {
                    let mut permits = vec![first];
                    while permits.len() < claimed.len() {
                        permits.push(
                            slots.clone().acquire_owned().await.expect("the semaphore is never closed"),
                        );
                    }
                    return claimed.into_iter().zip(permits).collect();
                }
                Ok(_) => {
                    drop(first);
                    let pause = tokio::time::sleep(self.pause(now).await);
                    // A timeout is as good a reason to look as a wake-up.
                    tokio::select! { () = woken => {}, () = pause => {} }
                }
                Err(error) => {
                    drop(first);
                    if let Some(failed) = outage.goes_on() {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(error, failed, "cannot claim runs");
                    }
                    tokio::time::sleep(STORE_FAILED_PAUSE).await;
                }
            }
        }
    }

    /// How long nothing is due. The store is asked only where what is known of the next sleeper is past.
    async fn pause(&self, now: Timestamp) -> Duration {
        if self.next_wake.load(Ordering::Acquire) <= now.ms() {
            self.next_wake.store(i64::MAX, Ordering::Release);
            if let Ok(Some(at)) = self.broker.store.next_wake().await {
                self.next_wake.fetch_min(at.ms(), Ordering::AcqRel);
            }
        }
        let next = Timestamp::from_ms(self.next_wake.load(Ordering::Acquire));
        next.since(now).clamp(Duration::from_millis(1), LOOK_AGAIN)
    }

    /// Works on a run, and gives it back whatever becomes of that: a claim without a worker would last until a restart.
    async fn work(&self, run: Claimed) {
        let (claim, faults) = (run.claim.clone(), run.faults);
        let was_suspect = run.crashes >= SUSPECT_AT;
        let worked = AssertUnwindSafe(self.work_on(run)).catch_unwind().await;
        if was_suspect {
            // The next suspect waited for this one.
            self.work.notify_one();
        }
        let message = match worked {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::error!(run = %claim.run, error = &error as &dyn std::error::Error, "run not finished");
                error.to_string()
            }
            Err(_) => "the host panicked while it worked on the run; its log says where".to_owned(),
        };
        match self.fault(&claim, faults, vec![], Fault { kind: FaultKind::Host, message }).await {
            // Where the store has ended the claim, it has made the run ready as well.
            Ok(()) | Err(StoreError::Lost(_)) => {}
            Err(error) => {
                tracing::error!(run = %claim.run, error = &error as &dyn std::error::Error, "run not given back");
            }
        }
    }

    /// A run over which hosts keep dying is given up, so that the others go on.
    async fn park(&self, run: &Claimed) -> Result<(), StoreError> {
        let message = format!("{} processes died, one after the other, while they had this run", run.crashes);
        let fault = Fault { kind: FaultKind::Host, message };
        self.fault(&run.claim, retry::FAULTS_MAX, vec![], fault).await
    }

    async fn work_on(&self, run: Claimed) -> Result<(), StoreError> {
        let now = self.broker.clock.now();
        let claim = run.claim.clone();
        let id = &claim.run;
        if run.crashes >= retry::CRASHES_MAX {
            return self.park(&run).await;
        }
        if let Some(halt) = self.broker.halted.of(&run.policy).filter(|_| !wrong("no-halt")) {
            tracing::warn!(run = %id, %halt, "the run waits");
            return self.sleep(&claim, vec![], now + haste(HALTED_PAUSE), false).await;
        }
        let run = match self.broker.store.take_up(run).await {
            // The store holds it, and has said so.
            Err(StoreError::Unreadable { .. }) => return Ok(()),
            Err(error @ StoreError::Sqlite(_)) => {
                tracing::warn!(run = %id, %error, "the run's ledger cannot be read now; the run waits");
                return self.sleep(&claim, vec![], now + STORE_FAILED_PAUSE, false).await;
            }
            run => run?,
        };
        let live = self.policies.load().find(&run.policy).cloned();
        // Another account is another cloud: what a run began in one, it neither settles nor goes on with in another.
        let account = started(&run.ledger).and_then(|(_, account)| account);
        let account = account.filter(|_| !wrong("account-from-file"));
        let is_its_own =
            |policy: &LivePolicy| account.is_none() || account == policy.settings.account.as_ref();
        let live = live.filter(|policy| policy.settings.mode != Mode::Off && is_its_own(policy));
        let Some(policy) = live else {
            tracing::warn!(run = %id, policy = %run.policy, "policy is gone, off, or has another account; the run waits for it");
            return self.sleep(&claim, vec![], now + POLICY_ABSENT_PAUSE, false).await;
        };
        if let Some(late) = late::too_late(&run, &policy, now) {
            tracing::warn!(run = %id, message = late.message, "the run is not begun");
            metrics::counter!("opsward_runs_total", "result" => "failed").increment(1);
            let records = vec![Record::new(now, Entry::Failed { failure: late })];
            return self.broker.store.finish(&claim, records, Standing::Failed).await;
        }
        let Some(revision) = self.registry.revision(&run.digest).await else {
            let message = format!("plugin revision {} is neither loaded nor cached", run.digest.short());
            return self
                .fault(&run.claim, run.faults, vec![], Fault { kind: FaultKind::Instantiate, message })
                .await;
        };
        self.run_guest(run, policy, &revision, now).await
    }

    async fn run_guest(
        &self,
        run: Work,
        policy: Arc<LivePolicy>,
        revision: &Arc<Revision>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let faults = run.faults;
        let tries = run::tries(&run.ledger);
        let mode = started(&run.ledger).map_or(policy.settings.mode, |(mode, _)| mode);
        let policy = bound_to(policy, revision);
        // The guest sees the mode it began with; an operator who has stepped back since is obeyed.
        let effects = mode.stricter(policy.settings.mode);
        let (mut approving, mut asking) = (None, None);
        if effects == Mode::Approve {
            approving = self.approving(&run, &policy, now).await?;
            if approving.is_none() {
                return Ok(());
            }
            asking = Some(Asking::of(&run, &policy, now));
        }
        let context = RunContext {
            run: run.claim.run.clone(),
            policy: run.policy.clone(),
            attempt: tries.in_all,
            mode,
            config: policy.settings.config.clone(),
        };
        let account = policy.settings.account.clone();
        let started = Entry::Started { attempt: faults + tries.in_all, digest: run.digest, mode, account };
        self.broker.store.append_later(&run.claim, vec![Record::new(now, started)])?;
        hit("after-started");
        let event: Event = run.event.clone();
        assert!(!wrong("panic-in-run"), "seeded by a test");
        if wrong("die-of-poison") && event.data.contains("poison") {
            std::process::abort();
        }
        let retries = policy.settings.retry;
        let session = self.broker.session(run, policy, effects).approving(approving);
        let (ended, mut session) = self.guests.run(revision, &event, context, session).await;
        let ended = match (ended, session.unreached()) {
            (Ended::Done(_) | Ended::Failed(_), Some(position)) => {
                let message = format!("call {position} was made before, but the policy now ends without it");
                Ended::Stopped(Stop::Diverged { message })
            }
            (ended, _) => ended,
        };
        if let (Some(asking), Some(cut), Some(planned)) =
            (asking, approval::cut_of(&ended), session.planned())
        {
            return self.planned(session.into_claim(), asking, planned, cut).await;
        }
        let (claim, records) = session.into_claim();
        hit("before-finish");
        let ended = self.finish(claim, faults, (retries, tries), records, ended).await;
        hit("after-finish");
        ended
    }

    async fn finish(
        &self,
        claim: Claim,
        faults: u32,
        (retries, tries): (RetrySettings, Tries),
        mut records: Vec<Record>,
        ended: Ended,
    ) -> Result<(), StoreError> {
        let now = self.broker.clock.now();
        let (entry, standing, result) = match ended {
            Ended::Done(outcome) => (Entry::Done { outcome }, Standing::Done, "done"),
            Ended::Failed(failure) if failure.retryable => {
                let why = format!("{}: {}", failure.code, failure.message);
                records.push(Record::new(now, Entry::Failed { failure }));
                let pause = retry::after_failure(&retries, tries.since_asked, self.broker.cloud.spread());
                let Some(pause) = pause else {
                    tracing::error!(run = %claim.run, tries = tries.in_all, why, "run given up");
                    metrics::counter!("opsward_runs_total", "result" => "dead").increment(1);
                    return self.broker.store.finish(&claim, records, Standing::Dead).await;
                };
                tracing::warn!(run = %claim.run, tries = tries.in_all, ?pause, why, "run failed, will be tried again");
                records.push(Record::new(now, Entry::Retried { why, by: None }));
                return self.sleep(&claim, records, now + haste(pause), false).await;
            }
            Ended::Failed(failure) => (Entry::Failed { failure }, Standing::Failed, "failed"),
            Ended::Stopped(Stop::Held { position, reason }) => {
                tracing::error!(run = %claim.run, reason, "run held: a person must settle it");
                (Entry::Held { position, reason }, Standing::Held, "held")
            }
            Ended::Stopped(Stop::WaitUntil { at, why }) => {
                tracing::info!(run = %claim.run, why, "run waits");
                records.push(Record::new(now, Entry::Waited { why }));
                return self.sleep(&claim, records, at, false).await;
            }
            Ended::Stopped(Stop::SleepUntil(at)) => {
                return self.sleep(&claim, records, at, false).await;
            }
            Ended::Stopped(Stop::Diverged { message }) => {
                return self
                    .fault(&claim, faults, records, Fault { kind: FaultKind::Diverged, message })
                    .await;
            }
            Ended::Stopped(Stop::Unapproved { why }) => return self.void(&claim, records, why).await,
            Ended::Stopped(Stop::Planned { cut }) => {
                let fault = Fault { kind: FaultKind::Host, message: cut };
                return self.fault(&claim, faults, records, fault).await;
            }
            Ended::Stopped(Stop::Lost) => return Ok(()),
            Ended::Stopped(Stop::Abandoned { reason }) => {
                let fault = Fault { kind: FaultKind::Host, message: reason };
                return self.fault(&claim, faults, records, fault).await;
            }
            Ended::Faulted(fault) => return self.fault(&claim, faults, records, fault).await,
            Ended::Crashed { how } => return self.crashed(&claim, records, how).await,
        };
        metrics::counter!("opsward_runs_total", "result" => result).increment(1);
        records.push(Record::new(now, entry));
        self.broker.store.finish(&claim, records, standing).await
    }

    async fn fault(
        &self,
        claim: &Claim,
        faults: u32,
        mut records: Vec<Record>,
        fault: Fault,
    ) -> Result<(), StoreError> {
        let now = self.broker.clock.now();
        let again = retry::after_fault(fault.kind, faults + 1);
        tracing::warn!(run = %claim.run, fault = ?fault.kind, message = fault.message, again = ?again, "run faulted");
        metrics::counter!("opsward_run_faults_total").increment(1);
        let reason = format!("and the run cannot go on: {}", fault.message);
        records.push(Record::new(now, Entry::Faulted { fault }));
        if let Some(pause) = again {
            return self.sleep(claim, records, now + haste(pause), true).await;
        }
        let open = match self.open_effect(claim).await {
            Ok(open) => open,
            Err(error) => {
                tracing::error!(run = %claim.run, error = &error as &dyn std::error::Error, "a dying run's ledger cannot be read");
                return self.sleep(claim, records, now + POLICY_ABSENT_PAUSE, false).await;
            }
        };
        let Some((position, effect)) = open else {
            return self.broker.store.finish(claim, records, Standing::Dead).await;
        };
        let reason = format!("call {position}, {effect}, may or may not have taken place, {reason}");
        tracing::error!(run = %claim.run, reason, "run held: a person must settle it");
        records.push(Record::new(now, Entry::Held { position, reason }));
        self.broker.store.finish(claim, records, Standing::Held).await
    }

    /// The process that had the guest died: counted as the death of a host would be, and tried again at once.
    async fn crashed(&self, claim: &Claim, mut records: Vec<Record>, how: String) -> Result<(), StoreError> {
        let now = self.broker.clock.now();
        tracing::warn!(run = %claim.run, how, "the runner died while it had the run");
        metrics::counter!("opsward_run_faults_total").increment(1);
        let message = format!("the runner died while it had this run: {how}");
        records.push(Record::new(now, Entry::Faulted { fault: Fault { kind: FaultKind::Host, message } }));
        self.broker.store.finish(claim, records, Standing::Crashed { at: now }).await?;
        self.next_wake.fetch_min(now.ms(), Ordering::AcqRel);
        self.work.notify_one();
        Ok(())
    }

    /// An effect of the run whose result nobody knows: intents are on disk before anything is sent.
    async fn open_effect(&self, claim: &Claim) -> Result<Option<(u32, String)>, StoreError> {
        let Some(run) = self.broker.store.find_runs(claim.run.as_str(), 1).await?.into_iter().next() else {
            return Ok(None);
        };
        let replay = Replay::new(run.whole_ledger()?, run.received);
        Ok(replay.open().map(|(position, OpenEffect { request, since, .. })| {
            (position, format!("{} of {since}", request.brief()))
        }))
    }

    /// Puts the run aside until `at`, and has the claimer look when its next look is due.
    async fn sleep(
        &self,
        claim: &Claim,
        records: Vec<Record>,
        at: Timestamp,
        faulted: bool,
    ) -> Result<(), StoreError> {
        hit("before-sleep");
        self.broker.store.finish(claim, records, Standing::Wake { at, faulted }).await?;
        hit("after-sleep");
        self.next_wake.fetch_min(at.ms(), Ordering::AcqRel);
        self.work.notify_one();
        Ok(())
    }
}

/// Mode and account of the run's first start: a run keeps them, whatever the file says later.
fn started(ledger: &[Record]) -> Option<(Mode, Option<&AccountName>)> {
    ledger.iter().find_map(|record| match &record.entry {
        Entry::Started { mode, account, .. } => Some((*mode, account.as_ref())),
        _ => None,
    })
}

/// The policy as it is for a run of `revision`, which may call what that revision asks for, and not what a later one does.
fn bound_to(policy: Arc<LivePolicy>, revision: &Arc<Revision>) -> Arc<LivePolicy> {
    if policy.revision.digest == revision.digest {
        return policy;
    }
    let mut settings = policy.settings.clone();
    settings.grants = settings.grants.asked_by(&revision.description.actions());
    Arc::new(LivePolicy { settings, revision: revision.clone() })
}

//! A store in memory with the promises of the one in a file, for hosts in virtual time. Each verb first passes its `Gate`,
//! which may delay it, refuse it, or end the host before or after it takes effect. Leaves what is stored to `shelf`. Tested
//! by the conformance suite.

use super::shelf::Shelf;
use futures::future::BoxFuture;
use opsward::store::{
    Acceptance, Claim, Claimed, Cursor, EventFilter, EventRow, Firing, NewEvent, NewFiring, Once, OnceKey,
    Pause, Recorded, Reply, Retained, RetainedUpTo, RunDetail, RunFilter, RunRow, ScheduleKey, ScheduleState,
    Standing, Store, StoreError, Work,
};
use opsward_core::guardrail::{Halt, Halts, Limit, Spent};
use opsward_core::id::{AccountName, Digest, PolicyName, RunId, SourceName};
use opsward_core::run::{Record, RunState, StateEntry, StateOp, StateReply};
use opsward_core::time::Timestamp;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stands between a host and its store.
pub(crate) trait Gate: Send + Sync + 'static {
    /// Passed before a verb takes effect; never resolves once the host is dead.
    fn before(&self, verb: &'static str) -> BoxFuture<'_, Passage>;
    /// Passed after it has taken effect, with what it gave.
    fn after(&self, verb: &'static str, gave: String) -> BoxFuture<'_, ()>;
    /// Whether the host lives: what nobody waits for is taken only from the living.
    fn is_open(&self) -> bool;
}

/// Whether a verb is let through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passage {
    Free,
    /// The disk takes nothing now.
    Full,
}

/// What outlives hosts.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Shelf>>);

impl Disk {
    /// Opens the store on it; a store opened before has no claims any more.
    pub(crate) fn open(&self, gate: Option<Arc<dyn Gate>>) -> MemoryStore {
        self.lock().reopen();
        MemoryStore { disk: self.clone(), gate, closed: AtomicBool::new(false) }
    }

    /// What would be left after a kill, of the records that nobody waited for the first `kept`.
    pub(crate) fn killed(&self, kept: usize) -> Self {
        let mut shelf = self.lock().clone();
        shelf.lose_later(kept);
        Self(Arc::new(Mutex::new(shelf)))
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store on such a disk.
pub(crate) struct MemoryStore {
    disk: Disk,
    gate: Option<Arc<dyn Gate>>,
    closed: AtomicBool,
}

impl MemoryStore {
    fn write<'a, T: std::fmt::Debug + Send + 'a>(
        &'a self,
        verb: &'static str,
        claim: Option<Claim>,
        effect: impl FnOnce(&mut Shelf) -> Result<T, StoreError> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            let passage = match &self.gate {
                Some(gate) => gate.before(verb).await,
                None => Passage::Free,
            };
            self.check()?;
            let answer = {
                let mut shelf = self.disk.lock();
                shelf.write_later();
                match (passage, &claim) {
                    (Passage::Free, _) => effect(&mut shelf),
                    (Passage::Full, Some(claim)) => {
                        shelf.revoke(claim);
                        Err(StoreError::Full)
                    }
                    (Passage::Full, None) => Err(StoreError::Full),
                }
            };
            if let Some(gate) = &self.gate {
                gate.after(verb, format!("{claim:?} {answer:?}")).await;
            }
            answer
        })
    }

    fn read<'a, T: Send + 'a>(&'a self, question: impl FnOnce(&Shelf) -> T + Send + 'a) -> Reply<'a, T> {
        Box::pin(async move { Ok(question(&self.disk.lock())) })
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.closed.load(Ordering::SeqCst) {
            true => Err(StoreError::Closed("the host shuts down".to_owned())),
            false => Ok(()),
        }
    }
}

impl Store for MemoryStore {
    /// What is in memory is gone soon enough: nothing is deleted before.
    fn retain(&self, _: Timestamp, _: RetainedUpTo) -> Reply<'_, Retained> {
        Box::pin(std::future::ready(Ok(Retained { events: 0, runs: 0, firings: 0, next: None })))
    }

    fn accept_at(&self, events: Vec<NewEvent>, cursor: Option<Cursor>) -> Reply<'_, Vec<Acceptance>> {
        self.write("accept", None, move |shelf| {
            shelf.move_to(cursor);
            Ok(events.into_iter().map(|event| shelf.accept(event, None)).collect())
        })
    }

    fn cursor(&self, source: &SourceName, key: &str) -> Reply<'_, Option<String>> {
        let name = (source.clone(), key.to_owned());
        self.read(move |shelf| shelf.cursor(&name))
    }

    fn fire(&self, firings: Vec<NewFiring>) -> Reply<'_, Vec<Recorded>> {
        self.write("fire", None, move |shelf| Ok(firings.into_iter().map(|new| shelf.fire(new)).collect()))
    }

    fn claim(&self, limit: usize, now: Timestamp) -> Reply<'_, Vec<Claimed>> {
        self.write("claim", None, move |shelf| Ok(shelf.claim(limit, now)))
    }

    fn take_up(&self, run: Claimed) -> Reply<'_, Work> {
        Box::pin(async move {
            self.check()?;
            let mut shelf = self.disk.lock();
            shelf.write_later();
            shelf.take_up(run)
        })
    }

    fn next_wake(&self) -> Reply<'_, Option<Timestamp>> {
        self.write("next-wake", None, |shelf| Ok(shelf.next_wake()))
    }

    fn append(&self, claim: &Claim, records: Vec<Record>) -> Reply<'_, ()> {
        let of = claim.clone();
        self.write("append", Some(claim.clone()), move |shelf| shelf.append(&of, records))
    }

    fn append_later(&self, claim: &Claim, records: Vec<Record>) -> Result<(), StoreError> {
        self.check()?;
        if self.gate.as_ref().is_none_or(|gate| gate.is_open()) {
            self.disk.lock().append_later(claim.clone(), records);
        }
        Ok(())
    }

    fn append_effect(
        &self,
        claim: &Claim,
        key: Option<OnceKey>,
        limits: Vec<Limit>,
        record: Option<Record>,
    ) -> Reply<'_, Once> {
        let of = claim.clone();
        let append = move |shelf: &mut Shelf| shelf.append_effect(&of, key, &limits, record);
        self.write("append-effect", Some(claim.clone()), append)
    }

    fn lock(
        &self,
        claim: &Claim,
        position: u32,
        resources: Vec<(AccountName, String)>,
    ) -> Reply<'_, Option<RunId>> {
        let of = claim.clone();
        self.write("lock", Some(claim.clone()), move |shelf| shelf.lock(&of, position, &resources))
    }

    fn state(
        &self,
        claim: &Claim,
        policy: &PolicyName,
        position: u32,
        op: StateOp,
        at: Timestamp,
    ) -> Reply<'_, StateReply> {
        let (of, policy) = (claim.clone(), policy.clone());
        self.write("state", Some(claim.clone()), move |shelf| shelf.state(&of, &policy, position, op, at))
    }

    fn finish(&self, claim: &Claim, records: Vec<Record>, to: Standing) -> Reply<'_, ()> {
        let of = claim.clone();
        self.write("finish", Some(claim.clone()), move |shelf| shelf.finish(&of, records, to))
    }

    fn intervene(
        &self,
        claim: &Claim,
        from: RunState,
        key: Option<OnceKey>,
        record: Record,
        to: Standing,
    ) -> Reply<'_, ()> {
        let of = claim.clone();
        self.write("intervene", None, move |shelf| shelf.intervene(&of, from, key, record, to))
    }

    fn halt(&self, halt: Halt) -> Reply<'_, ()> {
        self.write("halt", None, move |shelf| {
            shelf.halt(halt);
            Ok(())
        })
    }

    fn resume(&self, policy: Option<PolicyName>, _by: String, _at: Timestamp) -> Reply<'_, bool> {
        self.write("resume", None, move |shelf| Ok(shelf.resume(policy.as_ref())))
    }

    fn spent(&self, limits: Vec<Limit>, _: Timestamp) -> Reply<'_, Vec<Vec<Spent>>> {
        self.read(move |shelf| shelf.spent(&limits))
    }

    fn halts(&self) -> Reply<'_, Halts> {
        self.read(Shelf::halts)
    }

    fn pause_schedule(&self, key: ScheduleKey, pause: Pause) -> Reply<'_, ()> {
        self.write("pause-schedule", None, move |shelf| {
            shelf.pause_schedule(key, pause);
            Ok(())
        })
    }

    fn resume_schedule(&self, key: ScheduleKey, _by: String, at: Timestamp) -> Reply<'_, bool> {
        self.write("resume-schedule", None, move |shelf| Ok(shelf.resume_schedule(&key, at)))
    }

    fn settle_schedules(&self, settled: Vec<(ScheduleKey, Timestamp)>) -> Reply<'_, ()> {
        self.write("settle-schedules", None, move |shelf| {
            shelf.settle_schedules(settled);
            Ok(())
        })
    }

    fn schedule_states(&self, keys: Vec<ScheduleKey>, up_to: Timestamp) -> Reply<'_, Vec<ScheduleState>> {
        self.write("schedule-states", None, move |shelf| {
            Ok(keys.iter().map(|key| shelf.schedule_state(key, up_to)).collect())
        })
    }

    fn list_runs(&self, filter: RunFilter) -> Reply<'_, Vec<RunRow>> {
        self.read(move |shelf| shelf.list_runs(&filter))
    }

    fn find_runs(&self, prefix: &str, limit: usize) -> Reply<'_, Vec<RunDetail>> {
        let prefix = prefix.to_owned();
        self.read(move |shelf| shelf.find_runs(&prefix, limit))
    }

    fn list_events(&self, filter: EventFilter) -> Reply<'_, Vec<EventRow>> {
        self.read(move |shelf| shelf.list_events(&filter))
    }

    fn list_firings(&self, limit: usize) -> Reply<'_, Vec<Firing>> {
        self.read(move |shelf| shelf.list_firings(limit))
    }

    fn count_runs(&self) -> Reply<'_, Vec<(RunState, u64)>> {
        self.read(Shelf::count_runs)
    }

    fn list_approvals(&self, limit: usize) -> Reply<'_, Vec<RunDetail>> {
        self.read(move |shelf| shelf.list_approvals(limit))
    }

    fn peek_state(&self, policy: &PolicyName, key: &str) -> Reply<'_, Option<StateEntry>> {
        let (policy, key) = (policy.clone(), key.to_owned());
        self.read(move |shelf| shelf.peek_state(&policy, &key))
    }

    fn pinned_digests(&self) -> Reply<'_, Vec<Digest>> {
        self.read(Shelf::pinned_digests)
    }

    fn close(&self) -> Reply<'_, ()> {
        if !self.closed.swap(true, Ordering::SeqCst) {
            self.disk.lock().write_later();
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

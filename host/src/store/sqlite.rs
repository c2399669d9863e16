//! The embedded store: one SQLite file, WAL, `synchronous=FULL`. One thread writes, with group commit; readers have
//! connections of their own. A second host on the same file is refused by a lock on `<file>.lock`. What is decided here:
//! which verb goes to the writer (all that write, and those a claim's order matters to) and which to a reader. Tested by
//! the conformance suite and by what is in `tests` about files.

mod apply;
mod approvals;
mod audit;
mod audit_check;
mod audit_export;
mod budget;
mod check;
mod checkpoints;
mod claimed;
mod compact;
mod copy;
mod cursor;
mod damage;
mod early;
mod effect;
#[cfg(feature = "failpoints")]
mod faulty_disk;
#[cfg(feature = "failpoints")]
mod faulty_vfs;
mod halt;
mod hinted;
pub mod in_use;
mod incidents;
mod late;
mod ledger;
mod listed;
mod lock;
mod note;
mod once;
mod open;
mod policy_state;
mod queue;
mod read;
mod readable;
mod reserve;
mod retain;
mod schedule;
mod schema;
mod sources;
mod standing;
mod statements;
mod wal;
mod writer;

pub use audit_check::{AuditReport, Expected, FirstBad, read_checkpoints, verify_audit};
pub use audit_export::{AuditFilter, AuditRow, ExportAuditError, export_audit};
pub use budget::Failing;
pub use check::{StoreReport, TableRows, check};
pub use compact::{Compacted, compact};
pub use copy::{BackupError, Mark, backup};
pub use open::Bounds;
pub use read::Reader;
pub use sources::SourceRow;

use super::firing::resumed;
use super::{
    Acceptance, Claim, Claimed, Cursor, EventFilter, EventRow, Firing, NewEvent, NewFiring, Once, OnceKey,
    Pause, Recorded, Reply, Restored, Retained, RetainedUpTo, RunDetail, RunFilter, RunRow, ScheduleKey,
    ScheduleState, Standing, Store, StoreError, Work,
};
use approvals::Waits;
use budget::Spending;
use effect::EffectRecord;
use late::event_key;
use ledger::Lines;
use note::note;
use opsward_core::audit::Change;
use opsward_core::guardrail::{Halt, Halts, Limit, Spent};
use opsward_core::id::{AccountName, Digest, PolicyName, RunId, SourceName};
use opsward_core::run::{Entry, Record, RunState, StateEntry, StateOp, StateReply};
use opsward_core::time::Timestamp;
use queue::Queue;
use read::Readers;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;
use writer::{Answer, Arrival, FireTime, Intervention, Job, Op};

/// A store in one SQLite file.
pub struct SqliteStore {
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    /// Held while the ledger of a claimed run is read.
    taking_up: tokio::sync::Mutex<()>,
    writer: Mutex<Option<JoinHandle<()>>>,
    restored: Option<Restored>,
}

impl SqliteStore {
    /// Whether the store is a restored copy, and the latest such restoring.
    pub fn restored(&self) -> Option<Restored> {
        self.restored
    }

    /// Resolves once the store takes nothing more, with the reason: it was closed, or has met a disk error.
    pub async fn ended(&self) -> StoreError {
        self.queue.ended().await
    }

    /// Makes the disk full once the file has `pages` pages of 4 KiB; 0 lifts the limit.
    #[cfg(any(test, feature = "failpoints"))]
    pub async fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        self.ask(Op::LimitPages(if pages == 0 { u32::MAX } else { pages })).await.map(drop)
    }

    async fn ask(&self, op: Op) -> Result<Answer, StoreError> {
        // Held until the answer: this is what bounds the queue.
        let _turn = self.queue.turn().await?;
        let (reply, answer) = oneshot::channel();
        self.queue.push(Job { op, reply: Some(reply) })?;
        answer.await.unwrap_or_else(|_| Err(self.queue.closed()))
    }

    fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Reply<'_, T> {
        let readers = self.readers.clone();
        Box::pin(async move {
            let answer = tokio::task::spawn_blocking(move || readers.ask(question)).await;
            answer.unwrap_or_else(|e| Err(StoreError::Closed(e.to_string())))
        })
    }
}

impl Store for SqliteStore {
    fn accept_at(&self, events: Vec<NewEvent>, cursor: Option<Cursor>) -> Reply<'_, Vec<Acceptance>> {
        let arrivals = events.into_iter().map(arrival).collect();
        Box::pin(async move {
            let Answer::Accepted(list) = self.ask(Op::Accept(arrivals, cursor)).await? else {
                unreachable!("{IN_KIND}")
            };
            Ok(list)
        })
    }

    fn cursor(&self, source: &SourceName, key: &str) -> Reply<'_, Option<String>> {
        let (source, key) = (source.clone(), key.to_owned());
        self.read(move |reader| reader.find_cursor(&source, &key))
    }

    fn fire(&self, firings: Vec<NewFiring>) -> Reply<'_, Vec<Recorded>> {
        let time = |mut new: NewFiring| FireTime { arrival: new.event.take().map(arrival), new };
        let times = firings.into_iter().map(time).collect();
        Box::pin(async move {
            let Answer::Fired(recorded) = self.ask(Op::Fire(times)).await? else { unreachable!("{IN_KIND}") };
            Ok(recorded)
        })
    }

    fn claim(&self, limit: usize, now: Timestamp) -> Reply<'_, Vec<Claimed>> {
        Box::pin(async move {
            let answer = self.ask(Op::Claim { limit, now }).await?;
            let Answer::Claimed(raw) = answer else { unreachable!("{IN_KIND}") };
            let mut claimed = Vec::with_capacity(raw.len());
            for run in raw {
                match run.read() {
                    Ok(run) => claimed.push(run),
                    // The others are claimed all the same, and this one is claimed again.
                    Err((claim, error)) => {
                        if let Err(problem) = self.hold_unreadable(claim, &error).await {
                            tracing::error!(%problem, "a run that cannot be read is not held yet");
                        }
                    }
                }
            }
            Ok(claimed)
        })
    }

    fn take_up(&self, run: Claimed) -> Reply<'_, Work> {
        Box::pin(async move {
            let ledger = match run.claim.epoch {
                // Claimed for the first time: there is none.
                1 => Vec::new(),
                _ => self.ledger_of(&run.claim).await?,
            };
            Ok(Work { run, ledger })
        })
    }

    fn next_wake(&self) -> Reply<'_, Option<Timestamp>> {
        Box::pin(async move {
            let Answer::NextWake(at) = self.ask(Op::NextWake).await? else { unreachable!("{IN_KIND}") };
            Ok(at)
        })
    }

    fn append(&self, claim: &Claim, records: Vec<Record>) -> Reply<'_, ()> {
        let op = append(claim, &records);
        Box::pin(async move { self.ask(op).await.map(drop) })
    }

    fn append_later(&self, claim: &Claim, records: Vec<Record>) -> Result<(), StoreError> {
        self.queue.push_later(append(claim, &records))
    }

    fn append_effect(
        &self,
        claim: &Claim,
        key: Option<OnceKey>,
        limits: Vec<Limit>,
        record: Option<Record>,
    ) -> Reply<'_, Once> {
        let effect = EffectRecord {
            key: key.map(|key| (key, once::Change::of(record.as_ref()))),
            spending: Spending::of(limits, record.as_ref()),
            records: Lines::of(&claim.run, record.as_slice()),
            ends: lock::ended_by(record.as_slice()),
        };
        let op = Op::AppendEffect { claim: claim.clone(), effect };
        Box::pin(async move {
            let once::First { run, reply } = match self.ask(op).await? {
                Answer::Written => return Ok(Once::First),
                Answer::Over(over) => return Ok(Once::Over(over)),
                Answer::Later(first) => first,
                _ => unreachable!("{IN_KIND}"),
            };
            let reply = reply.map(|text| serde_json::from_str(&text)).transpose();
            let reply =
                reply.map_err(|e| StoreError::Unreadable { run: run.clone(), problem: e.to_string() })?;
            Ok(Once::Later { run, reply })
        })
    }

    fn lock(
        &self,
        claim: &Claim,
        position: u32,
        resources: Vec<(AccountName, String)>,
    ) -> Reply<'_, Option<RunId>> {
        let op = Op::Lock { claim: claim.clone(), position, resources };
        Box::pin(async move {
            let Answer::Locked(holder) = self.ask(op).await? else { unreachable!("{IN_KIND}") };
            Ok(holder)
        })
    }

    fn intervene(
        &self,
        claim: &Claim,
        from: RunState,
        key: Option<OnceKey>,
        record: Record,
        to: Standing,
    ) -> Reply<'_, ()> {
        let decided = Intervention {
            claim: claim.clone(),
            from,
            key: key.map(|key| (key, once::Change::of(Some(&record)))),
            ends: lock::ended_by(std::slice::from_ref(&record)),
            note: note(&record),
            waits: Waits::of(std::slice::from_ref(&record), to),
            at: record.at,
            records: Lines::of(&claim.run, &[record]),
            to,
        };
        let op = Op::Intervene(Box::new(decided));
        Box::pin(async move { self.ask(op).await.map(drop) })
    }

    fn halt(&self, halt: Halt) -> Reply<'_, ()> {
        Box::pin(async move { self.ask(Op::Halt(Box::new(halt))).await.map(drop) })
    }

    fn resume(&self, policy: Option<PolicyName>, by: String, at: Timestamp) -> Reply<'_, bool> {
        let target = halt::target(policy.as_ref());
        let change = Change { actor: by, what: "resume".to_owned(), target, at };
        Box::pin(async move {
            let Answer::Resumed(ended) = self.ask(Op::Resume(policy, Box::new(change))).await? else {
                unreachable!("{IN_KIND}")
            };
            Ok(ended)
        })
    }

    fn spent(&self, limits: Vec<Limit>, now: Timestamp) -> Reply<'_, Vec<Vec<Spent>>> {
        self.read(move |reader| reader.spent(&limits, now))
    }

    fn halts(&self) -> Reply<'_, Halts> {
        self.read(|reader| reader.halts().map(Halts))
    }

    fn state(
        &self,
        claim: &Claim,
        policy: &PolicyName,
        position: u32,
        op: StateOp,
        at: Timestamp,
    ) -> Reply<'_, StateReply> {
        let op = Op::State { claim: claim.clone(), policy: policy.clone(), position, op, at };
        Box::pin(async move {
            let Answer::State(reply) = self.ask(op).await? else { unreachable!("{IN_KIND}") };
            Ok(reply)
        })
    }

    fn finish(&self, claim: &Claim, records: Vec<Record>, to: Standing) -> Reply<'_, ()> {
        let op = Op::Finish {
            claim: claim.clone(),
            records: Lines::of(&claim.run, &records),
            to,
            note: records.iter().rev().find_map(note),
            waits: Waits::of(&records, to),
            at: records.last().map(|record| record.at),
        };
        Box::pin(async move { self.ask(op).await.map(drop) })
    }

    fn pause_schedule(&self, key: ScheduleKey, pause: Pause) -> Reply<'_, ()> {
        Box::pin(async move { self.ask(Op::PauseSchedule(key, Box::new(pause))).await.map(drop) })
    }

    fn resume_schedule(&self, key: ScheduleKey, by: String, at: Timestamp) -> Reply<'_, bool> {
        let change = Box::new(resumed(&key, by, at));
        Box::pin(async move {
            let Answer::Resumed(ended) = self.ask(Op::ResumeSchedule(key, change)).await? else {
                unreachable!("{IN_KIND}")
            };
            Ok(ended)
        })
    }

    fn settle_schedules(&self, settled: Vec<(ScheduleKey, Timestamp)>) -> Reply<'_, ()> {
        Box::pin(async move { self.ask(Op::SettleSchedules(settled)).await.map(drop) })
    }

    fn schedule_states(&self, keys: Vec<ScheduleKey>, up_to: Timestamp) -> Reply<'_, Vec<ScheduleState>> {
        Box::pin(async move {
            let Answer::ScheduleStates(states) = self.ask(Op::ScheduleStates(keys, up_to)).await? else {
                unreachable!("{IN_KIND}")
            };
            Ok(states)
        })
    }

    fn list_runs(&self, filter: RunFilter) -> Reply<'_, Vec<RunRow>> {
        self.read(move |reader| reader.list_runs(&filter))
    }

    fn find_runs(&self, prefix: &str, limit: usize) -> Reply<'_, Vec<RunDetail>> {
        let prefix = prefix.to_owned();
        self.read(move |reader| reader.find_runs(&prefix, limit))
    }

    fn list_events(&self, filter: EventFilter) -> Reply<'_, Vec<EventRow>> {
        self.read(move |reader| reader.list_events(&filter))
    }

    fn list_firings(&self, limit: usize) -> Reply<'_, Vec<Firing>> {
        self.read(move |reader| reader.list_firings(limit))
    }

    fn count_runs(&self) -> Reply<'_, Vec<(RunState, u64)>> {
        self.read(Reader::count_runs)
    }

    fn list_approvals(&self, limit: usize) -> Reply<'_, Vec<RunDetail>> {
        self.read(move |reader| reader.list_approvals(limit))
    }

    fn peek_state(&self, policy: &PolicyName, key: &str) -> Reply<'_, Option<StateEntry>> {
        let (policy, key) = (policy.clone(), key.to_owned());
        self.read(move |reader| reader.peek_state(&policy, &key))
    }

    fn pinned_digests(&self) -> Reply<'_, Vec<Digest>> {
        self.read(Reader::pinned_digests)
    }

    fn retain(&self, before: Timestamp, from: RetainedUpTo) -> Reply<'_, Retained> {
        Box::pin(async move {
            let Answer::Retained(retained) = self.ask(Op::Retain { before, from }).await? else {
                unreachable!("{IN_KIND}")
            };
            Ok(retained)
        })
    }

    fn close(&self) -> Reply<'_, ()> {
        self.queue.close("the host shuts down");
        self.readers.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let Some(writer) = writer else { return Ok(()) };
            let joined = tokio::task::spawn_blocking(move || writer.join()).await;
            match joined {
                Ok(Ok(())) => Ok(()),
                _ => Err(StoreError::Closed("the writer panicked".to_owned())),
            }
        })
    }
}

/// Writes what is queued and gives the file back; `close` says whether it worked.
impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.queue.close("the store is gone");
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// Why a mismatch is impossible.
const IN_KIND: &str = "the writer answers an operation in kind";

fn arrival(new: NewEvent) -> Arrival {
    Arrival {
        key: event_key(new.event.source.as_str(), &new.event.id),
        notice: incidents::Notice::of(&new),
        new,
    }
}

fn append(claim: &Claim, records: &[Record]) -> Op {
    let says_more = |record: &Record| {
        !matches!(record.entry, Entry::Started { .. } | Entry::Waited { .. } | Entry::Log { .. })
    };
    Op::Append {
        claim: claim.clone(),
        records: Lines::of(&claim.run, records),
        ends: lock::ended_by(records),
        progress: records.iter().any(says_more),
    }
}

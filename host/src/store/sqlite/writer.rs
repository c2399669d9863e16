//! The one thread that writes. It takes whatever waits, does it in one transaction, and answers once that is on disk: the
//! more waits, the fewer syncs each operation costs. A transaction that fails is done again one operation at a time, so
//! that one that does not fit fails alone; on a full disk what is under way goes on from the `reserve`. A disk error closes the
//! store, since what the disk holds is then unknown. Leaves what an operation does to `apply`, and the one answer that does
//! not wait for the disk to `early`.

use super::apply::Ledgers;
use super::approvals::Waits;
use super::audit::Chain;
use super::claimed::RawClaimed;
use super::damage;
use super::early::Early;
use super::effect::EffectRecord;
use super::incidents::Notice;
use super::late::{EventKey, Late};
use super::ledger::Lines;
use super::lock::Ended;
use super::once;
use super::queue::Queue;
use super::reserve::{Reserve, Room};
use super::statements::Statements;
use super::wal::Wal;
use crate::failpoint;
use crate::store::{
    Acceptance, Claim, Cursor, NewEvent, NewFiring, OnceKey, Pause, Recorded, Retained, RetainedUpTo,
    ScheduleKey, ScheduleState, Standing, StoreError,
};
use opsward_core::audit::Change;
use opsward_core::guardrail::{Halt, Over};
use opsward_core::id::{AccountName, PolicyName, RunId};
use opsward_core::run::{RunState, StateOp, StateReply};
use opsward_core::time::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// One operation on its way to the disk.
pub(super) struct Job {
    pub(super) op: Op,
    /// Who waits for it; `None` where nobody does.
    pub(super) reply: Option<oneshot::Sender<Result<Answer, StoreError>>>,
}

/// What the writer can be asked. Texts come ready-made: serialising is the caller's.
pub(super) enum Op {
    Accept(Vec<Arrival>, Option<Cursor>),
    Fire(Vec<FireTime>),
    Claim {
        limit: usize,
        now: Timestamp,
    },
    /// Whether the claim is in force.
    Holds(Claim),
    NextWake,
    ScheduleStates(Vec<ScheduleKey>, Timestamp),
    SettleSchedules(Vec<(ScheduleKey, Timestamp)>),
    PauseSchedule(ScheduleKey, Box<Pause>),
    ResumeSchedule(ScheduleKey, Box<Change>),
    Append {
        claim: Claim,
        records: Lines,
        ends: Option<Ended>,
        /// Whether it says more than that the run was begun again.
        progress: bool,
    },
    AppendEffect {
        claim: Claim,
        effect: EffectRecord,
    },
    Lock {
        claim: Claim,
        position: u32,
        resources: Vec<(AccountName, String)>,
    },
    Intervene(Box<Intervention>),
    Halt(Box<Halt>),
    Resume(Option<PolicyName>, Box<Change>),
    State {
        claim: Claim,
        policy: PolicyName,
        position: u32,
        op: StateOp,
        at: Timestamp,
    },
    Finish {
        claim: Claim,
        records: Lines,
        to: Standing,
        note: Option<String>,
        waits: Waits,
        at: Option<Timestamp>,
    },
    Retain {
        before: Timestamp,
        from: RetainedUpTo,
    },
    #[cfg(any(test, feature = "failpoints"))]
    LimitPages(u32),
}

/// A person's decision on a run that stands at `from`.
pub(super) struct Intervention {
    pub(super) claim: Claim,
    pub(super) from: RunState,
    pub(super) key: Option<(OnceKey, once::Change)>,
    pub(super) ends: Option<Ended>,
    pub(super) records: Lines,
    pub(super) to: Standing,
    pub(super) note: Option<String>,
    pub(super) waits: Waits,
    pub(super) at: Timestamp,
}

impl Op {
    /// Whether it is done where there is no more room than that: what makes work is not for the last room of a full disk.
    fn may_be_done(&self, room: Room) -> bool {
        match self {
            Self::Accept(..) | Self::Fire(..) => room == Room::Plenty,
            Self::Claim { .. } => room != Room::None,
            _ => true,
        }
    }
}

/// An event to record, the key that names it, and what it says of its incident.
pub(super) struct Arrival {
    pub(super) key: EventKey,
    pub(super) notice: Option<Notice>,
    pub(super) new: NewEvent,
}

/// A decision to record, its event taken out of it.
pub(super) struct FireTime {
    pub(super) new: NewFiring,
    pub(super) arrival: Option<Arrival>,
}

/// The answer to the operation of the same name.
pub(super) enum Answer {
    Accepted(Vec<Acceptance>),
    Fired(Vec<Recorded>),
    Claimed(Vec<RawClaimed>),
    /// The key of the claimed run.
    Holds(i64),
    NextWake(Option<Timestamp>),
    ScheduleStates(Vec<ScheduleState>),
    /// Nothing was written: another effect has the natural key.
    Later(once::First),
    /// Nothing was written: a limit has no room.
    Over(Over),
    /// The run that has one of the resources.
    Locked(Option<RunId>),
    State(StateReply),
    Resumed(bool),
    Retained(Retained),
    Written,
}

/// What the writer has beside the file.
pub(super) struct Parts {
    pub(super) late: Late,
    pub(super) reserve: Reserve,
    pub(super) early: Early,
    pub(super) chain: Chain,
    pub(super) wal: Wal,
}

/// The body of the writer thread. Ends when the queue is closed and empty, or at a disk error.
pub(super) fn run(conn: Connection, lock: File, queue: &Arc<Queue>, parts: Parts) {
    // Whatever ends this thread, nobody is left waiting.
    let _fail_on_exit = FailOnExit(queue);
    let Parts { late, reserve, early, chain, mut wal } = parts;
    let opened = Ledgers::open(&conn, late, chain);
    let ended =
        opened.and_then(|ledgers| write_until_closed(&conn, queue, ledgers, (reserve, early, &mut wal)));
    let ended = ended.and_then(|is_checkpointed| wal.end().map(|()| is_checkpointed));
    if let Err(error) = &ended {
        tracing::error!(error = error as &dyn std::error::Error, "store closed after a disk error");
        queue.fail(&error.to_string());
    }
    if queue.has_failed() {
        // What is in the WAL stays there for the next start: this disk is not to be trusted with a copy.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok();
        return;
    }
    let is_checkpointed = ended.is_ok_and(|is_checkpointed| is_checkpointed);
    // A store that counts as closed ends with a checkpoint.
    if is_checkpointed && let Err(error) = damage::note_closed(&conn) {
        tracing::warn!(%error, "the store is not marked as closed; the next start checks it");
    }
    // One round is bounded by the size of the WAL; what a reader keeps from being copied is copied at the next opening.
    if let Err(error) = conn.execute_batch("PRAGMA busy_timeout = 500; PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(%error, "checkpoint at shutdown failed; the next start makes up for it");
        // A second try would take for written what the first could not sync, and delete the WAL.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok();
    }
    drop(conn);
    drop(lock);
}

/// Returns whether the end of the audit chain is on disk as a checkpoint.
fn write_until_closed(
    conn: &Connection,
    queue: &Queue,
    ledgers: Ledgers,
    (reserve, early, wal): (Reserve, Early, &mut Wal),
) -> Result<bool, rusqlite::Error> {
    let sql = Statements::prepare(conn)?;
    let mut writer = Writer { conn, sql, ledgers, reserve, early, wal, revoked: Vec::new(), wrote: false };
    while let Some(jobs) = queue.take() {
        writer.reserve.restore();
        writer.release_revoked()?;
        writer.settle(jobs)?;
    }
    Ok(writer.ledgers.close())
}

struct FailOnExit<'a>(&'a Queue);
impl Drop for FailOnExit<'_> {
    fn drop(&mut self) {
        self.0.fail("the writer has stopped");
    }
}

struct Writer<'c> {
    conn: &'c Connection,
    sql: Statements<'c>,
    ledgers: Ledgers,
    reserve: Reserve,
    early: Early,
    wal: &'c mut Wal,
    /// Runs whose claim is over because a write of it failed: to be made ready as soon as the disk takes it.
    revoked: Vec<i64>,
    /// Whether the latest transaction changed anything.
    wrote: bool,
}

impl Writer<'_> {
    /// Does `jobs` and answers them. An error is one after which nothing more may be written.
    fn settle(&mut self, mut jobs: Vec<Job>) -> Result<(), rusqlite::Error> {
        let begun = Instant::now();
        match self.transact(&mut jobs) {
            Ok(answers) => {
                if self.wrote {
                    failpoint::hit("after-commit-before-reply");
                }
                metrics::histogram!("opsward_store_commit_seconds").record(begun.elapsed().as_secs_f64());
                metrics::counter!("opsward_store_operations_total").increment(jobs.len() as u64);
                for (job, answer) in jobs.into_iter().zip(answers) {
                    self.reply(job, answer);
                }
                for claim in self.early.written() {
                    self.revoke(&claim);
                }
                self.wal.tend(self.conn)
            }
            Err(error) => {
                self.roll_back()?;
                let tried = jobs.len();
                if self.early.not_written(&mut jobs) {
                    self.ledgers.outdate_claims();
                }
                if is_fatal(&error) {
                    let reason = error.to_string();
                    for reply in jobs.into_iter().filter_map(|job| job.reply) {
                        reply.send(Err(StoreError::Closed(reason.clone()))).ok();
                    }
                    return Err(error);
                }
                if is_full(&error) && self.reserve.give_up() {
                    return self.settle(jobs);
                }
                if tried > 1 {
                    return jobs.into_iter().try_for_each(|job| self.settle(vec![job]));
                }
                self.refuse(jobs, error);
                Ok(())
            }
        }
    }

    /// All of `jobs` in one transaction. An inner error is a job's own and wrote nothing.
    fn transact(&mut self, jobs: &mut [Job]) -> Result<Vec<Result<Answer, StoreError>>, rusqlite::Error> {
        let changes = self.conn.total_changes();
        self.sql.begin.execute([])?;
        let mut answers = Vec::with_capacity(jobs.len());
        let room = self.reserve.room();
        for job in jobs.iter() {
            if !job.op.may_be_done(room) {
                answers.push(Err(StoreError::Full));
                continue;
            }
            match self.ledgers.apply(&mut self.sql, self.conn, &job.op, room) {
                Err(StoreError::Sqlite(error)) => return Err(error),
                answer => answers.push(answer),
            }
        }
        self.ledgers.write_rest(&mut self.sql)?;
        // A transaction of questions stays one: it needs no sync, and is no moment to die at.
        self.wrote = self.conn.total_changes() != changes;
        if self.wrote {
            self.ledgers.write_late(&mut self.sql)?;
        }
        if failpoint::wrong("ack-before-commit") {
            for (job, answer) in jobs.iter_mut().zip(&mut answers) {
                if let Some(reply) = job.reply.take() {
                    reply.send(std::mem::replace(answer, Ok(Answer::Written))).ok();
                }
            }
            // The mistake shows only if the sender hears of it before a kill.
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        self.early.hand_out(jobs, &mut answers);
        if self.wrote {
            failpoint::hit("before-commit");
            if failpoint::wrong("disk-error") {
                let broken = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_WRITE);
                return Err(rusqlite::Error::SqliteFailure(broken, None));
            }
        }
        self.sql.commit.execute([])?;
        self.ledgers.keep();
        Ok(answers)
    }

    fn roll_back(&mut self) -> Result<(), rusqlite::Error> {
        self.ledgers.roll_back();
        // Some errors have SQLite roll back by itself.
        if self.conn.is_autocommit() { Ok(()) } else { self.conn.execute_batch("ROLLBACK") }
    }

    fn reply(&mut self, job: Job, answer: Result<Answer, StoreError>) {
        let Some(reply) = job.reply else {
            if let Err(error) = answer {
                tracing::debug!(%error, "records of a past claim dropped");
            }
            return;
        };
        // Runs that were claimed for somebody who has left are for the next.
        if let Err(Ok(Answer::Claimed(runs))) = reply.send(answer) {
            for run in runs {
                self.revoke(&run.claim);
            }
        }
    }

    /// Answers the one job that failed with `error`, and ends the claim it wrote for.
    fn refuse(&mut self, jobs: Vec<Job>, error: rusqlite::Error) {
        let full = is_full(&error);
        let mut error = Some(error);
        for job in jobs {
            if let Op::Append { claim, .. }
            | Op::AppendEffect { claim, .. }
            | Op::Lock { claim, .. }
            | Op::State { claim, .. }
            | Op::Finish { claim, .. } = &job.op
            {
                tracing::warn!(run = %claim.run, %full, "a record could not be written: the run will be claimed again");
                self.revoke(claim);
                if full {
                    self.reserve.used_up();
                }
            }
            if let (Some(reply), Some(error)) = (job.reply, error.take()) {
                let answer = if full { StoreError::Full } else { StoreError::Sqlite(error) };
                reply.send(Err(answer)).ok();
            }
        }
    }

    fn revoke(&mut self, claim: &Claim) {
        self.revoked.extend(self.ledgers.forget(claim));
    }

    fn release_revoked(&mut self) -> Result<(), rusqlite::Error> {
        if self.revoked.is_empty() {
            return Ok(());
        }
        match self.ledgers.release(&mut self.sql, &self.revoked) {
            Ok(()) => self.revoked.clear(),
            Err(error) => {
                self.roll_back()?;
                if is_fatal(&error) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    // The shared-memory file beside the WAL has a code of its own for the same condition.
    error.sqlite_error().is_some_and(|e| {
        e.code == ErrorCode::DiskFull || e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    })
}

/// Whether it is unknown what the disk holds after `error`.
pub(super) fn is_fatal(error: &rusqlite::Error) -> bool {
    let other = [
        ErrorCode::ReadOnly,
        ErrorCode::CannotOpen,
        ErrorCode::OutOfMemory,
        ErrorCode::ApiMisuse,
        ErrorCode::InternalMalfunction,
    ];
    is_broken(error) || error.sqlite_error_code().is_some_and(|code| other.contains(&code))
}

/// Whether the file or its disk is broken.
pub(super) fn is_broken(error: &rusqlite::Error) -> bool {
    use ErrorCode::{DatabaseCorrupt, NotADatabase, SystemIoFailure};
    let code = error.sqlite_error_code();
    !is_full(error) && matches!(code, Some(SystemIoFailure | DatabaseCorrupt | NotADatabase))
}

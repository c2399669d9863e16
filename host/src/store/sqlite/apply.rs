//! What each operation does inside the writer's transaction, and what the writer knows beside the file: the claims in
//! force and how many runs stand where. Both follow the transaction: kept when it commits, undone when it does not.
//! Leaves transactions and answers to `writer`. Tested by the conformance suite.

use super::policy_state;
use super::read::{EVENT_COLUMNS, event_at, parsed};
use super::schema::{code, stored};
use super::writer::{Answer, Op, RawClaimed};
use crate::failpoint;
use crate::store::{Acceptance, Claim, Decision, Firing, NewEvent, ScheduleState, Standing, StoreError};
use opsward_core::id::{Digest, PolicyName, RunId};
use opsward_core::run::RunState;
use opsward_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Statement, params};
use std::collections::HashMap;

/// Ledger rows of one run: the lower bits of `ledger.key`.
pub(super) const ROW_BITS: u32 = 24;
const ROWS_MAX: i64 = 1 << ROW_BITS;

/// The claims in force, the tally's pending change, and the next run's key.
pub(super) struct Ledgers {
    claims: HashMap<RunId, Live>,
    /// What `claims` held before this transaction, latest last.
    undo: Vec<(RunId, Option<Live>)>,
    tally: [i64; 6],
    next_run: i64,
    /// `next_run` as of the last commit.
    next_run_kept: i64,
}

/// A claim in force.
#[derive(Clone, Copy)]
struct Live {
    seq: i64,
    epoch: u64,
    next_row: i64,
}

impl Ledgers {
    pub(super) fn open(conn: &Connection) -> Result<Self, rusqlite::Error> {
        let next_run = conn.query_row("SELECT coalesce(max(seq), 0) + 1 FROM runs", [], |row| row.get(0))?;
        Ok(Self {
            claims: HashMap::new(),
            undo: Vec::new(),
            tally: [0; 6],
            next_run,
            next_run_kept: next_run,
        })
    }

    pub(super) fn apply(
        &mut self,
        sql: &mut Statements<'_>,
        conn: &Connection,
        op: &Op,
    ) -> Result<Answer, StoreError> {
        match op {
            Op::Accept(events) => events
                .iter()
                .map(|e| self.accept(sql, conn, e, None))
                .collect::<Result<_, _>>()
                .map(Answer::Accepted),
            Op::Fire(firing, event) => self.fire(sql, conn, firing, event.as_ref()).map(Answer::Fired),
            Op::Claim { limit, now } => self.claim(sql, *limit, *now).map(Answer::Claimed),
            Op::NextWake => {
                let wake: Option<i64> = sql.next_wake.query_row([], |row| row.get(0))?;
                Ok(Answer::NextWake(wake.map(Timestamp::from_ms)))
            }
            Op::ScheduleState(policy, schedule) => {
                schedule_state(sql, policy, schedule).map(Answer::ScheduleState)
            }
            Op::Append { claim, records } => {
                self.append(sql, claim, records)?;
                Ok(Answer::Written)
            }
            Op::State { claim, policy, position, op, at } => {
                self.check(claim)?;
                let reply = policy_state::perform(&mut sql.policy_state, policy, op)?;
                self.append(sql, claim, &policy_state::record(*position, op, &reply, *at))?;
                Ok(Answer::State(reply))
            }
            Op::Finish { claim, records, to, note, at } => {
                self.finish(sql, claim, records, *to, note.as_deref(), *at)?;
                Ok(Answer::Written)
            }
            #[cfg(any(test, feature = "failpoints"))]
            Op::LimitPages(pages) => {
                // Called within a transaction it still counts from the next page asked for.
                conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
                Ok(Answer::Written)
            }
        }
    }

    fn accept(
        &mut self,
        sql: &mut Statements<'_>,
        conn: &Connection,
        new: &NewEvent,
        schedule: Option<&str>,
    ) -> Result<Acceptance, StoreError> {
        let event = &new.event;
        let raw = Some(&new.raw).filter(|raw| !raw.is_empty() && raw.as_slice() != event.data.as_bytes());
        let received = new.received.ms();
        let wrong_id = failpoint::wrong("no-dedupe").then(|| format!("{}#{}", event.id, self.next_run));
        let inserted = sql.insert_event.execute(params![
            event.source.as_str(),
            wrong_id.as_deref().unwrap_or(&event.id),
            event.kind,
            event.subject,
            event.time.ms(),
            event.incident,
            event.account,
            event.region,
            received,
            self.next_run,
            stored(new.runs.len()),
            event.data,
            raw,
        ])?;
        if inserted == 0 {
            return Ok(Acceptance::Duplicate);
        }
        let event_seq = conn.last_insert_rowid();
        let mut runs = 0;
        for run in &new.runs {
            let wrong_id = wrong_id.as_ref().map(|_| format!("{:024x}", self.next_run));
            runs += sql.insert_run.execute(params![
                self.next_run,
                wrong_id.as_deref().unwrap_or(run.id.as_str()),
                event_seq,
                run.policy.as_str(),
                run.digest.as_bytes(),
                schedule,
                received,
            ])?;
            self.next_run += 1;
        }
        self.count(RunState::Ready, stored(runs));
        Ok(Acceptance::New { runs })
    }

    fn fire(
        &mut self,
        sql: &mut Statements<'_>,
        conn: &Connection,
        firing: &Firing,
        event: Option<&NewEvent>,
    ) -> Result<bool, StoreError> {
        let inserted = sql.insert_firing.execute(params![
            firing.policy.as_str(),
            firing.schedule,
            firing.fire_at.ms(),
            decision_code(firing.decision),
            firing.decided_at.ms(),
        ])?;
        if let (1, Some(event)) = (inserted, event) {
            self.accept(sql, conn, event, Some(&firing.schedule))?;
        }
        Ok(inserted == 1)
    }

    fn claim(
        &mut self,
        sql: &mut Statements<'_>,
        limit: usize,
        now: Timestamp,
    ) -> Result<Vec<RawClaimed>, StoreError> {
        let mut claimed = Vec::new();
        let mut rows = sql.ready.query(params![now.ms(), stored(limit)])?;
        while let Some(row) = rows.next()? {
            let (event, received) = event_at(row, 6)?;
            let epoch: i64 = row.get(4)?;
            let run = RawClaimed {
                claim: Claim {
                    run: RunId::from_text(row.get::<_, String>(1)?),
                    epoch: epoch.unsigned_abs() + 1,
                },
                policy: parsed(row, 2)?,
                digest: Digest::from_bytes(row.get(3)?),
                faults: row.get(5)?,
                event,
                received,
                ledger: Vec::new(),
            };
            claimed.push((row.get::<_, i64>(0)?, run));
        }
        drop(rows);
        for (seq, run) in &mut claimed {
            let mut next_row = 0;
            // A first claim has no ledger to read.
            if run.claim.epoch > 1 {
                let mut rows = sql.ledger.query(params![*seq << ROW_BITS, (*seq + 1) << ROW_BITS])?;
                while let Some(row) = rows.next()? {
                    next_row = (row.get::<_, i64>(0)? & (ROWS_MAX - 1)) + 1;
                    run.ledger.push(row.get(1)?);
                }
            }
            sql.mark_running.execute(params![*seq, run.claim.epoch.cast_signed(), now.ms()])?;
            let live = Live { seq: *seq, epoch: run.claim.epoch, next_row };
            self.change(&run.claim.run, Some(live));
        }
        self.count(RunState::Ready, -stored(claimed.len()));
        self.count(RunState::Running, stored(claimed.len()));
        Ok(claimed.into_iter().map(|(_, run)| run).collect())
    }

    fn append(&mut self, sql: &mut Statements<'_>, claim: &Claim, records: &str) -> Result<Live, StoreError> {
        let live = self.check(claim)?;
        if records.is_empty() {
            return Ok(live);
        }
        if live.next_row >= ROWS_MAX {
            return Err(StoreError::LedgerFull(claim.run.clone()));
        }
        sql.append.execute(params![live.seq << ROW_BITS | live.next_row, records])?;
        self.change(&claim.run, Some(Live { next_row: live.next_row + 1, ..live }));
        Ok(live)
    }

    fn finish(
        &mut self,
        sql: &mut Statements<'_>,
        claim: &Claim,
        records: &str,
        to: Standing,
        note: Option<&str>,
        at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let live = self.append(sql, claim, records)?;
        let (state, wake, faulted) = match to {
            Standing::Wake { at, faulted } => (RunState::Ready, Some(at.ms()), faulted),
            Standing::Held => (RunState::Held, None, false),
            Standing::Done => (RunState::Done, None, false),
            Standing::Failed => (RunState::Failed, None, false),
            Standing::Dead => (RunState::Dead, None, true),
        };
        sql.finish.execute(params![live.seq, code(state), wake, faulted, at.map(Timestamp::ms), note])?;
        self.change(&claim.run, None);
        self.count(RunState::Running, -1);
        self.count(state, 1);
        Ok(())
    }

    /// Makes runs whose claim is over ready, in a transaction of its own.
    pub(super) fn release(&mut self, sql: &mut Statements<'_>, runs: &[i64]) -> Result<(), rusqlite::Error> {
        sql.begin.execute([])?;
        let mut released = 0;
        for seq in runs {
            released += stored(sql.release.execute([seq])?);
        }
        self.count(RunState::Running, -released);
        self.count(RunState::Ready, released);
        self.write_tally(sql)?;
        sql.commit.execute([])?;
        self.keep();
        Ok(())
    }

    /// Ends a claim without writing; returns its run's key if the claim was in force.
    pub(super) fn forget(&mut self, claim: &Claim) -> Option<i64> {
        let live = self.check(claim).ok()?;
        self.claims.remove(&claim.run);
        Some(live.seq)
    }

    /// Writes how many more or fewer runs stand where since the transaction began.
    pub(super) fn write_tally(&mut self, sql: &mut Statements<'_>) -> Result<(), rusqlite::Error> {
        for (state, change) in (0_i64..).zip(self.tally).filter(|(_, change)| *change != 0) {
            sql.tally.execute(params![state, change])?;
        }
        Ok(())
    }

    /// The transaction is on disk.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
        self.tally = [0; 6];
        self.next_run_kept = self.next_run;
    }

    /// The transaction did not happen.
    pub(super) fn roll_back(&mut self) {
        while let Some((run, live)) = self.undo.pop() {
            match live {
                Some(live) => self.claims.insert(run, live),
                None => self.claims.remove(&run),
            };
        }
        self.tally = [0; 6];
        self.next_run = self.next_run_kept;
    }

    fn check(&self, claim: &Claim) -> Result<Live, StoreError> {
        let live = self.claims.get(&claim.run).filter(|live| live.epoch == claim.epoch);
        live.copied().ok_or_else(|| StoreError::Lost(claim.run.clone()))
    }

    fn change(&mut self, run: &RunId, live: Option<Live>) {
        let before = match live {
            Some(live) => self.claims.insert(run.clone(), live),
            None => self.claims.remove(run),
        };
        self.undo.push((run.clone(), before));
    }

    fn count(&mut self, state: RunState, change: i64) {
        self.tally[code(state) as usize] += change;
    }
}

fn schedule_state(
    sql: &mut Statements<'_>,
    policy: &PolicyName,
    schedule: &str,
) -> Result<ScheduleState, StoreError> {
    let last: Option<i64> = sql.last_fire.query_row([policy.as_str(), schedule], |row| row.get(0))?;
    let unfinished = sql.unfinished.query_row([policy.as_str(), schedule], |_| Ok(())).optional()?;
    Ok(ScheduleState { last_fire: last.map(Timestamp::from_ms), unfinished: unfinished.is_some() })
}

pub(super) const fn decision_code(decision: Decision) -> i64 {
    match decision {
        Decision::Fired => 0,
        Decision::SkippedLate => 1,
        Decision::SkippedOverlap => 2,
    }
}

/// The writer's statements, prepared once.
pub(super) struct Statements<'c> {
    pub(super) begin: Statement<'c>,
    pub(super) commit: Statement<'c>,
    insert_event: Statement<'c>,
    insert_run: Statement<'c>,
    insert_firing: Statement<'c>,
    ready: Statement<'c>,
    ledger: Statement<'c>,
    mark_running: Statement<'c>,
    append: Statement<'c>,
    finish: Statement<'c>,
    release: Statement<'c>,
    tally: Statement<'c>,
    next_wake: Statement<'c>,
    last_fire: Statement<'c>,
    unfinished: Statement<'c>,
    policy_state: policy_state::Statements<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        let sql = |text: &str| conn.prepare(text);
        Ok(Self {
            begin: sql("BEGIN")?,
            commit: sql("COMMIT")?,
            insert_event: sql(
                "INSERT INTO events (source, id, kind, subject, time, incident, account, region, received, first_run, runs,
                   data, raw)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT DO NOTHING",
            )?,
            insert_run: sql(
                "INSERT INTO runs (seq, id, event, policy, digest, schedule, state, epoch, faults, created, changed, wake)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, ?7, ?7, ?7) ON CONFLICT DO NOTHING",
            )?,
            insert_firing: sql(
                "INSERT INTO firings (policy, schedule, fire_at, decision, decided_at)
                 VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            )?,
            ready: sql(&format!(
                "SELECT r.seq, r.id, r.policy, r.digest, r.epoch, r.faults, {EVENT_COLUMNS}
                 FROM runs r INDEXED BY runs_not_done JOIN events e ON e.seq = r.event
                 WHERE r.state = 0 AND r.state <> 3 AND r.wake <= ?1 ORDER BY r.wake, r.seq LIMIT ?2"
            ))?,
            ledger: sql("SELECT key, records FROM ledger WHERE key >= ?1 AND key < ?2 ORDER BY key")?,
            mark_running: sql("UPDATE runs SET state = 1, epoch = ?2, changed = ?3 WHERE seq = ?1")?,
            append: sql("INSERT INTO ledger (key, records) VALUES (?1, ?2)")?,
            finish: sql(
                "UPDATE runs SET state = ?2, wake = coalesce(?3, wake), faults = faults + ?4,
                   changed = coalesce(?5, changed), note = ?6 WHERE seq = ?1",
            )?,
            release: sql("UPDATE runs SET state = 0 WHERE seq = ?1 AND state = 1")?,
            tally: sql("UPDATE tally SET runs = runs + ?2 WHERE state = ?1")?,
            next_wake: sql("SELECT min(wake) FROM runs INDEXED BY runs_not_done WHERE state = 0 AND state <> 3")?,
            last_fire: sql("SELECT max(fire_at) FROM firings WHERE policy = ?1 AND schedule = ?2")?,
            unfinished: sql(
                "SELECT 1 FROM runs INDEXED BY runs_scheduled
                 WHERE policy = ?1 AND schedule = ?2 AND schedule IS NOT NULL AND state < 3 LIMIT 1",
            )?,
            policy_state: policy_state::Statements::prepare(conn)?,
        })
    }
}

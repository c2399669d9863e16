//! What each operation does inside the writer's transaction, and what the writer knows beside the file: the claims in
//! force and how many runs stand where. Both follow the transaction: kept when it commits, undone when it does not.
//! Leaves transactions and answers to `writer`. Tested by the conformance suite.

use super::audit::Chain;
use super::claimed::{RawClaimed, taken};
use super::effect::end_effect;
use super::late::Late;
use super::ledger::{self, Lines};
use super::reserve::Room;
use super::schema::{code, stored};
use super::statements::Statements;
use super::writer::{Answer, Arrival, FireTime, Op};
use super::{cursor, halt, policy_state, retain, schedule};
use crate::failpoint::wrong;
use crate::store::{Acceptance, Claim, Recorded, Retained, RetainedUpTo, StoreError};
use opsward_core::event::Transition;
use opsward_core::id::{AccountName, RunId};
use opsward_core::run::RunState;
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The claims in force, what this transaction has still to write, and the next run's key.
pub(super) struct Ledgers {
    claims: HashMap<RunId, Live>,
    /// What `claims` held before this transaction, latest last.
    undo: Vec<(RunId, Option<Live>)>,
    /// Records of this transaction by run: one row each, however many operations they came with.
    rows: BTreeMap<i64, String>,
    tally: [i64; 6],
    late: Late,
    chain: Chain,
    /// Added to the epoch of every claim: more than any that was handed out and did not reach the disk.
    outdated: u64,
    /// The time of the latest claim; the end of time before the first.
    claimed_at: Timestamp,
    next_run: i64,
    /// `next_run` as of the last commit.
    next_run_kept: i64,
}

/// A claim in force.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) seq: i64,
    epoch: u64,
    /// Whether crashes are counted against the run.
    pub(super) is_suspect: bool,
    /// Whose account its calls go to, by its own record.
    account: Option<AccountName>,
}

/// How far the clock may have been ahead when a run was accepted, without that the run is roused once it is set back.
const AHEAD_MAX: Duration = Duration::from_secs(60);

impl Ledgers {
    pub(super) fn open(conn: &Connection, late: Late, chain: Chain) -> Result<Self, rusqlite::Error> {
        let next_run = conn.query_row("SELECT coalesce(max(seq), 0) + 1 FROM runs", [], |row| row.get(0))?;
        Ok(Self {
            claims: HashMap::new(),
            undo: Vec::new(),
            rows: BTreeMap::new(),
            tally: [0; 6],
            late,
            chain,
            outdated: 0,
            claimed_at: Timestamp::from_ms(i64::MAX),
            next_run,
            next_run_kept: next_run,
        })
    }

    pub(super) fn apply(
        &mut self,
        sql: &mut Statements<'_>,
        conn: &Connection,
        op: &Op,
        room: Room,
    ) -> Result<Answer, StoreError> {
        match op {
            Op::Accept(events, moved) => {
                if let Some(moved) = moved {
                    cursor::move_to(conn, moved)?;
                }
                let accepted = events.iter().map(|e| self.accept(sql, conn, e, None));
                accepted.collect::<Result<_, _>>().map(Answer::Accepted)
            }
            Op::Fire(times) => times
                .iter()
                .map(|time| self.fire(sql, conn, time))
                .collect::<Result<_, _>>()
                .map(Answer::Fired),
            Op::Claim { limit, now } => self.claim(sql, *limit, *now, least_epoch(room)).map(Answer::Claimed),
            Op::Holds(claim) => self.check(claim).map(|live| Answer::Holds(live.seq)),
            Op::NextWake => {
                let wake: Option<i64> = sql.next_wake.query_row([least_epoch(room)], |row| row.get(0))?;
                Ok(Answer::NextWake(wake.map(Timestamp::from_ms)))
            }
            Op::ScheduleStates(keys, up_to) => {
                let states = keys.iter().map(|key| sql.schedule.of(key, *up_to));
                Ok(Answer::ScheduleStates(states.collect::<Result<_, _>>()?))
            }
            Op::SettleSchedules(settled) => {
                schedule::settle(conn, settled)?;
                Ok(Answer::Written)
            }
            Op::PauseSchedule(key, pause) => {
                schedule::pause(conn, key, pause)?;
                self.chain.add(pause.change(key).into());
                Ok(Answer::Written)
            }
            Op::ResumeSchedule(key, change) => {
                let resumed = schedule::resume(conn, key, change.at)?;
                if resumed {
                    self.chain.add((**change).clone().into());
                }
                Ok(Answer::Resumed(resumed))
            }
            Op::Append { claim, records, ends, progress } => {
                let live = self.append(sql, claim, records)?;
                end_effect(sql, claim, *ends)?;
                if *progress && live.is_suspect {
                    self.clear(sql, claim, live)?;
                }
                Ok(Answer::Written)
            }
            Op::AppendEffect { claim, effect } => self.append_effect(sql, claim, effect),
            Op::Lock { claim, position, resources } => {
                self.check(claim)?;
                Ok(Answer::Locked(sql.lock.take(&claim.run, *position, resources)?))
            }
            Op::Intervene(intervention) => {
                self.intervene(sql, intervention)?;
                Ok(Answer::Written)
            }
            Op::Halt(halted) => {
                halt::halt(conn, halted)?;
                self.chain.add(halt::change(halted).into());
                Ok(Answer::Written)
            }
            Op::Resume(policy, change) => {
                let resumed = halt::resume(conn, policy.as_ref())?;
                if resumed {
                    self.chain.add((**change).clone().into());
                }
                Ok(Answer::Resumed(resumed))
            }
            Op::State { claim, policy, position, op, at } => {
                self.check(claim)?;
                let reply = policy_state::perform(&mut sql.policy_state, policy, op)?;
                let live =
                    self.append(sql, claim, &policy_state::record(&claim.run, *position, op, &reply, *at))?;
                if live.is_suspect {
                    self.clear(sql, claim, live)?;
                }
                Ok(Answer::State(reply))
            }
            Op::Finish { claim, records, to, note, waits, at } => {
                self.finish(sql, claim, records, *to, (note.as_deref(), *waits), *at)?;
                Ok(Answer::Written)
            }
            Op::Retain { before, from } => self.retain(sql, *before, *from).map(Answer::Retained),
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
        arrival: &Arrival,
        of_schedule: Option<&str>,
    ) -> Result<Acceptance, StoreError> {
        let Arrival { key, notice, new } = arrival;
        let event = &new.event;
        if self.late.is_known(&mut sql.late, key)? && !wrong("no-dedupe") {
            return Ok(Acceptance::Duplicate);
        }
        let mut heard = notice.as_ref().map(|notice| sql.incidents.hear(notice, new)).transpose()?;
        if let Some(heard) = &mut heard {
            self.settle_hinted(sql, heard, new)?;
        }
        let starts = |at: usize| heard.as_ref().is_none_or(|heard| heard.starts(at));
        let runs = (0..new.runs.len()).filter(|at| starts(*at)).count();
        let raw = Some(&new.raw).filter(|raw| !raw.is_empty() && raw.as_slice() != event.data.as_bytes());
        let received = new.received.ms();
        sql.insert_event.execute(params![
            event.source.as_str(),
            event.id,
            event.kind,
            event.subject,
            event.time.ms(),
            event.incident,
            event.account,
            event.region,
            received,
            self.next_run,
            stored(runs),
            event.data,
            raw,
            event.level,
            event.transition.map(Transition::as_str),
            new.trust == Trust::Proved,
        ])?;
        let event_seq = conn.last_insert_rowid();
        self.late.add_event(*key, event_seq);
        if let Some(heard) = &heard {
            sql.incidents.note(heard, &new.runs, event_seq, self.next_run)?;
        }
        for (_, run) in new.runs.iter().enumerate().filter(|(at, _)| starts(*at)) {
            sql.insert_run.execute(params![
                self.next_run,
                run.id.as_str(),
                event_seq,
                run.policy.as_str(),
                run.digest.as_bytes(),
                of_schedule,
                received,
            ])?;
            self.late.add_run(run.id.as_str(), self.next_run);
            self.next_run += 1;
        }
        self.count(RunState::Ready, stored(runs));
        Ok(Acceptance::New { runs })
    }

    fn fire(
        &mut self,
        sql: &mut Statements<'_>,
        conn: &Connection,
        FireTime { new, arrival }: &FireTime,
    ) -> Result<Recorded, StoreError> {
        if sql.schedule.is_paused(new)? && !wrong("no-pause") {
            return Ok(Recorded::Paused);
        }
        if sql.schedule.is_unfinished(new)? {
            return Ok(Recorded::Unfinished);
        }
        if !sql.schedule.record(&new.firing)? {
            return Ok(Recorded::Before);
        }
        if let Some(arrival) = arrival {
            self.accept(sql, conn, arrival, Some(&new.firing.schedule))?;
        }
        if let Some(change) = new.change() {
            self.chain.add(change.into());
        }
        Ok(Recorded::First)
    }

    fn claim(
        &mut self,
        sql: &mut Statements<'_>,
        limit: usize,
        now: Timestamp,
        least_epoch: i64,
    ) -> Result<Vec<RawClaimed>, StoreError> {
        if now < self.claimed_at {
            // No run waits before it has begun: what came under a clock that ran ahead must not wait for that time.
            sql.rouse.execute([now.ms(), (now + AHEAD_MAX).ms()])?;
        }
        self.claimed_at = now;
        let mut claimed = taken(&mut sql.ready.query(params![now.ms(), stored(limit), least_epoch])?)?;
        if claimed.len() < limit {
            claimed.extend(taken(&mut sql.suspect.query([now.ms()])?)?);
        }
        for run in &mut claimed {
            run.claim.epoch += self.outdated;
            sql.mark_running.execute(params![run.seq, run.claim.epoch.cast_signed(), now.ms()])?;
            let is_suspect = run.crashes > 0;
            let live = Live { seq: run.seq, epoch: run.claim.epoch, is_suspect, account: None };
            self.change(&run.claim.run, Some(live));
        }
        self.count(RunState::Ready, -stored(claimed.len()));
        self.count(RunState::Running, stored(claimed.len()));
        Ok(claimed)
    }

    pub(super) fn append(
        &mut self,
        sql: &mut Statements<'_>,
        claim: &Claim,
        records: &Lines,
    ) -> Result<Live, StoreError> {
        let mut live = self.check(claim)?;
        if records.account.is_some() {
            live.account.clone_from(&records.account);
            self.change(&claim.run, Some(live.clone()));
        }
        self.add(sql, live.seq, records, live.account.as_ref())?;
        Ok(live)
    }

    /// The run got further than when the hosts before died: it was not the cause.
    pub(super) fn clear(
        &mut self,
        sql: &mut Statements<'_>,
        claim: &Claim,
        live: Live,
    ) -> Result<(), StoreError> {
        sql.clear.execute([live.seq])?;
        self.change(&claim.run, Some(Live { is_suspect: false, ..live }));
        Ok(())
    }

    /// Adds records of a run, and what the audit chain and the count of its effects say of them.
    pub(super) fn add(
        &mut self,
        sql: &mut Statements<'_>,
        run: i64,
        lines: &Lines,
        account: Option<&AccountName>,
    ) -> Result<(), rusqlite::Error> {
        self.chain.add_records(run, lines, account);
        if lines.effects != 0 {
            sql.incidents.hinted.act(run, lines.effects)?;
        }
        let records = lines.text.as_str();
        if !records.is_empty() {
            let row = self.rows.entry(run).or_default();
            if !row.is_empty() {
                row.push('\n');
            }
            row.push_str(records);
        }
        Ok(())
    }

    fn retain(
        &mut self,
        sql: &mut Statements<'_>,
        before: Timestamp,
        from: RetainedUpTo,
    ) -> Result<Retained, StoreError> {
        if self.late.is_writing() {
            // What is on its way into an index cannot be taken out of it: first that is brought to its end.
            self.late.write_slice(&mut sql.late)?;
            return Ok(Retained { events: 0, runs: 0, firings: 0, next: Some(from) });
        }
        let slice =
            retain::slice(&mut sql.retain, &mut sql.incidents, &mut self.late, before, from, self.next_run)?;
        for (state, runs) in RunState::ALL.into_iter().zip(slice.by_state) {
            self.count(state, -runs);
        }
        for run in slice.runs {
            self.rows.remove(&run);
        }
        Ok(slice.retained)
    }

    /// Makes the claims of a transaction that did not happen worth less than the next: their holders write nothing more.
    pub(super) fn outdate_claims(&mut self) {
        self.outdated += 1;
    }

    /// Ends a claim without writing; returns its run's key if the claim was in force.
    pub(super) fn forget(&mut self, claim: &Claim) -> Option<i64> {
        let live = self.check(claim).ok()?;
        self.claims.remove(&claim.run);
        Some(live.seq)
    }

    /// Writes what the operations of this transaction left for its end.
    pub(super) fn write_rest(&mut self, sql: &mut Statements<'_>) -> Result<(), rusqlite::Error> {
        for (run, records) in &self.rows {
            sql.append.execute(params![run, records, ledger::sum(*run, records.as_bytes())])?;
        }
        self.chain.write(&mut sql.audit)?;
        for (state, change) in (0_i64..).zip(self.tally).filter(|(_, change)| *change != 0) {
            sql.tally.execute(params![state, change])?;
        }
        Ok(())
    }

    /// Writes more of the late indices.
    pub(super) fn write_late(&mut self, sql: &mut Statements<'_>) -> Result<(), rusqlite::Error> {
        self.late.write_slice(&mut sql.late)
    }

    /// The transaction is on disk.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
        self.rows.clear();
        self.tally = [0; 6];
        self.late.keep();
        self.chain.keep();
        self.next_run_kept = self.next_run;
    }

    /// Nothing more will be written. Returns whether the end of the audit chain is on disk as a checkpoint.
    pub(super) fn close(&mut self) -> bool {
        self.chain.close()
    }

    /// The transaction did not happen.
    pub(super) fn roll_back(&mut self) {
        while let Some((run, live)) = self.undo.pop() {
            match live {
                Some(live) => self.claims.insert(run, live),
                None => self.claims.remove(&run),
            };
        }
        self.rows.clear();
        self.tally = [0; 6];
        self.late.roll_back();
        self.chain.roll_back();
        self.next_run = self.next_run_kept;
    }

    pub(super) fn check(&self, claim: &Claim) -> Result<Live, StoreError> {
        let live = self.claims.get(&claim.run).filter(|live| live.epoch == claim.epoch);
        live.cloned().ok_or_else(|| StoreError::Lost(claim.run.clone()))
    }

    pub(super) fn change(&mut self, run: &RunId, live: Option<Live>) {
        let before = match live {
            Some(live) => self.claims.insert(run.clone(), live),
            None => self.claims.remove(run),
        };
        self.undo.push((run.clone(), before));
    }

    pub(super) fn count(&mut self, state: RunState, change: i64) {
        self.tally[code(state) as usize] += change;
    }
}

/// Epoch of the runs to claim where there is such room: one that has begun has been claimed.
fn least_epoch(room: Room) -> i64 {
    i64::from(room != Room::Plenty)
}

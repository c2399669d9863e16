//! Runs that hints have woken, remembered by what has woken them; and what becomes of them when a proved notice of the same comes: one
//! stands for the notice's run, another ends before that begins. Leaves which does what to `opsward_core::event::Hinted`, and where
//! incidents stand to `incidents`. Tested by the conformance suite.

use super::apply::Ledgers;
use super::approvals::Waits;
use super::incidents::Heard;
use super::late::EventKey;
use super::ledger::Lines;
use super::note::note;
use super::statements::Statements as Sql;
use crate::failpoint::wrong;
use crate::store::{Claim, NewEvent, NewRun, Standing, StoreError};
use opsward_core::event::{Hinted, Meeting, Proof, Transition, Transitions, gravity_of};
use opsward_core::id::{PolicyName, RunId};
use opsward_core::run::{Entry, Record, RunState};
use opsward_core::time::Timestamp;
use rusqlite::{Connection, Row, Statement, params};

/// A row for each run that a hint has woken, of those of one transition the newest few. An incident's rows go with those of `incidents`.
/// `effects` counts those that a run has made, or may have.
pub(super) const TABLE: &str = "
CREATE TABLE hinted (
  incident BLOB NOT NULL, policy TEXT NOT NULL, transition INTEGER NOT NULL, run INTEGER NOT NULL,
  PRIMARY KEY (incident, policy, transition, run)
) STRICT, WITHOUT ROWID;
ALTER TABLE runs ADD COLUMN effects INTEGER NOT NULL DEFAULT 0;
";

/// Runs that are remembered of one transition of an incident, for each policy.
const RUNS_MAX: i64 = 8;

/// A run that a hint has woken, as it stands.
struct Woken {
    seq: i64,
    claim: Claim,
    /// None where the file says what was never written.
    state: Option<RunState>,
    hinted: Hinted,
}

impl Woken {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        // What is damaged keeps no proved notice out.
        let text = |at| {
            Ok::<_, rusqlite::Error>(
                row.get_ref(at)?.as_bytes_or_null().ok().flatten().map(String::from_utf8_lossy),
            )
        };
        let id = text(1)?.unwrap_or_default().into_owned();
        let [state, epoch, effects, time, received]: [i64; 5] =
            [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?];
        let level = text(8)?;
        let at = Timestamp::from_ms(time.min(received));
        let gravity = gravity_of(level.as_deref());
        Ok(Self {
            seq: row.get(0)?,
            claim: Claim { run: RunId::from_text(id), epoch: epoch.unsigned_abs() },
            state: usize::try_from(state).ok().and_then(|at| RunState::ALL.get(at)).copied(),
            hinted: Hinted { gravity, at, subject: text(7)?.map(Into::into), acted: effects > 0 },
        })
    }
}

impl Ledgers {
    /// Settles for each of the event's runs that start what hints have woken of the same.
    pub(super) fn settle_hinted(
        &mut self,
        sql: &mut Sql<'_>,
        heard: &mut Heard<'_>,
        new: &NewEvent,
    ) -> Result<(), StoreError> {
        let Some((track, proof)) = heard.proof(&new.event) else { return Ok(()) };
        for (place, run) in new.runs.iter().enumerate() {
            if heard.starts(place) && self.is_done(sql, &track, &proof, run, new.received)? {
                heard.is_done(place);
            }
        }
        Ok(())
    }

    /// Whether what a hint has woken has done what `run` would; where nothing has, those of its runs that give way end.
    fn is_done(
        &mut self,
        sql: &mut Sql<'_>,
        track: &EventKey,
        proof: &Proof<'_>,
        run: &NewRun,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let woken = sql.incidents.hinted.find(track, &run.policy, proof.transition)?;
        let is = |meeting| move |one: &&Woken| one.hinted.meets(proof) == meeting;
        if woken.iter().any(|one| is(Meeting::Done)(&one)) || !woken.is_empty() && wrong("hint-for-proof") {
            return Ok(true);
        }
        for Woken { seq, claim, state, .. } in woken.iter().filter(is(Meeting::GivesWay)) {
            if let Some(state) = state.filter(|state| !state.is_final()) {
                self.give_way(sql, (claim, *seq), state, &run.id, at)?;
            }
        }
        Ok(false)
    }

    /// Ends a run that has made no effect. Its worker has lost the claim, and writes nothing more: no intent either.
    fn give_way(
        &mut self,
        sql: &mut Sql<'_>,
        (claim, seq): (&Claim, i64),
        from: RunState,
        to: &RunId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let record = Record::new(at, Entry::GaveWay { to: to.clone() });
        let told = note(&record);
        self.add(sql, seq, &Lines::of(&claim.run, &[record]), None)?;
        self.change(&claim.run, None);
        self.stand(sql, claim, seq, (from, Standing::Done), (told.as_deref(), Waits::Not), Some(at))
    }
}

pub(super) struct Statements<'c> {
    put: Statement<'c>,
    keep_few: Statement<'c>,
    find: Statement<'c>,
    forget: Statement<'c>,
    act: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        let of_one = "hinted.incident = ?1 AND hinted.policy = ?2 AND hinted.transition = ?3";
        Ok(Self {
            put: conn.prepare(
                "INSERT OR REPLACE INTO hinted (incident, policy, transition, run) VALUES (?1, ?2, ?3, ?4)",
            )?,
            // Of those before the newest, one that has made no effect goes first, then the oldest.
            keep_few: conn.prepare(&format!(
                "DELETE FROM hinted WHERE {of_one} AND run IN (
                   SELECT run FROM hinted LEFT JOIN runs ON runs.seq = run
                   WHERE {of_one} AND run <> ?4
                   ORDER BY coalesce(effects, 0) > 0 DESC, run DESC LIMIT -1 OFFSET {})",
                RUNS_MAX - 1
            ))?,
            find: conn.prepare(&format!(
                "SELECT run, runs.id, state, epoch, effects, time, events.received, subject, level
                 FROM hinted JOIN runs ON runs.seq = run JOIN events ON events.seq = runs.event
                 WHERE {of_one} ORDER BY run"
            ))?,
            forget: conn.prepare("DELETE FROM hinted WHERE incident = ?1")?,
            act: conn.prepare("UPDATE runs SET effects = effects + ?2 WHERE seq = ?1")?,
        })
    }

    /// Notes down a run that a hint has woken, which is newer than all that are there.
    pub(super) fn put(
        &mut self,
        incident: &EventKey,
        policy: &PolicyName,
        transition: Transition,
        run: i64,
    ) -> Result<(), rusqlite::Error> {
        let row = params![incident, policy.as_str(), bit(transition), run];
        self.put.execute(row)?;
        self.keep_few.execute(row)?;
        Ok(())
    }

    /// What hints of this transition have woken, as far as it is there yet.
    fn find(
        &mut self,
        incident: &EventKey,
        policy: &PolicyName,
        transition: Transition,
    ) -> Result<Vec<Woken>, rusqlite::Error> {
        let found = self.find.query_map(params![incident, policy.as_str(), bit(transition)], Woken::read)?;
        found.collect()
    }

    /// Forgets what hints of the incident have woken.
    pub(super) fn forget(&mut self, incident: &EventKey) -> Result<(), rusqlite::Error> {
        self.forget.execute([incident])?;
        Ok(())
    }

    /// Counts what a run's records say of its effects.
    pub(super) fn act(&mut self, run: i64, effects: i64) -> Result<(), rusqlite::Error> {
        self.act.execute([run, effects])?;
        Ok(())
    }
}

/// A transition as it is stored.
fn bit(transition: Transition) -> u16 {
    Transitions::default().with(transition).bits()
}

//! Decisions on fire times, and pauses, in the file. Leaves the transaction to `apply`, and what is decided to the timer. Tested by
//! the conformance suite.

use super::read::{firing_row, parsed, time};
use crate::store::{Decision, Firing, NewFiring, Pause, ScheduleKey, ScheduleState};
use opsward_core::id::PolicyName;
use opsward_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params};

/// - A pause with the empty schedule is one of all that the policy has.
/// - `until` is null while the schedule is paused, and stays when it was resumed: what came before is not made up for.
/// - What waits is found without going through all that was decided.
pub(super) const STEP: &str = "
CREATE TABLE pauses (
  policy TEXT NOT NULL, schedule TEXT NOT NULL, by TEXT NOT NULL, why TEXT NOT NULL, at INTEGER NOT NULL, until INTEGER,
  PRIMARY KEY (policy, schedule)
) STRICT, WITHOUT ROWID;
CREATE INDEX firings_queued ON firings (policy, schedule) WHERE decision = 4;
";

/// Up to where fire times of a schedule are none of its own, where no decision says so.
pub(super) const SETTLED: &str = "
CREATE TABLE settled (
  policy TEXT NOT NULL, schedule TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (policy, schedule)
) STRICT, WITHOUT ROWID;
";

pub(super) struct Statements<'c> {
    insert: Statement<'c>,
    state: States<'c>,
}

/// What is asked of one schedule; a reader asks so as well.
pub(super) struct States<'c> {
    last: Statement<'c>,
    /// `None` in a file of a format that does not keep it.
    settled: Option<Statement<'c>>,
    waiting: Statement<'c>,
    unfinished: Statement<'c>,
    latest: Statement<'c>,
    /// `None` in a file of a format that has no pauses.
    pause: Option<Statement<'c>>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        // What waits is decided on once more; so is what was skipped under a clock that has been set back since: its time comes
        // again. What was fired is fired for ever.
        let insert = conn.prepare(
            "INSERT INTO firings (policy, schedule, fire_at, decision, decided_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (policy, schedule, fire_at) DO UPDATE SET decision = excluded.decision, decided_at = excluded.decided_at
             WHERE decision = 4 AND excluded.decision <> 4
                OR decision IN (1, 2, 3) AND excluded.decided_at < decided_at",
        )?;
        Ok(Self { insert, state: States::prepare(conn)? })
    }

    /// Records a decision; `false` where the fire time was decided on before.
    pub(super) fn record(&mut self, firing: &Firing) -> Result<bool, rusqlite::Error> {
        let Firing { policy, schedule, fire_at, decision, decided_at } = firing;
        let values = params![policy.as_str(), schedule, fire_at.ms(), code(*decision), decided_at.ms()];
        Ok(self.insert.execute(values)? == 1)
    }

    /// Whether the clock's decision would start a run of a schedule that is paused, or have one wait.
    pub(super) fn is_paused(&mut self, new: &NewFiring) -> Result<bool, rusqlite::Error> {
        let Firing { policy, schedule, decision, .. } = &new.firing;
        let may_wait = *decision == Decision::Fired || *decision == Decision::Queued;
        // Of pauses that are over, none was at the beginning of time.
        Ok(may_wait && self.state.pause(policy, schedule, Timestamp::from_ms(i64::MIN))?.is_some())
    }

    /// Whether it would start a run beside one that has not ended, and may not.
    pub(super) fn is_unfinished(&mut self, new: &NewFiring) -> Result<bool, rusqlite::Error> {
        let Firing { policy, schedule, decision, .. } = &new.firing;
        Ok(decision.starts_a_run() && !new.overlaps && self.state.unfinished(policy, schedule)?)
    }

    pub(super) fn of(
        &mut self,
        key: &ScheduleKey,
        up_to: Timestamp,
    ) -> Result<ScheduleState, rusqlite::Error> {
        self.state.of(key, up_to)
    }
}

impl<'c> States<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        const OF_IT: &str = "FROM firings WHERE policy = ?1 AND schedule = ?2";
        // One that lasts before one that is over, and of these the latest.
        let pause = "SELECT by, why, at, until FROM pauses
                     WHERE policy = ?1 AND schedule IN ('', ?2) AND (until IS NULL OR until <= ?3)
                     ORDER BY until IS NOT NULL, until DESC LIMIT 1";
        Ok(Self {
            last: conn.prepare(&format!(
                "SELECT fire_at {OF_IT} AND fire_at <= ?3 AND decision <> 5 ORDER BY fire_at DESC LIMIT 1"
            ))?,
            settled: match conn.table_exists(None, "settled")? {
                true => Some(
                    conn.prepare("SELECT at FROM settled WHERE policy = ?1 AND schedule = ?2 AND at <= ?3")?,
                ),
                false => None,
            },
            waiting: conn.prepare(&format!(
                "SELECT fire_at {OF_IT} AND decision = 4 AND fire_at <= ?3 ORDER BY fire_at LIMIT 1"
            ))?,
            unfinished: conn.prepare(
                "SELECT 1 FROM runs INDEXED BY runs_scheduled
                 WHERE policy = ?1 AND schedule = ?2 AND schedule IS NOT NULL AND state < 3 LIMIT 1",
            )?,
            latest: conn.prepare(&format!(
                "SELECT policy, schedule, fire_at, decision, decided_at {OF_IT} AND fire_at <= ?3
                 ORDER BY fire_at DESC LIMIT 1"
            ))?,
            pause: if conn.table_exists(None, "pauses")? { Some(conn.prepare(pause)?) } else { None },
        })
    }

    /// What is recorded of a schedule, fire times up to `up_to`.
    pub(super) fn of(
        &mut self,
        key: &ScheduleKey,
        up_to: Timestamp,
    ) -> Result<ScheduleState, rusqlite::Error> {
        let ScheduleKey { policy, schedule } = key;
        let all = params![policy.as_str(), schedule, up_to.ms()];
        let settled = self.settled.as_mut().map(|known| known.query_row(all, |row| time(row, 0)).optional());
        Ok(ScheduleState {
            settled: settled.transpose()?.flatten(),
            last_fire: self.last.query_row(all, |row| time(row, 0)).optional()?,
            waiting: self.waiting.query_row(all, |row| time(row, 0)).optional()?,
            unfinished: self.unfinished(policy, schedule)?,
            pause: self.pause(policy, schedule, up_to)?,
            latest: self.latest.query_row(all, firing_row).optional()?,
        })
    }

    fn unfinished(&mut self, policy: &PolicyName, schedule: &str) -> Result<bool, rusqlite::Error> {
        Ok(self.unfinished.query_row([policy.as_str(), schedule], |_| Ok(())).optional()?.is_some())
    }

    /// The pause in force, or the latest that was ended up to `up_to`.
    fn pause(
        &mut self,
        policy: &PolicyName,
        schedule: &str,
        up_to: Timestamp,
    ) -> Result<Option<Pause>, rusqlite::Error> {
        let Some(statement) = &mut self.pause else { return Ok(None) };
        statement.query_row(params![policy.as_str(), schedule, up_to.ms()], |row| pause_at(row, 0)).optional()
    }
}

/// Records up to where schedules are settled.
pub(super) fn settle(conn: &Connection, settled: &[(ScheduleKey, Timestamp)]) -> Result<(), rusqlite::Error> {
    let mut statement = conn.prepare_cached("INSERT OR REPLACE INTO settled VALUES (?1, ?2, ?3)")?;
    for (ScheduleKey { policy, schedule }, at) in settled {
        statement.execute(params![policy.as_str(), schedule, at.ms()])?;
    }
    Ok(())
}

/// Pauses what is meant; a second pause says anew who and why.
pub(super) fn pause(conn: &Connection, key: &ScheduleKey, pause: &Pause) -> Result<(), rusqlite::Error> {
    let ScheduleKey { policy, schedule } = key;
    let mut statement =
        conn.prepare_cached("INSERT OR REPLACE INTO pauses VALUES (?1, ?2, ?3, ?4, ?5, NULL)")?;
    statement.execute(params![policy.as_str(), schedule, pause.by, pause.why, pause.at.ms()]).map(drop)
}

/// Ends a pause, or all of the policy's. Returns whether there was one.
pub(super) fn resume(conn: &Connection, key: &ScheduleKey, at: Timestamp) -> Result<bool, rusqlite::Error> {
    let ScheduleKey { policy, schedule } = key;
    let mut statement = conn.prepare_cached(
        "UPDATE pauses SET until = ?3 WHERE policy = ?1 AND ?2 IN ('', schedule) AND until IS NULL",
    )?;
    Ok(statement.execute(params![policy.as_str(), schedule, at.ms()])? > 0)
}

/// The pauses that last; none in a file of a format that has no pauses.
pub(super) fn lasting(conn: &Connection) -> Result<Vec<(ScheduleKey, Pause)>, rusqlite::Error> {
    if !conn.table_exists(None, "pauses")? {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare(
        "SELECT policy, schedule, by, why, at, until FROM pauses WHERE until IS NULL ORDER BY policy, schedule",
    )?;
    let row = |row: &Row<'_>| {
        let schedule: String = row.get(1)?;
        Ok((ScheduleKey { policy: parsed(row, 0)?, schedule: schedule.into() }, pause_at(row, 2)?))
    };
    statement.query_map([], row)?.collect()
}

/// Reads by, why, at and until of `pauses`.
fn pause_at(row: &Row<'_>, at: usize) -> Result<Pause, rusqlite::Error> {
    let until: Option<i64> = row.get(at + 3)?;
    Ok(Pause {
        by: row.get(at)?,
        why: row.get(at + 1)?,
        at: time(row, at + 2)?,
        until: until.map(Timestamp::from_ms),
    })
}

/// The number a decision is stored as: its place in `Decision::ALL`. The statements above name 1 to 5.
fn code(decision: Decision) -> i64 {
    match decision {
        Decision::Fired => 0,
        Decision::SkippedLate => 1,
        Decision::SkippedOverlap => 2,
        Decision::SkippedPaused => 3,
        Decision::Queued => 4,
        Decision::FiredByHand => 5,
    }
}

/// The decision that is stored at place `at`.
pub(super) fn decision(row: &Row<'_>, at: usize) -> Result<Decision, rusqlite::Error> {
    let stored: i64 = row.get(at)?;
    let known = usize::try_from(stored).ok().and_then(|place| Decision::ALL.get(place));
    known.copied().ok_or(rusqlite::Error::IntegralValueOutOfRange(at, stored))
}

//! The SQL of the writer, prepared once. Leaves what it is for to `apply`; readers have theirs in `read`.

use super::read::EVENT_COLUMNS;
use super::{approvals, audit, budget, incidents, late, lock, once, policy_state, retain, schedule};
use crate::store::SUSPECT_AT;
use rusqlite::{Connection, Statement};

/// What a claim hands out of `runs r`.
const CLAIMED_COLUMNS: &str = "r.seq, r.id, r.policy, r.digest, r.epoch, r.faults, r.crashes";
/// How many of them.
pub(super) const CLAIMED_COLUMN_COUNT: usize = 7;

/// The writer's statements, prepared once.
pub(super) struct Statements<'c> {
    pub(super) begin: Statement<'c>,
    pub(super) commit: Statement<'c>,
    pub(super) insert_event: Statement<'c>,
    pub(super) insert_run: Statement<'c>,
    pub(super) ready: Statement<'c>,
    pub(super) suspect: Statement<'c>,
    pub(super) mark_running: Statement<'c>,
    pub(super) append: Statement<'c>,
    pub(super) finish: Statement<'c>,
    pub(super) release: Statement<'c>,
    pub(super) rouse: Statement<'c>,
    pub(super) tally: Statement<'c>,
    pub(super) next_wake: Statement<'c>,
    pub(super) schedule: schedule::Statements<'c>,
    pub(super) policy_state: policy_state::Statements<'c>,
    pub(super) incidents: incidents::Statements<'c>,
    pub(super) late: late::Statements<'c>,
    pub(super) once: once::Statements<'c>,
    pub(super) retain: retain::Statements<'c>,
    pub(super) lock: lock::Statements<'c>,
    pub(super) budget: budget::Statements<'c>,
    pub(super) approvals: approvals::Statements<'c>,
    pub(super) audit: audit::Statements<'c>,
    pub(super) standing: Statement<'c>,
    pub(super) clear: Statement<'c>,
    pub(super) forgive: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        let sql = |text: &str| conn.prepare(text);
        Ok(Self {
            begin: sql("BEGIN")?,
            commit: sql("COMMIT")?,
            insert_event: sql(
                "INSERT INTO events (source, id, kind, subject, time, incident, account, region, received, first_run, runs,
                   data, raw, level, transition, proved)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            )?,
            insert_run: sql(
                "INSERT INTO runs (seq, id, event, policy, digest, schedule, state, epoch, faults, created, changed, wake)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0, ?7, ?7, ?7)",
            )?,
            ready: sql(&format!(
                "SELECT {CLAIMED_COLUMNS}, {EVENT_COLUMNS}
                 FROM runs r INDEXED BY runs_not_done JOIN events e ON e.seq = r.event
                 WHERE r.state = 0 AND r.state <> 3 AND r.wake <= ?1 AND r.crashes < {SUSPECT_AT} AND r.epoch >= ?3
                 ORDER BY r.wake, r.seq LIMIT ?2"
            ))?,
            suspect: sql(&format!(
                "SELECT {CLAIMED_COLUMNS}, {EVENT_COLUMNS}
                 FROM runs r INDEXED BY runs_suspect JOIN events e ON e.seq = r.event
                 WHERE r.crashes >= {SUSPECT_AT} AND r.state = 0 AND r.wake <= ?1
                   AND NOT EXISTS (SELECT 1 FROM runs INDEXED BY runs_suspect WHERE crashes >= {SUSPECT_AT} AND state = 1)
                 ORDER BY r.wake, r.seq LIMIT 1"
            ))?,
            mark_running: sql("UPDATE runs SET state = 1, epoch = ?2, changed = ?3 WHERE seq = ?1")?,
            append: sql("INSERT INTO ledger (run, records, sum) VALUES (?1, ?2, ?3)")?,
            finish: sql(
                "UPDATE runs SET state = ?2, wake = coalesce(?3, wake), faults = faults + ?4,
                   changed = coalesce(?5, changed), note = ?6, crashes = iif(?7, crashes + 1, 0) WHERE seq = ?1",
            )?,
            rouse: sql(
                "UPDATE runs INDEXED BY runs_not_done SET wake = ?1
                 WHERE state = 0 AND state <> 3 AND wake > ?2 AND epoch = 0",
            )?,
            release: sql("UPDATE runs SET state = 0 WHERE seq = ?1 AND state = 1")?,
            tally: sql("UPDATE tally SET runs = runs + ?2 WHERE state = ?1")?,
            next_wake: sql(&format!(
                "SELECT min(wake) FROM runs INDEXED BY runs_not_done
                 WHERE state = 0 AND state <> 3 AND crashes < {SUSPECT_AT} AND epoch >= ?1"
            ))?,
            schedule: schedule::Statements::prepare(conn)?,
            policy_state: policy_state::Statements::prepare(conn)?,
            incidents: incidents::Statements::prepare(conn)?,
            late: late::Statements::prepare(conn)?,
            once: once::Statements::prepare(conn)?,
            retain: retain::Statements::prepare(conn)?,
            lock: lock::Statements::prepare(conn)?,
            budget: budget::Statements::prepare(conn)?,
            approvals: approvals::Statements::prepare(conn)?,
            audit: audit::Statements::prepare(conn)?,
            standing: sql(
                "SELECT seq, state, epoch FROM runs WHERE id = ?1 AND seq IN (
                   SELECT run FROM run_ids WHERE id = ?1
                   UNION ALL SELECT seq FROM runs WHERE id = ?1 AND seq > (SELECT runs FROM indexed))",
            )?,
            clear: sql("UPDATE runs SET crashes = 0 WHERE seq = ?1")?,
            // The next epoch: of two people who decide on what they have seen, one comes first.
            forgive: sql("UPDATE runs SET faults = 0, epoch = epoch + 1 WHERE seq = ?1")?,
        })
    }
}

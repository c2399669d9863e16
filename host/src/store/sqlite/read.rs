//! Questions about what is stored, on connections that cannot write: beside the writer, and beside a running host for
//! `opsward run`. Leaves writing to `writer`. Tested by the conformance suite.

use super::approvals;
use super::budget::{self, Failing};
use super::cursor;
use super::damage;
use super::halt;
use super::ledger::{LEDGER_COLUMNS, LEDGER_COLUMNS_UNSUMMED, LedgerRow};
use super::policy_state;
use super::readable;
use super::schedule::{self, States};
use super::schema::{self, stored};
use crate::store::{
    EventFilter, EventRow, Firing, LISTED_DEFAULT, LISTED_MAX, Pause, RunDetail, RunRow, ScheduleKey,
    ScheduleState, StoreError,
};
use opsward_core::event::{Event, Transition};
use opsward_core::guardrail::{Halt, Limit, Spent};
use opsward_core::id::{Digest, PolicyName, RunId, SourceName};
use opsward_core::run::{Record, RunState, StateEntry};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// One connection that only reads.
#[derive(Debug)]
pub struct Reader {
    pub(super) conn: Connection,
    /// The file's format.
    pub(super) format: i64,
}

impl Reader {
    /// Opens the store at `path`, whether or not a host has it open.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let opened = schema::open_for_reading(path);
        let (conn, format) = opened.map_err(|error| damage::named(error, path))?;
        Ok(Self { conn, format })
    }

    /// What was spent under each scope, newest first.
    pub(super) fn spent(&self, limits: &[Limit], now: Timestamp) -> Result<Vec<Vec<Spent>>, StoreError> {
        limits.iter().map(|limit| Ok(budget::spent(&self.conn, limit, now)?)).collect()
    }

    /// The halts in force.
    pub fn halts(&self) -> Result<Vec<Halt>, StoreError> {
        if self.format < schema::HALTS_FORMAT { Ok(Vec::new()) } else { Ok(halt::list(&self.conn)?) }
    }

    /// Where a cursor stands.
    pub fn find_cursor(&self, source: &SourceName, key: &str) -> Result<Option<String>, StoreError> {
        if self.format < schema::CURSORS_FORMAT {
            return Ok(None);
        }
        Ok(cursor::find(&self.conn, source, key)?)
    }

    /// What failed under a ramp or a circuit, and is not forgotten.
    pub fn failing(&self) -> Result<Vec<Failing>, StoreError> {
        if self.format < schema::OUTCOMES_FORMAT { Ok(Vec::new()) } else { Ok(budget::failing(&self.conn)?) }
    }

    /// The runs whose id begins with `prefix`, each with its event and ledger, as far as they can be read; at most `limit`.
    pub fn find_runs(&self, prefix: &str, limit: usize) -> Result<Vec<RunDetail>, StoreError> {
        // One transaction, so that a run's row and its ledger are of one moment.
        let tx = self.conn.unchecked_transaction()?;
        let mut statement = tx.prepare_cached(&format!(
            "SELECT {RUN_COLUMNS}, r.seq, r.epoch, {events} FROM runs r JOIN events e ON e.seq = r.event
             WHERE r.seq IN (
               SELECT run FROM (SELECT run FROM run_ids WHERE id >= ?1 AND id < {past} ORDER BY id LIMIT ?2)
               UNION SELECT seq FROM (SELECT seq FROM runs
                 WHERE seq > (SELECT runs FROM indexed) AND id >= ?1 AND id < {past} ORDER BY id LIMIT ?2))
             ORDER BY r.id LIMIT ?2",
            past = "?1 || char(0x10ffff)",
            events = event_columns(self.format),
        ))?;
        let mut rows = statement.query(params![prefix, rows_max(limit)])?;
        let mut runs = Vec::new();
        while let Some(row) = rows.next()? {
            let mut damage = Vec::new();
            let row_of_list = run_row(row).or_else(|error| {
                damage.push(format!("its row: {error}"));
                readable::run_row(row)
            })?;
            let (event, received, _) = event_at(row, RUN_COLUMN_COUNT + 2).or_else(|error| {
                damage.push(format!("its event: {error}"));
                readable::event_at(row, RUN_COLUMN_COUNT + 2)
            })?;
            let ledger = self.ledger(row.get(RUN_COLUMN_COUNT)?, &mut damage)?;
            let epoch = row.get::<_, i64>(RUN_COLUMN_COUNT + 1)?.unsigned_abs();
            runs.push(RunDetail { row: row_of_list, epoch, event, received, ledger, damage });
        }
        Ok(runs)
    }

    /// Events, newest first.
    pub fn list_events(&self, filter: &EventFilter) -> Result<Vec<EventRow>, StoreError> {
        let tx = self.conn.unchecked_transaction()?;
        let mut statement = tx.prepare_cached(&format!(
            "SELECT e.first_run, e.runs, {events} FROM events e
             WHERE (?2 IS NULL OR e.incident = ?2) AND (?3 IS NULL OR e.source = ?3)
               AND (?4 IS NULL OR e.kind LIKE ?4 ESCAPE '\\')
               AND (?5 IS NULL OR e.id >= ?5 AND e.id < ?5 || char(0x10ffff))
             ORDER BY e.seq DESC LIMIT ?1",
            events = event_columns(self.format),
        ))?;
        let mut run_ids =
            tx.prepare_cached("SELECT id FROM runs WHERE seq >= ?1 AND seq < ?1 + ?2 ORDER BY seq")?;
        let EventFilter { incident, source, kind, id, limit } = filter;
        let (source, kind) = (source.as_ref().map(|name| name.as_str()), kind.as_deref().map(like));
        let mut rows = statement.query(params![rows_max(*limit), incident, source, kind, id])?;
        let mut events = Vec::new();
        while let Some(row) = rows.next()? {
            let (event, received, trust) = event_at(row, 2).or_else(|_| readable::event_at(row, 2))?;
            let span: [i64; 2] = [row.get(0)?, row.get(1)?];
            let runs = run_ids.query_map(span, |row| row.get::<_, String>(0).map(RunId::from_text))?;
            events.push(EventRow { event, received, trust, runs: runs.collect::<Result<_, _>>()? });
        }
        Ok(events)
    }

    /// The latest event with this id, of whatever source.
    pub fn find_event(&self, id: &str) -> Result<Option<Event>, StoreError> {
        let events = event_columns(self.format);
        let sql = format!("SELECT {events} FROM events e WHERE e.id = ?1 ORDER BY e.seq DESC LIMIT 1");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([id])?;
        let event = |row: &Row<'_>| event_at(row, 0).map(|(event, ..)| event);
        Ok(rows.next()?.map(event).transpose()?)
    }

    /// Decisions on schedules, newest first.
    pub fn list_firings(&self, limit: usize) -> Result<Vec<Firing>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT policy, schedule, fire_at, decision, decided_at FROM firings ORDER BY seq DESC LIMIT ?1",
        )?;
        let rows = statement.query_map([rows_max(limit)], firing_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What is recorded of schedules, in the same order, with fire times up to `up_to`.
    pub fn schedule_states(
        &self,
        keys: &[ScheduleKey],
        up_to: Timestamp,
    ) -> Result<Vec<ScheduleState>, StoreError> {
        let tx = self.conn.unchecked_transaction()?;
        let mut states = States::prepare(&tx)?;
        Ok(keys.iter().map(|key| states.of(key, up_to)).collect::<Result<_, _>>()?)
    }

    /// The pauses that last.
    pub fn lasting_pauses(&self) -> Result<Vec<(ScheduleKey, Pause)>, StoreError> {
        Ok(schedule::lasting(&self.conn)?)
    }

    /// How many runs stand where; every state is named once.
    pub fn count_runs(&self) -> Result<Vec<(RunState, u64)>, StoreError> {
        let mut statement = self.conn.prepare_cached("SELECT state, runs FROM tally ORDER BY state")?;
        let rows =
            statement.query_map([], |row| Ok((state(row, 0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The runs that wait for an approval, those with the least time left first; at most `limit`.
    pub fn list_approvals(&self, limit: usize) -> Result<Vec<RunDetail>, StoreError> {
        let mut waiting = Vec::new();
        for run in approvals::list(&self.conn, rows_max(limit))? {
            waiting.extend(self.find_runs(run.as_str(), 1)?);
        }
        Ok(waiting)
    }

    /// A value of a policy's state, and nothing recorded of that.
    pub fn peek_state(&self, policy: &PolicyName, key: &str) -> Result<Option<StateEntry>, StoreError> {
        Ok(policy_state::peek(&self.conn, policy, key)?)
    }

    /// Digests that unfinished runs are pinned to.
    pub fn pinned_digests(&self) -> Result<Vec<Digest>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT DISTINCT digest FROM runs WHERE state IN (0, 1, 2) AND state <> 3 ORDER BY digest",
        )?;
        let rows = statement.query_map([], |row| row.get(0).map(Digest::from_bytes))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The records that can be read; what is wrong with the other rows goes to `damage`.
    fn ledger(&self, run: i64, damage: &mut Vec<String>) -> Result<Vec<Record>, StoreError> {
        let sql = format!("SELECT seq, {} FROM ledger WHERE run = ?1 ORDER BY seq", self.ledger_columns());
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query([run])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            match LedgerRow::read(row, 1)?.records() {
                Ok(read) => records.extend(read),
                Err(problem) => {
                    damage.push(format!("row {} of its ledger: {problem}", row.get::<_, i64>(0)?));
                }
            }
        }
        Ok(records)
    }

    /// All records of a run.
    pub(super) fn whole_ledger(&self, run: &RunId, seq: i64) -> Result<Vec<Record>, StoreError> {
        let sql = format!("SELECT {} FROM ledger WHERE run = ?1 ORDER BY seq", self.ledger_columns());
        let mut statement = self.conn.prepare_cached(&sql)?;
        // Read to the end first: what is looked at cannot be copied out of the WAL.
        let rows = statement.query_map([seq], |row| LedgerRow::read(row, 0))?;
        let rows: Vec<LedgerRow> = rows.collect::<Result<_, _>>()?;
        let mut records = Vec::new();
        for row in rows {
            let read = row.records();
            records.extend(read.map_err(|problem| StoreError::Unreadable { run: run.clone(), problem })?);
        }
        Ok(records)
    }

    pub(super) fn ledger_columns(&self) -> &'static str {
        if self.format < schema::SUMMED_FORMAT { LEDGER_COLUMNS_UNSUMMED } else { LEDGER_COLUMNS }
    }
}

/// What `event_at` reads, of `events e`.
pub(super) const EVENT_COLUMNS: &str = "e.source, e.id, e.kind, e.subject, e.time, e.incident, e.account, e.region, e.received, e.data, e.level, e.transition, e.proved";
const EVENT_COLUMNS_BEFORE_LEVELS: &str = "e.source, e.id, e.kind, e.subject, e.time, e.incident, e.account, e.region, e.received, e.data, NULL, NULL, 0";

/// The same of a file of that format.
pub(super) fn event_columns(format: i64) -> &'static str {
    if format < schema::LEVELS_FORMAT { EVENT_COLUMNS_BEFORE_LEVELS } else { EVENT_COLUMNS }
}

/// The event whose columns begin at `at`, when it was received, and how far it is to be believed.
pub(super) fn event_at(row: &Row<'_>, at: usize) -> Result<(Event, Timestamp, Trust), rusqlite::Error> {
    let event = Event {
        source: parsed(row, at)?,
        id: row.get(at + 1)?,
        kind: row.get(at + 2)?,
        subject: row.get(at + 3)?,
        time: time(row, at + 4)?,
        incident: row.get(at + 5)?,
        account: row.get(at + 6)?,
        region: row.get(at + 7)?,
        data: row.get(at + 9)?,
        level: row.get(at + 10)?,
        transition: row.get::<_, Option<String>>(at + 11)?.as_deref().and_then(Transition::of_status),
    };
    Ok((event, time(row, at + 8)?, trust(row, at + 12)?))
}

/// What is neither of both is damage, and believed no further than what nobody signed.
pub(super) fn trust(row: &Row<'_>, at: usize) -> Result<Trust, rusqlite::Error> {
    Ok(if row.get::<_, i64>(at)? == 1 { Trust::Proved } else { Trust::Hint })
}

/// A text column as the type it was written from.
pub(super) fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    at: usize,
) -> Result<T, rusqlite::Error> {
    let text = row.get_ref(at)?.as_str()?;
    text.parse().map_err(|e| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(e)))
}

/// What `run_row` reads, of `runs r` and `events e`.
pub(super) const RUN_COLUMNS: &str =
    "r.id, r.policy, r.state, r.digest, e.source, e.id, e.kind, r.created, r.changed, r.wake, r.note";
pub(super) const RUN_COLUMN_COUNT: usize = 11;

pub(super) fn run_row(row: &Row<'_>) -> Result<RunRow, rusqlite::Error> {
    let state = state(row, 2)?;
    let wake = time(row, 9)?;
    Ok(RunRow {
        id: RunId::from_text(row.get::<_, String>(0)?),
        policy: parsed(row, 1)?,
        state,
        digest: Digest::from_bytes(row.get(3)?),
        source: parsed(row, 4)?,
        event_id: row.get(5)?,
        event_type: row.get(6)?,
        created_at: time(row, 7)?,
        changed_at: time(row, 8)?,
        wake_at: (state == RunState::Ready).then_some(wake),
        note: row.get(10)?,
    })
}

/// Reads policy, schedule, fire_at, decision and decided_at of `firings`.
pub(super) fn firing_row(row: &Row<'_>) -> Result<Firing, rusqlite::Error> {
    Ok(Firing {
        policy: parsed(row, 0)?,
        schedule: row.get(1)?,
        fire_at: time(row, 2)?,
        decision: schedule::decision(row, 3)?,
        decided_at: time(row, 4)?,
    })
}

pub(super) fn time(row: &Row<'_>, at: usize) -> Result<Timestamp, rusqlite::Error> {
    row.get(at).map(Timestamp::from_ms)
}

pub(super) fn state(row: &Row<'_>, at: usize) -> Result<RunState, rusqlite::Error> {
    let stored: i64 = row.get(at)?;
    let known = usize::try_from(stored).ok().and_then(|place| RunState::ALL.get(place));
    known.copied().ok_or(rusqlite::Error::IntegralValueOutOfRange(at, stored))
}

pub(super) fn rows_max(limit: usize) -> i64 {
    stored(if limit == 0 { LISTED_DEFAULT } else { limit.min(LISTED_MAX) })
}

/// A pattern with `*` as one of SQLite's, which knows upper and lower case apart beyond ASCII only.
fn like(glob: &str) -> String {
    let escape = |c: char| match c {
        '*' => "%".to_owned(),
        '%' | '_' | '\\' => format!("\\{c}"),
        other => other.to_string(),
    };
    glob.chars().map(escape).collect()
}

/// Readers kept open between questions.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Reader>>,
}

/// More questions at once open a connection each.
const IDLE_MAX: usize = 4;

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default() }
    }

    /// Answers one question. Blocks: for threads that may.
    pub(super) fn ask<T>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let reader = kept.map_or_else(|| Reader::open(&self.path), Ok)?;
        let answer = question(&reader)?;
        let mut idle = idle();
        if idle.len() < IDLE_MAX {
            idle.push(reader);
        }
        Ok(answer)
    }

    /// Closes those that are idle.
    pub(super) fn close(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

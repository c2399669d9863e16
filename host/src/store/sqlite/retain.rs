//! Deletes what ended long ago, a slice at a time: runs that ended, with their ledgers, events of which no run is left, with
//! the keys that tell them from new ones, and decisions on fire times. A slice goes through the tables in the order they were
//! written, from where the one before ended. Leaves the transaction to `apply`, and how old is old to the caller. Tested in
//! `tests/tests/it/store/retention.rs`.
//!
//! The newest event and the newest run stay whatever their age: SQLite numbers the next row after the last one there is, and
//! the late indices count on numbers that only grow. The latest decision on a schedule stays, since the next follows from it.

use super::incidents;
use super::late::{EventKey, Late, event_key};
use super::schema::stored;
use crate::store::{Retained, RetainedUpTo};
use opsward_core::run::RunState;
use opsward_core::time::Timestamp;
use rusqlite::{Connection, Row, Statement, params};

/// Events and decisions that a slice looks at. Each that goes touches two pages of indices that are in no order, and so does
/// a run: this many are some 2 MB of writing and a few milliseconds for those who wait for the writer meanwhile.
pub(super) const ROWS_A_SLICE: usize = 64;
/// Rows of ledgers after which a slice ends early. One run's ledger goes whole, and is bounded by what a run may call.
const LEDGER_ROWS_A_SLICE: usize = 1024;

/// What a slice deleted.
pub(super) struct Slice {
    pub(super) retained: Retained,
    /// The keys of the runs that are gone, and how many of each state they were.
    pub(super) runs: Vec<i64>,
    pub(super) by_state: [i64; 6],
}

/// Deletes what is older than `before` from `from` on. `next_run` is the number that the next run will get.
pub(super) fn slice(
    sql: &mut Statements<'_>,
    incidents: &mut incidents::Statements<'_>,
    late: &mut Late,
    before: Timestamp,
    from: RetainedUpTo,
    next_run: i64,
) -> Result<Slice, rusqlite::Error> {
    let retained = Retained { events: 0, runs: 0, firings: 0, next: None };
    let mut slice = Slice { retained, runs: Vec::new(), by_state: [0; 6] };
    let event = match from.event {
        Some(seq) => delete_events(sql, incidents, late, before, seq, next_run, &mut slice)?,
        None => None,
    };
    let firing = match from.firing {
        Some(seq) => delete_firings(sql, before, seq, &mut slice)?,
        None => None,
    };
    if event.is_some() || firing.is_some() {
        slice.retained.next = Some(RetainedUpTo { event, firing });
    }
    slice.retained.runs = slice.runs.len() as u64;
    Ok(slice)
}

struct OldEvent {
    seq: i64,
    /// `None` where it cannot be read any more: then it stays, for people to see.
    key: Option<EventKey>,
    received: Timestamp,
    first_run: i64,
    runs: i64,
    incident: Option<String>,
}

/// Goes on from event `seq`; returns where the next slice does.
fn delete_events(
    sql: &mut Statements<'_>,
    incidents: &mut incidents::Statements<'_>,
    late: &mut Late,
    before: Timestamp,
    mut seq: i64,
    next_run: i64,
    slice: &mut Slice,
) -> Result<Option<i64>, rusqlite::Error> {
    let newest: i64 = sql.newest_event.query_row([], |row| row.get(0))?;
    let events = sql.events.query_map(params![seq, stored(ROWS_A_SLICE)], event_of)?;
    let events = events.collect::<Result<Vec<_>, _>>()?;
    let mut more = events.len() == ROWS_A_SLICE;
    // Events are in order but where the clock was set: one slice without an old one is the end.
    more &= events.iter().any(|event| event.received < before);
    let mut ledger_rows = 0;
    for event in &events {
        if ledger_rows >= LEDGER_ROWS_A_SLICE {
            more = true;
            break;
        }
        seq = event.seq;
        let is_newest = seq == newest || event.runs > 0 && event.first_run + event.runs == next_run;
        let Some(key) = event.key.filter(|_| event.received < before && !is_newest) else { continue };
        let (left, rows) = delete_runs(sql, late, before, event, slice)?;
        ledger_rows += rows;
        if left == 0 {
            sql.delete_event.execute([seq])?;
            sql.delete_event_key.execute([key])?;
            late.remove_event(key);
            if let Some(incident) = &event.incident {
                incidents.forget(incident, seq)?;
            }
            slice.retained.events += 1;
        }
    }
    Ok(more.then_some(seq))
}

/// Deletes those runs of `event` that may go. Returns how many are left, and how many rows of ledgers are gone.
fn delete_runs(
    sql: &mut Statements<'_>,
    late: &mut Late,
    before: Timestamp,
    event: &OldEvent,
    slice: &mut Slice,
) -> Result<(usize, usize), rusqlite::Error> {
    let runs = sql.runs.query_map([event.first_run, event.first_run + event.runs], |row| {
        let id = row.get_ref(1)?.as_str().ok().map(str::to_owned);
        Ok((row.get::<_, i64>(0)?, id, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
    })?;
    let (mut left, mut ledger_rows) = (0, 0);
    for (run, id, state, changed) in runs.collect::<Result<Vec<_>, _>>()? {
        let state = usize::try_from(state).unwrap_or(usize::MAX);
        let ended = RunState::ALL.get(state).is_some_and(|state| state.is_final());
        let Some(id) = id.filter(|_| ended && changed < before.ms()) else {
            left += 1;
            continue;
        };
        ledger_rows += sql.delete_ledger.execute([run])?;
        sql.delete_run.execute([run])?;
        sql.delete_run_id.execute([id])?;
        late.remove_run(run);
        slice.by_state[state] += 1;
        slice.runs.push(run);
    }
    Ok((left, ledger_rows))
}

/// Goes on from decision `seq`; returns where the next slice does.
fn delete_firings(
    sql: &mut Statements<'_>,
    before: Timestamp,
    mut seq: i64,
    slice: &mut Slice,
) -> Result<Option<i64>, rusqlite::Error> {
    let firings = sql.firings.query_map(params![seq, stored(ROWS_A_SLICE)], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, bool>(2)?))
    })?;
    let firings = firings.collect::<Result<Vec<_>, _>>()?;
    let old = |decided_at: i64| decided_at < before.ms();
    let more = firings.len() == ROWS_A_SLICE && firings.iter().any(|(_, decided_at, _)| old(*decided_at));
    for (firing, decided_at, is_latest) in firings {
        seq = firing;
        if old(decided_at) && !is_latest {
            sql.delete_firing.execute([firing])?;
            slice.retained.firings += 1;
        }
    }
    Ok(more.then_some(seq))
}

fn event_of(row: &Row<'_>) -> Result<OldEvent, rusqlite::Error> {
    let [source, id] = [row.get_ref(1)?.as_str(), row.get_ref(2)?.as_str()];
    Ok(OldEvent {
        seq: row.get(0)?,
        key: source.ok().zip(id.ok()).map(|(source, id)| event_key(source, id)),
        received: Timestamp::from_ms(row.get(3)?),
        first_run: row.get(4)?,
        runs: row.get(5)?,
        incident: row.get_ref(6)?.as_str_or_null().ok().flatten().map(str::to_owned),
    })
}

pub(super) struct Statements<'c> {
    newest_event: Statement<'c>,
    events: Statement<'c>,
    runs: Statement<'c>,
    firings: Statement<'c>,
    delete_event: Statement<'c>,
    delete_event_key: Statement<'c>,
    delete_run: Statement<'c>,
    delete_run_id: Statement<'c>,
    delete_ledger: Statement<'c>,
    delete_firing: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        let sql = |text: &str| conn.prepare(text);
        Ok(Self {
            newest_event: sql("SELECT coalesce(max(seq), 0) FROM events")?,
            events: sql(
                "SELECT seq, source, id, received, first_run, runs, incident FROM events WHERE seq > ?1 ORDER BY seq LIMIT ?2",
            )?,
            runs: sql("SELECT seq, id, state, changed FROM runs WHERE seq >= ?1 AND seq < ?2")?,
            firings: sql("SELECT f.seq, f.decided_at, f.fire_at = (SELECT max(l.fire_at) FROM firings l
                   WHERE l.policy = f.policy AND l.schedule = f.schedule AND l.decision <> 5)
                 FROM firings f WHERE f.seq > ?1 ORDER BY f.seq LIMIT ?2")?,
            delete_event: sql("DELETE FROM events WHERE seq = ?1")?,
            delete_event_key: sql("DELETE FROM event_keys WHERE key = ?1")?,
            delete_run: sql("DELETE FROM runs WHERE seq = ?1")?,
            delete_run_id: sql("DELETE FROM run_ids WHERE id = ?1")?,
            delete_ledger: sql("DELETE FROM ledger WHERE run = ?1")?,
            delete_firing: sql("DELETE FROM firings WHERE seq = ?1")?,
        })
    }
}

//! What the store knows of each source: its latest event, and how many came of late. Leaves what a source is to the
//! configuration. Tested in `tests/tests/it/sources.rs`.

use super::read::{Reader, event_at, event_columns};
use crate::store::StoreError;
use opsward_core::event::Event;
use opsward_core::id::SourceName;
use opsward_core::time::Timestamp;
use rusqlite::params;
use serde::Serialize;

/// Latest events that are looked through: no index has sources, and so many take a fraction of a second.
const LOOKED_THROUGH: i64 = 100_000;

/// What came from a source, among the latest events.
#[derive(Debug, Clone, Serialize)]
pub struct SourceRow {
    /// Its latest event.
    pub last: Event,
    /// When that was received.
    pub received: Timestamp,
    /// Events that were received since a time.
    pub since: u64,
}

impl Reader {
    /// The sources of the latest 100,000 events, and how many of these were received since `since`.
    pub fn sources(&self, since: Timestamp) -> Result<Vec<SourceRow>, StoreError> {
        let columns = event_columns(self.format);
        let mut statement = self.conn.prepare_cached(&format!(
            "SELECT g.since, {columns} FROM (
               SELECT max(seq) AS seq, sum(received >= ?1) AS since FROM events
               WHERE seq > (SELECT max(seq) FROM events) - ?2 GROUP BY source) g
             JOIN events e ON e.seq = g.seq ORDER BY e.source"
        ))?;
        let rows = statement.query_map(params![since.ms(), LOOKED_THROUGH], |row| {
            let (last, received, _) = event_at(row, 1)?;
            Ok(SourceRow { last, received, since: row.get::<_, i64>(0)?.unsigned_abs() })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The number of the latest event; events after it have higher ones.
    pub fn latest_event(&self) -> Result<i64, StoreError> {
        Ok(self.conn.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| row.get(0))?)
    }

    /// The first event of `source` after the one with that number: its own number, and when it was received.
    pub fn next_event(
        &self,
        source: &SourceName,
        after: i64,
    ) -> Result<Option<(i64, Event, Timestamp)>, StoreError> {
        let columns = event_columns(self.format);
        let mut statement = self.conn.prepare_cached(&format!(
            "SELECT e.seq, {columns} FROM events e WHERE e.seq > ?1 AND e.source = ?2 ORDER BY e.seq LIMIT 1"
        ))?;
        let mut rows = statement.query(params![after, source.as_str()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (event, received, _) = event_at(row, 1)?;
        Ok(Some((row.get(0)?, event, received)))
    }
}

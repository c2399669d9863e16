//! How far sources that the host reads itself have been read. Leaves the transaction to `apply`. Tested by the conformance suite.

use crate::store::Cursor;
use opsward_core::id::SourceName;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Moves a cursor to where it is told, back as well as forth.
pub(super) fn move_to(conn: &Connection, cursor: &Cursor) -> Result<(), rusqlite::Error> {
    let mut statement = conn.prepare_cached("INSERT OR REPLACE INTO cursors VALUES (?1, ?2, ?3)")?;
    statement.execute(params![cursor.source.as_str(), cursor.key, cursor.value]).map(drop)
}

/// Where it stands.
pub(super) fn find(
    conn: &Connection,
    source: &SourceName,
    key: &str,
) -> Result<Option<String>, rusqlite::Error> {
    let mut statement = conn.prepare_cached("SELECT cursor FROM cursors WHERE source = ?1 AND key = ?2")?;
    statement.query_row([source.as_str(), key], |row| row.get(0)).optional()
}

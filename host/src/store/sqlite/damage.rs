//! Whether the file is whole, asked when it is opened for writing: a host that goes on with a damaged file makes it worse,
//! and tells nobody. Leaves what each record says to `check`. Tested in `tests/tests/it/store/damage.rs`.

use crate::store::StoreError;
use rusqlite::{Connection, ErrorCode};
use std::path::Path;

/// Up to this size the file is checked at every start: a quarter of a second where it is in memory (1.3 GB/s, measured), about
/// one where it comes from a cloud disk of 200 MB/s.
pub(super) const CHECKED_BYTES: u64 = 256 * 1024 * 1024;

/// Refuses a damaged file. A file above `checked_bytes` is checked only if the last host did not close it.
pub(super) fn refuse(conn: &Connection, path: &Path, checked_bytes: u64) -> Result<(), StoreError> {
    let bytes = path.metadata().map_or(0, |metadata| metadata.len());
    let clean = closed_cleanly(conn);
    if bytes > checked_bytes {
        if clean {
            tracing::info!(
                bytes,
                "the store is large and was closed well: not checked for damage at this start"
            );
            return Ok(());
        }
        tracing::warn!(bytes, "the store was not closed: checking it for damage, which may take minutes");
    }
    match conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)) {
        Ok(said) if said == "ok" => Ok(()),
        Ok(said) => {
            let problem = problems(&said).next().unwrap_or_default().to_owned();
            Err(StoreError::Damaged { path: path.display().to_string(), problem })
        }
        Err(error) => Err(named(error.into(), path)),
    }
}

/// What SQLite found, a line each: without the head of its list, which is its own name for the file.
pub(super) fn problems(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter(|line| !line.starts_with("*** in database"))
}

/// An error of SQLite that tells of damage or of another program, as one that names the file and the next step.
pub(super) fn named(error: StoreError, path: &Path) -> StoreError {
    let StoreError::Sqlite(cause) = &error else { return error };
    let path = path.display().to_string();
    match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, problem: cause.to_string() },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse { path },
        Some(ErrorCode::DiskFull) => StoreError::Full,
        Some(_) => error,
        // Not of SQLite itself: a value is of another type or range than any that was written.
        None => StoreError::Damaged { path, problem: cause.to_string() },
    }
}

/// Whether the last host came to its end. A file of a format that does not say so is checked once.
pub(super) fn closed_cleanly(conn: &Connection) -> bool {
    conn.query_row("SELECT clean FROM shutdown", [], |row| row.get(0)).unwrap_or(false)
}

/// Until `note_closed` the file counts as left open.
pub(super) fn note_opened(conn: &Connection) -> Result<(), rusqlite::Error> {
    conn.execute("UPDATE shutdown SET clean = 0 WHERE clean <> 0", []).map(drop)
}

/// All is written, and nothing more will be.
pub(super) fn note_closed(conn: &Connection) -> Result<(), rusqlite::Error> {
    conn.execute("UPDATE shutdown SET clean = 1", []).map(drop)
}

//! Gives the free pages of a store back to the file system. Only without a host: the whole file is written anew. Leaves the
//! lock and the checks to `schema`. Tested in `tests/tests/it/db.rs`.

use super::{Reader, copy, damage, schema};
use crate::clock::{Clock as _, SystemClock};
use crate::store::StoreError;
use std::path::Path;

/// Sizes of the file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

/// Writes the file at `path` anew without its free pages. A crash meanwhile leaves it as it was.
pub fn compact(path: &Path) -> Result<Compacted, StoreError> {
    let bytes = || {
        let metadata = path.metadata();
        metadata
            .map(|m| m.len())
            .map_err(|source| StoreError::Open { path: path.display().to_string(), source })
    };
    let write_anew = || {
        // A reader makes no file where there is none.
        if copy::mark(&Reader::open(path)?.conn)?.is_some() {
            // Copies are made without free pages, and only a host may take the mark away.
            return Ok(Compacted { before: bytes()?, after: bytes()? });
        }
        let (conn, _lock) = schema::open_for_writing(path, damage::CHECKED_BYTES, SystemClock.now())?;
        // What a host that was killed left in the WAL belongs to the size before.
        conn.execute_batch(INTO_THE_FILE)?;
        let before = bytes()?;
        // The writer's own setting would have the new file made in memory first.
        conn.execute_batch(&format!("PRAGMA temp_store = FILE; VACUUM; {INTO_THE_FILE}"))?;
        Ok(Compacted { before, after: bytes()? })
    };
    write_anew().map_err(|error| damage::named(error, path))
}

/// Moves what the WAL holds into the file.
const INTO_THE_FILE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

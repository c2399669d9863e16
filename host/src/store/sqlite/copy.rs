//! Copies of the store: made beside a running host, marked as copies, and known again when a host opens one. What was done
//! between the copying and the opening is missing in a restored store; the mark lets the host be careful. Leaves the lock
//! and the tables to `schema`, and being careful to the broker. Tested in `tests/tests/it/db.rs`.

use super::check::{StoreReport, check};
use super::{audit, damage, schema};
use crate::store::{Restored, StoreError};
use opsward_core::time::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use serde::Serialize;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What tells a copy from the store it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// The file it was made of.
    pub backup_of: String,
    /// When.
    pub taken_at: Timestamp,
}

/// Why no copy was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Nothing is written over.
    #[error("`{0}` exists: name a file that does not, or remove it first")]
    Exists(String),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy cannot be written.
    #[error("cannot write `{path}`: is there space, and does its directory exist?")]
    Write {
        /// The copy.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Copying failed.
    #[error("cannot copy `{from}` to `{to}`")]
    Copy {
        /// The store.
        from: String,
        /// The copy.
        to: String,
        /// Why.
        source: rusqlite::Error,
    },
    /// The copy was read back, and is damaged.
    #[error(
        "the copy is damaged and was removed ({0}): check the disk, and the store with `opsward db check`"
    )]
    Damaged(String),
}

/// Makes a copy of the store `from` at `to`, whether or not a host has it open; `now` is when. The copy is of one moment,
/// for its owner only, on disk, and has been read back: the report is of the copy.
pub fn backup(from: &Path, to: &Path, now: Timestamp) -> Result<StoreReport, BackupError> {
    let shown = to.display().to_string();
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(shown));
    }
    let write = |source| BackupError::Write { path: shown.clone(), source };
    let (store, _) = schema::open_for_reading(from)?;
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Another name until it is whole, so that a copy that was cut off is not taken for one.
    let partial = tempfile::Builder::new().prefix(".opsward-backup-").tempfile_in(dir).map_err(write)?;
    fill(&store, from, partial.path(), now).map_err(|error| not_filled(error, from, &shown))?;
    drop(store);
    let mut report = check(partial.path())?;
    report.path.clone_from(&shown);
    if !report.whole {
        return Err(BackupError::Damaged(report.findings.first().cloned().unwrap_or_default()));
    }
    partial.as_file().sync_all().map_err(write)?;
    match partial.persist_noclobber(to) {
        Ok(_) => File::open(dir).and_then(|dir| dir.sync_all()).map_err(write)?,
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => return Err(BackupError::Exists(shown)),
        Err(e) => return Err(write(e.error)),
    }
    Ok(report)
}

/// Copies `store` into the empty file `to` and marks it.
fn fill(store: &Connection, from: &Path, to: &Path, now: Timestamp) -> Result<(), rusqlite::Error> {
    let to_name = to.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(to.to_owned()))?;
    // Reads one moment of the store, however long it takes, and leaves free pages behind.
    store.execute("VACUUM INTO ?1", [to_name])?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(to, flags)?;
    let tx = conn.transaction()?;
    tx.execute_batch(schema::COPY)?;
    // A copy of a copy is as old as the first.
    let mark = "INSERT INTO copy (backup_of, taken_at) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM copy)";
    tx.execute(mark, params![from.display().to_string(), now.ms()])?;
    // Whatever its size, it is checked when it is first opened: copies travel.
    if tx.table_exists(None, "shutdown")? {
        damage::note_opened(&tx)?;
    }
    tx.commit()
}

/// Whose fault it is: the disk the copy was to be on, or the store.
fn not_filled(error: rusqlite::Error, from: &Path, to: &str) -> BackupError {
    if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        return BackupError::Write { path: to.to_owned(), source: io::ErrorKind::StorageFull.into() };
    }
    match damage::named(error.into(), from) {
        StoreError::Sqlite(source) => {
            BackupError::Copy { from: from.display().to_string(), to: to.to_owned(), source }
        }
        named => BackupError::Store(named),
    }
}

/// The mark of a copy that no host has opened.
pub(super) fn mark(conn: &Connection) -> Result<Option<Mark>, rusqlite::Error> {
    if !conn.table_exists(None, "copy")? {
        return Ok(None);
    }
    let mark = conn.query_row("SELECT backup_of, taken_at FROM copy LIMIT 1", [], |row| {
        Ok(Mark { backup_of: row.get(0)?, taken_at: Timestamp::from_ms(row.get(1)?) })
    });
    mark.optional()
}

/// When a host last opened the file as a restored copy.
pub(super) fn restored(conn: &Connection) -> Result<Option<Restored>, rusqlite::Error> {
    if !conn.table_exists(None, "restored")? {
        return Ok(None);
    }
    let latest = "SELECT taken_at, opened_at FROM restored ORDER BY rowid DESC LIMIT 1";
    let latest = conn.query_row(latest, [], |row| {
        let [taken_at, opened_at] = [row.get(0)?, row.get(1)?].map(Timestamp::from_ms);
        Ok(Restored { taken_at, opened_at })
    });
    latest.optional()
}

/// Makes the mark of a copy that a host opens at `now` into a durable word of it, and tells the latest such word.
pub(super) fn note_opened(conn: &mut Connection, now: Timestamp) -> Result<(), rusqlite::Error> {
    let Some(mark) = mark(conn)? else { return Ok(()) };
    let tx = conn.transaction()?;
    let note = "INSERT INTO restored (taken_at, opened_at) VALUES (?1, ?2)";
    tx.execute(note, [mark.taken_at.ms(), now.ms()])?;
    tx.execute("DELETE FROM copy", [])?;
    audit::note_restored(&tx, mark.taken_at, now)?;
    tx.commit()?;
    tracing::warn!(
        backup_of = mark.backup_of, taken_at = %mark.taken_at, opened_at = %now,
        "the store is a restored copy: what was done between the two times is missing in it; effects that must not be \
         repeated ask for confirmation where their event is not newer than the opening"
    );
    Ok(())
}

/// Refuses a copy that was put in the place of a store whose WAL was left there: SQLite would take the one for the other's,
/// and ruin the copy.
pub(super) fn refuse_wal_of_another(path: &Path) -> Result<(), StoreError> {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    let wal = PathBuf::from(wal);
    if !wal.metadata().is_ok_and(|metadata| metadata.len() > 0) {
        return Ok(());
    }
    let Some(name) = path.to_str() else { return Ok(()) };
    // Immutable: the file alone is read, without its WAL. What cannot be read so is judged by those who come next.
    let escaped = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    // With the empty authority a path may begin with any number of slashes.
    let scheme = if name.starts_with('/') { "file://" } else { "file:" };
    let alone = Connection::open_with_flags(format!("{scheme}{escaped}?immutable=1"), flags)?;
    match mark(&alone) {
        Ok(Some(_)) => {
            let [path, wal] = [path, &wal].map(|path| path.display().to_string());
            Err(StoreError::ForeignWal { path, wal })
        }
        Ok(None) | Err(_) => Ok(()),
    }
}

//! Opening the store's file: what is put right first, and the writer that is started. Leaves the file's format to `schema`, its
//! health to `damage`. Tested with the store's file.

use super::audit::Chain;
use super::early::Early;
use super::late::{self, Late};
use super::queue::Queue;
use super::read::{Reader, Readers};
use super::reserve::Reserve;
use super::wal::Wal;
use super::writer::{self, Parts};
use super::{SqliteStore, copy, damage, schema};
use crate::clock::{Clock as _, SystemClock};
use crate::store::StoreError;
use rusqlite::Connection;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Where the store begins to do things otherwise.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Keys that wait before they are written into the late indices.
    pub indexed_at: usize,
    /// Largest file that is checked for damage although it was closed well.
    pub checked_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { indexed_at: late::WRITTEN_AT, checked_bytes: damage::CHECKED_BYTES }
    }
}

impl SqliteStore {
    /// Opens the store at `path`, creating it where there is none. Runs that a dead host left running are ready again.
    pub fn open(path: &Path) -> Result<Arc<Self>, StoreError> {
        Self::open_within(path, Bounds::default())
    }

    /// As `open`, with other bounds: tests need not come with thousands of events or gigabytes.
    #[doc(hidden)]
    pub fn open_within(path: &Path, bounds: Bounds) -> Result<Arc<Self>, StoreError> {
        Self::open_checked(path, bounds).map_err(|error| damage::named(error, path))
    }

    fn open_checked(path: &Path, bounds: Bounds) -> Result<Arc<Self>, StoreError> {
        let mut reserve = Reserve::of(path);
        let Opened { conn, lock, was_closed, released } = match open_and_put_right(path, bounds.checked_bytes)
        {
            Err(StoreError::Sqlite(error)) if writer::is_full(&error) && reserve.give_up() => {
                open_and_put_right(path, bounds.checked_bytes)?
            }
            opened => opened?,
        };
        reserve.keep();
        let restored = copy::restored(&conn)?;
        let late = Late::open(&conn, bounds.indexed_at)?;
        let chain = Chain::open(&conn, path)?;
        if released > 0 {
            tracing::info!(runs = released, "runs of a host that died will be continued");
        }
        let queue = Arc::new(Queue::new());
        let wal = Wal::of(&conn, path)?;
        let parts = Parts { late, reserve, early: Early::after(was_closed), chain, wal };
        let of_writer = queue.clone();
        let writer = std::thread::Builder::new()
            .name("opsward-store".to_owned())
            .spawn(move || writer::run(conn, lock, &of_writer, parts))
            .map_err(|source| StoreError::Open { path: path.display().to_string(), source })?;
        let readers = Arc::new(Readers::new(path.to_owned()));
        Ok(Arc::new(Self {
            queue,
            readers,
            taking_up: tokio::sync::Mutex::default(),
            writer: Mutex::new(Some(writer)),
            restored,
        }))
    }

    /// Opens the store at `path` for questions only, whether or not a host has it open.
    pub fn open_read_only(path: &Path) -> Result<Reader, StoreError> {
        Reader::open(path)
    }
}

struct Opened {
    conn: Connection,
    lock: File,
    /// Whether the host before came to its end.
    was_closed: bool,
    /// Runs it left running, which are ready again.
    released: usize,
}

/// Opens the file and makes runs that a dead host left running ready again.
fn open_and_put_right(path: &Path, checked_bytes: u64) -> Result<Opened, StoreError> {
    let (mut conn, lock) = schema::open_for_writing(path, checked_bytes, SystemClock.now())?;
    let was_closed = damage::closed_cleanly(&conn);
    damage::note_opened(&conn)?;
    let released = schema::release_running(&mut conn)?;
    Ok(Opened { conn, lock, was_closed, released })
}

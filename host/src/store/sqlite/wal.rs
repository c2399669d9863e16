//! Copies the WAL into the file on a thread beside the writer's: at 32 MiB that takes a disk ten milliseconds and more, and no
//! commit is to wait for it. What was committed meanwhile is little; the writer copies that itself, since SQLite begins the WAL
//! anew only at a commit that finds all of it copied. Leaves the copy at the end to `writer`. Tested below, and on faulty disks
//! by `tests/tests/it/disk.rs`.

use super::schema;
use super::writer::is_fatal;
use crate::store::StoreError;
use rusqlite::{Connection, ffi};
use std::cell::Cell;
use std::ffi::c_int;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// A WAL so many times as long as one that is copied has commits wait for the copy: the thread falls behind, and the WAL is
/// to stay bounded.
const FALLS_BEHIND: u32 = 4;
/// After a copy the next is due once the WAL has grown by this share of the pages that one takes: a reader may be looking at
/// what is in it, and keeps it from beginning anew.
const AGAIN_AFTER: u32 = 4;

thread_local! {
    /// Pages in the WAL after the latest commit of this thread.
    static PAGES: Cell<u32> = const { Cell::new(0) };
}

/// The writer's end.
pub(super) struct Wal {
    copier: Arc<Copier>,
    /// Ends with SQLite's code of a disk error, where it met one.
    thread: Option<JoinHandle<Result<(), c_int>>>,
    /// Pages that make it due to be copied.
    due: u32,
    /// Pages in it when it was looked at last.
    seen: u32,
}

impl Wal {
    /// Has the commits of `conn` copied, by the thread that makes them and one that is started here.
    pub(super) fn of(conn: &Connection, path: &Path) -> Result<Self, StoreError> {
        let theirs = schema::open_to_copy(path)?;
        let copier = Arc::new(Copier { stage: Mutex::new(Stage::Idle), changed: Condvar::new() });
        let of_thread = copier.clone();
        let thread = std::thread::Builder::new()
            .name("opsward-wal".to_owned())
            .spawn(move || of_thread.copy_when_told(&theirs))
            .map_err(|source| StoreError::Open { path: path.display().to_string(), source })?;
        conn.wal_hook(Some(|_, pages| {
            PAGES.set(u32::try_from(pages).unwrap_or(0));
            Ok(())
        }));
        Ok(Self { copier, thread: Some(thread), due: schema::checkpoint_pages(), seen: 0 })
    }

    /// After a commit: has the WAL copied where it is due. An error is one after which nothing more may be written.
    pub(super) fn tend(&mut self, conn: &Connection) -> Result<(), rusqlite::Error> {
        let pages = PAGES.get();
        if pages < self.seen {
            // It has begun anew.
            self.due = schema::checkpoint_pages();
            self.copier.forget_copied();
        }
        self.seen = pages;
        if pages < self.due {
            return Ok(());
        }
        let falls_behind = pages >= FALLS_BEHIND * schema::checkpoint_pages();
        match self.copier.begin_or_look(falls_behind) {
            Stage::Idle | Stage::Copying => return Ok(()),
            Stage::Copied => self.copier.forget_copied(),
            // The thread has panicked: all of it is copied here.
            Stage::Ended => {}
            Stage::Failed(code) => return Err(failure(code)),
        }
        self.due = pages + schema::checkpoint_pages() / AGAIN_AFTER;
        copy(conn).map_err(failure)
    }

    /// Ends the thread. After an error what is in the WAL is to stay there, as after one of `tend`.
    pub(super) fn end(mut self) -> Result<(), rusqlite::Error> {
        self.join().map_err(failure)
    }

    fn join(&mut self) -> Result<(), c_int> {
        self.copier.set(Stage::Ended);
        self.thread.take().map_or(Ok(()), |thread| {
            thread.join().unwrap_or_else(|_| {
                tracing::error!("the thread that copies the WAL panicked");
                Ok(())
            })
        })
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        // Whoever drops it has met another error.
        self.join().ok();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Idle,
    Copying,
    /// All but what was committed meanwhile.
    Copied,
    /// With SQLite's code of a disk error: it is unknown what the file holds, and only the WAL is to be believed.
    Failed(c_int),
    Ended,
}

struct Copier {
    stage: Mutex<Stage>,
    changed: Condvar,
}

impl Copier {
    fn copy_when_told(&self, conn: &Connection) -> Result<(), c_int> {
        // Whatever ends this thread, the writer does not wait for it.
        let _end = End(self);
        loop {
            let waits = |stage: &mut Stage| matches!(stage, Stage::Idle | Stage::Copied);
            let stage = *self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner);
            if stage != Stage::Copying {
                return Ok(());
            }
            // SQLite leaves the sync to the copy that finds nothing committed meanwhile: the writer's, which is to be short.
            let copied = copy(conn).and_then(|()| sync(conn));
            let mut stage = self.lock();
            if *stage == Stage::Copying {
                *stage = copied.map_or_else(Stage::Failed, |()| Stage::Copied);
                self.changed.notify_all();
            }
            drop(stage);
            copied?;
        }
    }

    /// Begins a copy where none is on its way, and says where the latest stands: after its end if it is to be waited for.
    fn begin_or_look(&self, wait: bool) -> Stage {
        let mut stage = self.lock();
        if *stage == Stage::Idle {
            *stage = Stage::Copying;
            self.changed.notify_all();
        }
        if wait {
            let copying = |stage: &mut Stage| *stage == Stage::Copying;
            stage = self.changed.wait_while(stage, copying).unwrap_or_else(PoisonError::into_inner);
        }
        *stage
    }

    fn forget_copied(&self) {
        let mut stage = self.lock();
        if *stage == Stage::Copied {
            *stage = Stage::Idle;
        }
    }

    fn set(&self, stage: Stage) {
        *self.lock() = stage;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct End<'a>(&'a Copier);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut stage = self.0.lock();
        if *stage == Stage::Copying {
            *stage = Stage::Ended;
        }
        self.0.changed.notify_all();
    }
}

/// Copies what no reader keeps from being copied. An error is SQLite's code of a disk error; a full disk is none: all is in the
/// WAL still, and the copy is made again.
fn copy(conn: &Connection) -> Result<(), c_int> {
    match conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        Err(error) if is_fatal(&error) => {
            Err(error.sqlite_error().map_or(ffi::SQLITE_IOERR, |error| error.extended_code))
        }
        Err(error) => {
            tracing::warn!(%error, "the WAL was not copied into the store's file; it will be tried again");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Waits until what was copied is on disk. Where that fails, the system may take for written what is not, and SQLite for copied
/// what is only in the WAL: the WAL must not begin anew.
fn sync(conn: &Connection) -> Result<(), c_int> {
    let mut file: *mut ffi::sqlite3_file = std::ptr::null_mut();
    let (main, wanted) = (c"main".as_ptr(), ffi::SQLITE_FCNTL_FILE_POINTER);
    // SAFETY: the connection is open and this thread's alone; its file is open as long as it is, and its methods are statics
    // of the VFS.
    let code = unsafe {
        match ffi::sqlite3_file_control(conn.handle(), main, wanted, (&raw mut file).cast()) {
            ffi::SQLITE_OK => {
                (*(*file).pMethods).xSync.map_or(ffi::SQLITE_OK, |sync| sync(file, ffi::SQLITE_SYNC_NORMAL))
            }
            code => code,
        }
    };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
}

fn failure(code: c_int) -> rusqlite::Error {
    let what = "the WAL could not be copied into the store's file".to_owned();
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB_BYTES: u32 = 64 * 1024;
    const PAGE_BYTES: u32 = 4096;

    /// A file in WAL mode that nobody syncs, and what has it copied.
    fn file(dir: &Path) -> (Connection, Wal) {
        let path = dir.join("t.db");
        let conn = Connection::open(&path).expect("opened");
        let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE t (b BLOB)";
        conn.execute_batch(setup).expect("set up");
        let wal = Wal::of(&conn, &path).expect("started");
        (conn, wal)
    }

    /// Commits so many times what makes the WAL due to be copied, a piece at a time.
    fn commit(conn: &Connection, wal: &mut Wal, times: u32) {
        for _ in 0..times * schema::checkpoint_pages() * PAGE_BYTES / BLOB_BYTES {
            conn.execute("INSERT INTO t VALUES (zeroblob(?1))", [BLOB_BYTES]).expect("written");
            wal.tend(conn).expect("tended");
        }
    }

    fn wal_bytes(dir: &Path) -> u64 {
        dir.join("t.db-wal").metadata().expect("there").len()
    }

    #[test]
    fn the_wal_begins_anew_while_commits_go_on() {
        let dir = tempfile::tempdir().expect("made");
        let (conn, mut wal) = file(dir.path());
        commit(&conn, &mut wal, 3 * FALLS_BEHIND);
        let bound = (FALLS_BEHIND + 1) * schema::checkpoint_pages() * PAGE_BYTES;
        assert!(wal_bytes(dir.path()) < bound.into(), "{}", wal_bytes(dir.path()));
    }

    #[test]
    fn what_a_reader_looks_at_is_kept_and_copied_once_it_looks_away() {
        let dir = tempfile::tempdir().expect("made");
        let (conn, mut wal) = file(dir.path());
        let reader = Connection::open(dir.path().join("t.db")).expect("opened");
        let count =
            || reader.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, u32>(0)).expect("read");
        reader.execute_batch("BEGIN").expect("begun");
        let seen = count();
        commit(&conn, &mut wal, 2);
        assert_eq!(count(), seen);
        reader.execute_batch("COMMIT").expect("ended");
        let kept = wal_bytes(dir.path());
        commit(&conn, &mut wal, FALLS_BEHIND);
        let bound = u64::from((FALLS_BEHIND + 1) * schema::checkpoint_pages() * PAGE_BYTES);
        assert!(wal_bytes(dir.path()) < kept.max(bound), "it has begun anew");
        assert!(count() > seen);
    }

    #[test]
    fn a_copy_that_failed_is_told_of_at_the_next_commit_or_else_at_the_end() {
        let dir = tempfile::tempdir().expect("made");
        let (conn, mut wal) = file(dir.path());
        wal.join().expect("has met no error");
        wal.thread = Some(std::thread::spawn(|| Err(ffi::SQLITE_IOERR_FSYNC)));
        wal.copier.set(Stage::Failed(ffi::SQLITE_IOERR_FSYNC));
        wal.due = 0;
        assert!(is_fatal(&wal.tend(&conn).expect_err("failed")));
        assert!(is_fatal(&wal.end().expect_err("failed")));
    }
}

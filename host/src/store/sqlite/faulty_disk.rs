//! Test-only: a disk that fails as `OPSWARD_DISK` says. What SQLite writes to it stays in this process's memory, as in a
//! kernel's page cache, until SQLite asks for a sync: a `kill -9` is then a power cut, and what was not synced is lost. Leaves
//! how SQLite gets at it to `faulty_vfs`. Tested below, and by `tests/tests/it/disk.rs` with whole hosts.
//!
//! | `OPSWARD_DISK` | the disk |
//! |---|---|
//! | `lossy:<seed>` | loses what is not synced, save for sectors that the seed lets through early, in any order |
//! | `eio-sync:<n>` | fails the n-th sync and every later one; what they were to save is lost |
//! | `eio-sync-once:<n>` | fails the n-th sync alone; what it was to save is lost, and passes for saved, as on Linux |
//! | `eio-write:<n>` | fails the n-th write and every later one |
//! | `full:<file>` | has room for as many bytes as that file is long; without the file there is no bound |
//!
//! A removed file is still there after a power cut, with what it held, until its directory is synced: by the removal where
//! SQLite asks for that, or by the first sync of a new journal or WAL beside it, with which the unix VFS syncs the directory.
//! A new file is there at once: that a directory forgets it is not imitated.

use super::faulty_vfs::{self, RealFile};
use rusqlite::ffi::{SQLITE_FULL, SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE};
use std::collections::{BTreeSet, HashMap};
use std::ffi::{CStr, c_int};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The name under which SQLite knows the disk of `OPSWARD_DISK`, if that is set.
pub(super) fn vfs() -> Option<&'static CStr> {
    disk_of_environment().map(|_| VFS_NAME)
}

/// Whether the disk of `OPSWARD_DISK` has room for another file of so many bytes.
pub(super) fn has_room(bytes: u64) -> bool {
    disk_of_environment().is_none_or(|disk| disk.lock().has_room(&disk.fault, bytes))
}

/// Pages of WAL that make SQLite copy them into the file on a faulty disk: few, so that a short test meets the copying.
pub(super) const CHECKPOINT_PAGES: u32 = 64;
const VFS_NAME: &CStr = c"opsward-faulty";
/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

fn disk_of_environment() -> Option<&'static Disk> {
    static DISK: OnceLock<Option<&'static Disk>> = OnceLock::new();
    *DISK.get_or_init(|| {
        let text = std::env::var("OPSWARD_DISK").ok()?;
        let fault = Fault::parse(&text).unwrap_or_else(|| panic!("OPSWARD_DISK={text} is no disk"));
        Some(Disk::mount(VFS_NAME, fault))
    })
}

/// What is wrong with a disk.
enum Fault {
    Lossy { seed: u64 },
    SyncFails { from: u64 },
    OneSyncFails { nth: u64 },
    WriteFails { from: u64 },
    Full { as_long_as: PathBuf },
}

impl Fault {
    fn parse(text: &str) -> Option<Self> {
        let (kind, value) = text.split_once(':')?;
        let number = || value.parse().ok();
        Some(match kind {
            "lossy" => Self::Lossy { seed: number()? },
            "eio-sync" => Self::SyncFails { from: number()? },
            "eio-sync-once" => Self::OneSyncFails { nth: number()? },
            "eio-write" => Self::WriteFails { from: number()? },
            "full" => Self::Full { as_long_as: value.into() },
            _ => return None,
        })
    }
}

/// A disk with all files that were opened on it.
pub(super) struct Disk {
    fault: Fault,
    state: Mutex<State>,
}

struct State {
    files: HashMap<PathBuf, Content>,
    /// Files whose directory does not know yet that they are gone.
    removed: BTreeSet<PathBuf>,
    /// Of the generator that chooses what reaches the disk early; never 0.
    random: u64,
    syncs: u64,
    writes: u64,
}

/// A file as its readers see it, and what of that the disk may not have.
#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    unsynced: Vec<Range<usize>>,
}

impl Disk {
    fn mount(name: &'static CStr, fault: Fault) -> &'static Self {
        let random = if let Fault::Lossy { seed } = fault { seed.max(1) } else { 1 };
        let state = State { files: HashMap::new(), removed: BTreeSet::new(), random, syncs: 0, writes: 0 };
        let disk = Box::leak(Box::new(Self { fault, state: Mutex::new(state) }));
        faulty_vfs::register(name, disk);
        disk
    }

    /// Makes a file's content known, unless it is.
    pub(super) fn open(&self, path: &Path, real: RealFile) -> Result<(), c_int> {
        let mut state = self.lock();
        state.removed.remove(path);
        if !state.files.contains_key(path) {
            state.files.insert(path.to_owned(), Content { bytes: real.read()?, unsynced: Vec::new() });
        }
        Ok(())
    }

    /// Fills `into` with what is at `at`, and with zeros past the end; tells how much there was.
    pub(super) fn read(&self, path: &Path, into: &mut [u8], at: usize) -> usize {
        let state = self.lock();
        let there = state.files[path].bytes.get(at..).unwrap_or_default();
        let count = there.len().min(into.len());
        into[..count].copy_from_slice(&there[..count]);
        into[count..].fill(0);
        count
    }

    pub(super) fn write(&self, path: &Path, real: RealFile, bytes: &[u8], at: usize) -> Result<(), c_int> {
        let state = &mut *self.lock();
        state.writes += 1;
        if matches!(self.fault, Fault::WriteFails { from } if state.writes >= from) {
            return Err(SQLITE_IOERR_WRITE);
        }
        let grows_by = (at + bytes.len()).saturating_sub(state.files[path].bytes.len());
        if grows_by > 0 && !state.has_room(&self.fault, grows_by as u64) {
            return Err(SQLITE_FULL);
        }
        let content = state.files.get_mut(path).expect(OPENED);
        content.write(bytes, at);
        if matches!(self.fault, Fault::Lossy { .. }) {
            content.leak(&mut state.random, real)?;
        }
        Ok(())
    }

    pub(super) fn truncate(&self, path: &Path, len: usize) {
        self.lock().files.get_mut(path).expect(OPENED).bytes.truncate(len);
    }

    pub(super) fn sync(&self, path: &Path, real: RealFile, flags: c_int, also: Also) -> Result<(), c_int> {
        let state = &mut *self.lock();
        state.syncs += 1;
        if matches!(self.fault, Fault::SyncFails { from } if state.syncs >= from) {
            return Err(SQLITE_IOERR_FSYNC);
        }
        let file = state.files.get_mut(path).expect(OPENED);
        if matches!(self.fault, Fault::OneSyncFails { nth } if state.syncs == nth) {
            file.unsynced.clear();
            return Err(SQLITE_IOERR_FSYNC);
        }
        file.sync(real, flags)?;
        if also == Also::Directory {
            for path in std::mem::take(&mut state.removed) {
                state.files.remove(&path);
                std::fs::remove_file(path).ok();
            }
        }
        Ok(())
    }

    pub(super) fn len(&self, path: &Path) -> usize {
        self.lock().files[path].bytes.len()
    }

    /// Whether a file is there and has content; `None` where only the real disk knows.
    pub(super) fn holds(&self, path: &Path) -> Option<bool> {
        self.lock().files.get(path).map(|content| !content.bytes.is_empty())
    }

    /// Removes a file. Returns whether the real one is to be removed, too.
    pub(super) fn remove(&self, path: &Path, also: Also) -> bool {
        let state = &mut *self.lock();
        if also == Also::Directory {
            state.files.remove(path);
            return true;
        }
        state.files.entry(path.to_owned()).or_default().bytes.clear();
        state.removed.insert(path.to_owned());
        false
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is synced with a file.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Also {
    Nothing,
    Directory,
}

/// Why a file is known.
const OPENED: &str = "SQLite uses files it has opened";

impl State {
    fn has_room(&self, fault: &Fault, bytes: u64) -> bool {
        let Fault::Full { as_long_as } = fault else { return true };
        let Ok(size) = as_long_as.metadata() else { return true };
        let reserve = |path: &PathBuf| super::reserve::beside(path).metadata().map_or(0, |file| file.len());
        let used: u64 = self.files.iter().map(|(path, file)| file.bytes.len() as u64 + reserve(path)).sum();
        used + bytes <= size.len()
    }
}

impl Content {
    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
        self.unsynced.push(at..end);
    }

    /// After a write in four, some sectors of some unsynced write reach the disk: what a kernel does when it pleases.
    fn leak(&mut self, random: &mut u64, real: RealFile) -> Result<(), c_int> {
        if below(random, 4) > 0 {
            return Ok(());
        }
        let range = &self.unsynced[below(random, self.unsynced.len())];
        let end = range.end.min(self.bytes.len());
        let sectors = end.saturating_sub(range.start).div_ceil(SECTOR);
        if sectors > 0 {
            let first = below(random, sectors);
            let count = 1 + below(random, sectors - first);
            let from = range.start + first * SECTOR;
            real.write(&self.bytes[from..end.min(from + count * SECTOR)], from)?;
        }
        if below(random, 2) == 0 { self.cut(real) } else { Ok(()) }
    }

    fn sync(&mut self, real: RealFile, flags: c_int) -> Result<(), c_int> {
        self.cut(real)?;
        for range in self.unsynced.drain(..) {
            let end = range.end.min(self.bytes.len());
            if range.start < end {
                real.write(&self.bytes[range.start..end], range.start)?;
            }
        }
        real.sync(flags)
    }

    /// Makes the real file no longer than this one.
    fn cut(&self, real: RealFile) -> Result<(), c_int> {
        if real.len()? > self.bytes.len() { real.truncate(self.bytes.len()) } else { Ok(()) }
    }
}

/// xorshift64: good enough to choose sectors, and the seed repeats them.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn below(random: &mut u64, bound: usize) -> usize {
    usize::try_from(next(random) % bound as u64).expect("below a usize")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::{Connection, ErrorCode, OpenFlags};

    struct Lab {
        dir: tempfile::TempDir,
        conn: Connection,
    }

    impl Lab {
        fn new(name: &'static CStr, fault: Fault, synchronous: &str) -> Self {
            Disk::mount(name, fault);
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("a.db");
            let conn = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), name).expect("opened");
            let setup = format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 32;
                 CREATE TABLE t (n INTEGER, filler BLOB)"
            );
            conn.execute_batch(&setup).expect("set up");
            Self { dir, conn }
        }

        fn insert(&self, bytes: u32) -> Result<(), rusqlite::Error> {
            self.conn.execute("INSERT INTO t VALUES (1, zeroblob(?1))", [bytes]).map(drop)
        }

        fn insert_until_it_fails(&self) -> u32 {
            (0..100).take_while(|_| self.insert(10).is_ok()).map(|_| 1).sum()
        }

        fn count(conn: &Connection) -> Result<u32, rusqlite::Error> {
            conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        }

        /// What a host finds after a power cut: the files as the real disk has them by now.
        fn count_after_a_power_cut(&self) -> Result<u32, rusqlite::Error> {
            let copies = tempfile::tempdir().expect("a directory");
            for name in ["a.db", "a.db-wal"] {
                std::fs::copy(self.dir.path().join(name), copies.path().join(name)).expect("copied");
            }
            let conn = Connection::open(copies.path().join("a.db"))?;
            let check: String = conn.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
            assert_eq!(check, "ok");
            Self::count(&conn)
        }
    }

    #[test]
    fn a_power_cut_takes_what_was_not_synced_and_leaves_what_was() {
        let full = Lab::new(c"full-sync", Fault::Lossy { seed: 7 }, "FULL");
        let normal = Lab::new(c"normal-sync", Fault::Lossy { seed: 7 }, "NORMAL");
        let mut lost = 0;
        for inserted in 1..=100 {
            for lab in [&full, &normal] {
                lab.insert(3000).expect("inserted");
                assert_eq!(Lab::count(&lab.conn).expect("counted"), inserted, "seen before it is synced");
            }
            assert_eq!(full.count_after_a_power_cut().expect("whole"), inserted);
            lost += inserted - normal.count_after_a_power_cut().unwrap_or(0);
        }
        assert!(lost > 100, "without a sync of each commit, {lost} rows were lost");
    }

    #[test]
    fn a_sync_fails_when_told_and_saves_nothing() {
        let lab = Lab::new(c"eio-sync", Fault::SyncFails { from: 40 }, "FULL");
        let kept = lab.insert_until_it_fails();
        assert!((10..40).contains(&kept), "{kept} inserts before the 40th sync");
        let error = lab.insert(10).expect_err("no sync succeeds later");
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure));
        assert_eq!(lab.count_after_a_power_cut().expect("whole"), kept);
    }

    #[test]
    fn a_write_fails_when_told() {
        let lab = Lab::new(c"eio-write", Fault::WriteFails { from: 60 }, "FULL");
        let kept = lab.insert_until_it_fails();
        assert!((5..60).contains(&kept), "{kept} inserts before the 60th write");
        assert_eq!(lab.count_after_a_power_cut().expect("whole"), kept);
    }

    #[test]
    fn a_full_disk_has_room_again_when_it_grows() {
        let dir = tempfile::tempdir().expect("a directory");
        let size = dir.path().join("size");
        let lab = Lab::new(c"full", Fault::Full { as_long_as: size.clone() }, "FULL");
        let file = std::fs::File::create(&size).expect("created");
        file.set_len(1_000_000).expect("a size");
        let error = lab.insert(2_000_000).expect_err("no room");
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull));
        file.set_len(5_000_000).expect("a size");
        lab.insert(2_000_000).expect("room");
    }

    #[test]
    fn the_file_is_not_mapped_into_memory_past_this_disk() {
        let lab = Lab::new(c"unmapped", Fault::Lossy { seed: 1 }, "FULL");
        let mapped: Option<i64> = lab.conn.pragma_query_value(None, "mmap_size", |row| row.get(0)).ok();
        assert_eq!(mapped.unwrap_or(0), 0);
    }
}

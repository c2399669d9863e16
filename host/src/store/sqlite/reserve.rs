//! Room for what is under way on a full disk: a file beside the store that is given up when the disk has no room, so that
//! the result of an effect that was sent can still be recorded, by a run that goes on or is claimed again. Until the room is
//! there again nothing new is begun. Leaves to `writer` what is new and what is under way. Tested below, and on full disks by `tests/tests/it/disk.rs`.

#[cfg(feature = "failpoints")]
use super::faulty_disk;
use super::schema::open_private;
use crate::failpoint::wrong;
use std::fs::File;
use std::io::{Error, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// About 1,000 pages of WAL: each of the 64 runs that are claimed at once may write an intent, a result and its end in a
/// commit of its own, of four or five pages.
const RESERVE_BYTES: u64 = 8 * 1024 * 1024;
/// Room there must be for the reserve to be made again: as much as it holds stays for new events, lest the first of them
/// fill the disk again.
const NEEDED_BYTES: u64 = 2 * RESERVE_BYTES;
/// How often it is tried to make it again. A try on a full disk writes up to `RESERVE_BYTES`.
const TRY_EVERY: Duration = Duration::from_secs(5);
/// What is written at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Where the reserve of a store is.
pub(super) fn beside(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".reserve");
    path.into()
}

/// The reserve of a store that this process has locked.
pub(super) struct Reserve {
    path: PathBuf,
    /// Set while it is not there for lack of room.
    away: Option<Away>,
}

struct Away {
    tried_at: Option<Instant>,
    /// Whether a run that was under way has found no room since then.
    is_used_up: bool,
}

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// For whatever comes.
    Plenty,
    /// For runs that have begun.
    Reserved,
    /// For what is under way, if that: no run is claimed.
    None,
}

impl Reserve {
    /// Touches nothing yet.
    pub(super) fn of(store: &Path) -> Self {
        Self { path: beside(store), away: None }
    }

    /// Sees to it that it is there, if there is room.
    pub(super) fn keep(&mut self) {
        if self.path.metadata().is_ok_and(|file| file.len() == RESERVE_BYTES) {
            self.away = None;
        } else {
            self.make(RESERVE_BYTES);
        }
    }

    /// How much room there is, as far as is known.
    pub(super) fn room(&self) -> Room {
        match self.away {
            None => Room::Plenty,
            Some(Away { is_used_up: false, .. }) => Room::Reserved,
            Some(Away { is_used_up: true, .. }) => Room::None,
        }
    }

    /// A run that was under way has found no room: until the next try to make the reserve again none is claimed, lest runs are
    /// begun again and again, each with reads in the clouds, to end at the same place.
    pub(super) fn used_up(&mut self) {
        if let Some(away) = &mut self.away {
            away.is_used_up = true;
        }
    }

    /// Gives its room up, since the disk is full. Returns whether there was any to give.
    pub(super) fn give_up(&mut self) -> bool {
        if self.away.is_none() {
            tracing::error!(
                "the disk is full: no new event is taken until there is room; what is under way goes on"
            );
            // The first try to make it again comes at once: there may be room, just not for what was asked.
            self.away = Some(Away { tried_at: None, is_used_up: false });
        }
        if wrong("no-reserve") {
            return false;
        }
        match std::fs::remove_file(&self.path) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "the reserve cannot be removed");
                false
            }
        }
    }

    /// Makes it again, now and then while it is away.
    pub(super) fn restore(&mut self) {
        let due = |away: &Away| away.tried_at.is_none_or(|tried| tried.elapsed() >= TRY_EVERY);
        if self.away.as_ref().is_some_and(due) {
            self.make(NEEDED_BYTES);
        }
    }

    fn make(&mut self, needed: u64) {
        match make(&self.path, needed) {
            Ok(()) => {
                if self.away.take().is_some() {
                    tracing::info!("the disk has room again: new events are taken");
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                if self.away.is_none() {
                    tracing::error!(
                        "the disk has no room for the reserve: no new event is taken until it has"
                    );
                }
                self.away = Some(Away { tried_at: Some(Instant::now()), is_used_up: false });
            }
            // Whatever this is, it is not the disk that has no room.
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "no reserve for a full disk");
                self.away = None;
            }
        }
    }
}

/// Makes the reserve if there is room for so many bytes.
fn make(path: &Path, needed: u64) -> Result<(), Error> {
    #[cfg(feature = "failpoints")]
    if !faulty_disk::has_room(needed) {
        return Err(ErrorKind::StorageFull.into());
    }
    let made = fill(&open_private(path)?, needed);
    if made.is_err() {
        std::fs::remove_file(path)?;
    }
    made
}

fn fill(mut file: &File, needed: u64) -> Result<(), Error> {
    file.set_len(0)?;
    let chunk = noise();
    for _ in 0..needed / CHUNK_BYTES as u64 {
        file.write_all(&chunk)?;
    }
    file.set_len(RESERVE_BYTES)
}

/// Bytes that a file system which compresses cannot make room of (xorshift64).
fn noise() -> Vec<u8> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word
    });
    words.take(CHUNK_BYTES / size_of::<u64>()).flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_given_up_once_and_made_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("a.db");
        let len = || beside(&store).metadata().map(|file| file.len()).ok();
        let mut reserve = Reserve::of(&store);
        assert_eq!(len(), None);
        reserve.keep();
        assert_eq!((len(), reserve.room()), (Some(RESERVE_BYTES), Room::Plenty));
        reserve.restore();
        reserve.keep();
        assert_eq!(len(), Some(RESERVE_BYTES), "it is there already");

        assert!(reserve.give_up());
        assert_eq!((len(), reserve.room()), (None, Room::Reserved));
        assert!(!reserve.give_up(), "there is nothing more to give");
        reserve.used_up();
        assert_eq!(reserve.room(), Room::None);
        reserve.restore();
        assert_eq!((len(), reserve.room()), (Some(RESERVE_BYTES), Room::Plenty));
    }

    #[test]
    fn a_host_whose_reserve_cannot_be_made_for_another_reason_takes_events() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("a.db");
        std::fs::create_dir(beside(&store)).expect("something in the way");
        let mut reserve = Reserve::of(&store);
        reserve.keep();
        assert_eq!(reserve.room(), Room::Plenty);
    }

    #[test]
    fn what_is_reserved_does_not_compress() {
        let noise = noise();
        assert_eq!(noise.len(), CHUNK_BYTES);
        let mut words: Vec<&[u8]> = noise.chunks(size_of::<u64>()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len() * size_of::<u64>(), CHUNK_BYTES, "no word comes twice");
    }
}

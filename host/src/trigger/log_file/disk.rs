//! The log and the files beside it that were the log before: opened where they are regular files, told apart, and put in order.
//! Leaves what is read of them to `tail`, and which names count to `opsward_core::tail`.
//!
//! A file is found again by its first bytes and those before the place in it, not by its number alone: another may have that number by now, and
//! where a log is copied and then cut short, what was not read yet is in the copy.

use opsward_core::id::Digest;
use opsward_core::tail::{MARK_BYTES, Place, is_rotated_name, text_bytes};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::{DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::{DirEntryExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Bytes read at a time: many lines, and more than the longest.
pub(super) const READ_BYTES: usize = 256 * 1024;
/// Most entries of the log's directory: to go through their names takes half a second.
const ENTRIES_MAX: usize = 1_000_000;

/// An open regular file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    /// The file system and the number there.
    pub(super) number: (u64, u64),
}

impl Opened {
    /// Reads at `offset` until `buffer` is full or the file ends.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    /// At most `bytes_max` bytes at `offset`.
    pub(super) fn bytes_at(&self, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; bytes_max];
        let read = self.read_at(offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Where from `offset` on there is anything but a hole; `offset` where nobody knows, `None` where nothing follows.
    pub(super) fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(Some(data)),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::NOTSUP) => Ok(Some(offset)),
            Err(error) => Err(error.into()),
        }
    }

    /// Where its text ends.
    pub(super) fn text_end(&self) -> io::Result<u64> {
        let mut end = self.file.metadata()?.len();
        while end > 0 {
            let from = end.saturating_sub(READ_BYTES as u64);
            let part = self.bytes_at(from, READ_BYTES)?;
            let text = text_bytes(&part) as u64;
            if text > 0 {
                return Ok(from + text);
            }
            end = from;
        }
        Ok(0)
    }

    /// When it was last changed, in nanoseconds since 1970.
    pub(super) fn changed(&self) -> io::Result<u64> {
        Ok(changed(&self.file.metadata()?))
    }

    /// Whether it has no name any more.
    pub(super) fn is_gone(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// What tells the file from others, as of `place`, if it is a place in this file.
    pub(super) fn mark(&self, place: &Place) -> io::Result<Option<Mark>> {
        if place.offset == 0 && self.number != (place.device, place.inode) {
            return Ok(None);
        }
        let mark = Mark::of(self, place.offset)?;
        Ok((mark.length() == 2 * place.mark_bytes() && mark.digest() == place.mark).then_some(mark))
    }
}

/// The first bytes of a file, and those before a place in it.
#[derive(Debug, Default)]
pub(super) struct Mark {
    pub(super) first: Vec<u8>,
    pub(super) before: Vec<u8>,
}

impl Mark {
    /// As of the place at `offset`.
    pub(super) fn of(file: &Opened, offset: u64) -> io::Result<Self> {
        let length = usize::try_from(offset).unwrap_or(MARK_BYTES).min(MARK_BYTES);
        let before = file.bytes_at(offset - length as u64, length)?;
        Ok(Self { first: file.bytes_at(0, length)?, before })
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&[self.first.as_slice(), &self.before].concat())
    }

    /// As of the end of `taken`, which was read at the place.
    pub(super) fn advance(&mut self, taken: &[u8]) {
        let room = MARK_BYTES - self.first.len();
        self.first.extend_from_slice(&taken[..taken.len().min(room)]);
        self.before.extend_from_slice(taken);
        self.before.drain(..self.before.len().saturating_sub(MARK_BYTES));
    }

    fn length(&self) -> usize {
        self.first.len() + self.before.len()
    }
}

/// Which file is at `path`; `None` where there is none.
pub(super) fn number_at(path: &Path) -> io::Result<Option<(u64, u64)>> {
    match path.symlink_metadata() {
        Ok(named) if named.is_file() => Ok(Some(number(&named))),
        Ok(named) if named.is_symlink() => {
            Err(io::Error::other("it is a symbolic link, and links are not followed: name the file itself"))
        }
        Ok(_) => Err(io::Error::other("it is not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the regular file at `path`; `None` where there is none.
pub(super) fn open(path: &Path) -> io::Result<Option<Opened>> {
    if number_at(path)?.is_none() {
        return Ok(None);
    }
    // What it was may be something else by the time it is opened: a link is not followed, and a pipe is not waited for.
    let no_surprise = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match File::options().read(true).custom_flags(no_surprise).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let opened = file.metadata()?;
    if !opened.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(Some(Opened { number: number(&opened), file }))
}

/// The file that `place` is in, with its mark: the log itself, what it is called by now, or a copy of it: the one that is the log, or the
/// latest.
pub(super) fn find(log: &Path, place: &Place) -> io::Result<Option<(Opened, Mark)>> {
    let mut found: Option<((bool, bool, u64), Opened, Mark)> = None;
    for (entry, named) in beside(log, Some(place.inode))? {
        if named.len() < place.offset {
            continue;
        }
        let Ok(Some(opened)) = open(&entry.path()) else { continue };
        if let Some(mark) = opened.mark(place)? {
            let rank =
                (number(&named) == (place.device, place.inode), is_called(log, &entry), changed(&named));
            if found.as_ref().is_none_or(|(best, ..)| *best < rank) {
                found = Some((rank, opened, mark));
            }
        }
    }
    Ok(found.map(|(_, opened, mark)| (opened, mark)))
}

/// The file that the log was after `old`: the earliest of those that were changed after it and after `before`, or what is at its path.
pub(super) fn next(log: &Path, old: &Opened, before: u64) -> io::Result<Option<Opened>> {
    let begins = old.bytes_at(0, MARK_BYTES)?;
    // Opened first: it may be rotated while the others are looked through.
    let present = open(log)?;
    Ok(rotated_after(log, old.changed()?.max(before), Some(old.number), &begins)?.or(present))
}

/// When the latest of the files that were the log was changed; 0 where there is none.
pub(super) fn last_rotated(log: &Path) -> io::Result<u64> {
    Ok(beside(log, None)?.iter().map(|(_, named)| changed(named)).max().unwrap_or(0))
}

/// The earliest of the files that were the log and were changed later than `ended`: not the one with that number, nor one that begins as
/// that does.
pub(super) fn rotated_after(
    log: &Path,
    ended: u64,
    number_of_old: Option<(u64, u64)>,
    begins: &[u8],
) -> io::Result<Option<Opened>> {
    let mut next: Option<(u64, Opened)> = None;
    for (entry, named) in beside(log, None)? {
        let changed = changed(&named);
        if named.len() == 0 || Some(number(&named)) == number_of_old || changed <= ended {
            continue;
        }
        if next.as_ref().is_some_and(|(earliest, _)| *earliest <= changed) {
            continue;
        }
        let Ok(Some(opened)) = open(&entry.path()) else { continue };
        // What begins as the old one is a copy of it, and has been read.
        let is_copy = !begins.is_empty() && opened.bytes_at(0, begins.len())? == begins;
        if !is_copy {
            next = Some((changed, opened));
        }
    }
    Ok(next.map(|(_, opened)| opened))
}

/// The regular files of the log's directory that are called as the log is once it was rotated; where there is an `inode`, the log too, and
/// the file with that number whatever it is called. No other is looked at: there may be many.
fn beside(log: &Path, inode: Option<u64>) -> io::Result<Vec<(DirEntry, Metadata)>> {
    let directory = log.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut files = Vec::new();
    for (nth, entry) in std::fs::read_dir(directory.unwrap_or(Path::new(".")))?.enumerate() {
        if nth >= ENTRIES_MAX {
            let problem =
                format!("its directory has more than {ENTRIES_MAX} entries: let the log have one of its own");
            return Err(io::Error::other(problem));
        }
        let entry = entry?;
        let is_it = inode.is_some_and(|inode| entry.ino() == inode || is_called(log, &entry));
        if !is_it && !is_rotated(log, &entry) {
            continue;
        }
        // One that is gone since it was listed is none.
        if let Ok(named) = entry.metadata()
            && named.is_file()
        {
            files.push((entry, named));
        }
    }
    Ok(files)
}

fn is_called(log: &Path, entry: &DirEntry) -> bool {
    log.file_name().is_some_and(|name| entry.file_name() == name)
}

fn is_rotated(log: &Path, entry: &DirEntry) -> bool {
    let names = (log.file_name().and_then(|name| name.to_str()), entry.file_name());
    matches!(names, (Some(log), name) if name.to_str().is_some_and(|name| is_rotated_name(log, name)))
}

fn number(of: &Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

/// Anybody may have a file say that it is changed in years to come, but not that its status is.
fn changed(of: &Metadata) -> u64 {
    let since_1970 = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let written = since_1970(of.mtime(), of.mtime_nsec());
    u64::try_from(written.min(since_1970(of.ctime(), of.ctime_nsec()))).unwrap_or(0)
}

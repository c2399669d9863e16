//! One log, look by look: what is new in it, through rotation, truncation and restarts. Files are read here, in a blocking way;
//! nothing is remembered between looks but the place, so that a look can be thrown away and done again. Leaves finding files to
//! `disk`, lines to `opsward_core::tail`, and recording to the caller. Tested in `tests/tests/it/log_file.rs`.
//!
//! A file that was renamed is read to its end, and for a while beyond, since its writer may not know yet; then the next one is
//! begun. A file that was cut short is read on in its copy, if there is one, before it is begun anew.

use super::disk::{self, Mark, Opened, READ_BYTES};
use crate::failpoint::haste;
use opsward_core::config::StartAt;
use opsward_core::tail::{Ending, LINE_BYTES_MAX, Line, Place, Progress, Split, split, text_bytes};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often as much is read to see whether NUL bytes end: a second's work at most.
const NUL_READS_MAX: usize = 4096;
/// How often the files beside the log are listed, so that one that is restored among them is not taken for the next: with a million of
/// them it takes half a second.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How long a file that was renamed must be still before it counts as finished: writers are told of a rotation after it.
const STILL: Duration = Duration::from_secs(2);

/// A log that is followed.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    from: StartAt,
    /// Where the last line ended that was found; `None` before the first look.
    progress: Option<Progress>,
    reading: Option<Reading>,
}

/// A file that is read. Beyond where it is begun it is no progress before a line of it was found: until then what is recorded is the end of the file before,
/// from which this one is found again, or what was copied of it.
#[derive(Debug)]
struct Reading {
    opened: Opened,
    files: u64,
    place: Place,
    mark: Mark,
    bytes: u64,
    /// Up to where NUL bytes were found to follow what was read last.
    nuls_to: u64,
    /// Since when the file has had so many.
    still_since: Instant,
    /// When it was last asked what was rotated before it.
    listed_at: Option<Instant>,
}

/// What a look has found.
#[derive(Debug, Default)]
pub struct Look {
    /// Lines of one file, in order.
    pub lines: Vec<Line>,
    /// The number of that file.
    pub files: u64,
    /// Where reading goes on, once they are recorded.
    pub progress: Progress,
    /// Whether the progress is to be recorded though there is no line: a file was begun.
    pub has_begun: bool,
    /// Whether there is more to read at once.
    pub has_more: bool,
    /// What the operator should know.
    pub note: Option<&'static str>,
}

impl Tail {
    /// Follows the log at `path` from where it was left, or where `from` says.
    pub fn new(path: PathBuf, from: StartAt, progress: Option<Progress>) -> Self {
        Self { path, from, progress, reading: None }
    }

    /// Reads on, at most `lines_max` lines.
    pub fn look(&mut self, lines_max: usize, now: Instant) -> io::Result<Look> {
        let mut look = Look { has_begun: self.progress.is_none(), ..Look::default() };
        if self.reading.is_none() {
            self.find(now, &mut look)?;
        }
        if let Some(reading) = self.reading.take() {
            self.read(reading, &mut look, lines_max, now)?;
        }
        look.progress = self.progress.clone().unwrap_or_default();
        Ok(look)
    }

    /// Opens the file that the place is in; without one, what was the log after it, or the log.
    fn find(&mut self, now: Instant, look: &mut Look) -> io::Result<()> {
        let Some(Progress { files, place, path }) = self.progress.clone() else {
            return self.begin(0, self.from, now);
        };
        if path.is_some_and(|path| !self.is_called(&path)) {
            return self.find_elsewhere(files, place, now, look);
        }
        let Some(place) = place else {
            look.has_begun = true;
            return self.begin(files, StartAt::Start, now);
        };
        let number = (place.device, place.inode);
        let found = disk::find(&self.path, &place)?;
        let is_there = found.is_some();
        // One that was at its beginning may have been copied and cut short since: what was rotated comes first.
        if let Some((opened, mark)) = found.filter(|_| place.offset > 0) {
            let is_copy =
                opened.number.1 != place.inode && disk::number_at(&self.path)? == Some(opened.number);
            look.note = is_copy.then_some(REPLACED);
            self.go_on(files, opened, mark, place, now);
            return Ok(());
        }
        let old = (place.offset > 0).then_some(number);
        // Opened first: it may be rotated while the others are looked through.
        let present = disk::open(&self.path)?;
        let rotated = place.changed.map(|changed| disk::rotated_after(&self.path, changed, old, &[]));
        let Some(next) = rotated.transpose()?.flatten().or(present) else { return Ok(()) };
        look.note = match () {
            () if is_there => None,
            () if next.number == number => Some(CUT_SHORT),
            () => Some(GONE),
        };
        self.reading = Some(Reading::of(next, files + 1, now));
        Ok(())
    }

    /// The log has another path than when it was read: it is the same only where the file at that path is. Where it is not, it is a log
    /// that is seen for the first time.
    fn find_elsewhere(
        &mut self,
        files: u64,
        place: Option<Place>,
        now: Instant,
        look: &mut Look,
    ) -> io::Result<()> {
        if let (Some(opened), Some(place)) = (disk::open(&self.path)?, place)
            && let Some(mark) = opened.mark(&place)?
        {
            self.go_on(files, opened, mark, place, now);
            return Ok(());
        }
        (look.has_begun, look.note) = (true, Some(ANOTHER));
        self.begin(files, self.from, now)
    }

    /// Begins a log after so many files. Where it is empty, or not there, what comes is read from its start.
    fn begin(&mut self, files: u64, from: StartAt, now: Instant) -> io::Result<()> {
        let before = if disk::number_at(&self.path)?.is_some() { disk::last_rotated(&self.path)? } else { 0 };
        let Some(log) = disk::open(&self.path)? else {
            self.progress = Some(self.progress(files, None));
            return Ok(());
        };
        let mut reading = Reading::of(log, files + 1, now);
        if from == StartAt::End {
            reading.pass_to_end()?;
        }
        reading.place.changed = Some(before.max(reading.place.changed.unwrap_or(0)));
        let files = files + u64::from(reading.place.offset > 0);
        self.progress = Some(self.progress(files, Some(reading.place.clone())));
        self.reading = Some(reading);
        Ok(())
    }

    /// Reads on in a file behind the place.
    fn go_on(&mut self, files: u64, opened: Opened, mark: Mark, place: Place, now: Instant) {
        let (device, inode) = opened.number;
        let bytes = place.offset;
        // One in which no line was found is not counted yet.
        let files = files + u64::from(bytes == 0);
        let place = Place { device, inode, ..place };
        self.reading = Some(Reading {
            opened,
            files,
            place,
            mark,
            bytes,
            nuls_to: 0,
            still_since: now,
            listed_at: None,
        });
    }

    fn progress(&self, files: u64, place: Option<Place>) -> Progress {
        Progress { files, place, path: Some(self.called()) }
    }

    /// The log's path, from the root.
    fn called(&self) -> String {
        let whole = std::path::absolute(&self.path);
        whole.as_deref().unwrap_or(&self.path).to_string_lossy().into_owned()
    }

    /// Whether `path` is the log's, by whatever way to its directory.
    fn is_called(&self, path: &str) -> bool {
        let called = self.called();
        let found = |path: &str| {
            let path = Path::new(path);
            Some((path.parent()?.canonicalize().ok()?, path.file_name()?.to_owned()))
        };
        path == called || found(path).is_some_and(|place| found(&called) == Some(place))
    }

    fn read(
        &mut self,
        mut reading: Reading,
        look: &mut Look,
        lines_max: usize,
        now: Instant,
    ) -> io::Result<()> {
        // Where they cannot be listed the file is read all the same: one that has no name any more is not found again.
        let before = reading.rotated_before(&self.path, now).unwrap_or(0);
        let Some(data) = reading.data()? else {
            // Cut short. The next look finds where it goes on.
            look.has_more = true;
            return Ok(());
        };
        // The file is the log still, and was not cut short: what was rotated was so before it.
        if before > 0 && disk::number_at(&self.path)? == Some(reading.opened.number) {
            let recorded = self.progress.as_mut().and_then(|progress| progress.place.as_mut());
            for place in recorded.into_iter().chain([&mut reading.place]) {
                place.changed = place.changed.max(Some(before));
            }
        }
        let bytes = reading.place.offset + data.len() as u64;
        if bytes != reading.bytes {
            (reading.bytes, reading.still_since) = (bytes, now);
        }
        let mut found = reading.split(&data, lines_max, Ending::Open);
        let is_finished = found.taken == 0
            && now.saturating_duration_since(reading.still_since) >= haste(STILL)
            && disk::number_at(&self.path)?.is_some_and(|number| number != reading.opened.number);
        if is_finished {
            if let Some((opened, mark)) = reading.replaced(&self.path, &data)? {
                (look.note, look.has_more) = (Some(REPLACED), true);
                self.go_on(reading.files, opened, mark, reading.place, now);
                return Ok(());
            }
            found = reading.split(&data, lines_max, Ending::Finished);
            if found.taken == 0 {
                return self.turn_to_next(reading, look, lines_max, now);
            }
        }
        self.take(reading, &data, found, look)
    }

    /// Goes on with the file after `old`, once there is a line in it. Until then which one it is, is asked anew at each look.
    fn turn_to_next(
        &mut self,
        old: Reading,
        look: &mut Look,
        lines_max: usize,
        now: Instant,
    ) -> io::Result<()> {
        let next = disk::next(&self.path, &old.opened, old.place.changed.unwrap_or(0))?;
        let Some(mut next) = next.map(|opened| Reading::of(opened, old.files + 1, now)) else {
            self.reading = Some(old);
            return Ok(());
        };
        let data = next.data()?.unwrap_or_default();
        let is_log = disk::number_at(&self.path)? == Some(next.opened.number);
        let ending = if is_log || data.len() == READ_BYTES { Ending::Open } else { Ending::Finished };
        let found = next.split(&data, lines_max, ending);
        match found.taken {
            0 => self.reading = Some(old),
            _ => self.take(next, &data, found, look)?,
        }
        Ok(())
    }

    /// Takes what was found in `data`, and reads on behind it.
    fn take(&mut self, mut reading: Reading, data: &[u8], found: Split, look: &mut Look) -> io::Result<()> {
        if found.taken > 0 {
            reading.mark.advance(&data[..found.taken]);
            reading.place.offset += found.taken as u64;
            reading.place.skipping = found.skipping;
            reading.place.mark = reading.mark.digest();
            reading.place.changed = reading.place.changed.max(Some(reading.opened.changed()?));
            self.progress = Some(self.progress(reading.files, Some(reading.place.clone())));
        }
        look.files = reading.files;
        look.has_more = found.taken > 0 && (found.taken < data.len() || data.len() == READ_BYTES);
        look.lines = found.lines;
        self.reading = Some(reading);
        Ok(())
    }
}

impl Reading {
    /// A file from its beginning.
    fn of(opened: Opened, files: u64, now: Instant) -> Self {
        let (device, inode) = opened.number;
        let mark = Mark::default();
        let place = Place { device, inode, offset: 0, skipping: false, mark: mark.digest(), changed: None };
        Self { opened, files, place, mark, bytes: 0, nuls_to: 0, still_since: now, listed_at: None }
    }

    /// Goes to the line that is being written at the end.
    fn pass_to_end(&mut self) -> io::Result<()> {
        let from = self.opened.text_end()?.saturating_sub(LINE_BYTES_MAX as u64);
        let mut end = self.opened.bytes_at(from, LINE_BYTES_MAX)?;
        end.truncate(text_bytes(&end));
        let (line, skipping) = match end.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => (at + 1, false),
            None if from == 0 => (0, false),
            None => (end.len(), true),
        };
        let offset = from + line as u64;
        if offset > 0 {
            self.mark = Mark::of(&self.opened, offset)?;
            (self.place.offset, self.place.skipping, self.bytes) = (offset, skipping, offset);
            self.place.mark = self.mark.digest();
            self.place.changed = Some(self.opened.changed()?);
        }
        Ok(())
    }

    /// What follows the place, up to the end of the text; `None` where the file was cut short since.
    fn data(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (offset, Mark { first, before }) = (self.place.offset, &self.mark);
        let mut read = self.opened.bytes_at(offset - before.len() as u64, before.len() + READ_BYTES)?;
        let known = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(READ_BYTES).min(READ_BYTES);
        let is_same = read.starts_with(before) && self.opened.bytes_at(0, first.len())? == *first;
        if !is_same || read.len() - before.len() < known {
            return Ok(None);
        }
        let mut data = read.split_off(before.len());
        let text = text_bytes(&data);
        if text == data.len() {
            return Ok(Some(data));
        }
        if data.len() < READ_BYTES || !self.is_text_behind(offset + READ_BYTES as u64)? {
            data.truncate(text);
            return Ok(Some(data));
        }
        if text > 0 {
            return Ok(Some(data));
        }
        // Nothing but a hole up to there.
        self.mark = Mark::of(&self.opened, self.nuls_to)?;
        (self.place.offset, self.place.mark) = (self.nuls_to, self.mark.digest());
        self.data()
    }

    /// When the latest of the rotated files was changed, now and then; 0 otherwise.
    fn rotated_before(&mut self, log: &Path, now: Instant) -> io::Result<u64> {
        if self.listed_at.is_some_and(|at| now.saturating_duration_since(at) < haste(LIST_EVERY)) {
            return Ok(0);
        }
        self.listed_at = Some(now);
        disk::last_rotated(log)
    }

    /// Whether there is anything but NUL bytes from `offset` on: those before it are a hole then, and no room for what is to come.
    fn is_text_behind(&mut self, offset: u64) -> io::Result<bool> {
        self.nuls_to = self.nuls_to.max(offset);
        for _ in 0..NUL_READS_MAX {
            let Some(data) = self.opened.data_from(self.nuls_to)? else { return Ok(false) };
            self.nuls_to = data;
            let part = self.opened.bytes_at(self.nuls_to, READ_BYTES)?;
            let nuls = part.iter().take_while(|byte| **byte == 0).count();
            self.nuls_to += nuls as u64;
            if nuls < part.len() || part.is_empty() {
                return Ok(!part.is_empty());
            }
        }
        Ok(false)
    }

    /// The file that was made of this one, where this one is gone: editors do so, and whoever copies a directory. It has all that was
    /// read of this one, and what is `unread` of it.
    fn replaced(&self, log: &Path, unread: &[u8]) -> io::Result<Option<(Opened, Mark)>> {
        if !self.opened.is_gone()? {
            return Ok(None);
        }
        let Some((opened, mark)) = disk::find(log, &self.place)? else { return Ok(None) };
        let is_whole = self.place.offset > 0 && opened.bytes_at(self.place.offset, unread.len())? == unread;
        Ok(is_whole.then_some((opened, mark)))
    }

    fn split(&self, data: &[u8], lines_max: usize, ending: Ending) -> Split {
        split(data, self.place.offset, self.place.skipping, lines_max, ending)
    }
}

/// What the operator is told where lines may be lost.
const CUT_SHORT: &str =
    "the log was cut short: what was written to it since the last look is lost, if anything was";
const GONE: &str = "the file that was being read is gone: what was written to it since the last look is lost, if anything was";
const REPLACED: &str = "another file with the same text is in the place of the one that was read: it is read on from where that one was left";
const ANOTHER: &str = "the log has another path, where another file is: it is read from where `from` says, as one that is first seen";

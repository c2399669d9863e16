//! One log, look by look: what is new in it, through rotation, truncation and restarts. Files are read here, in a blocking way;
//! nothing is remembered between looks but the place, so that a look can be thrown away and done again. Leaves finding files to
//! `disk`, lines to `opsward_core::tail`, and recording to the caller. Tested in `tests/tests/it/log_file.rs`.
//!
//! A file that was renamed is read to its end, and for a while beyond, since its writer may not know yet; then the next one is
//! begun. A file that was cut short is read on in its copy, if there is one, before it is begun anew.

use super::disk::{self, Opened};
use crate::failpoint::haste;
use opsward_core::config::StartAt;
use opsward_core::id::Digest;
use opsward_core::tail::{Ending, LINE_BYTES_MAX, Line, MARK_BYTES, Place, Progress, split};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes read at a time: many lines, and more than the longest.
const READ_BYTES: usize = 256 * 1024;
/// How long a file that was renamed must be still before it counts as finished: writers are told of a rotation after it.
const STILL: Duration = Duration::from_secs(2);

/// A log that is followed.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    from: StartAt,
    progress: Option<Progress>,
    reading: Option<Reading>,
}

#[derive(Debug)]
struct Reading {
    opened: Opened,
    /// The bytes before the place.
    before: Vec<u8>,
    bytes: u64,
    /// Since when the file has had so many.
    still_since: Instant,
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
        let files = self.progress.as_ref().map(|progress| progress.files);
        let mut look = Look::default();
        if self.reading.is_none() {
            look.note = self.find(now)?;
        }
        look.files = self.progress.as_ref().map_or(0, |progress| progress.files);
        if let Some(reading) = self.reading.take() {
            self.read(reading, &mut look, lines_max, now)?;
        }
        look.progress = self.progress.clone().unwrap_or_default();
        look.has_begun = files != Some(look.progress.files);
        Ok(look)
    }

    /// Opens the file that the place is in; without one, the log. Returns what was lost on the way.
    fn find(&mut self, now: Instant) -> io::Result<Option<&'static str>> {
        let Some(Progress { place: Some(place), .. }) = &self.progress else {
            match (disk::open(&self.path)?, self.progress.is_none() && self.from == StartAt::End) {
                (None, _) => self.progress = Some(self.progress.take().unwrap_or_default()),
                (Some(log), true) => self.begin_at_end(log, now)?,
                (Some(log), false) => self.begin(log, now),
            }
            return Ok(None);
        };
        if let Some((opened, before)) = disk::find(&self.path, place)? {
            self.go_on(opened, before, now);
            return Ok(None);
        }
        let Some(log) = disk::open(&self.path)? else { return Ok(None) };
        let note = match (log.number == (place.device, place.inode), place.offset) {
            (_, 0) => None,
            (true, _) => Some(
                "the log was cut short: what was written to it since the last look is lost, if anything was",
            ),
            (false, _) => Some(
                "the file that was being read is gone: what was written to it since the last look is lost, if anything was",
            ),
        };
        self.begin(log, now);
        Ok(note)
    }

    fn read(
        &mut self,
        mut reading: Reading,
        look: &mut Look,
        lines_max: usize,
        now: Instant,
    ) -> io::Result<()> {
        let Some(Progress { place: Some(place), .. }) = &mut self.progress else { return Ok(()) };
        let mark = reading.before.len();
        let read = reading.opened.bytes_at(place.offset - mark as u64, mark + READ_BYTES)?;
        if !read.starts_with(&reading.before) {
            // Cut short. The next look finds where it goes on.
            look.has_more = true;
            return Ok(());
        }
        let data = &read[mark..];
        let bytes = place.offset + data.len() as u64;
        if bytes != reading.bytes {
            (reading.bytes, reading.still_since) = (bytes, now);
        }
        let mut found = split(data, place.offset, place.skipping, lines_max, Ending::Open);
        let is_at_end = found.taken == 0 && data.len() < READ_BYTES;
        let is_finished = is_at_end
            && now.saturating_duration_since(reading.still_since) >= haste(STILL)
            && disk::number_at(&self.path)?.is_some_and(|number| number != reading.opened.number);
        if is_finished {
            found = split(data, place.offset, place.skipping, lines_max, Ending::Finished);
        }
        let seen = [&reading.before, &data[..found.taken]].concat();
        reading.before = seen[seen.len().saturating_sub(MARK_BYTES)..].to_vec();
        place.offset += found.taken as u64;
        place.skipping = found.skipping;
        place.before = Digest::of(&reading.before);
        look.has_more = found.taken > 0 && (found.taken < data.len() || data.len() == READ_BYTES);
        look.lines = found.lines;
        if is_finished && let Some(next) = disk::next(&self.path, &reading.opened)? {
            self.begin(next, now);
            look.has_more = true;
        } else {
            self.reading = Some(reading);
        }
        Ok(())
    }

    /// Begins a file with its first line.
    fn begin(&mut self, opened: Opened, now: Instant) {
        self.begin_at(opened, 0, Vec::new(), false, now);
    }

    /// Begins a file with the line that is being written at its end.
    fn begin_at_end(&mut self, opened: Opened, now: Instant) -> io::Result<()> {
        let bytes = opened.file.metadata()?.len();
        let from = bytes.saturating_sub((LINE_BYTES_MAX + MARK_BYTES) as u64);
        let end = opened.bytes_at(from, LINE_BYTES_MAX + MARK_BYTES)?;
        // Room for the bytes before the line, where there are any.
        let first = if from == 0 { 0 } else { MARK_BYTES };
        let newline = end.iter().skip(first).rposition(|byte| *byte == b'\n');
        let (line, skipping) = match newline {
            Some(at) => (first + at + 1, false),
            None if from == 0 => (0, false),
            None => (end.len(), true),
        };
        let before = end[line.saturating_sub(MARK_BYTES)..line].to_vec();
        self.begin_at(opened, from + line as u64, before, skipping, now);
        Ok(())
    }

    fn begin_at(&mut self, opened: Opened, offset: u64, before: Vec<u8>, skipping: bool, now: Instant) {
        let files = self.progress.as_ref().map_or(0, |progress| progress.files) + 1;
        let (device, inode) = opened.number;
        let place = Place { device, inode, offset, skipping, before: Digest::of(&before) };
        self.progress = Some(Progress { files, place: Some(place) });
        self.reading = Some(Reading { opened, before, bytes: offset, still_since: now });
    }

    /// Goes on at the place, which is in `opened`.
    fn go_on(&mut self, opened: Opened, before: Vec<u8>, now: Instant) {
        let Some(Progress { place: Some(place), .. }) = &mut self.progress else { return };
        (place.device, place.inode) = opened.number;
        let bytes = place.offset;
        self.reading = Some(Reading { opened, before, bytes, still_since: now });
    }
}

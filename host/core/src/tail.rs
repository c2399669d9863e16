//! Following a log as it grows: where reading stands, where its lines end, and which files beside it were the log before. Leaves
//! opening and reading files to the host. Tested below, and with real files in `tests/tests/it/log_file.rs`.

use crate::id::Digest;
use serde::{Deserialize, Serialize};

/// Longest line that is kept, in bytes; of a longer one so much. As long as any line a person reads, and with all that a pattern
/// takes out of it, escaped as JSON, it stays below what an event may carry.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Bytes at the beginning of a file, and as many before the place, that tell it from others: a line or more each, and lines have
/// times in them.
pub const MARK_BYTES: usize = 256;

/// How far a log has been read, through all files that were it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How many files there were that a line was found in: the number of the present one.
    pub files: u64,
    /// The end of the last line that was found, or where the log was begun; `None` while there is no log.
    pub place: Option<Place>,
    /// The path of the log; `None` where it was recorded before paths were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A place in a file: between two lines, or inside one of which no more is kept; its beginning where no line of a log was found yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file system it is on.
    pub device: u64,
    /// Its number there. Once a file is gone, another may get it.
    pub inode: u64,
    /// Bytes from its beginning.
    pub offset: u64,
    /// Whether the line that it is in was too long and goes on to its end unread.
    pub skipping: bool,
    /// The digest of the file's mark: its first bytes, then those before the place, of each `MARK_BYTES` or as many as there are
    /// before the place.
    pub mark: Digest,
    /// When the file had last been changed, or one that was rotated before it, in nanoseconds since 1970: what was the log after it was
    /// changed later. `None` where it was recorded before that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
}

impl Place {
    /// How many bytes the mark has of each.
    pub fn mark_bytes(&self) -> usize {
        usize::try_from(self.offset).unwrap_or(MARK_BYTES).min(MARK_BYTES)
    }
}

/// A line without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it begins in its file, in bytes.
    pub offset: u64,
    /// At most `LINE_BYTES_MAX` bytes of it.
    pub bytes: Vec<u8>,
    /// Whether it goes on.
    pub is_cut: bool,
}

/// What `split` found.
#[derive(Debug, PartialEq, Eq)]
pub struct Split {
    /// The lines, in order.
    pub lines: Vec<Line>,
    /// Bytes that need not be read again.
    pub taken: usize,
    /// Whether what follows belongs to a line that was cut.
    pub skipping: bool,
}

/// Whether more may come after the bytes that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The file may grow: a line without its end is not one yet.
    Open,
    /// It is another file's turn: what is left is a line.
    Finished,
}

/// Takes at most `lines_max` lines out of `bytes`, which were read at `offset`. NUL bytes before a line are no part of it: a file
/// that is cut short under a writer that does not append has a hole where the text was.
pub fn split(bytes: &[u8], offset: u64, mut skipping: bool, lines_max: usize, ending: Ending) -> Split {
    let mut lines = Vec::new();
    let mut taken = 0;
    while lines.len() < lines_max {
        let rest = &bytes[taken..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        if skipping {
            taken += end.map_or(rest.len(), |end| end + 1);
            skipping = end.is_none() && ending == Ending::Open;
            if end.is_none() {
                break;
            }
            continue;
        }
        let nuls = rest.iter().take_while(|byte| **byte == 0).count();
        let text = &rest[nuls..end.unwrap_or(rest.len()).max(nuls)];
        let is_long = text.len() > LINE_BYTES_MAX;
        let is_whole = end.is_some() || (ending == Ending::Finished && !text.is_empty());
        if !is_whole && !is_long {
            taken += nuls;
            break;
        }
        let kept = &text[..text.len().min(LINE_BYTES_MAX)];
        lines.push(Line {
            offset: offset + (taken + nuls) as u64,
            bytes: kept.strip_suffix(b"\r").filter(|_| !is_long).unwrap_or(kept).to_vec(),
            is_cut: is_long,
        });
        taken += nuls + text.len() + usize::from(end.is_some());
        skipping = end.is_none() && ending == Ending::Open;
    }
    Split { lines, taken, skipping }
}

/// How many of the bytes at the end of a file are text. NUL bytes behind it are none: some writers make room in a file before they write
/// into it, and network file systems show how long a file is before they show what is in it.
pub fn text_bytes(end: &[u8]) -> usize {
    end.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Whether a file of that name, beside a log called `log`, may have been the log before: `app.log.1`, `app.log-20261127`,
/// `app.log.2026-11-27_1`, `app.log.old`. Not one that was compressed since.
pub fn is_rotated_name(log: &str, name: &str) -> bool {
    let Some(rest) = name.strip_prefix(log) else { return false };
    let Some(suffix) = rest.strip_prefix(['.', '-']) else { return false };
    let is_number = suffix.starts_with(|c: char| c.is_ascii_digit())
        && suffix.bytes().all(|byte| byte.is_ascii_digit() || b"-_.:T".contains(&byte));
    is_number || suffix == "old"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(split: &Split) -> Vec<&[u8]> {
        split.lines.iter().map(|line| line.bytes.as_slice()).collect()
    }

    #[test]
    fn a_line_is_one_once_its_end_is_there() {
        let first = split(b"one\ntwo\r\n\nthr", 100, false, 10, Ending::Open);
        assert_eq!(texts(&first), [b"one".as_slice(), b"two", b""]);
        assert_eq!(first.lines.iter().map(|line| line.offset).collect::<Vec<_>>(), [100, 104, 109]);
        assert_eq!((first.taken, first.skipping), (10, false));
        let last = split(b"three", 110, false, 10, Ending::Finished);
        assert_eq!((texts(&last), last.taken), (vec![b"three".as_slice()], 5));
        assert_eq!(split(b"", 115, false, 10, Ending::Finished).lines, []);
    }

    #[test]
    fn no_more_lines_are_taken_than_asked_for() {
        let some = split(b"1\n2\n3\n", 0, false, 2, Ending::Open);
        assert_eq!((texts(&some), some.taken), (vec![b"1".as_slice(), b"2"], 4));
    }

    #[test]
    fn of_a_line_that_is_too_long_the_beginning_is_kept_once() {
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        let begun = split(&long, 0, false, 10, Ending::Open);
        assert_eq!((begun.lines.len(), begun.taken, begun.skipping), (1, long.len(), true));
        assert!(begun.lines[0].is_cut && begun.lines[0].bytes.len() == LINE_BYTES_MAX);
        let on = split(b"more of it", 0, true, 10, Ending::Open);
        assert_eq!((on.lines.len(), on.taken, on.skipping), (0, 10, true));
        let ended = split(b"its end\nnext\n", 0, true, 10, Ending::Open);
        assert_eq!((texts(&ended), ended.taken, ended.skipping), (vec![b"next".as_slice()], 13, false));
        let whole = split(&[&long[1..], b"\n"].concat(), 0, false, 10, Ending::Open);
        assert!(!whole.lines[0].is_cut && !whole.skipping, "one that just fits is whole");
    }

    #[test]
    fn a_hole_before_a_line_is_no_part_of_it() {
        let holed = split(b"\0\0\0\0after\nin\0side\n\0\0", 0, false, 10, Ending::Open);
        assert_eq!(texts(&holed), [b"after".as_slice(), b"in\0side"]);
        assert_eq!((holed.lines[0].offset, holed.taken), (4, 20));
        assert_eq!(split(&[0; 9], 0, false, 10, Ending::Finished).lines, []);
    }

    #[test]
    fn room_that_is_made_in_a_file_is_no_text() {
        let cases: [(&[u8], usize); 5] =
            [(b"", 0), (b"\0\0", 0), (b"a\n", 2), (b"a\n\0\0", 2), (b"\0a\0b\0", 4)];
        for (end, bytes) in cases {
            assert_eq!(text_bytes(end), bytes, "{end:?}");
        }
    }

    /// However the bytes come in, the lines are the same.
    #[test]
    fn lines_do_not_depend_on_where_reading_stopped() {
        let text = b"a\nbb\n\nccc\n\0dd\ne";
        let whole = split(text, 0, false, 99, Ending::Finished);
        for step in 1..text.len() {
            let (mut at, mut lines, mut skipping) = (0, Vec::new(), false);
            for end in (step..text.len()).step_by(step).chain([text.len()]) {
                let ending = if end == text.len() { Ending::Finished } else { Ending::Open };
                let part = split(&text[at..end], at as u64, skipping, 99, ending);
                (at, skipping) = (at + part.taken, part.skipping);
                lines.extend(part.lines);
            }
            assert_eq!(lines, whole.lines, "in steps of {step}");
        }
    }

    #[test]
    fn a_place_of_an_older_host_is_read() {
        let mark = Digest::of(b"x");
        let old = format!(
            r#"{{"files":2,"place":{{"device":1,"inode":2,"offset":3,"skipping":false,"mark":"{mark}"}}}}"#
        );
        let place = Place { device: 1, inode: 2, offset: 3, skipping: false, mark, changed: None };
        let progress = Progress { files: 2, place: Some(place), path: None };
        assert_eq!(serde_json::from_str::<Progress>(&old).ok(), Some(progress.clone()));
        assert_eq!(serde_json::to_string(&progress).ok(), Some(old));
    }

    #[test]
    fn rotated_names_are_told_from_others() {
        let yes = [
            "app.log.1",
            "app.log-20261127",
            "app.log.2026-11-27_1",
            "app.log.old",
            "app.log-20261127-1795000000",
        ];
        for name in yes {
            assert!(is_rotated_name("app.log", name), "{name}");
        }
        let no =
            ["app.log", "app.log.1.gz", "app.log.lock", "app.log1", "other.log.1", "app.log.", "app.log.-1"];
        for name in no {
            assert!(!is_rotated_name("app.log", name), "{name}");
        }
    }
}

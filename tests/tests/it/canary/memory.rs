//! The memory of a process, read from outside, as a scanner wants it. Whoever proves that a process holds no secret asks here:
//! `secret_in`. Tested in `super`: the host holds its keys, and that is found.

use super::scanner::Scanner;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};

/// How much is read at a time, in bytes: a secret that lies across two of these is found by what they share.
const PIECE_BYTES: usize = 256 << 10;
/// How much two pieces share: longer than any form of a secret.
const SHARED_BYTES: usize = 16 << 10;

/// What of a process's memory was read.
pub(crate) struct Seen {
    /// The first secret that was found, how it is written, and where.
    pub(crate) secret: Option<String>,
    pub(crate) bytes: u64,
}

/// Looks through all that the process `pid` may read in its memory; `None` where this machine does not let us.
pub(crate) fn secret_in(pid: u32, scanner: &Scanner) -> Option<Seen> {
    let maps = match std::fs::read_to_string(format!("/proc/{pid}/maps")) {
        Ok(maps) => maps,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => panic!("process {pid}: {error}"),
    };
    let mut memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut seen = Seen { secret: None, bytes: 0 };
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(mode)) = (fields.next(), fields.next()) else { continue };
        let place = line.rsplit(' ').next().unwrap_or_default();
        // What the kernel keeps for itself cannot be read.
        if !mode.starts_with('r') || place.starts_with("[v") {
            continue;
        }
        let (begin, end) = range.split_once('-').expect("a range");
        let [begin, end] = [begin, end].map(|text| u64::from_str_radix(text, 16).expect("an address"));
        look_through(&mut memory, begin, end, |piece| {
            seen.bytes += piece.len() as u64;
            if let Some(found) = seen.secret.is_none().then(|| scanner.find(piece)).flatten() {
                seen.secret = Some(format!("{found} in {line}"));
            }
        });
    }
    Some(seen)
}

fn look_through(memory: &mut File, begin: u64, end: u64, mut look: impl FnMut(&[u8])) {
    let (mut piece, untouched) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut at = begin;
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let read = memory.seek(SeekFrom::Start(at)).and_then(|_| memory.read(&mut piece[..wanted]));
        // Pages that were given back meanwhile, or that nothing is behind.
        let Ok(read @ 1..) = read else { return };
        // Most of what is set aside for guests was never used.
        if piece[..read] != untouched[..read] {
            look(&piece[..read]);
        }
        let next = at + read as u64;
        at = if next < end { next.saturating_sub(SHARED_BYTES as u64).max(at + 1) } else { next };
    }
}

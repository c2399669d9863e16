//! Checkpoints: what the chain was at a time, a line each, in a file outside the store. Each line is authenticated by HMAC-SHA256
//! with the host's own key, over the line before and itself, so that none can be made, changed, taken out or moved without the
//! key. Leaves the file to the host. What the file cannot show is that lines at its end are gone: a copy of the latest line that
//! was brought elsewhere does.

use crate::id::{Digest, hex};
use crate::time::Timestamp;
use ring::hmac::{self, HMAC_SHA256};
use std::fmt;

/// The key that checkpoints are authenticated with.
pub struct Key(hmac::Key);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(redacted)")
    }
}

/// Reads a key: 64 hex digits, with white space around.
pub fn parse_key(text: &str) -> Option<Key> {
    let key = Digest::try_from(text.trim().to_owned()).ok()?;
    Some(Key(hmac::Key::new(HMAC_SHA256, key.as_bytes())))
}

/// What the chain was at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whether it begins another branch.
    pub kind: CheckpointKind,
    /// The chain's last row.
    pub seq: i64,
    /// Its hash.
    pub hash: Digest,
    /// When the checkpoint was written.
    pub at: Timestamp,
}

/// Sorts of checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointKind {
    /// The chain goes on from the checkpoint before.
    Checkpoint,
    /// The store is a restored copy: checkpoints before it from its row on are of a past that is lost.
    Restored,
}

/// A line of the file, as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointLine {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// Its HMAC.
    pub mac: Digest,
}

/// A line that is no checkpoint, or not one of this host's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// Not the form of a checkpoint.
    #[error("it is no checkpoint: `checkpoint <row> <hash> <time> <hmac>` is one")]
    Malformed,
    /// The HMAC is another.
    #[error("its HMAC is wrong: it, or the line before it, was changed, made up, moved or taken out")]
    NotAuthentic,
}

impl CheckpointLine {
    /// The line that says `checkpoint` after the one with the HMAC `before`, which is `None` for the first.
    pub fn new(checkpoint: Checkpoint, before: Option<&Digest>, key: &Key) -> Self {
        let tag = hmac::sign(&key.0, &signed(&checkpoint, before));
        Self { checkpoint, mac: super::digest(&tag) }
    }

    /// Reads a line, without its end.
    ///
    /// # Errors
    /// `Malformed`. Whether it is authentic is another question.
    pub fn parse(line: &[u8]) -> Result<Self, InvalidCheckpoint> {
        let line = std::str::from_utf8(line).map_err(|_| InvalidCheckpoint::Malformed)?;
        let mut words = line.split(' ');
        let mut word = || words.next().ok_or(InvalidCheckpoint::Malformed);
        let (kind, seq, hash, at, mac) = (word()?, word()?, word()?, word()?, word()?);
        let kind = match kind {
            "checkpoint" => CheckpointKind::Checkpoint,
            "restored" => CheckpointKind::Restored,
            _ => return Err(InvalidCheckpoint::Malformed),
        };
        let digest = |hex: &str| Digest::try_from(hex.to_owned()).map_err(|_| InvalidCheckpoint::Malformed);
        let seq = seq.parse().map_err(|_| InvalidCheckpoint::Malformed)?;
        let at = Timestamp::parse_rfc3339(at).ok_or(InvalidCheckpoint::Malformed)?;
        let read = Self { checkpoint: Checkpoint { kind, seq, hash: digest(hash)?, at }, mac: digest(mac)? };
        // One form only: what reads the same but is written otherwise was not written by a host.
        if read.to_string() == line { Ok(read) } else { Err(InvalidCheckpoint::Malformed) }
    }

    /// Whether a host with `key` wrote it after the line with the HMAC `before`.
    ///
    /// # Errors
    /// `NotAuthentic`.
    pub fn authenticate(&self, before: Option<&Digest>, key: &Key) -> Result<(), InvalidCheckpoint> {
        let signed = signed(&self.checkpoint, before);
        hmac::verify(&key.0, &signed, self.mac.as_bytes()).map_err(|_| InvalidCheckpoint::NotAuthentic)
    }
}

impl fmt::Display for CheckpointLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.checkpoint, self.mac)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            CheckpointKind::Checkpoint => "checkpoint",
            CheckpointKind::Restored => "restored",
        };
        write!(f, "{kind} {} {} {}", self.seq, self.hash, self.at)
    }
}

/// What a line's HMAC is over.
fn signed(checkpoint: &Checkpoint, before: Option<&Digest>) -> Vec<u8> {
    let before = before.map(|mac| hex(mac.as_bytes())).unwrap_or_default();
    format!("{before}\n{checkpoint}").into_bytes()
}

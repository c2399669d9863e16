//! What is kept of one file: its bytes as they are, judged, and the last good version of it. Leaves reading and judging to
//! the registry.

use super::files::Stamp;
use opsward_core::id::Digest;

/// One file of the plugins directory.
pub(super) struct Kept<T> {
    stamp: Stamp,
    /// Read twice with this stamp: a write within the grain of the file system's clock would otherwise go unseen.
    settled: bool,
    digest: Option<Digest>,
    good: Option<(Digest, T)>,
    refused: Option<String>,
}

/// What reading a file again has brought.
pub(super) enum Update {
    /// The same bytes, or the same reason why there are none.
    Same,
    /// No bytes, for a new reason.
    Unreadable,
    /// Bytes to be judged.
    New(Digest, Vec<u8>),
}

impl<T> Kept<T> {
    /// A file that has not been read.
    pub(super) fn new(stamp: Stamp) -> Self {
        Self { stamp, settled: false, digest: None, good: None, refused: None }
    }

    /// Whether there is no reason to read it again.
    pub(super) fn is_settled(&self, stamp: &Stamp) -> bool {
        self.settled && self.stamp == *stamp
    }

    /// Takes what was read of it.
    pub(super) fn update(&mut self, stamp: Stamp, read: Result<Vec<u8>, String>) -> Update {
        let is_second_look = self.stamp == stamp && (self.digest.is_some() || self.refused.is_some());
        self.settled = is_second_look;
        self.stamp = stamp;
        match read {
            Ok(bytes) => {
                let digest = Digest::of(&bytes);
                if self.digest == Some(digest) {
                    return Update::Same;
                }
                self.digest = Some(digest);
                Update::New(digest, bytes)
            }
            Err(problem) => {
                self.digest = None;
                if self.refused.as_ref() == Some(&problem) {
                    return Update::Same;
                }
                self.refused = Some(problem);
                Update::Unreadable
            }
        }
    }

    /// Takes the judgement on bytes: a bad version leaves the last good one in place.
    pub(super) fn judge(&mut self, digest: Digest, judged: Result<T, String>) {
        match judged {
            Ok(good) => {
                self.good = Some((digest, good));
                self.refused = None;
            }
            Err(problem) => self.refused = Some(problem),
        }
    }

    /// Of the bytes as they are, where they could be read.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The last good version and the digest of its bytes.
    pub(super) fn good(&self) -> Option<&(Digest, T)> {
        self.good.as_ref()
    }

    /// Why the bytes as they are were refused.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

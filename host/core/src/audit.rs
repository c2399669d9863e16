//! The audit chain: a row for each record of an effect and for each change that a person made, every row with a hash over what
//! it says and the hash before it. Checkpoints, kept outside the store and authenticated with a key, say what the chain was at a
//! time. `entry` is what a row says, `checkpoint` the lines of the file, `verify` finds the first row that is wrong. Leaves writing
//! rows to the store, in the transaction of what they tell of. Tested in `audit/tests.rs`.

mod checkpoint;
mod entry;
#[cfg(test)]
mod tests;
mod verify;

pub use checkpoint::{Checkpoint, CheckpointKind, CheckpointLine, InvalidCheckpoint, Key, parse_key};
pub use entry::{AUDIT_VERSION, Change, Entry, Kind, fingerprint};
pub use verify::{Bad, Row, Summary, Verifier, Wrong};

use crate::id::Digest;
use ring::digest::{Context, SHA256};

/// What the first row's hash goes on from.
pub fn root() -> Digest {
    Digest::of(b"opsward audit chain 1")
}

/// The hash of a row that says `entry` and follows the one with the hash `before`: SHA-256 over that hash, the length of the
/// entry as 8 bytes, big end first, and the entry as it is stored.
pub fn link(before: &Digest, entry: &[u8]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(before.as_bytes());
    context.update(&(entry.len() as u64).to_be_bytes());
    context.update(entry);
    digest(&context.finish())
}

fn digest(bytes: &impl AsRef<[u8]>) -> Digest {
    let bytes = bytes.as_ref();
    Digest::from_bytes(std::array::from_fn(|at| bytes[at]))
}

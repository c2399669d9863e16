//! Runs one guest at a time per call: fresh store and instance, bounds, epoch ticks. Leaves what imports answer to
//! `imports` and which revision to run to `registry`.
// Skeleton: the names below are relied on elsewhere.

use opsward_core::id::Digest;

/// A plugin's bytes, compiled and ready to instantiate.
#[derive(Debug)]
pub struct Revision {
    /// SHA-256 of the bytes.
    pub digest: Digest,
}

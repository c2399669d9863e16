//! What is told of a store as a whole, rather than of one event or run.

use opsward_core::time::Timestamp;
use serde::Serialize;

/// That a store is a restored copy: what was done after `taken_at` and before `opened_at` is missing in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// When the copy was taken.
    pub taken_at: Timestamp,
    /// When a host first opened it.
    pub opened_at: Timestamp,
}

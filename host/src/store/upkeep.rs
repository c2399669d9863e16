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

/// How far a round of deleting has come; a round begins with the default. `None`: to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedUpTo {
    /// The last event looked at.
    pub(crate) event: Option<i64>,
    /// The last decision on a schedule looked at.
    pub(crate) firing: Option<i64>,
}

impl Default for RetainedUpTo {
    fn default() -> Self {
        Self { event: Some(0), firing: Some(0) }
    }
}

/// What a slice of a round deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retained {
    /// Events.
    pub events: u64,
    /// Runs, with their ledgers.
    pub runs: u64,
    /// Decisions on schedules.
    pub firings: u64,
    /// Where the next slice goes on; `None` ends the round.
    pub next: Option<RetainedUpTo>,
}

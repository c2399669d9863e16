//! What is recorded of schedules. Leaves deciding on fire times to `opsward_core::schedule`. Tested by the conformance suite.

use opsward_core::id::PolicyName;
use opsward_core::schedule::Decision;
use opsward_core::time::Timestamp;
use serde::Serialize;

/// A decision on one schedule's fire time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Firing {
    /// Whose schedule.
    pub policy: PolicyName,
    /// The schedule's text, which tells a policy's schedules apart.
    pub schedule: String,
    /// The time it was due.
    pub fire_at: Timestamp,
    /// What was decided.
    pub decision: Decision,
    /// When.
    pub decided_at: Timestamp,
}

/// What is recorded of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleState {
    /// The latest fire time decided on.
    pub last_fire: Option<Timestamp>,
    /// Whether a run it started has not ended.
    pub unfinished: bool,
}

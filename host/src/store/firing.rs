//! What is recorded of schedules: decisions on fire times, and pauses. Leaves deciding to `opsward_core::schedule`. Tested by the
//! conformance suite.

use super::NewEvent;
use opsward_core::audit::Change;
use opsward_core::id::PolicyName;
use opsward_core::schedule::{CLOCK_JUMP_MAX, Decision};
use opsward_core::time::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// What tells a schedule from all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ScheduleKey {
    /// Whose schedule.
    pub policy: PolicyName,
    /// The schedule's text, which tells a policy's schedules apart. For pauses, empty: all that the policy has or comes to have.
    pub schedule: Arc<str>,
}

impl ScheduleKey {
    /// All schedules of `policy`, for pauses.
    pub fn all_of(policy: PolicyName) -> Self {
        Self { policy, schedule: "".into() }
    }

    /// Whether all of the policy's are meant.
    pub fn is_all(&self) -> bool {
        self.schedule.is_empty()
    }
}

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

/// A decision to record.
#[derive(Debug, Clone)]
pub struct NewFiring {
    /// The decision.
    pub firing: Firing,
    /// With a decision that starts a run, the event and that run.
    pub event: Option<NewEvent>,
    /// Whether the run may start while another of the schedule has not ended.
    pub overlaps: bool,
    /// The person whose decision it is; `None` where the clock's.
    pub by: Option<String>,
}

impl NewFiring {
    /// What the audit chain says of it, where a person decided.
    pub(crate) fn change(&self) -> Option<Change> {
        let Firing { policy, schedule, decided_at: at, .. } = &self.firing;
        let actor = self.by.clone()?;
        Some(Change { actor, what: "schedule.fire".to_owned(), target: target(policy, schedule), at: *at })
    }
}

/// What became of a decision to record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is recorded, and its run is started.
    First,
    /// The fire time was decided on before.
    Before,
    /// Nothing was written: it would start a run, or have one wait, and the schedule is paused.
    Paused,
    /// Nothing was written: it would start a run, and one has not ended.
    Unfinished,
}

/// That a schedule, or all of its policy's, is paused, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// Who paused it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
    /// When it was resumed; `None` while it is paused.
    pub until: Option<Timestamp>,
}

impl Pause {
    /// What the audit chain says of it.
    pub(crate) fn change(&self, key: &ScheduleKey) -> Change {
        let target = target(&key.policy, &key.schedule);
        Change { actor: self.by.clone(), what: "schedule.pause".to_owned(), target, at: self.at }
    }
}

/// What the audit chain says of a pause that `by` ends at `at`.
pub(crate) fn resumed(key: &ScheduleKey, by: String, at: Timestamp) -> Change {
    Change { actor: by, what: "schedule.resume".to_owned(), target: target(&key.policy, &key.schedule), at }
}

fn target(policy: &PolicyName, schedule: &str) -> String {
    match schedule {
        "" => format!("policy {policy}, all schedules"),
        _ => format!("policy {policy}, schedule {schedule}"),
    }
}

/// What is recorded of a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleState {
    /// The latest fire time decided on, up to the one asked for; what a person had fired is none.
    pub last_fire: Option<Timestamp>,
    /// Up to where fire times are none of its own, as recorded by `settle_schedules`, if that is not later than the time asked for.
    pub settled: Option<Timestamp>,
    /// The fire time that waits for the last run to end, up to the one asked for.
    pub waiting: Option<Timestamp>,
    /// Whether a run it started has not ended.
    pub unfinished: bool,
    /// Its pause or its policy's, also when that is over.
    pub pause: Option<Pause>,
    /// The latest decision, of the clock or of a person.
    pub latest: Option<Firing>,
}

impl ScheduleState {
    /// The pause in force.
    pub fn paused(&self) -> Option<&Pause> {
        self.pause.as_ref().filter(|pause| pause.until.is_none())
    }

    /// Fire times up to here came during a pause, as is known at `now`. A pause that was ended long after that was ended under a clock
    /// that ran ahead: it is over all the same. Clocks of two processes may differ by less.
    pub fn paused_until(&self, now: Timestamp) -> Timestamp {
        match self.pause.as_ref().map(|pause| pause.until) {
            Some(None) => Timestamp::from_ms(i64::MAX),
            Some(Some(until)) if until <= now + CLOCK_JUMP_MAX => until,
            _ => Timestamp::default(),
        }
    }
}

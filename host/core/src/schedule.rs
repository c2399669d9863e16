//! Schedules: cron lines of four dialects in a named zone, and what to do about a fire time. Leaves waiting to the
//! host's timer.
// Skeleton: the names below are relied on elsewhere.

use serde::Deserialize;

/// One `schedule = [{ ... }]` entry as typed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleEntry {}

/// A schedule that is known to fire.
#[derive(Debug, Clone)]
pub struct Schedule {}

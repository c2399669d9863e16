//! A schedule as it is typed in a policy file. Leaves what it means to `super`. Tested in `super::tests`.

use super::Dialect;
use serde::{Deserialize, Serialize};

/// One `schedule = [{ ... }]` entry as typed. Exactly one of `cron` and `every`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ScheduleEntry {
    /// A cron line.
    #[serde(default)]
    pub cron: Option<String>,
    /// The dialect of the cron line.
    #[serde(default)]
    pub dialect: Option<Dialect>,
    /// An IANA zone in which the cron line, and the dates of `start`, `end` and `except`, are meant.
    #[serde(default)]
    pub zone: Option<String>,
    /// An interval such as `5m`, in place of a cron line; counted from 1970-01-01T00:00:00Z, so `5m` fires at :00, :05 ...
    #[serde(default)]
    pub every: Option<String>,
    /// What becomes of fire times that were missed: by default none is made up for where the policy may destroy something, and
    /// the latest one is where it may not.
    #[serde(default)]
    pub misfire: Option<Misfire>,
    /// How late a fire time may still be acted on where missed ones are skipped: `5m` where it is not given.
    #[serde(default)]
    pub grace: Option<String>,
    /// What to do while the last run has not ended.
    #[serde(default)]
    pub overlap: Overlap,
    /// Spreads the schedules of many policies: each is acted on up to so much later, always by the same.
    #[serde(default)]
    pub jitter: Option<String>,
    /// The first day (`2026-10-01`), or the instant (RFC 3339), from which it fires.
    #[serde(default)]
    pub start: Option<String>,
    /// The last day, or the instant, until which it fires.
    #[serde(default)]
    pub end: Option<String>,
    /// Days on which it does not fire.
    #[serde(default)]
    pub except: Option<ExceptEntry>,
    /// Allows firing more often than every 10 seconds.
    #[serde(default)]
    pub allow_frequent: bool,
}

/// Days on which a schedule does not fire, in its zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExceptEntry {
    /// Dates (`2026-12-25`) and runs of them, both ends included (`2026-10-01..2026-10-07`).
    #[serde(default)]
    pub dates: Vec<String>,
    /// Weekdays by name: `SAT`.
    #[serde(default)]
    pub weekdays: Vec<String>,
}

/// What becomes of fire times that were missed: the host was down, or its clock jumped ahead by less than three hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Misfire {
    /// None is made up for; what is not later than the grace was not missed.
    Skip,
    /// The latest one is made up for, however late.
    Once,
    /// The latest `CAUGHT_UP_MAX` are made up for.
    All,
}

impl Misfire {
    /// The rule as it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// What to do at a fire time while the last run of the schedule has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Record the fire time as skipped. The default.
    #[default]
    Skip,
    /// Have one fire time wait until that run has ended; others that come meanwhile are skipped.
    Queue,
    /// Start another run beside it.
    Allow,
}

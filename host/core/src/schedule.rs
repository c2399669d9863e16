//! Schedules: cron lines of four dialects in a named zone, plain intervals, and what to do about a fire time.
//!
//! A line is read by `dialect` (which dialect, how many fields), `field` (one field to a set of values) and `days` (the
//! two day fields, and `L`, `W`, `#`), put into the words of the `cron` crate, evaluated on local wall time and brought
//! to UTC by `zone`. `decide` says what is due, `fired` makes the event of it. Leaves waiting to the host's timer and
//! remembering to its store. Tested by tables here and by `tests/vectors/cron.json`.

mod days;
mod decide;
mod dialect;
mod field;
mod fired;
pub(crate) mod interval;
pub(crate) mod zone;

pub use decide::{Decision, Due, MISSED_MAX};
pub use dialect::Dialect;
pub use fired::{FIRED_TYPE, SOURCE, fired_event};

use crate::time::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

/// How late a fire time may be acted on where the operator does not say.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// The timer needs a moment between a fire time and looking at it: less would skip healthy firings.
pub const GRACE_MIN: Duration = Duration::from_secs(5);
/// Beyond a day a fire time is another day's: whoever wants it asks for it by hand.
pub const GRACE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest time between two firings unless `allow-frequent` is set: catches a `*` in the seconds field.
pub const PERIOD_MIN: Duration = Duration::from_secs(10);
/// The longest `every`: beyond a year a date is meant.
pub const PERIOD_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Longest cron line in bytes: a list of every minute and every year fits.
pub const LINE_BYTES_MAX: usize = 1024;

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
    /// An IANA zone in which the cron line is meant.
    #[serde(default)]
    pub zone: Option<String>,
    /// An interval such as `5m`, in place of a cron line; counted from 1970-01-01T00:00:00Z, so `5m` fires at :00, :05 ...
    #[serde(default)]
    pub every: Option<String>,
    /// How late a fire time may still be acted on: `5m` where it is not given.
    #[serde(default)]
    pub grace: Option<String>,
    /// What to do while the last run has not ended.
    #[serde(default)]
    pub overlap: Overlap,
    /// Allows firing more often than every 10 seconds.
    #[serde(default)]
    pub allow_frequent: bool,
}

/// What to do at a fire time while the last run of the schedule has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Record the fire time as skipped. The default.
    #[default]
    Skip,
    /// Start another run beside it.
    Allow,
}

/// A schedule that is known to fire.
#[derive(Debug, Clone)]
pub struct Schedule {
    rule: Rule,
    text: Arc<str>,
    grace: Duration,
    overlap: Overlap,
}

#[derive(Debug, Clone)]
enum Rule {
    Cron { dialect: Dialect, line: Arc<str>, zone: TimeZone, union: Arc<[cron::Schedule]> },
    Every(Duration),
}

impl Schedule {
    /// Checks an entry and makes a schedule of it.
    pub fn parse(entry: &ScheduleEntry) -> Result<Self, ScheduleError> {
        let (rule, text) = match (&entry.cron, &entry.every) {
            (Some(line), None) => parse_cron(line, entry)?,
            (None, Some(period)) => {
                if let Some((key, _)) = [("zone", entry.zone.is_some()), ("dialect", entry.dialect.is_some())]
                    .into_iter()
                    .find(|(_, given)| *given)
                {
                    return Err(ScheduleError::NotWithEvery { key });
                }
                parse_every(period, "every", entry.allow_frequent)?
            }
            _ => return Err(ScheduleError::CronOrEvery),
        };
        let grace = match &entry.grace {
            None => GRACE_DEFAULT,
            Some(text) => interval::parse(text)
                .ok()
                .filter(|grace| (GRACE_MIN..=GRACE_MAX).contains(grace))
                .ok_or_else(|| ScheduleError::Grace { text: text.clone() })?,
        };
        Ok(Self { rule, text: text.into(), grace, overlap: entry.overlap })
    }

    /// The first fire time after `t`; `None` once there are no more.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Cron { zone, union, .. } => zone::next_after(union, zone, t),
            Rule::Every(period) => {
                let period = i64::try_from(period.as_millis()).ok()?;
                t.ms().div_euclid(period).checked_add(1)?.checked_mul(period).map(Timestamp::from_ms)
            }
        }
    }

    /// What tells the schedules of a policy apart, and is their key in the store: `scf:0 0 3 * * * *@Asia/Shanghai`, `every:5m`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The IANA zone it is meant in.
    pub fn zone(&self) -> &str {
        match &self.rule {
            Rule::Cron { zone, .. } => zone::name(zone),
            Rule::Every(_) => "UTC",
        }
    }

    /// How late a fire time may still be acted on.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// What happens while the last run has not ended.
    pub fn overlap(&self) -> Overlap {
        self.overlap
    }

    /// The next `n` fire times after `now` as local time with offset: `2024-01-02 03:00:00 +08:00`.
    pub fn display_next(&self, n: usize, now: Timestamp) -> Vec<String> {
        std::iter::successors(self.next_after(now), |t| self.next_after(*t))
            .take(n)
            .map(|t| self.local(t).strftime("%Y-%m-%d %H:%M:%S %:z").to_string())
            .collect()
    }

    fn local_rfc3339(&self, t: Timestamp) -> String {
        self.local(t).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    fn local(&self, t: Timestamp) -> jiff::ZonedDateTime {
        let zone = match &self.rule {
            Rule::Cron { zone, .. } => zone.clone(),
            Rule::Every(_) => TimeZone::UTC,
        };
        jiff::Timestamp::from(t).to_zoned_datetime(zone)
    }
}

fn parse_cron(typed: &str, entry: &ScheduleEntry) -> Result<(Rule, String), ScheduleError> {
    if typed.len() > LINE_BYTES_MAX {
        return Err(ScheduleError::LineTooLong { bytes: typed.len() });
    }
    let line = match dialect::read(typed, entry.dialect)? {
        dialect::Line::Every(period) => {
            if entry.zone.is_some() {
                return Err(ScheduleError::NotWithEvery { key: "zone" });
            }
            return parse_every(&period, "cron", entry.allow_frequent);
        }
        dialect::Line::Fields(line) => line,
    };
    let zone = choose_zone(&line, entry)?;
    let calendar = days::read(&line)?;
    let text = line.fields.join(" ");
    if !entry.allow_frequent && calendar.shortest_gap() < PERIOD_MIN {
        return Err(ScheduleError::TooFrequent {
            text,
            period: interval::show(calendar.shortest_gap()),
            key: "cron",
        });
    }
    let mut union = Vec::new();
    for expression in calendar.expressions() {
        let schedule = expression
            .parse::<cron::Schedule>()
            .map_err(|source| ScheduleError::Untranslatable { text: text.clone(), expression, source })?;
        if zone::can_fire(&schedule) {
            union.push(schedule);
        }
    }
    if union.is_empty() {
        return Err(ScheduleError::NeverFires { text });
    }
    let key = format!("{}:{text}@{}", line.dialect.as_str(), zone::name(&zone));
    Ok((Rule::Cron { dialect: line.dialect, line: text.into(), zone, union: union.into() }, key))
}

fn choose_zone(line: &dialect::FieldsLine, entry: &ScheduleEntry) -> Result<TimeZone, ScheduleError> {
    let typed = match (&entry.zone, &line.zone) {
        (Some(key), Some(prefix)) if !key.eq_ignore_ascii_case(prefix) => {
            return Err(ScheduleError::TwoZones { key: key.clone(), prefix: prefix.clone() });
        }
        (Some(zone), _) => zone,
        (None, Some(zone)) => zone,
        (None, None) => match entry.dialect.and_then(Dialect::default_zone) {
            Some(zone) => zone,
            None => return Err(ScheduleError::NoZone { text: line.fields.join(" ") }),
        },
    };
    zone::find(typed).map_err(|hint| ScheduleError::UnknownZone { text: typed.to_owned(), hint })
}

fn parse_every(text: &str, key: &'static str, allow_frequent: bool) -> Result<(Rule, String), ScheduleError> {
    let bad = |problem: String| ScheduleError::Interval { text: text.to_owned(), problem, key };
    let period = interval::parse(text).map_err(bad)?;
    if period > PERIOD_MAX {
        return Err(bad("longer than a year: write a date as a cron line".to_owned()));
    }
    if period < PERIOD_MIN && !allow_frequent {
        return Err(ScheduleError::TooFrequent {
            text: text.to_owned(),
            period: interval::show(period),
            key,
        });
    }
    Ok((Rule::Every(period), format!("every:{}", interval::show(period))))
}

/// Why an entry is not a schedule, and what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// Neither or both of the two forms.
    #[error(
        "a schedule has either `cron` or `every`: write `cron = \"0 3 * * *\", zone = \"Asia/Shanghai\"` or `every = \"5m\"`"
    )]
    CronOrEvery,
    /// A key of the other form.
    #[error("an interval has no `{key}`: it counts elapsed time; leave `{key}` out, or write a cron line")]
    NotWithEvery {
        /// The key.
        key: &'static str,
    },
    /// More than a line.
    #[error("the cron line has {bytes} bytes; at most {LINE_BYTES_MAX} are read")]
    LineTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A line that is no line of its dialect.
    #[error("`{text}` is not a cron line: {problem}")]
    Line {
        /// The line.
        text: String,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// One field is wrong.
    #[error("`{text}` in the {field} field: {problem}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// The field's text.
        text: String,
        /// What is wrong, and what to write.
        problem: String,
    },
    /// Weekday numbers without a dialect.
    #[error(
        "`{text}` in the day-of-week field is ambiguous: it means {readings}; add `dialect`, or use names such as MON-FRI"
    )]
    AmbiguousWeekday {
        /// The field's text.
        text: String,
        /// What each dialect takes it for.
        readings: String,
    },
    /// No zone, and no vendor's default.
    #[error(
        "`{text}` names local times but no zone: add `zone = \"Asia/Shanghai\"` or another IANA name, or `zone = \"UTC\"`"
    )]
    NoZone {
        /// The line.
        text: String,
    },
    /// A zone nobody knows.
    #[error("`{text}` is not an IANA time zone: {hint}")]
    UnknownZone {
        /// The zone.
        text: String,
        /// What may have been meant.
        hint: String,
    },
    /// The prefix and the key disagree.
    #[error("`zone` says `{key}` and the line's prefix says `{prefix}`: leave one of them out")]
    TwoZones {
        /// The key's zone.
        key: String,
        /// The prefix's zone.
        prefix: String,
    },
    /// No such day ever comes.
    #[error("`{text}` can never fire: no day of any year from 1970 to 2099 matches it")]
    NeverFires {
        /// The line.
        text: String,
    },
    /// Most often a `*` in the seconds field.
    #[error(
        "`{text}` fires every {period}, and the shortest is 10s: write 0 in the seconds field, or set `allow-frequent = true`"
    )]
    TooFrequent {
        /// The line or interval.
        text: String,
        /// The shortest time between two firings.
        period: String,
        /// The key it was typed under.
        key: &'static str,
    },
    /// A bad interval.
    #[error("`{text}` is not an interval: {problem}")]
    Interval {
        /// The interval.
        text: String,
        /// What is wrong.
        problem: String,
        /// The key it was typed under.
        key: &'static str,
    },
    /// A bad grace.
    #[error("`{text}` is not a grace: write a time from 5s to 24h, such as `5m`")]
    Grace {
        /// The grace.
        text: String,
    },
    /// The translation is wrong: a defect of this module.
    #[error("`{text}` was translated to `{expression}`, which the cron crate refuses")]
    Untranslatable {
        /// The line.
        text: String,
        /// The translation.
        expression: String,
        /// The crate's reason.
        source: cron::error::Error,
    },
}

impl ScheduleError {
    /// The key of the entry at fault.
    pub fn key(&self) -> &'static str {
        match self {
            Self::NotWithEvery { key } | Self::TooFrequent { key, .. } | Self::Interval { key, .. } => key,
            Self::UnknownZone { .. } | Self::TwoZones { .. } => "zone",
            Self::Grace { .. } => "grace",
            Self::CronOrEvery
            | Self::LineTooLong { .. }
            | Self::Line { .. }
            | Self::Field { .. }
            | Self::AmbiguousWeekday { .. }
            | Self::NoZone { .. }
            | Self::NeverFires { .. }
            | Self::Untranslatable { .. } => "cron",
        }
    }
}

#[cfg(test)]
mod tests;

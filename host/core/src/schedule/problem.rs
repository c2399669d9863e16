//! Why an entry is not a schedule, in words that say what to write instead. Leaves finding out to its siblings. Tested in
//! `super::tests`.

use super::{JITTER_MAX, LINE_BYTES_MAX, interval};

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
    /// A bad jitter.
    #[error("`{text}` is not a jitter: write a time from 1s to {}, such as `5m`", interval::show(JITTER_MAX))]
    Jitter {
        /// The jitter.
        text: String,
    },
    /// A grace where nothing is too late.
    #[error(
        "with `misfire = \"{misfire}\"` no fire time is too late to be made up for: leave `grace` out, or write `misfire = \"skip\"`"
    )]
    GraceBeside {
        /// The rule.
        misfire: &'static str,
    },
    /// Several runs at once that may not be at once.
    #[error(
        "`misfire = \"all\"` starts a run for each missed fire time at once: add `overlap = \"allow\"`, or write `misfire = \"once\"`"
    )]
    AllOverlap,
    /// A bad start or end.
    #[error(
        "`{text}` is no {key}: write a day such as `2026-10-01`, or an instant in RFC 3339 with its offset"
    )]
    Bound {
        /// The key.
        key: &'static str,
        /// The text.
        text: String,
    },
    /// An end before the start.
    #[error("the schedule's `end` is before its `start`: swap them")]
    EndsFirst,
    /// Days that begin at nobody's midnight.
    #[error(
        "`start`, `end` and `except` name local days but no zone: add `zone = \"Asia/Shanghai\"` or another IANA name"
    )]
    DaysWithoutZone,
    /// A bad date or weekday.
    #[error("`{text}` is no day to except: {problem}")]
    Except {
        /// The day.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// Start, end and excepted days leave nothing.
    #[error("`{text}` can never fire: what `start`, `end` and `except` say leaves no fire time")]
    NeverWithin {
        /// The schedule.
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
            Self::UnknownZone { .. } | Self::TwoZones { .. } | Self::DaysWithoutZone => "zone",
            Self::Grace { .. } | Self::GraceBeside { .. } => "grace",
            Self::Jitter { .. } => "jitter",
            Self::AllOverlap => "misfire",
            Self::Bound { key, .. } => key,
            Self::EndsFirst => "end",
            Self::Except { .. } => "except",
            Self::CronOrEvery
            | Self::LineTooLong { .. }
            | Self::Line { .. }
            | Self::Field { .. }
            | Self::AmbiguousWeekday { .. }
            | Self::NoZone { .. }
            | Self::NeverFires { .. }
            | Self::NeverWithin { .. }
            | Self::Untranslatable { .. } => "cron",
        }
    }
}

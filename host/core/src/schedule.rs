//! Schedules: cron lines of four dialects in a named zone, plain intervals, and what to do about a fire time.
//!
//! A line is read by `dialect` (which dialect, how many fields), `field` (one field to a set of values) and `days` (the
//! two day fields, and `L`, `W`, `#`), its days put into the words of the `cron` crate; `local` finds the local times of these days,
//! and `zone` brings them to UTC. `within` leaves out days, and what is before a start or after an end; `words` says it for people.
//! `decide` says what is due, `clock` what a clock that jumped means, `fired` makes the event of a firing. Leaves waiting to
//! the host's timer and remembering to its store. Tested by tables here and by `tests/vectors/cron.json`.

mod clock;
mod days;
mod decide;
mod dialect;
mod entry;
mod field;
mod fired;
pub(crate) mod interval;
mod local;
mod problem;
mod within;
mod words;
pub(crate) mod zone;

pub use clock::{CLOCK_JUMP_MAX, ClockStep, clock_step};
pub use decide::{CAUGHT_UP_MAX, Decision, Due, Known, MISSED_MAX, QUEUED_MAX};
pub use dialect::Dialect;
pub use entry::{ExceptEntry, Misfire, Overlap, ScheduleEntry};
pub use fired::{FIRED_TYPE, SOURCE, begins_within, fired_by_hand, fired_event};
pub use problem::ScheduleError;
pub use words::Words;

use crate::id::{Digest, PolicyName};
use crate::time::Timestamp;
use jiff::tz::TimeZone;
use local::LocalTimes;
use std::sync::Arc;
use std::time::Duration;
use within::Within;

/// How late a fire time may be acted on where the operator does not say.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// The timer needs a moment between a fire time and looking at it: less would skip healthy firings.
pub const GRACE_MIN: Duration = Duration::from_secs(5);
/// Beyond a day a fire time is another day's: whoever wants it asks for it by hand.
pub const GRACE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest `jitter`: beyond a day a firing would be another day's.
pub const JITTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The shortest time between two firings unless `allow-frequent` is set: catches a `*` in the seconds field.
pub const PERIOD_MIN: Duration = Duration::from_secs(10);
/// The longest `every`: beyond a year a date is meant.
pub const PERIOD_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Longest cron line in bytes: a list of every minute and every year fits.
pub const LINE_BYTES_MAX: usize = 1024;

/// A schedule that is known to fire.
#[derive(Debug, Clone)]
pub struct Schedule {
    rule: Rule,
    text: Arc<str>,
    within: Option<Arc<Within>>,
    /// As typed; what is left out depends on the policy.
    misfire: Option<Misfire>,
    grace: Duration,
    overlap: Overlap,
    jitter: Duration,
    /// What `jitter` has come to for its policy: all its fire times are acted on so much later.
    delay: Duration,
}

#[derive(Debug, Clone)]
enum Rule {
    Cron { dialect: Dialect, zone: TimeZone, local: LocalTimes },
    Every(Duration),
}

impl Schedule {
    /// Checks an entry and makes a schedule of it.
    pub fn parse(entry: &ScheduleEntry) -> Result<Self, ScheduleError> {
        let (rule, text) = match (&entry.cron, &entry.every) {
            (Some(line), None) => parse_cron(line, entry)?,
            (None, Some(period)) => {
                let has_zone = entry.zone.is_some() && !within::needs_zone(entry);
                if let Some((key, _)) = [("zone", has_zone), ("dialect", entry.dialect.is_some())]
                    .into_iter()
                    .find(|(_, given)| *given)
                {
                    return Err(ScheduleError::NotWithEvery { key });
                }
                parse_every(period, "every", entry.allow_frequent)?
            }
            _ => return Err(ScheduleError::CronOrEvery),
        };
        let zone = match &rule {
            Rule::Cron { zone, .. } => Some(zone.clone()),
            Rule::Every(_) => entry.zone.as_deref().map(find_zone).transpose()?,
        };
        let within = within::read(entry, zone)?.map(Arc::new);
        let duration = |text: &String, bounds: std::ops::RangeInclusive<Duration>| {
            interval::parse(text).ok().filter(|duration| bounds.contains(duration))
        };
        let grace = match &entry.grace {
            None => GRACE_DEFAULT,
            Some(text) => duration(text, GRACE_MIN..=GRACE_MAX)
                .ok_or_else(|| ScheduleError::Grace { text: text.clone() })?,
        };
        let jitter = match &entry.jitter {
            None => Duration::ZERO,
            Some(text) => duration(text, Duration::from_secs(1)..=JITTER_MAX)
                .ok_or_else(|| ScheduleError::Jitter { text: text.clone() })?,
        };
        let misfire = match (entry.misfire, &entry.grace) {
            (Some(misfire @ (Misfire::Once | Misfire::All)), Some(_)) => {
                return Err(ScheduleError::GraceBeside { misfire: misfire.as_str() });
            }
            (Some(Misfire::All), None) if entry.overlap != Overlap::Allow => {
                return Err(ScheduleError::AllOverlap);
            }
            // Who says how late is too late wants nothing later than that.
            (None, Some(_)) => Some(Misfire::Skip),
            (typed, _) => typed,
        };
        let schedule = Self {
            rule,
            text: text.into(),
            within,
            misfire,
            grace,
            overlap: entry.overlap,
            jitter,
            delay: Duration::ZERO,
        };
        let fires = schedule.within.is_none() || schedule.next_after(Timestamp::from_ms(-1)).is_some();
        if fires { Ok(schedule) } else { Err(ScheduleError::NeverWithin { text: schedule.text.to_string() }) }
    }

    /// The schedule as that of `policy`: its delay is chosen, and what becomes of missed fire times where the entry does not say.
    /// A policy that may destroy something never catches up unless it is told to.
    pub fn of_policy(self, policy: &PolicyName, is_destructive: bool) -> Self {
        let by_default = if is_destructive { Misfire::Skip } else { Misfire::Once };
        let delay = spread(policy, &self.text, self.jitter);
        Self { misfire: self.misfire.or(Some(by_default)), delay, ..self }
    }

    /// The first fire time after `t`, before its delay; `None` once there are no more.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        match &self.within {
            None => self.rule.next_after(t),
            Some(within) => within.next_after(t, |t| self.rule.next_after(t)),
        }
    }

    /// When it will be acted on after `now`, in order: fire times and their delay.
    pub fn upcoming(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.next_after(now - self.delay), |t| self.next_after(*t))
            .map(|t| t + self.delay)
    }

    /// What tells the schedules of a policy apart, and is their key in the store: `scf:0 0 3 * * * *@Asia/Shanghai`, `every:5m`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A cron line as it was read, which is what its text has between dialect and zone.
    fn line(&self) -> &str {
        let of_dialect = self.text.split_once(':').map_or("", |(_, rest)| rest);
        of_dialect.rsplit_once('@').map_or(of_dialect, |(line, _)| line)
    }

    /// `text`, to be kept.
    pub fn shared_text(&self) -> Arc<str> {
        self.text.clone()
    }

    /// The IANA zone it is meant in.
    pub fn zone(&self) -> &str {
        self.time_zone().map_or("UTC", zone::name)
    }

    /// How late a fire time may still be acted on, where missed ones are skipped.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// What happens while the last run has not ended.
    pub fn overlap(&self) -> Overlap {
        self.overlap
    }

    /// What becomes of missed fire times.
    pub fn misfire(&self) -> Misfire {
        self.misfire.unwrap_or(Misfire::Skip)
    }

    /// How much later than its fire times it is acted on.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// When it is acted on next, `n` times after `now`, as local time with offset: `2024-01-02 03:00:00 +08:00`.
    pub fn display_next(&self, n: usize, now: Timestamp) -> Vec<String> {
        self.upcoming(now)
            .take(n)
            .map(|t| self.local(t).strftime("%Y-%m-%d %H:%M:%S %:z").to_string())
            .collect()
    }

    fn local_rfc3339(&self, t: Timestamp) -> String {
        self.local(t).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    fn local(&self, t: Timestamp) -> jiff::ZonedDateTime {
        let zone = self.time_zone().cloned().unwrap_or(TimeZone::UTC);
        jiff::Timestamp::from(t).to_zoned_datetime(zone)
    }

    fn time_zone(&self) -> Option<&TimeZone> {
        match &self.rule {
            Rule::Cron { zone, .. } => Some(zone),
            Rule::Every(_) => self.within.as_deref().map(Within::zone),
        }
    }
}

impl Rule {
    fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { zone, local, .. } => zone::next_after(local, zone, t),
            Self::Every(period) => {
                let period = i64::try_from(period.as_millis()).ok()?;
                t.ms().div_euclid(period).checked_add(1)?.checked_mul(period).map(Timestamp::from_ms)
            }
        }
    }
}

/// Where in `jitter` a schedule is: the same for all its fire times, on every host, for ever. Whole seconds, so that times
/// read well.
fn spread(policy: &PolicyName, text: &str, jitter: Duration) -> Duration {
    let digest = Digest::of(format!("{policy}/{text}").as_bytes());
    let first = digest.as_bytes().first_chunk().copied().map_or(0, u64::from_be_bytes);
    Duration::from_secs(first % (jitter.as_secs() + 1))
}

fn parse_cron(typed: &str, entry: &ScheduleEntry) -> Result<(Rule, String), ScheduleError> {
    if typed.len() > LINE_BYTES_MAX {
        return Err(ScheduleError::LineTooLong { bytes: typed.len() });
    }
    let line = match dialect::read(typed, entry.dialect)? {
        dialect::Line::Every(period) => {
            if entry.zone.is_some() && !within::needs_zone(entry) {
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
    let days: Vec<String> = calendar.days().collect();
    let times = [&calendar.seconds, &calendar.minutes, &calendar.hours];
    let local = LocalTimes::new(&days, times, calendar.times()).map_err(|(expression, source)| {
        ScheduleError::Untranslatable { text: text.clone(), expression, source }
    })?;
    if !local.can_fire() {
        return Err(ScheduleError::NeverFires { text });
    }
    let key = format!("{}:{text}@{}", line.dialect.as_str(), zone::name(&zone));
    Ok((Rule::Cron { dialect: line.dialect, zone, local }, key))
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
    find_zone(typed)
}

fn find_zone(typed: &str) -> Result<TimeZone, ScheduleError> {
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

#[cfg(test)]
mod tests;

//! The local times that a line matches: each of its times of the day on each of its days. Which days, the `cron` crate says,
//! asked about midnights; times of the day are bits. A host watches schedules by the hundred thousand, which differ in their times
//! and hardly in their days, and a schedule of the crate is about a kilobyte, some are four: equal days are one in memory. Leaves
//! zones to `zone`. Tested below, and with whole lines in `super::tests`.

use super::field::{self, Values};
use super::zone::Times;
use chrono::{DateTime, Datelike as _, Utc};
use jiff::ToSpan as _;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Days, and times of the day.
#[derive(Debug, Clone)]
pub(super) struct LocalTimes {
    /// Together they match the days; none fires but at midnight.
    days: Arc<[cron::Schedule]>,
    seconds: u64,
    minutes: u64,
    hours: u32,
    /// What its times of the day are.
    pub(super) times: Times,
}

impl LocalTimes {
    /// The times of these seconds, minutes and hours, on the days that `expressions` of the crate match. The error has the one
    /// that the crate cannot read.
    pub(super) fn new(
        expressions: &[String],
        [seconds, minutes, hours]: [&Values; 3],
        times: Times,
    ) -> Result<Self, (String, cron::error::Error)> {
        let bits = |values: &Values| values.iter().fold(0u64, |bits, value| bits | 1 << value);
        let hours = hours.iter().fold(0u32, |bits, value| bits | 1 << value);
        Ok(Self { days: shared(expressions)?, seconds: bits(seconds), minutes: bits(minutes), hours, times })
    }

    /// Whether there is any.
    pub(super) fn can_fire(&self) -> bool {
        !self.days.is_empty()
    }

    /// The first after `local`.
    pub(super) fn next_after(&self, local: jiff::civil::DateTime) -> Option<jiff::civil::DateTime> {
        let day = day_from(&self.days, local.date())?;
        if day > local.date() {
            return Some(day.to_datetime(self.time_from(Time::midnight())?));
        }
        let second_later = local.time().checked_add(1.second()).ok();
        if let Some(time) = second_later.and_then(|from| self.time_from(from)) {
            return Some(day.to_datetime(time));
        }
        let day = day_from(&self.days, day.tomorrow().ok()?)?;
        Some(day.to_datetime(self.time_from(Time::midnight())?))
    }

    /// The first of its times of the day that is not before `from`.
    fn time_from(&self, from: Time) -> Option<Time> {
        let [hour, minute, second] = [from.hour(), from.minute(), from.second()].map(i8::unsigned_abs);
        let hours = u64::from(self.hours);
        let [first_minute, first_second] = [first(self.minutes, 0)?, first(self.seconds, 0)?];
        let within_minute = || {
            let second = first(self.seconds, second)?;
            (has(hours, hour) && has(self.minutes, minute)).then_some((hour, minute, second))
        };
        let within_hour = || {
            let minute = first(self.minutes, minute + 1)?;
            has(hours, hour).then_some((hour, minute, first_second))
        };
        let within_day = || Some((first(hours, hour + 1)?, first_minute, first_second));
        let (hour, minute, second) = within_minute().or_else(within_hour).or_else(within_day)?;
        let [hour, minute, second] = [hour, minute, second].map(u8::cast_signed);
        Time::new(hour, minute, second, 0).ok()
    }
}

/// The first of the days that is not before `from`.
fn day_from(days: &[cron::Schedule], from: Date) -> Option<Date> {
    let before = from.to_datetime(Time::midnight()).checked_sub(1.second()).ok()?;
    let after = Offset::UTC.to_timestamp(before).ok()?.as_second();
    let after: DateTime<Utc> = DateTime::from_timestamp(after, 0)?;
    let next = days.iter().filter_map(|days| days.after(&after).next()).min()?;
    if next.year() > i32::from(field::YEAR.max) {
        return None;
    }
    Some(Offset::UTC.to_datetime(jiff::Timestamp::from_second(next.timestamp()).ok()?).date())
}

fn has(bits: u64, value: u8) -> bool {
    bits >> value & 1 == 1
}

/// The first of the values that is not below `from`, which is at most 60.
fn first(bits: u64, from: u8) -> Option<u8> {
    let rest = bits & (u64::MAX << from);
    (rest != 0).then(|| rest.trailing_zeros()).and_then(|value| u8::try_from(value).ok())
}

/// The first day there is to the crate.
const EPOCH: Date = Date::constant(1970, 1, 1);

/// All days in use, by their expressions.
static DAYS: Mutex<BTreeMap<String, Weak<[cron::Schedule]>>> = Mutex::new(BTreeMap::new());

fn shared(expressions: &[String]) -> Result<Arc<[cron::Schedule]>, (String, cron::error::Error)> {
    let key = expressions.join("|");
    let mut known = DAYS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(days) = known.get(&key).and_then(Weak::upgrade) {
        return Ok(days);
    }
    let read = |text: &String| text.parse::<cron::Schedule>().map_err(|error| (text.clone(), error));
    let mut days: Vec<_> = expressions.iter().map(read).collect::<Result<_, _>>()?;
    // To find that a 31 June never comes takes a walk through all years.
    days.retain(|one| day_from(std::slice::from_ref(one), EPOCH).is_some());
    let days: Arc<[_]> = days.into();
    // Not at each one: what is no more is let go of as often as the number doubles.
    if known.len().is_power_of_two() {
        known.retain(|_, days| days.strong_count() > 0);
    }
    known.insert(key, Arc::downgrade(&days));
    Ok(days)
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, Rule, Schedule, ScheduleEntry};
    use super::*;
    use jiff::civil::DateTime as Local;

    fn local(line: &str) -> LocalTimes {
        let entry = ScheduleEntry {
            cron: Some(line.to_owned()),
            dialect: Some(Dialect::Scf),
            allow_frequent: true,
            ..ScheduleEntry::default()
        };
        match Schedule::parse(&entry).expect(line).rule {
            Rule::Cron { local, .. } => local,
            Rule::Every(_) => panic!("{line} is an interval"),
        }
    }

    #[test]
    fn equal_days_are_one_in_memory_and_a_schedule_is_small() {
        let last = local("1 2 L * *");
        for line in ["59 23 L * *", "*/7 9-17 L * *", "30 1 2 L * * *"] {
            assert!(Arc::ptr_eq(&last.days, &local(line).days), "{line}");
        }
        assert!(!Arc::ptr_eq(&last.days, &local("1 2 L-1 * *").days));
        // A hundred thousand are to be some ten megabytes, with their texts.
        assert!(size_of::<Schedule>() <= 144, "{} bytes", size_of::<Schedule>());
    }

    #[test]
    fn days_that_nobody_has_any_more_are_let_go_of() {
        let kept = local("1 2 * * * * 1970");
        for year in 1971..2099 {
            for day in 1..20 {
                drop(local(&format!("0 1 2 {day} 3 * {year}")));
            }
        }
        let known = DAYS.lock().expect("no test panicked with it");
        let dead = known.values().filter(|days| days.strong_count() == 0).count();
        assert!(dead <= known.len() / 2 + 512, "{dead} of {}", known.len());
        drop(known);
        assert!(kept.can_fire());
    }

    #[test]
    fn the_next_time_is_that_of_the_crate_asked_about_the_whole_line() {
        for line in [
            "* * * * * * *",
            "0 0 0 * * * *",
            "59 59 23 * * * *",
            "*/7 */13 */5 * * * *",
            "30 1-5,59 3,22-23 1,15,31 * * *",
            "0 30 9 * 2,6 MON-FRI 2024-2026",
            "5,58 0,59 0,23 29 2 * *",
        ] {
            let (ours, whole) = (local(line), line.parse::<cron::Schedule>().expect(line));
            let mut at = Local::constant(2023, 12, 31, 23, 59, 57, 0);
            for step in 0..2000i64 {
                let seconds = Offset::UTC.to_timestamp(at).expect("in range").as_second();
                let after: DateTime<Utc> = DateTime::from_timestamp(seconds, 0).expect("in range");
                let expected = whole.after(&after).next().filter(|next| next.year() <= 2099);
                let expected = expected.map(|next| {
                    Offset::UTC.to_datetime(jiff::Timestamp::from_second(next.timestamp()).expect("in range"))
                });
                assert_eq!(ours.next_after(at), expected, "{line} after {at}");
                // By turns to what was found, to the second before it, and on by an uneven step.
                at = match (step % 3, expected) {
                    (0, Some(next)) => next,
                    (1, Some(next)) => next.saturating_sub(1.second()),
                    _ => at.saturating_add((step * 7919 % 100_003).seconds()),
                };
            }
        }
    }
}

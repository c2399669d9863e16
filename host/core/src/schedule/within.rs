//! When a schedule counts at all: from a start, to an end, not on excepted days. Leaves fire times to `super`. Tested below.

use super::ScheduleError;
use super::entry::ScheduleEntry;
use super::field::{self, Values};
use super::{Dialect, zone};
use crate::time::Timestamp;
use jiff::ToSpan as _;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Dates and runs of them in one entry: a decade of public holidays.
const DATES_MAX: usize = 400;
/// Excepted fire times passed over in search of one that is none: more than there are days from 1970 to 2099.
const PASSED_MAX: usize = 50_000;

/// Bounds and excepted days.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Within {
    zone: TimeZone,
    /// The first instant.
    start: Option<Timestamp>,
    /// The last instant.
    end: Option<Timestamp>,
    /// Runs of excepted dates, both ends included.
    pub(super) dates: Vec<(Date, Date)>,
    /// Excepted weekdays, from Sunday = 0.
    pub(super) weekdays: Values,
}

/// Whether an entry has days that mean nothing without a zone.
pub(super) fn needs_zone(entry: &ScheduleEntry) -> bool {
    let is_date = |text: &Option<String>| text.as_deref().is_some_and(|text| date(text).is_some());
    is_date(&entry.start) || is_date(&entry.end) || entry.except.is_some()
}

/// Reads the bounds of an entry, in `zone`; `None` where it has none.
pub(super) fn read(entry: &ScheduleEntry, zone: Option<TimeZone>) -> Result<Option<Within>, ScheduleError> {
    if entry.start.is_none() && entry.end.is_none() && entry.except.is_none() {
        return Ok(None);
    }
    let zone = match zone {
        Some(zone) => zone,
        None if needs_zone(entry) => return Err(ScheduleError::DaysWithoutZone),
        None => TimeZone::UTC,
    };
    let start = entry.start.as_deref().map(|text| instant(text, "start", &zone, 0)).transpose()?;
    // The end of a day is the instant before the next one's first.
    let end = entry.end.as_deref().map(|text| instant(text, "end", &zone, 1)).transpose()?;
    if let (Some(start), Some(end)) = (start, end)
        && start > end
    {
        return Err(ScheduleError::EndsFirst);
    }
    let except = entry.except.clone().unwrap_or_default();
    if except.dates.len() > DATES_MAX {
        return Err(day(
            &except.dates.len().to_string(),
            format!("at most {DATES_MAX} dates and runs are read"),
        ));
    }
    let dates = except.dates.iter().map(|text| run(text)).collect::<Result<_, _>>()?;
    let mut weekdays = Values::new();
    for text in &except.weekdays {
        weekdays.extend(weekday(text)?);
    }
    if weekdays.len() == 7 {
        return Err(day("weekdays", "all seven are excepted: nothing would ever fire".to_owned()));
    }
    Ok(Some(Within { zone, start, end, dates, weekdays }))
}

impl Within {
    /// The first of what `next` fires after `t` that counts.
    pub(super) fn next_after(
        &self,
        t: Timestamp,
        next: impl Fn(Timestamp) -> Option<Timestamp>,
    ) -> Option<Timestamp> {
        let before_start = self.start.map(|start| Timestamp::from_ms(start.ms().saturating_sub(1)));
        let mut from = before_start.map_or(t, |start| start.max(t));
        for _ in 0..PASSED_MAX {
            let found = next(from).filter(|found| self.end.is_none_or(|end| *found <= end))?;
            let date = self.zone.to_datetime(found.into()).date();
            let Some(last) = self.excepted_until(date) else { return Some(found) };
            let day_after = first_instant(last.tomorrow().ok()?, &self.zone)?;
            // At the least past what was found: where a day has no midnight, the next one may begin before it.
            from = Timestamp::from_ms(day_after.ms() - 1).max(found);
        }
        None
    }

    /// The zone that its days are of.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Its bounds as local dates, with the time where that is not the day's first or last.
    pub(super) fn bounds(&self) -> [Option<String>; 2] {
        let show = |t: Timestamp, whole: &str| {
            let local = self.zone.to_datetime(t.into());
            let text = local.strftime("%Y-%m-%d %H:%M:%S").to_string();
            text.strip_suffix(whole).map(str::to_owned).unwrap_or(text)
        };
        [self.start.map(|t| show(t, " 00:00:00")), self.end.map(|t| show(t, " 23:59:59"))]
    }

    /// The last of the excepted dates that go on from `date`; `None` where that is none.
    fn excepted_until(&self, date: Date) -> Option<Date> {
        let weekday = u16::try_from(date.weekday().to_sunday_zero_offset()).unwrap_or(0);
        let runs = self.dates.iter().filter(|(first, last)| (*first..=*last).contains(&date));
        let by_weekday = self.weekdays.contains(&weekday).then_some(date);
        runs.map(|(_, last)| *last).chain(by_weekday).max()
    }
}

/// The first instant of the day `days_after` the date `text`, less a millisecond where that is the day after; or an instant.
fn instant(
    text: &str,
    key: &'static str,
    zone: &TimeZone,
    days_after: i32,
) -> Result<Timestamp, ScheduleError> {
    let found = match date(text) {
        Some(date) => {
            let first = date.checked_add(days_after.days()).ok().and_then(|date| first_instant(date, zone));
            first.map(|first| Timestamp::from_ms(first.ms() - i64::from(days_after)))
        }
        None => Timestamp::parse_rfc3339(text),
    };
    found.ok_or_else(|| ScheduleError::Bound { key, text: text.to_owned() })
}

fn first_instant(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    zone::to_instant(zone, date.to_datetime(jiff::civil::Time::midnight()))
}

fn run(text: &str) -> Result<(Date, Date), ScheduleError> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    match (date(first), date(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        (Some(_), Some(_)) => Err(day(text, "write the earlier date first".to_owned())),
        _ => Err(day(text, "write a date such as `2026-12-25`, or `2026-10-01..2026-10-07`".to_owned())),
    }
}

/// `2026-10-01`, and nothing else: jiff takes a date out of a longer text, too.
fn date(text: &str) -> Option<Date> {
    text.parse().ok().filter(|_| text.len() == "2026-10-01".len())
}

fn weekday(text: &str) -> Result<Values, ScheduleError> {
    let upper = text.to_ascii_uppercase();
    let is_name = !upper.is_empty() && upper.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
    let read = if is_name { field::read(&field::weekday(Dialect::Fc), &upper).ok() } else { None };
    read.ok_or_else(|| day(text, "write a weekday's name such as `SAT`, or `SAT-SUN`".to_owned()))
}

fn day(text: &str, problem: String) -> ScheduleError {
    ScheduleError::Except { text: text.chars().take(80).collect(), problem }
}

#[cfg(test)]
mod tests {
    use super::super::entry::ExceptEntry;
    use super::super::{Schedule, ScheduleEntry};
    use super::*;

    fn entry(line: &str, zone: &str) -> ScheduleEntry {
        let [cron, zone] = [line, zone].map(|text| Some(text.to_owned()));
        ScheduleEntry { cron, zone, ..ScheduleEntry::default() }
    }

    fn except(dates: &[&str], weekdays: &[&str]) -> Option<ExceptEntry> {
        let [dates, weekdays] = [dates, weekdays].map(|all| all.iter().map(ToString::to_string).collect());
        Some(ExceptEntry { dates, weekdays })
    }

    fn fires(entry: &ScheduleEntry, after: &str, n: usize) -> Vec<String> {
        let schedule = Schedule::parse(entry).unwrap_or_else(|error| panic!("{error}"));
        schedule.display_next(n, Timestamp::parse_rfc3339(after).expect("an instant"))
    }

    #[test]
    fn a_schedule_fires_from_its_start_to_its_end_and_not_on_excepted_days() {
        let text = |text: &str| Some(text.to_owned());
        let daily = entry("0 3 * * *", "Asia/Shanghai");
        for (entry, expected) in [
            (
                ScheduleEntry { start: text("2026-10-03"), end: text("2026-10-04"), ..daily.clone() },
                vec!["2026-10-03 03:00:00 +08:00", "2026-10-04 03:00:00 +08:00"],
            ),
            // An instant bounds as exactly as it is written, both ends included.
            (
                ScheduleEntry {
                    start: text("2026-10-02T19:00:00Z"),
                    end: text("2026-10-05T02:59:59+08:00"),
                    ..daily.clone()
                },
                vec!["2026-10-03 03:00:00 +08:00", "2026-10-04 03:00:00 +08:00"],
            ),
            // 2026-10-03 is a Saturday.
            (
                ScheduleEntry {
                    except: except(&["2026-10-01..2026-10-07", "2026-10-09"], &["SAT", "sunday"]),
                    end: text("2026-10-13"),
                    ..daily.clone()
                },
                vec![
                    "2026-10-08 03:00:00 +08:00",
                    "2026-10-12 03:00:00 +08:00",
                    "2026-10-13 03:00:00 +08:00",
                ],
            ),
            // The days are those of the zone: 2026-10-02T19:00Z is the third in Shanghai.
            (
                ScheduleEntry {
                    every: text("24h"),
                    zone: text("Asia/Shanghai"),
                    except: except(&["2026-10-02"], &[]),
                    end: text("2026-10-04"),
                    ..ScheduleEntry::default()
                },
                vec![
                    "2026-10-01 08:00:00 +08:00",
                    "2026-10-03 08:00:00 +08:00",
                    "2026-10-04 08:00:00 +08:00",
                ],
            ),
        ] {
            assert_eq!(fires(&entry, "2026-09-30T23:00:00Z", 9), expected, "{entry:?}");
        }
    }

    #[test]
    fn bounds_that_leave_nothing_or_cannot_be_read_are_refused() {
        let text = |text: &str| Some(text.to_owned());
        let daily = entry("0 3 * * *", "UTC");
        let every = ScheduleEntry { every: text("5m"), ..ScheduleEntry::default() };
        for (entry, key, part) in [
            (ScheduleEntry { start: text("soon"), ..daily.clone() }, "start", "`2026-10-01`"),
            (ScheduleEntry { start: text("2026-10-01T03:00:00"), ..daily.clone() }, "start", "RFC 3339"),
            (ScheduleEntry { end: text("2026-02-30"), ..daily.clone() }, "end", "`2026-10-01`"),
            (
                ScheduleEntry { start: text("2026-10-02"), end: text("2026-10-01"), ..daily.clone() },
                "end",
                "before its `start`",
            ),
            (
                ScheduleEntry { except: except(&["2026-10-7"], &[]), ..daily.clone() },
                "except",
                "2026-10-01..",
            ),
            (
                ScheduleEntry { except: except(&["2026-10-07..2026-10-01"], &[]), ..daily.clone() },
                "except",
                "earlier date first",
            ),
            (ScheduleEntry { except: except(&[], &["6"]), ..daily.clone() }, "except", "`SAT`"),
            (ScheduleEntry { except: except(&[], &["MON-SUN"]), ..daily.clone() }, "except", "all seven"),
            (
                ScheduleEntry { except: except(&[], &["SAT"]), ..entry("0 3 * * SAT", "UTC") },
                "cron",
                "leaves no fire time",
            ),
            (
                ScheduleEntry {
                    end: text("2026-02-27"),
                    start: text("2026-02-01"),
                    ..entry("0 3 29 * *", "UTC")
                },
                "cron",
                "leaves no fire time",
            ),
            (ScheduleEntry { except: except(&[], &["SAT"]), ..every.clone() }, "zone", "add `zone"),
            (ScheduleEntry { start: text("2026-10-01"), ..every.clone() }, "zone", "add `zone"),
        ] {
            let error = Schedule::parse(&entry).expect_err(part);
            assert!(error.to_string().contains(part), "{entry:?}: {error}");
            assert_eq!(error.key(), key, "{entry:?}");
        }
        let from_an_instant = ScheduleEntry { start: text("2026-10-01T00:00:00Z"), ..every };
        assert!(Schedule::parse(&from_an_instant).is_ok());
    }
}

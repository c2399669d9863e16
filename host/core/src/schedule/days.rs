//! A line's calendar: its time fields, and the two day fields with how they combine, as a union of lines of the `cron` crate.
//! The crate reads day of month AND weekday, and knows no `L`, `W`, `#`; each of these becomes rules of the form "in months
//! of this length, these days of month that are these weekdays", which it does know. Leaves evaluating to `zone`. Tested in
//! `super::tests`.

use super::dialect::FieldsLine;
use super::field::{self, Domain, Values};
use super::zone::Times;
use super::{Dialect, ScheduleError};
use std::time::Duration;

/// A line, understood.
pub(super) struct Calendar {
    pub(super) seconds: Values,
    pub(super) minutes: Values,
    pub(super) hours: Values,
    pub(super) months: Values,
    pub(super) years: Values,
    rules: Vec<DayRule>,
}

/// Days that are among `days` and among `weekdays`, in months of `length` days if given.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DayRule {
    length: Option<u16>,
    days: Values,
    weekdays: Values,
}

/// Understands a line.
pub(super) fn read(line: &FieldsLine) -> Result<Calendar, ScheduleError> {
    let [second, minute, hour, day, month, weekday, year] = line.seven();
    Ok(Calendar {
        seconds: field::read(&field::SECOND, second)?,
        minutes: field::read(&field::MINUTE, minute)?,
        hours: field::read(&field::HOUR, hour)?,
        months: field::read(&field::MONTH, month)?,
        years: field::read(&field::YEAR, year)?,
        rules: day_rules(line, day, weekday)?,
    })
}

impl Calendar {
    /// Lines of the crate, which together match the midnights of the days that the line matches; none where no month fits a rule.
    pub(super) fn days(&self) -> impl Iterator<Item = String> + '_ {
        self.rules.iter().filter_map(|rule| {
            let fits =
                |month: u16, leap: bool| rule.length.is_none_or(|days| days == month_length(month, leap));
            // Only February differs between years, so that either all years or the leap years or the others are meant.
            let leap = rule.length == Some(29);
            let months: Values = self.months.iter().copied().filter(|month| fits(*month, leap)).collect();
            let years: Values = match rule.length {
                Some(28 | 29) => self.years.iter().copied().filter(|year| is_leap(*year) == leap).collect(),
                _ => self.years.clone(),
            };
            let weekdays = match rule.weekdays.len() {
                7 => "*".to_owned(),
                _ => join(rule.weekdays.iter().map(|day| field::WEEKDAYS[usize::from(*day % 7)])),
            };
            let possible =
                !(months.is_empty() || years.is_empty() || rule.days.is_empty() || rule.weekdays.is_empty());
            let (days, months) = (show(&rule.days, 31), show(&months, 12));
            // The crate's `*` goes on to 2100, which `local` does not.
            let years = show(&years, usize::from(field::YEAR.max - field::YEAR.min) + 1);
            possible.then(|| format!("0 0 0 {days} {months} {weekdays} {years}"))
        })
    }

    /// Hours that follow one another are a pace, as in `0 9-17 * * *`; others are times of the day.
    pub(super) fn times(&self) -> Times {
        let ends = self.hours.iter().filter(|hour| !self.hours.contains(&((*hour + 1) % 24))).count();
        if self.hours.len() > 1 && ends <= 1 { Times::Pace } else { Times::OfDay }
    }

    /// The shortest time between two firings, never too long. Whoever fires once a minute or more seldom gets a minute.
    pub(super) fn shortest_gap(&self) -> Duration {
        let next_minute = |minute: &u16| self.minutes.contains(&((minute + 1) % 60));
        let adjacent_minutes = self.minutes.iter().any(next_minute);
        let inside = self.seconds.iter().zip(self.seconds.iter().skip(1)).map(|(a, b)| b - a);
        let across = match (self.seconds.first(), self.seconds.last()) {
            (Some(first), Some(last)) if adjacent_minutes => Some(60 - last + first),
            _ => None,
        };
        Duration::from_secs(inside.chain(across).min().unwrap_or(60).into())
    }
}

fn day_rules(line: &FieldsLine, day: &str, weekday: &str) -> Result<Vec<DayRule>, ScheduleError> {
    let wrong =
        |problem: &str| ScheduleError::Line { text: line.fields.join(" "), problem: problem.to_owned() };
    match line.dialect {
        Dialect::Unix if day == "?" || weekday == "?" => return Err(wrong("crontab has no `?`: write `*`")),
        Dialect::Quartz if (day == "?") == (weekday == "?") => {
            return Err(wrong("quartz wants `?` in exactly one of day of month and weekday"));
        }
        _ => {}
    }
    let by_day = field::is_restricted(day).then(|| month_day_rules(line.dialect, day)).transpose()?;
    let by_weekday =
        field::is_restricted(weekday).then(|| weekday_rules(line.dialect, weekday)).transpose()?;
    match (by_day, by_weekday) {
        (None, None) => Ok(vec![DayRule { length: None, days: all(&field::DAY), weekdays: every_weekday() }]),
        (Some(rules), None) | (None, Some(rules)) => Ok(rules),
        (Some(_), Some(_)) if line.dialect == Dialect::Fc => {
            Err(wrong("fc does not say what day of month and weekday mean together: put `?` in one of them"))
        }
        (Some(_), Some(_)) if day.starts_with("*/") || weekday.starts_with("*/") => Err(wrong(
            "cron programs disagree on a `*/` step in one day field beside the other: write the days as a list",
        )),
        // Day of month OR weekday: crontab(5) and the page of scf say so.
        (Some(mut rules), Some(more)) => {
            rules.extend(more);
            Ok(rules)
        }
    }
}

/// `1,15`, `L`, `L-3`, `LW`, `15W`.
fn month_day_rules(dialect: Dialect, text: &str) -> Result<Vec<DayRule>, ScheduleError> {
    let mut plain = Values::new();
    let mut rules = Vec::new();
    for element in text.split(',') {
        let back = element.strip_prefix("L-").and_then(field::number).filter(|back| *back < 28);
        let near = element.strip_suffix('W').and_then(field::number).filter(|day| (1..=31).contains(day));
        match (element, back, near) {
            ("L", ..) => rules.extend(LENGTHS.map(|length| on(Some(length), [length], every_weekday()))),
            (_, Some(back), _) => {
                rules.extend(LENGTHS.map(|length| on(Some(length), [length - back], every_weekday())));
            }
            ("LW", ..) => {
                rules.extend(LENGTHS.iter().flat_map(|length| nearest_working_day(*length, *length)))
            }
            (_, _, Some(day)) => {
                let long_enough = LENGTHS.iter().filter(|length| **length >= day);
                rules.extend(long_enough.flat_map(|length| nearest_working_day(*length, day)));
            }
            _ => plain.extend(field::read(&field::DAY, element)?),
        }
    }
    refuse_special(dialect, !rules.is_empty(), "day-of-month", text)?;
    if !plain.is_empty() {
        rules.push(DayRule { length: None, days: plain, weekdays: every_weekday() });
    }
    Ok(rules)
}

/// `MON-FRI`, `FRI#2`, `FRIL`; quartz's `L` alone is its last weekday, Saturday.
fn weekday_rules(dialect: Dialect, text: &str) -> Result<Vec<DayRule>, ScheduleError> {
    let domain = field::weekday(dialect);
    let mut plain = Values::new();
    let mut rules = Vec::new();
    for element in text.split(',') {
        if let Some((day, week)) = element.split_once('#') {
            let Some(week @ 1..=5) = field::number(week) else {
                return Err(ScheduleError::Field {
                    field: domain.name,
                    text: text.to_owned(),
                    problem: "after `#` comes a number from 1 to 5: `FRI#2` is the second Friday".to_owned(),
                });
            };
            let days = 7 * (week - 1) + 1..=(7 * week).min(31);
            rules.push(on(None, days, field::read(&domain, day)?));
        } else if let Some(day) = element.strip_suffix('L').filter(|day| !day.is_empty()) {
            let weekdays = field::read(&domain, day)?;
            rules.extend(LENGTHS.map(|length| on(Some(length), length - 6..=length, weekdays.clone())));
        } else if element == "L" && dialect == Dialect::Quartz {
            plain.insert(SATURDAY);
        } else {
            plain.extend(field::read(&domain, element)?);
        }
    }
    refuse_special(dialect, !rules.is_empty(), domain.name, text)?;
    if !plain.is_empty() {
        rules.push(DayRule { length: None, days: all(&field::DAY), weekdays: plain });
    }
    Ok(rules)
}

fn refuse_special(
    dialect: Dialect,
    special: bool,
    field: &'static str,
    text: &str,
) -> Result<(), ScheduleError> {
    match dialect {
        Dialect::Unix | Dialect::Fc if special => Err(ScheduleError::Field {
            field,
            text: text.to_owned(),
            problem: format!(
                "{} knows no L, W and #: write the line as scf or quartz, which do",
                dialect.as_str()
            ),
        }),
        _ => Ok(()),
    }
}

/// The Monday to Friday nearest to `day` of months of `length` days, without leaving the month.
fn nearest_working_day(length: u16, day: u16) -> [DayRule; 3] {
    let before_saturday = if day == 1 { (3, MONDAY) } else { (day - 1, FRIDAY) };
    let after_sunday = if day == length { (day - 2, FRIDAY) } else { (day + 1, MONDAY) };
    [
        on(Some(length), [day], (MONDAY..=FRIDAY).collect()),
        on(Some(length), [before_saturday.0], Values::from([before_saturday.1])),
        on(Some(length), [after_sunday.0], Values::from([after_sunday.1])),
    ]
}

const MONDAY: u16 = 1;
const FRIDAY: u16 = 5;
const SATURDAY: u16 = 6;
/// How many days a month may have.
const LENGTHS: [u16; 4] = [28, 29, 30, 31];

fn on(length: Option<u16>, days: impl IntoIterator<Item = u16>, weekdays: Values) -> DayRule {
    DayRule { length, days: days.into_iter().collect(), weekdays }
}

fn every_weekday() -> Values {
    (0..7).collect()
}

fn all(domain: &Domain) -> Values {
    (domain.min..=domain.max).collect()
}

fn month_length(month: u16, leap: bool) -> u16 {
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// `*` where all `full` values are there: the crate is quicker with it.
fn show(values: &Values, full: usize) -> String {
    if values.len() == full { "*".to_owned() } else { join(values.iter()) }
}

fn join(values: impl Iterator<Item = impl ToString>) -> String {
    values.map(|v| v.to_string()).collect::<Vec<_>>().join(",")
}

//! One field of a cron line to the set of its values: `*`, `5`, `1-5`, `22-2`, `*/15`, `MON-FRI`, and lists of them. Leaves
//! `L`, `W` and `#` to `days`. Tested below and in `super::tests`.

use super::{Dialect, ScheduleError};
use std::collections::BTreeSet;

/// The values of a field. Weekdays are counted from Sunday = 0, whatever the dialect counts.
pub(super) type Values = BTreeSet<u16>;

/// What a field may hold.
pub(super) struct Domain {
    /// Its name in errors.
    pub(super) name: &'static str,
    pub(super) min: u16,
    pub(super) max: u16,
    /// Largest number that may be typed: crontab's 7 is Sunday once more.
    top: u16,
    /// Three-letter names of `min`, `min + 1` ...
    names: &'static [&'static str],
    /// Added to a typed weekday to count from Sunday = 0, modulo 7.
    shift: u16,
    /// Whether `22-2` goes on over the end.
    wraps: bool,
}

const fn plain(name: &'static str, min: u16, max: u16) -> Domain {
    Domain { name, min, max, top: max, names: &[], shift: 0, wraps: true }
}

pub(super) const SECOND: Domain = plain("second", 0, 59);
pub(super) const MINUTE: Domain = plain("minute", 0, 59);
pub(super) const HOUR: Domain = plain("hour", 0, 23);
pub(super) const DAY: Domain = plain("day-of-month", 1, 31);
pub(super) const MONTH: Domain = Domain { names: &MONTHS, ..plain("month", 1, 12) };
/// 2099 is the last year of scf and quartz.
pub(super) const YEAR: Domain = Domain { wraps: false, ..plain("year", 1970, 2099) };

const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
/// From Sunday = 0.
pub(super) const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const WEEKDAYS_FROM_MONDAY: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

/// The weekday field as a dialect counts it.
pub(super) const fn weekday(dialect: Dialect) -> Domain {
    let (min, max, top, shift) = match dialect {
        Dialect::Unix => (0, 6, 7, 0),
        Dialect::Scf => (0, 6, 6, 0),
        // Documented as 1 to 7 for Monday to Sunday; the library behind it counts Sunday as 0, which is therefore refused.
        Dialect::Fc => (1, 7, 7, 0),
        Dialect::Quartz => (1, 7, 7, 6),
    };
    let names = if matches!(dialect, Dialect::Fc) { &WEEKDAYS_FROM_MONDAY } else { &WEEKDAYS };
    Domain { name: "day-of-week", min, max, top, names, shift, wraps: true }
}

/// Reads a field.
pub(super) fn read(domain: &Domain, text: &str) -> Result<Values, ScheduleError> {
    let wrong =
        |problem| ScheduleError::Field { field: domain.name, text: text.chars().take(80).collect(), problem };
    let mut values = Values::new();
    for element in text.split(',') {
        element_values(domain, element, &mut values).map_err(wrong)?;
    }
    Ok(values)
}

/// Whether a day field names days at all.
pub(super) fn is_restricted(text: &str) -> bool {
    !matches!(text, "*" | "?" | "*/1")
}

/// Whether the day fields use what only scf and quartz know.
pub(super) fn is_special(day: &str, weekday: &str) -> bool {
    // No weekday's name ends in L.
    day.contains(['L', 'W'])
        || weekday.split(',').any(|element| element.contains('#') || element.ends_with('L'))
}

/// Weekdays in words, runs of three or more as a range: `Monday-Friday`.
pub(super) fn show_weekdays(days: &Values) -> String {
    const LONG: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    let long = |day: u16| LONG[usize::from(day % 7)];
    if days.len() == 7 {
        return "every day".to_owned();
    }
    let begins = days.iter().copied().filter(|day| !days.contains(&((day + 6) % 7)));
    let runs = begins.map(|first| {
        let length = (1..7).take_while(|ahead| days.contains(&((first + ahead) % 7))).count();
        let last = first + u16::try_from(length).unwrap_or(0);
        match length {
            0 => long(first).to_owned(),
            1 => format!("{} and {}", long(first), long(last)),
            _ => format!("{}-{}", long(first), long(last)),
        }
    });
    runs.collect::<Vec<_>>().join(" and ")
}

fn element_values(domain: &Domain, element: &str, values: &mut Values) -> Result<(), String> {
    let count = domain.max - domain.min + 1;
    let (range, step) = match element.split_once('/') {
        None => (element, None),
        Some((range, step)) => (range, Some(read_step(domain, step, count)?)),
    };
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (domain.min, domain.max),
        None => {
            let first = value(domain, range)?;
            (first, if step.is_some() { domain.max.max(first) } else { first })
        }
        Some((first, last)) => {
            let (first, last) = (value(domain, first)?, value(domain, last)?);
            if first > last && !domain.wraps {
                return Err(format!("{first}-{last} goes backwards: write the earlier one first"));
            }
            (first, if first > last { last + count } else { last })
        }
    };
    values.extend((first..=last).step_by(usize::from(step.unwrap_or(1))).map(|v| {
        let v = if v > domain.max { v - count } else { v };
        if domain.name == "day-of-week" { (v + domain.shift) % 7 } else { v }
    }));
    Ok(())
}

fn read_step(domain: &Domain, text: &str, count: u16) -> Result<u16, String> {
    match number(text) {
        Some(step) if (1..=count).contains(&step) => Ok(step),
        Some(step) if step > count => Err(format!(
            "a step of {step} is longer than the field ({count}) and would not mean every {step}; use `every` for an interval"
        )),
        _ => Err(format!("`/{text}` is not a step: write a number from 1 to {count} ({})", domain.name)),
    }
}

fn value(domain: &Domain, text: &str) -> Result<u16, String> {
    let named = domain.names.iter().position(|name| *name == text || is_long_name(name, text));
    if let Some(place) = named {
        return Ok(domain.min + u16::try_from(place).unwrap_or(0));
    }
    if let Some(value) = number(text).filter(|v| (domain.min..=domain.top).contains(v)) {
        return Ok(value);
    }
    let names = match domain.names {
        [] => String::new(),
        names => format!(", or {}", names.join(" ")),
    };
    let bounds = format!("write {} to {}{names}", domain.min, domain.top);
    Err(match text {
        "" => format!("something is missing; {bounds}"),
        "?" => "`?` stands alone, and only for a day field".to_owned(),
        _ => format!("`{text}` is out of bounds; {bounds}"),
    })
}

fn is_long_name(short: &str, text: &str) -> bool {
    const LONG: [&str; 18] = [
        "SUNDAY",
        "MONDAY",
        "TUESDAY",
        "WEDNESDAY",
        "THURSDAY",
        "FRIDAY",
        "SATURDAY",
        "JANUARY",
        "FEBRUARY",
        "MARCH",
        "APRIL",
        "JUNE",
        "JULY",
        "AUGUST",
        "SEPTEMBER",
        "OCTOBER",
        "NOVEMBER",
        "DECEMBER",
    ];
    text.starts_with(short) && LONG.contains(&text)
}

pub(super) fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_the_set_of_its_values() {
        let unix = weekday(Dialect::Unix);
        let quartz = weekday(Dialect::Quartz);
        let fc = weekday(Dialect::Fc);
        for (domain, text, expected) in [
            (&HOUR, "22-2", vec![0, 1, 2, 22, 23]),
            (&HOUR, "22-4/2", vec![0, 2, 4, 22]),
            (&MINUTE, "*/20", vec![0, 20, 40]),
            (&MINUTE, "5/20", vec![5, 25, 45]),
            (&MINUTE, "1,3,1", vec![1, 3]),
            (&MONTH, "NOV-FEB", vec![1, 2, 11, 12]),
            (&MONTH, "JULY", vec![7]),
            (&unix, "0,7", vec![0]),
            (&unix, "5-7", vec![0, 5, 6]),
            (&unix, "7-2", vec![0, 1, 2]),
            (&unix, "0-7", vec![0, 1, 2, 3, 4, 5, 6]),
            (&unix, "6-1/2", vec![1, 6]),
            (&unix, "7/2", vec![0]),
            (&unix, "FRI-MON", vec![0, 1, 5, 6]),
            (&quartz, "1-5", vec![0, 1, 2, 3, 4]),
            (&quartz, "FRI-MON", vec![0, 1, 5, 6]),
            (&quartz, "7", vec![6]),
            (&fc, "7", vec![0]),
            (&fc, "MON-SUN/2", vec![0, 1, 3, 5]),
        ] {
            assert_eq!(read(domain, text).expect(text).into_iter().collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let scf = weekday(Dialect::Scf);
        let quartz = weekday(Dialect::Quartz);
        for (domain, text) in [
            (&HOUR, "24"),
            (&MINUTE, "60"),
            (&MINUTE, ""),
            (&MINUTE, "1,"),
            (&MINUTE, "-1"),
            (&MINUTE, "1-"),
            (&MINUTE, "*/0"),
            (&MINUTE, "*/90"),
            (&MINUTE, "**"),
            (&MINUTE, "1-2-3"),
            (&MINUTE, "5/5/5"),
            (&MINUTE, "+5"),
            (&MINUTE, "99999999999"),
            (&DAY, "0"),
            (&DAY, "32"),
            (&MONTH, "MAYBE"),
            (&MONTH, "13"),
            (&YEAR, "2030-2020"),
            (&YEAR, "1969"),
            (&scf, "7"),
            (&scf, "MONTAG"),
            (&quartz, "0"),
            (&HOUR, "MON"),
            (&HOUR, "?"),
            (&HOUR, "é"),
        ] {
            assert!(read(domain, text).is_err(), "{text} as {}", domain.name);
        }
    }

    #[test]
    fn weekdays_are_shown_in_words() {
        for (days, words) in [
            (vec![1, 2, 3, 4, 5], "Monday-Friday"),
            (vec![0, 1, 2, 3, 4], "Sunday-Thursday"),
            (vec![0, 6], "Saturday and Sunday"),
            (vec![0, 3], "Sunday and Wednesday"),
            (vec![0], "Sunday"),
            (vec![0, 1, 2, 3, 4, 5, 6], "every day"),
        ] {
            assert_eq!(show_weekdays(&days.into_iter().collect()), words);
        }
    }
}

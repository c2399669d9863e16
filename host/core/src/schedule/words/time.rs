//! When in the day: a few times, or a pace. Leaves days to `day`. Tested in `super::tests`.

use super::super::field::Values;
use super::{LIST_MAX, Words, around, join, plural, runs};

/// When in the day it fires.
pub(super) enum Time {
    /// At these times.
    At(Words),
    /// At a pace, all day long.
    AllDay(Words),
    /// At a pace, in a part of the day.
    Part(Words),
}

/// Says it; `None` where that would be a list that nobody reads.
pub(super) fn say(seconds: &Values, minutes: &Values, hours: &Values) -> Option<Time> {
    let all_day = hours.len() == 24;
    match seconds.first() {
        Some(second) if seconds.len() == 1 => {
            if minutes.len() * hours.len() <= LIST_MAX {
                return Some(Time::At(times(*second, minutes, hours)));
            }
            let pace = of_minutes(minutes, hours)?;
            let pace = match second {
                0 => pace,
                _ => Words::new(
                    format!("{}, at second {second}", pace.en),
                    format!("{}第 {second} 秒", pace.zh),
                ),
            };
            Some(if all_day { Time::AllDay(pace) } else { Time::Part(pace) })
        }
        _ => {
            let (step, from) = if seconds.len() == 60 { (1, 0) } else { around(seconds, 60)? };
            let pace = pace(step, from, "second", "秒");
            match (minutes.len() == 60, all_day) {
                (true, true) => Some(Time::AllDay(pace)),
                (true, false) => {
                    let (first, last) = whole_run(hours)?;
                    Some(Time::Part(part(pace, &format!("{first:02}:00"), &format!("{last:02}:59"))))
                }
                _ => None,
            }
        }
    }
}

/// `03:00`, `03:00, 09:00 and 15:30`.
fn times(second: u16, minutes: &Values, hours: &Values) -> Words {
    let show = |hour: &u16, minute: &u16| match second {
        0 => format!("{hour:02}:{minute:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}"),
    };
    let all = hours.iter().flat_map(|hour| minutes.iter().map(move |minute| (show(hour, minute), None)));
    let all: Vec<_> = all.collect();
    join(&all, &all)
}

/// A pace of minutes or hours.
fn of_minutes(minutes: &Values, hours: &Values) -> Option<Words> {
    let first_minute = *minutes.first()?;
    let last_minute = *minutes.last()?;
    let step = if minutes.len() == 60 { Some((1, 0)) } else { around(minutes, 60) };
    if minutes.len() == 1 {
        if hours.len() == 24 {
            return Some(match first_minute {
                0 => Words::new("every hour", "每小时"),
                _ => Words::new(
                    format!("every hour at minute {first_minute}"),
                    format!("每小时第 {first_minute} 分"),
                ),
            });
        }
        if let Some((step, from)) = around(hours, 24) {
            let begins = match (from, first_minute) {
                (0, 0) => Words::default(),
                _ => Words::new(
                    format!(" from {from:02}:{first_minute:02}"),
                    format!("从 {from:02}:{first_minute:02} 起"),
                ),
            };
            return Some(Words::new(
                format!("every {step} hours{}", begins.en),
                format!("{}每 {step} 小时", begins.zh),
            ));
        }
        if let Some((first, last)) = whole_run(hours) {
            let pace = Words::new("every hour", "每小时");
            return Some(part(
                pace,
                &format!("{first:02}:{first_minute:02}"),
                &format!("{last:02}:{first_minute:02}"),
            ));
        }
    }
    match (step, hours.len() == 24, whole_run(hours)) {
        (Some((step, from)), true, _) => Some(pace(step, from, "minute", "分钟")),
        (Some((step, _)), false, Some((first, last))) => Some(part(
            pace(step, 0, "minute", "分钟"),
            &format!("{first:02}:{first_minute:02}"),
            &format!("{last:02}:{last_minute:02}"),
        )),
        _ => of_lists(minutes, hours),
    }
}

/// `at minutes 5 and 20 of every hour`, `at minutes 0 to 9 of hours 2 and 4`.
fn of_lists(minutes: &Values, hours: &Values) -> Option<Words> {
    let number = |n: u16| n.to_string();
    let (minutes_of, hours_of) = (runs(minutes, number), runs(hours, number));
    if minutes_of.len() > LIST_MAX || hours_of.len() > LIST_MAX {
        return None;
    }
    let word = plural(minutes.len() as u64, "minute");
    let Words { en, zh } = join(&minutes_of, &minutes_of);
    let minutes = Words::new(format!("at {word} {en}"), format!("第 {zh} 分"));
    if hours.len() == 24 {
        return Some(Words::new(format!("{} of every hour", minutes.en), format!("每小时{}", minutes.zh)));
    }
    let word = plural(hours.len() as u64, "hour");
    let Words { en, zh } = join(&hours_of, &hours_of);
    Some(Words::new(format!("{} of {word} {en}", minutes.en), format!("{zh} 时的{}", minutes.zh)))
}

/// `every 5 minutes`, `every 30 minutes from minute 15`.
fn pace(step: u16, from: u16, unit: &str, of: &str) -> Words {
    let pace = match step {
        1 => Words::new(format!("every {unit}"), format!("每{of}")),
        _ => Words::new(format!("every {step} {unit}s"), format!("每 {step} {of}")),
    };
    match from {
        0 => pace,
        _ => Words::new(
            format!("{} from {unit} {from}", pace.en),
            format!("从第 {from} {}起{}", of.trim_end_matches('钟'), pace.zh),
        ),
    }
}

fn part(pace: Words, first: &str, last: &str) -> Words {
    Words::new(format!("{} from {first} to {last}", pace.en), format!("{first} 至 {last} {}", pace.zh))
}

/// First and last of hours that follow on each other.
fn whole_run(hours: &Values) -> Option<(u16, u16)> {
    let (first, last) = (*hours.first()?, *hours.last()?);
    (usize::from(last - first) + 1 == hours.len()).then_some((first, last))
}

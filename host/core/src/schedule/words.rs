//! What a schedule says, in plain English and Chinese: `every day at 03:00, Asia/Shanghai`, `每天 03:00(Asia/Shanghai)`. The
//! words are made of the values that the line means, so that they say what fires. `time` says when in the day, `day` on which
//! days. What would become a list that nobody reads is not put into words: the line itself is shown. Tested in `tests`.

mod day;
mod time;

use super::dialect::FieldsLine;
use super::field::Values;
use super::{Rule, Schedule, days, zone};
use serde::Serialize;
use std::time::Duration;

/// Members of a list, runs taken together, that are still read.
const LIST_MAX: usize = 6;

/// The same in two languages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Words {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

impl Words {
    fn new(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self { en: en.into(), zh: zh.into() }
    }
}

impl Schedule {
    /// What it says, for people.
    pub fn words(&self) -> Words {
        let mut words = match &self.rule {
            Rule::Every(period) => every(*period),
            Rule::Cron { dialect, zone, .. } => {
                let line = self.line();
                let fields = line.split(' ').map(str::to_owned).collect();
                let said = cron(&FieldsLine { dialect: *dialect, zone: None, fields });
                let Words { en, zh } = said.unwrap_or_else(|| {
                    Words::new(format!("as the line says, `{line}`"), format!("按表达式 `{line}`"))
                });
                let zone = zone::name(zone);
                Words::new(format!("{en}, {zone}"), format!("{zh}({zone})"))
            }
        };
        self.add_bounds(&mut words);
        if !self.jitter.is_zero() {
            let jitter = duration(self.jitter);
            words.en += &format!("; up to {} later", jitter.en);
            words.zh += &format!(";最多推迟 {}", jitter.zh);
        }
        words
    }

    fn add_bounds(&self, words: &mut Words) {
        let Some(within) = &self.within else { return };
        let [start, end] = within.bounds();
        if let Some(start) = start {
            words.en += &format!("; from {start}");
            words.zh += &format!(";自 {start} 起");
        }
        if let Some(end) = end {
            words.en += &format!("; until {end}");
            words.zh += &format!(";至 {end} 止");
        }
        let mut days = Vec::new();
        if !within.weekdays.is_empty() {
            days.push(day::names(&within.weekdays));
        }
        for (first, last) in within.dates.iter().take(LIST_MAX) {
            days.push(match first == last {
                true => Words::new(first.to_string(), first.to_string()),
                false => Words::new(format!("{first} to {last}"), format!("{first} 至 {last}")),
            });
        }
        let more = within.dates.len().saturating_sub(LIST_MAX);
        if more > 0 {
            days.push(Words::new(format!("{more} more dates"), format!("另外 {more} 项日期")));
        }
        if !days.is_empty() {
            let [en, zh]: [Vec<String>; 2] =
                [days.iter().map(|d| d.en.clone()).collect(), days.iter().map(|d| d.zh.clone()).collect()];
            words.en += &format!("; not on {}", en.join(", "));
            words.zh += &format!(";{}除外", zh.join("、"));
        }
    }
}

/// A line in words; `None` where they would be a list that nobody reads.
fn cron(line: &FieldsLine) -> Option<Words> {
    let calendar = days::read(line).ok()?;
    let time = time::say(&calendar.seconds, &calendar.minutes, &calendar.hours)?;
    let [_, _, _, day, _, weekday, _] = line.seven();
    let days = day::say(line.dialect, day, weekday, &calendar.months, &calendar.years)?;
    Some(match (time, days.is_every_day) {
        (time::Time::At(at), _) => {
            Words::new(format!("{} at {}", days.words.en, at.en), format!("{} {}", days.words.zh, at.zh))
        }
        (time::Time::AllDay(pace), true) => pace,
        (time::Time::AllDay(pace), false) => {
            Words::new(format!("{}, {}", pace.en, days.words.en), format!("{} {}", days.words.zh, pace.zh))
        }
        (time::Time::Part(pace), _) => {
            Words::new(format!("{}, {}", pace.en, days.words.en), format!("{} {}", days.words.zh, pace.zh))
        }
    })
}

fn every(period: Duration) -> Words {
    let Words { en, zh } = duration(period);
    match (en.strip_prefix("1 ").filter(|unit| !unit.contains(' ')), zh.strip_prefix("1 ")) {
        (Some(unit), Some(of)) => Words::new(format!("every {unit}"), format!("每{of}")),
        _ => Words::new(format!("every {en}"), format!("每 {zh}")),
    }
}

/// `5 minutes`, `1 hour 30 minutes`.
fn duration(duration: Duration) -> Words {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 3600, "hour", "小时"),
        (seconds / 60 % 60, "minute", "分钟"),
        (seconds % 60, "second", "秒"),
    ];
    let parts = parts.iter().filter(|(count, ..)| *count > 0);
    let [mut en, mut zh] = [Vec::new(), Vec::new()];
    for (count, unit, of) in parts {
        en.push(format!("{count} {}", plural(*count, unit)));
        zh.push(format!("{count} {of}"));
    }
    Words::new(en.join(" "), zh.join(" "))
}

fn plural(count: u64, unit: &str) -> String {
    if count == 1 { unit.to_owned() } else { format!("{unit}s") }
}

/// First and last of each run of three or more values, and each other value by itself.
fn runs(values: &Values, name: impl Fn(u16) -> String) -> Vec<(String, Option<String>)> {
    let mut found: Vec<(u16, u16)> = Vec::new();
    for value in values {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == *value => *last = *value,
            _ => found.push((*value, *value)),
        }
    }
    let apart = found.into_iter().flat_map(|(first, last)| match last - first {
        0 => vec![(first, None)],
        1 => vec![(first, None), (last, None)],
        _ => vec![(first, Some(last))],
    });
    apart.map(|(first, last)| (name(first), last.map(&name))).collect()
}

/// `a`, `a and b`, `a, b to d and e`; the same runs in both languages.
fn join(en: &[(String, Option<String>)], zh: &[(String, Option<String>)]) -> Words {
    Words::new(list(en, [" to ", ", ", " and "]), list(zh, ["至", "、", "和"]))
}

fn list(runs: &[(String, Option<String>)], [to, comma, and]: [&str; 3]) -> String {
    let mut text = String::new();
    for (at, (first, last)) in runs.iter().enumerate() {
        let link = match at {
            0 => "",
            _ if at + 1 == runs.len() => and,
            _ => comma,
        };
        add(&mut text, link, first);
        if let Some(last) = last {
            add(&mut text, to, last);
        }
    }
    text
}

/// Adds `link` and `next`; between a Chinese word and a number there is a blank.
fn add(text: &mut String, link: &str, next: &str) {
    let is_word = link.chars().all(|c| c.is_alphabetic()) && !link.is_empty();
    let blank = |c: Option<char>| if is_word && c.is_some_and(|c| c.is_ascii()) { " " } else { "" };
    let (before, after) = (blank(text.chars().last()), blank(next.chars().next()));
    text.push_str(&[before, link, after, next].concat());
}

/// The step of values that go all around a circle of `round` in equal steps of at least two, and their first.
fn around(values: &Values, round: u16) -> Option<(u16, u16)> {
    let first = *values.first()?;
    let count = u16::try_from(values.len()).ok()?;
    let step = round.is_multiple_of(count).then_some(round / count).filter(|step| *step >= 2)?;
    values
        .iter()
        .zip((first..).step_by(usize::from(step)))
        .all(|(value, due)| *value == due)
        .then_some((step, first))
}

#[cfg(test)]
mod tests;

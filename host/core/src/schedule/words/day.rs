//! On which days: every day, weekdays, days of the month, the last ones, the n-th weekday, in some months and years. Leaves the
//! time to `time`. Tested in `super::tests`.

use super::super::Dialect;
use super::super::field::{self, Values};
use super::{LIST_MAX, Words, join, runs};

const WEEKDAYS_EN: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const WEEKDAYS_ZH: [&str; 7] = ["周日", "周一", "周二", "周三", "周四", "周五", "周六"];
const MONTHS_EN: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const NTH_EN: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
const NTH_ZH: [&str; 5] = ["一", "二", "三", "四", "五"];

/// The days of a line.
pub(super) struct Days {
    pub(super) words: Words,
    /// Whether they are all there are, so that a pace needs no word of them.
    pub(super) is_every_day: bool,
}

/// Says it; `None` where that would be a list that nobody reads.
pub(super) fn say(
    dialect: Dialect,
    day: &str,
    weekday: &str,
    months: &Values,
    years: &Values,
) -> Option<Days> {
    let (by_day, by_weekday) = (field::is_restricted(day), field::is_restricted(weekday));
    let years = Years::of(years)?;
    let months = Months::of(months, years.is_all)?;
    let mut parts = Vec::new();
    if by_day {
        parts.extend(month_days(day, &months)?);
    }
    if by_weekday {
        parts.extend(weekdays(dialect, weekday, &months)?);
    }
    let is_every_day = parts.is_empty() && months.names.is_none() && years.is_all;
    if parts.is_empty() {
        parts.push(match &months.names {
            None => Words::new("every day", "每天"),
            Some(names) => Words::new(format!("every day in {}", names.en), format!("{}每天", names.zh)),
        });
    }
    // Either is enough: a line fires on the days of both.
    let [en, zh]: [Vec<String>; 2] =
        [parts.iter().map(|p| p.en.clone()).collect(), parts.iter().map(|p| p.zh.clone()).collect()];
    let words = Words::new(
        format!("{}{}", en.join(" and "), years.words.en),
        format!("{}{}", years.words.zh, zh.join("及")),
    );
    Some(Days { words, is_every_day })
}

/// `the 1st and 15th of every month`; what is special each by itself.
fn month_days(text: &str, months: &Months) -> Option<Vec<Words>> {
    let (of, zh_of) = months.of_which();
    let mut plain = Values::new();
    let mut said = Vec::new();
    for element in text.split(',') {
        let back = element.strip_prefix("L-").and_then(field::number);
        let near = element.strip_suffix('W').and_then(field::number);
        let one = match (element, back, near) {
            ("L", ..) | (_, Some(0), _) => {
                Words::new(format!("on the last day {of}"), format!("{zh_of}最后一天"))
            }
            ("LW", ..) => Words::new(
                format!("on the last working day (Monday to Friday) {of}"),
                format!("{zh_of}最后一个工作日(周一至周五)"),
            ),
            (_, Some(1), _) => {
                Words::new(format!("on the day before the last {of}"), format!("{zh_of}倒数第 2 天"))
            }
            (_, Some(back), _) => Words::new(
                format!("{back} days before the last day {of}"),
                format!("{zh_of}倒数第 {} 天", back + 1),
            ),
            (_, _, Some(day)) => Words::new(
                format!("on the working day (Monday to Friday) nearest the {} {of}", ordinal(day)),
                format!("离{zh_of} {day} 日最近的工作日(周一至周五)"),
            ),
            _ => {
                plain.extend(field::read(&field::DAY, element).ok()?);
                continue;
            }
        };
        said.push(one);
    }
    if !plain.is_empty() {
        let (en, zh) = (runs(&plain, ordinal), runs(&plain, |day| format!("{day} 日")));
        if en.len() > LIST_MAX {
            return None;
        }
        let days = join(&en, &zh);
        said.insert(0, Words::new(format!("on the {} {of}", days.en), format!("{zh_of} {}", days.zh)));
    }
    (said.len() <= LIST_MAX).then_some(said)
}

/// `Monday to Friday`, `on the second Friday of every month`.
fn weekdays(dialect: Dialect, text: &str, months: &Months) -> Option<Vec<Words>> {
    let (of, zh_of) = months.of_which();
    let domain = field::weekday(dialect);
    let one = |text: &str| field::read(&domain, text).ok()?.first().map(|day| usize::from(day % 7));
    let mut plain = Values::new();
    let mut said = Vec::new();
    for element in text.split(',') {
        if let Some((day, week)) = element.split_once('#') {
            let (day, nth) = (one(day)?, usize::from(field::number(week)?.checked_sub(1)?));
            said.push(Words::new(
                format!("on the {} {} {of}", NTH_EN.get(nth)?, WEEKDAYS_EN[day]),
                format!("{zh_of}第{}个{}", NTH_ZH.get(nth)?, WEEKDAYS_ZH[day]),
            ));
        } else if let Some(day) = element.strip_suffix('L').filter(|day| !day.is_empty()) {
            let day = one(day)?;
            said.push(Words::new(
                format!("on the last {} {of}", WEEKDAYS_EN[day]),
                format!("{zh_of}最后一个{}", WEEKDAYS_ZH[day]),
            ));
        } else if element == "L" {
            plain.insert(6);
        } else {
            plain.extend(field::read(&domain, element).ok()?);
        }
    }
    if !plain.is_empty() {
        said.insert(0, plain_weekdays(&plain, months));
    }
    (said.len() <= LIST_MAX).then_some(said)
}

/// Names of weekdays, from Monday on: both languages say `Monday to Friday`, and `Saturday and Sunday`.
pub(super) fn names(days: &Values) -> Words {
    let from_monday: Values = days.iter().map(|day| if day % 7 == 0 { 7 } else { *day }).collect();
    let name = |names: [&'static str; 7]| move |day: u16| names[usize::from(day % 7)].to_owned();
    join(&runs(&from_monday, name(WEEKDAYS_EN)), &runs(&from_monday, name(WEEKDAYS_ZH)))
}

fn plain_weekdays(days: &Values, months: &Months) -> Words {
    let Words { en, zh } = names(days);
    let is_range = en.contains(" to ") && !en.contains(" and ");
    let (en, zh) = match days.len() {
        7 => ("every day".to_owned(), "每天".to_owned()),
        _ if is_range => (en, format!("每{zh}")),
        _ => (format!("every {en}"), format!("每{zh}")),
    };
    match &months.names {
        None => Words::new(en, zh),
        Some(names) => Words::new(format!("{en} in {}", names.en), format!("{}{zh}", names.zh)),
    }
}

/// The months of a line.
struct Months {
    /// `None` where they are all.
    names: Option<Words>,
}

impl Months {
    fn of(months: &Values, of_every_year: bool) -> Option<Self> {
        if months.len() == 12 {
            return Some(Self { names: None });
        }
        let name = |month: u16| MONTHS_EN[usize::from((month + 11) % 12)].to_owned();
        let (en, zh) = (runs(months, name), runs(months, |month| format!("{month} 月")));
        let year = if of_every_year { "每年 " } else { " " };
        let Words { en: names, zh } = join(&en, &zh);
        let names = Words::new(names, format!("{year}{zh}的"));
        (en.len() <= LIST_MAX).then_some(Self { names: Some(names) })
    }

    /// What a day of the month is one of.
    fn of_which(&self) -> (String, String) {
        match &self.names {
            None => ("of every month".to_owned(), "每月".to_owned()),
            Some(names) => (format!("of {}", names.en), names.zh.clone()),
        }
    }
}

/// The years of a line, to be added to its days.
struct Years {
    words: Words,
    is_all: bool,
}

impl Years {
    fn of(years: &Values) -> Option<Self> {
        let is_all = years.len() == usize::from(field::YEAR.max - field::YEAR.min) + 1;
        if is_all {
            return Some(Self { words: Words::default(), is_all });
        }
        let number = |year: u16| year.to_string();
        let all = runs(years, number);
        let Words { en, zh } = join(&all, &all);
        let words = Words::new(format!(" in {en}"), format!("{zh} 年"));
        (all.len() <= LIST_MAX).then_some(Self { words, is_all })
    }
}

fn ordinal(day: u16) -> String {
    let ending = match (day % 10, day % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{day}{ending}")
}

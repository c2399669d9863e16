//! When a grant holds: hours of the day in a zone, on some days of the week. A window that ends before it begins goes on past
//! midnight, and belongs to the day on which it begins. Leaves reading the clock to the host. Tested below.

use crate::schedule::zone;
use crate::time::Timestamp;
use jiff::civil::{DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use serde::Deserialize;
use std::fmt;

/// `window = { ... }` as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WindowEntry {
    /// When it opens, `22:00`; midnight where absent.
    pub from: Option<String>,
    /// When it closes, `06:00`; midnight where absent.
    pub to: Option<String>,
    /// An IANA zone.
    pub zone: String,
    /// Days on which it opens, `["mon", "tue"]`; every day where absent.
    pub days: Option<Vec<String>>,
}

/// A window, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    from: Time,
    /// How long it is open; a day at most.
    open_for: SignedDuration,
    days: Vec<Weekday>,
    zone: TimeZone,
    text: String,
}

/// What is wrong with a window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// No time of day.
    #[error("`{text}` is not a time of day: write it as in `22:00`")]
    Time {
        /// Which of the keys.
        key: &'static str,
        /// As written.
        text: String,
    },
    /// A zone nobody knows.
    #[error("`{text}` is not an IANA time zone: {hint}")]
    Zone {
        /// As written.
        text: String,
        /// What may have been meant.
        hint: String,
    },
    /// No day of the week.
    #[error("`{0}` is not a day: write mon, tue, wed, thu, fri, sat or sun")]
    Day(String),
    /// It never opens.
    #[error("an empty list of days never opens: leave `days` out for every day")]
    NoDays,
    /// It opens and closes at once.
    #[error("it opens and closes at the same time: leave `from` and `to` out for whole days")]
    Empty,
}

impl WindowError {
    /// The key it is about.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Time { key, .. } => key,
            Self::Zone { .. } => "zone",
            Self::Day(_) | Self::NoDays => "days",
            Self::Empty => "to",
        }
    }
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// Days looked ahead for the next opening: a window of one day a week opens within eight, and a change of the clock may
/// swallow it once.
const DAYS_AHEAD: i64 = 15;

impl Window {
    /// Understands an entry.
    pub fn parse(entry: &WindowEntry) -> Result<Self, WindowError> {
        let zone_found =
            zone::find(&entry.zone).map_err(|hint| WindowError::Zone { text: entry.zone.clone(), hint })?;
        let from = time("from", entry.from.as_deref().unwrap_or("00:00"))?;
        let to = time("to", entry.to.as_deref().unwrap_or("24:00"))?;
        let open_for = if to > from { to - from } else { to - from + DAY };
        if to == from {
            return Err(WindowError::Empty);
        }
        let days = match &entry.days {
            None => DAYS.map(|(_, day)| day).to_vec(),
            Some(names) if names.is_empty() => return Err(WindowError::NoDays),
            Some(names) => names.iter().map(|name| day(name)).collect::<Result<_, _>>()?,
        };
        let hours = match (&entry.from, &entry.to) {
            (None, None) => String::new(),
            (from, to) => {
                format!("{}-{} ", from.as_deref().unwrap_or("00:00"), to.as_deref().unwrap_or("24:00"))
            }
        };
        let listed = entry.days.as_ref().map_or(String::new(), |days| format!(" on {}", days.join(", ")));
        let text = format!("{hours}{}{listed}", entry.zone);
        Ok(Self { from: Time::midnight() + from, open_for, days, zone: zone_found, text })
    }

    /// Whether it is open.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let local = self.zone.to_datetime(now.into());
        let yesterday = local.saturating_sub(1.day());
        [yesterday, local].iter().any(|day| {
            let opened = DateTime::from_parts(day.date(), self.from);
            let open = local.duration_since(opened);
            self.days.contains(&day.date().weekday()) && (SignedDuration::ZERO..self.open_for).contains(&open)
        })
    }

    /// When it opens next, after `now`.
    pub fn opens(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.zone.to_datetime(now.into()).date();
        let day = |ahead: i64| today.saturating_add(ahead.days());
        let of_days = (0..=DAYS_AHEAD).map(day).filter(|day| self.days.contains(&day.weekday()));
        let instants =
            of_days.filter_map(|day| zone::to_instant(&self.zone, DateTime::from_parts(day, self.from)));
        instants.filter(|opens| *opens > now && self.is_open(*opens)).min()
    }

    /// An instant as people in the window's zone write it.
    pub(super) fn local(&self, at: Timestamp) -> String {
        let zoned = jiff::Timestamp::from(at).to_zoned_datetime(self.zone.clone());
        format!("{} ({})", zoned.strftime("%Y-%m-%d %H:%M %:z"), zone::name(&self.zone))
    }
}

/// `22:00-06:00 Asia/Shanghai on mon, tue`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How long after midnight `HH:MM` is; `24:00` is the day's end.
fn time(key: &'static str, text: &str) -> Result<SignedDuration, WindowError> {
    let wrong = || WindowError::Time { key, text: text.to_owned() };
    let digits = |part: &str| (part.len() == 2).then(|| part.parse::<u8>().ok()).flatten();
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    match (digits(hour), digits(minute)) {
        (Some(hour), Some(minute))
            if hour < 24 && minute < 60 || key == "to" && (hour, minute) == (24, 0) =>
        {
            Ok(SignedDuration::from_mins(i64::from(hour) * 60 + i64::from(minute)))
        }
        _ => Err(wrong()),
    }
}

fn day(name: &str) -> Result<Weekday, WindowError> {
    let found = DAYS.iter().find(|(known, _)| *known == name);
    found.map(|(_, day)| *day).ok_or_else(|| WindowError::Day(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Result<Window, WindowError> {
        Window::parse(&toml::from_str(text).expect("well-formed"))
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("an instant")
    }

    #[test]
    fn a_window_is_open_in_its_hours_of_its_days_and_says_when_it_opens() {
        const NIGHTS: &str = "from = '22:00'\nto = '06:00'\nzone = 'Asia/Shanghai'\n";
        const FRIDAYS: &str = "from = '22:00'\nto = '06:00'\nzone = 'Asia/Shanghai'\ndays = ['fri']\n";
        const OFFICE: &str = "from = '09:00'\nto = '17:30'\nzone = 'Europe/Berlin'\ndays = ['mon', 'tue', 'wed', 'thu', 'fri']\n";
        const SUNDAYS: &str = "zone = 'UTC'\ndays = ['sun']\n";
        // 2026-11-27 is a Friday.
        let cases = [
            (NIGHTS, "2026-11-27T21:59:59+08:00", false, "2026-11-27T22:00:00+08:00"),
            (NIGHTS, "2026-11-27T22:00:00+08:00", true, "2026-11-28T22:00:00+08:00"),
            (NIGHTS, "2026-11-28T05:59:59+08:00", true, "2026-11-28T22:00:00+08:00"),
            (NIGHTS, "2026-11-28T06:00:00+08:00", false, "2026-11-28T22:00:00+08:00"),
            (FRIDAYS, "2026-11-27T23:00:00+08:00", true, "2026-12-04T22:00:00+08:00"),
            (FRIDAYS, "2026-11-28T03:00:00+08:00", true, "2026-12-04T22:00:00+08:00"),
            (FRIDAYS, "2026-11-27T03:00:00+08:00", false, "2026-11-27T22:00:00+08:00"),
            (FRIDAYS, "2026-11-28T23:00:00+08:00", false, "2026-12-04T22:00:00+08:00"),
            (OFFICE, "2026-11-27T16:29:59Z", true, "2026-11-30T08:00:00Z"),
            (OFFICE, "2026-11-27T16:30:00Z", false, "2026-11-30T08:00:00Z"),
            (OFFICE, "2026-07-01T07:00:00Z", true, "2026-07-02T07:00:00Z"),
            (SUNDAYS, "2026-11-29T23:59:59Z", true, "2026-12-06T00:00:00Z"),
            (SUNDAYS, "2026-11-30T00:00:00Z", false, "2026-12-06T00:00:00Z"),
        ];
        for (text, now, open, opens) in cases {
            let window = window(text).expect("a window");
            assert_eq!(window.is_open(at(now)), open, "{window} at {now}");
            assert_eq!(window.opens(at(now)), Some(at(opens)), "{window} after {now}");
        }
        assert_eq!(window(FRIDAYS).expect("a window").to_string(), "22:00-06:00 Asia/Shanghai on fri");
        let shown = window(NIGHTS).expect("a window").local(at("2026-11-27T14:00:00Z"));
        assert_eq!(shown, "2026-11-27 22:00 +08:00 (Asia/Shanghai)");
    }

    #[test]
    fn an_opening_that_a_change_of_the_clock_skips_is_the_change_or_another_day() {
        // In Berlin 02:00 to 03:00 does not exist on 2026-03-29.
        let long = window("from = '02:30'\nto = '05:00'\nzone = 'Europe/Berlin'\n").expect("a window");
        assert_eq!(long.opens(at("2026-03-29T00:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
        let short = window("from = '02:10'\nto = '02:50'\nzone = 'Europe/Berlin'\n").expect("a window");
        assert_eq!(short.opens(at("2026-03-29T00:00:00Z")), Some(at("2026-03-30T00:10:00Z")));
    }

    #[test]
    fn what_is_no_window_is_named_by_its_key() {
        let cases = [
            ("zone = 'Beijing'", "zone"),
            ("zone = 'UTC'\nfrom = '24:00'", "from"),
            ("zone = 'UTC'\nfrom = '9:00'", "from"),
            ("zone = 'UTC'\nto = '25:00'", "to"),
            ("zone = 'UTC'\nfrom = '09:00'\nto = '09:00'", "to"),
            ("zone = 'UTC'\ndays = []", "days"),
            ("zone = 'UTC'\ndays = ['monday']", "days"),
        ];
        for (text, key) in cases {
            assert_eq!(window(text).expect_err(text).key(), key, "{text}");
        }
    }
}

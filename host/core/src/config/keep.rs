//! `[store] keep`: how long what has ended is kept. Leaves deleting to the host. Tested in `super::tests`.

use super::defaults;
use super::finding::ConfigError;
use super::source::{Source, place};
use std::time::Duration;

/// Shortest time, in days: natural keys answer for 30 days with what a run recorded, and a day is left for slow clocks.
const DAYS_MIN: u32 = 31;
/// Longest time, in days: ten years.
const DAYS_MAX: u32 = 3650;
/// Days in UTC, where none is longer than another.
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn resolve(source: &Source<'_>, typed: Option<&str>, errors: &mut Vec<ConfigError>) -> Duration {
    let text = typed.unwrap_or(defaults::STORE_KEEP);
    let days = text.strip_suffix('d').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let days: Option<u32> = days.and_then(|digits| digits.parse().ok());
    let wrong = match days {
        Some(DAYS_MIN..=DAYS_MAX) => None,
        Some(0..DAYS_MIN) => {
            Some(format!("`{text}` is too short: natural keys need what happened for 30 days"))
        }
        Some(_) => Some(format!("`{text}` is too long")),
        None => Some(format!("`{text}` is not a number of days")),
    };
    if let Some(message) = wrong {
        let fix =
            format!("write days from `{DAYS_MIN}d` to `{DAYS_MAX}d`, such as `{}`", defaults::STORE_KEEP);
        errors.push(source.error(place!["store", "keep"], message, fix));
    }
    DAY * days.unwrap_or(0)
}

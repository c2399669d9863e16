//! `retry` of a policy's file: how a run is tried again whose policy says that its failure may pass. Leaves when that is to
//! `crate::retry`. Tested in `super::tests`.

use super::finding::ConfigError;
use super::source::{Source, place};
use super::typed::Retry;
use crate::retry::RetrySettings;
use crate::schedule::interval;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Tries in all: 20 with the longest pauses are more than a week.
const ATTEMPTS: RangeInclusive<u32> = 1..=20;
/// What each pause may be of the one before.
const FACTOR: RangeInclusive<f64> = 1.0..=10.0;
/// The longest a pause may be: what woke the policy is then a day old.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);

pub(super) fn resolve(source: &Source<'_>, typed: &Retry, errors: &mut Vec<ConfigError>) -> RetrySettings {
    let defaults = RetrySettings::default();
    let mut refuse = |key: &str, problem: String, fix: &str| {
        errors.push(source.error(place!["retry", key], problem, fix));
    };
    let attempts = typed.attempts.unwrap_or(defaults.attempts);
    if !ATTEMPTS.contains(&attempts) {
        refuse("attempts", format!("{attempts} tries"), "write a number from 1 (no second try) to 20");
    }
    let factor = typed.factor.unwrap_or(defaults.factor);
    if !FACTOR.contains(&factor) {
        refuse("factor", format!("a factor of {factor}"), "write a number from 1.0 to 10.0");
    }
    let mut pause = |key: &str, text: Option<&str>, default: Duration| match text.map(interval::parse) {
        None => default,
        Some(Ok(pause)) if pause <= PAUSE_MAX => pause,
        Some(Ok(_)) => {
            refuse(key, "longer than a day".to_owned(), "write at most `24h`");
            default
        }
        Some(Err(problem)) => {
            refuse(key, problem, "");
            default
        }
    };
    let base = pause("base", typed.base.as_deref(), defaults.base);
    let ceiling = pause("ceiling", typed.ceiling.as_deref(), defaults.ceiling.max(base));
    if ceiling < base {
        refuse("ceiling", "shorter than `base`".to_owned(), "write at least as much as `base`");
    }
    RetrySettings { attempts, base, factor, ceiling }
}

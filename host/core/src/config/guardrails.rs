//! `guardrails` of a policy's file: how many effects it may make. Leaves what falls under which to `crate::guardrail`. Tested
//! in `super::tests`.

use super::finding::ConfigError;
use super::host::HostSettings;
use super::source::{Source, place};
use super::typed;
use crate::guardrail::{Guardrails, Protected, Quota, SPAN_MAX};
use crate::id::AccountName;
use crate::schedule::interval;
use std::time::Duration;

/// Lifts a guardrail that is there by default.
const NONE: &str = "none";

pub(super) fn resolve(
    source: &Source<'_>,
    typed: &typed::Guardrails,
    host: &HostSettings,
    account: Option<&AccountName>,
    errors: &mut Vec<ConfigError>,
) -> Guardrails {
    let defaults = Guardrails::default();
    let mut refuse = |key: &str, problem: String, fix: &str| {
        errors.push(source.error(place!["guardrails", key], problem, fix));
    };
    let mut quota = |key: &str, text: Option<&str>, default: Option<Quota>| match text {
        None => default,
        Some(NONE) => None,
        Some(text) => Quota::parse(text).map(Some).unwrap_or_else(|problem| {
            refuse(key, problem, "");
            default
        }),
    };
    let effects = quota("effects", typed.effects.as_deref(), defaults.effects);
    let once_effects = quota("once-effects", typed.once_effects.as_deref(), defaults.once_effects);
    let cool_down = match typed.cool_down.as_deref() {
        None => defaults.cool_down,
        Some(NONE) => Duration::ZERO,
        Some(text) => match interval::parse(text) {
            Ok(span) if span <= SPAN_MAX => span,
            Ok(_) => {
                refuse("cool-down", "longer than 31 days".to_owned(), "write at most `744h`");
                defaults.cool_down
            }
            Err(problem) => {
                refuse("cool-down", problem, "or `none`");
                defaults.cool_down
            }
        },
    };
    let is_here = |one: &&Protected| one.account.is_none() || one.account.as_ref() == account;
    let protected = host.protected.iter().filter(is_here).cloned().collect();
    Guardrails { effects, once_effects, cool_down, protected }
}

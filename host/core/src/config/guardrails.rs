//! `guardrails` of a policy's file, and what its account adds: how many effects it may make, and when. Leaves what falls under
//! which to `crate::guardrail`. Tested in `super::tests`.

use super::finding::ConfigError;
use super::host::HostSettings;
use super::source::{Source, Step, place};
use super::typed;
use crate::grant::{Window, WindowEntry};
use crate::guardrail::{Guardrails, Protected, Quota, SPAN_MAX};
use crate::id::AccountName;
use crate::schedule::interval;
use std::collections::BTreeMap;
use std::time::Duration;

/// Lifts a guardrail that is there by default.
const NONE: &str = "none";
/// Longest pause of a ramp: what has gone well counts for a day, and a step must find the one before it.
const PAUSE_MAX: Duration = Duration::from_secs(12 * 3600);

pub(super) fn resolve(
    source: &Source<'_>,
    typed: &typed::Guardrails,
    host: &HostSettings,
    account: Option<&AccountName>,
    errors: &mut Vec<ConfigError>,
) -> Guardrails {
    let defaults = Guardrails::default();
    let own = windows(source, place!["guardrails", "windows"], &typed.windows, errors);
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
    let resources = quota("resources", typed.resources.as_deref(), None);
    let max_percent = quota("max-percent", typed.max_percent.as_deref(), None);
    // `5 failures/hour` reads better, and means `5/hour`.
    let failures = typed.circuit.as_deref().map(|text| text.replacen(" failures", "", 1));
    let circuit = quota("circuit", failures.as_deref(), None);
    if max_percent.is_some_and(|percent| percent.max > 100) {
        refuse("max-percent", "more than 100 percent".to_owned(), "write such as `10/day`");
    }
    let mut span = |key: &str, text: Option<&str>, max: Duration, default: Duration| match text {
        None => default,
        Some(NONE) => Duration::ZERO,
        Some(text) => match interval::parse(text) {
            Ok(span) if span <= max => span,
            Ok(_) => {
                let max = interval::show(max);
                refuse(key, format!("longer than {max}"), &format!("write at most `{max}`"));
                default
            }
            Err(problem) => {
                refuse(key, problem, "or `none`");
                default
            }
        },
    };
    let cool_down = span("cool-down", typed.cool_down.as_deref(), SPAN_MAX, defaults.cool_down);
    let ramp_up = span("ramp-up", typed.ramp_up.as_deref(), PAUSE_MAX, Duration::ZERO);
    let settings = account.and_then(|name| host.accounts.get(name));
    let of_account = settings.map(|settings| settings.windows.clone()).unwrap_or_default();
    let is_here = |one: &&Protected| one.account.is_none() || one.account.as_ref() == account;
    Guardrails {
        effects,
        once_effects,
        cool_down,
        resources,
        max_percent,
        ramp_up: (!ramp_up.is_zero()).then_some(ramp_up),
        circuit,
        windows: [own, of_account].into_iter().filter(|list| !list.is_empty()).collect(),
        budgets: settings.map(|settings| settings.budgets.clone()).unwrap_or_default(),
        protected: host.protected.iter().filter(is_here).cloned().collect(),
    }
}

/// `windows` at `place`.
pub(super) fn windows(
    source: &Source<'_>,
    place: &[Step<'_>],
    typed: &[WindowEntry],
    errors: &mut Vec<ConfigError>,
) -> Vec<Window> {
    let mut windows = Vec::new();
    for (at, entry) in typed.iter().enumerate() {
        match Window::parse(entry) {
            Ok(window) => windows.push(window),
            Err(problem) => {
                let place = [place, place![at, problem.key()]].concat();
                errors.push(source.error(&place, problem.to_string(), ""));
            }
        }
    }
    windows
}

/// `budgets` of an account: patterns of actions, and how often all of them together.
pub(super) fn budgets(
    source: &Source<'_>,
    account: &str,
    typed: &BTreeMap<String, String>,
    errors: &mut Vec<ConfigError>,
) -> Vec<(String, Quota)> {
    let mut budgets = Vec::new();
    for (actions, text) in typed {
        let place = place!["accounts", account, "budgets", actions];
        let is_part = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'*' || b == b'-');
        if !actions.split_once(':').is_some_and(|(service, name)| {
            !service.is_empty() && !name.is_empty() && is_part(service) && is_part(name)
        }) {
            let fix = "write `service:Action`, such as `ecs:RebootInstance` or `ecs:*`";
            errors.push(source.key_error(place, format!("`{actions}` does not name actions"), fix));
        }
        match Quota::parse(text) {
            Ok(quota) => budgets.push((actions.clone(), quota)),
            Err(problem) => errors.push(source.error(place, problem, "")),
        }
    }
    budgets
}

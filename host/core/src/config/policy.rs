//! `<policy>.toml`, resolved: triggers, schedules, grants and the policy's own config as JSON. Leaves what only the
//! plugin can tell (what it asks for, whether the config suits it) to the host. Tested in `super::tests`.

use super::finding::ConfigError;
use super::host::{AccountSettings, HostSettings, find_account};
use super::source::{Source, Step, did_you_mean, place};
use super::typed::PolicyFile;
use super::{PolicySettings, approval, defaults, guardrails, retry};
use crate::credential::session::PolicySession;
use crate::grant::{AllowEntry, GrantFinding, GrantProblem, Grants};
use crate::id::{AccountName, Digest, PolicyName};
use crate::pattern::{OnEntry, Patterns};
use crate::run::Mode;
use crate::schedule::{Misfire, Schedule, ScheduleEntry};
use serde_json::{Map, Number, Value};
use std::sync::Arc;
use toml::de::DeValue;

/// How a pinned digest begins.
pub(super) const DIGEST: &str = "sha256:";

pub(super) fn resolve(
    source: &Source<'_>,
    stem: &str,
    file: PolicyFile,
    host: &HostSettings,
) -> Result<PolicySettings, Vec<ConfigError>> {
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let name = stem.parse::<PolicyName>();
    if let Err(error) = &name {
        errors.push(source.about_file(error.to_string(), "rename the file: its name is the policy's"));
    }
    if !is_plugin_file(&file.plugin) {
        let fix = "write the file's name in this directory, such as `my-policy.wasm`";
        errors.push(source.error(place!["plugin"], format!("`{}` is not a plugin's file", file.plugin), fix));
    }
    let digest = file.digest.as_deref().and_then(|text| {
        let pinned = text.strip_prefix(DIGEST).map(|hex| Digest::try_from(hex.to_owned()));
        let problem = |()| {
            errors.push(source.error(
                place!["digest"],
                format!("`{text}` is not a plugin's digest"),
                "write `sha256:` and 64 hex digits, as `opsward enable` does",
            ))
        };
        pinned.transpose().ok().flatten().ok_or(()).map_err(problem).ok()
    });
    let known: Vec<&str> = host.accounts.keys().map(AccountName::as_str).collect();
    let account = file
        .account
        .as_deref()
        .map(|name| find_account(source, place!["account"], name, &known, &mut errors));
    let patterns = patterns(source, file.on.as_deref(), !file.schedule.is_empty(), host, &mut errors);
    let grants = grants(source, &file.allow, account.as_ref(), host, &mut errors, &mut warnings);
    let schedules = schedules(source, &file.schedule, &mut errors);
    let is_destructive = grants.is_destructive();
    if is_destructive {
        warnings.extend(late_destruction(source, &schedules));
    }
    let config = json_table(source, &file.config, &mut errors);
    let retry = retry::resolve(source, &file.retry, &mut errors);
    let guardrails = guardrails::resolve(
        source,
        &file.guardrails,
        host,
        account.as_ref().and_then(Option::as_ref),
        &mut errors,
    );
    let known: Vec<&str> = host.secrets.keys().map(String::as_str).collect();
    for (at, name) in file.secrets.iter().enumerate().filter(|(_, name)| !known.contains(&name.as_str())) {
        let fix = match known.as_slice() {
            [] => "`opsward.toml` has no `[secrets]`".to_owned(),
            known => did_you_mean(name, known, "secrets"),
        };
        errors.push(source.error(place!["secrets", at], format!("unknown secret `{name}`"), fix));
    }
    let approvers = approval::resolve(
        source,
        file.approval.as_ref(),
        [stem, file.account.as_deref().unwrap_or_default()],
        &mut errors,
    );
    if file.mode == Some(Mode::Approve) && file.approval.is_none() {
        let fix = "add `[approval]` with `approvers = [\"alice\"]`: the people who may say yes";
        errors.push(source.error(place!["mode"], "nobody is named who may approve", fix));
    }
    let session = match (&name, account.iter().flatten().next().and_then(|name| host.accounts.get(name))) {
        (Ok(name), Some(account)) => session(source, name, account, &grants, &mut errors),
        _ => None,
    };
    match name {
        Ok(name) if errors.is_empty() => Ok(PolicySettings {
            session,
            plugin: file.plugin,
            digest,
            account: account.flatten(),
            mode: file.mode.unwrap_or(defaults::MODE),
            patterns,
            schedules: schedules.into_iter().map(|one| one.of_policy(&name, is_destructive)).collect(),
            name,
            grants,
            config: Value::Object(config).to_string().into(),
            secrets: file.secrets,
            retry,
            guardrails,
            approvers,
            warnings,
        }),
        _ => Err(errors.into_iter().chain(warnings).collect()),
    }
}

/// A bare file name: a policy never reaches outside the plugins directory.
fn is_plugin_file(text: &str) -> bool {
    text.strip_suffix(".wasm").is_some_and(|stem| !stem.is_empty())
        && !text.starts_with('.')
        && !text.contains(['/', '\\', '\0'])
}

fn patterns(
    source: &Source<'_>,
    on: Option<&[OnEntry]>,
    has_schedule: bool,
    host: &HostSettings,
    errors: &mut Vec<ConfigError>,
) -> Option<Patterns> {
    let Some(entries) = on else { return has_schedule.then(Patterns::default) };
    let known: Vec<&str> = host.sources.keys().map(|name| name.as_str()).collect();
    let before = errors.len();
    for at in 0..entries.len() {
        let place = place!["on", at, "source"];
        // One name or a list of names.
        let elements = source.value(place).and_then(DeValue::as_array).map_or(0, |names| names.len());
        let listed = (0..elements).map(|element| [place, place![element]].concat());
        for place in listed.chain([place.to_vec()]) {
            if let Some(name) = source.value(&place).and_then(DeValue::as_str)
                && !known.contains(&name)
            {
                let fix = match known.as_slice() {
                    [] => "`opsward.toml` has no `[sources]`".to_owned(),
                    known => did_you_mean(name, known, "sources"),
                };
                errors.push(source.error(&place, format!("unknown source `{name}`"), fix));
            }
        }
    }
    match Patterns::compile(entries) {
        Ok(patterns) => Some(patterns),
        Err(error) => {
            if errors.len() == before {
                let place = match &error.path {
                    Some(path) => place!["on", error.entry, error.key, path],
                    None => place!["on", error.entry, error.key],
                };
                errors.push(source.error(place, error.problem, ""));
            }
            None
        }
    }
}

fn schedules(source: &Source<'_>, entries: &[ScheduleEntry], errors: &mut Vec<ConfigError>) -> Vec<Schedule> {
    let mut schedules: Vec<Schedule> = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        match Schedule::parse(entry) {
            // The store tells the schedules of a policy apart by their text.
            Ok(schedule) if schedules.iter().any(|known| known.text() == schedule.text()) => {
                let message = "this schedule is in the list already";
                errors.push(source.error(place!["schedule", at], message, "remove one of the two"));
            }
            Ok(schedule) => schedules.push(schedule),
            Err(error) => {
                errors.push(source.error(place!["schedule", at, error.key()], error.to_string(), ""))
            }
        }
    }
    schedules
}

/// Schedules of a policy that may destroy something, and that are told to make up for what was missed.
fn late_destruction(source: &Source<'_>, schedules: &[Schedule]) -> Vec<ConfigError> {
    let catching_up =
        schedules.iter().enumerate().filter(|(_, schedule)| schedule.misfire() != Misfire::Skip);
    let warn = |(at, schedule): (usize, &Schedule)| {
        let rule = schedule.misfire().as_str();
        let message = format!(
            "`misfire = \"{rule}\"` has a policy that may destroy something act at another time than planned"
        );
        source
            .error(place!["schedule", at, "misfire"], message, "leave it out, unless it is meant")
            .into_warning()
    };
    catching_up.map(warn).collect()
}

fn grants(
    source: &Source<'_>,
    entries: &[AllowEntry],
    account: Option<&Option<AccountName>>,
    host: &HostSettings,
    errors: &mut Vec<ConfigError>,
    warnings: &mut Vec<ConfigError>,
) -> Grants {
    for (at, entry) in entries.iter().enumerate() {
        let same =
            account.is_some_and(|name| name.as_ref().map(AccountName::as_str) == entry.account.as_deref());
        if let Some(named) = entry.account.as_deref().filter(|_| !same) {
            let message = format!("this policy's calls do not go to `{named}`");
            let fix = "leave it out: a policy has one `account`";
            errors.push(source.error(place!["allow", at, "account"], message, fix));
        }
    }
    let settings = match account {
        Some(Some(name)) => host.accounts.get(name),
        // Reported where the account is named.
        Some(None) => None,
        None if entries.is_empty() => None,
        None => {
            let known: Vec<&str> = host.accounts.keys().map(AccountName::as_str).collect();
            let fix = match known.as_slice() {
                [] => "add `[accounts.<name>]` to `opsward.toml`, and `account` here".to_owned(),
                known => format!("add `account` with one of: {}", known.join(", ")),
            };
            errors.push(source.error(
                place!["allow"],
                "grants without an account to make the calls with",
                fix,
            ));
            None
        }
    };
    let Some(settings) = settings else { return Grants::default() };
    let show = |finding: &GrantFinding| {
        let place = place!["allow", finding.entry, finding.key];
        let below: Vec<Step<'_>> = match &finding.problem {
            GrantProblem::Window(error) => vec![Step::Key(error.key())],
            _ => finding.element.map(Step::At).into_iter().collect(),
        };
        source.error(&[place, &below].concat(), finding.problem.to_string(), finding.problem.fix())
    };
    let (grants, findings) = match Grants::compile(entries, settings.provider) {
        Ok(compiled) => compiled,
        Err(findings) => (Grants::default(), findings),
    };
    for finding in &findings {
        match finding.problem.is_warning() {
            true => warnings.push(show(finding).into_warning()),
            false => errors.push(show(finding)),
        }
    }
    grants
}

/// What the policy's calls are signed in, where its account narrows its role for each policy.
fn session(
    source: &Source<'_>,
    policy: &PolicyName,
    account: &AccountSettings,
    grants: &Grants,
    errors: &mut Vec<ConfigError>,
) -> Option<Arc<PolicySession>> {
    let provider = account.provider;
    if !account.credentials.is_narrowed() || grants.is_empty() {
        return None;
    }
    let session = PolicySession::new(provider, policy.clone(), &grants.callable(provider));
    let fix = "grant less, or split the policy; or take `narrow` from its account";
    session
        .map(Arc::new)
        .map_err(|error| errors.push(source.key_error(place!["allow"], error.to_string(), fix)))
        .ok()
}

/// The policy's own config. JSON has no dates and no infinities: dates become their text, the others are refused.
fn json_table(source: &Source<'_>, table: &toml::Table, errors: &mut Vec<ConfigError>) -> Map<String, Value> {
    table
        .iter()
        .map(|(key, value)| {
            let json = json_value(value).unwrap_or_else(|| {
                let message = format!("`{key}` holds a number that JSON cannot express");
                errors.push(source.error(place!["config", key], message, "write a finite number"));
                Value::Null
            });
            (key.clone(), json)
        })
        .collect()
}

/// The depth is bounded by the TOML parser.
fn json_value(value: &toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::Number(Number::from_f64(*number)?),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Datetime(date) => Value::from(date.to_string()),
        toml::Value::Array(items) => Value::Array(items.iter().map(json_value).collect::<Option<_>>()?),
        toml::Value::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, value)| Some((key.clone(), json_value(value)?)))
                .collect::<Option<_>>()?,
        ),
    })
}

//! Sources that the host fetches from: where, and with whose credential. Leaves what every source has to `sources`, and fetching to
//! the host. Tested in `super::tests::fetched`.

use super::finding::ConfigError;
use super::host::AccountSettings;
use super::source::{Source, Step, place};
use super::typed::{EventSource, Queue};
use crate::catalog::Provider;
use crate::endpoint::{Endpoint, EndpointError, is_region};
use crate::event::SourceKind;
use crate::id::AccountName;
use crate::schedule::interval;
use crate::source::history::History;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest name of a queue: the vendor's limit.
const QUEUE_NAME_BYTES_MAX: usize = 120;
/// Longest name of a log store: the vendor's limit.
const STORE_NAME_BYTES_MAX: usize = 63;
/// Longest query: it stands in each request's URL.
const QUERY_BYTES_MAX: usize = 2048;
/// Farthest back that reading begins: what happened longer ago may have been forgotten, and would come anew.
const SINCE_MAX: Duration = Duration::from_secs(744 * 3600);

/// A message queue that events are taken from.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// With whose credential.
    pub account: AccountName,
    /// Its name.
    pub name: String,
    /// Its region, as far as the file says.
    pub region: Option<String>,
    /// Where it is.
    pub endpoint: Endpoint,
}

pub(super) fn queue(
    source: &Source<'_>,
    name: &str,
    typed: &EventSource,
    accounts: &BTreeMap<AccountName, AccountSettings>,
    errors: &mut Vec<ConfigError>,
) -> Option<QueueSettings> {
    let at = place!["sources", name];
    let account = account(source, at, typed, accounts, errors);
    let Some(queue) = &typed.queue else {
        let fix = "add `queue = { name = \"cms-events\", owner = \"1234567890123456\" }`";
        errors.push(source.missing(at, "queue", fix));
        return None;
    };
    let is_name = |text: &str| {
        (1..=QUEUE_NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !is_name(&queue.name) {
        let place = place!["sources", name, "queue", "name"];
        let fix = "write it as the console shows it: letters, digits and `-`";
        errors.push(source.error(place, format!("`{}` is not the name of a queue", queue.name), fix));
        return None;
    }
    let account = account?;
    let endpoint = queue_endpoint(source, name, queue, account, errors)?;
    let region = queue.region.clone().or_else(|| account.region.clone());
    Some(QueueSettings { account: account.name.clone(), name: queue.name.clone(), region, endpoint })
}

/// What the source names, else what all calls of the account go to, else the public host of the owner's queues.
fn queue_endpoint(
    source: &Source<'_>,
    name: &str,
    queue: &Queue,
    account: &AccountSettings,
    errors: &mut Vec<ConfigError>,
) -> Option<Endpoint> {
    let named =
        Named { table: "queue", key: "owner", value: queue.owner.as_deref(), of: Endpoint::of_queues };
    let fix =
        "add `owner`, the number of the account that has the queue, or `endpoint` as the console shows it";
    endpoint(source, name, &named, (queue.endpoint.as_deref(), queue.region.as_deref()), account, fix, errors)
}

/// A log store that events are read from.
#[derive(Debug, Clone)]
pub struct LogStoreSettings {
    /// With whose credential.
    pub account: AccountName,
    /// Its name.
    pub name: String,
    /// Where its project is.
    pub endpoint: Endpoint,
    /// Which records are events, in the vendor's language; all of them where there is none.
    pub query: Option<String>,
    /// How far back reading begins, when the source is first seen.
    pub since: Duration,
}

pub(super) fn log_store(
    source: &Source<'_>,
    name: &str,
    typed: &EventSource,
    accounts: &BTreeMap<AccountName, AccountSettings>,
    errors: &mut Vec<ConfigError>,
) -> Option<LogStoreSettings> {
    let at = place!["sources", name];
    let account = account(source, at, typed, accounts, errors);
    let Some(store) = &typed.log_store else {
        let fix = "add `log-store = { project = \"my-project\", name = \"events\" }`";
        errors.push(source.missing(at, "log-store", fix));
        return None;
    };
    let before = errors.len();
    let is_name = (1..=STORE_NAME_BYTES_MAX).contains(&store.name.len())
        && store.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !is_name {
        let place = place!["sources", name, "log-store", "name"];
        let fix = "write it as the console shows it: letters, digits, `-` and `_`";
        errors.push(source.error(place, format!("`{}` is not the name of a log store", store.name), fix));
    }
    if store.query.as_ref().is_some_and(|query| query.trim().is_empty() || query.len() > QUERY_BYTES_MAX) {
        let message = format!("a query has 1 to {QUERY_BYTES_MAX} bytes");
        let fix = "write it as in `\"* | where level = 'CRITICAL'\"`, or leave it out";
        errors.push(source.error(place!["sources", name, "log-store", "query"], message, fix));
    }
    let since = match store.since.as_deref().map(interval::parse) {
        None => Duration::ZERO,
        Some(Ok(since)) if since <= SINCE_MAX => since,
        Some(Ok(_)) => {
            let place = place!["sources", name, "log-store", "since"];
            errors.push(source.error(place, "is too long ago", "write at most `744h`"));
            Duration::ZERO
        }
        Some(Err(problem)) => {
            let place = place!["sources", name, "log-store", "since"];
            errors.push(source.error(place, problem.to_string(), "write it as in `90m`"));
            Duration::ZERO
        }
    };
    let named =
        Named { table: "log-store", key: "project", value: store.project.as_deref(), of: Endpoint::of_logs };
    let account = account?;
    let fix = "add `project`, which has the log store";
    let given = (store.endpoint.as_deref(), store.region.as_deref());
    let endpoint = endpoint(source, name, &named, given, account, fix, errors)?;
    let (account, name, query) = (account.name.clone(), store.name.clone(), store.query.clone());
    (errors.len() == before).then_some(LogStoreSettings { account, name, endpoint, query, since })
}

/// The history that is read for what did not come.
#[derive(Debug, Clone)]
pub struct CatchUp {
    /// Whose it is, and with whose credential it is read.
    pub account: AccountName,
    /// Of which regions.
    pub regions: Vec<String>,
    /// Which it is.
    pub history: History,
}

/// Kinds that a cloud's history is read beside, and whose that is.
const WITH_HISTORY: [(SourceKind, Provider); 5] = [
    (SourceKind::AlibabaCloudmonitor, Provider::Alibaba),
    (SourceKind::AlibabaMns, Provider::Alibaba),
    (SourceKind::AlibabaSls, Provider::Alibaba),
    (SourceKind::TencentMonitor, Provider::Tencent),
    (SourceKind::TencentEventbridge, Provider::Tencent),
];

pub(super) fn catch_up(
    source: &Source<'_>,
    name: &str,
    kind: SourceKind,
    typed: &EventSource,
    accounts: &BTreeMap<AccountName, AccountSettings>,
    errors: &mut Vec<ConfigError>,
) -> Option<CatchUp> {
    let at = place!["sources", name, "catch-up"];
    if typed.catch_up.is_empty() {
        return None;
    }
    let Some((_, provider)) = WITH_HISTORY.into_iter().find(|(known, _)| *known == kind) else {
        let message = format!("there is no history for a source of kind `{kind}`");
        let known = WITH_HISTORY.map(|(kind, _)| format!("`{kind}`")).join(", ");
        errors.push(source.key_error(at, message, format!("leave it out; it is for {known}")));
        return None;
    };
    if let Some(wrong) = typed.catch_up.iter().find(|region| !is_region(region)) {
        errors.push(source.error(at, format!("`{wrong}` is not a region"), "write it as in `cn-hangzhou`"));
        return None;
    }
    let account = account_of(provider, source, place!["sources", name], typed, accounts, errors)?;
    let (account, regions) = (account.name.clone(), typed.catch_up.clone());
    Some(CatchUp { account, regions, history: History::of(provider) })
}

/// What a host name is made of, beside the region.
struct Named<'a> {
    /// The table it stands in.
    table: &'static str,
    key: &'static str,
    value: Option<&'a str>,
    of: fn(&str, &str) -> Result<Endpoint, EndpointError>,
}

/// The endpoint that is `given`, else what all calls of the account go to, else the one that is `named` in the region.
fn endpoint(
    source: &Source<'_>,
    name: &str,
    named: &Named<'_>,
    (given, region): (Option<&str>, Option<&str>),
    account: &AccountSettings,
    fix: &str,
    errors: &mut Vec<ConfigError>,
) -> Option<Endpoint> {
    let at = place!["sources", name, named.table];
    if let Some(text) = given {
        return parsed(source, &[at, place!["endpoint"]].concat(), Endpoint::parse(text), errors);
    }
    if let Some(endpoint) = &account.endpoint {
        return Some(endpoint.clone());
    }
    let Some(value) = named.value else {
        errors.push(source.missing(at, named.key, fix));
        return None;
    };
    let Some(known) = region.or(account.region.as_deref()) else {
        errors.push(source.missing(at, "region", "add `region = \"cn-hangzhou\"`"));
        return None;
    };
    let made = (named.of)(value, known);
    let wrong = if matches!(made, Err(EndpointError::InvalidRegion(_))) { "region" } else { named.key };
    parsed(source, &[at, place![wrong]].concat(), made, errors)
}

fn parsed(
    source: &Source<'_>,
    place: &[Step<'_>],
    endpoint: Result<Endpoint, EndpointError>,
    errors: &mut Vec<ConfigError>,
) -> Option<Endpoint> {
    endpoint.map_err(|error| errors.push(source.error(place, error.to_string(), ""))).ok()
}

/// The account whose credential the source is fetched with: one of Alibaba's.
fn account<'a>(
    source: &Source<'_>,
    at: &[Step<'_>],
    typed: &EventSource,
    accounts: &'a BTreeMap<AccountName, AccountSettings>,
    errors: &mut Vec<ConfigError>,
) -> Option<&'a AccountSettings> {
    account_of(Provider::Alibaba, source, at, typed, accounts, errors)
}

/// The account that the source names: one of this cloud. A name that no account has is told elsewhere.
fn account_of<'a>(
    provider: Provider,
    source: &Source<'_>,
    at: &[Step<'_>],
    typed: &EventSource,
    accounts: &'a BTreeMap<AccountName, AccountSettings>,
    errors: &mut Vec<ConfigError>,
) -> Option<&'a AccountSettings> {
    let Some(name) = &typed.account else {
        let fix = "add `account = \"...\"`, one of `[accounts]`: its credential fetches the events";
        errors.push(source.missing(at, "account", fix));
        return None;
    };
    let account = accounts.values().find(|account| account.name.as_str() == name)?;
    if account.provider != provider {
        let message = format!("`{}` is an account of another cloud than this kind of source", account.name);
        let fix = format!("name an account with `provider = \"{}\"`", provider.as_str());
        errors.push(source.error(&[at, place!["account"]].concat(), message, fix));
        return None;
    }
    Some(account)
}

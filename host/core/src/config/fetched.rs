//! Sources that the host fetches from: where, and with whose credential. Leaves what every source has to `sources`, and fetching to
//! the host. Tested in `super::tests::fetched`.

use super::finding::ConfigError;
use super::host::AccountSettings;
use super::source::{Source, Step, place};
use super::typed::{EventSource, Queue};
use crate::catalog::Provider;
use crate::endpoint::{Endpoint, EndpointError};
use crate::id::AccountName;
use std::collections::BTreeMap;

/// Longest name of a queue: the vendor's limit.
const QUEUE_NAME_BYTES_MAX: usize = 120;

/// A message queue that events are taken from.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// With whose credential.
    pub account: AccountName,
    /// Its name.
    pub name: String,
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
    Some(QueueSettings { account: account.name.clone(), name: queue.name.clone(), endpoint })
}

/// What the source names, else what all calls of the account go to, else the public host of the owner's queues.
fn queue_endpoint(
    source: &Source<'_>,
    name: &str,
    queue: &Queue,
    account: &AccountSettings,
    errors: &mut Vec<ConfigError>,
) -> Option<Endpoint> {
    let at = place!["sources", name, "queue"];
    if let Some(text) = &queue.endpoint {
        return parsed(source, place!["sources", name, "queue", "endpoint"], Endpoint::parse(text), errors);
    }
    if let Some(endpoint) = &account.endpoint {
        return Some(endpoint.clone());
    }
    let Some(owner) = &queue.owner else {
        let fix = "add `owner`, the number of the account that has the queue, or `endpoint` as the console shows it";
        errors.push(source.missing(at, "owner", fix));
        return None;
    };
    let Some(region) = queue.region.as_ref().or(account.region.as_ref()) else {
        errors.push(source.missing(at, "region", "add `region = \"cn-hangzhou\"`"));
        return None;
    };
    let place = if queue.region.is_some()
        && matches!(Endpoint::of_queues(owner, region), Err(EndpointError::InvalidRegion(_)))
    {
        place!["sources", name, "queue", "region"]
    } else {
        place!["sources", name, "queue", "owner"]
    };
    parsed(source, place, Endpoint::of_queues(owner, region), errors)
}

fn parsed(
    source: &Source<'_>,
    place: &[Step<'_>],
    endpoint: Result<Endpoint, EndpointError>,
    errors: &mut Vec<ConfigError>,
) -> Option<Endpoint> {
    endpoint.map_err(|error| errors.push(source.error(place, error.to_string(), ""))).ok()
}

/// The account whose credential the source is fetched with: one of Alibaba's. A name that no account has is told elsewhere.
fn account<'a>(
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
    if account.provider != Provider::Alibaba {
        let message = format!("`{}` is an account of another cloud than this kind of source", account.name);
        let fix = "name an account with `provider = \"alibaba\"`";
        errors.push(source.error(&[at, place!["account"]].concat(), message, fix));
        return None;
    }
    Some(account)
}

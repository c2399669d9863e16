//! `[sources.<name>]`, resolved: what a source sends, by which route, and what proves its sender. Leaves receiving to the host.
//! Tested in `super::tests`.

use super::fetched::{self, CatchUp, LogStoreSettings, QueueSettings};
use super::finding::ConfigError;
use super::host::{AccountSettings, find_account};
use super::log_file::{self, FileSettings};
use super::mapping;
use super::posted::{self, PostedSettings};
use super::source::{Source, did_you_mean, place};
use super::typed::EventSource;
use crate::endpoint::Endpoint;
use crate::event::{Mapping, Route, SourceKind};
use crate::id::{AccountName, SourceName};
use crate::secret::SecretRef;
use crate::sender::Trust;
use std::collections::BTreeMap;
use toml::de::DeValue;

/// One source of events.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// Its name.
    pub name: SourceName,
    /// What its senders send.
    pub kind: SourceKind,
    /// The account its events are about, and with whose credential the host fetches them where they are not posted.
    pub account: Option<AccountName>,
    /// How what it sends is read, where its kind is `generic`.
    pub map: Option<Mapping>,
    /// Where the cloud is asked for what did not come.
    pub catch_up: Option<CatchUp>,
    /// How its events come.
    pub comes: Comes,
}

/// How the events of a source come, with what that needs.
#[derive(Debug, Clone)]
pub enum Comes {
    /// Posted to `/hooks/<name>/<token>`.
    Posted(PostedSettings),
    /// Read from a log on this machine.
    File(FileSettings),
    /// Taken from a message queue.
    Queue(QueueSettings),
    /// Read from a cloud's log store.
    LogStore(LogStoreSettings),
}

impl SourceSettings {
    /// How far its events are believed at best, but for those that it catches up with.
    pub fn trust(&self) -> Trust {
        match &self.comes {
            Comes::Posted(posted) => posted.proof.trust(),
            Comes::Queue(_) => Trust::Proved,
            // Programs write there in the words of strangers.
            Comes::File(_) | Comes::LogStore(_) => Trust::Hint,
        }
    }

    /// Whether some of its events are proved, and others may be hints.
    pub fn is_mixed(&self) -> bool {
        match &self.comes {
            // A signature does not cover all that a delivery may have.
            Comes::Posted(_) => self.catch_up.is_some() || self.trust() == Trust::Proved,
            Comes::LogStore(_) => self.catch_up.is_some(),
            Comes::Queue(_) | Comes::File(_) => false,
        }
    }

    /// Where the host fetches its events.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match &self.comes {
            Comes::Posted(_) | Comes::File(_) => None,
            Comes::Queue(queue) => Some(&queue.endpoint),
            Comes::LogStore(store) => Some(&store.endpoint),
        }
    }

    /// Everything secret that it refers to, and what it is.
    pub fn secrets(&self) -> Vec<(&'static str, &SecretRef)> {
        match &self.comes {
            Comes::Posted(posted) => posted.secrets(),
            Comes::File(_) | Comes::Queue(_) | Comes::LogStore(_) => Vec::new(),
        }
    }
}

/// Source names that the host gives its own events.
const OWN_SOURCES: [&str; 2] = ["schedule", "manual"];

/// Where in the file the secrets of the source `name` may stand.
pub(super) fn secret_places(name: &str) -> Vec<Vec<String>> {
    posted::SECRET_PLACES
        .into_iter()
        .map(|keys| ["sources", name].iter().chain(keys).map(|&key| key.to_owned()).collect())
        .collect()
}

pub(super) fn resolve(
    source: &Source<'_>,
    name: &str,
    typed: EventSource,
    accounts: &BTreeMap<AccountName, AccountSettings>,
    errors: &mut Vec<ConfigError>,
) -> Option<SourceSettings> {
    let at = place!["sources", name];
    let parsed = name.parse::<SourceName>();
    match &parsed {
        Err(error) => errors.push(source.key_error(at, error.to_string(), "")),
        Ok(_) if OWN_SOURCES.contains(&name) => {
            let message = format!("`{name}` is the source of the host's own events");
            errors.push(source.key_error(at, message, "choose another name"));
        }
        Ok(_) => {}
    }
    let account = typed.account.as_deref().and_then(|account| {
        let place = place!["sources", name, "account"];
        find_account(source, place, account, &source.keys(place!["accounts"]), errors)
    });
    let Ok(kind) = typed.kind.parse::<SourceKind>() else {
        let known: Vec<&str> = SourceKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let message = format!("unknown kind of source `{}`", typed.kind);
        errors.push(source.error(
            place!["sources", name, "kind"],
            message,
            did_you_mean(&typed.kind, &known, "known kinds"),
        ));
        return None;
    };
    let account_name = typed.account.clone().unwrap_or_default();
    refuse_keys_of_others(source, name, kind, &typed, errors);
    let map = mapping::resolve(source, name, kind, typed.map.as_ref(), errors);
    let catch_up = fetched::catch_up(source, name, kind, &typed, accounts, errors);
    let comes = match kind.route() {
        Route::Posted => {
            let region = source.value(place!["accounts", &account_name, "region"]).and_then(DeValue::as_str);
            posted::resolve(source, name, typed, region, errors).map(Comes::Posted)
        }
        Route::File => log_file::resolve(source, name, typed, errors).map(Comes::File),
        Route::Queue => fetched::queue(source, name, &typed, accounts, errors).map(Comes::Queue),
        Route::LogStore => fetched::log_store(source, name, &typed, accounts, errors).map(Comes::LogStore),
    };
    Some(SourceSettings { name: parsed.ok()?, kind, account, map, catch_up, comes: comes? })
}

/// Refuses keys that another route has: what they ask for would not be done.
fn refuse_keys_of_others(
    source: &Source<'_>,
    name: &str,
    kind: SourceKind,
    typed: &EventSource,
    errors: &mut Vec<ConfigError>,
) {
    let keys = [
        ("token", Route::Posted, typed.token.is_some()),
        ("signature", Route::Posted, typed.signature.is_some()),
        ("basic-auth", Route::Posted, typed.basic_auth.is_some()),
        ("addresses", Route::Posted, typed.addresses.is_some()),
        ("rate", Route::Posted, typed.rate.is_some()),
        ("queue", Route::Queue, typed.queue.is_some()),
        ("log-store", Route::LogStore, typed.log_store.is_some()),
        ("file", Route::File, typed.file.is_some()),
    ];
    for (key, _, _) in keys.into_iter().filter(|(_, route, given)| *given && *route != kind.route()) {
        let message = format!("`{key}` is for another kind of source than `{kind}`");
        errors.push(source.key_error(place!["sources", name, key], message, "leave it out"));
    }
}

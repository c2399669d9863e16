//! What is known of each cloud action: its class, token field, resource parameters, read-back, error codes. Data in
//! `host/core/catalog/*.toml`, compiled in and read once. Leaves who may call an action to `grant`, and calling to the
//! host. Tested below (every entry), beside `codes`, `params` and `read_back`, and against the vendors' schemas in `tests/`.

mod codes;
mod entry;
mod events;
mod facts;
mod makes;
mod model;
mod params;
mod read_back;

pub use codes::{Code, Meaning, codes, meaning};
pub use entry::{Action, Paging, ParamsIn, Rate};
pub use events::ecs_events;
pub use facts::{Facts, FactsRead, FleetRead, ResourceFacts};
pub use makes::{Kind, Makes, kinds};
pub use params::{
    RegionConflict, is_resource_id, odd_name, other_regions, place_region, reserved, resources, values,
};
pub use read_back::{Baseline, Judgement, Proof, ReadBack, Sight, judge};

use entry::Service;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What repeating a call may do; decides what happens after an ambiguous result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Changes nothing: ask again.
    Read,
    /// The cloud takes an idempotency token: send again with the same token and parameters.
    Token,
    /// Repeating reaches the same state: read the state first, send again if the goal is unmet.
    Convergent,
    /// Must never be sent on a guess.
    Once,
}

impl Class {
    /// The class as it is shown and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Token => "token",
            Self::Convergent => "convergent",
            Self::Once => "once",
        }
    }
}

/// The vendors whose API is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Alibaba Cloud.
    Alibaba,
    /// Tencent Cloud.
    Tencent,
}

impl Provider {
    /// The vendor as the config file names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alibaba => "alibaba",
            Self::Tencent => "tencent",
        }
    }
}

/// What is known of an action; names are compared exactly.
pub fn find(provider: Provider, service: &str, action: &str) -> Option<&'static Action> {
    services_of(provider).get(service)?.actions.get(action)
}

/// The class of an action, known or not. An action without an entry is a read if its name says so, and `Once` otherwise.
pub fn class_of(provider: Provider, service: &str, action: &str) -> Class {
    match find(provider, service, action) {
        Some(known) => known.class,
        None if named_like_a_read(action) => Class::Read,
        None => Class::Once,
    }
}

/// Whether an action is granted for named resources only: class once, and what destroys something.
pub fn is_strict(provider: Provider, service: &str, action: &str) -> bool {
    class_of(provider, service, action) == Class::Once
        || find(provider, service, action).is_some_and(|known| known.destructive.is_some())
}

/// Whether an action answers with credentials, which must never enter a policy: no policy may call it. The token service
/// is closed but for what is known to be harmless, because new actions of its kind appear.
pub fn answers_with_credentials(provider: Provider, service: &str, action: &str) -> bool {
    match find(provider, service, action) {
        Some(known) => known.answers_with_credentials,
        None => service.eq_ignore_ascii_case("sts"),
    }
}

/// The API version of a service, such as `2014-05-26`; `None` where the service is unknown.
pub fn version_of(provider: Provider, service: &str) -> Option<&'static str> {
    services_of(provider).get(service).map(|known| known.version.as_str())
}

/// Whether the host has a client for what the service speaks. Of a service that is not known, nothing is said.
pub fn is_spoken(provider: Provider, service: &str) -> bool {
    services_of(provider).get(service).is_none_or(|known| known.params_in != ParamsIn::Rest)
}

/// How the facts of a service's resources are seen.
fn facts_of(provider: Provider, service: &str) -> &'static [facts::FactsRecipe] {
    services_of(provider).get(service).map(|known| known.facts.as_slice()).unwrap_or_default()
}

/// Whether a read shows the facts of any resource of a service.
pub fn shows_facts(provider: Provider, service: &str) -> bool {
    !facts_of(provider, service).is_empty()
}

/// All known vendors.
pub const PROVIDERS: [Provider; 2] = [Provider::Alibaba, Provider::Tencent];

/// All known services of a vendor, sorted.
pub fn services(provider: Provider) -> impl Iterator<Item = &'static str> {
    services_of(provider).keys().map(String::as_str)
}

/// All known actions of a service, sorted by name; none where the service is unknown.
pub fn actions(provider: Provider, service: &str) -> impl Iterator<Item = &'static Action> {
    services_of(provider).get(service).into_iter().flat_map(|known| known.actions.values())
}

/// Whether the name begins with a word that the vendors keep for reads.
pub fn named_like_a_read(action: &str) -> bool {
    READ_WORDS.iter().any(|word| {
        action.strip_prefix(word).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    })
}

/// The words that the name of a read begins with.
pub const READ_WORDS: [&str; 3] = ["Describe", "Get", "List"];

fn services_of(provider: Provider) -> &'static BTreeMap<String, Service> {
    static ALIBABA: LazyLock<BTreeMap<String, Service>> =
        LazyLock::new(|| load(Provider::Alibaba, include_str!("../catalog/alibaba.toml")));
    static TENCENT: LazyLock<BTreeMap<String, Service>> =
        LazyLock::new(|| load(Provider::Tencent, include_str!("../catalog/tencent.toml")));
    match provider {
        Provider::Alibaba => &ALIBABA,
        Provider::Tencent => &TENCENT,
    }
}

fn load(provider: Provider, text: &str) -> BTreeMap<String, Service> {
    entry::parse(provider, text).expect("the catalog is compiled in, and a test reads all of it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_whole_and_agrees_with_its_class() {
        let mut count = 0;
        for provider in PROVIDERS {
            for action in services(provider).flat_map(|service| actions(provider, service)) {
                let at = format!("{} {}:{}", provider.as_str(), action.service, action.name);
                count += 1;
                assert!(!action.source.is_empty(), "{at}: no source");
                assert_eq!(
                    action.class == Class::Token,
                    action.token_field.is_some(),
                    "{at}: token class and field"
                );
                assert_eq!(
                    action.params_in == ParamsIn::Rest,
                    action.rest.is_some(),
                    "{at}: method and path are those of a REST call"
                );
                let is_read = action.class == Class::Read;
                assert!(is_read || !named_like_a_read(&action.name), "{at}: named like a read");
                assert!(
                    !is_read
                        || named_like_a_read(&action.name)
                        || action.answers_with_credentials
                        || READS_BY_OTHER_NAMES.contains(&action.full_name().as_str()),
                    "{at}: reads are named like reads"
                );
                if action.class == Class::Once && !action.answers_with_credentials {
                    assert!(action.names_resources(), "{at}: class once is granted and locked by resource");
                }
                if action.destructive.is_some() {
                    assert!(
                        matches!(action.class, Class::Token | Class::Convergent),
                        "{at}: once is strict anyway"
                    );
                    assert!(action.names_resources(), "{at}: what is destructive is granted by resource");
                }
                assert!(is_read || action.paging.is_none(), "{at}: only a read has pages");
                let goal = action.read_back.as_ref().and_then(|read_back| read_back.goal.as_ref());
                assert!(
                    goal.is_none() || action.class == Class::Convergent,
                    "{at}: only a convergent action has a goal"
                );
                if let Some(read_back) = &action.read_back {
                    let is_judged_so = read_back.proof != Proof::default();
                    assert!(
                        !is_judged_so || action.class == Class::Once,
                        "{at}: only what must not be repeated needs a proof"
                    );
                    assert_eq!(class_of(provider, &action.service, &read_back.action), Class::Read, "{at}");
                }
            }
        }
        assert_eq!(count, 554, "the number of entries changed: adjust the count");
    }

    /// They look at messages and leave them where they are.
    const READS_BY_OTHER_NAMES: [&str; 2] = ["mns:PeekMessage", "mns:BatchPeekMessage"];

    #[test]
    fn a_rest_call_has_a_method_and_the_resources_that_its_path_names() {
        let methods = ["GET", "PUT", "POST", "DELETE"];
        for action in actions(Provider::Alibaba, "mns") {
            let rest = action.rest.as_deref().expect("REST");
            let (method, target) = rest.split_once(' ').expect("a method and a path");
            assert!(methods.contains(&method) && target.starts_with('/'), "{rest}");
            let named = target.split('{').skip(1).map(|rest| rest.split('}').next().expect("closed"));
            let resources: Vec<String> = action.resource_params().collect();
            assert_eq!(named.collect::<Vec<_>>(), resources, "{}", action.name);
            let is_get = method == "GET" && !action.name.contains("Receive");
            assert_eq!(action.class == Class::Read, is_get, "{}: receiving hides messages", action.name);
        }
    }

    #[test]
    fn only_what_the_host_has_a_client_for_is_spoken() {
        assert!(!is_spoken(Provider::Alibaba, "mns"));
        assert!(is_spoken(Provider::Alibaba, "ecs") && is_spoken(Provider::Tencent, "cvm"));
        assert!(is_spoken(Provider::Tencent, "mns"), "another vendor's");
    }

    #[test]
    fn classes_are_those_of_the_design() {
        let cases = [
            (Provider::Alibaba, "ecs", "DescribeDisks", Class::Read),
            (Provider::Alibaba, "ecs", "CreateSnapshot", Class::Token),
            (Provider::Alibaba, "ecs", "ReplaceSystemDisk", Class::Token),
            (Provider::Alibaba, "ecs", "RunInstances", Class::Token),
            (Provider::Alibaba, "ecs", "StartInstance", Class::Convergent),
            (Provider::Alibaba, "ecs", "RebootInstance", Class::Once),
            (Provider::Alibaba, "ecs", "DeleteSnapshot", Class::Once),
            (Provider::Tencent, "cvm", "ResetInstance", Class::Once),
            (Provider::Tencent, "cvm", "StopInstances", Class::Convergent),
            (Provider::Tencent, "cbs", "CreateSnapshot", Class::Once),
            (Provider::Alibaba, "mns", "ReceiveMessage", Class::Once),
            (Provider::Alibaba, "mns", "PeekMessage", Class::Read),
            (Provider::Alibaba, "mns", "SendMessage", Class::Once),
            // Without an entry.
            (Provider::Tencent, "cvm", "PurgeInstances", Class::Once),
            (Provider::Tencent, "vpc", "DescribeVpcs", Class::Read),
            (Provider::Tencent, "vpc", "Getaway", Class::Once),
            (Provider::Alibaba, "ecs", "describeDisks", Class::Once),
            (Provider::Alibaba, "slb", "ListenerDelete", Class::Once),
        ];
        for (provider, service, action, class) in cases {
            assert_eq!(class_of(provider, service, action), class, "{service}:{action}");
        }
    }

    #[test]
    fn the_token_service_is_closed_but_for_the_callers_identity() {
        for provider in PROVIDERS {
            assert!(!answers_with_credentials(provider, "sts", "GetCallerIdentity"));
            for action in ["AssumeRole", "GetFederationToken", "DescribeAnything"] {
                assert!(answers_with_credentials(provider, "sts", action), "{action}");
            }
        }
        assert!(!answers_with_credentials(Provider::Alibaba, "ecs", "DescribeDisks"));
    }

    #[test]
    fn versions_are_known_per_service() {
        assert_eq!(version_of(Provider::Alibaba, "ecs"), Some("2014-05-26"));
        assert_eq!(version_of(Provider::Tencent, "as"), Some("2018-04-19"));
        assert_eq!(version_of(Provider::Tencent, "ecs"), None);
    }
}

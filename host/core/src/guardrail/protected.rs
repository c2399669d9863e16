//! Resources that no policy may change, whatever it was granted: `[[protected]]` of `opsward.toml`. Pure: which calls name one.
//! In doubt a resource is protected: ids are compared without regard to case, and what cannot be seen cannot be cleared.
//! Leaves the reads to the broker, and what a call names to `catalog`. Tested below.

use crate::catalog::{self, Class, Facts};
use crate::grant::{Question, ResourceEntry, glob_matches};
use crate::id::AccountName;
use serde_json::Value;
use std::fmt;

/// Resources that no policy may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// Their ids, or what a read shows of them.
    pub resources: Vec<ResourceEntry>,
    /// The account they are in; any where absent.
    pub account: Option<AccountName>,
    /// The regions they are in; any where absent.
    pub regions: Option<Vec<String>>,
}

/// Why an effect is not made, whatever was granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untouchable {
    /// It names a protected resource.
    #[error("`{id}` is protected by `{by}` in `[[protected]]` of opsward.toml: no grant lifts that")]
    Protected {
        /// As the call names it.
        id: String,
        /// What protects it.
        by: String,
    },
    /// It may name one.
    #[error(
        "`[[protected]]` of opsward.toml protects `{by}`, and no read shows whether `{id}` is such a resource: protect by \
         id what this action may not touch, or restrict that entry by `account` or `region`"
    )]
    Unseen {
        /// As the call names it.
        id: String,
        /// What may protect it.
        by: String,
    },
}

impl Untouchable {
    /// The code that the policy sees.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Protected { .. } => "opsward.Protected",
            Self::Unseen { .. } => "opsward.ProtectionUnseen",
        }
    }
}

impl Protected {
    /// Whether a call changes something where these are. A call without a region may change something anywhere.
    fn is_where(&self, question: &Question<'_>) -> bool {
        let regions =
            || std::iter::once(question.region).chain(question.elsewhere.iter().map(String::as_str));
        let is_here = |region: &str| region.is_empty() || self.holds_in(region);
        regions().any(is_here)
    }

    fn holds_in(&self, region: &str) -> bool {
        self.regions.as_ref().is_none_or(|regions| regions.iter().any(|one| one.eq_ignore_ascii_case(region)))
    }
}

/// As it is typed, without the account.
impl fmt::Display for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resources: Vec<String> = self.resources.iter().map(ToString::to_string).collect();
        f.write_str(&resources.join(", "))?;
        match &self.regions {
            Some(regions) => write!(f, " in {}", regions.join(", ")),
            None => Ok(()),
        }
    }
}

/// The resources of an effect of which must be read what they are before `check` can clear it; none where it is refused without.
pub fn facts_wanted(protected: &[Protected], question: &Question<'_>, params: &Value) -> Vec<String> {
    let selects = |entry: &&ResourceEntry| matches!(entry, ResourceEntry::Where(_));
    let is_refused = check_ids(protected, question, params).is_err();
    match entries(protected, question).find(selects) {
        Some(_) if !is_refused => question.resources.to_vec(),
        _ => Vec::new(),
    }
}

/// Refuses an effect that names a protected resource, or one that may be. `facts` are what reads have shown.
pub fn check(
    protected: &[Protected],
    question: &Question<'_>,
    params: &Value,
    facts: &Facts,
) -> Result<(), Untouchable> {
    check_ids(protected, question, params)?;
    let selectors = entries(protected, question).filter_map(|entry| match entry {
        ResourceEntry::Where(selector) => Some((entry, selector)),
        ResourceEntry::Id(_) => None,
    });
    for (entry, selector) in selectors {
        for id in question.resources {
            match facts.get(id) {
                Some(shown) if !selector.holds_for(shown) => {}
                Some(_) => return Err(Untouchable::Protected { id: id.clone(), by: entry.to_string() }),
                None => return Err(Untouchable::Unseen { id: id.clone(), by: entry.to_string() }),
            }
        }
    }
    Ok(())
}

/// What protects resources where the effect is made; nothing protects from reads.
fn entries<'a>(
    protected: &'a [Protected],
    question: &'a Question<'_>,
) -> impl Iterator<Item = &'a ResourceEntry> {
    let is_effect = question.class != Class::Read;
    protected.iter().filter(move |one| is_effect && one.is_where(question)).flat_map(|one| &one.resources)
}

/// An id written out is found in any parameter, whether the catalog knows that it names a resource or not; a pattern could
/// match names and descriptions there, and is looked for among the resources only.
fn check_ids(protected: &[Protected], question: &Question<'_>, params: &Value) -> Result<(), Untouchable> {
    let values = catalog::values(params);
    for entry in entries(protected, question) {
        let ResourceEntry::Id(pattern) = entry else { continue };
        let wanted = pattern.to_ascii_lowercase();
        let is_meant = |id: &&String| glob_matches(&wanted, &id.to_ascii_lowercase());
        let named = question.resources.iter().find(is_meant);
        if let Some(id) = named.or_else(|| values.iter().find(|value| wanted.eq_ignore_ascii_case(value))) {
            return Err(Untouchable::Protected { id: id.clone(), by: pattern.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Provider, ResourceFacts};
    use crate::time::Timestamp;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn protected(text: &str) -> Vec<Protected> {
        let table: BTreeMap<String, Vec<ResourceEntry>> = toml::from_str(text).expect("entries");
        let regions = |name: &str| (name != "everywhere").then(|| vec![name.to_owned()]);
        let one = |(name, resources): (String, Vec<ResourceEntry>)| Protected {
            resources,
            account: None,
            regions: regions(&name),
        };
        table.into_iter().map(one).collect()
    }

    fn code(protected: &[Protected], action: &str, region: &str, params: &Value, facts: &Facts) -> String {
        let (service, action) = action.split_once(':').expect("service:Action");
        let resources = catalog::resources(Provider::Alibaba, service, action, params);
        let question = Question {
            provider: Provider::Alibaba,
            service,
            action,
            region,
            elsewhere: &catalog::other_regions(params),
            resources: &resources,
            class: catalog::class_of(Provider::Alibaba, service, action),
            now: Timestamp::from_seconds(0),
        };
        let wanted = facts_wanted(protected, &question, params);
        let shown = facts.iter().filter(|(id, _)| wanted.contains(id));
        let shown = shown.map(|(id, facts)| (id.clone(), facts.clone())).collect();
        match check(protected, &question, params, &shown) {
            Ok(()) => "passes".to_owned(),
            Err(error) => error.code().to_owned(),
        }
    }

    #[test]
    fn no_effect_names_a_protected_id_in_whatever_way_it_is_written() {
        const YES: &str = "opsward.Protected";
        let protected = protected("everywhere = ['i-prod1', 'd-prod-*']\ncn-beijing = ['i-bj']");
        let cases = [
            ("ecs:StopInstance", "cn-hangzhou", json!({ "InstanceId": "i-prod1" }), YES),
            ("ecs:StopInstance", "cn-hangzhou", json!({ "InstanceId": "I-PROD1" }), YES),
            ("ecs:StopInstance", "cn-hangzhou", json!({ "InstanceId": "i-prod12" }), "passes"),
            ("ecs:StopInstances", "cn-hangzhou", json!({ "InstanceId": ["i-1", "i-prod1"] }), YES),
            (
                "ecs:StopInstances",
                "cn-hangzhou",
                json!({ "InstanceId.1": "i-1", "InstanceId.2": "i-Prod1" }),
                YES,
            ),
            (
                "ecs:StopInstance",
                "cn-hangzhou",
                json!({ "InstanceId": "i-1", "Other": "[\"i-prod1\"]" }),
                YES,
            ),
            (
                "ecs:StopInstance",
                "cn-hangzhou",
                json!({ "InstanceId": "i-1", "Deep": { "Any": ["i-prod1"] } }),
                YES,
            ),
            ("ecs:CreateSnapshot", "cn-hangzhou", json!({ "DiskId": "d-prod-7" }), YES),
            (
                "ecs:CreateSnapshot",
                "cn-hangzhou",
                json!({ "DiskId": "d-1", "SnapshotName": "d-prod-7" }),
                "passes",
            ),
            ("ecs:DescribeInstances", "cn-hangzhou", json!({ "InstanceIds": "[\"i-prod1\"]" }), "passes"),
            ("slb:RemoveEverything", "cn-hangzhou", json!({ "Server": "i-prod1" }), YES),
            ("ecs:StopInstance", "cn-hangzhou", json!({ "InstanceId": "i-bj" }), "passes"),
            ("ecs:StopInstance", "cn-beijing", json!({ "InstanceId": "i-bj" }), YES),
            ("ecs:StopInstance", "", json!({ "InstanceId": "i-bj" }), YES),
            (
                "ecs:StopInstance",
                "cn-hangzhou",
                json!({ "InstanceId": "i-bj", "DestinationRegionId": "cn-beijing" }),
                YES,
            ),
        ];
        for (action, region, params, expected) in cases {
            assert_eq!(
                code(&protected, action, region, &params, &Facts::new()),
                expected,
                "{action} {region} {params}"
            );
        }
    }

    #[test]
    fn a_resource_is_cleared_only_where_a_read_shows_that_it_is_none_of_the_protected() {
        let protected = protected("everywhere = [{ tag = { env = 'prod' } }]");
        let tagged = |env: &str| ResourceFacts {
            tags: BTreeMap::from([("env".to_owned(), env.to_owned())]),
            ..ResourceFacts::default()
        };
        let facts = Facts::from([
            ("i-1".to_owned(), tagged("prod")),
            ("i-2".to_owned(), tagged("lab")),
            ("i-3".to_owned(), ResourceFacts::default()),
        ]);
        let cases = [
            (json!({ "InstanceId": ["i-2", "i-3"] }), "passes"),
            (json!({ "InstanceId": ["i-2", "i-1"] }), "opsward.Protected"),
            (json!({ "InstanceId": ["i-2", "i-9"] }), "opsward.ProtectionUnseen"),
            (json!({}), "passes"),
        ];
        for (params, expected) in cases {
            assert_eq!(code(&protected, "ecs:StopInstances", "r", &params, &facts), expected, "{params}");
        }
        let reads = json!({ "InstanceIds": "[\"i-1\"]" });
        assert_eq!(code(&protected, "ecs:DescribeInstances", "r", &reads, &facts), "passes", "a read");
    }
}

//! What an effect leaves for later reads to show, as data: what is new, changed or gone, and how a read lists such things. Leaves
//! showing it in a dry run to `overlay`. Tested below and by `overlay`.

use super::facts::FactsRecipe;
use super::read_back::{Proof, ReadBack};
use super::{Action, Class, Provider};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A kind of resource, as the read of it lists them.
#[derive(Debug, Clone)]
pub struct Kind {
    /// Its name in the catalog: `snapshot`.
    pub name: String,
    /// The read that lists them.
    pub action: String,
    /// The read's parameter that takes ids.
    pub(crate) ids: String,
    /// Where the answer's list is.
    pub(crate) items: Vec<String>,
    /// The item's field with its id.
    pub(crate) id: String,
    /// Where an item's tags are, and how a tag spells its key and its value.
    pub(crate) tags: Option<(Vec<String>, String, String)>,
    /// The item's field that another parameter of the read, or filter of that name, selects by.
    pub(crate) filters: BTreeMap<String, String>,
}

/// What an effect leaves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Makes {
    /// The kind of what is new.
    pub new: Option<String>,
    /// Where its id is in the effect's answer; `[]` where that has a list of them.
    pub id: Option<String>,
    /// How such ids begin.
    pub like: String,
    /// The parameter that says how many; one without it.
    pub count: Option<String>,
    /// The kind of what is changed; tags are changed of every kind.
    pub of: Option<String>,
    /// Whether that is gone.
    pub gone: bool,
    /// The item's fields. A text that begins with `$` is the value of the parameter of that name, or the present
    /// time as a vendor writes it (`$now`, `$now-minute`, `$now-china`), or the request that made it so (`$request`).
    pub item: BTreeMap<String, Value>,
    /// The parameter with tags that are set.
    pub tags: Option<String>,
    /// The parameter with keys of tags that are taken away.
    pub untags: Option<String>,
}

impl Makes {
    /// What the read-back recipe of an action says that it leads to.
    pub(super) fn of_read_back(kind: &str, action: &str, class: Class, read: &ReadBack) -> Option<Self> {
        let mut item = BTreeMap::new();
        let mut set = |field: &Option<String>, value: &str| {
            if let Some(field) = field {
                item.insert(field.clone(), Value::from(value));
            }
        };
        set(&read.operation_field, action);
        set(&read.operation_state_field, "SUCCESS");
        set(&read.operation_request_id_field, "$request");
        if let Some(goal) = &read.goal {
            set(&Some(read.state_field.clone()), goal);
        }
        let Proof { gone, started, state } = &read.proof;
        if *started {
            set(&read.started_field, "$now-minute");
        }
        // What an operation passes through shows in no settled state: the resource is as it was.
        let shows = *gone || state.is_some() || !item.is_empty();
        (shows && class != Class::Read).then(|| Self {
            of: Some(kind.to_owned()),
            gone: *gone,
            item,
            ..Self::default()
        })
    }
}

impl Makes {
    /// The same, with what a read-back recipe tells as well.
    pub(super) fn with(mut self, told: Self) -> Self {
        let mut item = told.item;
        item.append(&mut self.item);
        Self { of: self.of.or(told.of), gone: self.gone || told.gone, item, ..self }
    }

    /// Whether any later read shows it; otherwise only its answer is made up.
    pub fn shows(&self) -> bool {
        self.new.is_some() || self.of.is_some() || self.tags.is_some() || self.untags.is_some()
    }
}

impl fmt::Display for Makes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = || self.item.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match (&self.new, &self.of) {
            (Some(kind), _) => write!(f, "a new {kind}"),
            (None, Some(kind)) if self.gone => write!(f, "the {kind} is gone"),
            (None, Some(kind)) if self.item.is_empty() => write!(f, "the {kind} as it was"),
            (None, Some(kind)) => write!(f, "{} of the {kind}", fields()),
            (None, None) if self.shows() => f.write_str("tags"),
            (None, None) => f.write_str("nothing"),
        }
    }
}

/// The kinds of a service: what its read-backs and the facts of selectors tell of the same read.
pub(super) fn kinds_of<'r>(
    read_backs: impl Iterator<Item = (&'r String, Kind)>,
    facts: &BTreeMap<String, FactsRecipe>,
    filters: &BTreeMap<String, BTreeMap<String, String>>,
) -> Vec<Kind> {
    let mut kinds: BTreeMap<String, Kind> = read_backs.map(|(name, kind)| (name.clone(), kind)).collect();
    for (name, recipe) in facts {
        if let Some(kind) = recipe.kind(name) {
            let tags = kind.tags.clone();
            kinds.entry(name.clone()).or_insert(kind).tags = tags;
        }
    }
    let of_read = |kind: &Kind| filters.get(&kind.action).cloned().unwrap_or_default();
    kinds.into_values().map(|kind| Kind { filters: of_read(&kind), ..kind }).collect()
}

/// The kinds of a service that reads list.
pub fn kinds(provider: Provider, service: &str) -> &'static [Kind] {
    super::services_of(provider).get(service).map(|known| known.kinds.as_slice()).unwrap_or_default()
}

impl Action {
    /// Whether the vendor can be asked what it would say to this effect.
    pub fn can_dry_run(&self) -> bool {
        self.class != Class::Read && self.dry_run_field.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{PROVIDERS, actions, find, services};

    const PLACES: [&str; 4] = ["$now", "$now-minute", "$now-china", "$request"];

    #[test]
    fn what_effects_make_is_of_a_known_kind_and_has_its_id() {
        let mut told = 0;
        for provider in PROVIDERS {
            for service in services(provider) {
                let known = |name: &String| kinds(provider, service).iter().any(|kind| kind.name == *name);
                for action in actions(provider, service) {
                    let Some(makes) = &action.makes else { continue };
                    let at = action.full_name();
                    told += 1;
                    assert_ne!(action.class, Class::Read, "{at}: a read makes nothing");
                    assert!(makes.new.iter().chain(&makes.of).all(known), "{at}: no such kind");
                    assert!(makes.new.is_none() || makes.id.is_some(), "{at}: what is new has an id");
                    assert_eq!(makes.id.is_some(), !makes.like.is_empty(), "{at}: ids begin somehow");
                    assert!(makes.new.is_none() || makes.of.is_none(), "{at}: new or changed");
                    if makes.shows() && makes.new.is_none() {
                        assert!(action.names_resources(), "{at}: a change is one of named resources");
                    }
                    for value in makes.item.values().filter_map(Value::as_str) {
                        let place = value.strip_prefix('$');
                        let is_param = |name: &str| name.starts_with(|c: char| c.is_ascii_uppercase());
                        assert!(place.is_none_or(is_param) || PLACES.contains(&value), "{at}: {value}");
                    }
                }
            }
        }
        assert_eq!(told, 79, "the number of effects that show in a dry run changed: adjust the count");
    }

    #[test]
    fn a_recipe_says_what_its_effect_leads_to() {
        for (provider, action, said) in [
            (Provider::Alibaba, "ecs:StopInstance", Some("Status of the instance")),
            (Provider::Alibaba, "ecs:RebootInstance", Some("StartTime of the instance")),
            (Provider::Alibaba, "ecs:DeleteDisk", Some("the disk is gone")),
            (Provider::Alibaba, "ecs:ReInitDisk", Some("the disk as it was")),
            (Provider::Alibaba, "ecs:CreateSnapshot", Some("a new snapshot")),
            (Provider::Alibaba, "ecs:TagResources", Some("tags")),
            (Provider::Alibaba, "ecs:RunCommand", Some("nothing")),
            (Provider::Alibaba, "ecs:RenewInstance", None),
            (
                Provider::Tencent,
                "cvm:StopInstances",
                Some(
                    "InstanceState, LatestOperation, LatestOperationRequestId, LatestOperationState of the instance",
                ),
            ),
            (Provider::Tencent, "cvm:PurgeInstances", None),
        ] {
            let (service, name) = action.split_once(':').expect("service:Action");
            let makes = find(provider, service, name).and_then(|known| known.makes.as_ref());
            assert_eq!(makes.map(ToString::to_string).as_deref(), said, "{action}");
        }
    }
}

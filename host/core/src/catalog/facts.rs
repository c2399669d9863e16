//! What a grant's selectors are judged by: the read that shows a resource's name, tags, charge type and groups, as data of the
//! catalog. Leaves making the read to the broker and the judging to `grant`. Tested below.

use super::entry::{Action, keys};
use super::find;
use super::makes::Kind;
use super::read_back::{IdsForm, ids_value};
use crate::call::CallRequest;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Ids of one read: the shortest page that any of these reads answers with where none is asked for.
const READ_IDS_MAX: usize = 10;

/// What a fresh answer says of a resource. What it does not say, no selector finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResourceFacts {
    /// Its name.
    pub name: Option<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// How it is paid for, in the vendor's words.
    pub charge_type: Option<String>,
    /// The security groups and the resource group it is in.
    pub groups: Vec<String>,
}

/// What is known of resources, by id.
pub type Facts = BTreeMap<String, ResourceFacts>;

/// How to see the facts of one kind of resource.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct FactsRecipe {
    of: Vec<String>,
    /// The service of the read, where it is another than the action's.
    service: Option<String>,
    pub(super) action: String,
    ids: String,
    ids_form: IdsForm,
    /// Where the answer's list is: keys joined with dots, as all places are.
    items: String,
    id: String,
    name: String,
    tags: String,
    tag_key: String,
    tag_value: String,
    charge_type: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
}

impl FactsRecipe {
    /// The parameters whose ids the read takes.
    pub(super) fn of(&self) -> impl Iterator<Item = &str> {
        self.of.iter().map(String::as_str)
    }

    /// What it lists, where that is of the service itself.
    pub(super) fn kind(&self, name: &str) -> Option<Kind> {
        self.service.is_none().then(|| Kind {
            name: name.to_owned(),
            action: self.action.clone(),
            ids: self.ids.clone(),
            items: keys(&self.items),
            id: self.id.clone(),
            tags: Some((keys(&self.tags), self.tag_key.clone(), self.tag_value.clone())),
            filters: BTreeMap::new(),
        })
    }
}

/// One read of the facts of some resources.
#[derive(Debug, Clone)]
pub struct FactsRead {
    /// The read.
    pub request: CallRequest,
    recipe: &'static FactsRecipe,
}

impl FactsRead {
    /// What an answer's body says of the resources it lists; `None` where it is no such answer.
    pub fn facts(&self, body: &str) -> Option<Facts> {
        let recipe = self.recipe;
        let body: Value = serde_json::from_str(body).ok()?;
        let items = at(&body, &recipe.items)?.as_array()?;
        let facts = |item: &Value| {
            // A tag may be no more than its key.
            let value = |tag: &Value| text(tag, &recipe.tag_value).unwrap_or_default();
            let tag = |tag: &Value| Some((text(tag, &recipe.tag_key)?, value(tag)));
            let tags = at(item, &recipe.tags).and_then(Value::as_array);
            let facts = ResourceFacts {
                name: text(item, &recipe.name),
                tags: tags.into_iter().flatten().filter_map(tag).collect(),
                charge_type: recipe.charge_type.as_deref().and_then(|place| text(item, place)),
                groups: recipe.groups.iter().flat_map(|place| texts(item, place)).collect(),
            };
            Some((text(item, &recipe.id)?, facts))
        };
        Some(items.iter().filter_map(facts).collect())
    }
}

impl Action {
    /// Whether a read shows the facts of any resource that the action names.
    pub fn shows_facts(&self) -> bool {
        self.facts_recipes().next().is_some()
    }

    /// The reads that show the facts of resources that the action names, `service:Action`.
    pub fn facts_actions(&self) -> impl Iterator<Item = String> {
        self.facts_recipes().map(|recipe| {
            let service = recipe.service.as_deref().unwrap_or(&self.service);
            format!("{service}:{}", recipe.action)
        })
    }

    fn facts_recipes(&self) -> impl Iterator<Item = &'static FactsRecipe> {
        self.resource_paths.iter().filter_map(|path| self.recipe_of(path.last()?))
    }

    /// The reads that show the facts of those of `ids` that a call with `params` in `region` names in one sense only.
    pub fn facts_reads(&'static self, params: &Value, ids: &[String], region: &str) -> Vec<FactsRead> {
        let named = self.resources_by_param(params);
        let mut kinds: BTreeMap<&str, (&'static FactsRecipe, Vec<&str>)> = BTreeMap::new();
        for id in ids {
            let recipes = named.iter().filter(|(named, _)| named == id).map(|(_, by)| self.recipe_of(by));
            let mut recipes: Vec<_> = recipes.collect();
            recipes.dedup_by_key(|recipe| recipe.map(|recipe| &raw const *recipe));
            if let [Some(recipe)] = recipes.as_slice() {
                kinds.entry(recipe.ids.as_str()).or_insert((recipe, Vec::new())).1.push(id);
            }
        }
        let reads = |(recipe, ids): (&'static FactsRecipe, Vec<&str>)| {
            let read = |ids: &[&str]| FactsRead { request: self.facts_request(recipe, ids, region), recipe };
            ids.chunks(READ_IDS_MAX).map(read).collect::<Vec<_>>()
        };
        kinds.into_values().flat_map(reads).collect()
    }

    fn recipe_of(&self, param: &str) -> Option<&'static FactsRecipe> {
        let recipes = super::facts_of(self.provider, &self.service);
        recipes.iter().find(|recipe| recipe.of.iter().any(|of| of.eq_ignore_ascii_case(param)))
    }

    fn facts_request(&self, recipe: &FactsRecipe, ids: &[&str], region: &str) -> CallRequest {
        let service = recipe.service.as_deref().unwrap_or(&self.service);
        let mut params = Map::from_iter([(recipe.ids.clone(), ids_value(recipe.ids_form, ids))]);
        if let Some(field) =
            find(self.provider, service, &recipe.action).and_then(|read| read.region_field.clone())
        {
            params.insert(field, region.into());
        }
        CallRequest {
            service: service.to_owned(),
            action: recipe.action.clone(),
            region: region.to_owned(),
            params: Value::Object(params).to_string(),
            once: None,
        }
    }
}

fn at<'a>(value: &'a Value, place: &str) -> Option<&'a Value> {
    place.split('.').try_fold(value, |value, key| value.get(key))
}

fn text(value: &Value, place: &str) -> Option<String> {
    at(value, place).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn texts(value: &Value, place: &str) -> Vec<String> {
    match at(value, place) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => text(value, place).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{PROVIDERS, Provider, actions, services};
    use serde_json::json;

    fn reads(provider: Provider, action: &str, params: &Value, ids: &[&str]) -> Vec<FactsRead> {
        let (service, action) = action.split_once(':').expect("service:Action");
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        find(provider, service, action).expect("known").facts_reads(params, &ids, "r-1")
    }

    #[test]
    fn each_kind_of_resource_is_read_by_its_own_action() {
        let params = json!({ "InstanceId": "i-1", "DiskId": "d-1" });
        let made = reads(Provider::Alibaba, "ecs:DetachDisk", &params, &["i-1", "d-1"]);
        let shown: Vec<_> =
            made.iter().map(|read| (read.request.action.as_str(), read.request.params.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("DescribeDisks", r#"{"DiskIds":"[\"d-1\"]","RegionId":"r-1"}"#),
                ("DescribeInstances", r#"{"InstanceIds":"[\"i-1\"]","RegionId":"r-1"}"#),
            ]
        );
        let params = json!({ "InstanceIds": ["ins-1"] });
        let made = reads(Provider::Tencent, "as:RemoveInstances", &params, &["ins-1"]);
        assert_eq!((made[0].request.service.as_str(), made.len()), ("cvm", 1));
        assert_eq!(made[0].request.params, r#"{"InstanceIds":["ins-1"]}"#);
    }

    #[test]
    fn no_read_asks_for_more_than_its_shortest_page_holds() {
        let ids: Vec<String> = (0..25).map(|nth| format!("ins-{nth}")).collect();
        let params = json!({ "InstanceIds": ids });
        let action = find(Provider::Tencent, "cvm", "StopInstances").expect("known");
        assert_eq!(action.facts_reads(&params, &ids, "r").len(), 3);
    }

    #[test]
    fn what_is_named_in_two_senses_or_in_none_is_not_read() {
        let both = json!({ "InstanceId": "x-1", "DiskId": "x-1" });
        assert!(reads(Provider::Alibaba, "ecs:DetachDisk", &both, &["x-1"]).is_empty());
        let group = json!({ "ScalingGroupId": "asg-1" });
        assert!(reads(Provider::Alibaba, "ess:RemoveInstances", &group, &["asg-1", "i-9"]).is_empty());
    }

    #[test]
    fn an_answer_tells_what_each_listed_resource_is() {
        let params = json!({ "InstanceId": "i-1" });
        let read = reads(Provider::Alibaba, "ecs:StopInstance", &params, &["i-1"]).remove(0);
        let body = json!({ "Instances": { "Instance": [
            { "InstanceId": "i-1", "InstanceName": "web-1", "InstanceChargeType": "PostPaid", "ResourceGroupId": "rg-1",
              "SecurityGroupIds": { "SecurityGroupId": ["sg-1", "sg-2"] },
              "Tags": { "Tag": [{ "TagKey": "env", "TagValue": "lab" }, { "TagKey": "keep", "TagValue": "" }] } },
            { "InstanceId": "i-2", "ResourceGroupId": "" },
        ] } });
        let facts = read.facts(&body.to_string()).expect("an answer");
        let first = ResourceFacts {
            name: Some("web-1".into()),
            tags: BTreeMap::from([("env".into(), "lab".into()), ("keep".into(), String::new())]),
            charge_type: Some("PostPaid".into()),
            groups: vec!["sg-1".into(), "sg-2".into(), "rg-1".into()],
        };
        assert_eq!(facts["i-1"], first);
        assert_eq!(facts["i-2"], ResourceFacts::default());
        for odd in ["", "{}", "{\"Instances\":{\"Instance\":", "[]"] {
            assert_eq!(read.facts(odd), None, "{odd}");
        }
    }

    #[test]
    fn every_recipe_is_a_known_read_and_of_use() {
        for provider in PROVIDERS {
            for service in services(provider) {
                for recipe in super::super::facts_of(provider, service) {
                    let read_of = recipe.service.as_deref().unwrap_or(service);
                    let read = find(provider, read_of, &recipe.action).expect("a known read");
                    let at = format!("{service} {}", recipe.ids);
                    assert_eq!(read.class, crate::catalog::Class::Read, "{at}");
                    assert!(read.resource_params().any(|param| param == recipe.ids), "{at}");
                    let used = |param: String| recipe.of.iter().any(|of| param.ends_with(of.as_str()));
                    assert!(actions(provider, service).any(|a| a.resource_params().any(used)), "{at}");
                }
            }
        }
    }
}

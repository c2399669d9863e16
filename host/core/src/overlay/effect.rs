//! One simulated effect: what it makes, changes or takes away, as the catalog's `makes` says. Leaves lists of such things to
//! `listing`. Tested in `tests.rs`.

use super::Simulated;
use super::reply::ids_at;
use crate::catalog::{self, Kind, Makes, Provider};
use crate::run::parse_params;
use crate::time::Timestamp;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// A simulated effect that later reads show.
#[derive(Debug)]
pub(super) struct Effect<'o> {
    of: &'o Simulated,
    makes: &'static Makes,
    params: Map<String, Value>,
    /// The resources it names.
    named: Vec<String>,
}

impl<'o> Effect<'o> {
    /// `None` where the catalog does not say what it leaves.
    pub(super) fn of(provider: Provider, of: &'o Simulated) -> Option<Self> {
        let action = catalog::find(provider, &of.request.service, &of.request.action)?;
        let makes = action.makes.as_ref()?;
        let params = parse_params(&of.request.params).ok()?;
        let named = action.resources(&Value::Object(params.clone()));
        Some(Self { of, makes, params, named })
    }

    /// The ids that its answer has made up.
    pub(super) fn ids(&self) -> Vec<String> {
        self.makes.id.as_ref().map(|place| ids_at(place, &self.of.response.body)).unwrap_or_default()
    }

    /// What it makes of `kind`, each with its id.
    pub(super) fn new_items(&self, kind: &Kind) -> Vec<(String, Value)> {
        if self.makes.new.as_ref() != Some(&kind.name) {
            return Vec::new();
        }
        let item = |id: String| {
            let mut item = json!({ kind.id.as_str(): id });
            self.set_fields(&mut item);
            self.set_tags(kind, &mut item);
            (id, item)
        };
        self.ids().into_iter().map(item).collect()
    }

    /// Changes the item of `kind` with this id, if it is about that one. Whether it is still there.
    pub(super) fn touch(&self, kind: &Kind, id: &str, item: &mut Value) -> bool {
        let Makes { new, of, gone, .. } = self.makes;
        if new.is_some() || !self.named.iter().any(|named| named == id) {
            return true;
        }
        match of {
            Some(of) if *of != kind.name => true,
            Some(_) if *gone => false,
            Some(_) => {
                self.set_fields(item);
                true
            }
            None => {
                self.set_tags(kind, item);
                true
            }
        }
    }

    fn set_fields(&self, item: &mut Value) {
        for (field, template) in &self.makes.item {
            if let (Some(value), Some(item)) = (self.filled(template), item.as_object_mut()) {
                item.insert(field.clone(), value);
            }
        }
    }

    /// A field's value; `None` where it is a parameter's, and that is not there.
    fn filled(&self, template: &Value) -> Option<Value> {
        match template {
            Value::String(text) => match text.strip_prefix('$') {
                None => Some(template.clone()),
                Some("now") => Some(self.of.at.to_iso_seconds().into()),
                Some("now-minute") => Some(minute(self.of.at).into()),
                Some("now-china") => Some(in_china(self.of.at).into()),
                Some("request") => Some(self.of.response.request_id.clone().into()),
                Some(name) => self.param(name).cloned(),
            },
            Value::Array(items) => Some(items.iter().filter_map(|item| self.filled(item)).collect()),
            Value::Object(members) => {
                let filled =
                    members.iter().filter_map(|(name, member)| Some((name.clone(), self.filled(member)?)));
                Some(Value::Object(filled.collect()))
            }
            other => Some(other.clone()),
        }
    }

    /// A parameter, as a member or under its flattened name.
    fn param(&self, name: &str) -> Option<&Value> {
        let mut names = name.split('.');
        let nested = || {
            let first = self.params.get(names.next()?)?;
            names.try_fold(first, |value, name| value.get(name))
        };
        self.params.get(name).or_else(nested)
    }

    fn set_tags(&self, kind: &Kind, item: &mut Value) {
        let Some((place, key_field, value_field)) = &kind.tags else { return };
        let Makes { tags, untags, .. } = self.makes;
        let set: Vec<(&str, &str)> = tags.iter().flat_map(|param| self.tags_in(param)).collect();
        let keys = untags.iter().filter_map(|param| self.params.get(param)).filter_map(Value::as_array);
        let taken: Vec<&str> = keys.flatten().filter_map(Value::as_str).collect();
        if set.is_empty() && taken.is_empty() {
            return;
        }
        let Some(list) = list_at(item, place) else { return };
        list.retain(|tag| {
            let key = tag.get(key_field).and_then(Value::as_str).unwrap_or_default();
            !taken.contains(&key) && set.iter().all(|(set, _)| *set != key)
        });
        list.extend(
            set.iter().map(|(key, value)| json!({ key_field.as_str(): key, value_field.as_str(): value })),
        );
    }

    /// The tags in a parameter: a list of keys and values, or one of lists of them.
    fn tags_in(&self, param: &str) -> Vec<(&str, &str)> {
        let (name, below) = param.split_once('.').map_or((param, None), |(name, below)| (name, Some(below)));
        let list = self.params.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let lists = list.iter().flat_map(|entry| match below {
            Some(below) => entry.get(below).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default(),
            None => std::slice::from_ref(entry),
        });
        lists.filter_map(pair).collect()
    }
}

fn pair(tag: &Value) -> Option<(&str, &str)> {
    let text = |field: &str| tag.get(field).and_then(Value::as_str);
    Some((text("Key")?, text("Value").unwrap_or_default()))
}

/// The value at a place of an answer.
pub(super) fn within<'v>(value: &'v Value, place: &[&str]) -> Option<&'v Value> {
    place.iter().try_fold(value, |value, key| value.get(key))
}

/// The list at a place of an answer, made where nothing is there; `None` where something else is.
pub(super) fn list_at<'v>(value: &'v mut Value, place: &[String]) -> Option<&'v mut Vec<Value>> {
    let mut at = value;
    for key in place {
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        at = at.as_object_mut()?.entry(key.clone()).or_insert(Value::Null);
    }
    if at.is_null() {
        *at = Value::Array(Vec::new());
    }
    at.as_array_mut()
}

/// `2026-01-05T02:07Z`: how ECS writes when an instance was started.
fn minute(at: Timestamp) -> String {
    let text = at.to_iso_seconds();
    format!("{}Z", &text[..text.len() - ":00Z".len()])
}

/// `2026-01-05 10:07:30`: how Tencent writes the time of a disk, in China's zone.
fn in_china(at: Timestamp) -> String {
    /// China is eight hours ahead of UTC, all the year.
    const AHEAD: Duration = Duration::from_secs(8 * 3600);
    (at + AHEAD).to_iso_seconds().replace('T', " ").replace('Z', "")
}

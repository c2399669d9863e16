//! The answer of a read that lists resources, with simulated effects in it: what is gone is left out, what is changed shows it,
//! what is new is on the first page wherever the read's parameters let it through. What the real answer does not list is not
//! known, so that a change never brings a real resource into a list. Tested in `tests.rs`.

use super::effect::{Effect, list_at, within};
use crate::catalog::Kind;
use serde_json::{Map, Value, json};

/// Parameters that leave open what is listed.
const NEUTRAL: [&str; 10] = [
    "RegionId",
    "PageNumber",
    "PageSize",
    "MaxResults",
    "NextToken",
    "Offset",
    "Limit",
    "Order",
    "OrderField",
    "AdditionalAttributes",
];
/// Where both vendors say how many there are.
const TOTAL: &str = "TotalCount";

/// Puts `effects` into `answer`, of a read with `params` of `kind`. Whether anything changed.
pub(super) fn patch(
    kind: &Kind,
    effects: &[Effect<'_>],
    params: &Map<String, Value>,
    answer: &mut Value,
) -> bool {
    let Some(items) = list_at(answer, &kind.items) else { return false };
    let mut changed = false;
    let listed = items.len();
    items.retain_mut(|item| {
        let Some(id) = item.get(&kind.id).and_then(Value::as_str).map(str::to_owned) else { return true };
        let before = item.clone();
        let stays = effects.iter().all(|effect| effect.touch(kind, &id, item));
        changed |= !stays || *item != before;
        stays && !is_filtered_out(kind, params, &before, item)
    });
    let gone = listed - items.len();
    let new = new_items(kind, effects).into_iter().filter(|item| is_let_through(kind, params, item));
    let new: Vec<Value> = new.collect();
    let made = new.len();
    if is_first_page(params) {
        items.splice(0..0, new);
    }
    if let Some(total) = answer.get(TOTAL).and_then(Value::as_u64) {
        answer[TOTAL] = (total + made as u64).saturating_sub(gone as u64).into();
    }
    changed || gone > 0 || made > 0
}

/// What effects have made and later ones left.
fn new_items(kind: &Kind, effects: &[Effect<'_>]) -> Vec<Value> {
    let mut found = Vec::new();
    for (at, effect) in effects.iter().enumerate() {
        for (id, mut item) in effect.new_items(kind) {
            if effects[at + 1..].iter().all(|later| later.touch(kind, &id, &mut item)) {
                found.push(item);
            }
        }
    }
    found
}

fn is_first_page(params: &Map<String, Value>) -> bool {
    let says = |name: &str, first: u64| {
        params.get(name).is_none_or(|value| {
            value.as_u64().or_else(|| value.as_str()?.parse().ok()).is_none_or(|number| number == first)
        })
    };
    let is_later = params.get("NextToken").and_then(Value::as_str).is_some_and(|token| !token.is_empty());
    !is_later && says("PageNumber", 1) && says("Offset", 0)
}

/// Whether a new item is one of those that the read asks for; not where that cannot be told.
fn is_let_through(kind: &Kind, params: &Map<String, Value>, item: &Value) -> bool {
    selectors(kind, params).into_iter().all(|selector| match selector {
        Some(selector) => selector.lets_through(kind, item),
        None => false,
    })
}

/// Whether a change took an item out of what the read asks for.
fn is_filtered_out(kind: &Kind, params: &Map<String, Value>, before: &Value, after: &Value) -> bool {
    before != after
        && selectors(kind, params).into_iter().flatten().any(|selector| {
            selector.sees_a_change(kind, before, after) && !selector.lets_through(kind, after)
        })
}

/// What a read selects by.
enum Selector<'p> {
    /// One of these values in a field.
    Field(&'p str, Vec<String>),
    /// A tag; with any value where none is given.
    Tag(&'p str, Vec<String>),
}

impl Selector<'_> {
    fn lets_through(&self, kind: &Kind, item: &Value) -> bool {
        match self {
            Self::Field(field, wanted) => {
                let shown = field_of(item, field);
                wanted.iter().any(|wanted| {
                    wanted.eq_ignore_ascii_case("all") || shown.as_deref() == Some(wanted.as_str())
                })
            }
            Self::Tag(key, wanted) => {
                tag_of(kind, item, key).is_some_and(|value| wanted.is_empty() || wanted.contains(&value))
            }
        }
    }

    fn sees_a_change(&self, kind: &Kind, before: &Value, after: &Value) -> bool {
        match self {
            Self::Field(field, _) => field_of(before, field) != field_of(after, field),
            Self::Tag(key, _) => tag_of(kind, before, key) != tag_of(kind, after, key),
        }
    }
}

/// The selectors in a read's parameters; `None` for what is not known to be one.
fn selectors<'p>(kind: &'p Kind, params: &'p Map<String, Value>) -> Vec<Option<Selector<'p>>> {
    let mut found = Vec::new();
    for (name, value) in params.iter().filter(|(name, _)| !NEUTRAL.contains(&name.as_str())) {
        let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
        match name.as_str() {
            name if name == kind.ids => found.push(Some(Selector::Field(&kind.id, ids_in(value)))),
            "Filters" => found.extend(entries.iter().map(|entry| {
                let name = entry.get("Name")?.as_str()?;
                let values = ids_in(entry.get("Values")?);
                match name.strip_prefix("tag:") {
                    Some(key) => Some(Selector::Tag(key, values)),
                    None => Some(Selector::Field(kind.filters.get(name)?, values)),
                }
            })),
            "Tag" => found.extend(entries.iter().map(|entry| {
                let value = entry.get("Value").and_then(Value::as_str).filter(|value| !value.is_empty());
                let values = value.map(str::to_owned).into_iter().collect();
                Some(Selector::Tag(entry.get("Key")?.as_str()?, values))
            })),
            // Names may hold wildcards, which the vendors read in their own ways.
            name => found.push(kind.filters.get(name).and_then(|field| {
                let values = ids_in(value);
                let is_plain = values.iter().all(|value| !value.contains('*'));
                is_plain.then_some(Selector::Field(field, values))
            })),
        }
    }
    found
}

fn field_of(item: &Value, field: &str) -> Option<String> {
    let value = within(item, &field.split('.').collect::<Vec<_>>())?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn tag_of(kind: &Kind, item: &Value, key: &str) -> Option<String> {
    let (place, key_field, value_field) = kind.tags.as_ref()?;
    let tags = within(item, &place.iter().map(String::as_str).collect::<Vec<_>>())?.as_array()?;
    let is_it = |tag: &&Value| tag.get(key_field).and_then(Value::as_str) == Some(key);
    tags.iter().find(is_it)?.get(value_field)?.as_str().map(str::to_owned)
}

/// The ids in a value: a list, the text of a JSON list, or a text with commas.
pub(super) fn ids_in(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        Value::String(listed) => match serde_json::from_str::<Vec<Value>>(listed) {
            Ok(items) => items.iter().map(text).collect(),
            Err(_) => listed.split(',').map(|id| id.trim().to_owned()).collect(),
        },
        other => vec![text(other)],
    }
}

/// `ids` in the form that `value` has.
pub(super) fn like(value: &Value, ids: &[&String]) -> Value {
    match value {
        Value::String(listed) if listed.trim_start().starts_with('[') => json!(ids).to_string().into(),
        Value::String(_) => ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(",").into(),
        _ => json!(ids),
    }
}

/// An answer that lists nothing.
pub(super) fn empty(kind: &Kind) -> String {
    let mut answer = json!({ TOTAL: 0, "RequestId": "dryrun" });
    list_at(&mut answer, &kind.items).expect("nothing is in its place");
    answer.to_string()
}

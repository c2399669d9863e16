//! What a vendor's SDK model says of an action's parameters: their names, their types, and which must be there. A parameter that
//! the vendor does not know may be ignored, and a filter with it; so a call with one is not made. Data in
//! `host/core/catalog/params.txt`, compiled in and read once; actions without a line there are not checked. Leaves the one
//! form of parameters to `admit`. Tested below.

use super::Provider;
use super::entry::Action;
use crate::call::SECRET_KEY;
use crate::suggest::nearest;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// Parameters that are not those of the vendor's model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// No such parameter.
    #[error("{action} has no parameter `{name}`{}", nearest.as_ref().map(|n| format!(": did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// `service:Action`.
        action: String,
        /// As given.
        name: String,
        /// The nearest one that it has.
        nearest: Option<String>,
    },
    /// A value of another type.
    #[error("`{name}` takes {expected}, not {found}")]
    Type {
        /// The parameter.
        name: String,
        /// What it takes.
        expected: &'static str,
        /// What was given.
        found: &'static str,
    },
    /// A parameter is missing.
    #[error("{action} needs the parameter `{name}`")]
    Missing {
        /// `service:Action`.
        action: String,
        /// The parameter.
        name: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
}

#[derive(Debug, Default)]
struct Model {
    /// By path: `Tag[].Key`.
    kinds: BTreeMap<&'static str, Kind>,
    required: Vec<&'static str>,
}

impl Action {
    /// Holds `params`, in canonical form, against the vendor's model, where there is one.
    ///
    /// # Errors
    /// The first parameter that does not fit.
    pub fn check_params(&self, params: &Map<String, Value>) -> Result<(), Mismatch> {
        let key = (self.provider, self.full_name());
        let Some(model) = models().get(&key) else { return Ok(()) };
        let head = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let is_given =
            |name: &str| params.iter().any(|(given, value)| head(given) == name && !value.is_null());
        if let Some(name) = model.required.iter().find(|name| !is_given(name)) {
            return Err(Mismatch::Missing { action: key.1, name: (*name).to_owned() });
        }
        params.iter().try_for_each(|(name, value)| self.check(model, &path("", name), value))
    }

    fn check(&self, model: &Model, at: &str, value: &Value) -> Result<(), Mismatch> {
        let kind = model.kinds.get(at).copied();
        match (value, kind) {
            (Value::Null, _) => Ok(()),
            // A reference to a secret is a text by the time it is sent.
            (Value::Object(members), Some(Kind::Text)) if members.contains_key(SECRET_KEY) => Ok(()),
            (Value::Object(members), None) if model.has_below(at, '.') => {
                members.iter().try_for_each(|(name, value)| self.check(model, &path(at, name), value))
            }
            (Value::Array(items), None) if model.has_below(at, '[') => {
                items.iter().try_for_each(|item| self.check(model, &format!("{at}[]"), item))
            }
            // Alibaba takes a list of one without its number.
            (_, None)
                if self.provider == Provider::Alibaba
                    && !value.is_object()
                    && model.kinds.contains_key(format!("{at}[]").as_str()) =>
            {
                self.check(model, &format!("{at}[]"), value)
            }
            (_, Some(kind)) if kind.takes(value, self.provider) => Ok(()),
            (_, kind) => Err(self.mismatch(model, at, value, kind)),
        }
    }

    fn mismatch(&self, model: &Model, at: &str, value: &Value, kind: Option<Kind>) -> Mismatch {
        let name = at.replace("[]", "");
        let expected = match kind {
            Some(kind) => kind.shown(value, self.provider),
            None if model.has_below(at, '[') => "a list",
            None if model.has_below(at, '.') => "an object",
            None => {
                let known =
                    model.kinds.keys().map(|known| known.split(['.', '[']).next().unwrap_or_default());
                let nearest = nearest(&name, known).map(str::to_owned);
                return Mismatch::Unknown { action: self.full_name(), name, nearest };
            }
        };
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "this number",
            Value::String(_) => "this text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        Mismatch::Type { name, expected, found }
    }
}

impl Model {
    /// Whether there are parameters below this path: members of an object, or elements of a list.
    fn has_below(&self, at: &str, step: char) -> bool {
        let beginning = format!("{at}{step}");
        self.kinds.range(beginning.as_str()..).next().is_some_and(|(known, _)| known.starts_with(&beginning))
    }
}

impl Kind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "string" => Self::Text,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    /// Alibaba's parameters are all sent as texts, so that a number or a truth may be written as either.
    fn takes(self, value: &Value, provider: Provider) -> bool {
        let text = value.as_str().filter(|_| provider == Provider::Alibaba);
        match self {
            Self::Text if provider == Provider::Alibaba => !value.is_array() && !value.is_object(),
            Self::Text => value.is_string(),
            Self::Integer => {
                value.is_i64() || value.is_u64() || text.is_some_and(|t| t.parse::<i64>().is_ok())
            }
            Self::Number => {
                value.is_number() || text.is_some_and(|t| t.parse::<f64>().is_ok_and(f64::is_finite))
            }
            Self::Boolean => {
                value.is_boolean()
                    || text.is_some_and(|t| ["true", "false"].iter().any(|b| t.eq_ignore_ascii_case(b)))
            }
        }
    }

    fn shown(self, given: &Value, provider: Provider) -> &'static str {
        match self {
            Self::Text if provider == Provider::Alibaba && given.is_array() => {
                "a text that holds a JSON list"
            }
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
        }
    }
}

/// The path of the member `name` of what is at `at`; Alibaba's may be written as `Tag.1.Key`.
fn path(at: &str, name: &str) -> String {
    let mut path = at.to_owned();
    for part in name.split('.') {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            path.push_str("[]");
        } else {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(part);
        }
    }
    path
}

fn models() -> &'static HashMap<(Provider, String), Model> {
    static MODELS: LazyLock<HashMap<(Provider, String), Model>> = LazyLock::new(|| {
        let lines = include_str!("../../catalog/params.txt").lines().filter(|line| !line.starts_with('#'));
        let models = lines.map(|line| parse(line).ok_or(line)).collect::<Result<_, _>>();
        models.expect("the models are compiled in, and a test reads all of them")
    });
    &MODELS
}

fn parse(line: &'static str) -> Option<((Provider, String), Model)> {
    let (params, required) = line.split_once(" ! ").unwrap_or((line, ""));
    let mut words = params.split(' ');
    let vendor = words.next()?;
    let provider = super::PROVIDERS.into_iter().find(|provider| provider.as_str() == vendor)?;
    let action = words.next()?.to_owned();
    let kinds = words.map(|word| word.split_once(':').and_then(|(path, kind)| Some((path, Kind::of(kind)?))));
    let required = required.split(' ').filter(|name| !name.is_empty()).collect();
    Some(((provider, action), Model { kinds: kinds.collect::<Option<_>>()?, required }))
}

#[cfg(test)]
mod tests {
    use super::super::find;
    use super::*;
    use serde_json::json;

    fn check(provider: Provider, action: &str, params: &Value) -> Result<(), String> {
        let (service, name) = action.split_once(':').expect("service:Action");
        let action = find(provider, service, name).expect("in the catalog");
        action.check_params(params.as_object().expect("an object")).map_err(|mismatch| mismatch.to_string())
    }

    #[test]
    fn every_line_is_read_and_is_about_a_known_action() {
        assert_eq!(models().len(), 70);
        for (provider, action) in models().keys() {
            let (service, name) = action.split_once(':').expect("service:Action");
            assert!(find(*provider, service, name).is_some(), "{action}");
        }
    }

    #[test]
    fn parameters_are_held_against_the_vendors_model() {
        use Provider::{Alibaba, Tencent};
        let ok = Ok(());
        let wrong = |message: &str| Err(message.to_owned());
        for (provider, action, params, expected) in [
            (Alibaba, "ecs:CreateSnapshot", json!({ "DiskId": "d-1", "RetentionDays": 7 }), ok.clone()),
            (Alibaba, "ecs:CreateSnapshot", json!({ "DiskId": "d-1", "RetentionDays": "7" }), ok.clone()),
            (
                Alibaba,
                "ecs:CreateSnapshot",
                json!({ "DiskId": "d-1", "RetentionDays": "a week" }),
                wrong("`RetentionDays` takes a whole number, not this text"),
            ),
            (
                Alibaba,
                "ecs:CreateSnapshot",
                json!({ "DiskId": "d-1", "Tag": [{ "Key": "a", "Value": "b" }], "Tag.1.Key": "a" }),
                ok.clone(),
            ),
            (
                Alibaba,
                "ecs:CreateSnapshot",
                json!({ "DiskId": "d-1", "Tag": [{ "Ky": "a" }] }),
                wrong("ecs:CreateSnapshot has no parameter `Tag.Ky`"),
            ),
            (
                Alibaba,
                "ecs:CreateSnapshot",
                json!({ "DiskId": "d-1", "RetentionDay": 7 }),
                wrong("ecs:CreateSnapshot has no parameter `RetentionDay`: did you mean `RetentionDays`?"),
            ),
            (
                Alibaba,
                "ecs:CreateSnapshot",
                json!({}),
                wrong("ecs:CreateSnapshot needs the parameter `DiskId`"),
            ),
            (
                Alibaba,
                "ecs:DescribeInstances",
                json!({ "RegionId": "cn-hangzhou", "InstanceIds": ["i-1"] }),
                wrong("`InstanceIds` takes a text that holds a JSON list, not a list"),
            ),
            (
                Alibaba,
                "ecs:DescribeInstances",
                json!({ "RegionId": "cn-hangzhou", "InstanceIds": "[\"i-1\"]" }),
                ok.clone(),
            ),
            (
                Tencent,
                "cvm:DescribeInstances",
                json!({ "InstanceIds": "ins-1" }),
                wrong("`InstanceIds` takes a list, not this text"),
            ),
            (Tencent, "cvm:DescribeInstances", json!({ "InstanceIds": ["ins-1"], "Limit": 20 }), ok.clone()),
            (
                Tencent,
                "cvm:DescribeInstances",
                json!({ "Limit": "20" }),
                wrong("`Limit` takes a whole number, not this text"),
            ),
            (
                Tencent,
                "cvm:DescribeInstances",
                json!({ "Filters": [{ "Name": "zone", "Values": ["z"] }] }),
                ok.clone(),
            ),
            (
                Tencent,
                "cvm:ResetInstance",
                json!({ "InstanceId": "ins-1", "LoginSettings": "root" }),
                wrong("`LoginSettings` takes an object, not this text"),
            ),
            (Tencent, "cvm:ResetInstance", json!({ "InstanceId": "ins-1", "ImageId": null }), ok.clone()),
            (
                Tencent,
                "cvm:ResetInstance",
                json!({ "InstanceId": "ins-1", "LoginSettings": { "Password": { "$secret": "lab" } } }),
                ok,
            ),
        ] {
            assert_eq!(check(provider, action, &params), expected, "{action} {params}");
        }
    }
}

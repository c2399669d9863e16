//! Canonical parameters and the idempotency token derived from them. Deterministic, so that a lost or restored ledger
//! derives the same token. Tested below.

use crate::id::{PolicyName, SourceName, hex};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Deepest nesting of parameters: deeper than any vendor's, shallow enough to walk by recursion.
pub(super) const PARAMS_DEPTH_MAX: usize = 16;

/// Parameters that are not a JSON object, or nest too deep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidParams {
    /// Not JSON.
    #[error("params are not JSON: {0}")]
    Malformed(String),
    /// JSON, but no object.
    #[error("params must be a JSON object")]
    NotAnObject,
    /// Nested deeper than `PARAMS_DEPTH_MAX`.
    #[error("params nest deeper than {PARAMS_DEPTH_MAX} levels")]
    TooDeep,
}

/// Reads parameters: a JSON object of bounded depth.
pub fn parse_params(params: &str) -> Result<Map<String, Value>, InvalidParams> {
    match serde_json::from_str(params).map_err(|e| InvalidParams::Malformed(e.to_string()))? {
        Value::Object(members) if depth_of(members.values()) < PARAMS_DEPTH_MAX => Ok(members),
        Value::Object(_) => Err(InvalidParams::TooDeep),
        _ => Err(InvalidParams::NotAnObject),
    }
}

/// Levels below, counted by recursion that serde_json's own limit of 128 levels bounds.
fn depth_of<'a>(values: impl Iterator<Item = &'a Value>) -> usize {
    let below = values.map(|value| match value {
        Value::Object(members) => 1 + depth_of(members.values()),
        Value::Array(items) => 1 + depth_of(items.iter()),
        _ => 1,
    });
    below.max().unwrap_or(0)
}

/// The one form of parameters that is authorised, recorded, signed and sent: keys sorted, no white space. Nulls inside
/// objects are left out, as both vendors treat an absent and a null parameter alike.
pub fn canonical_params(params: &Map<String, Value>) -> String {
    let mut text = String::with_capacity(256);
    write_object(params, &mut text);
    text
}

fn write_object(members: &Map<String, Value>, out: &mut String) {
    let mut members: Vec<_> = members.iter().filter(|(_, v)| !v.is_null()).collect();
    // serde_json sorts by itself unless some crate of the build asks it to keep the order.
    members.sort_unstable_by_key(|(name, _)| *name);
    out.push('{');
    for (at, (name, member)) in members.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_text(name, out);
        out.push(':');
        write_value(member, out);
    }
    out.push('}');
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => write_object(members, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::String(text) => write_text(text, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            write!(out, "{value}").expect("writing to a String does not fail");
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a str serialises"));
}

/// What an effect's token is derived from.
#[derive(Debug, Clone, Copy)]
pub struct TokenInput<'a> {
    /// The event's source.
    pub source: &'a SourceName,
    /// The event's id.
    pub event_id: &'a str,
    /// The policy.
    pub policy: &'a PolicyName,
    /// The call's position in the try.
    pub position: u32,
    /// Which of the tokens of this position: 0 but where an effect that an earlier try made has that one.
    pub nth: u32,
    /// `service:Action@region`.
    pub action: &'a str,
    /// From `canonical_params`.
    pub params: &'a str,
}

/// The idempotency token of an effect: 64 hex digits, the longest Alibaba takes (ECS CreateSnapshot, ClientToken).
pub(super) fn client_token(input: TokenInput<'_>) -> String {
    let mut hasher = Sha256::new();
    let position = match input.nth {
        0 => input.position.to_string(),
        nth => format!("{}.{nth}", input.position),
    };
    let parts =
        [input.source.as_str(), input.event_id, input.policy.as_str(), &position, input.action, input.params];
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_params_do_not_depend_on_order_spacing_or_nulls() {
        let params =
            parse_params(r#" { "b": [1, {"z": "é\n", "a": true}], "a": 1.50, "c": null } "#).expect("valid");
        assert_eq!(canonical_params(&params), r#"{"a":1.5,"b":[1,{"a":true,"z":"é\n"}]}"#);
    }

    #[test]
    fn params_that_are_no_bounded_object_are_refused() {
        assert!(matches!(parse_params("{"), Err(InvalidParams::Malformed(_))));
        assert_eq!(parse_params("[]").err(), Some(InvalidParams::NotAnObject));
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(PARAMS_DEPTH_MAX), "]".repeat(PARAMS_DEPTH_MAX));
        assert_eq!(parse_params(&deep).err(), Some(InvalidParams::TooDeep));
    }

    #[test]
    fn a_token_changes_with_each_of_its_parts_and_with_nothing_else() {
        let (s, p) = ("s".parse().expect("name"), "p".parse().expect("name"));
        let base = TokenInput {
            source: &s,
            event_id: "e",
            policy: &p,
            position: 1,
            nth: 0,
            action: "a",
            params: "{}",
        };
        let token = client_token(base);
        // As in ledgers of earlier releases, and in those that are lost.
        assert_eq!(token, "c8ee17f5d1ddcbf228f60fb449c32eabd6684ef31a0e5e8f03bf9bde22178068");
        assert_eq!(token, client_token(base));
        let q = "q".parse().expect("name");
        let t = "t".parse().expect("name");
        for other in [
            TokenInput { source: &t, ..base },
            TokenInput { event_id: "f", ..base },
            TokenInput { policy: &q, ..base },
            TokenInput { position: 2, ..base },
            TokenInput { nth: 1, ..base },
            TokenInput { action: "b", ..base },
            TokenInput { params: "{\"a\":1}", ..base },
        ] {
            assert_ne!(client_token(other), token, "{other:?}");
        }
    }
}

//! Reading JSON from senders: bounded in depth before anything recurses, with no name twice in an object, and with the position
//! of what is wrong. Also the canonical form behind digests. Leaves what the JSON means to the decoders.

use super::{DecodeError, JSON_DEPTH_MAX};
use crate::id::Digest;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

pub(super) type Object = Map<String, Value>;

/// The body as text.
pub(super) fn text(body: &[u8]) -> Result<&str, DecodeError> {
    let text = std::str::from_utf8(body).map_err(|e| {
        let (line, column) = position(&body[..e.valid_up_to()]);
        DecodeError::NotUtf8 { line, column }
    })?;
    if text.trim().is_empty() { Err(DecodeError::Empty) } else { Ok(text) }
}

/// Reads `text` as JSON of at most `JSON_DEPTH_MAX` levels.
pub(super) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, DecodeError> {
    check_depth(text)?;
    serde_json::from_str(text).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        let full = e.to_string();
        let problem = full.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&full);
        DecodeError::Malformed { line, column, problem: problem.to_owned() }
    })
}

/// Reads `text` as a JSON value in which no object has a name twice: of two members with one name, two readers may take
/// different ones (RFC 8259, section 4), and what the host has judged would not be what a policy reads.
pub(super) fn value(text: &str) -> Result<Value, DecodeError> {
    parse::<Unique>(text).map(|Unique(value)| value)
}

/// Reads `text` as such a JSON object.
pub(super) fn object(text: &str) -> Result<Object, DecodeError> {
    match value(text)? {
        Value::Object(members) => Ok(members),
        _ => Err(DecodeError::field("body", "is not a JSON object")),
    }
}

/// The member as text, where it is a text with something in it or a number.
pub(super) fn scalar(object: &Object, key: &str) -> Option<String> {
    scalar_text(object.get(key)?)
}

/// The first of these members that is there as text.
pub(super) fn first_scalar(object: &Object, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| scalar(object, key))
}

/// A text with something in it, or a number, as text.
pub(super) fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The id of what has none: equal content has an equal id. The members `besides` are of the posting, not of what happened.
pub(super) fn digest(members: &Object, besides: &[&str]) -> String {
    let mut members = members.clone();
    members.retain(|name, _| !besides.contains(&name.as_str()));
    Digest::of(canonical(&Value::Object(members)).as_bytes()).to_string()
}

/// A JSON value without a name twice in any object. The depth was checked before.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Unique;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Unique, E> {
                Ok(Unique(Value::Null))
            }
            fn visit_bool<E>(self, truth: bool) -> Result<Unique, E> {
                Ok(Unique(truth.into()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Unique, E> {
                Ok(Unique(number.into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Unique, E> {
                Ok(Unique(number.into()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Unique, E> {
                Ok(Unique(number.into()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Unique, E> {
                Ok(Unique(text.into()))
            }
            fn visit_string<E>(self, text: String) -> Result<Unique, E> {
                Ok(Unique(text.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
                let mut list = Vec::new();
                while let Some(Unique(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Unique(list.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Unique, A::Error> {
                let mut members = Object::new();
                while let Some(name) = entries.next_key::<String>()? {
                    if members.contains_key(&name) {
                        let shown: String = name.chars().take(NAME_CHARS_SHOWN).collect();
                        return Err(de::Error::custom(format!("the name {} is there twice", quoted(&shown))));
                    }
                    let Unique(member) = entries.next_value()?;
                    members.insert(name, member);
                }
                Ok(Unique(members.into()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// How much of a name an error shows.
const NAME_CHARS_SHOWN: usize = 40;

fn check_depth(text: &str) -> Result<(), DecodeError> {
    deeper_than(JSON_DEPTH_MAX, text).map_or(Ok(()), |at| {
        let (line, column) = position(&text.as_bytes()[..at]);
        Err(DecodeError::TooDeep { line, column })
    })
}

/// Where brackets outside of strings first nest deeper than `depth_max`. Text that is not JSON may pass: the parser finds that
/// out.
pub(crate) fn deeper_than(depth_max: usize, text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        if depth > depth_max {
            return Some(at);
        }
    }
    None
}

fn skip_string(bytes: &mut impl Iterator<Item = (usize, u8)>) {
    while let Some((_, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

/// Line and column, from 1, of the byte that follows `before`.
fn position(before: &[u8]) -> (usize, usize) {
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|b| **b != b'\n').count();
    (line, column)
}

/// `value` with keys sorted and no white space: equal content has equal text, whatever map `serde_json` is built with.
/// `value` is at most `JSON_DEPTH_MAX` levels deep, which bounds the recursion.
pub(super) fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&quoted(name));
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        Value::String(text) => out.push_str(&quoted(text)),
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

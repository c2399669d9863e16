//! Reading JSON from senders: bounded in depth before anything recurses, with the position of what is wrong. Also the
//! canonical form behind digests. Leaves what the JSON means to the decoders.

use super::{DecodeError, JSON_DEPTH_MAX};
use serde::Deserialize;
use serde_json::Value;

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

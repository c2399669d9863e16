//! Values of which nobody knows the real ones yet: an id that an effect will give is simulated in the plan, and stands in later
//! calls of it for the value at the same place of the answer that this effect really gets. Tested in `tests.rs`.

use super::PlannedCall;
use crate::call::CallRequest;
use serde_json::Value;
use std::borrow::Cow;

/// Shortest text that is taken for a placeholder: no id of either vendor is shorter, and short words stand for themselves.
const PLACEHOLDER_BYTES_MIN: usize = 8;

/// The placeholders in the answers of a plan's effects.
#[derive(Debug, Clone, Default)]
pub struct Placeholders(Vec<Placeholder>);

#[derive(Debug, Clone)]
struct Placeholder {
    text: String,
    /// Of which call of the plan, and where in its answer.
    call: usize,
    pointer: String,
}

impl Placeholders {
    /// Those of the `calls`. What an answer repeats of its own request, or has of an earlier answer, is none.
    pub fn of(calls: &[PlannedCall]) -> Self {
        let mut found = Self::default();
        for (call, planned) in calls.iter().enumerate() {
            let Ok(answer) = serde_json::from_str::<Value>(&planned.answer) else { continue };
            let mut leaves = Vec::new();
            leaves_of(&answer, String::new(), &mut leaves);
            for (pointer, text) in leaves {
                let CallRequest { region, params, .. } = &planned.request;
                let repeats = tokens(params, text).next().is_some() || region == text;
                let is_known = found.0.iter().any(|known| known.text == text);
                if text.len() >= PLACEHOLDER_BYTES_MIN && !repeats && !is_known {
                    found.0.push(Placeholder { text: text.to_owned(), call, pointer });
                }
            }
        }
        found
    }

    /// `params` with every placeholder replaced by what `real(call, pointer)` says; `None` where that is not known.
    pub fn fill<'p>(
        &self,
        params: &'p str,
        real: impl Fn(usize, &str) -> Option<String>,
    ) -> Option<Cow<'p, str>> {
        let mut filled = Cow::Borrowed(params);
        for placeholder in &self.0 {
            let places: Vec<usize> = tokens(params, &placeholder.text).collect();
            if places.is_empty() {
                continue;
            }
            let value = real(placeholder.call, &placeholder.pointer)?;
            filled = Cow::Owned(replaced(&filled, &placeholder.text, &value));
        }
        Some(filled)
    }

    /// `text` with each placeholder by its place, in a form that no text in canonical form can have.
    pub fn placed(&self, text: &str) -> String {
        let place = |call: usize, pointer: &str| Some(format!("\0{call}{pointer}\0"));
        self.fill(text, place).map_or_else(|| text.to_owned(), Cow::into_owned)
    }

    /// `text` for people: each placeholder by what it stands for.
    pub fn named(&self, text: &str) -> String {
        let of = |call: usize, pointer: &str| {
            Some(format!("<{} of {}>", pointer.trim_start_matches('/').replace('/', "."), call + 1))
        };
        self.fill(text, of).map_or_else(|| text.to_owned(), Cow::into_owned)
    }
}

fn leaves_of<'v>(value: &'v Value, pointer: String, leaves: &mut Vec<(String, &'v str)>) {
    match value {
        Value::String(text) => leaves.push((pointer, text)),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                leaves_of(item, format!("{pointer}/{at}"), leaves);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves_of(member, format!("{pointer}/{name}"), leaves);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Where `text` stands in `params` as a whole: not as a part of a longer id.
fn tokens<'t>(params: &'t str, text: &'t str) -> impl Iterator<Item = usize> + 't {
    let is_of_id = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    params.match_indices(text).map(|(at, _)| at).filter(move |at| {
        let (before, after) = (&params[..*at], &params[at + text.len()..]);
        !before.ends_with(is_of_id) && !after.starts_with(is_of_id)
    })
}

fn replaced(params: &str, text: &str, value: &str) -> String {
    let (mut out, mut from) = (String::with_capacity(params.len()), 0);
    for at in tokens(params, text) {
        out.push_str(&params[from..at]);
        out.push_str(value);
        from = at + text.len();
    }
    out.push_str(&params[from..]);
    out
}

//! How a `generic` source is read: for each attribute of an event a text, or a path to where it is in the JSON that is posted.
//! Compiled once from what the operator writes, with errors that say what to write. Leaves applying it to `generic`, and where it
//! stands in a file to `config`. Tested below.

use super::{ATTRIBUTE_BYTES_MAX, JSON_DEPTH_MAX, Transition};
use crate::suggest::nearest;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest path, in bytes: thirty steps of sixteen letters.
const PATH_BYTES_MAX: usize = 512;
/// Most words of `transitions`: no sender has more states than this.
const WORDS_MAX: usize = 64;

/// `map = { ... }` as typed: each value is a path such as `$.alert.id`, or a text in single quotes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MappingText {
    /// Where the list is of which each item is an event; without it the body is one. The other paths begin at the item.
    pub each: Option<String>,
    /// What is the same in each posting of one notification; without it a digest of the item.
    pub id: Option<String>,
    /// The type. Needed.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The resource it is about.
    pub subject: Option<String>,
    /// When it happened; without it the time of receipt.
    pub time: Option<String>,
    /// What is the same in all notifications of one happening.
    pub incident: Option<String>,
    /// The cloud's account id.
    pub account: Option<String>,
    /// The cloud region.
    pub region: Option<String>,
    /// How grave it is.
    pub level: Option<String>,
    /// How far the incident has come.
    pub transition: Option<String>,
    /// What the sender's words for that mean: `{ PROBLEM = "firing", OK = "resolved" }`.
    #[serde(default)]
    pub transitions: BTreeMap<String, String>,
    /// What policies read as data; without it the whole item.
    pub data: Option<String>,
}

/// What is wrong with a mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {problem}")]
pub struct MappingError {
    /// The key at fault.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to write; may be empty.
    pub fix: String,
}

impl MappingError {
    fn new(key: &str, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { key: key.to_owned(), problem: problem.into(), fix: fix.into() }
    }
}

/// How JSON of some form becomes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub(super) each: Option<Place>,
    pub(super) id: Option<Place>,
    pub(super) kind: Place,
    pub(super) subject: Option<Place>,
    pub(super) time: Option<Place>,
    pub(super) incident: Option<Place>,
    pub(super) account: Option<Place>,
    pub(super) region: Option<Place>,
    pub(super) level: Option<Place>,
    pub(super) transition: Option<Place>,
    /// By the sender's word in lower case.
    pub(super) transitions: BTreeMap<String, Transition>,
    pub(super) data: Option<Place>,
}

/// Where an attribute comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Text(String),
    Path(Path),
}

/// Steps from an item to a value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// As it was written.
    pub(super) written: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    At(usize),
}

impl Mapping {
    /// Compiles what was typed.
    pub fn compile(typed: &MappingText) -> Result<Self, MappingError> {
        let optional = |key: &str, text: &Option<String>| match text {
            Some(text) => place(key, text).map(Some),
            None => Ok(None),
        };
        let Some(kind) = &typed.kind else {
            let fix = "add `type = \"$.path.to.it\"`, or a text in single quotes: `type = \"'disk.full'\"`";
            return Err(MappingError::new("type", "is missing", fix));
        };
        let in_body = |key: &str, text: &Option<String>| match optional(key, text)? {
            Some(Place::Text(_)) => Err(MappingError::new(
                key,
                "is a text and no place in the body",
                "write a path such as `$.alerts`",
            )),
            found => Ok(found),
        };
        if typed.transition.is_none() && !typed.transitions.is_empty() {
            let fix = "add `transition = \"$.path.to.it\"`";
            return Err(MappingError::new("transitions", "has words, and nothing says where they are", fix));
        }
        Ok(Self {
            each: in_body("each", &typed.each)?,
            id: in_body("id", &typed.id)?,
            kind: place("type", kind)?,
            subject: optional("subject", &typed.subject)?,
            time: in_body("time", &typed.time)?,
            incident: in_body("incident", &typed.incident)?,
            account: optional("account", &typed.account)?,
            region: optional("region", &typed.region)?,
            level: optional("level", &typed.level)?,
            transition: optional("transition", &typed.transition)?,
            transitions: words(&typed.transitions)?,
            data: in_body("data", &typed.data)?,
        })
    }
}

impl Place {
    /// What is there in `item`; nothing where it has no such place.
    pub(super) fn find<'a>(&self, item: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Text(_) => None,
            Self::Path(path) => path.steps.iter().try_fold(item, |value, step| match step {
                Step::Key(key) => value.get(key),
                Step::At(at) => value.get(at),
            }),
        }
    }

    /// As it was written.
    pub(super) fn written(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Path(path) => &path.written,
        }
    }
}

fn words(typed: &BTreeMap<String, String>) -> Result<BTreeMap<String, Transition>, MappingError> {
    if typed.len() > WORDS_MAX {
        return Err(MappingError::new("transitions", format!("has more than {WORDS_MAX} words"), ""));
    }
    let read = |(word, means): (&String, &String)| {
        let known = Transition::of_status(means).ok_or_else(|| {
            let all = Transition::ALL.map(Transition::as_str);
            let fix = match nearest(means, all) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("use one of {}", all.join(", ")),
            };
            MappingError::new(
                &format!("transitions.{word}"),
                format!("is `{means}`, which is no transition"),
                fix,
            )
        })?;
        Ok((word.to_lowercase(), known))
    };
    typed.iter().map(read).collect()
}

fn place(key: &str, written: &str) -> Result<Place, MappingError> {
    let text = written.trim();
    if let Some(text) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return match text.is_empty() || text.len() > ATTRIBUTE_BYTES_MAX || text.chars().any(char::is_control)
        {
            true => Err(MappingError::new(
                key,
                format!("is empty, longer than {ATTRIBUTE_BYTES_MAX} bytes, or has a control character"),
                "",
            )),
            false => Ok(Place::Text(text.to_owned())),
        };
    }
    let Some(rest) = text.strip_prefix('$') else {
        let shown: String = text.chars().take(40).collect();
        let fix = format!("write `$.{shown}` for a place in the body, or `'{shown}'` for this very text");
        return Err(MappingError::new(
            key,
            format!("is `{shown}`: neither a path nor a text in single quotes"),
            fix,
        ));
    };
    if text.len() > PATH_BYTES_MAX {
        return Err(MappingError::new(key, format!("is longer than {PATH_BYTES_MAX} bytes"), ""));
    }
    let steps = steps(rest).map_err(|(problem, fix)| MappingError::new(key, problem, fix))?;
    if steps.len() > JSON_DEPTH_MAX {
        let problem = format!("has more than {JSON_DEPTH_MAX} steps, deeper than what is read");
        return Err(MappingError::new(key, problem, ""));
    }
    Ok(Place::Path(Path { written: text.to_owned(), steps }))
}

type Problem = (String, &'static str);

/// Reads `.name`, `[0]`, `['name']` and `["name"]`, one after the other.
fn steps(mut rest: &str) -> Result<Vec<Step>, Problem> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, after) = match rest.strip_prefix('.') {
            Some(name) => named(name)?,
            None => bracketed(rest)?,
        };
        steps.push(step);
        rest = after;
    }
    Ok(steps)
}

const NO_SEARCH: &str =
    "name each step, as in `$.alerts[0].labels['a b']`; for a list of events write `each`";

fn named(rest: &str) -> Result<(Step, &str), Problem> {
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    match name {
        "" => Err(("has a step without a name".to_owned(), NO_SEARCH)),
        "*" => Err(("has `*`, and one place is needed".to_owned(), NO_SEARCH)),
        name if name.contains(|c: char| c.is_whitespace() || c.is_control() || "]'\"".contains(c)) => Err((
            format!("has the step `{}`", name.escape_debug()),
            "write it in brackets and quotes: `['a b']`",
        )),
        name => Ok((Step::Key(name.to_owned()), after)),
    }
}

fn bracketed(rest: &str) -> Result<(Step, &str), Problem> {
    let Some(inner) = rest.strip_prefix('[') else {
        return Err((
            format!("has `{}` where a step begins", rest.chars().take(8).collect::<String>()),
            NO_SEARCH,
        ));
    };
    if let Some(quote) = inner.chars().next().filter(|c| "'\"".contains(*c)) {
        let inside = &inner[1..];
        let end =
            inside.find(quote).ok_or_else(|| ("has a quote that does not end".to_owned(), NO_SEARCH))?;
        let (name, after) = (&inside[..end], &inside[end + 1..]);
        let after = after
            .strip_prefix(']')
            .ok_or_else(|| ("has a bracket that does not end".to_owned(), NO_SEARCH))?;
        return Ok((Step::Key(name.to_owned()), after));
    }
    let (number, after) =
        inner.split_once(']').ok_or_else(|| ("has a bracket that does not end".to_owned(), NO_SEARCH))?;
    match number.parse::<usize>() {
        Ok(at) if number.bytes().all(|b| b.is_ascii_digit()) => Ok((Step::At(at), after)),
        _ => Err((format!("has `[{}]`", number.chars().take(20).collect::<String>()), NO_SEARCH)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, item: &str) -> Option<Value> {
        let item: Value = serde_json::from_str(item).expect("JSON");
        place("id", path).expect(path).find(&item).cloned()
    }

    #[test]
    fn a_path_leads_to_one_place() {
        let item = r#"{"a":{"b":[{"c d":1},{"e.f":2}]},"$":3,"é":4}"#;
        for (path, wanted) in [
            ("$.a.b[0]['c d']", Some(1)),
            ("$.a.b[1][\"e.f\"]", Some(2)),
            (" $.$ ", Some(3)),
            ("$.é", Some(4)),
            ("$['a'].b[2]", None),
            ("$.a.b.c", None),
            ("$.a[0]", None),
            ("$[0]", None),
        ] {
            assert_eq!(found(path, item).and_then(|value| value.as_i64()), wanted, "{path}");
        }
        assert_eq!(found("$", "[1]"), Some(serde_json::json!([1])));
        assert_eq!(place("id", "'a $.b'"), Ok(Place::Text("a $.b".to_owned())));
    }

    #[test]
    fn what_is_no_path_is_refused_with_what_to_write() {
        let (deep, long) =
            ("$.a".to_owned() + &".a".repeat(32), "$.".to_owned() + &"a".repeat(PATH_BYTES_MAX));
        for (text, wanted) in [
            ("alert.id", "neither a path nor a text in single quotes"),
            ("", "neither a path nor a text"),
            ("'", "neither a path nor a text"),
            ("''", "is empty"),
            ("$..id", "a step without a name"),
            ("$.", "a step without a name"),
            ("$.a[", "a bracket that does not end"),
            ("$.a['b]", "a quote that does not end"),
            ("$.a['b'", "a bracket that does not end"),
            ("$.a[*]", "has `[*]`"),
            ("$.a[-1]", "has `[-1]`"),
            ("$.a[+1]", "has `[+1]`"),
            ("$.*", "has `*`"),
            ("$a", "where a step begins"),
            ("$.a b", "has the step `a b`"),
            ("$.a[99999999999999999999999]", "has `[9999"),
            (deep.as_str(), "more than 32 steps"),
            (long.as_str(), "longer than 512 bytes"),
        ] {
            let error = place("id", text).expect_err(text).to_string();
            assert!(error.starts_with("`id` ") && error.contains(wanted), "{text}: {error}");
        }
        let fix = place("id", "alert.id").expect_err("no path").fix;
        assert_eq!(fix, "write `$.alert.id` for a place in the body, or `'alert.id'` for this very text");
    }

    #[test]
    fn a_mapping_is_whole_or_its_fault_is_named() {
        let compile = |text: &str| Mapping::compile(&serde_json::from_str(text).expect("typed"));
        assert!(
            compile(r#"{"type":"'t'","each":"$.alerts","transition":"$.s","transitions":{"OK":"Resolved"}}"#)
                .is_ok()
        );
        for (text, key, fix) in [
            ("{}", "type", "add `type"),
            (r#"{"type":"'t'","id":"'x'"}"#, "id", "write a path"),
            (r#"{"type":"'t'","incident":"'x'"}"#, "incident", "write a path"),
            (r#"{"type":"'t'","transitions":{"OK":"resolved"}}"#, "transitions", "add `transition"),
            (
                r#"{"type":"'t'","transition":"$.s","transitions":{"OK":"resolvd"}}"#,
                "transitions.OK",
                "did you mean `resolved`?",
            ),
        ] {
            let error = compile(text).expect_err(text);
            assert_eq!(error.key, key);
            assert!(error.fix.contains(fix), "{text}: {error:?}");
        }
        assert!(serde_json::from_str::<MappingText>(r#"{"typ":"x"}"#).is_err());
    }
}

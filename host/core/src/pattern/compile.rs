//! From `on` entries as typed to conditions, with errors that say what to write. Leaves finding candidates to `index`.

use super::glob::Glob;
use super::typed::{OnEntry, OneOrMany, Scalar};
use crate::event::Event;
use crate::id::SourceName;
use serde_json::Value;

/// Most values of one condition, most conditions on `data` and most entries of one policy: beyond it a pattern with `*` is meant.
const VALUES_MAX: usize = 256;
/// Longest text of a condition, in bytes: that of an event's attributes.
const TEXT_BYTES_MAX: usize = crate::event::ATTRIBUTE_BYTES_MAX;

/// The compiled `on` entries of one policy: an event matches if one entry does.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    pub(super) entries: Vec<Entry>,
}

/// One compiled entry: all conditions must hold. An empty list is no condition.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) sources: Vec<SourceName>,
    /// In lower case.
    pub(super) kinds: Vec<Glob>,
    pub(super) subjects: Vec<Glob>,
    pub(super) regions: Vec<Glob>,
    pub(super) accounts: Vec<Glob>,
    pub(super) data: Vec<DataTest>,
}

/// One of `values` is at `path`.
#[derive(Debug, Clone)]
pub(super) struct DataTest {
    pub(super) path: Vec<String>,
    pub(super) values: Vec<Scalar>,
}

/// What is wrong with an `on` entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`on` entry {number}, `{key}`: {problem}", number = .entry + 1)]
pub struct PatternError {
    /// Its place in the list, from 0.
    pub entry: usize,
    /// The key at fault; empty where it is the entry as a whole.
    pub key: &'static str,
    /// What is wrong and what to write.
    pub problem: String,
}

impl Patterns {
    /// Compiles the `on` entries of one policy.
    pub fn compile(entries: &[OnEntry]) -> Result<Self, PatternError> {
        if entries.len() > VALUES_MAX {
            let problem =
                format!("there are more than {VALUES_MAX} entries: use lists and `*` within an entry");
            return Err(PatternError { entry: VALUES_MAX, key: "", problem });
        }
        let compiled = entries.iter().enumerate().map(|(at, entry)| {
            compile_entry(entry).map_err(|(key, problem)| PatternError { entry: at, key, problem })
        });
        Ok(Self { entries: compiled.collect::<Result<_, _>>()? })
    }

    /// The plugin's own triggers, each a list of types: events of any source.
    pub fn from_types(triggers: &[Vec<String>]) -> Result<Self, PatternError> {
        let entries: Vec<OnEntry> = triggers
            .iter()
            .map(|types| OnEntry { kind: Some(OneOrMany(types.clone())), ..OnEntry::default() })
            .collect();
        Self::compile(&entries)
    }

    /// These patterns, where each entry that names neither type, subject nor data takes the types of the plugin's `triggers`.
    /// A plugin without triggers leaves them as they are.
    #[must_use]
    pub fn with_default_types(mut self, triggers: &Self) -> Self {
        let types: Vec<Glob> = triggers.entries.iter().flat_map(|entry| entry.kinds.clone()).collect();
        for entry in &mut self.entries {
            if entry.kinds.is_empty() && entry.subjects.is_empty() && entry.data.is_empty() {
                entry.kinds.clone_from(&types);
            }
        }
        self
    }

    /// Whether no event can match.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Entry {
    /// Whether the event matches. `kind` is its type in lower case; `data` is asked for only if all else holds.
    pub(super) fn matches<'d>(
        &self,
        event: &Event,
        kind: &str,
        data: impl FnOnce() -> Option<&'d Value>,
    ) -> bool {
        (self.sources.is_empty() || self.sources.contains(&event.source))
            && one_matches(&self.kinds, Some(kind))
            && one_matches(&self.subjects, event.subject.as_deref())
            && one_matches(&self.regions, event.region.as_deref())
            && one_matches(&self.accounts, event.account.as_deref())
            && (self.data.is_empty()
                || data().is_some_and(|data| self.data.iter().all(|test| test.matches(data))))
    }
}

impl DataTest {
    fn matches(&self, data: &Value) -> bool {
        at_path(data, &self.path).is_some_and(|found| self.values.contains(&found))
    }
}

/// The scalar at `path`; a number in a path counts the items of a list from 0.
pub(super) fn at_path(data: &Value, path: &[String]) -> Option<Scalar> {
    let found = path.iter().try_fold(data, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => value.get(key),
    })?;
    Scalar::of(found)
}

fn one_matches(globs: &[Glob], text: Option<&str>) -> bool {
    globs.is_empty() || text.is_some_and(|text| globs.iter().any(|glob| glob.matches(text)))
}

type Problem = (&'static str, String);

fn compile_entry(typed: &OnEntry) -> Result<Entry, Problem> {
    let entry = Entry {
        sources: texts("source", typed.source.as_ref())?
            .iter()
            .map(|name| name.parse().map_err(|e: crate::id::InvalidName| ("source", e.to_string())))
            .collect::<Result<_, _>>()?,
        kinds: texts("type", typed.kind.as_ref())?
            .iter()
            .map(|text| Glob::new(text.to_ascii_lowercase()))
            .collect(),
        subjects: globs("subject", typed.subject.as_ref())?,
        regions: globs("region", typed.region.as_ref())?,
        accounts: globs("account", typed.account.as_ref())?,
        data: data_tests(typed)?,
    };
    let is_empty = entry.sources.is_empty()
        && [&entry.kinds, &entry.subjects, &entry.regions, &entry.accounts].into_iter().all(Vec::is_empty)
        && entry.data.is_empty();
    if is_empty {
        let problem =
            "the entry has no condition and would match every event: name at least a `source` or a `type`";
        return Err(("", problem.to_owned()));
    }
    Ok(entry)
}

fn texts<'a>(key: &'static str, typed: Option<&'a OneOrMany>) -> Result<&'a [String], Problem> {
    let Some(OneOrMany(texts)) = typed else { return Ok(&[]) };
    if texts.is_empty() {
        return Err((key, "an empty list never matches: leave the key out to match all".to_owned()));
    }
    if texts.len() > VALUES_MAX {
        return Err((key, format!("more than {VALUES_MAX} values: use a pattern with `*`")));
    }
    match texts.iter().find(|text| text.is_empty() || text.len() > TEXT_BYTES_MAX) {
        Some(text) if text.is_empty() => {
            Err((key, "an empty text never matches: leave the key out to match all".to_owned()))
        }
        Some(text) => {
            Err((key, format!("a text of {} bytes; at most {TEXT_BYTES_MAX} can match", text.len())))
        }
        None => Ok(texts),
    }
}

fn globs(key: &'static str, typed: Option<&OneOrMany>) -> Result<Vec<Glob>, Problem> {
    Ok(texts(key, typed)?.iter().cloned().map(Glob::new).collect())
}

fn data_tests(typed: &OnEntry) -> Result<Vec<DataTest>, Problem> {
    let Some(tests) = &typed.data else { return Ok(Vec::new()) };
    if tests.0.len() > VALUES_MAX {
        return Err(("data", format!("more than {VALUES_MAX} places")));
    }
    let compiled = tests.0.iter().map(|(path, values)| {
        if values.is_empty() {
            return Err(("data", format!("`{path}` has an empty list, which never matches")));
        }
        if values.len() > VALUES_MAX {
            return Err(("data", format!("`{path}` has more than {VALUES_MAX} values")));
        }
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            let problem = format!("`{}` is no path: write keys with dots between them", path.join("."));
            return Err(("data", problem));
        }
        Ok(DataTest { path, values: values.clone() })
    });
    compiled.collect()
}

//! From `on` entries as typed to conditions, with errors that say what to write. Leaves finding candidates to `index`, and
//! telling why an entry does not match to `explain`.

use super::data::DataTests;
use super::facts::{Attribute, Facts};
use super::glob::Glob;
use super::typed::{OnEntry, OneOrMany};
use super::wanted::Place;
use crate::event::{Transition, Wants};
use crate::id::SourceName;
use crate::suggest::nearest;

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
    /// In the order of `Attribute::ALL`.
    attributes: [Vec<Glob>; Attribute::ALL.len()],
    /// Whether the types are those that the plugin proposes.
    pub(super) has_plugins_types: bool,
    pub(super) data: Vec<Place>,
}

/// A condition that does not hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failed<'p> {
    Source,
    Attribute(Attribute),
    Data(&'p Place),
}

/// What is wrong with an `on` entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`on` entry {number}, `{key}`: {problem}", number = .entry + 1)]
pub struct PatternError {
    /// Its place in the list, from 0.
    pub entry: usize,
    /// The key at fault; empty where it is the entry as a whole.
    pub key: &'static str,
    /// The place under `data` at fault.
    pub path: Option<String>,
    /// What is wrong and what to write.
    pub problem: String,
}

impl Patterns {
    /// Compiles the `on` entries of one policy.
    pub fn compile(entries: &[OnEntry]) -> Result<Self, PatternError> {
        if entries.len() > VALUES_MAX {
            let problem =
                format!("there are more than {VALUES_MAX} entries: use lists and `*` within an entry");
            return Err(PatternError { entry: VALUES_MAX, key: "", path: None, problem });
        }
        let compiled = entries.iter().enumerate().map(|(at, entry)| {
            compile_entry(entry).map_err(|Problem { key, path, text }| PatternError {
                entry: at,
                key,
                path,
                problem: text,
            })
        });
        Ok(Self { entries: compiled.collect::<Result<_, _>>()? })
    }

    /// The plugin's own triggers, each a list of types: events of any source.
    pub fn from_types(triggers: &[Vec<String>]) -> Result<Self, PatternError> {
        let entries: Vec<OnEntry> = triggers
            .iter()
            .map(|types| OnEntry { kind: Some(OneOrMany(types.clone())), ..OnEntry::default() })
            .collect();
        let mut patterns = Self::compile(&entries)?;
        patterns.entries.iter_mut().for_each(|entry| entry.has_plugins_types = true);
        Ok(patterns)
    }

    /// These patterns, where each entry that names neither type, subject nor data takes the types of the plugin's `triggers`.
    /// A plugin without triggers leaves them as they are.
    #[must_use]
    pub fn with_default_types(mut self, triggers: &Self) -> Self {
        let types: Vec<Glob> =
            triggers.entries.iter().flat_map(|entry| entry.wanted(Attribute::Type)).cloned().collect();
        for entry in &mut self.entries {
            let names_what = [Attribute::Type, Attribute::Subject].map(|one| !entry.wanted(one).is_empty());
            if names_what == [false, false] && entry.data.is_empty() && !types.is_empty() {
                entry.attributes[Attribute::Type as usize].clone_from(&types);
                entry.has_plugins_types = true;
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
    /// What the attribute may be; empty where it may be anything.
    pub(super) fn wanted(&self, attribute: Attribute) -> &[Glob] {
        &self.attributes[attribute as usize]
    }

    /// Which notices of an incident it is woken by: one that names transitions wants each of them, however late.
    pub(super) fn wants(&self) -> Wants {
        match self.wanted(Attribute::Transition) {
            [] => Wants::Progress,
            _ => Wants::Transition,
        }
    }

    /// The first condition that does not hold; none where the event matches.
    pub(super) fn failed(&self, facts: &Facts<'_>) -> Option<Failed<'_>> {
        if !self.sources.is_empty() && !self.sources.contains(&facts.event.source) {
            return Some(Failed::Source);
        }
        let holds = |one: Attribute| {
            let wanted = self.wanted(one);
            wanted.is_empty()
                || facts.attribute(one).is_some_and(|text| wanted.iter().any(|glob| glob.matches(text)))
        };
        if let Some(attribute) = Attribute::ALL.into_iter().find(|one| !holds(*one)) {
            return Some(Failed::Attribute(attribute));
        }
        self.data.iter().find(|place| !place.holds(facts.data())).map(Failed::Data)
    }
}

/// What is wrong with one entry.
struct Problem {
    key: &'static str,
    path: Option<String>,
    text: String,
}

fn problem(key: &'static str, text: impl Into<String>) -> Problem {
    Problem { key, path: None, text: text.into() }
}

fn compile_entry(typed: &OnEntry) -> Result<Entry, Problem> {
    let OnEntry { source, kind, subject, region, account, level, transition, data } = typed;
    for word in texts("transition", transition.as_ref())? {
        if Transition::of_status(word).is_none() {
            return Err(problem("transition", no_transition(word)));
        }
    }
    let globs = |attribute: Attribute, typed: &Option<OneOrMany>| {
        let texts = texts(attribute.key(), typed.as_ref())?.iter();
        Ok(texts.map(|text| Glob::new(text, attribute.ignores_case())).collect())
    };
    let sources = texts("source", source.as_ref())?.iter();
    let entry = Entry {
        sources: sources
            .map(|name| name.parse().map_err(|e: crate::id::InvalidName| problem("source", e.to_string())))
            .collect::<Result<_, _>>()?,
        attributes: [
            globs(Attribute::Type, kind)?,
            globs(Attribute::Subject, subject)?,
            globs(Attribute::Region, region)?,
            globs(Attribute::Account, account)?,
            globs(Attribute::Level, level)?,
            globs(Attribute::Transition, transition)?,
        ],
        has_plugins_types: false,
        data: places(data.as_ref())?,
    };
    if entry.sources.is_empty() && entry.attributes.iter().all(Vec::is_empty) && entry.data.is_empty() {
        let text =
            "the entry has no condition and would match every event: name at least a `source` or a `type`";
        return Err(problem("", text));
    }
    Ok(entry)
}

fn places(typed: Option<&DataTests>) -> Result<Vec<Place>, Problem> {
    let Some(DataTests(tests)) = typed else { return Ok(Vec::new()) };
    if tests.len() > VALUES_MAX {
        return Err(problem("data", format!("more than {VALUES_MAX} places")));
    }
    let compiled = tests.iter().map(|(path, any_of)| {
        Place::compile(path, any_of, VALUES_MAX).map_err(|text| Problem {
            key: "data",
            path: Some(path.clone()),
            text,
        })
    });
    compiled.collect()
}

fn no_transition(word: &str) -> String {
    let known = Transition::ALL.map(Transition::as_str);
    match nearest(word, known) {
        Some(near) => format!("unknown transition `{word}`: did you mean `{near}`?"),
        None => format!("unknown transition `{word}`: there are {}", known.join(", ")),
    }
}

fn texts<'a>(key: &'static str, typed: Option<&'a OneOrMany>) -> Result<&'a [String], Problem> {
    let Some(OneOrMany(texts)) = typed else { return Ok(&[]) };
    if texts.is_empty() {
        return Err(problem(key, "an empty list never matches: leave the key out to match all"));
    }
    if texts.len() > VALUES_MAX {
        return Err(problem(key, format!("more than {VALUES_MAX} values: use a pattern with `*`")));
    }
    match texts.iter().find(|text| text.is_empty() || text.len() > TEXT_BYTES_MAX) {
        Some(text) if text.is_empty() => {
            Err(problem(key, "an empty text never matches: leave the key out to match all"))
        }
        Some(text) => {
            Err(problem(key, format!("a text of {} bytes; at most {TEXT_BYTES_MAX} can match", text.len())))
        }
        None => Ok(texts),
    }
}

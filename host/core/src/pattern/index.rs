//! Finds the policies an event wakes without asking each. Every entry is filed under what it demands: source and one fixed
//! end of its type, then one fixed end of its subject, or a value in `data`, or account, or region. An event is compared
//! only with the entries filed under its own texts. Leaves the comparison itself to `compile`.

use super::compile::{Entry, Patterns, at_path};
use super::glob::{Anchor, Glob};
use super::typed::Scalar;
use crate::event::Event;
use serde_json::Value;
use std::cell::OnceCell;
use std::collections::HashMap;

/// Finds the policies that an event wakes.
#[derive(Debug, Clone, Default)]
pub struct Index {
    entries: Vec<Filed>,
    /// By source, an empty one for any, and type.
    by_type: Lexicon<Bucket>,
}

#[derive(Debug, Clone)]
struct Filed {
    policy: usize,
    entry: Entry,
}

/// Entries with one source and one fixed end of their type in common; each stands in one of these.
#[derive(Debug, Clone, Default)]
struct Bucket {
    by_subject: Lexicon<Vec<usize>>,
    by_data: HashMap<Vec<String>, HashMap<Scalar, Vec<usize>>>,
    by_account: Lexicon<Vec<usize>>,
    by_region: Lexicon<Vec<usize>>,
    rest: Vec<usize>,
}

impl Index {
    /// Indexes policies by their place in `patterns`.
    pub fn build<'a>(patterns: impl Iterator<Item = &'a Patterns>) -> Self {
        let mut index = Self::default();
        for (policy, patterns) in patterns.enumerate() {
            for entry in &patterns.entries {
                index.file(Filed { policy, entry: entry.clone() });
            }
        }
        index
    }

    fn file(&mut self, filed: Filed) {
        let number = self.entries.len();
        let Entry { sources, kinds, .. } = &filed.entry;
        let sources =
            if sources.is_empty() { vec![""] } else { sources.iter().map(|s| s.as_str()).collect() };
        let kinds = if kinds.is_empty() {
            vec![Anchor::Prefix("")]
        } else {
            kinds.iter().map(Glob::anchor).collect()
        };
        for source in sources {
            for kind in &kinds {
                self.by_type.slot(source, *kind).file(number, &filed.entry);
            }
        }
        self.entries.push(filed);
    }

    /// Places of the policies that `event` wakes, ascending.
    pub fn matches(&self, event: &Event) -> Vec<usize> {
        let kind = event.kind.to_ascii_lowercase();
        let parsed = OnceCell::new();
        let data = || {
            let parse = || serde_json::from_str::<Value>(&event.data).ok();
            parsed.get_or_init(parse).as_ref()
        };
        let mut policies = Vec::new();
        let mut compare = |numbers: &Vec<usize>| {
            for number in numbers {
                let Filed { policy, entry } = &self.entries[*number];
                if entry.matches(event, &kind, data) {
                    policies.push(*policy);
                }
            }
        };
        for source in [event.source.as_str(), ""] {
            self.by_type.visit(source, &kind, &mut |bucket: &Bucket| bucket.visit(event, data, &mut compare));
        }
        policies.sort_unstable();
        policies.dedup();
        policies
    }
}

#[cfg(test)]
impl Index {
    /// How many entries `event` is compared with.
    pub(super) fn compared_with(&self, event: &Event) -> usize {
        let kind = event.kind.to_ascii_lowercase();
        let data: Option<Value> = serde_json::from_str(&event.data).ok();
        let mut compared = 0;
        for source in [event.source.as_str(), ""] {
            self.by_type.visit(source, &kind, &mut |bucket: &Bucket| {
                bucket.visit(event, || data.as_ref(), &mut |numbers: &Vec<usize>| compared += numbers.len());
            });
        }
        compared
    }
}

impl Bucket {
    fn file(&mut self, number: usize, entry: &Entry) {
        let in_lexicon = |lexicon: &mut Lexicon<Vec<usize>>, globs: &[Glob]| {
            for glob in globs {
                lexicon.slot("", glob.anchor()).push(number);
            }
        };
        if has_fixed_end(&entry.subjects) {
            in_lexicon(&mut self.by_subject, &entry.subjects);
        } else if let Some(test) = entry.data.first() {
            let by_value = self.by_data.entry(test.path.clone()).or_default();
            for value in &test.values {
                by_value.entry(value.clone()).or_default().push(number);
            }
        } else if has_fixed_end(&entry.accounts) {
            in_lexicon(&mut self.by_account, &entry.accounts);
        } else if has_fixed_end(&entry.regions) {
            in_lexicon(&mut self.by_region, &entry.regions);
        } else {
            self.rest.push(number);
        }
    }

    fn visit<'d>(
        &self,
        event: &Event,
        data: impl Fn() -> Option<&'d Value>,
        compare: &mut impl FnMut(&Vec<usize>),
    ) {
        self.by_subject.visit("", event.subject.as_deref().unwrap_or_default(), compare);
        self.by_account.visit("", event.account.as_deref().unwrap_or_default(), compare);
        self.by_region.visit("", event.region.as_deref().unwrap_or_default(), compare);
        for (path, by_value) in &self.by_data {
            let found = data().and_then(|data| at_path(data, path));
            if let Some(numbers) = found.and_then(|value| by_value.get(&value)) {
                compare(numbers);
            }
        }
        compare(&self.rest);
    }
}

/// Whether every pattern demands something at one end, so that it can be found by it.
fn has_fixed_end(globs: &[Glob]) -> bool {
    !globs.is_empty() && globs.iter().all(|glob| glob.anchor() != Anchor::Prefix(""))
}

/// Slots found by how a text begins or ends, in time that depends on the text's length and not on the number of slots.
/// Scopes keep apart what must not meet.
#[derive(Debug, Clone)]
struct Lexicon<T> {
    slots: Vec<T>,
    /// Two tries in one arena: by prefix from node 0, by suffix from node 1. Empty until there is a slot.
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// Sorted by byte.
    children: Vec<(u8, usize)>,
    slot: Option<usize>,
}

const BY_PREFIX: usize = 0;
const BY_SUFFIX: usize = 1;
/// Ends a scope: no source name contains it.
const SCOPE_END: u8 = 0;
/// Ends a whole text: no UTF-8 contains it.
const TEXT_END: u8 = 0xff;

impl<T> Default for Lexicon<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), nodes: Vec::new() }
    }
}

impl<T: Default> Lexicon<T> {
    /// The slot of an anchor, made where there is none.
    fn slot(&mut self, scope: &str, anchor: Anchor<'_>) -> &mut T {
        if self.nodes.is_empty() {
            self.nodes = vec![Node::default(), Node::default()];
        }
        let scope = scope.bytes().chain([SCOPE_END]);
        let node = match anchor {
            Anchor::Whole(text) => self.grow(BY_PREFIX, scope.chain(text.bytes()).chain([TEXT_END])),
            Anchor::Prefix(text) => self.grow(BY_PREFIX, scope.chain(text.bytes())),
            Anchor::Suffix(text) => self.grow(BY_SUFFIX, scope.chain(text.bytes().rev())),
        };
        let slots = &mut self.slots;
        let slot = *self.nodes[node].slot.get_or_insert_with(|| {
            slots.push(T::default());
            slots.len() - 1
        });
        &mut self.slots[slot]
    }

    fn grow(&mut self, from: usize, key: impl Iterator<Item = u8>) -> usize {
        key.fold(from, |node, byte| {
            match self.nodes[node].children.binary_search_by_key(&byte, |(b, _)| *b) {
                Ok(at) => self.nodes[node].children[at].1,
                Err(at) => {
                    self.nodes.push(Node::default());
                    let child = self.nodes.len() - 1;
                    self.nodes[node].children.insert(at, (byte, child));
                    child
                }
            }
        })
    }

    /// Shows every slot of the scope whose anchor `text` is, begins with or ends in.
    fn visit(&self, scope: &str, text: &str, show: &mut impl FnMut(&T)) {
        if self.nodes.is_empty() {
            return;
        }
        let scope = || scope.bytes().chain([SCOPE_END]);
        self.walk(BY_PREFIX, scope().chain(text.bytes()).chain([TEXT_END]), show);
        self.walk(BY_SUFFIX, scope().chain(text.bytes().rev()), show);
    }

    fn walk(&self, from: usize, key: impl Iterator<Item = u8>, show: &mut impl FnMut(&T)) {
        let mut node = from;
        for byte in key {
            let children = &self.nodes[node].children;
            let Ok(at) = children.binary_search_by_key(&byte, |(b, _)| *b) else { return };
            node = children[at].1;
            if let Some(slot) = self.nodes[node].slot {
                show(&self.slots[slot]);
            }
        }
    }
}

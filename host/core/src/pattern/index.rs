//! Finds the policies an event wakes without asking each. Entries are filed by source and by one fixed end of their type; those
//! that have both in common, in a bucket, by whichever of their other conditions fewest others share. An event is compared only with
//! the entries filed under its own texts and numbers. Leaves the comparison itself to `compile`.

use super::bucket::Bucket;
use super::compile::{Entry, Patterns};
use super::facts::{Attribute, Facts};
use super::glob::{Anchor, Glob};
use super::lexicon::Lexicon;
use crate::event::{Event, Wants};
use crate::id::SourceName;
use std::collections::HashMap;

/// Finds the policies that an event wakes.
#[derive(Debug, Clone, Default)]
pub struct Index {
    entries: Vec<Filed>,
    /// By type, of the entries that name the source.
    by_source: HashMap<SourceName, Lexicon<Bucket>>,
    /// By type, of those that take any source.
    of_any_source: Lexicon<Bucket>,
}

#[derive(Debug, Clone)]
pub(super) struct Filed {
    policy: usize,
    pub(super) entry: Entry,
}

/// A policy that an event matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woken {
    /// Its place among the patterns.
    pub policy: usize,
    /// Which notices of an incident it is woken by: all that any of the matching entries is.
    pub wants: Wants,
}

impl Index {
    /// Indexes policies by their place in `patterns`.
    pub fn build<'a>(patterns: impl Iterator<Item = &'a Patterns>) -> Self {
        let mut index = Self::default();
        for (policy, patterns) in patterns.enumerate() {
            for entry in &patterns.entries {
                index.file(&Filed { policy, entry: entry.clone() });
                index.entries.push(Filed { policy, entry: entry.clone() });
            }
        }
        let lexicons = index.by_source.values_mut().chain([&mut index.of_any_source]);
        lexicons.flat_map(Lexicon::slots_mut).for_each(|bucket| bucket.arrange(&index.entries));
        index
    }

    fn file(&mut self, filed: &Filed) {
        let number = self.entries.len();
        let kinds = match filed.entry.wanted(Attribute::Type) {
            [] => vec![Anchor::Prefix("")],
            kinds => kinds.iter().map(Glob::anchor).collect(),
        };
        for kind in kinds {
            if filed.entry.sources.is_empty() {
                self.of_any_source.slot(kind).add(number);
            }
            for source in &filed.entry.sources {
                self.by_source.entry(source.clone()).or_default().slot(kind).add(number);
            }
        }
    }

    /// The policies that `event` matches, by their place.
    pub fn matches(&self, event: &Event) -> Vec<Woken> {
        let facts = Facts::of(event);
        let mut woken: Vec<Woken> = Vec::new();
        self.candidates(&facts, &mut |number| {
            let Filed { policy, entry } = &self.entries[number];
            if entry.failed(&facts).is_none() {
                woken.push(Woken { policy: *policy, wants: entry.wants() });
            }
        });
        // Of the entries of one policy the one that wants more comes first, and stays.
        woken.sort_unstable_by_key(|one| (one.policy, one.wants != Wants::Transition));
        woken.dedup_by_key(|one| one.policy);
        woken
    }

    /// Shows the entries that `facts` may match.
    fn candidates(&self, facts: &Facts<'_>, show: &mut impl FnMut(usize)) {
        let kind = facts.attribute(Attribute::Type).unwrap_or_default();
        for lexicon in self.by_source.get(&facts.event.source).into_iter().chain([&self.of_any_source]) {
            lexicon.visit(kind, &mut |bucket: &Bucket| bucket.visit(facts, show));
        }
    }
}

#[cfg(test)]
impl Index {
    /// How many entries `event` is compared with.
    pub(super) fn compared_with(&self, event: &Event) -> usize {
        let mut compared = 0;
        self.candidates(&Facts::of(event), &mut |_| compared += 1);
        compared
    }
}

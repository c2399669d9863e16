//! Entries that have source and one fixed end of their type in common, each filed under one of its other conditions: the one that
//! fewest of the others share, so that policies which differ in anything at all are told apart by it. Leaves the comparison to `index`.

use super::data::Scalar;
use super::facts::{Attribute, Facts};
use super::glob::{Anchor, Glob};
use super::index::Filed;
use super::lexicon::Lexicon;
use super::ranges::Ranges;
use super::wanted::{Place, Wanted, number_of};
use serde_json::Value;
use std::collections::HashMap;

/// Entries, by what they demand.
#[derive(Debug, Clone, Default)]
pub(super) struct Bucket {
    /// All of them, until they are arranged.
    members: Vec<usize>,
    /// In the order of `Attribute::ALL`.
    by_attribute: [Lexicon<Vec<usize>>; Attribute::ALL.len()],
    by_place: Tree,
    /// Those that nothing else demands of them can be found by.
    rest: Vec<usize>,
}

/// Places in `data`, key by key.
#[derive(Debug, Clone, Default)]
struct Tree {
    below: HashMap<String, Tree>,
    here: Values,
}

/// Entries by what they demand at one place.
#[derive(Debug, Clone, Default)]
struct Values {
    by_text: Lexicon<Vec<usize>>,
    /// Numbers and booleans.
    by_value: HashMap<Scalar, Vec<usize>>,
    by_range: Ranges,
    by_being_there: Vec<usize>,
}

/// What an entry is filed under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'e> {
    Attribute(Attribute, Anchor<'e>),
    Place(&'e [String], Demand<'e>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Demand<'e> {
    Text(Anchor<'e>),
    Value(&'e Scalar),
    /// The bits of its ends.
    Range(u64, u64),
    There,
}

impl Bucket {
    pub(super) fn add(&mut self, entry: usize) {
        self.members.push(entry);
    }

    /// Files its members.
    pub(super) fn arrange(&mut self, entries: &[Filed]) {
        let members = std::mem::take(&mut self.members);
        let conditions: Vec<_> = members.iter().map(|entry| conditions(&entries[*entry])).collect();
        let mut shared: HashMap<Key<'_>, usize> = HashMap::new();
        for key in conditions.iter().flatten().flatten() {
            *shared.entry(key.crowd()).or_default() += 1;
        }
        let crowd = |keys: &&Vec<Key<'_>>| keys.iter().map(|key| shared[&key.crowd()]).sum::<usize>();
        for (entry, conditions) in members.into_iter().zip(&conditions) {
            match conditions.iter().min_by_key(crowd) {
                Some(keys) => keys.iter().for_each(|key| self.file(key, entry)),
                None => self.rest.push(entry),
            }
        }
        self.by_place.arrange();
    }

    fn file(&mut self, key: &Key<'_>, entry: usize) {
        match *key {
            Key::Attribute(attribute, anchor) => {
                self.by_attribute[attribute as usize].slot(anchor).push(entry);
            }
            Key::Place(path, demand) => {
                let tree = path
                    .iter()
                    .fold(&mut self.by_place, |tree, key| tree.below.entry(key.clone()).or_default());
                tree.here.file(demand, entry);
            }
        }
    }

    /// Shows the entries that `facts` may match; one may be shown more than once.
    pub(super) fn visit(&self, facts: &Facts<'_>, show: &mut impl FnMut(usize)) {
        let mut show_all = |entries: &Vec<usize>| entries.iter().copied().for_each(&mut *show);
        show_all(&self.rest);
        for (lexicon, attribute) in self.by_attribute.iter().zip(Attribute::ALL) {
            if let Some(text) = facts.attribute(attribute) {
                lexicon.visit(text, &mut show_all);
            }
        }
        if !self.by_place.below.is_empty()
            && let Some(data) = facts.data()
        {
            self.by_place.visit(data, show);
        }
    }
}

impl Tree {
    fn arrange(&mut self) {
        self.here.by_range.arrange();
        self.below.values_mut().for_each(Self::arrange);
    }

    /// As deep as the data is nested, and no wider than it or this tree, whichever has less.
    fn visit(&self, value: &Value, show: &mut impl FnMut(usize)) {
        self.here.visit(value, show);
        match value {
            Value::Object(members) if members.len() < self.below.len() => {
                let both = members.iter().filter_map(|(key, value)| Some((self.below.get(key)?, value)));
                both.for_each(|(tree, value)| tree.visit(value, show));
            }
            Value::Object(members) => {
                let both = self.below.iter().filter_map(|(key, tree)| Some((tree, members.get(key)?)));
                both.for_each(|(tree, value)| tree.visit(value, show));
            }
            Value::Array(items) => {
                let item = |key: &String| items.get(key.parse::<usize>().ok()?);
                let both = self.below.iter().filter_map(|(key, tree)| Some((tree, item(key)?)));
                both.for_each(|(tree, value)| tree.visit(value, show));
            }
            _ => {}
        }
    }
}

impl Values {
    fn file(&mut self, demand: Demand<'_>, entry: usize) {
        match demand {
            Demand::Text(anchor) => self.by_text.slot(anchor).push(entry),
            Demand::Value(scalar) => self.by_value.entry(scalar.clone()).or_default().push(entry),
            Demand::Range(low, high) => self.by_range.add((f64::from_bits(low), f64::from_bits(high)), entry),
            Demand::There => self.by_being_there.push(entry),
        }
    }

    fn visit(&self, value: &Value, show: &mut impl FnMut(usize)) {
        let mut show_all = |entries: &Vec<usize>| entries.iter().copied().for_each(&mut *show);
        match value {
            Value::Null => return,
            Value::String(text) => self.by_text.visit(text, &mut show_all),
            other => {
                let same = Scalar::of(other).and_then(|scalar| self.by_value.get(&scalar));
                same.into_iter().for_each(&mut show_all);
            }
        }
        show_all(&self.by_being_there);
        if !self.by_range.is_empty()
            && let Some(number) = number_of(value)
        {
            self.by_range.visit(number, show);
        }
    }
}

/// The conditions that an entry can be found by, each as the keys of which an event that matches has one.
fn conditions(Filed { entry, .. }: &Filed) -> Vec<Vec<Key<'_>>> {
    let attributes = Attribute::ALL.into_iter().filter(|attribute| *attribute != Attribute::Type);
    let by_attribute = attributes.filter_map(|attribute| {
        let anchors: Vec<_> = entry.wanted(attribute).iter().map(Glob::anchor).collect();
        let is_found = !anchors.is_empty() && !anchors.iter().any(|anchor| anchor.is_any());
        is_found.then(|| anchors.into_iter().map(|anchor| Key::Attribute(attribute, anchor)).collect())
    });
    by_attribute.chain(entry.data.iter().filter_map(place_keys)).collect()
}

/// None where one of what the place may have is nothing: of what is not there an index knows nothing.
fn place_keys(place: &Place) -> Option<Vec<Key<'_>>> {
    let demands = place.wanted.iter().map(|wanted| {
        Some(match wanted {
            Wanted::Is(Scalar::Text(text)) => Demand::Text(Anchor::Whole(text)),
            Wanted::Is(scalar) => Demand::Value(scalar),
            Wanted::Text { prefix, suffix } => Demand::Text(Anchor::longer(prefix, suffix)),
            Wanted::Number(range) => {
                let (low, high) = range.ends();
                Demand::Range(low.to_bits(), high.to_bits())
            }
            Wanted::There => Demand::There,
            Wanted::Absent => return None,
        })
    });
    demands.map(|demand| Some(Key::Place(&place.path, demand?))).collect()
}

impl Key<'_> {
    /// What it is counted as: ranges that are open to one side mostly lie in each other.
    fn crowd(self) -> Self {
        match self {
            Self::Place(path, Demand::Range(low, high))
                if f64::from_bits(low).is_infinite() || f64::from_bits(high).is_infinite() =>
            {
                Self::Place(path, Demand::There)
            }
            other => other,
        }
    }
}

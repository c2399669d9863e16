//! Which policies an event wakes: `on` entries compiled once, and an index over all policies so that the cost of a match
//! does not grow with their number. Leaves decoding to `event`.
// Skeleton: the names below are relied on elsewhere.

use crate::event::Event;
use serde::Deserialize;

/// One `on = [{ ... }]` entry as typed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnEntry {}

/// The compiled `on` entries of one policy: an event matches if one entry does.
#[derive(Debug, Clone, Default)]
pub struct Patterns {}

/// Finds the policies that an event wakes.
#[derive(Debug, Clone, Default)]
pub struct Index {}

impl Index {
    /// Indexes policies by their place in `patterns`.
    pub fn build<'a>(_patterns: impl Iterator<Item = &'a Patterns>) -> Self {
        Self {}
    }

    /// Places of the policies that `event` wakes, ascending.
    pub fn matches(&self, _event: &Event) -> Vec<usize> {
        Vec::new()
    }
}

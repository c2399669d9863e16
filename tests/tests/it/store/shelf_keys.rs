//! Natural keys of effects and the state of policies in a store in memory. Leaves ledgers and claims to `shelf`. Tested by
//! the conformance suite.

use opsward::store::{ONCE_KEPT, Once, OnceKey, STATE_KEY_BYTES_MAX, STATE_KEYS_MAX, STATE_VALUE_BYTES_MAX};
use opsward_core::call::CallResponse;
use opsward_core::guardrail::{Limit, Over, fits};
use opsward_core::id::{PolicyName, RunId};
use opsward_core::run::{Entry, Record, StateEntry, StateError, StateOp, StateReply};
use opsward_core::time::Timestamp;
use std::collections::BTreeMap;

/// Who asked first with which key.
#[derive(Clone, Default)]
pub(super) struct Keys(BTreeMap<(String, String, String), Taken>);

#[derive(Clone)]
struct Taken {
    run: RunId,
    position: u32,
    at: Timestamp,
    reply: Option<CallResponse>,
}

impl Keys {
    /// Another effect that has the key, where that stands in the way of `record`.
    pub(super) fn other(&self, run: &RunId, key: &OnceKey, record: Option<&Record>) -> Option<Once> {
        let taking = match record.map(|record| &record.entry) {
            Some(Entry::Result { .. } | Entry::NotExecuted { .. }) => return None,
            Some(Entry::Intent { position, .. }) => Some(*position),
            _ => None,
        };
        let has = self.0.get(&name(key))?;
        let is_other = has.run != *run || Some(has.position) != taking || has.reply.is_some();
        is_other.then(|| Once::Later { run: has.run.clone(), reply: has.reply.clone() })
    }

    /// Has the key follow its effect's record.
    pub(super) fn follow(&mut self, run: &RunId, key: OnceKey, record: &Record) {
        let name = name(&key);
        let has = |taken: &Taken, position: u32| taken.run == *run && taken.position == position;
        let taken = |position, reply| Taken { run: run.clone(), position, at: record.at, reply };
        match &record.entry {
            Entry::Intent { position, .. } => {
                self.0.entry(name).or_insert_with(|| taken(*position, None));
            }
            Entry::Result { position, reply: Ok(reply), .. } => {
                if self.0.get(&name).is_none_or(|before| has(before, *position)) {
                    self.0.insert(name, taken(*position, Some(reply.clone())));
                }
                self.0.retain(|_, old| old.reply.is_none() || old.at + ONCE_KEPT >= record.at);
            }
            Entry::Result { position, .. } | Entry::NotExecuted { position, .. }
                if self.0.get(&name).is_some_and(|before| has(before, *position)) =>
            {
                self.0.remove(&name);
            }
            _ => {}
        }
    }
}

/// What effects count against limits: scope, time, run, position and cost.
#[derive(Clone, Default)]
pub(super) struct Spent(Vec<(String, Timestamp, RunId, u32, u32)>);

impl Spent {
    pub(super) fn spend(&mut self, run: &RunId, limits: &[Limit], record: &Record) -> Option<Over> {
        let Entry::Intent { position, .. } = record.entry else { return None };
        for limit in limits {
            if let Err(over) = fits(limit, self.of(&limit.scope.key()), record.at) {
                return Some(over);
            }
        }
        let row = |limit: &Limit| (limit.scope.key(), record.at, run.clone(), position, limit.cost);
        self.0.extend(limits.iter().map(row));
        None
    }

    /// What was spent under a scope, newest first.
    pub(super) fn of(&self, scope: &str) -> Vec<(Timestamp, u32)> {
        let of_it = self.0.iter().filter(|row| row.0 == scope);
        let mut spent: Vec<(Timestamp, u32)> = of_it.map(|row| (row.1, row.4)).collect();
        spent.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        spent
    }

    pub(super) fn give_back(&mut self, run: &RunId, entry: &Entry) {
        if let Entry::Result { position, reply: Err(_), .. } | Entry::NotExecuted { position, .. } = entry {
            let is_its = |row: &(String, Timestamp, RunId, u32, u32)| (&row.2, row.3) == (run, *position);
            // Of several tries that came to the position, the latest.
            let latest = self.0.iter().filter(|row| is_its(row)).map(|row| row.1).max();
            self.0.retain(|row| !is_its(row) || Some(row.1) != latest);
        }
    }
}

fn name(key: &OnceKey) -> (String, String, String) {
    (key.policy.as_str().to_owned(), key.action.clone(), key.key.clone())
}

/// What policies keep.
#[derive(Clone, Default)]
pub(super) struct PolicyStates(BTreeMap<String, PolicyState>);

#[derive(Clone, Default)]
struct PolicyState {
    entries: BTreeMap<String, StateEntry>,
    /// The highest version any deleted key had.
    deleted: u64,
}

impl PolicyStates {
    pub(super) fn peek(&self, policy: &PolicyName, key: &str) -> Option<StateEntry> {
        self.0.get(policy.as_str())?.entries.get(key).cloned()
    }

    pub(super) fn perform(&mut self, policy: &PolicyName, op: &StateOp) -> StateReply {
        let state = self.0.entry(policy.as_str().to_owned()).or_default();
        match op {
            StateOp::Get { key } => StateReply::Value(state.entries.get(key).cloned()),
            StateOp::Set { key, value } => StateReply::Written(state.write(key, value, None)),
            StateOp::CompareAndSet { key, expected, value } => {
                StateReply::Written(state.write(key, value, Some(*expected)))
            }
            StateOp::Delete { key } => {
                if let Some(entry) = state.entries.remove(key) {
                    state.deleted = state.deleted.max(entry.version);
                }
                StateReply::Deleted
            }
        }
    }
}

impl PolicyState {
    fn write(&mut self, key: &str, value: &[u8], expected: Option<u64>) -> Result<u64, StateError> {
        if key.is_empty() || key.len() > STATE_KEY_BYTES_MAX || value.len() > STATE_VALUE_BYTES_MAX {
            return Err(StateError::TooLarge);
        }
        let present = self.entries.get(key).map(|entry| entry.version);
        if expected.is_some_and(|expected| expected != present.unwrap_or(0)) {
            return Err(StateError::Conflict);
        }
        if present.is_none() && self.entries.len() >= STATE_KEYS_MAX {
            return Err(StateError::TooLarge);
        }
        let version = present.unwrap_or(self.deleted) + 1;
        self.entries.insert(key.to_owned(), StateEntry { value: value.to_vec(), version });
        Ok(version)
    }
}

//! Questions about what a store in memory holds. Leaves changing it to the parent. Tested by the conformance suite.

use super::{Run, Shelf};
use opsward::store::{EventFilter, EventRow, Firing, LISTED_DEFAULT, NewEvent, RunDetail, RunFilter, RunRow};
use opsward_core::approval::{Phase, pending};
use opsward_core::id::{Digest, PolicyName};
use opsward_core::run::{RunState, StateEntry};

impl Shelf {
    pub(in super::super) fn list_runs(&self, filter: &RunFilter) -> Vec<RunRow> {
        let is_asked = |run: &&Run| {
            filter.policy.as_ref().is_none_or(|policy| run.new.policy == *policy)
                && filter.state.is_none_or(|state| run.state == state)
        };
        let rows = self.runs.iter().rev().filter(is_asked).map(|run| self.row(run));
        rows.take(rows_max(filter.limit)).collect()
    }

    pub(in super::super) fn find_runs(&self, prefix: &str, limit: usize) -> Vec<RunDetail> {
        let found = self.places.range(prefix.to_owned()..).take_while(|(id, _)| id.starts_with(prefix));
        let detail = |(_, at): (&String, &usize)| {
            let run = &self.runs[*at];
            let event = &self.events[run.event].0;
            RunDetail {
                row: self.row(run),
                epoch: run.epoch,
                event: event.event.clone(),
                received: event.received,
                ledger: run.ledger.clone(),
                damage: Vec::new(),
            }
        };
        found.take(rows_max(limit)).map(detail).collect()
    }

    fn row(&self, run: &Run) -> RunRow {
        let event = &self.events[run.event].0.event;
        RunRow {
            id: run.new.id.clone(),
            policy: run.new.policy.clone(),
            state: run.state,
            digest: run.new.digest,
            source: event.source.clone(),
            event_id: event.id.clone(),
            event_type: event.kind.clone(),
            created_at: run.created,
            changed_at: run.changed,
            wake_at: (run.state == RunState::Ready).then_some(run.wake),
            note: run.note.clone(),
        }
    }

    pub(in super::super) fn list_events(&self, filter: &EventFilter) -> Vec<EventRow> {
        let EventFilter { incident, source, kind, id, limit } = filter;
        // One star is enough for what the suite asks.
        let fits = |glob: &String, kind: &str| {
            let (glob, kind) = (glob.to_ascii_lowercase(), kind.to_ascii_lowercase());
            glob.split_once('*')
                .map_or(glob == kind, |(begin, end)| kind.starts_with(begin) && kind.ends_with(end))
        };
        let is_asked = |new: &NewEvent| {
            let event = &new.event;
            incident.as_ref().is_none_or(|key| event.incident.as_ref() == Some(key))
                && source.as_ref().is_none_or(|name| event.source == *name)
                && kind.as_ref().is_none_or(|glob| fits(glob, &event.kind))
                && id.as_ref().is_none_or(|begin| event.id.starts_with(begin))
        };
        let rows = self.events.iter().rev().filter(|(new, _)| is_asked(new)).map(|(new, runs)| EventRow {
            event: new.event.clone(),
            received: new.received,
            trust: new.trust,
            runs: runs.clone(),
        });
        rows.take(rows_max(*limit)).collect()
    }

    pub(in super::super) fn list_firings(&self, limit: usize) -> Vec<Firing> {
        self.firings.iter().rev().take(rows_max(limit)).cloned().collect()
    }

    pub(in super::super) fn count_runs(&self) -> Vec<(RunState, u64)> {
        let count = |state| self.runs.iter().filter(|run| run.state == state).count() as u64;
        RunState::ALL.iter().map(|state| (*state, count(*state))).collect()
    }

    pub(in super::super) fn list_approvals(&self, limit: usize) -> Vec<RunDetail> {
        let waiting = |run: &&Run| {
            let pending = pending(&run.ledger)?;
            let waits = pending.phase == Phase::Waits && run.state == RunState::Ready;
            waits.then_some((pending.asked.expires, run.new.id.clone()))
        };
        let mut waiting: Vec<_> = self.runs.iter().filter_map(|run| waiting(&run)).collect();
        waiting.sort_by(|a, b| (a.0, a.1.as_str()).cmp(&(b.0, b.1.as_str())));
        let runs = waiting.into_iter().take(rows_max(limit));
        runs.flat_map(|(_, run)| self.find_runs(run.as_str(), 1)).collect()
    }

    pub(in super::super) fn peek_state(&self, policy: &PolicyName, key: &str) -> Option<StateEntry> {
        self.states.peek(policy, key)
    }

    pub(in super::super) fn pinned_digests(&self) -> Vec<Digest> {
        let unfinished = self.runs.iter().filter(|run| !run.state.is_final());
        let mut digests: Vec<Digest> = unfinished.map(|run| run.new.digest).collect();
        digests.sort_by_key(|digest| *digest.as_bytes());
        digests.dedup();
        digests
    }
}

fn rows_max(limit: usize) -> usize {
    if limit == 0 { LISTED_DEFAULT } else { limit }
}

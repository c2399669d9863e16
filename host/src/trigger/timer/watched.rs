//! What the timer remembers of the schedules it watches: up to where each is settled, and when to look at it next, soonest first,
//! so that a look costs what is due and not what there is. Leaves asking, deciding and recording to the timer. Tested in
//! `tests/tests/it/timer.rs`.

use crate::policy::{LivePolicy, PolicySet};
use crate::store::ScheduleKey;
use opsward_core::run::Mode;
use opsward_core::schedule::Schedule;
use opsward_core::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// The schedules of one set of policies.
#[derive(Default)]
pub(super) struct Watched {
    set: Option<Arc<PolicySet>>,
    all: Vec<Watch>,
    /// When to look at which of `all`. What a watch does not say any more is passed over.
    wakes: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

/// One schedule.
pub(super) struct Watch {
    policy: Arc<LivePolicy>,
    /// Its place among the policy's.
    at: usize,
    /// Fire times up to here are decided on, or none of its own; `None` until the store was asked.
    pub(super) settled: Option<Timestamp>,
    /// Whether the store has no word of `settled`, neither a decision nor what `settle_schedules` records.
    pub(super) is_unrecorded: bool,
    /// When it is to be looked at; `None` once it fires no more.
    wake: Option<Timestamp>,
    /// Whether a fire time of it waits for a run to end.
    waits: bool,
}

impl Watch {
    pub(super) fn policy(&self) -> &LivePolicy {
        &self.policy
    }

    pub(super) fn schedule(&self) -> &Schedule {
        &self.policy.settings.schedules[self.at]
    }

    pub(super) fn key(&self) -> ScheduleKey {
        ScheduleKey { policy: self.policy.settings.name.clone(), schedule: self.schedule().shared_text() }
    }

    /// What waits, or is not recorded, is looked at without delay.
    fn wake_anew(&self, now: Timestamp) -> Option<Timestamp> {
        if self.waits || self.is_unrecorded { Some(now) } else { self.next_wake() }
    }

    fn next_wake(&self) -> Option<Timestamp> {
        self.settled.and_then(|settled| self.schedule().next_wake(settled))
    }
}

impl Watched {
    /// Watches the schedules of `set`, if it is another than before. What the first set has is looked at now, and so is what waits;
    /// what comes later is settled up to now: what it missed while it was switched off or away was not its own.
    pub(super) fn keep_in_step(&mut self, set: &Arc<PolicySet>, now: Timestamp) {
        if self.set.as_ref().is_some_and(|known| Arc::ptr_eq(known, set)) {
            return;
        }
        let mut before: HashMap<ScheduleKey, Watch> =
            self.all.drain(..).map(|watch| (watch.key(), watch)).collect();
        for policy in set.policies.iter().filter(|policy| policy.settings.mode != Mode::Off) {
            for at in 0..policy.settings.schedules.len() {
                let mut watch = Watch {
                    policy: policy.clone(),
                    at,
                    settled: None,
                    is_unrecorded: false,
                    wake: Some(now),
                    waits: false,
                };
                let key = watch.key();
                if let Some(known) = before.remove(&key) {
                    (watch.settled, watch.waits) = (known.settled, known.waits);
                    watch.is_unrecorded = known.is_unrecorded;
                    if watch.settled.is_some() {
                        watch.wake = watch.wake_anew(now);
                    }
                } else if self.set.is_some() {
                    // Looked at all the same: one of its fire times may wait from before.
                    (watch.settled, watch.is_unrecorded) = (Some(now), true);
                }
                self.all.push(watch);
            }
        }
        self.set = Some(set.clone());
        self.order();
    }

    /// Begins anew at `now`: what was seen under a clock that ran ahead would keep schedules silent until that time comes.
    pub(super) fn begin_anew(&mut self, now: Timestamp) {
        self.settle(now, |_| now);
    }

    /// Passes over the fire times up to `until`, which were never due.
    pub(super) fn pass_over(&mut self, until: Timestamp, now: Timestamp) {
        self.settle(now, |settled| settled.max(until));
    }

    fn settle(&mut self, now: Timestamp, anew: impl Fn(Timestamp) -> Timestamp) {
        for watch in &mut self.all {
            let before = watch.settled;
            watch.settled = before.map(&anew);
            watch.is_unrecorded |= watch.settled != before;
            // Of what was not decided on yet, the store is asked without delay.
            watch.wake = if watch.settled.is_some() { watch.wake_anew(now) } else { Some(now) };
        }
        self.order();
    }

    fn order(&mut self) {
        let wakes =
            self.all.iter().enumerate().filter_map(|(place, watch)| Some(Reverse((watch.wake?, place))));
        self.wakes = wakes.collect();
    }

    /// Takes at most `count` that are to be looked at by `now`. Each is to be given back by `wake_at` or `wake_at_next`.
    pub(super) fn take_due(&mut self, now: Timestamp, count: usize) -> Vec<usize> {
        let mut due = Vec::new();
        while due.len() < count
            && let Some(Reverse((wake, place))) = self.wakes.peek().copied()
            && wake <= now
        {
            self.wakes.pop();
            if self.all[place].wake == Some(wake) {
                self.all[place].wake = None;
                due.push(place);
            }
        }
        due
    }

    /// When the next one is to be looked at.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        self.wakes.peek().map(|Reverse((wake, _))| *wake)
    }

    pub(super) fn get(&self, place: usize) -> &Watch {
        &self.all[place]
    }

    /// Notes up to where one is settled of which the store knows nothing.
    pub(super) fn begin_one(&mut self, place: usize, settled: Timestamp) {
        (self.all[place].settled, self.all[place].is_unrecorded) = (Some(settled), true);
    }

    /// Notes that the store knows by now.
    pub(super) fn recorded(&mut self, place: usize) {
        self.all[place].is_unrecorded = false;
    }

    /// Has it looked at when it is due next, or at `sooner` if that is before, where a fire time of it waits.
    pub(super) fn settle_one(&mut self, place: usize, settled: Timestamp, sooner: Option<Timestamp>) {
        self.all[place].settled = Some(settled);
        self.all[place].waits = sooner.is_some();
        let next = self.all[place].next_wake();
        match next.into_iter().chain(sooner).min() {
            Some(wake) => self.wake_at(place, wake),
            None => self.all[place].wake = None,
        }
    }

    /// Has it looked at again at `wake`.
    pub(super) fn wake_at(&mut self, place: usize, wake: Timestamp) {
        self.all[place].wake = Some(wake);
        self.wakes.push(Reverse((wake, place)));
    }
}

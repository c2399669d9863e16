//! The timer: one task that wakes at fire times, has each decided on, and records the decision with the run it starts.
//! Leaves deciding to `opsward_core::schedule`, and once-only to the store: the first to record a fire time has it, so that
//! several hosts on one store need no leader. Tested as part of whole hosts in `tests/`.

use crate::clock::Clock;
use crate::failpoint::hit;
use crate::policy::{LivePolicy, Policies};
use crate::store::{Decision, Firing, NewEvent, NewRun, Store, StoreError};
use futures::future::join_all;
use opsward_core::id::{PolicyName, RunId};
use opsward_core::run::Mode;
use opsward_core::schedule::{Due, Schedule, fired_event};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The longest sleep: a clock that was set, or a wake that got lost, is noticed after this.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// How soon a store that failed is asked again: well within the default grace, and no flood of errors.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A clock set back by more than this was badly wrong before; by less, schedules wait until it has caught up.
const SET_BACK_MAX: Duration = Duration::from_secs(2 * 60 * 60);

/// What the timer works with.
pub struct Timer {
    /// Remembers decisions and takes runs.
    pub store: Arc<dyn Store>,
    /// Tells when it is.
    pub clock: Arc<dyn Clock>,
    /// Whose schedules to watch.
    pub policies: Arc<Policies>,
    /// Told when the set of policies has changed.
    pub policies_changed: Arc<Notify>,
    /// Tells the dispatcher that there are runs to claim.
    pub runs_ready: Arc<Notify>,
}

impl Timer {
    /// Runs until `shutdown` turns true or its sender is gone. A decision that has begun to be recorded is finished first.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut watched = Watched::default();
        loop {
            // Registered before looking: a change during the look ends the sleep at once.
            let changed = self.policies_changed.notified();
            let sleep = self.look(&mut watched).await;
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = changed => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Decides on all that is due and tells how long to sleep.
    async fn look(&self, watched: &mut Watched) -> Duration {
        let set = self.policies.load();
        watched.begin_look(self.clock.now());
        let mut sleep = SLEEP_MAX;
        for policy in set.policies.iter().filter(|policy| policy.settings.mode != Mode::Off) {
            for schedule in &policy.settings.schedules {
                let until = match self.look_at(watched, policy, schedule).await {
                    Ok(wake) => wake.map_or(SLEEP_MAX, |wake| wake.since(self.clock.now())),
                    Err(error) => {
                        tracing::error!(
                            policy = %policy.settings.name, schedule = schedule.text(), %error,
                            "schedule not decided on, will try again"
                        );
                        RETRY_AFTER
                    }
                };
                sleep = sleep.min(until);
            }
        }
        sleep
    }

    /// Decides on what is due of one schedule and tells when it is due next.
    async fn look_at(
        &self,
        watched: &mut Watched,
        policy: &LivePolicy,
        schedule: &Schedule,
    ) -> Result<Option<Timestamp>, StoreError> {
        let name = &policy.settings.name;
        let now = self.clock.now();
        let key = (name.clone(), schedule.text().to_owned());
        let last_look = watched.look - 1;
        let watch = match watched.schedules.get_mut(&key) {
            Some(watch) => watch,
            None => {
                // Known to the store: the time since the last decision was downtime, which the grace judges.
                let last = self.store.schedule_state(name, schedule.text()).await?.last_fire;
                if let Some(last) = last.filter(|last| last.since(now) > SET_BACK_MAX) {
                    tracing::warn!(
                        policy = %name, schedule = schedule.text(), last_fire = %last, %now,
                        "the clock is behind the last firing: nothing fires until it has caught up"
                    );
                }
                let watch = Watch { started: last.unwrap_or(now), look: last_look, next: None };
                watched.schedules.entry(key).or_insert(watch)
            }
        };
        if watch.look < last_look {
            // It was switched off or taken away and has come back: what it missed meanwhile was not its own.
            *watch = Watch { started: now, look: last_look, next: None };
        }
        watch.look = watched.look;
        if watch.next.is_none_or(|next| next <= now) {
            let state = self.store.schedule_state(name, schedule.text()).await?;
            let due = schedule.due(state.last_fire, watch.started, now, state.unfinished);
            self.record(policy, schedule, &due, now).await?;
            let last = due.last().map(|due| due.fire_at).max(state.last_fire);
            watch.next = schedule.next_wake(last, watch.started);
        }
        Ok(watch.next)
    }

    /// Records decisions, oldest first; the one that fires comes last, with its event and run.
    async fn record(
        &self,
        policy: &LivePolicy,
        schedule: &Schedule,
        due: &[Due],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if due.iter().any(|due| due.decision == Decision::Fired) {
            hit("before-fire");
        }
        // Asked in order, waited for together: many skipped fire times are one wait for the disk, not many.
        let recorded = join_all(due.iter().map(|due| {
            let name = &policy.settings.name;
            let firing = Firing {
                policy: name.clone(),
                schedule: schedule.text().to_owned(),
                fire_at: due.fire_at,
                decision: due.decision,
                decided_at: now,
            };
            let event =
                (due.decision == Decision::Fired).then(|| new_event(policy, schedule, due.fire_at, now));
            self.store.fire(firing, event)
        }))
        .await;
        if due.iter().any(|due| due.decision == Decision::Fired) {
            hit("after-fire");
            self.runs_ready.notify_one();
        }
        for (due, first) in due.iter().zip(recorded) {
            log(&policy.settings.name, schedule, due, first?);
        }
        Ok(())
    }
}

/// What the timer remembers of the schedules it has seen.
#[derive(Default)]
struct Watched {
    /// Counts looks at all policies.
    look: u64,
    /// When the last look began.
    looked_at: Timestamp,
    schedules: HashMap<(PolicyName, String), Watch>,
}

impl Watched {
    fn begin_look(&mut self, now: Timestamp) {
        if self.looked_at.since(now) > SET_BACK_MAX {
            // What was seen under a clock that ran ahead would keep schedules silent until that time comes.
            tracing::warn!(from = %self.looked_at, to = %now, "the clock was set back");
            self.schedules.clear();
        }
        self.look += 1;
        self.looked_at = now;
    }
}

struct Watch {
    /// Fire times up to here are not the schedule's own.
    started: Timestamp,
    /// The look that saw it last.
    look: u64,
    /// When it is due next; `None` before the first look at it, and once it fires no more.
    next: Option<Timestamp>,
}

fn new_event(policy: &LivePolicy, schedule: &Schedule, fire_at: Timestamp, now: Timestamp) -> NewEvent {
    let name = &policy.settings.name;
    let event = fired_event(name, schedule, fire_at);
    let run = NewRun {
        id: RunId::derive(&event.source, &event.id, name),
        policy: name.clone(),
        digest: policy.revision.digest,
    };
    NewEvent { event, raw: Vec::new(), received: now, trust: Trust::Proved, runs: vec![run] }
}

fn log(policy: &PolicyName, schedule: &Schedule, due: &Due, first: bool) {
    let (schedule, fire_at, decision) = (schedule.text(), due.fire_at, due.decision.as_str());
    match due.decision {
        _ if !first => {
            tracing::debug!(%policy, schedule, %fire_at, decision, "fire time decided on before");
        }
        Decision::Fired => tracing::info!(%policy, schedule, %fire_at, decision, "schedule fired"),
        Decision::SkippedLate | Decision::SkippedOverlap => {
            tracing::warn!(%policy, schedule, %fire_at, decision, "fire time skipped");
        }
    }
}

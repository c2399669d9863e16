//! The timer: one task that wakes at fire times, has each decided on, and records the decision with the run it starts.
//! Leaves deciding to `opsward_core::schedule`, knowing whose turn it is to `watched`, and once-only to the store: the first to
//! record a fire time has it, so that several hosts on one store need no leader. Tested as part of whole hosts in `tests/`.

mod watched;

use crate::clock::Clock;
use crate::failpoint::{hit, wrong};
use crate::policy::{LivePolicy, Policies};
use crate::store::{
    Decision, Firing, NewEvent, NewFiring, NewRun, Recorded, ScheduleState, Store, StoreError,
};
use opsward_core::event::{Event, Wants};
use opsward_core::id::RunId;
use opsward_core::schedule::{
    CLOCK_JUMP_MAX, ClockStep, Due, Known, Overlap, Schedule, clock_step, fired_by_hand, fired_event,
};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use watched::Watched;

/// The longest sleep: a clock that was set, or a wake that got lost, is noticed after this.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// How soon a store that failed is asked again: well within the default grace, and no flood of errors.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How soon a fire time that waits for a run to end is looked at again.
const WAITING_LOOK: Duration = Duration::from_secs(2);
/// Schedules decided on together: a burst at midnight is a few commits, and nobody else waits long for one.
const TOGETHER: usize = 500;
/// Decisions in one transaction, where a long sleep has left many of each.
const RECORDED_TOGETHER: usize = 1000;
/// Fire times found before others get their turn: after a long sleep each schedule may have a thousand, which take milliseconds.
const FOUND_AT_A_STRETCH: usize = 1000;

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
    /// Runs until `shutdown` turns true or its sender is gone. Decisions that have begun to be recorded are finished first.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut watched = Watched::default();
        let mut last_look = None;
        loop {
            // Registered before looking: a change during the look ends the sleep at once.
            let changed = self.policies_changed.notified();
            let look = (self.clock.now(), Instant::now());
            if let Some(before) = last_look.replace(look) {
                heed_clock(&mut watched, before, look);
            }
            let sleep = self.look(&mut watched, &shutdown).await;
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = changed => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Decides on all that is due and tells how long to sleep.
    async fn look(&self, watched: &mut Watched, shutdown: &watch::Receiver<bool>) -> Duration {
        watched.keep_in_step(&self.policies.load(), self.clock.now());
        while !*shutdown.borrow() {
            let now = self.clock.now();
            let due = watched.take_due(now, TOGETHER);
            if due.is_empty() {
                break;
            }
            if let Err(error) = self.decide(watched, &due, now, shutdown).await {
                tracing::error!(schedules = due.len(), %error, "schedules not decided on, will try again");
                due.iter().for_each(|place| watched.wake_at(*place, now + RETRY_AFTER));
            }
        }
        watched.next_wake().map_or(SLEEP_MAX, |wake| wake.since(self.clock.now())).min(SLEEP_MAX)
    }

    /// Decides on what is due of these schedules, and has each looked at again when it is due next. Told to stop it breaks off: what
    /// is not recorded then is due again for the next host.
    async fn decide(
        &self,
        watched: &mut Watched,
        places: &[usize],
        now: Timestamp,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<(), StoreError> {
        let keys = places.iter().map(|place| watched.get(*place).key()).collect();
        let states = self.store.schedule_states(keys, now + CLOCK_JUMP_MAX).await?;
        let mut looked: Vec<Looked> = Vec::with_capacity(places.len());
        let mut found = 0;
        for (place, state) in places.iter().zip(&states) {
            found += looked.last().map_or(0, |last| last.due.len());
            if found >= FOUND_AT_A_STRETCH {
                found = 0;
                tokio::task::yield_now().await;
                if *shutdown.borrow() {
                    return Ok(());
                }
            }
            let watch = watched.get(*place);
            let recorded = watch.settled.or_else(|| settled_in(state, &watch.key().schedule, now));
            if recorded.is_none() {
                watched.begin_one(*place, now);
            }
            let (watch, settled) = (watched.get(*place), recorded.unwrap_or(now));
            let known = Known {
                settled,
                paused_until: if wrong("no-pause") { Timestamp::default() } else { state.paused_until(now) },
                waiting: state.waiting,
                unfinished: state.unfinished,
            };
            looked.push(Looked { place: *place, known, due: watch.schedule().due(known, now) });
        }
        self.record_begun(watched, places).await?;
        let Some(again) = self.record(watched, &looked, now, shutdown).await? else { return Ok(()) };
        for Looked { place, known, due } in looked {
            if again.contains(&place) {
                watched.wake_at(place, now);
                continue;
            }
            let settled = due.iter().map(|due| due.fire_at).fold(known.settled, Timestamp::max);
            let decided = |fire_at: Timestamp| due.iter().any(|due| due.fire_at == fire_at);
            let waits = due.iter().any(|due| due.decision == Decision::Queued)
                || known.waiting.is_some_and(|fire_at| !decided(fire_at));
            watched.settle_one(place, settled, waits.then(|| now + WAITING_LOOK));
        }
        Ok(())
    }

    /// Records up to where those of these schedules are settled that have begun, or begun anew: what is missed from then on is their own,
    /// also after a restart. One that is known costs no write.
    async fn record_begun(&self, watched: &mut Watched, places: &[usize]) -> Result<(), StoreError> {
        let begun: Vec<usize> =
            places.iter().copied().filter(|place| watched.get(*place).is_unrecorded).collect();
        let word = |place: &usize| Some((watched.get(*place).key(), watched.get(*place).settled?));
        let settled: Vec<_> = begun.iter().filter_map(word).collect();
        if !settled.is_empty() {
            self.store.settle_schedules(settled).await?;
            begun.into_iter().for_each(|place| watched.recorded(place));
        }
        Ok(())
    }

    /// Records decisions, a schedule's oldest first. Returns those of which something else is known by now: they are to be looked
    /// at again; `None` where it broke off.
    async fn record(
        &self,
        watched: &Watched,
        looked: &[Looked],
        now: Timestamp,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<Option<HashSet<usize>>, StoreError> {
        let all = looked.iter().flat_map(|one| one.due.iter().map(|due| (one.place, *due)));
        let all: Vec<(usize, Due)> = all.collect();
        let mut again = HashSet::new();
        for together in all.chunks(RECORDED_TOGETHER) {
            if *shutdown.borrow() {
                return Ok(None);
            }
            let fires = together.iter().any(|(_, due)| due.decision == Decision::Fired);
            if fires {
                hit("before-fire");
            }
            let new = together.iter().map(|(place, due)| {
                let watch = watched.get(*place);
                new_firing(watch.policy(), watch.schedule(), *due, now)
            });
            let recorded = self.store.fire(new.collect()).await?;
            if fires {
                hit("after-fire");
                self.runs_ready.notify_one();
            }
            for ((place, due), recorded) in together.iter().zip(recorded) {
                log(watched.get(*place).policy(), watched.get(*place).schedule(), due, recorded);
                if matches!(recorded, Recorded::Paused | Recorded::Unfinished) {
                    again.insert(*place);
                }
            }
        }
        Ok(Some(again))
    }
}

/// A schedule that was looked at, and what is due of it.
struct Looked {
    place: usize,
    known: Known,
    due: Vec<Due>,
}

/// Has a clock that was far wrong mean what it does.
fn heed_clock(watched: &mut Watched, (last, at): (Timestamp, Instant), (now, looked): (Timestamp, Instant)) {
    match clock_step(last, looked.saturating_duration_since(at), now) {
        ClockStep::Steady => {}
        ClockStep::Corrected { passed_over } => {
            tracing::warn!(from = %last, to = %now, "the clock jumped ahead: what it passed over is not made up for");
            watched.pass_over(passed_over, now);
        }
        ClockStep::SetBack => {
            tracing::warn!(from = %last, to = %now, "the clock was set back: schedules begin anew");
            watched.begin_anew(now);
        }
    }
}

/// Up to where a schedule that the host has not looked at before is settled. Known to the store: the time since was downtime,
/// which the misfire rule judges. `None` where it is not.
fn settled_in(state: &ScheduleState, schedule: &str, now: Timestamp) -> Option<Timestamp> {
    let last = state.last_fire.max(state.settled);
    if let Some(last) = last.filter(|last| *last > now) {
        tracing::warn!(schedule, last_fire = %last, %now, "the clock is behind the last firing: nothing fires until it has caught up");
    }
    last
}

fn new_firing(policy: &LivePolicy, schedule: &Schedule, due: Due, now: Timestamp) -> NewFiring {
    let event = || fired_event(&policy.settings.name, schedule, due.fire_at);
    NewFiring {
        firing: firing(policy, schedule, due, now),
        event: due.decision.starts_a_run().then(|| new_event(policy, event(), now)),
        overlaps: schedule.overlap() == Overlap::Allow,
        by: None,
    }
}

/// What it takes to have a schedule fire now because `by` says so, and the run that it starts.
pub fn by_hand(policy: &LivePolicy, schedule: &Schedule, by: &str, now: Timestamp) -> (NewFiring, RunId) {
    // Never at a whole second, where a fire time may be.
    let at = if now.ms() % 1000 == 0 { now + Duration::from_millis(1) } else { now };
    let event = new_event(policy, fired_by_hand(&policy.settings.name, schedule, at, by), now);
    let run = RunId::derive(&event.event.source, &event.event.id, &policy.settings.name);
    let due = Due { fire_at: at, decision: Decision::FiredByHand };
    let new = NewFiring {
        firing: firing(policy, schedule, due, now),
        event: Some(event),
        overlaps: schedule.overlap() == Overlap::Allow,
        by: Some(by.to_owned()),
    };
    (new, run)
}

fn firing(policy: &LivePolicy, schedule: &Schedule, due: Due, now: Timestamp) -> Firing {
    let Due { fire_at, decision } = due;
    let (policy, schedule) = (policy.settings.name.clone(), schedule.text().to_owned());
    Firing { policy, schedule, fire_at, decision, decided_at: now }
}

fn new_event(policy: &LivePolicy, event: Event, now: Timestamp) -> NewEvent {
    let name = &policy.settings.name;
    let run = NewRun {
        id: RunId::derive(&event.source, &event.id, name),
        policy: name.clone(),
        digest: policy.revision.digest,
        wants: Wants::Progress,
    };
    NewEvent { event, raw: Vec::new(), received: now, trust: Trust::Proved, runs: vec![run] }
}

fn log(policy: &LivePolicy, schedule: &Schedule, due: &Due, recorded: Recorded) {
    let (policy, schedule) = (&policy.settings.name, schedule.text());
    let (fire_at, decision) = (due.fire_at, due.decision.as_str());
    match (recorded, due.decision) {
        (Recorded::Before, _) => {
            tracing::debug!(%policy, schedule, %fire_at, decision, "fire time decided on before");
        }
        (Recorded::Paused | Recorded::Unfinished, _) => {
            tracing::debug!(%policy, schedule, %fire_at, decision, "looked at again: more is known by now");
        }
        (Recorded::First, Decision::Fired) => {
            tracing::info!(%policy, schedule, %fire_at, decision, "schedule fired");
        }
        (Recorded::First, Decision::SkippedLate | Decision::SkippedOverlap) => {
            tracing::warn!(%policy, schedule, %fire_at, decision, "fire time skipped");
        }
        (Recorded::First, _) => tracing::info!(%policy, schedule, %fire_at, decision, "schedule not fired"),
    }
}

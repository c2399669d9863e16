//! What to do about the fire times of a schedule, given what is known of it. Leaves asking the store and recording to the
//! host's timer. Tested in `tests`.

use super::{Misfire, Overlap, Schedule};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many missed fire times of a schedule are decided on, the latest ones: 1,000 are more than three days of `every = "5m"`.
/// Older ones are passed over without a record, so that a long sleep does not end in a flood of writes.
pub const MISSED_MAX: usize = 1000;
/// How many missed fire times `misfire = "all"` makes up for, the latest ones: a day of hourly firings.
pub const CAUGHT_UP_MAX: usize = 24;
/// How long a fire time waits for the last run to end: beyond a day it is another day's, as with the grace.
pub const QUEUED_MAX: Duration = super::GRACE_MAX;

/// What was decided of a fire time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// A run was started.
    Fired,
    /// It was missed, and is not made up for.
    SkippedLate,
    /// The last run of the schedule has not ended.
    SkippedOverlap,
    /// The schedule is paused.
    SkippedPaused,
    /// It waits for the last run of the schedule to end; decided on once more then.
    Queued,
    /// A person started a run, at a time of their own.
    FiredByHand,
}

impl Decision {
    /// All of them; the place is what a store keeps.
    pub const ALL: [Self; 6] = [
        Self::Fired,
        Self::SkippedLate,
        Self::SkippedOverlap,
        Self::SkippedPaused,
        Self::Queued,
        Self::FiredByHand,
    ];

    /// The decision as it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::SkippedLate => "skipped-late",
            Self::SkippedOverlap => "skipped-overlap",
            Self::SkippedPaused => "skipped-paused",
            Self::Queued => "queued",
            Self::FiredByHand => "fired-by-hand",
        }
    }

    /// Whether it comes with a run.
    pub fn starts_a_run(self) -> bool {
        matches!(self, Self::Fired | Self::FiredByHand)
    }
}

/// A fire time that has come, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The fire time.
    pub fire_at: Timestamp,
    /// What to do.
    pub decision: Decision,
}

/// What is known of a schedule when it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// Fire times up to here are decided on, or none of its own.
    pub settled: Timestamp,
    /// Fire times up to here came while it was paused; the end of time while it is.
    pub paused_until: Timestamp,
    /// The fire time that waits for the last run to end. One after `settled` was put there under a clock that ran ahead: its time is
    /// still to come.
    pub waiting: Option<Timestamp>,
    /// Whether a run of it has not ended.
    pub unfinished: bool,
}

impl Schedule {
    /// The fire times that are to be decided on at `now`, oldest first, each with its decision.
    ///
    /// What waits is fired once no run is unfinished, and given up after `QUEUED_MAX`. Of the fire times since `settled` the
    /// last ones count, as many as the misfire rule says; with `skip` the very last, if it is within the grace. What counts is
    /// fired, or, while a run is unfinished, what the overlap rule says; all others are late. While the clock is behind
    /// `settled`, as after it was set back, nothing is due.
    pub fn due(&self, known: Known, now: Timestamp) -> Vec<Due> {
        let mut busy = known.unfinished;
        let mut waiting = known.waiting.filter(|fire_at| *fire_at <= known.settled);
        let mut due = Vec::new();
        if let Some(fire_at) = waiting
            && let Some(decision) = of_waiting(fire_at, known, now)
        {
            busy |= decision == Decision::Fired;
            waiting = None;
            due.push(Due { fire_at, decision });
        }
        let by = now - self.delay();
        let missed = self.missed(known.settled, by);
        let counting = match self.misfire() {
            Misfire::Skip => usize::from(missed.last().is_some_and(|last| by.since(*last) <= self.grace())),
            Misfire::Once => 1,
            Misfire::All => CAUGHT_UP_MAX,
        };
        let first_counting = missed.len().saturating_sub(counting);
        for (at, fire_at) in missed.into_iter().enumerate() {
            let decision = if fire_at <= known.paused_until {
                Decision::SkippedPaused
            } else if at < first_counting {
                Decision::SkippedLate
            } else {
                match self.overlap() {
                    Overlap::Skip if busy => Decision::SkippedOverlap,
                    // One waits: the queue has an end.
                    Overlap::Queue if busy && waiting.is_some() => Decision::SkippedOverlap,
                    Overlap::Queue if busy => Decision::Queued,
                    _ => Decision::Fired,
                }
            };
            busy |= decision == Decision::Fired;
            waiting = waiting.or((decision == Decision::Queued).then_some(fire_at));
            due.push(Due { fire_at, decision });
        }
        due
    }

    /// When fire times after `settled` are due next; not after `now` if one is due already.
    pub fn next_wake(&self, settled: Timestamp) -> Option<Timestamp> {
        self.next_after(settled).map(|fire_at| fire_at + self.delay())
    }

    /// The fire times after `settled` and not after `until`, oldest first; the latest `MISSED_MAX` where there are more.
    fn missed(&self, settled: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let ahead = std::iter::successors(self.next_after(settled), |t| self.next_after(*t));
        let few: Vec<_> = ahead.take_while(|fire_at| *fire_at <= until).take(MISSED_MAX + 1).collect();
        if few.len() <= MISSED_MAX {
            return few;
        }
        let mut latest = self.latest_first(settled, until);
        latest.reverse();
        latest
    }

    /// At most `MISSED_MAX` fire times after `settled` and not after `now`.
    fn latest_first(&self, settled: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        let mut found = Vec::new();
        let (mut until, mut gap) = (now, TICK);
        while found.len() < MISSED_MAX
            && let Some(fire_at) = self.latest_between(settled, until, gap)
        {
            found.push(fire_at);
            gap = until.since(fire_at) + TICK;
            until = fire_at - TICK;
        }
        found
    }

    /// The latest fire time after `settled` and not after `until`. Schedules only look ahead: it is looked for ever further back,
    /// first by `gap`, which finds that of an even pace at once, and then by bisection.
    fn latest_between(&self, settled: Timestamp, until: Timestamp, gap: Duration) -> Option<Timestamp> {
        let fires_by = |from: Timestamp| self.next_after(from).filter(|fire_at| *fire_at <= until);
        let mut back = gap;
        let mut latest = loop {
            let from = settled.max(until - back);
            match fires_by(from) {
                Some(fire_at) => break fire_at,
                None if from == settled => return None,
                None => back = back.saturating_mul(2),
            }
        };
        // Nothing fires after `quiet_from` until `until`.
        let mut quiet_from = until;
        while let Some(next) = fires_by(latest) {
            let middle = Timestamp::from_ms(latest.ms() + (quiet_from.ms() - latest.ms()) / 2);
            match fires_by(middle) {
                Some(later) => latest = later,
                None => (latest, quiet_from) = (next, middle),
            }
        }
        Some(latest)
    }
}

/// What to do about a fire time that waits; `None` where it goes on waiting.
fn of_waiting(fire_at: Timestamp, known: Known, now: Timestamp) -> Option<Decision> {
    if fire_at <= known.paused_until {
        Some(Decision::SkippedPaused)
    } else if now.since(fire_at) > QUEUED_MAX {
        Some(Decision::SkippedLate)
    } else {
        (!known.unfinished).then_some(Decision::Fired)
    }
}

/// The resolution of a timestamp.
const TICK: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;

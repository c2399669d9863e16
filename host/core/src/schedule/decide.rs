//! What to do about the fire times of a schedule, given what was decided last. Leaves asking the store and recording to
//! the host's timer. Tested below and in `super::tests`.

use super::{Overlap, Schedule};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How many missed fire times of a schedule are decided on, the latest ones: 1,000 are more than three days of `every = "5m"`.
/// Older ones are passed over without a record, so that a long sleep does not end in a flood of writes.
pub const MISSED_MAX: usize = 1000;

/// What was decided of a fire time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// A run was started.
    Fired,
    /// Later than the grace allows, or followed by another fire time within the grace.
    SkippedLate,
    /// The last run of the schedule has not ended.
    SkippedOverlap,
}

impl Decision {
    /// The decision as it is shown and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::SkippedLate => "skipped-late",
            Self::SkippedOverlap => "skipped-overlap",
        }
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

impl Schedule {
    /// The fire times that have come by `now`, oldest first, each with its decision.
    ///
    /// Fire times up to `last_decided` are settled, and those up to `started`, when the schedule went live, are none of
    /// its own. Of the rest the latest is fired if it is within the grace, unless `unfinished` (a run of the schedule has not
    /// ended) and the schedule does not overlap. All others are late. While the clock is behind `last_decided`, as after it
    /// was set back, nothing is due.
    pub fn due(
        &self,
        last_decided: Option<Timestamp>,
        started: Timestamp,
        now: Timestamp,
        unfinished: bool,
    ) -> Vec<Due> {
        let settled = last_decided.map_or(started, |last| last.max(started));
        let mut missed = self.latest_first(settled, now);
        missed.reverse();
        let mut due: Vec<Due> =
            missed.into_iter().map(|fire_at| Due { fire_at, decision: Decision::SkippedLate }).collect();
        if let Some(latest) = due.last_mut()
            && now.since(latest.fire_at) <= self.grace()
        {
            let overlaps = unfinished && self.overlap() == Overlap::Skip;
            latest.decision = if overlaps { Decision::SkippedOverlap } else { Decision::Fired };
        }
        due
    }

    /// When something is due next, for the same arguments as [`Schedule::due`]; not after `now` if something is due already.
    pub fn next_wake(&self, last_decided: Option<Timestamp>, started: Timestamp) -> Option<Timestamp> {
        self.next_after(last_decided.map_or(started, |last| last.max(started)))
    }

    /// At most `MISSED_MAX` fire times after `settled` and not after `now`.
    fn latest_first(&self, settled: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        let mut found = Vec::new();
        let mut until = now;
        while found.len() < MISSED_MAX
            && let Some(fire_at) = self.latest_between(settled, until)
        {
            found.push(fire_at);
            until = fire_at - TICK;
        }
        found
    }

    /// The latest fire time after `settled` and not after `until`, by bisection: schedules only look ahead.
    fn latest_between(&self, settled: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let fires_by = |from: Timestamp| self.next_after(from).filter(|fire_at| *fire_at <= until);
        let mut latest = fires_by(settled)?;
        // `latest` fires, and nothing does after `quiet_from` until `until`.
        let mut quiet_from = until;
        while latest < quiet_from {
            let middle = Timestamp::from_ms(latest.ms() + (quiet_from.ms() - latest.ms()) / 2);
            match fires_by(middle) {
                Some(later) => latest = later,
                None if middle > latest => quiet_from = middle,
                None => break,
            }
        }
        Some(latest)
    }
}

/// The resolution of a timestamp.
const TICK: std::time::Duration = std::time::Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::super::ScheduleEntry;
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).expect("an instant")
    }

    fn nightly(overlap: Overlap) -> Schedule {
        let entry = ScheduleEntry {
            cron: Some("0 3 * * *".to_owned()),
            zone: Some("UTC".to_owned()),
            overlap,
            ..ScheduleEntry::default()
        };
        Schedule::parse(&entry).expect("a schedule")
    }

    fn every(period: &str) -> Schedule {
        Schedule::parse(&ScheduleEntry { every: Some(period.to_owned()), ..ScheduleEntry::default() })
            .expect("a schedule")
    }

    #[test]
    fn a_fire_time_is_fired_within_the_grace_and_skipped_after_it() {
        use Decision::{Fired, SkippedLate, SkippedOverlap};
        let last = Some("2024-01-01T03:00:00Z");
        for (last, started, now, unfinished, expected) in [
            (last, "2024-01-01T00:00:00Z", "2024-01-02T02:59:59.999Z", false, vec![]),
            (
                last,
                "2024-01-01T00:00:00Z",
                "2024-01-02T03:00:00Z",
                false,
                vec![("2024-01-02T03:00:00Z", Fired)],
            ),
            (
                last,
                "2024-01-01T00:00:00Z",
                "2024-01-02T03:05:00Z",
                false,
                vec![("2024-01-02T03:00:00Z", Fired)],
            ),
            (
                last,
                "2024-01-01T00:00:00Z",
                "2024-01-02T03:05:00.001Z",
                false,
                vec![("2024-01-02T03:00:00Z", SkippedLate)],
            ),
            (
                last,
                "2024-01-01T00:00:00Z",
                "2024-01-02T03:00:01Z",
                true,
                vec![("2024-01-02T03:00:00Z", SkippedOverlap)],
            ),
            (
                last,
                "2024-01-01T00:00:00Z",
                "2024-01-02T09:00:00Z",
                true,
                vec![("2024-01-02T03:00:00Z", SkippedLate)],
            ),
            (
                last,
                "2024-01-01T00:00:00Z",
                "2024-01-04T03:01:00Z",
                false,
                vec![
                    ("2024-01-02T03:00:00Z", SkippedLate),
                    ("2024-01-03T03:00:00Z", SkippedLate),
                    ("2024-01-04T03:00:00Z", Fired),
                ],
            ),
            // Never for a time before it went live, however recent.
            (None, "2024-01-02T03:00:01Z", "2024-01-02T03:00:02Z", false, vec![]),
            (last, "2024-01-02T03:00:01Z", "2024-01-02T03:00:02Z", false, vec![]),
            (
                None,
                "2024-01-02T02:59:59Z",
                "2024-01-02T03:00:02Z",
                false,
                vec![("2024-01-02T03:00:00Z", Fired)],
            ),
            // The clock was set back past a firing: it is not done again.
            (Some("2024-01-02T03:00:00Z"), "2024-01-01T00:00:00Z", "2024-01-02T02:59:58Z", false, vec![]),
            (Some("2024-01-02T03:00:00Z"), "2024-01-01T00:00:00Z", "2024-01-02T03:00:00Z", false, vec![]),
        ] {
            let due: Vec<_> = nightly(Overlap::Skip)
                .due(last.map(at), at(started), at(now), unfinished)
                .into_iter()
                .map(|due| (due.fire_at, due.decision))
                .collect();
            let expected: Vec<_> =
                expected.into_iter().map(|(fire_at, decision)| (at(fire_at), decision)).collect();
            assert_eq!(due, expected, "last {last:?}, started {started}, now {now}, unfinished {unfinished}");
        }
    }

    #[test]
    fn an_overlap_is_fired_where_the_operator_allows_it() {
        let due =
            nightly(Overlap::Allow).due(None, at("2024-01-01T00:00:00Z"), at("2024-01-01T03:00:00Z"), true);
        assert_eq!(due, [Due { fire_at: at("2024-01-01T03:00:00Z"), decision: Decision::Fired }]);
    }

    #[test]
    fn after_a_long_sleep_the_latest_fire_times_are_decided_on_and_one_is_fired() {
        let (started, now) = (at("2023-01-01T00:00:00Z"), at("2024-01-01T00:00:07Z"));
        let due = every("10s").due(None, started, now, false);
        assert_eq!(due.len(), MISSED_MAX);
        assert!(due.windows(2).all(|pair| pair[1].fire_at.since(pair[0].fire_at).as_secs() == 10));
        let fired: Vec<_> = due.iter().filter(|due| due.decision == Decision::Fired).collect();
        assert_eq!(fired.len(), 1);
        assert_eq!(fired[0].fire_at, at("2024-01-01T00:00:00Z"));
    }

    #[test]
    fn the_next_wake_is_the_first_time_something_is_due() {
        let schedule = nightly(Overlap::Skip);
        let started = at("2024-01-01T00:00:00Z");
        let wake = schedule.next_wake(None, started).expect("a wake");
        assert_eq!(schedule.due(None, started, wake - TICK, false), []);
        assert_eq!(schedule.due(None, started, wake, false).len(), 1);
        assert_eq!(schedule.next_wake(Some(wake), started), Some(at("2024-01-02T03:00:00Z")));
    }

    proptest::proptest! {
        #[test]
        fn looking_often_or_seldom_decides_on_the_same_fire_times(steps in proptest::collection::vec(1i64..7_200_000, 1..40)) {
            let schedule = every("7m");
            let started = at("2024-03-01T00:00:00Z");
            let (mut now, mut last, mut seen) = (started, None, Vec::new());
            for step in steps {
                now = Timestamp::from_ms(now.ms() + step);
                let due = schedule.due(last, started, now, false);
                let fired = due.iter().filter(|due| due.decision == Decision::Fired).count();
                proptest::prop_assert!(fired <= 1);
                last = due.last().map(|due| due.fire_at).or(last);
                seen.extend(due.into_iter().map(|due| due.fire_at));
            }
            let at_once: Vec<_> = schedule.due(None, started, now, false).into_iter().map(|due| due.fire_at).collect();
            proptest::prop_assert_eq!(seen, at_once);
        }
    }
}

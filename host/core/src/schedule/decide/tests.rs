//! Tables of what is due: by misfire rule, overlap, pause, corrected clock; and that looking often or seldom is the same.

use super::super::ScheduleEntry;
use super::*;
use Decision::{Fired, Queued, SkippedLate, SkippedOverlap, SkippedPaused};

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).expect("an instant")
}

fn schedule(entry: ScheduleEntry) -> Schedule {
    Schedule::parse(&entry).expect("a schedule")
}

fn nightly(misfire: Misfire, overlap: Overlap) -> Schedule {
    let [cron, zone] = ["0 3 * * *", "UTC"].map(|text| Some(text.to_owned()));
    schedule(ScheduleEntry { cron, zone, overlap, misfire: Some(misfire), ..ScheduleEntry::default() })
}

fn every(period: &str) -> Schedule {
    schedule(ScheduleEntry { every: Some(period.to_owned()), ..ScheduleEntry::default() })
}

/// Decisions by the day of January 2024 on which 03:00 was the fire time.
fn decided(due: Vec<Due>) -> Vec<(String, Decision)> {
    let day = |due: Due| {
        let text = due.fire_at.to_iso_seconds();
        assert_eq!(&text[10..], "T03:00:00Z");
        text[8..10].to_owned()
    };
    due.into_iter().map(|due| (day(due), due.decision)).collect()
}

fn known(settled: &str, unfinished: bool) -> Known {
    Known { settled: at(settled), unfinished, ..Known::default() }
}

#[test]
fn a_fire_time_is_fired_within_the_grace_and_skipped_after_it() {
    for (settled, now, unfinished, expected) in [
        ("2024-01-01T03:00:00Z", "2024-01-02T02:59:59.999Z", false, vec![]),
        ("2024-01-01T03:00:00Z", "2024-01-02T03:00:00Z", false, vec![("02", Fired)]),
        ("2024-01-01T03:00:00Z", "2024-01-02T03:05:00Z", false, vec![("02", Fired)]),
        ("2024-01-01T03:00:00Z", "2024-01-02T03:05:00.001Z", false, vec![("02", SkippedLate)]),
        ("2024-01-01T03:00:00Z", "2024-01-02T03:00:01Z", true, vec![("02", SkippedOverlap)]),
        ("2024-01-01T03:00:00Z", "2024-01-02T09:00:00Z", true, vec![("02", SkippedLate)]),
        (
            "2024-01-01T03:00:00Z",
            "2024-01-04T03:01:00Z",
            false,
            vec![("02", SkippedLate), ("03", SkippedLate), ("04", Fired)],
        ),
        // Never for a time before it went live, however recent.
        ("2024-01-02T03:00:01Z", "2024-01-02T03:00:02Z", false, vec![]),
        // The clock was set back past a firing: it is not done again.
        ("2024-01-02T03:00:00Z", "2024-01-02T02:59:58Z", false, vec![]),
        ("2024-01-02T03:00:00Z", "2024-01-02T03:00:00Z", false, vec![]),
    ] {
        let due = nightly(Misfire::Skip, Overlap::Skip).due(known(settled, unfinished), at(now));
        let expected: Vec<_> =
            expected.into_iter().map(|(day, decision)| (day.to_owned(), decision)).collect();
        assert_eq!(decided(due), expected, "settled {settled}, now {now}, unfinished {unfinished}");
    }
}

#[test]
fn missed_fire_times_are_made_up_for_as_the_rule_says() {
    let four_days = known("2024-01-01T03:00:00Z", false);
    let long_after = at("2024-01-05T23:00:00Z");
    for (schedule, expected) in [
        (nightly(Misfire::Skip, Overlap::Skip), [SkippedLate; 4]),
        (nightly(Misfire::Once, Overlap::Skip), [SkippedLate, SkippedLate, SkippedLate, Fired]),
        (nightly(Misfire::All, Overlap::Allow), [Fired; 4]),
    ] {
        let due = schedule.due(four_days, long_after);
        assert_eq!(
            due.iter().map(|due| due.decision).collect::<Vec<_>>(),
            expected,
            "{:?}",
            schedule.misfire()
        );
    }
    let due = nightly(Misfire::All, Overlap::Allow).due(known("2023-01-01T03:00:00Z", false), long_after);
    assert_eq!(due.iter().filter(|due| due.decision == Fired).count(), CAUGHT_UP_MAX);
    assert!(due[due.len() - CAUGHT_UP_MAX..].iter().all(|due| due.decision == Fired), "the latest ones");
    // A run that has not ended is one more reason not to.
    let busy = Known { unfinished: true, ..four_days };
    let due = nightly(Misfire::Once, Overlap::Skip).due(busy, long_after);
    assert_eq!(due.last().map(|due| due.decision), Some(SkippedOverlap));
}

#[test]
fn while_a_run_is_unfinished_a_fire_time_is_skipped_or_waits_or_runs_beside_it() {
    let busy = known("2024-01-01T03:00:00Z", true);
    let now = at("2024-01-02T03:00:00Z");
    for (overlap, expected) in
        [(Overlap::Skip, SkippedOverlap), (Overlap::Queue, Queued), (Overlap::Allow, Fired)]
    {
        assert_eq!(decided(nightly(Misfire::Skip, overlap).due(busy, now)), [("02".to_owned(), expected)]);
    }
    let queue = nightly(Misfire::Skip, Overlap::Queue);
    let waits = Known { settled: now, waiting: Some(now), ..busy };
    for (known, now, expected) in [
        // It waits as long as the run lasts, and the next one finds its place taken.
        (waits, "2024-01-03T02:59:59Z", vec![]),
        (waits, "2024-01-03T03:00:00Z", vec![("03", SkippedOverlap)]),
        (Known { unfinished: false, ..waits }, "2024-01-02T17:00:00Z", vec![("02", Fired)]),
        // Late or not: it waited for the run, not for the host.
        (Known { unfinished: false, ..waits }, "2024-01-03T02:59:59Z", vec![("02", Fired)]),
        // What starts now keeps the next one waiting.
        (Known { unfinished: false, ..waits }, "2024-01-03T03:00:00Z", vec![("02", Fired), ("03", Queued)]),
        // A day is enough.
        (waits, "2024-01-03T03:00:00.001Z", vec![("02", SkippedLate), ("03", Queued)]),
        (Known { paused_until: now, ..waits }, "2024-01-02T17:00:00Z", vec![("02", SkippedPaused)]),
        // Put there under a clock that ran a year ahead: it neither is fired nor keeps others from waiting.
        (
            Known { waiting: Some(at("2025-01-02T03:00:00Z")), unfinished: false, ..waits },
            "2024-01-02T17:00:00Z",
            vec![],
        ),
        (
            Known { waiting: Some(at("2025-01-02T03:00:00Z")), ..waits },
            "2024-01-03T03:00:00Z",
            vec![("03", Queued)],
        ),
    ] {
        let expected: Vec<_> =
            expected.into_iter().map(|(day, decision)| (day.to_owned(), decision)).collect();
        assert_eq!(decided(queue.due(known, at(now))), expected, "{known:?} at {now}");
    }
}

#[test]
fn what_comes_during_a_pause_is_skipped_and_is_not_made_up_for_afterwards() {
    let schedule = nightly(Misfire::Once, Overlap::Skip);
    let paused = Known {
        settled: at("2024-01-01T03:00:00Z"),
        paused_until: Timestamp::from_ms(i64::MAX),
        ..Known::default()
    };
    let due = schedule.due(paused, at("2024-01-03T12:00:00Z"));
    assert_eq!(due.iter().map(|due| due.decision).collect::<Vec<_>>(), [SkippedPaused; 2]);
    // Resumed while the host was down: of the fire times since, the rule says.
    let resumed = Known { paused_until: at("2024-01-03T12:00:00Z"), ..paused };
    let due = schedule.due(resumed, at("2024-01-04T12:00:00Z"));
    let expected = [SkippedPaused, SkippedPaused, Fired];
    assert_eq!(due.iter().map(|due| due.decision).collect::<Vec<_>>(), expected);
}

#[test]
fn a_delayed_schedule_is_due_later_and_its_fire_times_stay() {
    let typed = ScheduleEntry {
        cron: Some("0 3 * * *".to_owned()),
        zone: Some("UTC".to_owned()),
        jitter: Some("1h".to_owned()),
        ..ScheduleEntry::default()
    };
    let of = |policy: &str| schedule(typed.clone()).of_policy(&policy.parse().expect("a name"), true);
    let delays: std::collections::BTreeSet<_> = (0..50).map(|n| of(&format!("p-{n}")).delay()).collect();
    assert!(delays.len() > 40, "spread: {delays:?}");
    assert!(delays.iter().all(|delay| delay.as_secs() <= 3600));
    let one = of("nightly");
    assert_eq!(one.delay(), of("nightly").delay(), "and always by the same");
    assert!(one.delay() > Duration::ZERO, "this one");
    let (settled, fire_at) = (at("2024-01-01T03:00:00Z"), at("2024-01-02T03:00:00Z"));
    let wake = one.next_wake(settled).expect("a wake");
    assert_eq!(wake, fire_at + one.delay());
    let known = Known { settled, ..Known::default() };
    assert_eq!(one.due(known, wake - TICK), []);
    assert_eq!(one.due(known, wake), [Due { fire_at, decision: Fired }]);
    assert_eq!(one.upcoming(settled).next(), Some(settled + one.delay()), "yesterday's is still to come");
}

#[test]
fn after_a_long_sleep_the_latest_fire_times_are_decided_on_and_one_is_fired() {
    let now = at("2024-01-01T00:00:07Z");
    let due = every("10s").due(known("2023-01-01T00:00:00Z", false), now);
    assert_eq!(due.len(), MISSED_MAX);
    assert!(due.windows(2).all(|pair| pair[1].fire_at.since(pair[0].fire_at).as_secs() == 10));
    let fired: Vec<_> = due.iter().filter(|due| due.decision == Fired).collect();
    assert_eq!(fired.len(), 1);
    assert_eq!(fired[0].fire_at, at("2024-01-01T00:00:00Z"));
}

#[test]
fn the_latest_fire_times_are_found_however_uneven_the_schedule() {
    for line in ["*/7 9-17 * 1,6 MON", "* * 31 12 *", "0,1,2,59 */5 L * *", "30 2 * * *", "*/2 * * * *"] {
        let [cron, zone] = [line, "America/New_York"].map(|text| Some(text.to_owned()));
        let dialect = Some(super::super::Dialect::Scf);
        let schedule = schedule(ScheduleEntry { cron, zone, dialect, ..ScheduleEntry::default() });
        let (settled, until) = (at("2022-01-01T00:00:00Z"), at("2024-01-01T05:30:00Z"));
        let all = std::iter::successors(schedule.next_after(settled), |t| schedule.next_after(*t));
        let all: Vec<_> = all.take_while(|fire_at| *fire_at <= until).collect();
        let mut latest = schedule.latest_first(settled, until);
        latest.reverse();
        assert_eq!(latest, all[all.len().saturating_sub(MISSED_MAX)..], "{line}");
    }
}

#[test]
fn the_next_wake_is_the_first_time_something_is_due() {
    let schedule = nightly(Misfire::Skip, Overlap::Skip);
    let live = known("2024-01-01T00:00:00Z", false);
    let wake = schedule.next_wake(live.settled).expect("a wake");
    assert_eq!(schedule.due(live, wake - TICK), []);
    assert_eq!(schedule.due(live, wake).len(), 1);
    assert_eq!(schedule.next_wake(wake), Some(at("2024-01-02T03:00:00Z")));
}

proptest::proptest! {
    #[test]
    fn looking_often_or_seldom_decides_on_the_same_fire_times(steps in proptest::collection::vec(1i64..7_200_000, 1..40)) {
        let schedule = every("7m");
        let started = at("2024-03-01T00:00:00Z");
        let (mut now, mut settled, mut seen) = (started, started, Vec::new());
        for step in steps {
            now = Timestamp::from_ms(now.ms() + step);
            let due = schedule.due(Known { settled, ..Known::default() }, now);
            let fired = due.iter().filter(|due| due.decision == Fired).count();
            proptest::prop_assert!(fired <= 1);
            settled = due.last().map_or(settled, |due| due.fire_at);
            seen.extend(due.into_iter().map(|due| due.fire_at));
        }
        let at_once: Vec<_> = schedule
            .due(Known { settled: started, ..Known::default() }, now)
            .into_iter()
            .map(|due| due.fire_at)
            .collect();
        proptest::prop_assert_eq!(seen, at_once);
    }
}

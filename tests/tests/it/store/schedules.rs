//! Promises about decisions on fire times and about pauses.

use super::*;
use opsward::store::{Decision, Pause};

fn firing(schedule: &str, fire_ms: i64, decision: Decision) -> Firing {
    let schedule = schedule.to_owned();
    Firing {
        policy: policy("a"),
        schedule,
        fire_at: after(fire_ms),
        decision,
        decided_at: after(fire_ms + 5),
    }
}

const DAY: i64 = 86_400_000;
const NIGHTLY: &str = "0 3 * * *";

pub(super) async fn the_first_to_record_a_fire_time_wins<L: Lab>() {
    let lab = L::new();
    let store = &*lab.open();
    let fired = firing(NIGHTLY, 0, Decision::Fired);
    assert_eq!(fire(store, fired.clone(), Some(event("f1", NOW, &["a"]))).await, Recorded::First);
    let late = firing(NIGHTLY, 0, Decision::SkippedLate);
    assert_eq!(fire(store, late, None).await, Recorded::Before);
    assert_eq!(fire(store, fired.clone(), Some(event("f2", NOW, &["a"]))).await, Recorded::Before);
    let next = firing(NIGHTLY, DAY, Decision::SkippedOverlap);
    assert_eq!(fire(store, next.clone(), None).await, Recorded::First);
    let other = firing("0 4 * * *", 0, Decision::SkippedLate);
    assert_eq!(fire(store, other.clone(), None).await, Recorded::First, "another schedule");

    assert_eq!(store.list_firings(0).await.expect("listed"), [other.clone(), next, fired]);
    assert_eq!(store.list_firings(1).await.expect("listed"), [other]);
    let claimed = store.claim(10, NOW).await.expect("claimed");
    assert_eq!(claimed.iter().map(|c| c.event.id.as_str()).collect::<Vec<_>>(), ["f1"]);
}

pub(super) async fn the_latest_word_on_where_a_schedule_is_settled_counts_also_through_a_kill<L: Lab>() {
    let lab = L::new();
    let store = &*lab.open();
    let settle = async |schedules: &[&str], at: i64| {
        let all = schedules.iter().map(|schedule| (schedule_of_a(schedule), after(at))).collect();
        store.settle_schedules(all).await.expect("recorded");
    };
    settle(&[NIGHTLY, "other"], DAY).await;
    settle(&[NIGHTLY], 5).await;
    let state = state_of(store, NIGHTLY).await;
    assert_eq!(state, ScheduleState { settled: Some(after(5)), ..ScheduleState::default() });
    let ahead = store.schedule_states(vec![schedule_of_a("other")], after(DAY - 1)).await.expect("asked");
    assert_eq!(ahead, [ScheduleState::default()], "noted under a clock that ran ahead");
    let lab = lab.killed();
    let store = &*lab.open();
    assert_eq!(state_of(store, "other").await.settled, Some(after(DAY)));
}

pub(super) async fn a_schedule_is_unfinished_until_its_run_ends<L: Lab>() {
    let lab = L::new();
    let store = &*lab.open();
    assert_eq!(state_of(store, NIGHTLY).await, ScheduleState::default());
    let fired = firing(NIGHTLY, 0, Decision::Fired);
    fire(store, fired.clone(), Some(event("f1", NOW, &["a"]))).await;
    let unfinished = ScheduleState {
        last_fire: Some(NOW),
        unfinished: true,
        latest: Some(fired.clone()),
        ..ScheduleState::default()
    };
    assert_eq!(state_of(store, NIGHTLY).await, unfinished);
    assert_eq!(state_of(store, "0 4 * * *").await, ScheduleState::default());
    let claim = claim_one(store).await.claim;
    assert_eq!(state_of(store, NIGHTLY).await, unfinished);
    store.finish(&claim, vec![], Standing::Wake { at: NOW, faulted: false }).await.expect("finished");
    assert_eq!(state_of(store, NIGHTLY).await, unfinished);
    let claim = claim_one(store).await.claim;
    store.finish(&claim, vec![], Standing::Failed).await.expect("finished");
    fire(store, firing(NIGHTLY, 60_000, Decision::SkippedLate), None).await;
    let ended = state_of(store, NIGHTLY).await;
    assert_eq!((ended.last_fire, ended.unfinished), (Some(after(60_000)), false));
    // Fire times beyond what is asked for were decided on under a clock that ran ahead.
    let by_now = store.schedule_states(vec![schedule_of_a(NIGHTLY)], NOW).await.expect("asked");
    assert_eq!((by_now[0].last_fire, by_now[0].latest.as_ref()), (Some(NOW), Some(&fired)));
}

pub(super) async fn what_waits_is_decided_on_once_more<L: Lab>() {
    let lab = L::new();
    let store = &*lab.open();
    let waits = firing(NIGHTLY, 0, Decision::Queued);
    assert_eq!(fire(store, waits.clone(), None).await, Recorded::First);
    assert_eq!(fire(store, waits, None).await, Recorded::Before, "it waits already");
    assert_eq!(state_of(store, NIGHTLY).await.waiting, Some(NOW));
    let lab = lab.killed();
    let store = &*lab.open();
    assert_eq!(state_of(store, NIGHTLY).await.waiting, Some(NOW), "through a kill");
    let by = store.schedule_states(vec![schedule_of_a(NIGHTLY)], after(-1000)).await;
    assert_eq!(by.expect("asked")[0].waiting, None, "it waits since a clock ran ahead");
    let fired = Firing { decided_at: after(DAY / 2), ..firing(NIGHTLY, 0, Decision::Fired) };
    assert_eq!(fire(store, fired.clone(), Some(event("f1", NOW, &["a"]))).await, Recorded::First);
    assert_eq!(fire(store, fired.clone(), Some(event("f2", NOW, &["a"]))).await, Recorded::Before, "once");
    let state = state_of(store, NIGHTLY).await;
    assert_eq!((state.waiting, state.unfinished, state.latest), (None, true, Some(fired)));
    assert_eq!(store.claim(10, after(DAY)).await.expect("claimed").len(), 1);
}

pub(super) async fn what_was_skipped_under_a_clock_that_ran_ahead_may_still_be_fired<L: Lab>() {
    let lab = L::new();
    let store = &*lab.open();
    // A year ahead, the host has passed over a night that is still to come, and has fired another.
    let decided_at = after(365 * DAY);
    fire(store, Firing { decided_at, ..firing(NIGHTLY, DAY, Decision::SkippedLate) }, None).await;
    let fired = Firing { decided_at, ..firing(NIGHTLY, 2 * DAY, Decision::Fired) };
    fire(store, fired, Some(event("f2", NOW, &["a"]))).await;
    let again = fire(store, firing(NIGHTLY, DAY, Decision::Fired), Some(event("f1", NOW, &["a"]))).await;
    assert_eq!(again, Recorded::First, "its time has come");
    let twice = fire(store, firing(NIGHTLY, 2 * DAY, Decision::Fired), Some(event("f3", NOW, &["a"]))).await;
    assert_eq!(twice, Recorded::Before, "what was fired is fired for ever");
    assert_eq!(store.claim(10, after(9 * DAY)).await.expect("claimed").len(), 2);
}

pub(super) async fn nothing_is_fired_by_the_clock_while_a_pause_lasts_also_through_a_kill<L: Lab>() {
    let lab = L::new();
    let store = &*lab.open();
    let pause = Pause { by: "alice".to_owned(), why: "freeze".to_owned(), at: NOW, until: None };
    assert!(!store.resume_schedule(schedule_of_a(NIGHTLY), "bob".to_owned(), NOW).await.expect("asked"));
    store.pause_schedule(schedule_of_a(NIGHTLY), pause.clone()).await.expect("paused");
    let lab = lab.killed();
    let store = &*lab.open();
    assert_eq!(state_of(store, NIGHTLY).await.paused(), Some(&pause));
    for decision in [Decision::Fired, Decision::Queued] {
        let new = (decision == Decision::Fired).then(|| event("f1", NOW, &["a"]));
        assert_eq!(fire(store, firing(NIGHTLY, DAY, decision), new).await, Recorded::Paused);
    }
    assert_eq!(state_of(store, NIGHTLY).await.latest, None, "and nothing was written");
    let skipped = firing(NIGHTLY, DAY, Decision::SkippedPaused);
    assert_eq!(fire(store, skipped, None).await, Recorded::First);
    let other = fire(store, firing("0 4 * * *", DAY, Decision::Fired), Some(event("f2", NOW, &["a"]))).await;
    assert_eq!(other, Recorded::First, "another schedule");
    let by_hand = firing(NIGHTLY, DAY + 1, Decision::FiredByHand);
    assert_eq!(fire(store, by_hand, Some(event("f3", NOW, &["a"]))).await, Recorded::First, "a person may");

    let resume = || store.resume_schedule(schedule_of_a(NIGHTLY), "bob".to_owned(), after(2 * DAY));
    assert!(resume().await.expect("resumed"));
    assert!(!resume().await.expect("asked"), "it is over");
    let state = state_of(store, NIGHTLY).await;
    assert_eq!((state.paused(), state.paused_until(after(3 * DAY))), (None, after(2 * DAY)));
    let behind = state.paused_until(after(2 * DAY - 1_000));
    assert_eq!(behind, after(2 * DAY), "ended by a clock that was a little ahead");
    let set_back = state.paused_until(after(DAY));
    assert_eq!(set_back, Timestamp::default(), "ended under a clock that ran ahead, it is over");
    let fired = fire(store, firing(NIGHTLY, 3 * DAY, Decision::Fired), Some(event("f4", NOW, &["a"]))).await;
    assert_eq!(fired, Recorded::First);
}

pub(super) async fn a_pause_of_a_policy_is_one_of_all_that_it_has_and_ends_with_all_of_its_pauses<L: Lab>() {
    let lab = L::new();
    let store = &*lab.open();
    let pause = |why: &str| Pause { by: "alice".to_owned(), why: why.to_owned(), at: NOW, until: None };
    let all = || ScheduleKey::all_of(policy("a"));
    store.pause_schedule(schedule_of_a(NIGHTLY), pause("one")).await.expect("paused");
    store.pause_schedule(all(), pause("all")).await.expect("paused");
    for schedule in [NIGHTLY, "0 4 * * *"] {
        let new = Some(event(schedule, NOW, &["a"]));
        assert_eq!(fire(store, firing(schedule, DAY, Decision::Fired), new).await, Recorded::Paused);
    }
    assert_eq!(state_of(store, "0 4 * * *").await.paused(), Some(&pause("all")));
    let other = ScheduleKey { policy: policy("b"), schedule: NIGHTLY.into() };
    let others = store.schedule_states(vec![other], after(DAY)).await.expect("asked");
    assert_eq!(others[0].pause, None, "another policy");
    let resume = |key| store.resume_schedule(key, "bob".to_owned(), after(2 * DAY));
    assert!(resume(schedule_of_a(NIGHTLY)).await.expect("resumed"));
    assert_eq!(state_of(store, NIGHTLY).await.paused(), Some(&pause("all")), "that of the policy lasts");
    store.pause_schedule(schedule_of_a("gone"), pause("one")).await.expect("paused");
    assert!(resume(all()).await.expect("resumed"));
    assert!(!resume(all()).await.expect("asked"));
    for schedule in [NIGHTLY, "0 4 * * *", "gone"] {
        let state = state_of(store, schedule).await;
        assert_eq!((state.paused(), state.paused_until(after(3 * DAY))), (None, after(2 * DAY)));
    }
    // Ended under a clock a year ahead, which has been set right since.
    store.pause_schedule(all(), pause("all")).await.expect("paused");
    let ahead = store.resume_schedule(all(), "bob".to_owned(), after(365 * DAY));
    assert!(ahead.await.expect("resumed"));
    let state = state_of(store, NIGHTLY).await;
    assert_eq!(state.paused_until(after(3 * DAY)), after(2 * DAY), "hides none that was ended in time");
}

pub(super) async fn no_run_starts_beside_one_that_may_not_be_overlapped<L: Lab>() {
    let lab = L::new();
    let store = &*lab.open();
    let new = |id: &str, fire_ms, decision, overlaps| NewFiring {
        firing: firing(NIGHTLY, fire_ms, decision),
        event: Some(event(id, NOW, &["a"])),
        overlaps,
        by: None,
    };
    let all = vec![
        new("f1", 0, Decision::Fired, false),
        new("f2", 1, Decision::Fired, false),
        new("f3", 2, Decision::FiredByHand, false),
        new("f4", 3, Decision::Fired, true),
    ];
    let recorded = store.fire(all).await.expect("recorded");
    let expected = [Recorded::First, Recorded::Unfinished, Recorded::Unfinished, Recorded::First];
    assert_eq!(recorded, expected);
    assert_eq!(store.list_firings(9).await.expect("listed").len(), 2, "nothing else was written");
    for run in store.claim(10, NOW).await.expect("claimed") {
        store.finish(&run.claim, vec![], Standing::Done).await.expect("finished");
    }
    let after = store.fire(vec![new("f2", 1, Decision::Fired, false)]).await.expect("recorded");
    assert_eq!(after, [Recorded::First]);
}

pub(super) async fn what_a_person_had_fired_is_no_fire_time<L: Lab>() {
    let lab = L::new();
    let store = &*lab.open();
    fire(store, firing(NIGHTLY, 0, Decision::SkippedLate), None).await;
    let by_hand = firing(NIGHTLY, DAY / 2, Decision::FiredByHand);
    let new = NewFiring {
        firing: by_hand.clone(),
        event: Some(event("f1", NOW, &["a"])),
        overlaps: false,
        by: Some("alice".to_owned()),
    };
    assert_eq!(store.fire(vec![new.clone()]).await.expect("recorded"), [Recorded::First]);
    assert_eq!(store.fire(vec![new]).await.expect("recorded"), [Recorded::Unfinished]);
    let state = state_of(store, NIGHTLY).await;
    assert_eq!((state.last_fire, state.latest, state.unfinished), (Some(NOW), Some(by_hand), true));
}

pub(super) async fn decisions_of_one_call_are_recorded_in_order<L: Lab>() {
    let lab = L::new();
    let store = &*lab.open();
    let new = |n: i64| NewFiring {
        firing: firing(&format!("schedule {n}"), n, Decision::Fired),
        event: Some(event(&format!("f{n}"), after(n), &["a"])),
        overlaps: false,
        by: None,
    };
    let recorded = store.fire((0..700).map(new).collect()).await.expect("recorded");
    assert_eq!(recorded, vec![Recorded::First; 700]);
    let listed = store.list_firings(1000).await.expect("listed");
    assert_eq!(
        listed.iter().rev().map(|one| one.fire_at).collect::<Vec<_>>(),
        (0..700).map(after).collect::<Vec<_>>()
    );
    assert_eq!(store.claim(1000, after(1000)).await.expect("claimed").len(), 700);
    let keys: Vec<_> = [5, 9000, 3].map(|n| schedule_of_a(&format!("schedule {n}"))).to_vec();
    let states = store.schedule_states(keys, after(1000)).await.expect("asked");
    let fired: Vec<_> = states.iter().map(|state| state.last_fire).collect();
    assert_eq!(fired, [Some(after(5)), None, Some(after(3))]);
}

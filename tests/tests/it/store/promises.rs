//! The promises of `Store`, each against any store.

use super::*;
use opsward::store::{Acceptance, Claim, Claimed, RunFilter, Standing, StoreError};
use opsward_core::run::{Failure, Fault, FaultKind, Outcome, RunState, StateOp, StateReply};
use std::collections::HashSet;

pub(super) async fn a_second_delivery_of_an_event_starts_no_second_run<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let both = vec![event("e1", NOW, &["a", "b"]), event("e1", after(1), &["a"])];
    let answers = store.accept(both).await.expect("accepted");
    assert_eq!(answers, [Acceptance::New { runs: 2 }, Acceptance::Duplicate]);
    let again = vec![event("e1", after(2), &["a", "b", "c"]), event("e2", after(2), &[])];
    let answers = store.accept(again.clone()).await.expect("accepted");
    assert_eq!(answers, [Acceptance::Duplicate, Acceptance::New { runs: 0 }]);
    let mut elsewhere = event("e1", NOW, &[]);
    elsewhere.event.source = "other".parse().expect("a source name");
    let answers = store.accept(vec![elsewhere]).await.expect("accepted");
    assert_eq!(answers, [Acceptance::New { runs: 0 }], "an id is unique within its source only");

    assert_eq!(store.claim(10, after(10)).await.expect("claimed").len(), 2);
    store.close().await.expect("closed");
    let answers = lab.open().accept(again).await.expect("accepted");
    assert_eq!(answers, [Acceptance::Duplicate, Acceptance::Duplicate], "known after a restart");
}

pub(super) async fn a_claim_hands_out_everything_known_of_the_run<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let new = event("e1", NOW, &["a"]);
    store.accept(vec![new.clone()]).await.expect("accepted");
    let claimed = claim_one(&*store).await;
    let run = &new.runs[0];
    assert_eq!((&claimed.claim.run, &claimed.policy, claimed.digest), (&run.id, &run.policy, run.digest));
    assert_eq!((claimed.claim.epoch, claimed.faults, claimed.received), (1, 0, NOW));
    assert_eq!(claimed.event, new.event);
    assert!(store.take_up(claimed.clone()).await.expect("taken up").ledger.is_empty());
    assert!(store.claim(10, after(1000)).await.expect("claimed").is_empty(), "it is taken");

    let records = vec![line("one"), line("two")];
    store.append(&claimed.claim, records.clone()).await.expect("appended");
    store.finish(&claimed.claim, vec![], Standing::Wake { at: NOW, faulted: true }).await.expect("finished");
    let again = work_on_one(&*store).await;
    assert_eq!((again.claim.epoch, again.faults), (2, 1));
    assert_eq!(again.ledger, records);
    assert_eq!(again.event, new.event);

    store.finish(&again.claim, vec![], Standing::Wake { at: NOW, faulted: false }).await.expect("finished");
    assert_eq!(work_on_one(&*store).await.ledger, records);
    assert!(matches!(store.take_up(again.run).await, Err(StoreError::Lost(_))), "that claim is over");
}

pub(super) async fn claims_come_oldest_wake_time_first_and_never_early<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    assert_eq!(store.next_wake().await.expect("asked"), None);
    for (id, at) in [("late", 30), ("first", 10), ("second", 20), ("second-too", 20)] {
        store.accept(vec![event(id, after(at), &["a"])]).await.expect("accepted");
    }
    assert_eq!(store.next_wake().await.expect("asked"), Some(after(10)));
    let ids = |claimed: Vec<Claimed>| claimed.into_iter().map(|c| c.event.id).collect::<Vec<_>>();
    assert!(store.claim(10, after(9)).await.expect("claimed").is_empty());
    assert_eq!(ids(store.claim(2, after(20)).await.expect("claimed")), ["first", "second"]);
    assert_eq!(ids(store.claim(10, after(20)).await.expect("claimed")), ["second-too"]);
    assert_eq!(store.next_wake().await.expect("asked"), Some(after(30)));
    assert_eq!(ids(store.claim(0, after(40)).await.expect("claimed")), [""; 0]);
    let last = claim_at(&*store, after(40)).await;
    let nap = Standing::Wake { at: after(90), faulted: false };
    store.finish(&last.claim, vec![], nap).await.expect("finished");
    assert!(store.claim(10, after(89)).await.expect("claimed").is_empty(), "it sleeps");
    assert_eq!(store.next_wake().await.expect("asked"), Some(after(90)));
    assert_eq!(ids(store.claim(10, after(90)).await.expect("claimed")), ["late"]);
}

/// A clock that runs ahead is no reason to leave an event lying once it has been set back.
pub(super) async fn a_run_accepted_under_a_clock_that_ran_ahead_is_claimed_once_it_is_set_back<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let ids = |claimed: Vec<Claimed>| claimed.into_iter().map(|c| c.event.id).collect::<Vec<_>>();
    let hours = 8 * 3600 * 1000;
    store.accept(vec![event("early", after(hours), &["a"])]).await.expect("accepted");
    assert_eq!(ids(store.claim(1, after(hours)).await.expect("claimed")), ["early"]);
    store.accept(vec![event("ahead", after(hours), &["a"])]).await.expect("accepted");
    assert_eq!(ids(store.claim(1, after(0)).await.expect("claimed")), ["ahead"], "the clock was set back");

    store.accept(vec![event("before a restart", after(hours), &["a"])]).await.expect("accepted");
    store.close().await.expect("closed");
    let claimed = ids(lab.open().claim(10, after(0)).await.expect("claimed"));
    assert!(claimed.contains(&"before a restart".to_owned()), "{claimed:?}");
}

pub(super) async fn a_past_claim_writes_nothing<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
    let past = claim_one(&*store).await.claim;
    store.finish(&past, vec![], Standing::Wake { at: NOW, faulted: false }).await.expect("finished");
    let present = claim_one(&*store).await.claim;
    let never = Claim { run: RunId::from_text("0123"), epoch: 1 };
    for claim in [&past, &never] {
        // Refusing an append that nobody waits for may only show later.
        store.append_later(claim, vec![line("stale")]).ok();
        let lost = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Lost(_))));
        lost(store.append(claim, vec![line("stale")]).await);
        let set = StateOp::Set { key: "k".into(), value: vec![1] };
        lost(store.state(claim, &policy("a"), 0, set, NOW).await.map(drop));
        lost(store.finish(claim, vec![line("stale")], Standing::Done).await);
    }
    store.append(&present, vec![line("fresh")]).await.expect("appended");
    store.finish(&present, vec![], Standing::Wake { at: NOW, faulted: false }).await.expect("finished");
    let seen = work_on_one(&*store).await;
    assert_eq!(messages(&seen.ledger), ["fresh"]);
    let get = StateOp::Get { key: "k".into() };
    let value = store.state(&seen.claim, &policy("a"), 0, get, NOW).await.expect("asked");
    assert_eq!(value, StateReply::Value(None));
}

pub(super) async fn records_nobody_waits_for_keep_their_place<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
    let claim = claim_one(&*store).await.claim;
    for text in ["1", "2", "3"] {
        store.append_later(&claim, vec![line(text)]).expect("queued");
    }
    store.append(&claim, vec![line("4"), line("5")]).await.expect("appended");
    store.append_later(&claim, vec![line("6\nwith a line break"), line("7")]).expect("queued");
    let sleep = Standing::Wake { at: NOW, faulted: false };
    store.finish(&claim, vec![line("8")], sleep).await.expect("finished");
    let ledger = work_on_one(&*store).await.ledger;
    assert_eq!(messages(&ledger), ["1", "2", "3", "4", "5", "6\nwith a line break", "7", "8"]);
}

pub(super) async fn a_finished_claim_leaves_the_run_where_it_was_told<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let done = Entry::Done { outcome: Outcome { summary: "12 snapshots".into(), details: String::new() } };
    let failure = Failure {
        code: "QuotaExceeded".into(),
        message: "no more\nsnapshots".into(),
        retryable: false,
        details: String::new(),
    };
    let held = Entry::Held { position: 3, reason: "was it sent?".into() };
    let fault = Fault { kind: FaultKind::Trap, message: "unreachable".into() };
    let wake = Standing::Wake { at: after(60_000), faulted: true };
    let table = [
        (done, Standing::Done, RunState::Done, "12 snapshots"),
        (Entry::Failed { failure }, Standing::Failed, RunState::Failed, "QuotaExceeded: no more snapshots"),
        (held, Standing::Held, RunState::Held, "was it sent?"),
        (Entry::Faulted { fault: fault.clone() }, Standing::Dead, RunState::Dead, "unreachable"),
        (Entry::Faulted { fault }, wake, RunState::Ready, "unreachable"),
    ];
    for (at, (entry, standing, state, note)) in table.into_iter().enumerate() {
        let new = event(&format!("e{at}"), NOW, &["a"]);
        store.accept(vec![new.clone()]).await.expect("accepted");
        let claim = claim_one(&*store).await.claim;
        store.finish(&claim, vec![Record::new(after(77), entry)], standing).await.expect("finished");
        let detail = store.find_runs(claim.run.as_str(), 1).await.expect("found").remove(0);
        assert_eq!((detail.row.state, detail.row.note.as_deref()), (state, Some(note)));
        assert_eq!((detail.row.created_at, detail.row.changed_at), (NOW, after(77)));
        let waking = (state == RunState::Ready).then_some(after(60_000));
        assert_eq!((detail.row.wake_at, detail.ledger.len()), (waking, 1));
        assert_eq!((detail.event, detail.received), (new.event, NOW));
    }
    assert!(store.claim(10, after(1000)).await.expect("claimed").is_empty());
}

pub(super) async fn lists_are_newest_first_filtered_and_cut<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let events: Vec<NewEvent> = (0..5).map(|n| event(&format!("e{n}"), after(n), &["a", "b"])).collect();
    store.accept(events.clone()).await.expect("accepted");
    let oldest = store.claim(1, after(0)).await.expect("claimed").remove(0);
    store.finish(&oldest.claim, vec![], Standing::Failed).await.expect("finished");

    let list = async |name: Option<&str>, state, limit| {
        let filter = RunFilter { policy: name.map(policy), state, limit };
        let rows = store.list_runs(filter).await.expect("listed");
        rows.into_iter().map(|row| format!("{} {}", row.event_id, row.policy)).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 3).await, ["e4 b", "e4 a", "e3 b"]);
    assert_eq!(list(Some("a"), None, 2).await, ["e4 a", "e3 a"]);
    assert_eq!(list(None, Some(RunState::Failed), 0).await, ["e0 a"]);
    assert_eq!(list(Some("a"), Some(RunState::Ready), 0).await, ["e4 a", "e3 a", "e2 a", "e1 a"]);
    assert_eq!(list(Some("b"), Some(RunState::Failed), 0).await, [""; 0]);
    assert_eq!(list(None, Some(RunState::Done), 0).await, [""; 0]);

    let rows = store.list_events(EventFilter::latest(2)).await.expect("listed");
    let seen: Vec<_> = rows.into_iter().map(|row| (row.event, row.received, row.runs)).collect();
    let ids = |n: usize| events[n].runs.iter().map(|run| run.id.clone()).collect::<Vec<_>>();
    assert_eq!(seen[0], (events[4].event.clone(), after(4), ids(4)));
    assert_eq!((seen.len(), &seen[1].2), (2, &ids(3)));
}

pub(super) async fn runs_are_found_by_the_beginning_of_their_id<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let mut new = event("e1", NOW, &["a", "b", "c"]);
    for (run, id) in new.runs.iter_mut().zip(["aabb00", "aabc00", "ab0000"]) {
        run.id = RunId::from_text(id);
    }
    store.accept(vec![new]).await.expect("accepted");
    let table = [
        ("aabb00", 9, vec!["aabb00"]),
        ("aab", 9, vec!["aabb00", "aabc00"]),
        ("a", 2, vec!["aabb00", "aabc00"]),
        ("ab", 9, vec!["ab0000"]),
        ("aabb001", 9, vec![]),
        ("%", 9, vec![]),
        ("", 9, vec!["aabb00", "aabc00", "ab0000"]),
    ];
    for (prefix, limit, expected) in table {
        let found = store.find_runs(prefix, limit).await.expect("found");
        let ids: Vec<_> = found.iter().map(|run| run.row.id.as_str()).collect();
        assert_eq!(ids, expected, "{prefix}");
    }
}

pub(super) async fn counts_and_pins_follow_the_runs<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let counts = async |store: &dyn Store| {
        let counts = store.count_runs().await.expect("counted");
        counts.into_iter().map(|(state, n)| format!("{} {n}", state.as_str())).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(counts(&*store).await, "ready 0, running 0, held 0, done 0, failed 0, dead 0");
    store.accept(vec![event("e1", NOW, &["a", "b", "c"])]).await.expect("accepted");
    let claimed = store.claim(2, NOW).await.expect("claimed");
    on_disk(&*store).await;
    assert_eq!(counts(&*store).await, "ready 1, running 2, held 0, done 0, failed 0, dead 0");
    store.finish(&claimed[0].claim, vec![], Standing::Done).await.expect("finished");
    store.finish(&claimed[1].claim, vec![], Standing::Held).await.expect("finished");
    assert_eq!(counts(&*store).await, "ready 1, running 0, held 1, done 1, failed 0, dead 0");
    claim_one(&*store).await;

    let pinned: HashSet<_> = store.pinned_digests().await.expect("asked").into_iter().collect();
    assert_eq!(pinned, HashSet::from([claimed[1].digest, Digest::of(b"c")]), "those of unfinished runs");
    drop(store);
    let store = lab.open();
    assert_eq!(counts(&*store).await, "ready 1, running 0, held 1, done 1, failed 0, dead 0");
}

pub(super) async fn a_closed_store_writes_nothing<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
    let claim = claim_one(&*store).await.claim;
    store.append_later(&claim, vec![line("queued")]).expect("queued");
    store.close().await.expect("closed");
    store.close().await.expect("closing twice is closing once");
    assert!(matches!(store.append_later(&claim, vec![line("x")]), Err(StoreError::Closed(_))));
    let closed = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::Closed(_))));
    closed(store.append(&claim, vec![line("x")]).await);
    closed(store.accept(vec![event("e2", NOW, &["a"])]).await.map(drop));
    closed(store.claim(1, NOW).await.map(drop));
    drop(store);
    let store = lab.open();
    assert_eq!(messages(&work_on_one(&*store).await.ledger), ["queued"], "what was queued has been written");
    assert_eq!(store.list_events(EventFilter::latest(0)).await.expect("listed").len(), 1);
}

pub(super) async fn everything_that_was_answered_survives_a_kill<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    store.accept(vec![event("e1", NOW, &["a"]), event("e2", after(1), &["a"])]).await.expect("accepted");
    let first = claim_one(&*store).await;
    store.append_later(&first.claim, vec![line("read")]).expect("queued");
    store.append(&first.claim, vec![line("intent")]).await.expect("appended");
    let killed = lab.killed();
    store.append(&first.claim, vec![line("result")]).await.expect("appended");
    let killed_later = lab.killed();

    for (lab, expected) in
        [(killed, vec!["read", "intent"]), (killed_later, vec!["read", "intent", "result"])]
    {
        let store = lab.open();
        let claimed = store.claim(10, after(1)).await.expect("claimed");
        assert_eq!(claimed.iter().map(|c| c.event.id.as_str()).collect::<Vec<_>>(), ["e1", "e2"]);
        let work = store.take_up(claimed[0].clone()).await.expect("taken up");
        assert_eq!(messages(&work.ledger), expected);
        assert!(claimed[0].claim.epoch > first.claim.epoch);
        let stale = store.append(&first.claim, vec![line("stale")]).await;
        assert!(matches!(stale, Err(StoreError::Lost(_))), "the dead host's claim is past");
    }
}

pub(super) async fn many_workers_at_once_do_each_run_once<L: Lab>() {
    const RUNS: usize = 300;
    let lab = L::new();
    let store = lab.open();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..RUNS {
        let store = store.clone();
        tasks.spawn(async move {
            let new = event(&format!("e{n}"), NOW, &["a"]);
            let answers = store.accept(vec![new.clone(), new]).await.expect("accepted");
            assert_eq!(answers, [Acceptance::New { runs: 1 }, Acceptance::Duplicate]);
            let run = claim_one(&*store).await;
            store.append_later(&run.claim, vec![line("read")]).expect("queued");
            store.append(&run.claim, vec![line(&run.event.id)]).await.expect("appended");
            store.finish(&run.claim, vec![line("end")], Standing::Done).await.expect("finished");
            run.event.id
        });
    }
    let done: HashSet<String> = tasks.join_all().await.into_iter().collect();
    assert_eq!(done.len(), RUNS, "no run was claimed twice");
    for run in store.find_runs("", RUNS).await.expect("found") {
        assert_eq!(messages(&run.ledger), ["read", run.row.event_id.as_str(), "end"]);
    }
}

pub(super) async fn a_run_over_which_hosts_die_is_suspected_and_handed_out_alone<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    store.accept(vec![event("e1", NOW, &["a"]), event("e2", NOW, &["a"])]).await.expect("accepted");
    let crashes = |claimed: &[Claimed]| claimed.iter().map(|run| run.crashes).collect::<Vec<_>>();
    assert_eq!(crashes(&store.claim(5, NOW).await.expect("claimed")), [0, 0]);
    on_disk(&*store).await;
    let lab = lab.killed();
    let store = lab.open();
    assert_eq!(crashes(&store.claim(5, NOW).await.expect("claimed")), [1, 1], "one crash proves nothing");
    on_disk(&*store).await;
    let lab = lab.killed();
    let store = lab.open();
    store.accept(vec![event("e3", NOW, &["a"])]).await.expect("accepted");
    let first = store.claim(5, NOW).await.expect("claimed");
    assert_eq!(crashes(&first), [0, 2], "what is not suspected comes first, and one suspect");
    assert!(store.claim(5, NOW).await.expect("claimed").is_empty(), "the other suspect waits");
    assert_eq!(store.next_wake().await.expect("asked"), None, "and is no reason to look again");
    let nap = Standing::Wake { at: after(60), faulted: false };
    store.finish(&first[1].claim, vec![], nap).await.expect("finished");
    let second = store.claim(5, NOW).await.expect("claimed").remove(0);
    assert_eq!(second.crashes, 2, "its turn");
    assert_eq!(crashes(&store.claim(5, after(60)).await.expect("claimed")), [0], "cleared by its end");
    let read = Record::new(NOW, Entry::Slept { position: 0, ms: 1, until: NOW });
    store.append(&second.claim, vec![read]).await.expect("appended");
    let store = lab.killed().open();
    let mut crashes = crashes(&store.claim(5, after(60)).await.expect("claimed"));
    crashes.sort_unstable();
    assert_eq!(crashes, [1, 1, 1], "counted anew where it got further");
}

pub(super) async fn a_run_whose_runner_died_is_ready_and_counted_as_if_its_host_had<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    store.accept(vec![event("e1", NOW, &["a"])]).await.expect("accepted");
    for crashes in 0..3 {
        let claimed = store.claim(5, NOW).await.expect("claimed").remove(0);
        assert_eq!((claimed.crashes, claimed.faults), (crashes, 0), "it is no fault of its own");
        let fault = Fault { kind: FaultKind::Host, message: "died".to_owned() };
        let died = Record::new(NOW, Entry::Faulted { fault });
        store.finish(&claimed.claim, vec![died], Standing::Crashed { at: NOW }).await.expect("finished");
    }
    let claimed = store.claim(5, NOW).await.expect("claimed").remove(0);
    let read = Record::new(NOW, Entry::Slept { position: 0, ms: 1, until: NOW });
    store.append(&claimed.claim, vec![read]).await.expect("appended");
    store.finish(&claimed.claim, vec![], Standing::Crashed { at: NOW }).await.expect("finished");
    assert_eq!(
        store.claim(5, NOW).await.expect("claimed")[0].crashes,
        1,
        "counted anew where it got further"
    );
}

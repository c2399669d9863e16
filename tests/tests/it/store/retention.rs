//! What a store deletes because it is old, and what stays whatever its age.

use super::*;
use opsward::store::sqlite::check;
use opsward::store::{Acceptance, Decision, Firing, Retained, RetainedUpTo, RunFilter, Standing, StoreError};
use opsward_core::run::RunState;

/// `days` before `NOW`.
fn days_ago(days: i64) -> Timestamp {
    after(-days * 24 * 3600 * 1000)
}

/// A whole round; what each slice deleted.
async fn retain(store: &dyn Store, before: Timestamp) -> Vec<Retained> {
    let mut slices = Vec::new();
    let mut from = Some(RetainedUpTo::default());
    while let Some(up_to) = from {
        let slice = store.retain(before, up_to).await.expect("deleted");
        from = slice.next;
        slices.push(slice);
    }
    slices
}

fn total(slices: &[Retained]) -> [u64; 3] {
    slices.iter().fold([0; 3], |[events, runs, firings], slice| {
        [events + slice.events, runs + slice.runs, firings + slice.firings]
    })
}

async fn event_ids(store: &dyn Store) -> Vec<String> {
    store
        .list_events(EventFilter::latest(1000))
        .await
        .expect("listed")
        .into_iter()
        .map(|row| row.event.id)
        .collect()
}

/// An event received at `at` whose run was left as told, with a record of that time.
async fn a_run(store: &dyn Store, id: &str, at: Timestamp, to: Option<Standing>) {
    store.accept(vec![event(id, at, &["a"])]).await.expect("accepted");
    let claim = claim_at(store, at).await.claim;
    let records = vec![Record { at, ..line("x") }];
    match to {
        Some(to) => store.finish(&claim, records, to).await.expect("finished"),
        None => store.append(&claim, records).await.expect("appended"),
    }
}

pub(super) async fn what_ended_before_is_deleted_and_nothing_else<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let old = days_ago(91);
    let asleep = Standing::Wake { at: after(1_000_000), faulted: false };
    for (id, to) in [
        ("done", Some(Standing::Done)),
        ("failed", Some(Standing::Failed)),
        ("dead", Some(Standing::Dead)),
        ("held", Some(Standing::Held)),
        ("asleep", Some(asleep)),
        ("running", None),
    ] {
        a_run(&*store, id, old, to).await;
    }
    // Two runs of one event, of which one has ended; a run that ended long after its event; an event that started none.
    store.accept(vec![event("half", old, &["a", "b"])]).await.expect("accepted");
    for (run, to) in
        store.claim(2, old).await.expect("claimed").into_iter().zip([Standing::Done, Standing::Held])
    {
        store.finish(&run.claim, vec![Record { at: old, ..line("x") }], to).await.expect("finished");
    }
    store.accept(vec![event("ended-late", old, &["a"])]).await.expect("accepted");
    let late = claim_at(&*store, old).await.claim;
    store
        .finish(&late, vec![Record { at: days_ago(89), ..line("x") }], Standing::Done)
        .await
        .expect("finished");
    store.accept(vec![event("unwanted", old, &[])]).await.expect("accepted");
    a_run(&*store, "recent", days_ago(89), Some(Standing::Done)).await;
    a_run(&*store, "newest", NOW, Some(Standing::Done)).await;

    assert_eq!(total(&retain(&*store, days_ago(90)).await), [4, 4, 0]);
    let left = ["newest", "recent", "ended-late", "half", "running", "asleep", "held"];
    assert_eq!(event_ids(&*store).await, left);
    let runs = store.list_runs(RunFilter::default()).await.expect("listed");
    assert_eq!(runs.len(), 7, "one of the two");
    let count = |state: RunState| runs.iter().filter(|run| run.state == state).count() as u64;
    for (state, told) in store.count_runs().await.expect("counted") {
        assert_eq!(told, count(state), "{}", state.as_str());
    }
    assert_eq!(total(&retain(&*store, days_ago(90)).await), [0; 3], "once is enough");

    // What is gone is new again, what is left is known, and its run has all its records.
    for (id, known) in [("done", false), ("unwanted", false), ("half", true), ("held", true)] {
        let accepted = store.accept(vec![event(id, NOW, &["a"])]).await.expect("accepted");
        assert_eq!(accepted == [Acceptance::Duplicate], known, "{id}");
    }
    for id in ["failed", "dead"] {
        let gone = event(id, NOW, &["a"]).runs[0].id.clone();
        assert!(store.find_runs(gone.as_str(), 9).await.expect("asked").is_empty(), "{id}");
    }
    let held = event("held", NOW, &["a"]).runs[0].id.clone();
    assert_eq!(messages(&store.find_runs(held.as_str(), 9).await.expect("found")[0].ledger), ["x"]);
}

pub(super) async fn numbers_grow_although_everything_old_is_deleted<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let old = days_ago(91);
    for n in 0..12 {
        a_run_that_ended(&*store, &format!("old-{n}"), old).await;
    }
    store.accept(vec![event("old-unwanted", old, &[])]).await.expect("accepted");
    assert_eq!(total(&retain(&*store, NOW).await), [11, 11, 0]);
    assert_eq!(
        event_ids(&*store).await,
        ["old-unwanted", "old-11"],
        "the newest event, and that of the newest run"
    );
    drop(store);

    // New rows must not take the place of those that are gone: the indices would count them as known.
    let new: Vec<NewEvent> = (0..12).map(|n| event(&format!("new-{n}"), NOW, &["a"])).collect();
    let store = lab.open();
    for new in &new {
        store.accept(vec![new.clone()]).await.expect("accepted");
    }
    drop(store);
    let store = lab.open();
    for new in &new {
        let again = store.accept(vec![new.clone()]).await.expect("accepted");
        assert_eq!(again, [Acceptance::Duplicate], "{}", new.event.id);
        let found = store.find_runs(new.runs[0].id.as_str(), 9).await.expect("found");
        assert_eq!(found.iter().map(|run| &run.event.id).collect::<Vec<_>>(), [&new.event.id]);
    }
    let old = store.accept(vec![event("old-3", NOW, &["a"])]).await.expect("accepted");
    assert_eq!(old, [Acceptance::New { runs: 1 }]);
}

pub(super) async fn a_slice_is_bounded<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let old: Vec<NewEvent> = (0..150).map(|n| event(&format!("old-{n}"), days_ago(91), &[])).collect();
    store.accept(old).await.expect("accepted");
    // Each ledger has more rows than one slice may delete beside others.
    store
        .accept(vec![event("long-1", days_ago(91), &["a"]), event("long-2", days_ago(91), &["a"])])
        .await
        .expect("accepted");
    for run in store.claim(2, days_ago(91)).await.expect("claimed") {
        for _ in 0..1100 {
            store.append(&run.claim, vec![line("x")]).await.expect("appended");
        }
        let last = vec![Record { at: days_ago(91), ..line("x") }];
        store.finish(&run.claim, last, Standing::Done).await.expect("finished");
    }
    a_run_that_ended(&*store, "newest", NOW).await;
    let slices = retain(&*store, days_ago(90)).await;
    assert_eq!(total(&slices), [152, 2, 0]);
    assert!(slices.iter().all(|slice| slice.events <= 64 && slice.runs <= 1), "{slices:?}");
}

pub(super) async fn the_latest_decision_on_a_schedule_stays<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let firing = |schedule: &str, at: Timestamp| Firing {
        policy: policy("a"),
        schedule: schedule.to_owned(),
        fire_at: at,
        decision: Decision::SkippedLate,
        decided_at: at,
    };
    for days in (1..=100).rev() {
        assert_eq!(fire(&*store, firing("daily", days_ago(days)), None).await, Recorded::First);
    }
    for days in [200, 199] {
        assert_eq!(fire(&*store, firing("gone", days_ago(days)), None).await, Recorded::First);
    }
    // What a person had fired is no fire time, and keeps none from being the latest.
    let by_hand = Firing { decision: Decision::FiredByHand, ..firing("gone", days_ago(198)) };
    assert_eq!(fire(&*store, by_hand, None).await, Recorded::First);
    assert_eq!(total(&retain(&*store, days_ago(90)).await), [0, 0, 12]);
    let left = store.list_firings(1000).await.expect("listed");
    assert_eq!(left.len(), 91);
    for (schedule, days) in [("gone", 199), ("daily", 1)] {
        assert_eq!(state_of(&*store, schedule).await.last_fire, Some(days_ago(days)), "{schedule}");
    }
    let again = fire(&*store, firing("gone", days_ago(199)), None).await;
    assert_eq!(again, Recorded::Before, "still known");
}

/// Where a transaction does not fit, which `full` sees to, each operation of it is done again by itself.
async fn deletes_with_others_in_one_transaction<const INDEXING_AT: usize>(full: bool) {
    let lab = Sqlite::<INDEXING_AT>::new();
    let store = lab.open_sqlite();
    for n in 0..10 {
        a_run_that_ended(&*store, &format!("old-{n}"), days_ago(91)).await;
    }
    store.accept(vec![event("ends", days_ago(91), &["a"])]).await.expect("accepted");
    let ends = claim_at(&*store, days_ago(91)).await.claim;
    a_run_that_ended(&*store, "newest", NOW).await;
    store.limit_pages(u32::from(full)).await.expect("set");
    let mut large = event("large", NOW, &["a"]);
    large.event.data = format!("\"{}\"", "x".repeat(1_000_000));
    // Keeps the writer busy while the others queue up, and writes nothing.
    let known = vec![event("newest", NOW, &["a"]); 20_000];
    let (_, finished, deleted, accepted) = tokio::join!(
        store.accept(known),
        store.finish(&ends, vec![Record { at: days_ago(91), ..line("x") }], Standing::Done),
        store.retain(days_ago(90), RetainedUpTo::default()),
        store.accept(vec![large]),
    );
    finished.expect("finished");
    assert_eq!(matches!(accepted, Err(StoreError::Full)), full, "{accepted:?}");
    store.limit_pages(0).await.expect("lifted");
    let first = total(&[deleted.expect("deleted")]);
    let rest = total(&retain(&*store, days_ago(90)).await);
    assert_eq!([first[0] + rest[0], first[1] + rest[1]], [11, 11]);
    for n in 0..10 {
        let again = store.accept(vec![event(&format!("old-{n}"), NOW, &["a"])]).await.expect("accepted");
        assert_eq!(again, [Acceptance::New { runs: 1 }], "{n}");
    }
    store.close().await.expect("closed");
    assert_eq!(check(&lab.path()).expect("checked").findings, Vec::<String>::new());
}

#[tokio::test]
async fn a_slice_gets_on_with_others_in_one_transaction() {
    for full in [false, true] {
        deletes_with_others_in_one_transaction::<3>(full).await;
        deletes_with_others_in_one_transaction::<30_000>(full).await;
    }
}

#[tokio::test]
async fn what_is_on_its_way_into_an_index_is_deleted_too() {
    let lab = Sqlite::<3>::new();
    let store = lab.open_sqlite();
    // All at once, so that few transactions have come by to write the index when they are deleted.
    let mut all: Vec<NewEvent> = (0..50).map(|n| event(&format!("old-{n}"), days_ago(91), &["a"])).collect();
    all.push(event("newest", NOW, &["a"]));
    store.accept(all.clone()).await.expect("accepted");
    let ended = store.claim(50, days_ago(91)).await.expect("claimed").into_iter().map(|run| {
        let store = &store;
        async move {
            let last = vec![Record { at: days_ago(91), ..line("x") }];
            store.finish(&run.claim, last, Standing::Done).await.expect("finished");
        }
    });
    futures::future::join_all(ended).await;
    assert_eq!(total(&retain(&*store, days_ago(90)).await), [50, 50, 0]);
    let again = store.accept(all).await.expect("accepted");
    assert_eq!(again.iter().filter(|known| **known == Acceptance::Duplicate).count(), 1);
    store.close().await.expect("closed");
    assert_eq!(check(&lab.path()).expect("checked").findings, Vec::<String>::new());
}

#[tokio::test]
async fn a_store_that_deletes_what_is_old_stops_growing() {
    let lab = Sqlite::<20>::new();
    let store = lab.open_sqlite();
    let mut sizes = Vec::new();
    for round in 0..6 {
        // Not a multiple of what is written into the indices at once: some are deleted before they get there.
        for n in 0..70 {
            let id = format!("{round}-{n}");
            a_run_that_ended(&*store, &id, days_ago(600 - round * 100)).await;
        }
        retain(&*store, days_ago(600 - round * 100 - 50)).await;
        let conn = rusqlite::Connection::open(lab.path()).expect("opens");
        sizes.push(conn.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0)).expect("read"));
    }
    assert!(sizes[5] <= sizes[2] + sizes[2] / 10, "{sizes:?}");
    store.close().await.expect("closed");
    let report = check(&lab.path()).expect("checked");
    assert_eq!(report.findings, Vec::<String>::new());
}

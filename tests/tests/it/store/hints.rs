//! What notices whose senders nobody knows do to those that are proved: against any store. A hint wakes, and keeps no proved notice from
//! waking, but where its run has made an effect; never do both make it.

use super::incidents::{at, notice, woken};
use super::once::{done, failed, intent};
use super::*;
use Transition::{Executed, Executing, Firing, Resolved, Scheduled};
use opsward::store::{Claim, RunFilter, StoreError};
use opsward_core::event::Transition;
use opsward_core::id::AccountName;
use opsward_core::run::RunState;

/// The same, from a sender that is not proved.
fn hint(new: NewEvent) -> NewEvent {
    NewEvent { trust: Trust::Hint, ..new }
}

/// Records a hint that wakes policy `a`, and claims the run.
async fn hinted(store: &dyn Store, key: &str) -> Claim {
    let hint = hint(notice(&format!("hook/{key}"), key, Executed, &["a"]));
    assert_eq!(woken(store, vec![hint]).await, ["a"]);
    claim_one(store).await.claim
}

async fn proved(store: &dyn Store, key: &str) -> Vec<String> {
    let twice = ["bus/1", "bus/2"].map(|id| notice(&format!("{id}{key}"), key, Executed, &["a"]));
    woken(store, twice.into()).await
}

pub(super) async fn a_hint_keeps_no_proved_notice_from_waking<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let hour = 3_600_000;
    let notices = vec![
        hint(notice("hook/1", "i", Executing, &["a"])),
        hint(notice("hook/2", "i", Executed, &["a"])),
        notice("bus/1", "i", Scheduled, &["a"]),
        notice("bus/2", "i", Executing, &["a"]),
        notice("bus/3", "i", Executing, &["a"]),
        notice("bus/4", "i", Executed, &["a"]),
        // A stranger's word that it is over, and that it fires, at times that are later.
        at(hour, notice("bus/5", "alarm", Firing, &["a"])),
        at(2 * hour, hint(notice("hook/3", "alarm", Resolved, &["a"]))),
        at(3 * hour, hint(notice("hook/4", "alarm", Firing, &["a", "b"]))),
        at(2 * hour, notice("bus/6", "alarm", Resolved, &["a"])),
        at(3 * hour, notice("bus/7", "alarm", Firing, &["a"])),
    ];
    assert_eq!(woken(&*store, notices).await, ["a", "a", "a", "a", "", "a", "a", "a", "b", "a", "a"]);
}

pub(super) async fn a_hint_that_has_made_an_effect_stands_for_the_proved_notice<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    // By what its run has recorded, and whether that may have been an effect.
    let table = [
        ("made", vec![intent(0), done(0, "s-1")], true),
        ("under-way", vec![intent(0)], true),
        ("refused-by-the-cloud", vec![intent(0), failed(0)], false),
        ("only-talk", vec![line("x")], false),
        ("made-before", vec![intent(0), done(0, "s-1"), intent(1), failed(1)], true),
    ];
    for (key, records, is_done) in table {
        let claim = hinted(&*store, key).await;
        for record in records {
            store.append_effect(&claim, None, vec![], Some(record)).await.expect("appended");
        }
        let killed = lab.killed();
        for store in [&store, &killed.open()] {
            let expected = if is_done { ["", ""] } else { ["a", ""] };
            assert_eq!(proved(&**store, key).await, expected, "{key}");
        }
        let finished = store.finish(&claim, vec![], Standing::Done).await;
        assert_eq!(finished.is_ok(), is_done, "{key}: the run that has made nothing is over");
        for run in store.claim(9, after(1000)).await.expect("claimed") {
            store.finish(&run.claim, vec![], Standing::Done).await.expect("finished");
        }
    }
    // One of another policy, of another firing, or of a lesser alarm stands for nothing.
    let claim = hinted(&*store, "other").await;
    store.append_effect(&claim, None, vec![], Some(intent(0))).await.expect("appended");
    let other = notice("bus/other", "other", Executed, &["a", "b"]);
    assert_eq!(woken(&*store, vec![other]).await, ["b"]);
    claim_one(&*store).await;
    let fires = |ms: i64, id: &str, level: &str| {
        let mut new = at(ms, notice(id, "alarm", Firing, &["a"]));
        new.event.level = Some(level.to_owned());
        new
    };
    assert_eq!(woken(&*store, vec![hint(fires(0, "hook/a1", "WARN"))]).await, ["a"]);
    let claim = claim_at(&*store, after(0)).await.claim;
    store.append_effect(&claim, None, vec![], Some(intent(0))).await.expect("appended");
    let notices = vec![
        fires(0, "bus/a1", "WARN"),
        fires(1, "bus/a2", "CRITICAL"),
        at(2, notice("bus/a3", "alarm", Resolved, &[])),
        fires(3, "bus/a4", "WARN"),
    ];
    assert_eq!(woken(&*store, notices).await, ["", "a", "", "a"]);
}

/// Records a hint that fires, with its run's effect where it makes one.
async fn fired(store: &dyn Store, ms: i64, id: &str, level: &str, acts: bool) {
    let mut new = hint(at(ms, notice(id, "alarm", Firing, &["a"])));
    new.event.level = Some(level.to_owned());
    assert_eq!(woken(store, vec![new]).await, ["a"], "{id}");
    if acts {
        let claimed = store.claim(99, after(ms)).await.expect("claimed");
        let claim = claimed.into_iter().find(|run| run.event.id == id).expect("claimed").claim;
        store.append_effect(&claim, None, vec![], Some(intent(0))).await.expect("appended");
        store.append_effect(&claim, None, vec![], Some(done(0, "s-1"))).await.expect("appended");
        store.finish(&claim, vec![], Standing::Done).await.expect("finished");
    }
}

pub(super) async fn no_later_hint_makes_what_one_has_done_be_done_again<L: Lab>() {
    let proof = |ms: i64, level: &str| {
        let mut new = at(ms, notice(&format!("bus/{ms}"), "alarm", Firing, &["a"]));
        new.event.level = Some(level.to_owned());
        new
    };
    let resolved = |ms: i64| hint(at(ms, notice(&format!("hook/over{ms}"), "alarm", Resolved, &[])));
    // A graver one after it.
    let lab = L::new();
    let store = lab.open();
    fired(&*store, 0, "hook/1", "WARN", true).await;
    fired(&*store, 1, "hook/2", "CRITICAL", false).await;
    assert_eq!(woken(&*store, vec![proof(2, "WARN")]).await, [""]);
    let graver = claim_at(&*store, after(9)).await;
    assert_eq!(graver.event.id, "hook/2", "nothing has taken its place");
    // Graver, and nothing done yet: never both make it.
    let lab = L::new();
    let store = lab.open();
    fired(&*store, 1, "hook/2", "CRITICAL", false).await;
    assert_eq!(woken(&*store, vec![proof(2, "WARN")]).await, ["a"]);
    let claimed = store.claim(9, after(9)).await.expect("claimed");
    assert_eq!(claimed.iter().map(|run| run.event.id.as_str()).collect::<Vec<_>>(), ["bus/2"]);
    assert_eq!(woken(&*store, vec![proof(3, "CRITICAL")]).await, ["a"], "proved in its turn");
    // One after another has begun.
    let lab = L::new();
    let store = lab.open();
    fired(&*store, 0, "hook/1", "WARN", true).await;
    assert_eq!(woken(&*store, vec![resolved(5)]).await, [""]);
    fired(&*store, 9, "hook/2", "WARN", false).await;
    assert_eq!(woken(&*store, vec![proof(0, "WARN")]).await, [""]);
    let ends = at(5, notice("bus/over", "alarm", Resolved, &[]));
    assert_eq!(woken(&*store, vec![ends, proof(9, "WARN")]).await, ["", "a"], "the other has not acted");
    // Many, of which one has acted, around a kill.
    let lab = L::new();
    let store = lab.open();
    for n in 0..30 {
        fired(&*store, 10 * n, &format!("hook/f{n}"), "WARN", n == 2).await;
        assert_eq!(woken(&*store, vec![resolved(10 * n + 5)]).await, [""]);
    }
    let killed = lab.killed();
    for store in [&store, &killed.open()] {
        assert_eq!(woken(&**store, vec![proof(20, "WARN")]).await, [""], "the third has acted");
    }
}

pub(super) async fn a_hint_about_another_resource_silences_nobody<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    for (key, subject, expected) in [
        ("other", "acs:ecs:cn-hangzhou:1:instance/i-2", "a"),
        ("same", "acs:ecs:cn-hangzhou:1:instance/i-1", ""),
    ] {
        let mut new = hint(notice(&format!("hook/{key}"), key, Executed, &["a"]));
        new.event.subject = Some(subject.to_owned());
        assert_eq!(woken(&*store, vec![new]).await, ["a"]);
        let claim = claim_one(&*store).await.claim;
        store.append_effect(&claim, None, vec![], Some(intent(0))).await.expect("appended");
        assert_eq!(proved(&*store, key).await, [expected, ""], "{key}");
        assert!(store.finish(&claim, vec![], Standing::Done).await.is_ok(), "it goes on");
        for run in store.claim(9, after(1000)).await.expect("claimed") {
            store.finish(&run.claim, vec![], Standing::Done).await.expect("finished");
        }
    }
}

pub(super) async fn a_hints_run_gives_way_to_that_of_the_proved_notice<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let machine: Vec<(AccountName, String)> = vec![("lab".parse().expect("a name"), "ins-1".to_owned())];
    let claim = hinted(&*store, "running").await;
    store.append(&claim, vec![line("has read")]).await.expect("appended");
    assert_eq!(store.lock(&claim, 1, machine.clone()).await.expect("locked"), None);
    let claim_of_asleep = hinted(&*store, "asleep").await;
    let asleep = Standing::Wake { at: after(9_000_000), faulted: false };
    store.finish(&claim_of_asleep, vec![line("sleeps")], asleep).await.expect("finished");
    let waiting = hint(notice("hook/waiting", "waiting", Executed, &["a"]));
    assert_eq!(woken(&*store, vec![waiting]).await, ["a"]);
    for key in ["running", "asleep", "waiting"] {
        assert_eq!(proved(&*store, key).await, ["a", ""], "{key}");
    }
    let lost = store.append_effect(&claim, None, vec![], Some(intent(1))).await;
    assert!(matches!(lost, Err(StoreError::Lost(_))), "its worker makes no effect any more: {lost:?}");
    let claimed = store.claim(10, after(9_999_999)).await.expect("claimed");
    let mut from: Vec<_> = claimed.iter().map(|run| run.event.id.as_str()).collect();
    from.sort_unstable();
    assert_eq!(from, ["bus/1asleep", "bus/1running", "bus/1waiting"], "the proved ones' runs alone");
    let free = store.lock(&claimed[0].claim, 1, machine).await.expect("locked");
    assert_eq!(free, None, "what it held is free");
    let runs = store.list_runs(RunFilter { limit: 10, ..RunFilter::default() }).await.expect("listed");
    let notes = runs.iter().filter(|run| run.event_id.starts_with("hook/"));
    for run in notes {
        let note = run.note.as_deref().unwrap_or_default();
        assert!(run.state == RunState::Done && note.starts_with("gave way to "), "{note}");
    }
    let counts = store.count_runs().await.expect("counted");
    assert!(counts.contains(&(RunState::Done, 3)), "{counts:?}");
}

pub(super) async fn a_hint_is_judged_by_what_proved_senders_told_too<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let notices = vec![
        notice("bus/1", "i", Executed, &["a"]),
        hint(notice("hook/1", "i", Executing, &["a", "names"])),
        hint(notice("hook/2", "i", Executed, &["a", "b"])),
        hint(notice("hook/3", "i", Executed, &["a", "b"])),
        at(0, notice("bus/2", "alarm", Firing, &["a"])),
        at(1, hint(notice("hook/4", "alarm", Firing, &["a", "b"]))),
        at(2, notice("bus/3", "alarm", Resolved, &["a"])),
        at(3, notice("bus/4", "alarm", Firing, &["a"])),
        at(3, hint(notice("hook/5", "alarm", Firing, &["a", "c"]))),
    ];
    assert_eq!(woken(&*store, notices).await, ["a", "names", "b", "", "a", "b", "a", "a", "c"]);
}

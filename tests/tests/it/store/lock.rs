//! The promises of `Store::lock` and `Store::intervene`, against any store: a resource has one effect at a time until its
//! outcome is known, through restarts; and a person's decision is written once, on the run as it was seen.

use super::once::{done, failed, intent, key, ledger, two_runs};
use super::*;
use opsward::store::{Claim, Once, Standing, StoreError};
use opsward_core::id::AccountName;
use opsward_core::run::{Answered, RunState};

fn resources(ids: &[&str]) -> Vec<(AccountName, String)> {
    let account: AccountName = "lab".parse().expect("a name");
    ids.iter().map(|id| (account.clone(), (*id).to_owned())).collect()
}

async fn lock(store: &dyn Store, claim: &Claim, position: u32, ids: &[&str]) -> Option<RunId> {
    store.lock(claim, position, resources(ids)).await.expect("asked")
}

pub(super) fn not_executed(position: u32) -> Record {
    Record::new(NOW, Entry::NotExecuted { position, why: "unchanged".into(), by: None })
}

/// An effect that was refused, or answered by another's.
fn not_made(position: u32) -> Record {
    let Entry::Intent { request, .. } = intent(position).entry else { unreachable!("it is one") };
    let Entry::Result { reply, .. } = failed(position).entry else { unreachable!("it is one") };
    Record::new(NOW, Entry::Call { position, request, reply, answered: Answered::Host })
}

pub(super) async fn a_resource_has_one_effect_until_its_outcome_is_known<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    assert_eq!(lock(&*store, &first, 0, &["ins-1", "ins-2"]).await, None);
    assert_eq!(lock(&*store, &first, 0, &["ins-1"]).await, None, "asked again by the same effect");
    let holder = Some(first.run.clone());
    assert_eq!(lock(&*store, &second, 0, &["ins-3", "ins-2"]).await, holder);
    assert_eq!(
        lock(&*store, &first, 1, &["ins-2"]).await,
        holder,
        "another effect of the same run waits too"
    );
    assert_eq!(lock(&*store, &second, 0, &["ins-3"]).await, None, "nothing was taken with what was refused");
    for (position, outcome) in [(0, done(0, "s-1")), (1, failed(1)), (2, not_executed(2)), (4, not_made(4))] {
        lock(&*store, &first, position, &["ins-9"]).await;
        assert_eq!(lock(&*store, &second, 7, &["ins-9"]).await, holder, "{position}");
        store.append(&first, vec![intent(position)]).await.expect("appended");
        assert_eq!(
            lock(&*store, &second, 7, &["ins-9"]).await,
            holder,
            "{position}: an intent is no outcome"
        );
        store.append(&first, vec![outcome]).await.expect("appended");
        assert_eq!(lock(&*store, &second, 7, &["ins-9"]).await, None, "{position}");
        store.append(&second, vec![not_made(7)]).await.expect("given back");
    }
    lock(&*store, &first, 3, &["ins-8"]).await;
    store.append_effect(&first, Some(key("k")), vec![], Some(intent(3))).await.expect("appended");
    store.append_effect(&first, Some(key("k")), vec![], Some(done(3, "s-1"))).await.expect("appended");
    assert_eq!(lock(&*store, &second, 8, &["ins-8"]).await, None, "the same with a natural key");
}

pub(super) async fn locks_outlive_hosts_claims_and_holds_and_end_with_the_run<L: Lab>() {
    for (to, kept) in [
        (Standing::Wake { at: NOW, faulted: true }, true),
        (Standing::Held, true),
        (Standing::Done, false),
        (Standing::Failed, false),
        (Standing::Dead, false),
    ] {
        let lab = L::new();
        let store = lab.open();
        let [first, second] = two_runs(&*store).await;
        lock(&*store, &first, 0, &["ins-1"]).await;
        store.finish(&first, vec![], to).await.expect("finished");
        let expected = kept.then(|| first.run.clone());
        assert_eq!(lock(&*store, &second, 0, &["ins-1"]).await, expected, "{to:?}");
        store.finish(&second, vec![], Standing::Wake { at: NOW, faulted: false }).await.expect("finished");
        let store = lab.killed().open();
        let claims = store.claim(5, NOW).await.expect("claimed");
        let second =
            claims.into_iter().map(|c| c.claim).find(|claim| claim.run == second.run).expect("ready");
        assert_eq!(lock(&*store, &second, 0, &["ins-1"]).await, expected, "{to:?}, after a kill");
    }
}

pub(super) async fn a_past_claim_takes_no_lock<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, _] = two_runs(&*store).await;
    store.finish(&first, vec![], Standing::Wake { at: NOW, faulted: false }).await.expect("finished");
    let taken = store.lock(&first, 0, resources(&["ins-1"])).await;
    assert!(matches!(taken, Err(StoreError::Lost(_))), "{taken:?}");
}

/// A run that is held with an effect unknown that has a natural key and a lock, and another that wants both.
async fn held(store: &dyn Store) -> [Claim; 2] {
    let [first, second] = two_runs(store).await;
    lock(store, &first, 0, &["ins-1"]).await;
    store.append_effect(&first, Some(key("k")), vec![], Some(intent(0))).await.expect("appended");
    store.finish(&first, vec![line("held")], Standing::Held).await.expect("finished");
    [first, second]
}

pub(super) async fn a_decision_settles_key_and_lock_and_lets_the_run_go_on<L: Lab>() {
    for (record, answered) in [(done(0, "s-1"), true), (not_executed(0), false)] {
        let lab = L::new();
        let store = lab.open();
        let [first, second] = held(&*store).await;
        let wake = Standing::Wake { at: NOW, faulted: false };
        let decided = store.intervene(&first, RunState::Held, Some(key("k")), record.clone(), wake).await;
        decided.expect("decided");
        assert_eq!(lock(&*store, &second, 0, &["ins-1"]).await, None);
        match store.append_effect(&second, Some(key("k")), vec![], None).await.expect("asked") {
            Once::First => assert!(!answered, "an effect that took place keeps its key"),
            Once::Later { reply, .. } => assert_eq!(reply.is_some(), answered),
            Once::Over(over) => panic!("{over:?}"),
        }
        let again = work_on_one(&*store).await;
        assert_eq!((&again.claim.run, again.claim.epoch), (&first.run, 3), "the decision has one as well");
        assert_eq!(again.ledger.last(), Some(&record));
        on_disk(&*store).await;
        let counts = store.count_runs().await.expect("counted");
        assert!(
            counts.contains(&(RunState::Held, 0)) && counts.contains(&(RunState::Running, 2)),
            "{counts:?}"
        );
    }
}

pub(super) async fn an_abandoned_effect_keeps_its_key_and_frees_its_resource<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = held(&*store).await;
    let given_up = Record::new(NOW, Entry::Abandoned { position: Some(0), by: "ops".into() });
    let decided = store.intervene(&first, RunState::Held, Some(key("k")), given_up, Standing::Dead).await;
    decided.expect("decided");
    assert_eq!(lock(&*store, &second, 0, &["ins-1"]).await, None);
    let asked = store.append_effect(&second, Some(key("k")), vec![], None).await.expect("asked");
    assert_eq!(asked, Once::Later { run: first.run.clone(), reply: None }, "it may have taken place");
    assert_eq!(store.find_runs(first.run.as_str(), 1).await.expect("found")[0].row.state, RunState::Dead);
}

pub(super) async fn a_decision_on_a_run_that_has_moved_on_is_not_written<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, _] = held(&*store).await;
    let wake = Standing::Wake { at: NOW, faulted: false };
    let decide = async |claim: &Claim, from| {
        store.intervene(claim, from, None, line("decided"), wake).await.map_err(|e| e.to_string())
    };
    decide(&first, RunState::Dead).await.expect_err("it is held, not dead");
    decide(&Claim { epoch: 2, ..first.clone() }, RunState::Held).await.expect_err("another claim");
    decide(&first, RunState::Held).await.expect("held");
    decide(&first, RunState::Held).await.expect_err("it is ready by now");
    let of_first = ledger(&*store, &first).await;
    assert_eq!(messages(&of_first), ["held", "decided"]);
}

//! What every store promises of approvals: a run that asks is listed until it is decided on or ends, also through kills, and of
//! two decisions on the same thing one comes first.

use super::*;
use opsward::store::{Claim, StoreError};
use opsward_core::approval::{Asked, Plan};
use opsward_core::run::{RunState, StateOp};
use std::time::Duration;

fn asked(nth: u32, expires: Timestamp) -> Record {
    let digest = Digest::of(b"plan");
    let approvers = vec!["alice".parse().expect("a name"), "bob".parse().expect("a name")];
    let asked = Asked {
        nth,
        hash: digest,
        facts: digest,
        plan: Plan::default(),
        approvers,
        minimum: 2,
        expires,
        changed: String::new(),
    };
    Record::new(NOW, Entry::Asked { asked: Box::new(asked) })
}

fn approved(by: &str, enough: bool) -> Record {
    Record::new(NOW, Entry::Approved { nth: 1, by: by.parse().expect("a name"), enough })
}

fn wake(at: Timestamp) -> Standing {
    Standing::Wake { at, faulted: false }
}

async fn waiting(store: &dyn Store) -> Vec<String> {
    let runs = store.list_approvals(0).await.expect("listed");
    runs.iter().map(|run| run.event.id.clone()).collect()
}

/// The latest claim of a run that no worker has.
async fn seen(store: &dyn Store, claim: &Claim) -> Claim {
    let found = store.find_runs(claim.run.as_str(), 1).await.expect("found").swap_remove(0);
    Claim { epoch: found.epoch, ..claim.clone() }
}

pub(super) async fn a_run_waits_for_an_approval_until_it_is_decided_or_ends<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let names = ["first", "second", "third", "fourth"];
    for id in names {
        store.accept(vec![event(id, NOW, &["a"])]).await.expect("accepted");
    }
    let claims = store.claim(4, NOW).await.expect("claimed");
    assert_eq!(waiting(&*store).await, Vec::<String>::new());
    for (claimed, in_seconds) in claims.iter().zip([40, 10, 20, 30]) {
        let expires = NOW + Duration::from_secs(in_seconds);
        store.finish(&claimed.claim, vec![asked(1, expires)], wake(expires)).await.expect("finished");
    }
    let lab = lab.killed();
    let store = lab.open();
    let [first, second, third, _] = [0, 1, 2, 3].map(|at: usize| claims[at].claim.clone());
    assert_eq!(waiting(&*store).await, ["second", "third", "fourth", "first"]);
    assert_eq!(store.list_approvals(2).await.expect("listed").len(), 2);

    let by_one = approved("alice", false);
    let later = wake(NOW + Duration::from_secs(40));
    store.intervene(&first, RunState::Ready, None, by_one, later).await.expect("decided");
    assert_eq!(waiting(&*store).await.len(), 4, "one of two");
    let first = seen(&*store, &first).await;
    store.intervene(&first, RunState::Ready, None, approved("bob", true), wake(NOW)).await.expect("decided");
    assert_eq!(waiting(&*store).await, ["second", "third", "fourth"]);
    let denied = Record::new(NOW, Entry::Denied { nth: 1, by: "bob".parse().expect("a name") });
    store.intervene(&second, RunState::Ready, None, denied, Standing::Failed).await.expect("decided");
    assert_eq!(waiting(&*store).await, ["third", "fourth"]);

    // One that is woken, and goes back to sleep, waits on; one that ends does not.
    let due = store.claim(9, NOW + Duration::from_secs(25)).await.expect("claimed");
    let due = due.into_iter().find(|run| run.claim.run == third.run).expect("due");
    store
        .finish(&due.claim, vec![line("woken")], wake(NOW + Duration::from_secs(25)))
        .await
        .expect("finished");
    assert_eq!(waiting(&*store).await, ["third", "fourth"]);
    let due = store.claim(9, NOW + Duration::from_secs(25)).await.expect("claimed").swap_remove(0);
    store.finish(&due.claim, vec![line("over")], Standing::Failed).await.expect("finished");
    assert_eq!(waiting(&*store).await, ["fourth"]);
}

pub(super) async fn of_two_decisions_on_what_was_seen_one_comes_first<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    store.accept(vec![event("e", NOW, &["a"])]).await.expect("accepted");
    let claim = claim_one(&*store).await.claim;
    let expires = NOW + Duration::from_secs(40);
    store.finish(&claim, vec![asked(1, expires)], wake(expires)).await.expect("finished");
    let decide = async |claim: &Claim, by: &str| {
        store.intervene(claim, RunState::Ready, None, approved(by, false), wake(expires)).await
    };
    let [one, other] = [decide(&claim, "alice").await, decide(&claim, "bob").await];
    assert!(one.is_ok() && matches!(other, Err(StoreError::Lost(_))), "{one:?} {other:?}");
    let again = seen(&*store, &claim).await;
    assert!(again.epoch > claim.epoch);
    decide(&again, "bob").await.expect("on what is there by now");
    // A worker that has it comes first as well.
    let last = seen(&*store, &claim).await;
    store.claim(1, expires).await.expect("claimed");
    assert!(matches!(decide(&last, "carol").await, Err(StoreError::Lost(_))));
}

pub(super) async fn a_policys_state_is_looked_at_without_a_trace<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    store.accept(vec![event("e", NOW, &["a"])]).await.expect("accepted");
    let claim = claim_one(&*store).await.claim;
    let set = StateOp::Set { key: "k".into(), value: b"v".to_vec() };
    store.state(&claim, &policy("a"), 0, set, NOW).await.expect("written");
    let records = async || store.find_runs("", 1).await.expect("found")[0].ledger.len();
    let before = records().await;
    let entry = store.peek_state(&policy("a"), "k").await.expect("read").expect("there");
    assert_eq!((entry.value.as_slice(), entry.version), (b"v".as_slice(), 1));
    for (of, key) in [("a", "other"), ("b", "k"), ("a", "")] {
        assert_eq!(store.peek_state(&policy(of), key).await.expect("read"), None);
    }
    assert_eq!(records().await, before);
}

//! The promises of `Store::append_effect`, against any store.

use super::*;
use opsward::store::{Claim, ONCE_KEPT, Once, OnceKey, Standing, StoreError};
use opsward_core::call::{CallError, CallRequest, CallResponse, ErrorKind};
use opsward_core::catalog::Class;
use opsward_core::run::Answered;
use std::time::Duration;

pub(super) async fn the_first_effect_with_a_key_takes_it_and_later_ones_get_its_answer<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    let ask = async |claim: &Claim, record| {
        store.append_effect(claim, Some(key("k")), vec![], record).await.expect("asked")
    };
    assert_eq!(ask(&second, None).await, Once::First, "looking takes nothing");
    assert_eq!(ask(&first, Some(intent(0))).await, Once::First);
    let in_flight = Once::Later { run: first.run.clone(), reply: None };
    assert_eq!(ask(&second, None).await, in_flight);
    assert_eq!(ask(&second, Some(intent(0))).await, in_flight);
    assert_eq!(ask(&first, Some(intent(1))).await, in_flight, "another effect of the same run");
    assert_eq!(ask(&first, Some(done(0, "s-1"))).await, Once::First);

    let answered = Once::Later { run: first.run.clone(), reply: Some(response("s-1")) };
    for claim in [&second, &first] {
        assert_eq!(ask(claim, None).await, answered);
        assert_eq!(ask(claim, Some(intent(2))).await, answered);
    }
    assert_eq!(
        ask(&first, Some(intent(0))).await,
        answered,
        "a new try of the same run, at the same position"
    );
    assert_eq!(ledger(&*store, &first).await, [intent(0), done(0, "s-1")]);
    assert_eq!(ledger(&*store, &second).await, [], "nothing was written for the later one");
}

pub(super) async fn a_key_is_told_by_policy_and_action<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    let elsewhere = [
        OnceKey { policy: policy("b"), ..key("k") },
        OnceKey { action: "ecs:StartInstance".into(), ..key("k") },
        key("K"),
    ];
    for (position, key) in (0..).zip([key("k")].into_iter().chain(elsewhere)) {
        let asked = store
            .append_effect(&first, Some(key.clone()), vec![], Some(intent(position)))
            .await
            .expect("asked");
        assert_eq!(asked, Once::First, "{key:?}");
        let later = store.append_effect(&second, Some(key), vec![], None).await.expect("asked");
        assert_eq!(later, Once::Later { run: first.run.clone(), reply: None });
    }
}

pub(super) async fn an_effect_that_failed_frees_its_key_and_one_without_a_result_keeps_it<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    store.append_effect(&first, Some(key("failed")), vec![], Some(intent(0))).await.expect("asked");
    store.append_effect(&first, Some(key("open")), vec![], Some(intent(1))).await.expect("asked");
    store.append_effect(&first, Some(key("failed")), vec![], Some(failed(0))).await.expect("asked");
    let asked =
        store.append_effect(&second, Some(key("failed")), vec![], Some(intent(0))).await.expect("asked");
    assert_eq!(asked, Once::First);
    store.append_effect(&first, Some(key("failed")), vec![], Some(failed(0))).await.expect("asked");
    let others = Once::Later { run: second.run.clone(), reply: None };
    let asked = store.append_effect(&first, Some(key("failed")), vec![], None).await.expect("asked");
    assert_eq!(asked, others, "only the effect that has a key frees it");

    store.finish(&first, vec![], Standing::Held).await.expect("finished");
    drop(store);
    let store = lab.open();
    let again = claim_one(&*store).await.claim;
    assert_eq!(again.run, second.run);
    let asked = store.append_effect(&again, Some(key("open")), vec![], Some(intent(1))).await.expect("asked");
    assert_eq!(asked, Once::Later { run: first.run, reply: None }, "a held effect's, after a restart");
}

pub(super) async fn a_key_and_the_record_it_comes_with_are_written_both_or_neither<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    store.append_effect(&first, Some(key("k")), vec![], Some(intent(0))).await.expect("asked");
    let killed = lab.killed();
    store.append_effect(&first, Some(key("k")), vec![], Some(done(0, "s-1"))).await.expect("asked");
    let past = Claim { epoch: 0, ..second };
    let lost = store.append_effect(&past, Some(key("other")), vec![], Some(intent(0))).await;
    assert!(matches!(lost, Err(StoreError::Lost(_))), "{lost:?}");
    let free = store.append_effect(&first, Some(key("other")), vec![], None).await.expect("asked");
    assert_eq!(free, Once::First, "a past claim takes no key");

    let store = killed.open();
    let claimed = store.claim(2, NOW).await.expect("claimed");
    let [of_first, of_second] = [&claimed[0], &claimed[1]];
    assert_eq!(store.take_up(of_first.clone()).await.expect("taken up").ledger, [intent(0)]);
    let later = |reply| Once::Later { run: first.run.clone(), reply };
    let asked =
        store.append_effect(&of_second.claim, Some(key("k")), vec![], Some(intent(0))).await.expect("asked");
    assert_eq!(asked, later(None));
    store
        .append_effect(&of_first.claim, Some(key("k")), vec![], Some(done(0, "s-1")))
        .await
        .expect("settled");
    let asked =
        store.append_effect(&of_second.claim, Some(key("k")), vec![], Some(intent(0))).await.expect("asked");
    assert_eq!(asked, later(Some(response("s-1"))));
}

pub(super) async fn an_answered_key_is_kept_for_its_time_and_not_for_ever<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    let ask = async |name: &str, record| {
        store.append_effect(&first, Some(key(name)), vec![], record).await.expect("asked")
    };
    ask("open", Some(intent(0))).await;
    ask("answered", Some(intent(1))).await;
    ask("answered", Some(done(1, "s-1"))).await;
    // Old keys may stay for a while: enough answers come after them to have them looked for.
    for (age, kept) in [(ONCE_KEPT, true), (ONCE_KEPT + Duration::from_millis(1), false)] {
        for n in 0..300 {
            let answer = Record { at: NOW + age, ..done(n, "s-2") };
            ask(&format!("{n} after {age:?}"), Some(answer)).await;
        }
        let found = store.append_effect(&second, Some(key("answered")), vec![], None).await.expect("asked");
        assert_eq!(found != Once::First, kept, "{age:?}");
        let open = store.append_effect(&second, Some(key("open")), vec![], None).await.expect("asked");
        assert_eq!(open, Once::Later { run: first.run.clone(), reply: None }, "{age:?}");
    }
}

/// Claims on the runs of two events for one policy.
pub(super) async fn two_runs(store: &dyn Store) -> [Claim; 2] {
    store.accept(vec![event("e1", NOW, &["a"]), event("e2", NOW, &["a"])]).await.expect("accepted");
    let claims: Vec<Claim> =
        store.claim(2, NOW).await.expect("claimed").into_iter().map(|c| c.claim).collect();
    claims.try_into().expect("two runs")
}

pub(super) async fn ledger(store: &dyn Store, claim: &Claim) -> Vec<Record> {
    store.find_runs(claim.run.as_str(), 1).await.expect("found").remove(0).ledger
}

pub(super) fn key(key: &str) -> OnceKey {
    OnceKey { policy: policy("a"), action: "ecs:CreateSnapshot".into(), key: key.into() }
}

pub(super) fn intent(position: u32) -> Record {
    let request = CallRequest {
        service: "ecs".into(),
        action: "CreateSnapshot".into(),
        region: "cn-hangzhou".into(),
        params: "{}".into(),
        once: Some("k".into()),
    };
    Record::new(NOW, Entry::Intent { position, request, class: Class::Token, token: None, baseline: None })
}

pub(super) fn done(position: u32, snapshot: &str) -> Record {
    result(position, Ok(response(snapshot)))
}

pub(super) fn failed(position: u32) -> Record {
    let (code, message) = ("IncorrectDiskStatus".into(), String::new());
    result(
        position,
        Err(CallError { kind: ErrorKind::Conflict, code, message, request_id: None, retryable: true }),
    )
}

fn result(position: u32, reply: Result<CallResponse, CallError>) -> Record {
    Record::new(NOW, Entry::Result { position, reply, answered: Answered::Cloud, sends: 1 })
}

fn response(snapshot: &str) -> CallResponse {
    CallResponse {
        request_id: "r-1".into(),
        body: format!("{{\"SnapshotId\":\"{snapshot}\"}}"),
        simulated: false,
    }
}

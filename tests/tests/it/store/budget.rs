//! What every store promises of guardrails: an effect counts with its intent, for good unless it changed nothing, and a halt
//! lasts until somebody ends it.

use super::lock::not_executed;
use super::once::{done, failed, intent, key, ledger, two_runs};
use super::*;
use opsward::store::{Claim, Once, Standing};
use opsward_core::call::CallError;
use opsward_core::guardrail::{Halt, Limit, Quota, Scope};
use opsward_core::run::{Answered, RunState};
use std::time::Duration;

/// Two an hour of one policy.
fn two_an_hour() -> Vec<Limit> {
    vec![limit("p", 2)]
}

fn limit(policy: &str, max: u32) -> Limit {
    let quota = Quota { max, per: Duration::from_secs(3600) };
    Limit { scope: Scope::PolicyOnce(policy.parse().expect("a name")), quota: Some(quota), cost: 1 }
}

async fn begin(store: &dyn Store, claim: &Claim, record: Record, limits: Vec<Limit>) -> Once {
    store.append_effect(claim, None, limits, Some(record)).await.expect("asked")
}

fn is_over(once: &Once) -> bool {
    matches!(once, Once::Over(_))
}

pub(super) async fn an_effect_counts_with_its_intent_and_through_kills<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    assert_eq!(begin(&*store, &first, intent(0), two_an_hour()).await, Once::First);
    assert_eq!(begin(&*store, &second, intent(0), two_an_hour()).await, Once::First);
    store.append(&second, vec![done(0, "s-1")]).await.expect("appended");
    let lab = lab.killed();
    let store = lab.open();
    let again = claim_one(&*store).await;
    let Once::Over(over) = begin(&*store, &again.claim, intent(1), two_an_hour()).await else {
        panic!("two are spent")
    };
    assert_eq!(over.room_at, Some(NOW + Duration::from_secs(3600)));
    let limits = vec![limit("p", 2), limit("other", 2)];
    let spent = store.spent(limits, NOW).await.expect("asked");
    let shown = spent.iter().map(|all| all.iter().map(|one| (one.at, one.cost)).collect::<Vec<_>>());
    assert_eq!(shown.collect::<Vec<_>>(), [vec![(NOW, 1), (NOW, 1)], vec![]], "and can be looked at");
    let later = Record { at: NOW + Duration::from_secs(3600), ..intent(1) };
    assert_eq!(begin(&*store, &again.claim, later, two_an_hour()).await, Once::First);
}

pub(super) async fn an_effect_without_room_leaves_no_trace<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    let both = || vec![limit("roomy", 9), limit("tight", 1)];
    assert_eq!(begin(&*store, &first, intent(0), both()).await, Once::First);
    let refused = store.append_effect(&second, Some(key("k")), both(), Some(intent(0))).await.expect("asked");
    assert!(is_over(&refused), "{refused:?}");
    let free = store.append_effect(&first, Some(key("k")), vec![], None).await.expect("asked");
    assert_eq!(free, Once::First, "its key is free");
    store.finish(&second, vec![], Standing::Done).await.expect("finished");
    assert!(ledger(&*store, &second).await.is_empty(), "and its ledger empty");
    for position in 1..=8 {
        let roomy = begin(&*store, &first, intent(position), vec![limit("roomy", 9)]).await;
        assert_eq!(roomy, Once::First, "the refused one counts nowhere");
    }
    assert!(is_over(&begin(&*store, &first, intent(9), vec![limit("roomy", 9)]).await));
}

pub(super) async fn what_an_effect_counted_is_given_back_if_it_changed_nothing<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    for nothing in [failed(0), not_executed(0)] {
        assert_eq!(begin(&*store, &first, intent(0), vec![limit("p", 1)]).await, Once::First);
        assert!(is_over(&begin(&*store, &second, intent(0), vec![limit("p", 1)]).await));
        store.append(&first, vec![nothing]).await.expect("appended");
    }
    assert_eq!(begin(&*store, &first, intent(0), vec![limit("p", 1)]).await, Once::First);
    store.finish(&first, vec![line("held")], Standing::Held).await.expect("finished");
    let wake = Standing::Wake { at: NOW, faulted: false };
    let decided = store.intervene(&first, RunState::Held, None, not_executed(0), wake).await;
    decided.expect("decided");
    assert_eq!(begin(&*store, &second, intent(0), vec![limit("p", 1)]).await, Once::First);
    store.append(&second, vec![done(0, "s-1")]).await.expect("appended");
    assert!(is_over(&begin(&*store, &second, intent(1), vec![limit("p", 1)]).await), "it took place");
}

pub(super) async fn a_halt_lasts_until_it_is_ended_also_through_a_kill<L: Lab>() {
    let halt = |of: Option<&str>, why: &str| Halt {
        policy: of.map(policy),
        by: "ops".into(),
        why: why.into(),
        at: NOW,
    };
    let lab = L::new();
    let store = lab.open();
    for halt in [halt(Some("a"), "first"), halt(None, "all"), halt(Some("a"), "second")] {
        store.halt(halt).await.expect("halted");
    }
    let killed = lab.killed();
    let store = killed.open();
    assert_eq!(store.halts().await.expect("asked").0, [halt(None, "all"), halt(Some("a"), "second")]);
    assert!(store.resume(None, "ops".to_owned(), NOW).await.expect("resumed"));
    assert!(!store.resume(None, "ops".to_owned(), NOW).await.expect("asked"), "it is over");
    assert!(!store.resume(Some(policy("b")), "ops".to_owned(), NOW).await.expect("asked"), "it was none");
    assert_eq!(store.halts().await.expect("asked").0, [halt(Some("a"), "second")]);
}

pub(super) async fn what_an_earlier_try_counted_counts_on<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    assert_eq!(begin(&*store, &first, intent(0), two_an_hour()).await, Once::First);
    store.append(&first, vec![done(0, "s-1")]).await.expect("appended");
    // The next try gets the answer, and comes to the same position with another effect, which fails.
    let Entry::Intent { request, .. } = intent(0).entry else { panic!("an intent") };
    let reply = Err(opsward_core::retry::refusal(opsward_core::call::ErrorKind::Denied, "x", String::new()));
    let answered = Entry::Call { position: 0, request, reply, answered: Answered::EarlierTry };
    store.append(&first, vec![Record::new(NOW, answered)]).await.expect("appended");
    let later = Record { at: after(1), ..intent(0) };
    assert_eq!(begin(&*store, &first, later, two_an_hour()).await, Once::First);
    store.append(&first, vec![failed(0)]).await.expect("appended");
    let one_more = Record { at: after(2), ..intent(0) };
    assert_eq!(begin(&*store, &second, one_more, two_an_hour()).await, Once::First);
    let third = Record { at: after(3), ..intent(1) };
    assert!(is_over(&begin(&*store, &second, third, two_an_hour()).await), "the first one counts");
}

pub(super) async fn what_failed_counts_for_a_ramp_and_a_circuit_until_somebody_ends_that<L: Lab>() {
    let of = |scope: Scope, max| Limit {
        scope,
        quota: Some(Quota { max, per: Duration::from_secs(3600) }),
        cost: 1,
    };
    let both = || vec![of(Scope::Ramp(policy("p")), u32::MAX), of(Scope::Circuit(policy("p")), 1)];
    let lab = L::new();
    let store = lab.open();
    let [first, second] = two_runs(&*store).await;
    assert_eq!(begin(&*store, &first, intent(0), both()).await, Once::First);
    assert!(is_over(&begin(&*store, &second, intent(0), both()).await), "the first step has one");
    let cloud_error = CallError { code: "InvalidImageId.NotFound".into(), ..refused("x") };
    let answered = |error: CallError| {
        let (position, reply, answered) = (0, Err(error), Answered::Cloud);
        Record::new(NOW, Entry::Result { position, reply, answered, sends: 1 })
    };
    store.append(&first, vec![answered(refused("opsward.Halted"))]).await.expect("appended");
    let later = |nth, record: Record| Record { at: after(nth), ..record };
    assert_eq!(begin(&*store, &first, later(1, intent(0)), both()).await, Once::First, "it was not sent");
    store.append(&first, vec![later(2, answered(cloud_error))]).await.expect("appended");
    let lab = lab.killed();
    let store = lab.open();
    let again = claim_one(&*store).await;
    for scope in [Scope::Ramp(policy("p")), Scope::Circuit(policy("p"))] {
        let limits = vec![of(scope.clone(), 1)];
        let over = begin(&*store, &again.claim, later(3, intent(5)), limits.clone()).await;
        assert!(is_over(&over), "{scope:?}");
    }
    assert!(store.resume(Some(policy("p")), "ops".to_owned(), after(4)).await.expect("resumed"));
    assert!(
        !store.resume(Some(policy("p")), "ops".to_owned(), after(4)).await.expect("asked"),
        "nothing is left"
    );
    assert_eq!(begin(&*store, &again.claim, later(4, intent(5)), both()).await, Once::First);
}

pub(super) async fn different_resources_count_once_each<L: Lab>() {
    let on = |ids: &[&str]| {
        let named = ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let quota = Some(Quota { max: 2, per: Duration::from_secs(3600) });
        let cost = u32::try_from(named.len()).expect("few");
        vec![Limit { scope: Scope::Resources(policy("p"), named), quota, cost }]
    };
    let lab = L::new();
    let store = lab.open();
    let [first, _] = two_runs(&*store).await;
    assert_eq!(begin(&*store, &first, intent(0), on(&["a"])).await, Once::First);
    store.append(&first, vec![failed(0)]).await.expect("appended");
    for (position, ids) in [(1, &["b", "c"][..]), (2, &["b"]), (3, &["c", "b"])] {
        let record = Record { at: after(position.into()), ..intent(position) };
        assert_eq!(begin(&*store, &first, record, on(ids)).await, Once::First, "{ids:?}");
        store.append(&first, vec![done(position, "s")]).await.expect("appended");
    }
    let third = Record { at: after(4), ..intent(4) };
    let Once::Over(over) = begin(&*store, &first, third, on(&["a"])).await else { panic!("two are spent") };
    assert_eq!(over.room_at, Some(after(3) + Duration::from_secs(3600)), "each counts from its last change");
}

fn refused(code: &'static str) -> CallError {
    opsward_core::retry::refusal(opsward_core::call::ErrorKind::Denied, code, String::new())
}

//! The promises of `Store::state`, against any store.

use super::*;
use opsward::store::{Claim, STATE_KEY_BYTES_MAX, STATE_KEYS_MAX, STATE_VALUE_BYTES_MAX};
use opsward_core::run::{StateEntry, StateError, StateOp, StateReply};

pub(super) async fn a_policys_state_keeps_within_its_bounds<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let desk = Desk::new(&*store).await;
    assert_eq!(desk.set("a", "k", b"1").await, Ok(1));
    assert_eq!(desk.set("a", "k", b"2").await, Ok(2));
    assert_eq!(desk.get("a", "k").await, Some(StateEntry { value: b"2".to_vec(), version: 2 }));
    assert_eq!(desk.get("b", "k").await, None, "another policy's");
    assert_eq!(desk.swap("a", "k", 1, b"3").await, Err(StateError::Conflict));
    assert_eq!(desk.swap("a", "k", 2, b"3").await, Ok(3));
    assert_eq!(desk.swap("a", "new", 1, b"").await, Err(StateError::Conflict));
    assert_eq!(desk.swap("a", "new", 0, b"").await, Ok(1));

    let long_key = "k".repeat(STATE_KEY_BYTES_MAX + 1);
    let long_value = vec![0; STATE_VALUE_BYTES_MAX + 1];
    assert_eq!(desk.set("a", "", b"1").await, Err(StateError::TooLarge));
    assert_eq!(desk.set("a", &long_key, b"1").await, Err(StateError::TooLarge));
    assert_eq!(desk.set("a", "k", &long_value).await, Err(StateError::TooLarge));
    assert_eq!(desk.swap("a", &long_key, 9, b"1").await, Err(StateError::TooLarge));
    assert_eq!(desk.get("a", &long_key).await, None);
    desk.delete("a", "").await;
    assert_eq!(desk.set("a", &long_key[1..], &long_value[1..]).await, Ok(1));

    for n in 0..STATE_KEYS_MAX {
        assert_eq!(desk.set("b", &format!("k{n}"), b"").await, Ok(1));
    }
    assert_eq!(desk.set("b", "one-more", b"").await, Err(StateError::TooLarge));
    assert_eq!(desk.set("b", "k0", b"again").await, Ok(2), "a key that is there can be written");
    desk.delete("b", "k1").await;
    assert!(desk.set("b", "one-more", b"").await.is_ok(), "a deleted key makes room");
}

pub(super) async fn a_version_of_a_deleted_key_never_matches_again<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let desk = Desk::new(&*store).await;
    let seen = desk.set("a", "k", b"1").await.expect("written");
    desk.delete("a", "k").await;
    assert_eq!(desk.get("a", "k").await, None);
    desk.delete("a", "k").await;
    let present = desk.swap("a", "k", 0, b"2").await.expect("absent, so written");
    assert!(present > seen);
    assert_eq!(desk.swap("a", "k", seen, b"3").await, Err(StateError::Conflict));
}

pub(super) async fn each_access_to_state_is_in_the_ledger<L: Lab>() {
    let lab = L::new();
    let store = lab.open();
    let desk = Desk::new(&*store).await;
    desk.set("a", "k", b"1").await.expect("written");
    desk.get("a", "k").await;
    let found = store.find_runs(desk.claim.run.as_str(), 1).await.expect("found").remove(0);
    let set = StateOp::Set { key: "k".into(), value: b"1".to_vec() };
    let value = StateEntry { value: b"1".to_vec(), version: 1 };
    let expected = [
        Record::new(NOW, Entry::State { position: 7, op: set, reply: StateReply::Written(Ok(1)) }),
        Record::new(
            NOW,
            Entry::State {
                position: 7,
                op: StateOp::Get { key: "k".into() },
                reply: StateReply::Value(Some(value)),
            },
        ),
    ];
    assert_eq!(found.ledger, expected);
}

/// A claimed run from which state is used.
struct Desk<'s> {
    store: &'s dyn Store,
    claim: Claim,
}

impl<'s> Desk<'s> {
    async fn new(store: &'s dyn Store) -> Self {
        store.accept(vec![event("desk", NOW, &["a"])]).await.expect("accepted");
        Self { store, claim: claim_one(store).await.claim }
    }
    async fn perform(&self, name: &str, op: StateOp) -> StateReply {
        self.store.state(&self.claim, &policy(name), 7, op, NOW).await.expect("performed")
    }
    async fn get(&self, name: &str, key: &str) -> Option<StateEntry> {
        match self.perform(name, StateOp::Get { key: key.into() }).await {
            StateReply::Value(value) => value,
            other => panic!("{other:?}"),
        }
    }
    async fn set(&self, name: &str, key: &str, value: &[u8]) -> Result<u64, StateError> {
        written(self.perform(name, StateOp::Set { key: key.into(), value: value.into() }).await)
    }
    async fn swap(&self, name: &str, key: &str, expected: u64, value: &[u8]) -> Result<u64, StateError> {
        let op = StateOp::CompareAndSet { key: key.into(), expected, value: value.into() };
        written(self.perform(name, op).await)
    }
    async fn delete(&self, name: &str, key: &str) {
        assert_eq!(self.perform(name, StateOp::Delete { key: key.into() }).await, StateReply::Deleted);
    }
}

fn written(reply: StateReply) -> Result<u64, StateError> {
    match reply {
        StateReply::Written(result) => result,
        other => panic!("{other:?}"),
    }
}

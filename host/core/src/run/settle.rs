//! What a person says of a run that rests: that an effect of a held run took place, that it did not, that nobody will
//! know, or that a run which was given up is to be tried again. Leaves finding the run and writing the record to the host.
//! Tested below.

use super::RunState;
use super::ledger::{Answered, Entry, Record};
use super::replay::{OpenEffect, Replay};
use crate::call::CallResponse;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A person's word on a held run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Settlement {
    /// The effect took place: the policy goes on with this answer.
    Done {
        /// The cloud's request id; empty where nobody knows it.
        request_id: String,
    },
    /// The effect did not take place: the run goes on, and the call is made anew.
    NotDone,
    /// Nobody will know: the run is given up.
    Abandon,
}

/// What a settlement writes, and about which effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// The record to append.
    pub record: Record,
    /// The effect it settles; `None` where a run is given up whose ledger names none.
    pub effect: Option<(u32, OpenEffect)>,
    /// Where the run stands then: ready, or dead.
    pub to: RunState,
}

/// Why a person's word cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// Only a held run waits for a person.
    #[error("the run is {}: only a held one can be resolved", .0.as_str())]
    NotHeld(RunState),
    /// The ledger shows no effect without a result.
    #[error("no effect of this run is unknown: it can only be given up (--abandon)")]
    NothingUnknown,
    /// What the run has made cannot be told.
    #[error(
        "the run's ledger cannot be read whole: it can only be given up (--abandon), or the store restored from a backup"
    )]
    Unreadable,
    /// Only a run that was given up, or failed, can be tried again.
    #[error("the run is {}: only a dead or failed one can be tried again", .0.as_str())]
    NotEnded(RunState),
    /// It may have made an effect of which nobody knows.
    #[error(
        "call {0} of this run may have taken place, and was given up: in another try it could take place twice"
    )]
    UnknownForGood(u32),
}

/// Longest name of a person kept, in characters: an address, with room.
const BY_CHARS_MAX: usize = 200;

/// Decides what `settlement`, said `by` somebody, writes into the ledger of a run that stands at `state`. `None` is a ledger
/// that cannot be read whole.
pub fn settle(
    state: RunState,
    ledger: Option<&[Record]>,
    settlement: &Settlement,
    by: &str,
    now: Timestamp,
) -> Result<Settled, SettleError> {
    if state != RunState::Held {
        return Err(SettleError::NotHeld(state));
    }
    let by: String = by.chars().take(BY_CHARS_MAX).collect();
    let ledger = match (ledger, settlement) {
        (Some(ledger), _) => ledger,
        // What can be read of it need not name the effect that is unknown.
        (None, Settlement::Abandon) => &[],
        (None, Settlement::Done { .. } | Settlement::NotDone) => return Err(SettleError::Unreadable),
    };
    let replay = Replay::new(ledger, Timestamp::default());
    // What the run is held for, if several effects are unknown.
    let held = ledger.iter().rev().find_map(|record| match record.entry {
        Entry::Held { position, .. } => Some(position),
        _ => None,
    });
    let held = held.and_then(|position| Some((position, replay.open_at(position)?)));
    let effect = held.or_else(|| replay.open()).map(|(position, open)| (position, open.clone()));
    let position = effect.as_ref().map(|(position, _)| *position);
    let (entry, to) = match (settlement, position) {
        (Settlement::Abandon, position) => (Entry::Abandoned { position, by }, RunState::Dead),
        (_, None) => return Err(SettleError::NothingUnknown),
        (Settlement::Done { request_id }, Some(position)) => {
            let reply = Ok(CallResponse::proved(request_id.clone()));
            (Entry::Result { position, reply, answered: Answered::Person { by }, sends: 0 }, RunState::Ready)
        }
        (Settlement::NotDone, Some(position)) => {
            (Entry::NotExecuted { position, why: String::new(), by: Some(by) }, RunState::Ready)
        }
    };
    Ok(Settled { record: Record::new(now, entry), effect, to })
}

/// Which try of a run is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// 1 for the first.
    pub in_all: u32,
    /// The same, counted from where a person asked last.
    pub since_asked: u32,
}

/// Counts the tries in a run's ledger.
pub fn tries(ledger: &[Record]) -> Tries {
    let mut tries = Tries { in_all: 1, since_asked: 1 };
    for record in ledger {
        if let Entry::Retried { by, .. } = &record.entry {
            tries.in_all = tries.in_all.saturating_add(1);
            tries.since_asked = if by.is_some() { 1 } else { tries.since_asked.saturating_add(1) };
        }
    }
    tries
}

/// Decides what trying a run again, asked for `by` somebody, writes into its ledger. `None` is one that cannot be read whole.
pub fn retry(
    state: RunState,
    ledger: Option<&[Record]>,
    by: &str,
    now: Timestamp,
) -> Result<Record, SettleError> {
    let ledger = ledger.ok_or(SettleError::Unreadable)?;
    if let Some((position, _)) = Replay::new(ledger, Timestamp::default()).open() {
        return Err(SettleError::UnknownForGood(position));
    }
    match state {
        RunState::Dead | RunState::Failed => {
            let by: String = by.chars().take(BY_CHARS_MAX).collect();
            Ok(Record::new(now, Entry::Retried { why: String::new(), by: Some(by) }))
        }
        other => Err(SettleError::NotEnded(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallRequest;
    use crate::catalog::Class;

    fn t(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn ledger() -> Vec<Record> {
        let request = CallRequest {
            service: "cvm".into(),
            action: "ResetInstance".into(),
            region: "ap-shanghai".into(),
            params: "{}".into(),
            once: None,
        };
        vec![
            Record::new(
                t(1),
                Entry::Intent { position: 3, request, class: Class::Once, token: None, baseline: None },
            ),
            Record::new(t(2), Entry::Held { position: 3, reason: "unknown".into() }),
        ]
    }

    #[test]
    fn a_persons_word_becomes_the_record_that_replay_goes_on_with() {
        let done = Settlement::Done { request_id: "req-1".into() };
        let settled = settle(RunState::Held, Some(&ledger()), &done, "ops", t(9)).expect("held");
        let Entry::Result { position: 3, reply: Ok(response), answered, sends: 0 } = settled.record.entry
        else {
            panic!("{settled:?}")
        };
        assert_eq!(
            (response.request_id.as_str(), response.body.as_str()),
            ("req-1", r#"{"RequestId":"req-1"}"#)
        );
        assert_eq!(answered, Answered::Person { by: "ops".into() });
        assert_eq!((settled.to, settled.effect.map(|(at, _)| at)), (RunState::Ready, Some(3)));

        let settled =
            settle(RunState::Held, Some(&ledger()), &Settlement::NotDone, "ops", t(9)).expect("held");
        assert_eq!(
            settled.record.entry,
            Entry::NotExecuted { position: 3, why: String::new(), by: Some("ops".into()) }
        );
        assert_eq!(settled.to, RunState::Ready);

        let settled =
            settle(RunState::Held, Some(&ledger()), &Settlement::Abandon, "ops", t(9)).expect("held");
        assert_eq!(settled.record.entry, Entry::Abandoned { position: Some(3), by: "ops".into() });
        assert_eq!(settled.to, RunState::Dead);
    }

    #[test]
    fn of_several_unknown_effects_the_one_that_the_run_is_held_for_is_settled() {
        let mut ledger = ledger();
        let Entry::Intent { request, .. } = ledger[0].entry.clone() else { panic!("an intent") };
        let other = Entry::Intent { position: 1, request, class: Class::Token, token: None, baseline: None };
        ledger.insert(0, Record::new(t(0), other));
        let settled = settle(RunState::Held, Some(&ledger), &Settlement::NotDone, "ops", t(9)).expect("held");
        assert_eq!(settled.effect.map(|(position, _)| position), Some(3));
    }

    #[test]
    fn only_a_held_run_with_an_unknown_effect_is_settled() {
        for state in RunState::ALL.into_iter().filter(|state| *state != RunState::Held) {
            let refused = settle(state, Some(&ledger()), &Settlement::Abandon, "ops", t(9));
            assert_eq!(refused, Err(SettleError::NotHeld(state)));
        }
        let refused = settle(RunState::Held, Some(&[]), &Settlement::NotDone, "ops", t(9));
        assert_eq!(refused, Err(SettleError::NothingUnknown));
        assert!(settle(RunState::Held, Some(&[]), &Settlement::Abandon, "ops", t(9)).is_ok());
    }

    #[test]
    fn a_run_whose_ledger_cannot_be_read_can_only_be_given_up() {
        let settled = settle(RunState::Held, None, &Settlement::Abandon, "ops", t(9)).expect("held");
        assert_eq!(settled.record.entry, Entry::Abandoned { position: None, by: "ops".into() });
        assert_eq!((settled.effect, settled.to), (None, RunState::Dead));
        for settlement in [Settlement::NotDone, Settlement::Done { request_id: String::new() }] {
            let refused = settle(RunState::Held, None, &settlement, "ops", t(9));
            assert_eq!(refused, Err(SettleError::Unreadable));
        }
        assert_eq!(retry(RunState::Dead, None, "ops", t(9)), Err(SettleError::Unreadable));
    }

    #[test]
    fn tries_are_counted_in_all_and_from_where_a_person_asked() {
        let again = |by: Option<&str>| {
            Record::new(t(3), Entry::Retried { why: "x".into(), by: by.map(str::to_owned) })
        };
        let cases = [(vec![], (1, 1)), (vec![None, None], (3, 3)), (vec![None, Some("ops"), None], (4, 2))];
        for (retries, (in_all, since_asked)) in cases {
            let ledger: Vec<Record> = retries.into_iter().map(again).collect();
            assert_eq!(tries(&ledger), Tries { in_all, since_asked });
        }
    }

    #[test]
    fn only_an_ended_run_that_did_not_work_is_tried_again() {
        for state in RunState::ALL {
            let may = matches!(state, RunState::Dead | RunState::Failed);
            assert_eq!(retry(state, Some(&[]), "ops", t(9)).is_ok(), may, "{state:?}");
        }
        let refused = retry(RunState::Dead, Some(&ledger()), "ops", t(9));
        assert_eq!(refused, Err(SettleError::UnknownForGood(3)), "it was abandoned with an effect unknown");
    }
}

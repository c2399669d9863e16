//! Where a run in approve mode stands, by its ledger alone: so it stands there after a crash as well. Leaves what is decided to
//! `decide`. Tested in `tests.rs`.

use super::{Approvers, Asked};
use crate::id::ApproverName;
use crate::run::{Entry, Record};
use crate::time::Timestamp;

/// The latest asking of a run, and what has become of it.
#[derive(Debug, Clone)]
pub struct Pending<'l> {
    /// What was asked.
    pub asked: &'l Asked,
    /// When.
    pub asked_at: Timestamp,
    /// Who has approved so far, each once.
    pub by: Vec<ApproverName>,
    /// Where it stands.
    pub phase: Phase,
}

/// Where an asking stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// People have not decided.
    Waits,
    /// Enough have approved: facts and plan are computed anew.
    Approved,
    /// They are the same: it is carried out. `begun` once the first effect has its intent.
    Confirmed {
        /// Whether it has begun.
        begun: bool,
    },
    /// Denied, void or of an earlier try.
    Over,
}

/// What a run in approve mode does next.
#[derive(Debug)]
pub enum Station<'l> {
    /// Run the policy, looking ahead from its first effect on. Carries the asking that people approved, to be compared.
    Plan(Option<Pending<'l>>),
    /// Wait until then.
    Wait(Timestamp),
    /// The time to decide, or to begin, is over.
    Expired(Pending<'l>),
    /// Carry out what was approved, and nothing else.
    Follow(Pending<'l>),
}

/// The latest asking in a ledger.
pub fn pending(ledger: &[Record]) -> Option<Pending<'_>> {
    let mut latest: Option<Pending<'_>> = None;
    let mut begun = 0_u32;
    for record in ledger {
        let entry = &record.entry;
        if let Entry::Asked { asked } = entry {
            latest = Some(Pending { asked, asked_at: record.at, by: Vec::new(), phase: Phase::Waits });
            begun = 0_u32;
            continue;
        }
        let Some(pending) = &mut latest else { continue };
        let of_this = |nth: &u32| *nth == pending.asked.nth;
        match entry {
            Entry::Approved { nth, by, enough } if of_this(nth) => {
                if !pending.by.contains(by) {
                    pending.by.push(by.clone());
                }
                if *enough && pending.phase == Phase::Waits {
                    pending.phase = Phase::Approved;
                }
            }
            Entry::Confirmed { nth } if of_this(nth) && pending.phase == Phase::Approved => {
                pending.phase = Phase::Confirmed { begun: false };
            }
            Entry::Intent { .. } => {
                begun += 1;
                pending.phase = match pending.phase {
                    Phase::Confirmed { .. } => Phase::Confirmed { begun: true },
                    // Made without it: the mode did not ask for approval then.
                    _ => Phase::Over,
                };
            }
            // Stopped before it was sent, or without effect: where it was the first, nothing is begun.
            Entry::NotExecuted { .. } => {
                begun = begun.saturating_sub(1);
                if begun == 0 && pending.phase == (Phase::Confirmed { begun: true }) {
                    pending.phase = Phase::Confirmed { begun: false };
                }
            }
            Entry::Denied { .. }
            | Entry::Void { .. }
            | Entry::Retried { .. }
            | Entry::GaveWay { .. }
            | Entry::Failed { .. }
            | Entry::Done { .. } => pending.phase = Phase::Over,
            _ => {}
        }
    }
    latest
}

/// What a run with this ledger does next. Who may approve by the policy's file today must be enough as well.
pub fn station<'l>(ledger: &'l [Record], approvers: Option<&Approvers>, now: Timestamp) -> Station<'l> {
    let Some(pending) = pending(ledger) else { return Station::Plan(None) };
    let is_late = now >= pending.asked.expires;
    let are_enough = approvers.is_some_and(|approvers| approvers.are_met(&pending.by));
    match pending.phase {
        Phase::Over => Station::Plan(None),
        // What was begun is brought to its end.
        Phase::Confirmed { begun: true } => Station::Follow(pending),
        Phase::Waits | Phase::Approved | Phase::Confirmed { begun: false } if is_late => {
            Station::Expired(pending)
        }
        Phase::Waits => Station::Wait(pending.asked.expires),
        Phase::Approved if are_enough => Station::Plan(Some(pending)),
        Phase::Confirmed { begun: false } if are_enough => Station::Follow(pending),
        Phase::Approved | Phase::Confirmed { begun: false } => Station::Plan(None),
    }
}

//! Approve mode in the broker. Before there is an approval the policy is run on from its first effect with simulated answers, to
//! learn what it would do: nothing of that is recorded, sent or kept. With one, each effect is compared with what was approved
//! before its intent. Leaves comparing, hashes and who may approve to `opsward_core::approval`, asking to the worker. Tested in
//! `tests/tests/it/approval.rs`.

use super::{Planned as Call, Session, stop};
use crate::failpoint::wrong;
use crate::store::{STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX};
use opsward_core::approval::{Facts, Fate, Follow, Plan, PlannedCall};
use opsward_core::call::{CallReply, CallRequest};
use opsward_core::catalog::{self, Class};
use opsward_core::id::Digest;
use opsward_core::run::{HostReply, Mode, StateEntry, StateError, StateOp, StateReply, Stop};
use opsward_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

/// Calls of a policy that are looked ahead at: reads among them are real, and a policy that waits for a simulated effect to show
/// would read for ever.
const AHEAD_CALLS_MAX: usize = 1000;

/// How far a run is with its approval.
pub enum Approving {
    /// What it would do is found out.
    Plan(Box<Planning>),
    /// What was approved is done.
    Follow(Box<Following>),
}

/// What is known of what a run would do.
#[derive(Default)]
pub struct Planning {
    plan: Plan,
    facts: Facts,
    /// Whether the first effect was come to.
    ahead: AtomicBool,
    calls_ahead: usize,
    /// The policy's state as it would be.
    state: BTreeMap<String, Option<StateEntry>>,
}

/// What was approved, and how far it is done.
pub struct Following {
    follow: Follow,
    /// Positions of calls that may be sent.
    approved: BTreeSet<u32>,
    /// Until when the first of them must be.
    expires: Timestamp,
    /// Whether it is.
    begun: AtomicBool,
}

/// What a run would do, and the digest of what it had read before.
pub struct Planned {
    /// The calls.
    pub plan: Plan,
    /// Of the answers before the first effect.
    pub facts: Digest,
}

/// What is kept of a call until its answer is there.
pub(super) enum Noted {
    /// No approval is concerned.
    No,
    Read(CallRequest),
    /// `replayed` where its answer is of the ledger.
    Change {
        request: CallRequest,
        replayed: bool,
    },
    /// The place in the approved list.
    Step(usize),
}

impl Approving {
    /// To find out what the run would do.
    pub fn plan() -> Self {
        Self::Plan(Box::default())
    }

    /// To do what was approved, beginning before `expires` unless it has `begun`.
    pub fn follow(plan: &Plan, expires: Timestamp, begun: bool) -> Self {
        let (follow, begun) = (Follow::new(plan), AtomicBool::new(begun));
        Self::Follow(Box::new(Following { follow, approved: BTreeSet::new(), expires, begun }))
    }
}

impl Session {
    /// The same session, in approve mode.
    pub fn approving(mut self, approving: Option<Approving>) -> Self {
        if matches!(approving, Some(Approving::Follow(_))) {
            self.simulation.end();
        }
        Self { approving, ..self }
    }

    /// What the run would do, where it came to an effect that is not approved.
    pub fn planned(&mut self) -> Option<Planned> {
        if !self.looks_ahead() {
            return None;
        }
        match self.approving.take() {
            Some(Approving::Plan(planning)) => {
                Some(Planned { plan: planning.plan, facts: planning.facts.digest() })
            }
            _ => None,
        }
    }

    /// Whether what the guest does is only looked at.
    pub(super) fn looks_ahead(&self) -> bool {
        matches!(&self.approving, Some(Approving::Plan(planning)) if planning.ahead.load(Ordering::Relaxed))
    }

    /// Whether effects of this session may be sent at all.
    pub(super) fn makes_effects(&self) -> bool {
        match self.mode {
            Mode::Enforce => true,
            Mode::Approve => matches!(self.approving, Some(Approving::Follow(_))),
            Mode::DryRun | Mode::Off => false,
        }
    }

    /// Stops the run where the effect at `position` is another than what was approved.
    pub(super) fn may_be_sent(&self, position: u32) -> Result<(), Stop> {
        // The mode was another one meanwhile: what follows may rest on what never took place.
        if !self.overlay().effects().is_empty() {
            return Err(Stop::Unapproved { why: "earlier calls of this try were only simulated".to_owned() });
        }
        match &self.approving {
            Some(Approving::Follow(following)) => {
                if !following.approved.contains(&position) && !wrong("approves-any-plan") {
                    return Err(Stop::Unapproved { why: following.follow.why_not() });
                }
                let now = self.broker.clock.now();
                let is_late = now >= following.expires && !wrong("no-approval-expiry");
                if is_late && !following.begun.load(Ordering::Relaxed) {
                    // The next claim sees it as well, and ends the run.
                    let why = "the time to begin what was approved is over".to_owned();
                    return Err(Stop::WaitUntil { at: now, why });
                }
                following.begun.store(true, Ordering::Relaxed);
                Ok(())
            }
            _ if self.makes_effects() => Ok(()),
            _ => Err(Stop::Unapproved { why: "nothing was approved".to_owned() }),
        }
    }

    /// Stops a run that has begun effects without asking: what this try has done is not part of a plan, the next try has it behind
    /// it.
    pub(super) fn may_be_planned(&self) -> Result<(), Stop> {
        match &self.approving {
            Some(Approving::Plan(_)) if self.replay.has_begun() => {
                Err(Stop::Unapproved { why: "its effects need an approval by now".to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// An answer is about to be recorded: from the first one on that is simulated it is only looked ahead.
    pub(super) fn look_ahead_from(&self, reply: &CallReply) {
        if let (Some(Approving::Plan(planning)), Ok(response)) = (&self.approving, reply)
            && response.simulated
        {
            planning.ahead.store(true, Ordering::Relaxed);
        }
    }

    /// Takes a call in the guest's order, before it is made.
    pub(super) fn note(&mut self, call: &Call) -> Result<Noted, Stop> {
        let provider = self.account().map(|account| account.provider);
        let Some(approving) = &mut self.approving else { return Ok(Noted::No) };
        let (request, position, replayed) = match call {
            Call::Recorded(request, _) => (request, None, true),
            Call::Made(_, request, _) => (request, None, true),
            Call::Open(position, open, _) => (&open.request, Some(*position), false),
            Call::Live(position, request, _) => (request, Some(*position), false),
            Call::Refused(_, request, _) => (request, None, false),
        };
        // Without an account nothing is made of it: the host refuses it.
        let class = provider.map(|provider| catalog::class_of(provider, &request.service, &request.action));
        let is_read = class == Some(Class::Read);
        match approving {
            Approving::Plan(planning) => {
                planning.calls_ahead += usize::from(planning.ahead.load(Ordering::Relaxed));
                if planning.calls_ahead > AHEAD_CALLS_MAX {
                    return Err(Stop::Planned { cut: format!("it makes more than {AHEAD_CALLS_MAX} calls") });
                }
                let request = request.clone();
                Ok(if is_read { Noted::Read(request) } else { Noted::Change { request, replayed } })
            }
            Approving::Follow(_) if is_read => Ok(Noted::No),
            Approving::Follow(following) => {
                let step = following.follow.next(request);
                following.approved.extend(position.filter(|_| step.approved));
                Ok(Noted::Step(step.at))
            }
        }
    }

    /// Takes its answer.
    pub(super) fn heard(&mut self, noted: Noted, reply: &CallReply) -> Result<(), Stop> {
        match (&mut self.approving, noted) {
            (Some(Approving::Plan(planning)), Noted::Read(request)) if !planning.plan.has_effects() => {
                planning.facts.add(&request, reply);
            }
            (Some(Approving::Plan(planning)), Noted::Change { request, replayed }) => {
                return planning.add(request, replayed, reply);
            }
            (Some(Approving::Follow(following)), Noted::Step(at)) => {
                if let Ok(response) = reply {
                    following.follow.answered(at, &response.body);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Does `op` on the state as it would be.
    pub(super) async fn state_ahead(&mut self, op: StateOp) -> Result<HostReply, Stop> {
        let (StateOp::Get { key }
        | StateOp::Set { key, .. }
        | StateOp::Delete { key }
        | StateOp::CompareAndSet { key, .. }) = &op;
        let known = match &self.approving {
            Some(Approving::Plan(planning)) => planning.state.get(key).cloned(),
            _ => None,
        };
        let mut entry = match known {
            Some(entry) => entry,
            None => self.broker.store.peek_state(&self.policy.settings.name, key).await.map_err(stop)?,
        };
        let key = key.clone();
        let reply = would_be(&mut entry, &key, op);
        if let Some(Approving::Plan(planning)) = &mut self.approving {
            planning.state.insert(key, entry);
        }
        Ok(HostReply::State(reply))
    }
}

impl Planning {
    fn add(&mut self, request: CallRequest, replayed: bool, reply: &CallReply) -> Result<(), Stop> {
        let (fate, answer) = match reply {
            Ok(response) if response.simulated => {
                // Also one of a dry run that was this run's before.
                self.ahead.store(true, Ordering::Relaxed);
                (Fate::Effect, response.body.clone())
            }
            // Of another run's effect, by its natural key. It is not recorded, and is answered so again when it comes for real. Its
            // ids are those of something real: they stand for nothing else.
            Ok(_) if !replayed && self.ahead.load(Ordering::Relaxed) => (Fate::Effect, String::new()),
            Ok(_) => (Fate::Made, String::new()),
            Err(error) => (Fate::Refused { code: error.code.clone() }, String::new()),
        };
        self.plan.calls.push(PlannedCall { request, fate, answer });
        match self.plan.is_full() {
            true => Err(Stop::Planned { cut: "no more calls fit into one plan".to_owned() }),
            false => Ok(()),
        }
    }
}

/// What `op` would give, and make of the key's entry. The bound on the number of keys is left to the real one.
fn would_be(entry: &mut Option<StateEntry>, key: &str, op: StateOp) -> StateReply {
    let version = entry.as_ref().map_or(0, |entry| entry.version);
    let is_key = !key.is_empty() && key.len() <= STATE_KEY_BYTES_MAX;
    let mut write = |value: Vec<u8>| {
        if !is_key || value.len() > STATE_VALUE_BYTES_MAX {
            return StateReply::Written(Err(StateError::TooLarge));
        }
        *entry = Some(StateEntry { value, version: version + 1 });
        StateReply::Written(Ok(version + 1))
    };
    match op {
        StateOp::Get { .. } => StateReply::Value(entry.clone()),
        StateOp::Set { value, .. } => write(value),
        StateOp::CompareAndSet { expected, .. } if expected != version => {
            StateReply::Written(Err(StateError::Conflict))
        }
        StateOp::CompareAndSet { value, .. } => write(value),
        StateOp::Delete { .. } => {
            *entry = None;
            StateReply::Deleted
        }
    }
}

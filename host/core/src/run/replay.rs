//! Replays a run from its ledger: a recorded call answers as it did, the first unrecorded one is live. Pure; leaves
//! making live calls, and settling effects whose result is unknown, to the broker. Tested in `replay/tests.rs`.

use super::host_call::{StateOp, StateReply};
use super::ledger::{Answered, Entry, Record};
use super::token::{TokenInput, client_token};
use crate::call::{CallReply, CallRequest, CallResponse};
use crate::catalog::Class;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The guest's progress through its own ledger.
#[derive(Debug, Clone)]
pub struct Replay {
    slots: BTreeMap<u32, Slot>,
    /// Positions of effects without a result.
    open: BTreeSet<u32>,
    /// How often the effect at a position was found not to have taken place.
    disproofs: BTreeMap<u32, u32>,
    /// When a person last said so of it.
    denied: BTreeMap<u32, Timestamp>,
    /// Effects that earlier tries of the run made, and this one has not asked for yet.
    made: Vec<(CallRequest, CallResponse)>,
    /// Tokens of effects that the run has made, in whichever try.
    spent: BTreeSet<String>,
    /// Whether this try has begun an effect of its own.
    begun: bool,
    next: u32,
    now: Timestamp,
    log_lines: u32,
}

#[derive(Debug, Clone)]
enum Slot {
    Call { request: CallRequest, reply: CallReply, at: Timestamp, changed: Changed },
    Open(OpenEffect),
    State { op: StateOp, reply: StateReply, at: Timestamp },
    Slept { ms: u64, until: Timestamp },
}

/// Whether a call stands for a change in the cloud.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Changed {
    Yes,
    No,
}

/// An effect that was about to be sent when the host went away: nobody knows whether it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenEffect {
    /// In canonical form.
    pub request: CallRequest,
    /// What repeating it may do.
    pub class: Class,
    /// The idempotency token it carries.
    pub token: Option<String>,
    /// What a read of the resource said just before.
    pub baseline: Option<String>,
    /// When the intent was recorded.
    pub since: Timestamp,
    /// Nothing was sent after this: the run was begun again then. `None` in the claim that recorded the intent, and in the one
    /// after it, whose own beginning is not in the ledger yet.
    pub sent_by: Option<Timestamp>,
    /// How often this effect was found not to have taken place before.
    pub disproofs: u32,
}

/// What the ledger says to a guest's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next<R> {
    /// Answered before: answer the same.
    Recorded(R),
    /// Sent, or about to be: settle it first.
    Open(u32, OpenEffect),
    /// Not in the ledger: do it, and record it at this position.
    Live(u32),
    /// An earlier try of the run did it: record this answer at this position, and send nothing.
    Made(u32, R),
    /// The ledger holds something else there: the guest is not deterministic, or not the same.
    Diverged(String),
}

impl Replay {
    /// Begins at position 0 with the records so far. `begun` is the run's first instant: when its event was received.
    pub fn new(ledger: &[Record], begun: Timestamp) -> Self {
        let mut replay = Self {
            slots: BTreeMap::new(),
            open: BTreeSet::new(),
            disproofs: BTreeMap::new(),
            denied: BTreeMap::new(),
            made: Vec::new(),
            spent: BTreeSet::new(),
            begun: false,
            next: 0,
            now: begun,
            log_lines: 0,
        };
        for record in ledger {
            replay.take(record);
        }
        replay
    }

    fn take(&mut self, record: &Record) {
        let at = record.at;
        match &record.entry {
            Entry::Started { .. } => self.close_sendings(at),
            Entry::Call { position, request, reply, answered } => {
                let changed = match answered {
                    Answered::EarlierTry | Answered::Once { .. } => Changed::Yes,
                    _ => Changed::No,
                };
                if *answered == Answered::EarlierTry {
                    self.take_made(request);
                }
                let slot = Slot::Call { request: request.clone(), reply: reply.clone(), at, changed };
                self.slots.insert(*position, slot);
            }
            Entry::Intent { position, request, class, token, baseline } => {
                let open = OpenEffect {
                    request: request.clone(),
                    class: *class,
                    token: token.clone(),
                    baseline: baseline.clone(),
                    since: at,
                    sent_by: None,
                    disproofs: self.disproofs_at(*position),
                };
                self.slots.insert(*position, Slot::Open(open));
                self.open.insert(*position);
                self.begun = true;
            }
            Entry::Result { position, reply, .. } => {
                if let Some(open) = self.close(*position) {
                    self.spent.extend(open.token.filter(|_| reply.is_ok()));
                    let (request, reply) = (open.request, reply.clone());
                    self.slots.insert(*position, Slot::Call { request, reply, at, changed: Changed::Yes });
                }
            }
            Entry::NotExecuted { position, by, .. } => {
                self.close(*position);
                *self.disproofs.entry(*position).or_default() += 1;
                if by.is_some() {
                    self.denied.insert(*position, at);
                }
            }
            Entry::State { position, op, reply } => {
                self.slots.insert(*position, Slot::State { op: op.clone(), reply: reply.clone(), at });
            }
            Entry::Slept { position, ms, until } => {
                self.slots.insert(*position, Slot::Slept { ms: *ms, until: *until });
            }
            Entry::Log { .. } => self.log_lines += 1,
            Entry::Retried { .. } | Entry::Approved { enough: true, .. } | Entry::Void { .. } => {
                self.begin_again(at)
            }
            Entry::Asked { .. }
            | Entry::Approved { .. }
            | Entry::Denied { .. }
            | Entry::Confirmed { .. }
            | Entry::Waited { .. }
            | Entry::Held { .. }
            | Entry::Abandoned { .. }
            | Entry::Faulted { .. }
            | Entry::GaveWay { .. }
            | Entry::Done { .. }
            | Entry::Failed { .. } => {}
        }
    }

    /// A claim begins: what claims before it sent, they sent before now.
    fn close_sendings(&mut self, at: Timestamp) {
        for position in &self.open {
            if let Some(Slot::Open(open)) = self.slots.get_mut(position) {
                open.sent_by.get_or_insert(at);
            }
        }
    }

    fn close(&mut self, position: u32) -> Option<OpenEffect> {
        self.open.remove(&position);
        match self.slots.remove(&position) {
            Some(Slot::Open(open)) => Some(open),
            Some(other) => {
                self.slots.insert(position, other);
                None
            }
            None => None,
        }
    }

    /// Keeps of the tries so far what they changed.
    fn begin_again(&mut self, at: Timestamp) {
        for slot in std::mem::take(&mut self.slots).into_values() {
            if let Slot::Call { request, reply: Ok(response), changed: Changed::Yes, .. } = slot
                && !response.simulated
            {
                self.made.push((request, response));
            }
        }
        self.open.clear();
        self.disproofs.clear();
        self.denied.clear();
        self.begun = false;
        self.next = 0;
        self.log_lines = 0;
        self.advance(at);
    }

    /// The answer an earlier try got to the very same effect; each is given once.
    fn take_made(&mut self, request: &CallRequest) -> Option<CallResponse> {
        let at = self.made.iter().position(|(made, _)| made == request)?;
        Some(self.made.remove(at).1)
    }

    /// A recorded call that the guest has not come to yet: where it ends before one, it is not what it was.
    pub fn unreached(&self) -> Option<u32> {
        self.slots.keys().next_back().copied().filter(|last| *last >= self.next)
    }

    /// An effect that may or may not have taken place, as far as the ledger it began with tells.
    pub fn open(&self) -> Option<(u32, &OpenEffect)> {
        let position = *self.open.first()?;
        Some((position, self.open_at(position)?))
    }

    /// The effect at `position`, where it may or may not have taken place.
    pub fn open_at(&self, position: u32) -> Option<&OpenEffect> {
        match self.slots.get(&position) {
            Some(Slot::Open(open)) => Some(open),
            _ => None,
        }
    }

    /// Whether this try has begun an effect of its own, whatever became of it.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The token of an effect that the ledger does not know, of all that `input` gives the first that stands for no effect of
    /// this run: two alike, of which an earlier try made one, may come to the same position.
    pub fn token(&self, input: TokenInput<'_>) -> String {
        let tokens = (input.nth..).map(|nth| client_token(TokenInput { nth, ..input }));
        tokens.into_iter().find(|token| !self.spent.contains(token)).expect("a run makes few effects")
    }

    /// How often the effect at `position` was found not to have taken place, or not to have reached its goal.
    pub fn disproofs_at(&self, position: u32) -> u32 {
        self.disproofs.get(&position).copied().unwrap_or(0)
    }

    /// When a person last said that the effect at `position` did not take place.
    pub fn denied_at(&self, position: u32) -> Option<Timestamp> {
        self.denied.get(&position).copied()
    }

    /// The run's time: that of the last record the guest has seen.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Moves the run's time on to that of a record just written.
    pub fn advance(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
    }

    /// Whether the guest's next log line is new; a line of a replayed stretch is not.
    pub fn is_new_log_line(&mut self) -> bool {
        match self.log_lines.checked_sub(1) {
            Some(left) => {
                self.log_lines = left;
                false
            }
            None => true,
        }
    }

    /// The guest asks for a cloud call; `request` in canonical form.
    pub fn call(&mut self, request: &CallRequest) -> Next<CallReply> {
        let position = self.step();
        match self.slots.get(&position) {
            None => match self.take_made(request) {
                Some(response) => Next::Made(position, Ok(response)),
                None => Next::Live(position),
            },
            Some(Slot::Call { request: recorded, reply, at, .. }) if recorded == request => {
                let (reply, at) = (reply.clone(), *at);
                self.advance(at);
                Next::Recorded(reply)
            }
            Some(Slot::Open(open)) if open.request == *request => Next::Open(position, open.clone()),
            Some(other) => diverged(position, other, &request.brief()),
        }
    }

    /// The guest accesses its state.
    pub fn state(&mut self, op: &StateOp) -> Next<StateReply> {
        let position = self.step();
        match self.slots.get(&position) {
            None => Next::Live(position),
            Some(Slot::State { op: recorded, reply, at }) if recorded == op => {
                let (reply, at) = (reply.clone(), *at);
                self.advance(at);
                Next::Recorded(reply)
            }
            Some(other) => diverged(position, other, &access_name(op)),
        }
    }

    /// The guest sleeps. `Recorded` gives the instant it wakes, which the caller compares with the clock.
    pub fn sleep(&mut self, ms: u64) -> Next<Timestamp> {
        let position = self.step();
        match self.slots.get(&position) {
            None => Next::Live(position),
            Some(Slot::Slept { ms: recorded, until }) if *recorded == ms => {
                let until = *until;
                self.advance(until);
                Next::Recorded(until)
            }
            Some(other) => diverged(position, other, &format!("sleep {ms} ms")),
        }
    }

    fn step(&mut self) -> u32 {
        let position = self.next;
        self.next += 1;
        position
    }
}

/// Without the value: it is any bytes, and many.
fn access_name(op: &StateOp) -> String {
    let (verb, key) = match op {
        StateOp::Get { key } => ("get", key),
        StateOp::Set { key, .. } => ("set", key),
        StateOp::Delete { key } => ("delete", key),
        StateOp::CompareAndSet { key, .. } => ("compare and set", key),
    };
    format!("{verb} state {:?}", &key[..key.floor_char_boundary(KEY_SHOWN_BYTES)])
}

/// Most bytes of a key that a message repeats: longer ones are refused by the store.
const KEY_SHOWN_BYTES: usize = 256;

fn diverged<R>(position: u32, recorded: &Slot, asked: &str) -> Next<R> {
    let recorded = match recorded {
        Slot::Call { request, .. } => request.brief(),
        Slot::Open(open) => open.request.brief(),
        Slot::State { op, .. } => access_name(op),
        Slot::Slept { ms, .. } => format!("sleep {ms} ms"),
    };
    Next::Diverged(format!("call {position} was {recorded}, but the policy now asks for {asked}"))
}

#[cfg(test)]
mod tests;

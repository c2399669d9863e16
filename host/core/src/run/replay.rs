//! Replays a run from its ledger: a recorded call answers as it did, the first unrecorded one is live. Pure; leaves
//! making live calls, and settling effects whose result is unknown, to the broker. Tested below.

use super::host_call::{StateOp, StateReply};
use super::ledger::{Entry, Record};
use crate::call::{CallReply, CallRequest};
use crate::catalog::Class;
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// The guest's progress through its own ledger.
#[derive(Debug, Clone)]
pub struct Replay {
    slots: BTreeMap<u32, Slot>,
    next: u32,
    now: Timestamp,
    log_lines: u32,
}

#[derive(Debug, Clone)]
enum Slot {
    Call { request: CallRequest, reply: CallReply, at: Timestamp },
    Open(OpenEffect),
    State { op: StateOp, reply: StateReply, at: Timestamp },
    Slept { ms: u64, until: Timestamp },
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
    /// The ledger holds something else there: the guest is not deterministic, or not the same.
    Diverged(String),
}

impl Replay {
    /// Begins at position 0 with the records so far. `begun` is the run's first instant: when its event was received.
    pub fn new(ledger: &[Record], begun: Timestamp) -> Self {
        let mut replay = Self { slots: BTreeMap::new(), next: 0, now: begun, log_lines: 0 };
        for record in ledger {
            replay.take(record);
        }
        replay
    }

    fn take(&mut self, record: &Record) {
        let at = record.at;
        match &record.entry {
            Entry::Call { position, request, reply, .. } => {
                let slot = Slot::Call { request: request.clone(), reply: reply.clone(), at };
                self.slots.insert(*position, slot);
            }
            Entry::Intent { position, request, class, token, baseline } => {
                let open = OpenEffect {
                    request: request.clone(),
                    class: *class,
                    token: token.clone(),
                    baseline: baseline.clone(),
                    since: at,
                };
                self.slots.insert(*position, Slot::Open(open));
            }
            Entry::Result { position, reply, .. } => {
                if let Some(Slot::Open(open)) = self.slots.remove(position) {
                    let slot = Slot::Call { request: open.request, reply: reply.clone(), at };
                    self.slots.insert(*position, slot);
                }
            }
            Entry::State { position, op, reply } => {
                self.slots.insert(*position, Slot::State { op: op.clone(), reply: reply.clone(), at });
            }
            Entry::Slept { position, ms, until } => {
                self.slots.insert(*position, Slot::Slept { ms: *ms, until: *until });
            }
            Entry::Log { .. } => self.log_lines += 1,
            Entry::Started { .. }
            | Entry::Held { .. }
            | Entry::Faulted { .. }
            | Entry::Done { .. }
            | Entry::Failed { .. } => {}
        }
    }

    /// A recorded call that the guest has not come to yet: where it ends before one, it is not what it was.
    pub fn unreached(&self) -> Option<u32> {
        self.slots.keys().next_back().copied().filter(|last| *last >= self.next)
    }

    /// An effect that may or may not have taken place, as far as the ledger it began with tells.
    pub fn open(&self) -> Option<(u32, &OpenEffect)> {
        self.slots.iter().find_map(|(position, slot)| match slot {
            Slot::Open(open) => Some((*position, open)),
            _ => None,
        })
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
            None => Next::Live(position),
            Some(Slot::Call { request: recorded, reply, at }) if recorded == request => {
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
mod tests {
    use super::super::Answered;
    use super::*;
    use crate::call::CallResponse;

    fn t(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    fn request(action: &str) -> CallRequest {
        CallRequest {
            service: "ecs".into(),
            action: action.into(),
            region: "cn-hangzhou".into(),
            params: "{}".into(),
            once: None,
        }
    }

    fn reply(id: &str) -> CallReply {
        Ok(CallResponse { request_id: id.into(), body: "{}".into(), simulated: false })
    }

    fn intent(position: u32, action: &str) -> Entry {
        Entry::Intent {
            position,
            request: request(action),
            class: Class::Token,
            token: Some("t".into()),
            baseline: None,
        }
    }

    fn ledger() -> Vec<Record> {
        let read = Entry::Call {
            position: 0,
            request: request("DescribeDisks"),
            reply: reply("r0"),
            answered: Answered::Cloud,
        };
        let result = Entry::Result { position: 1, reply: reply("r1"), answered: Answered::Cloud, sends: 1 };
        vec![
            Record::new(t(10), read),
            Record::new(t(11), intent(1, "CreateSnapshot")),
            Record::new(t(12), intent(2, "CreateSnapshot")),
            Record::new(t(15), result),
            Record::new(t(16), Entry::Log { level: super::super::LogLevel::Info, message: "x".into() }),
        ]
    }

    #[test]
    fn recorded_calls_answer_as_before_and_the_first_unrecorded_one_is_live() {
        let mut replay = Replay::new(&ledger(), t(9));
        assert_eq!(replay.now(), t(9));
        assert_eq!(replay.call(&request("DescribeDisks")), Next::Recorded(reply("r0")));
        assert_eq!(replay.now(), t(10));
        assert_eq!(replay.call(&request("CreateSnapshot")), Next::Recorded(reply("r1")));
        assert_eq!(replay.now(), t(15));
        let Next::Open(2, open) = replay.call(&request("CreateSnapshot")) else { panic!("not open") };
        assert_eq!((open.class, open.token.as_deref(), open.since), (Class::Token, Some("t"), t(12)));
        assert_eq!(replay.call(&request("CreateSnapshot")), Next::Live(3));
    }

    #[test]
    fn an_end_before_a_recorded_call_and_an_open_effect_are_noticed() {
        let mut replay = Replay::new(&ledger(), t(9));
        assert_eq!(replay.unreached(), Some(2));
        assert_eq!(replay.open().map(|(position, open)| (position, open.since)), Some((2, t(12))));
        for action in ["DescribeDisks", "CreateSnapshot", "CreateSnapshot"] {
            replay.call(&request(action));
        }
        assert_eq!(replay.unreached(), None);
        assert_eq!(Replay::new(&ledger()[..1], t(9)).open(), None);
    }

    #[test]
    fn another_request_at_a_recorded_position_is_a_divergence() {
        for other in [
            request("DescribeInstances"),
            CallRequest { params: "{\"a\":1}".into(), ..request("DescribeDisks") },
        ] {
            assert!(matches!(Replay::new(&ledger(), t(9)).call(&other), Next::Diverged(_)), "{other:?}");
        }
        let long = CallRequest { params: "é".repeat(100_000), ..request("DescribeDisks") };
        let Next::Diverged(message) = Replay::new(&ledger(), t(9)).call(&long) else { panic!("diverged") };
        assert!(message.len() < 1000, "{} bytes", message.len());
        assert!(matches!(Replay::new(&ledger(), t(9)).sleep(5), Next::Diverged(_)));
        let get = StateOp::Get { key: "k".into() };
        assert!(matches!(Replay::new(&ledger(), t(9)).state(&get), Next::Diverged(_)));
    }

    #[test]
    fn a_sleep_is_recorded_by_its_end_and_moves_the_runs_time() {
        let slept = Record::new(t(20), Entry::Slept { position: 0, ms: 1000, until: t(1020) });
        let mut replay = Replay::new(&[slept], t(9));
        assert_eq!(replay.sleep(1000), Next::Recorded(t(1020)));
        assert_eq!(replay.now(), t(1020));
        assert_eq!(replay.sleep(1000), Next::Live(1));
    }

    #[test]
    fn log_lines_of_a_replayed_stretch_are_not_new() {
        let mut replay = Replay::new(&ledger(), t(9));
        assert!(!replay.is_new_log_line());
        assert!(replay.is_new_log_line());
    }

    #[test]
    fn the_runs_time_never_goes_back() {
        let mut replay = Replay::new(&ledger(), t(100));
        replay.call(&request("DescribeDisks"));
        assert_eq!(replay.now(), t(100));
    }
}

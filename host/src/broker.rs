//! The broker: the only place that enforces what a policy may do, and the only sender. Each host call of a guest comes
//! here: replay, admission, mode, intent, sending, result. Leaves deciding to `opsward_core::{admit, retry, run}`, signing and
//! HTTP to `cloud`, and the guest to `plugin`.

mod admission;
mod approve;
mod bounds;
mod effect;
mod halted;
mod known;
mod local;
mod once;
mod readback;
mod send;
mod simulate;
mod turns;

pub use approve::{Approving, Planned as PlannedRun};
pub use halted::Halted;
pub use send::{AccountFacts, Caller, Sender, Stamp};

use known::Known;
use simulate::Simulation;
use turns::Turns;

use crate::clock::Clock;
use crate::plugin::GuestCalls;
use crate::policy::LivePolicy;
use crate::store::{Claim, Restored, Store, StoreError, Work};
use futures::StreamExt as _;
use opsward_core::admit::{self, Shown};
use opsward_core::call::{CallError, CallReply, CallRequest, ErrorKind};
use opsward_core::catalog::Class;
use opsward_core::id::SourceName;
use opsward_core::retry::refusal;
use opsward_core::run::{
    Answered, Entry, HostReply, HostRequest, Mode, Next, OpenEffect, Record, Replay, Stop, answer_bytes,
    parse_params,
};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// Most requests of one `call-all`.
pub const CALL_ALL_REQUESTS_MAX: usize = 500;
/// Most calls of one `call-all` in flight.
pub const CALL_ALL_CONCURRENCY_MAX: u32 = 16;
/// How long after its beginning a claim of a run may begin a call. The longest call of them all, with everything that settles
/// it, takes a quarter of an hour; both are within what the engine gives a claim.
const CALLS_BEGIN: Duration = Duration::from_secs(300);
/// Answers of one run in bytes, over all its tries: more than its guest's memory can hold at a time, and what a ledger may grow to that is read
/// as a whole for each claim. A hundred pages of a hundred instances have half of it.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// When a run whose policy is halted looks again whether it is resumed.
pub(crate) const HALTED_PAUSE: Duration = Duration::from_secs(10);
/// Longest sleep: seven days.
pub const SLEEP_MS_MAX: u64 = 7 * 24 * 3600 * 1000;

/// What every run's session shares.
#[derive(Clone)]
pub struct Broker {
    /// The ledger.
    pub store: Arc<dyn Store>,
    /// The way to the clouds.
    pub cloud: Arc<dyn Sender>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    closing: Arc<AtomicBool>,
    turns: Arc<Turns>,
    known: Arc<Known>,
    /// Whom a person has halted.
    pub halted: Halted,
    /// Whether the store is a restored copy, in which effects may be missing.
    restored: Option<Restored>,
}

/// The broker's side of one claimed run.
pub struct Session {
    broker: Broker,
    claim: Claim,
    policy: Arc<LivePolicy>,
    mode: Mode,
    /// How far it is with an approval, in approve mode.
    approving: Option<Approving>,
    simulation: Simulation,
    source: SourceName,
    event_id: String,
    /// When the event took place, and when it was received.
    event_time: Timestamp,
    received: Timestamp,
    replay: Replay,
    last_records: Vec<Record>,
    begun: Instant,
    /// Of the answers that the ledger has, or is about to have: those of earlier claims and tries as well.
    answer_bytes: AtomicUsize,
    /// How far the event is believed, and what answers have shown of what it names.
    trust: Trust,
    shown: Shown,
    /// When this session stops waiting for natural keys; set by the first wait.
    once_deadline: OnceLock<Instant>,
}

/// A call of the guest after canonicalisation and replay.
enum Planned {
    Recorded(CallRequest, CallReply),
    Made(u32, CallRequest, CallReply),
    Open(u32, OpenEffect, Value),
    Live(u32, CallRequest, Value),
    Refused(u32, CallRequest, CallError),
}

/// A call's answer and the time of its last record.
type Timed = (CallReply, Timestamp);

impl Broker {
    /// A broker that nothing is under way in.
    pub fn new(store: Arc<dyn Store>, cloud: Arc<dyn Sender>, clock: Arc<dyn Clock>) -> Self {
        let (closing, turns, known) = (Arc::default(), Arc::default(), Arc::default());
        Self { store, cloud, clock, closing, turns, known, halted: Halted::default(), restored: None }
    }

    /// The same on a store that may be a restored copy.
    pub fn after(self, restored: Option<Restored>) -> Self {
        Self { restored, ..self }
    }

    /// Has every session begin no more calls: the host ends.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Begins or continues a run. `mode` says what becomes of its effects.
    pub fn session(&self, work: Work, policy: Arc<LivePolicy>, mode: Mode) -> Session {
        let Work { run: claimed, ledger } = work;
        Session {
            broker: self.clone(),
            replay: Replay::new(&ledger, claimed.received),
            claim: claimed.claim,
            policy,
            mode,
            approving: None,
            simulation: Simulation::new(mode, &ledger),
            source: claimed.event.source,
            event_id: claimed.event.id,
            event_time: claimed.event.time,
            received: claimed.received,
            last_records: Vec::new(),
            begun: Instant::now(),
            answer_bytes: AtomicUsize::new(answer_bytes(&ledger)),
            trust: claimed.trust,
            shown: Shown::default(),
            once_deadline: OnceLock::new(),
        }
    }
}

impl GuestCalls for Session {
    async fn perform(&mut self, request: HostRequest) -> Result<HostReply, Stop> {
        match request {
            HostRequest::Call(request) => {
                let planned = self.plan(request)?;
                let noted = self.note(&planned)?;
                let (reply, at) = self.make(planned).await?;
                self.came_past(&reply, at);
                self.heard(noted, &reply)?;
                Ok(HostReply::Call(reply))
            }
            HostRequest::CallAll { requests, max_concurrency } => {
                self.call_all(requests, max_concurrency).await
            }
            HostRequest::Sleep { ms } => self.sleep(ms.clamp(1, SLEEP_MS_MAX)),
            HostRequest::State(op) => self.state(op).await,
            HostRequest::Log { level, message } => {
                if self.replay.is_new_log_line() && !self.looks_ahead() {
                    self.append_later(Entry::Log { level, message })?;
                }
                Ok(HostReply::Unit)
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.replay.now()
    }
}

impl Session {
    /// A call made before that the guest has not come to.
    pub fn unreached(&self) -> Option<u32> {
        self.replay.unreached()
    }

    /// The right to write the run, and records that wait to be written with its end.
    pub fn into_claim(self) -> (Claim, Vec<Record>) {
        (self.claim, self.last_records)
    }

    async fn call_all(
        &mut self,
        requests: Vec<CallRequest>,
        max_concurrency: u32,
    ) -> Result<HostReply, Stop> {
        if requests.len() > CALL_ALL_REQUESTS_MAX {
            let message =
                format!("call-all takes at most {CALL_ALL_REQUESTS_MAX} requests, got {}", requests.len());
            let error = refusal(ErrorKind::Invalid, "opsward.TooManyRequests", message);
            return Ok(HostReply::CallAll(vec![Err(error); requests.len()]));
        }
        let planned = requests.into_iter().map(|r| self.plan(r)).collect::<Result<Vec<_>, _>>()?;
        let noted = planned.iter().map(|planned| self.note(planned)).collect::<Result<Vec<_>, _>>()?;
        let in_flight = max_concurrency.clamp(1, CALL_ALL_CONCURRENCY_MAX) as usize;
        // Every call is let finish even when one stops the run: an abandoned send would leave an effect unclear for nothing.
        let made: Vec<Result<Timed, Stop>> = futures::stream::iter(planned.into_iter().map(|p| self.make(p)))
            .buffered(in_flight)
            .collect()
            .await;
        // What a person must know of is not hidden behind what will pass.
        if let Some(stop) = made.iter().filter_map(|one| one.as_ref().err()).max_by_key(|stop| stop.gravity())
        {
            return Err(stop.clone());
        }
        let mut replies = Vec::with_capacity(made.len());
        for ((reply, at), noted) in made.into_iter().flatten().zip(noted) {
            self.came_past(&reply, at);
            self.heard(noted, &reply)?;
            replies.push(reply);
        }
        Ok(HostReply::CallAll(replies))
    }

    /// The guest sees this reply: the run's time moves on.
    fn came_past(&mut self, reply: &CallReply, at: Timestamp) {
        self.replay.advance(at);
        self.simulation.came_past(reply);
        if let Ok(response) = reply
            && self.policy.settings.grants.may_want_confirmed(self.trust)
        {
            self.shown.see(&response.body);
        }
    }

    fn plan(&mut self, request: CallRequest) -> Result<Planned, Stop> {
        let canonical = match self.account() {
            Some(account) => admit::canonical(request.clone(), account.provider, account.region.as_deref()),
            None => {
                let message = "the policy's file names no account".to_owned();
                Err(refusal(ErrorKind::Denied, "opsward.NoAccount", message))
            }
        };
        let (request, params) = match canonical {
            Ok((request, params)) => (request, Ok(params)),
            Err(error) => (request, Err(error)),
        };
        match (self.replay.call(&request), params) {
            (Next::Recorded(reply), _) => Ok(Planned::Recorded(request, reply)),
            (Next::Diverged(message), _) => Err(Stop::Diverged { message }),
            (Next::Made(position, reply), _) => Ok(Planned::Made(position, request, reply)),
            // Whatever the file or the catalog says by now, it is to be settled and not to be refused.
            (Next::Open(position, open), _) => {
                let params = parse_params(&open.request.params).unwrap_or_default();
                Ok(Planned::Open(position, open, Value::Object(params)))
            }
            (Next::Live(position), Ok(params)) => Ok(Planned::Live(position, request, params)),
            (Next::Live(position), Err(error)) => Ok(Planned::Refused(position, request, error)),
        }
    }

    async fn make(&self, planned: Planned) -> Result<Timed, Stop> {
        // What the cloud is not asked for costs no time.
        if matches!(planned, Planned::Open(..) | Planned::Live(..)) {
            self.may_begin()?;
        }
        let is_new = !matches!(planned, Planned::Recorded(..));
        let made = self.answer(planned).await?;
        if is_new && let Ok(response) = &made.0 {
            self.answer_bytes.fetch_add(response.body.len(), Ordering::Relaxed);
        }
        Ok(made)
    }

    async fn answer(&self, planned: Planned) -> Result<Timed, Stop> {
        match planned {
            Planned::Recorded(_, reply) => Ok((reply, self.replay.now())),
            Planned::Made(position, request, reply) => {
                self.answered(position, request, reply, Answered::EarlierTry)
            }
            Planned::Refused(position, request, error) => self.refuse(position, request, error),
            // Rare, and large: kept out of every call's future.
            Planned::Open(position, open, params) => Box::pin(self.settle(position, open, &params)).await,
            Planned::Live(position, request, params) => {
                self.live(position, request, &params, self.replay.disproofs_at(position)).await
            }
        }
    }

    /// Makes a call that has no answer; `disproofs` is how often it was found not to have reached what it leads to.
    async fn live(
        &self,
        position: u32,
        request: CallRequest,
        params: &Value,
        disproofs: u32,
    ) -> Result<Timed, Stop> {
        let account =
            self.account().ok_or_else(|| Stop::Abandoned { reason: "the account is gone".to_owned() })?;
        let admitted = match self.admit(position, &request, params, account.provider).await? {
            Ok(admitted) => admitted,
            Err(error) => return self.refuse(position, request, error),
        };
        if self.answer_bytes.load(Ordering::Relaxed) >= ANSWER_BYTES_MAX {
            let message = format!("the answers in this run have more than {ANSWER_BYTES_MAX} bytes by now");
            return self.refuse(
                position,
                request,
                refusal(ErrorKind::Denied, "opsward.AnswersTooLarge", message),
            );
        }
        match (admitted.class, self.simulation.is_on()) {
            (Class::Read, _) => self.read(position, request).await,
            (_, false) => {
                self.may_be_sent(position)?;
                self.effect(position, request, params, &admitted, disproofs).await
            }
            // Rare where it matters how fast it is: kept out of every call's future.
            (_, true) => {
                self.may_be_planned()?;
                Box::pin(self.simulate(position, request, params, &admitted)).await
            }
        }
    }

    /// Leaves calls to the next claim of the run where the host ends or this claim has lasted long: better than to have one cut
    /// off half-way. The same where the policy is halted.
    fn may_begin(&self) -> Result<(), Stop> {
        if let Some(halt) = self.halted() {
            return Err(self.until_resumed(&halt));
        }
        if self.broker.closing.load(Ordering::Relaxed) || self.begun.elapsed() > CALLS_BEGIN {
            let why = "the host ends, or this claim has lasted long".to_owned();
            return Err(Stop::WaitUntil { at: self.broker.clock.now(), why });
        }
        Ok(())
    }

    fn refuse(&self, position: u32, request: CallRequest, error: CallError) -> Result<Timed, Stop> {
        self.answered(position, request, Err(error), Answered::Host)
    }

    /// Records request and answer at once: nothing outside changed, so it need not be on disk before the guest goes on. Nothing is
    /// recorded of what is only looked ahead at.
    fn answered(
        &self,
        position: u32,
        request: CallRequest,
        reply: CallReply,
        answered: Answered,
    ) -> Result<Timed, Stop> {
        self.look_ahead_from(&reply);
        let at = match self.looks_ahead() {
            true => self.broker.clock.now(),
            false => self.append_later(Entry::Call { position, request, reply: reply.clone(), answered })?,
        };
        Ok((reply, at))
    }

    fn account(&self) -> Option<send::AccountFacts> {
        self.broker.cloud.account(self.policy.settings.account.as_ref()?)
    }

    async fn append(&self, entry: Entry) -> Result<Timestamp, Stop> {
        let at = self.broker.clock.now();
        self.broker.store.append(&self.claim, vec![Record::new(at, entry)]).await.map_err(stop)?;
        Ok(at)
    }

    fn append_later(&self, entry: Entry) -> Result<Timestamp, Stop> {
        let at = self.broker.clock.now();
        self.broker.store.append_later(&self.claim, vec![Record::new(at, entry)]).map_err(stop)?;
        Ok(at)
    }
}

fn stop(error: StoreError) -> Stop {
    match error {
        StoreError::Lost(_) => Stop::Lost,
        other => Stop::Abandoned { reason: other.to_string() },
    }
}

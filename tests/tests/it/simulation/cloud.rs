//! Two clouds in memory with the faults a seed decides: answers lost before or after the effect, requests carried out late,
//! limits, stale reads. Records each effect. Leaves time and chance to `fate`.

use super::fate::{Fate, Life};
use futures::future::BoxFuture;
use opsward::broker::{AccountFacts, Caller, Sender, Stamp};
use opsward_core::answer::{Remedy, Verdict};
use opsward_core::call::{CallError, CallRequest, CallResponse, ErrorKind};
use opsward_core::catalog::Provider;
use opsward_core::id::AccountName;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long after its sending a request may still be carried out: Tencent takes a signature for so long.
const LATE_MS_MAX: u64 = 300_000;
/// How far a read may lag.
const STALE_MS_MAX: u64 = 8_000;
/// How long a reset takes.
const RESET_MS: i64 = 90_000;
/// How long the clouds may be out in a day.
const OUTAGE_MS_MAX: u64 = 3_600_000;
/// Disks in one answer, so that lists are paged.
const PAGE: usize = 2;

/// An effect that took place.
#[derive(Debug, Clone)]
pub(super) struct Effect {
    pub(super) at_ms: i64,
    pub(super) resource: String,
    /// What the request said of it: the snapshot's description.
    pub(super) about: String,
    pub(super) request_id: String,
}

/// The clouds' state, which outlives hosts.
pub(super) struct Clouds {
    state: Mutex<State>,
    /// When nothing is answered.
    outage_ms: Range<i64>,
}

#[derive(Default)]
struct State {
    effects: Vec<Effect>,
    by_token: BTreeMap<String, CallResponse>,
    late: Vec<(i64, CallRequest, Option<String>)>,
    requests: u32,
}

impl Clouds {
    pub(super) fn new(fate: &Fate) -> Self {
        let from = fate.now_ms() + fate.below(24 * 3600 * 1000).cast_signed();
        let outage_ms = from..from + fate.below(OUTAGE_MS_MAX).cast_signed();
        Self { state: Mutex::default(), outage_ms }
    }

    /// All effects, those still under way included.
    pub(super) fn effects(&self) -> Vec<Effect> {
        let mut state = self.lock();
        state.catch_up(i64::MAX);
        state.effects.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The disks of an instance: `i-3` has three.
pub(super) fn disks(instance: &str) -> Vec<String> {
    let count: usize = instance.trim_start_matches("i-").parse().expect("a simulated instance");
    (0..count).map(|n| format!("d-{count}-{n}")).collect()
}

/// One host's way to the clouds.
pub(super) struct Way {
    pub(super) clouds: Arc<Clouds>,
    pub(super) life: Arc<Life>,
}

impl Sender for Way {
    fn account(&self, name: &AccountName) -> Option<AccountFacts> {
        let provider = if name.as_str() == "lab" { Provider::Tencent } else { Provider::Alibaba };
        Some(AccountFacts { provider, region: None })
    }

    fn send<'a>(
        &'a self,
        _: Caller<'a>,
        request: &'a CallRequest,
        stamp: Stamp<'a>,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let (fate, token) = (&self.life.fate, stamp.as_token());
            tokio::time::sleep(Duration::from_millis(10 + fate.below(200))).await;
            let verdict = self.carry_out(request, token);
            fate.note(&format!("{request:?} {token:?} {verdict:?}"));
            tokio::time::sleep(Duration::from_millis(10 + fate.below(200))).await;
            match verdict {
                Some(verdict) if !self.life.dies() => verdict,
                _ => std::future::pending().await,
            }
        })
    }

    fn spread(&self) -> u8 {
        u8::try_from(self.life.fate.below(256)).expect("below 256")
    }
}

impl Way {
    /// `None` where the host dies meanwhile.
    fn carry_out(&self, request: &CallRequest, token: Option<&str>) -> Option<Verdict> {
        let fate: &Fate = &self.life.fate;
        if self.life.is_over() {
            return None;
        }
        let now = fate.now_ms();
        let mut state = self.clouds.lock();
        state.catch_up(now);
        let is_read = request.action.starts_with("Describe");
        if self.life.dies() {
            if !is_read && fate.below(2) == 0 {
                state.postpone(now, fate, request, token);
            }
            return None;
        }
        let waits = [None, Some(Duration::from_secs(1 + fate.below(20)))][fate.below(2) as usize];
        let not_executed = |kind, code| {
            Some(Verdict::NotExecuted { error: error(kind, code), retry_after: waits, remedy: Remedy::Wait })
        };
        let unclear = || {
            fate.doubt();
            Some(Verdict::Unclear { error: error(ErrorKind::Unavailable, "Lost") })
        };
        if self.clouds.outage_ms.contains(&now) && fate.below(10) > 0 {
            return unclear();
        }
        match fate.below(100) {
            0..4 => not_executed(ErrorKind::Throttled, "Throttling"),
            4..6 => not_executed(ErrorKind::Unavailable, "ConnectionRefused"),
            6..10 => unclear(),
            10..14 => {
                // It is lost on its way.
                state.answer(now, fate, request, token).ok();
                unclear()
            }
            14..18 if !is_read => {
                state.postpone(now, fate, request, token);
                unclear()
            }
            _ => Some(Verdict::Answered(state.answer(now, fate, request, token))),
        }
    }
}

impl State {
    fn postpone(&mut self, now: i64, fate: &Fate, request: &CallRequest, token: Option<&str>) {
        let at = now + i64::try_from(fate.below(LATE_MS_MAX)).expect("minutes");
        self.late.push((at, request.clone(), token.map(str::to_owned)));
    }

    /// Carries out what was late.
    fn catch_up(&mut self, now: i64) {
        self.late.sort_by_key(|(at, ..)| *at);
        while self.late.first().is_some_and(|(at, ..)| *at <= now) {
            let (at, request, token) = self.late.remove(0);
            // Nobody is there for the answer.
            self.change(at, &request, token.as_deref()).ok();
        }
    }

    fn answer(
        &mut self,
        now: i64,
        fate: &Fate,
        request: &CallRequest,
        token: Option<&str>,
    ) -> Result<CallResponse, CallError> {
        let params: Value = serde_json::from_str(&request.params).expect("the host sends JSON");
        let stale = if fate.below(3) == 0 { fate.below(STALE_MS_MAX) } else { 0 };
        let body = match request.action.as_str() {
            "DescribeDisks" => list_disks(&params),
            "DescribeInstances" => self.instance(now - i64::try_from(stale).expect("seconds")),
            _ => return self.change(now, request, token),
        };
        let request_id = self.next_request();
        Ok(CallResponse { request_id, body: body.to_string(), simulated: false })
    }

    fn change(
        &mut self,
        now: i64,
        request: &CallRequest,
        token: Option<&str>,
    ) -> Result<CallResponse, CallError> {
        if let Some(known) = token.and_then(|token| self.by_token.get(token)) {
            return Ok(known.clone());
        }
        let params: Value = serde_json::from_str(&request.params).expect("the host sends JSON");
        let text = |name: &str| params[name].as_str().unwrap_or_default().to_owned();
        let is_reset = request.action == "ResetInstance";
        if is_reset && self.last_reset(now).is_some_and(|last| now < last.at_ms + RESET_MS) {
            return Err(error(ErrorKind::Conflict, "OperationDenied.InstanceOperationInProgress"));
        }
        let request_id = self.next_request();
        let resource = if is_reset { text("InstanceId") } else { text("DiskId") };
        let about = text("Description");
        self.effects.push(Effect { at_ms: now, resource, about, request_id: request_id.clone() });
        let body = json!({ "RequestId": request_id, "SnapshotId": format!("s-{}", self.effects.len()) });
        let response = CallResponse { request_id, body: body.to_string(), simulated: false };
        if let Some(token) = token {
            self.by_token.insert(token.to_owned(), response.clone());
        }
        Ok(response)
    }

    fn last_reset(&self, at_ms: i64) -> Option<&Effect> {
        let resets = self.effects.iter().filter(|effect| effect.resource.starts_with("ins-"));
        resets.filter(|effect| effect.at_ms <= at_ms).max_by_key(|effect| effect.at_ms)
    }

    fn instance(&self, at_ms: i64) -> Value {
        let last = self.last_reset(at_ms);
        let operates = last.is_some_and(|last| at_ms < last.at_ms + RESET_MS);
        let state = if operates { "OPERATING" } else { "SUCCESS" };
        json!({ "TotalCount": 1, "InstanceSet": [{
            "InstanceId": "ins-1",
            "InstanceState": if operates { "STOPPED" } else { "RUNNING" },
            "LatestOperation": last.map(|_| "ResetInstance"),
            "LatestOperationState": last.map(|_| state),
            "LatestOperationRequestId": last.map(|last| &last.request_id),
        }] })
    }

    fn next_request(&mut self) -> String {
        self.requests += 1;
        format!("r-{}", self.requests)
    }
}

fn list_disks(params: &Value) -> Value {
    let instance = params["InstanceId"].as_str().unwrap_or_default();
    let from: usize = params["NextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
    let all = disks(instance);
    let page: Vec<Value> = all.iter().skip(from).take(PAGE).map(|id| disk(id, instance)).collect();
    let next = from + PAGE;
    let token = if next < all.len() { next.to_string() } else { String::new() };
    json!({ "TotalCount": all.len(), "NextToken": token, "Disks": { "Disk": page } })
}

fn disk(id: &str, instance: &str) -> Value {
    json!({ "DiskId": id, "InstanceId": instance, "Status": "In_use", "Attachments": { "Attachment": [] } })
}

fn error(kind: ErrorKind, code: &str) -> CallError {
    let retryable = matches!(kind, ErrorKind::Throttled | ErrorKind::Unavailable);
    CallError { kind, code: code.to_owned(), message: "by the seed".to_owned(), request_id: None, retryable }
}

//! What the simulator saw and did: the last requests with the verdict on each signature, the changes that took place,
//! and counts that never forget. Leaves showing it to `control`. Secrets are not kept: no signature, no token, no
//! password. Tested by `tests/tests/it/sim.rs`.

use opsward_core::catalog::Provider;
use opsward_core::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Requests and changes kept: some minutes of a benchmark, under 100 MB.
pub(crate) const KEPT_MAX: usize = 100_000;

/// One request as it arrived, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RequestSeen {
    pub(crate) seq: u64,
    pub(crate) time: String,
    pub(crate) provider: Provider,
    pub(crate) product: String,
    pub(crate) version: String,
    pub(crate) action: String,
    pub(crate) method: String,
    pub(crate) region: Option<String>,
    pub(crate) params: Arc<RawValue>,
    /// `rpc-v1`, `acs3`, `tc3` or `none`.
    pub(crate) scheme: &'static str,
    /// `ok`, or the code it was refused with.
    pub(crate) signature: String,
    pub(crate) access_key_id: Option<String>,
    /// Whether a session token came with it.
    pub(crate) session_token: bool,
    pub(crate) nonce: Option<String>,
    pub(crate) client_token: Option<String>,
    pub(crate) request_id: String,
    /// The code of a refusal, by the signature check or the action.
    pub(crate) code: Option<String>,
    /// The fault that was injected; `operator+<other>` where two were.
    pub(crate) fault: Option<String>,
}

/// One change that took place.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Effect {
    pub(crate) seq: u64,
    pub(crate) time: String,
    pub(crate) provider: Provider,
    pub(crate) product: &'static str,
    pub(crate) action: String,
    /// What was made or changed.
    pub(crate) resource: String,
    pub(crate) params: Arc<RawValue>,
    pub(crate) client_token: Option<String>,
    pub(crate) request_id: String,
    /// The name of the user or role that asked for it.
    pub(crate) caller: String,
}

/// A list that forgets its oldest entries and counts on.
pub(crate) struct Ring<T> {
    kept: VecDeque<T>,
    total: u64,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { kept: VecDeque::new(), total: 0 }
    }
}

impl<T> Ring<T> {
    /// The number the next entry gets, counted from 1.
    pub(crate) fn next_seq(&self) -> u64 {
        self.total + 1
    }

    pub(crate) fn push(&mut self, entry: T) {
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(entry);
        self.total += 1;
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The kept entries numbered above `seq`.
    pub(crate) fn after(&self, seq: u64) -> impl Iterator<Item = &T> {
        let first_kept = self.total - self.kept.len() as u64;
        let skipped = usize::try_from(seq.saturating_sub(first_kept)).unwrap_or(usize::MAX);
        self.kept.iter().skip(skipped)
    }
}

/// Requests seen.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) requests: Ring<RequestSeen>,
    /// Requests by `product:action`.
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Traffic {
    pub(crate) fn record(&mut self, mut request: RequestSeen) {
        request.seq = self.requests.next_seq();
        let name = format!("{}:{}", request.product, request.action);
        if self.counts.len() < ACTIONS_COUNTED_MAX || self.counts.contains_key(&name) {
            *self.counts.entry(name).or_default() += 1;
        }
        self.requests.push(request);
    }
}

/// Names counted: any client may invent action names.
const ACTIONS_COUNTED_MAX: usize = 1000;

/// The time as requests and effects show it.
pub(crate) fn shown(time: Timestamp) -> String {
    time.to_string()
}

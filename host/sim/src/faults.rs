//! Faults injected on demand: what a client meets when a cloud or the way to it fails, before or after the change took
//! place. Leaves carrying them out to `server`. Tested by `tests/tests/it/sim.rs`.

use crate::answer::ApiError;
use opsward_core::catalog::Provider;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultKind {
    /// Refused for its rate; nothing changes.
    Throttle,
    /// Internal error; nothing changes.
    #[serde(rename = "error-500-before")]
    Error500Before,
    /// Internal error after the change took place.
    #[serde(rename = "error-500-after")]
    Error500After,
    /// The connection closes without an answer; nothing changes.
    DropBefore,
    /// The connection closes without an answer after the change took place.
    DropAfter,
    /// The change takes place at once, the answer comes late.
    Slow,
    /// The change takes place, the connection closes in the middle of the answer.
    Truncated,
}

impl FaultKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Error500Before => "error-500-before",
            Self::Error500After => "error-500-after",
            Self::DropBefore => "drop-before",
            Self::DropAfter => "drop-after",
            Self::Slow => "slow",
            Self::Truncated => "truncated",
        }
    }

    /// Whether the action is carried out all the same.
    pub(crate) fn lets_change_happen(self) -> bool {
        !matches!(self, Self::Throttle | Self::Error500Before | Self::DropBefore)
    }

    /// The refusal that takes the answer's place, where one does.
    pub(crate) fn refusal(self, provider: Provider) -> Option<ApiError> {
        let (throttled, internal) = match provider {
            Provider::Alibaba => (
                ApiError::new(400, "Throttling.User", "Request was denied due to user flow control."),
                ApiError::new(
                    500,
                    "InternalError",
                    "The request processing has failed due to some unknown error.",
                ),
            ),
            Provider::Tencent => (
                ApiError::new(
                    200,
                    "RequestLimitExceeded",
                    "Your current request times equals to `11` in a second, which exceeds the frequency limit `10` \
                     for a second. Please reduce the frequency of calls.",
                ),
                ApiError::new(200, "InternalError", "An internal error has occurred."),
            ),
        };
        match self {
            Self::Throttle => Some(throttled),
            Self::Error500Before | Self::Error500After => Some(internal),
            Self::DropBefore | Self::DropAfter | Self::Slow | Self::Truncated => None,
        }
    }
}

/// A fault that waits for its action.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// `CreateSnapshot`, `ecs:CreateSnapshot` or `*`.
    pub(crate) action: String,
    pub(crate) kind: FaultKind,
    /// How many calls it meets.
    #[serde(default = "once")]
    pub(crate) times: u64,
    /// How late the answer, or its absence, comes.
    #[serde(default)]
    pub(crate) delay_ms: u64,
}

fn once() -> u64 {
    1
}

/// The faults that wait.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn waiting(&self) -> Vec<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes one use of the first fault that fits: its kind and delay.
    pub(crate) fn take(&self, product: &str, action: &str) -> Option<(FaultKind, u64)> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |fault: &Fault| match fault.action.split_once(':') {
            Some((for_product, name)) => for_product == product && name == action,
            None => fault.action == "*" || fault.action == action,
        };
        let at = waiting.iter().position(fits)?;
        let (kind, delay_ms) = (waiting[at].kind, waiting[at].delay_ms);
        waiting[at].times = waiting[at].times.saturating_sub(1);
        if waiting[at].times == 0 {
            waiting.remove(at);
        }
        Some((kind, delay_ms))
    }
}

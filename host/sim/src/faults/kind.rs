//! The ways in which a call can go wrong. Leaves which call meets which to `faults`.

use serde::{Deserialize, Serialize};

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
    /// The connection stays open without an answer for `delay_ms` and closes; nothing changes.
    TimeoutBefore,
    /// The change takes place at once, the connection stays open without an answer for `delay_ms` and closes.
    TimeoutAfter,
    /// The change takes place at once, the answer comes late.
    Slow,
    /// The change takes place, the connection closes in the middle of the answer.
    Truncated,
    /// The change takes place, the answer is a proxy's page with status 502.
    Garbage,
    /// The connection closes at once without an answer. The change takes place `delay_ms` later, unless the request's
    /// signature has expired by then on the simulator's clock. Meets calls that change something.
    Late,
    /// Answered with what was true before the last change of a resource that the call names; with `delay_ms`, only within
    /// so long after the change. Meets reads of instances and of snapshots made, where there was a change.
    Stale,
    /// Right before the call another operator restarts the instance that the call names, if it can be restarted. Comes on
    /// top of another fault that meets the call. Meets calls that change something.
    Operator,
    /// Refused as a repeated request, although it was carried out. Meets Alibaba's calls: theirs have nonces.
    NonceUsed,
    /// The cloud's idea of the time, by which it judges signatures and which its answer's `Date` tells, is `delay_ms`
    /// ahead.
    ClockSkew,
    /// A poll of a queue is answered at once as if the queue were empty, as above the vendor's bound on polls at a time.
    PollCap,
    /// One of all these but `poll-cap` for a `share` of calls, drawn from `seed`.
    Random,
}

/// What `random` draws from.
pub(super) const DRAWN: [FaultKind; 15] = [
    FaultKind::Throttle,
    FaultKind::Error500Before,
    FaultKind::Error500After,
    FaultKind::DropBefore,
    FaultKind::DropAfter,
    FaultKind::TimeoutBefore,
    FaultKind::TimeoutAfter,
    FaultKind::Slow,
    FaultKind::Truncated,
    FaultKind::Garbage,
    FaultKind::Late,
    FaultKind::Stale,
    FaultKind::Operator,
    FaultKind::NonceUsed,
    FaultKind::ClockSkew,
];
impl FaultKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Error500Before => "error-500-before",
            Self::Error500After => "error-500-after",
            Self::DropBefore => "drop-before",
            Self::DropAfter => "drop-after",
            Self::TimeoutBefore => "timeout-before",
            Self::TimeoutAfter => "timeout-after",
            Self::Slow => "slow",
            Self::Truncated => "truncated",
            Self::Garbage => "garbage",
            Self::Late => "late",
            Self::Stale => "stale",
            Self::Operator => "operator",
            Self::NonceUsed => "nonce-used",
            Self::ClockSkew => "clock-skew",
            Self::PollCap => "poll-cap",
            Self::Random => "random",
        }
    }

    /// Whether the action is carried out all the same, and at once.
    pub(crate) fn lets_change_happen(self) -> bool {
        !matches!(
            self,
            Self::Throttle | Self::Error500Before | Self::DropBefore | Self::TimeoutBefore | Self::Late
        )
    }

    /// Whether the connection closes without an answer.
    pub(crate) fn drops_answer(self) -> bool {
        matches!(
            self,
            Self::DropBefore | Self::DropAfter | Self::TimeoutBefore | Self::TimeoutAfter | Self::Late
        )
    }

    /// Whether `delay_ms` is about the answer, and not about the change or the clock.
    pub(crate) fn delays_answer(self) -> bool {
        !matches!(self, Self::Late | Self::Stale | Self::ClockSkew)
    }

    /// Whether it means nothing without `delay_ms`.
    pub(super) fn needs_delay(self) -> bool {
        matches!(self, Self::Slow | Self::TimeoutBefore | Self::TimeoutAfter | Self::Late | Self::ClockSkew)
    }
}

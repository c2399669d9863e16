//! What a guest asks of the broker and what it gets back: plain values, so that the guest's side can live in a process
//! of its own.

use crate::call::{CallReply, CallRequest};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One import call that reaches the broker. `context` and `clock.now` are answered by the engine from the run's
/// context; everything else comes here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostRequest {
    /// `cloud.call`.
    Call(CallRequest),
    /// `cloud.call-all`.
    CallAll {
        /// In the guest's order.
        requests: Vec<CallRequest>,
        /// 1 to 16.
        max_concurrency: u32,
    },
    /// `clock.sleep`.
    Sleep {
        /// How long.
        ms: u64,
    },
    /// `state.*`.
    State(StateOp),
    /// `log.write`.
    Log {
        /// How grave.
        level: LogLevel,
        /// At most 8 KiB; the engine cuts it.
        message: String,
    },
}

/// The broker's answer, of the kind that was asked, and the run's time after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostReply {
    /// To `Call`.
    Call(CallReply),
    /// To `CallAll`, in the order of the requests.
    CallAll(Vec<CallReply>),
    /// To `State`.
    State(StateReply),
    /// To `Sleep` and `Log`.
    Unit,
}

/// Why the broker ends the guest instead of answering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// The run sleeps; continue it then.
    SleepUntil(Timestamp),
    /// A call cannot go on yet; continue the run then.
    WaitUntil {
        /// When to look again.
        at: Timestamp,
        /// For what it waits, in one line.
        why: String,
    },
    /// An effect's result is unknown: a person must settle it.
    Held {
        /// The effect in question.
        position: u32,
        /// What is unknown, in one line.
        reason: String,
    },
    /// The guest asked for something else than the ledger holds.
    Diverged {
        /// Position and both requests, in one line.
        message: String,
    },
    /// What the policy would do is known as far as it is looked ahead: people are asked.
    Planned {
        /// Why it is looked ahead no further, in one line.
        cut: String,
    },
    /// What the policy does is not what was approved: the run begins afresh.
    Unapproved {
        /// What was found, in one line.
        why: String,
    },
    /// The run belongs to somebody else by now: write nothing more.
    Lost,
    /// The store or the host failed: the run is to be claimed again.
    Abandoned {
        /// Why, in one line.
        reason: String,
    },
}

impl Stop {
    /// Which of several is told: a run that belongs to somebody else writes nothing, and a person is asked before anything else
    /// is waited for.
    pub fn gravity(&self) -> u8 {
        match self {
            Self::Lost => 5,
            Self::Held { .. } => 4,
            Self::Diverged { .. } => 3,
            Self::Abandoned { .. } => 2,
            Self::WaitUntil { .. } | Self::SleepUntil(_) => 1,
            // A run begins afresh only once nothing of it is under way.
            Self::Unapproved { .. } | Self::Planned { .. } => 0,
        }
    }
}

/// Gravity of a guest's log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// For the author.
    Debug,
    /// Worth knowing.
    Info,
    /// Unexpected but handled.
    Warn,
    /// Somebody should look.
    Error,
}

/// An access to the policy's durable state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateOp {
    /// Reads.
    Get {
        /// The key.
        key: String,
    },
    /// Writes whatever was there.
    Set {
        /// The key.
        key: String,
        /// The new value.
        value: Vec<u8>,
    },
    /// Removes.
    Delete {
        /// The key.
        key: String,
    },
    /// Writes if the version is still `expected`; 0 means absent.
    CompareAndSet {
        /// The key.
        key: String,
        /// The version seen.
        expected: u64,
        /// The new value.
        value: Vec<u8>,
    },
}

/// A stored value and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateEntry {
    /// The bytes.
    pub value: Vec<u8>,
    /// Grows by one at every write of the key; never 0.
    pub version: u64,
}

/// Why a write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateError {
    /// A bound of `wit/policy.wit`, `state`, is met.
    TooLarge,
    /// Another version is stored.
    Conflict,
}

/// The answer to a `StateOp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateReply {
    /// To `Get`.
    Value(Option<StateEntry>),
    /// To `Set` and `CompareAndSet`.
    Written(Result<u64, StateError>),
    /// To `Delete`.
    Deleted,
}

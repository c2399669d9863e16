//! A run: one policy working on one event. Its ledger, how it is replayed, and how it ends. Leaves doing any of it
//! to the host's worker and broker.

mod host_call;
mod ledger;
mod replay;
mod settle;
mod token;

pub use host_call::{HostReply, HostRequest, LogLevel, StateEntry, StateError, StateOp, StateReply, Stop};
pub use ledger::{Answered, Entry, RECORD_VERSION, Record, answer_bytes, effects, has_acted};
pub use replay::{Next, OpenEffect, Replay};
pub use settle::{SettleError, Settled, Settlement, Tries, retry, settle, tries};
pub use token::{InvalidParams, TokenInput, canonical_params, parse_params};

use serde::{Deserialize, Serialize};

/// How a policy's effects are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Reads are real; effects are recorded and answered by a simulated reply. The default.
    #[default]
    DryRun,
    /// Effects wait for a person's approval.
    Approve,
    /// Effects are carried out.
    Enforce,
    /// The policy does not run.
    Off,
}

impl Mode {
    /// The one of both that lets less happen: a run keeps the mode it began with, and an operator who has stepped back since is
    /// obeyed.
    pub fn stricter(self, other: Self) -> Self {
        let rank = |mode: Self| match mode {
            Self::Off => 0,
            Self::DryRun => 1,
            Self::Approve => 2,
            Self::Enforce => 3,
        };
        if rank(other) < rank(self) { other } else { self }
    }

    /// The mode as it is shown and written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DryRun => "dry-run",
            Self::Approve => "approve",
            Self::Enforce => "enforce",
            Self::Off => "off",
        }
    }
}

/// How a run that worked ended; field meanings in `wit/policy.wit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was done, in one line.
    pub summary: String,
    /// JSON text, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// How a run that did not work ended, by the policy's own judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A short code.
    pub code: String,
    /// What went wrong, in one line.
    pub message: String,
    /// Whether running again later may help.
    pub retryable: bool,
    /// JSON text, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// An end that is the sandbox's, not the policy's: never recorded as its decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which bound was met.
    pub kind: FaultKind,
    /// What happened, in one line.
    pub message: String,
}

/// Sorts of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Guest CPU budget used up.
    CpuBudget,
    /// Wall-clock budget used up.
    Timeout,
    /// Guest memory limit met.
    Memory,
    /// Guest stack used up.
    Stack,
    /// An argument or result over the host-call limit.
    Size,
    /// Too many host calls.
    CallBudget,
    /// The guest trapped: panic, unreachable, out-of-bounds access.
    Trap,
    /// The plugin could not be instantiated.
    Instantiate,
    /// The guest asked for something else at a recorded position.
    Diverged,
    /// The host failed while it worked on the run.
    Host,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// May be claimed at its wake time: new, sleeping, or to be tried again.
    Ready,
    /// Claimed by a worker.
    Running,
    /// An effect's result is unknown and no read settles it: a person must.
    Held,
    /// Ended as the policy wanted.
    Done,
    /// Ended, and the policy says it did not work.
    Failed,
    /// Given up after faults.
    Dead,
}

impl RunState {
    /// All of them, in the order of a run's life.
    pub const ALL: [Self; 6] = [Self::Ready, Self::Running, Self::Held, Self::Done, Self::Failed, Self::Dead];

    /// The state as it is shown and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Held => "held",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }

    /// Whether nothing more will happen to the run by itself and nobody is asked.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Dead)
    }
}

impl std::str::FromStr for RunState {
    type Err = UnknownRunState;
    fn from_str(text: &str) -> Result<Self, UnknownRunState> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or_else(|| UnknownRunState(text.chars().take(80).collect()))
    }
}

/// A text that names no state of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a state of a run: use ready, running, held, done, failed or dead")]
pub struct UnknownRunState(String);

//! Runs as the store's verbs take and return them: to start, to work on, to list, to show. Leaves the verbs to `Store`. Tested by
//! the conformance suite.

use super::StoreError;
use opsward_core::event::{Event, Wants};
use opsward_core::id::{Digest, PolicyName, RunId, SourceName};
use opsward_core::run::{Record, RunState};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use serde::Serialize;
use std::ops::Deref;

/// A run to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Derived from source, event and policy.
    pub id: RunId,
    /// Whose run it is.
    pub policy: PolicyName,
    /// The plugin revision it is pinned to.
    pub digest: Digest,
    /// Which notices of an incident start it; all that are no such notice do.
    pub wants: Wants,
}

/// The right to write to a run, until another claim raises the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The run.
    pub run: RunId,
    /// Raised by each claim.
    pub epoch: u64,
}

/// A claimed run, its ledger unread.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The right to write.
    pub claim: Claim,
    /// Whose run it is.
    pub policy: PolicyName,
    /// The plugin revision it is pinned to.
    pub digest: Digest,
    /// Tries so far that ended in a fault.
    pub faults: u32,
    /// Hosts and runners that died, one after the other, while they had the run and it got no further; forgotten once it does.
    pub crashes: u32,
    /// What woke it.
    pub event: Event,
    /// When the event was received.
    pub received: Timestamp,
    /// How far it is to be believed.
    pub trust: Trust,
}

/// A claimed run to work on.
#[derive(Debug)]
pub struct Work {
    /// What was claimed.
    pub run: Claimed,
    /// All records so far.
    pub ledger: Vec<Record>,
}

impl Deref for Work {
    type Target = Claimed;

    fn deref(&self) -> &Claimed {
        &self.run
    }
}

/// Where a claim leaves its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// To be claimed again at this time; `faulted` counts a fault.
    Wake {
        /// When.
        at: Timestamp,
        /// Whether a fault ended the claim.
        faulted: bool,
    },
    /// To be claimed again at this time: the process that had its guest died. Counted among the run's crashes, as the death of
    /// a host is.
    Crashed {
        /// When.
        at: Timestamp,
    },
    /// Waiting for a person.
    Held,
    /// Ended as wanted.
    Done,
    /// Ended in failure.
    Failed,
    /// Given up.
    Dead,
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only this policy's.
    pub policy: Option<PolicyName>,
    /// Only those that stand here.
    pub state: Option<RunState>,
    /// At most this many; 0 means `LISTED_DEFAULT`.
    pub limit: usize,
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// Whose run it is.
    pub policy: PolicyName,
    /// Where it stands.
    pub state: RunState,
    /// The plugin revision.
    pub digest: Digest,
    /// The event's source.
    pub source: SourceName,
    /// The event's id.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it changed last.
    pub changed_at: Timestamp,
    /// When it may go on, while it is ready.
    pub wake_at: Option<Timestamp>,
    /// Outcome, failure or reason of the hold, in one line.
    pub note: Option<String>,
}

/// A run with everything known of it.
#[derive(Debug, Clone, Serialize)]
pub struct RunDetail {
    /// The list's row.
    pub row: RunRow,
    /// Its latest claim.
    pub epoch: u64,
    /// What woke it.
    pub event: Event,
    /// When the event was received.
    pub received: Timestamp,
    /// All its records that can be read.
    pub ledger: Vec<Record>,
    /// What of it cannot be read, and why; nearly always empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
}

impl RunDetail {
    /// All its records; an error where one of them, or anything else of the run, cannot be read.
    pub fn whole_ledger(&self) -> Result<&[Record], StoreError> {
        match self.damage.first() {
            None => Ok(&self.ledger),
            Some(problem) => {
                Err(StoreError::Unreadable { run: self.row.id.clone(), problem: problem.clone() })
            }
        }
    }
}

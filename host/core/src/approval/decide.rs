//! Who may decide on what a run asks, and what that writes. Leaves finding the run, and writing, to the host. Tested in `tests.rs`.

use super::station::{Phase, pending};
use crate::id::{ApproverName, Digest};
use crate::run::{Entry, Record, RunState};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Do exactly this.
    Approve,
    /// Do nothing of it.
    Deny,
}

impl Verdict {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

/// A person's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Which asking of the run.
    pub nth: u32,
    /// What they have seen: the hash, or enough of its beginning to leave no doubt.
    pub hash: String,
    /// What they say.
    pub verdict: Verdict,
    /// Who they are, as the host knows them.
    pub by: ApproverName,
}

/// What a decision writes, and what becomes of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// The record.
    pub record: Record,
    /// Where the run stands next.
    pub to: Then,
}

/// What becomes of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Others must approve as well, until then.
    Waits(Timestamp),
    /// It goes on.
    GoesOn,
    /// It has failed.
    Ends,
}

/// Why a decision is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideApprovalError {
    /// The run asks nothing.
    #[error("the run does not wait for an approval: `opsward approval ls` lists those that do")]
    NotWaiting,
    /// It asks something else by now.
    #[error(
        "this is not what the run asks: it asks for the {nth}. time, with hash {hash}; look again, then decide"
    )]
    OtherHash {
        /// How often it has asked.
        nth: u32,
        /// What it asks.
        hash: Digest,
    },
    /// Too little of the hash.
    #[error("name at least {HASH_DIGITS_MIN} digits of the hash that you have seen")]
    ShortHash,
    /// Too late.
    #[error("the time to decide was over at {0}")]
    Expired(Timestamp),
    /// Not one of them.
    #[error("`{by}` is not an approver of this policy: `approvers` in its file names {}", names(.approvers))]
    NotAnApprover {
        /// Who wanted to.
        by: ApproverName,
        /// Who may.
        approvers: Vec<ApproverName>,
    },
    /// They have.
    #[error("`{0}` has approved already: somebody else must as well")]
    Already(ApproverName),
    /// The ledger has damage.
    #[error("the run's ledger cannot be read whole: nothing can be approved on it")]
    Unreadable,
}

/// Fewest digits of a hash that name it: 64 bits, more than anybody can make two plans meet in by trying.
pub const HASH_DIGITS_MIN: usize = 16;

/// Decides what `choice` writes into the ledger of a run that stands at `state`. `None` is one that cannot be read whole.
pub fn decide(
    state: RunState,
    ledger: Option<&[Record]>,
    choice: &Choice,
    now: Timestamp,
) -> Result<Decided, DecideApprovalError> {
    let Choice { nth, hash, verdict, by } = choice;
    let ledger = ledger.ok_or(DecideApprovalError::Unreadable)?;
    let waits = pending(ledger).filter(|pending| pending.phase == Phase::Waits && state == RunState::Ready);
    let pending = waits.ok_or(DecideApprovalError::NotWaiting)?;
    let asked = pending.asked;
    if hash.len() < HASH_DIGITS_MIN {
        return Err(DecideApprovalError::ShortHash);
    }
    if *nth != asked.nth || !asked.hash.to_string().starts_with(hash.as_str()) {
        return Err(DecideApprovalError::OtherHash { nth: asked.nth, hash: asked.hash });
    }
    if !asked.approvers.contains(by) {
        let approvers = asked.approvers.clone();
        return Err(DecideApprovalError::NotAnApprover { by: by.clone(), approvers });
    }
    if now >= asked.expires {
        return Err(DecideApprovalError::Expired(asked.expires));
    }
    let has_approved = pending.by.contains(by);
    let (nth, by) = (asked.nth, by.clone());
    let (entry, to) = match verdict {
        // Who has approved may still think better of it.
        Verdict::Deny => (Entry::Denied { nth, by }, Then::Ends),
        Verdict::Approve if has_approved => return Err(DecideApprovalError::Already(by)),
        Verdict::Approve => {
            let enough = pending.by.len() + 1 >= asked.minimum as usize;
            let to = if enough { Then::GoesOn } else { Then::Waits(asked.expires) };
            (Entry::Approved { nth, by, enough }, to)
        }
    };
    Ok(Decided { record: Record::new(now, entry), to })
}

fn names(approvers: &[ApproverName]) -> String {
    approvers.iter().map(ApproverName::as_str).collect::<Vec<_>>().join(", ")
}

//! How far an incident has come, in one set of words for all vendors. Leaves finding it in a notification to the decoders.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// What a notification says of its incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transition {
    /// The vendor asks whether it may begin.
    Inquiring,
    /// It will begin at a time.
    Scheduled,
    /// It has begun.
    Executing,
    /// It is over.
    Executed,
    /// It was made needless.
    Avoided,
    /// The vendor took it back.
    Canceled,
    /// It was begun and did not succeed.
    Failed,
    /// An alarm's condition holds.
    Firing,
    /// It holds no more.
    Resolved,
}

impl Transition {
    /// All of them, an incident's first before its last.
    pub const ALL: [Self; 9] = [
        Self::Inquiring,
        Self::Scheduled,
        Self::Executing,
        Self::Firing,
        Self::Executed,
        Self::Avoided,
        Self::Canceled,
        Self::Failed,
        Self::Resolved,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inquiring => "inquiring",
            Self::Scheduled => "scheduled",
            Self::Executing => "executing",
            Self::Executed => "executed",
            Self::Avoided => "avoided",
            Self::Canceled => "canceled",
            Self::Failed => "failed",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }

    /// What a vendor's status says, in any case: `Executing`, `EXECUTED`.
    pub fn of_status(status: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str().eq_ignore_ascii_case(status))
    }

    /// Whether an incident that stands here goes on with `next`: states only move forward, and an end stays.
    pub fn precedes(self, next: Self) -> bool {
        self.rank().cmp(&next.rank()) == Ordering::Less
    }

    fn rank(self) -> u8 {
        match self {
            Self::Inquiring => 0,
            Self::Scheduled => 1,
            Self::Executing | Self::Firing => 2,
            Self::Executed | Self::Avoided | Self::Canceled | Self::Failed | Self::Resolved => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_moves_forward_only() {
        let forward = [
            (Transition::Inquiring, Transition::Scheduled),
            (Transition::Scheduled, Transition::Executed),
            (Transition::Scheduled, Transition::Avoided),
            (Transition::Firing, Transition::Resolved),
        ];
        for (from, to) in forward {
            assert!(from.precedes(to) && !to.precedes(from), "{from:?} -> {to:?}");
        }
        for end in [Transition::Executed, Transition::Avoided, Transition::Resolved] {
            assert!(Transition::ALL.into_iter().all(|other| !end.precedes(other)), "{end:?} is an end");
        }
    }

    #[test]
    fn every_word_is_read_in_any_case() {
        for one in Transition::ALL {
            assert_eq!(Transition::of_status(&one.as_str().to_uppercase()), Some(one));
        }
        assert_eq!(Transition::of_status("Normal"), None);
    }
}

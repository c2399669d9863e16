//! Incidents: the notices of one happening share a key, and come late, out of order, repeatedly and by several ways. What is decided
//! here is where an incident stands after a notice, and whether a policy is woken by it. Leaves remembering both to the store,
//! finding the key to the decoders, how grave a level is to `gravity`, and the runs of hints to `hinted`. Tested in `incident/tests.rs`.
//!
//! A policy is woken by each transition of an incident once, by an alarm once more where that fires graver; and, unless its entry
//! names the transition, only if the incident is not past it.
//!
//! An incident has two tracks: what proved senders have told of it, and what hints have. A proved notice is judged by the first alone, so
//! that nothing that a stranger says makes it late or repeated. A hint is judged by the one that was heard later.

use super::Transition;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The transition that brought it there.
    pub transition: Transition,
    /// When its happening began: the time of the first notice of it, by the sender.
    pub since: Timestamp,
    /// When it was last said to stand there, by the sender.
    pub heard: Timestamp,
}

/// An alarm that has fired for so long fires anew with its next notice. Either the notice that it had resolved got lost, or what was
/// done about it did not help: vendors repeat one that goes on once a day at the least (CloudMonitor's longest silence is 24 hours),
/// and this is twice that.
const ALARM_STALE: Duration = Duration::from_secs(48 * 3600);

/// Which notices of an incident a policy is woken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wants {
    /// Those that the incident is not past.
    Progress,
    /// Each whose transition the entry names, also a late one.
    Transition,
}

/// What a notice is to its incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The first of a happening: of one that is not known, or of an alarm that had resolved and fires anew.
    Begins,
    /// The incident goes on with it.
    Moves,
    /// It says where the incident stands already.
    Stands,
    /// The incident is past it.
    Late,
}

impl Incident {
    /// Where an incident that stands at `before` stands after a notice of `transition`, which was at `at` by the sender; and what
    /// the notice is to it.
    ///
    /// States move forward only, and an end stays. But some vendors give an alarm the same key each time it fires: one that fires
    /// later than it resolved is a happening of its own, and that it resolved before it last fired ends another.
    pub fn after(before: Option<Self>, transition: Transition, at: Timestamp) -> (Self, News) {
        let here = Self { transition, since: at, heard: at };
        let Some(before) = before else { return (here, News::Begins) };
        let fires_anew = transition == Transition::Firing
            && match before.transition {
                Transition::Resolved => at > before.heard,
                Transition::Firing => at >= before.since + ALARM_STALE,
                _ => false,
            };
        let ends_another = transition == Transition::Resolved
            && before.transition == Transition::Firing
            && at < before.heard;
        if fires_anew {
            (here, News::Begins)
        } else if before.transition == transition {
            (Self { heard: before.heard.max(at), ..before }, News::Stands)
        } else if before.transition.precedes(transition) && !ends_another {
            (Self { since: before.since, ..here }, News::Moves)
        } else {
            (before, News::Late)
        }
    }

    /// Of the two tracks that which tells more of where the incident stands: the one that was heard later, or else has come further.
    pub fn later(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
        let b_is_later = b.heard > a.heard || b.heard == a.heard && a.transition.precedes(b.transition);
        Some(if b_is_later { b } else { a })
    }
}

impl Wants {
    /// Whether a policy that wants this is woken by a notice that is `news`; `had_before` where such a one has woken it.
    pub fn wakes(self, news: News, had_before: bool) -> bool {
        !had_before && (news != News::Late || self == Self::Transition)
    }
}

/// Which notices of an incident have woken a policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Woken {
    /// Of which transitions.
    pub transitions: Transitions,
    /// The gravest with which an alarm that fires has.
    pub gravity: u8,
}

impl Woken {
    /// Whether one of `transition` has that was as grave.
    pub fn has(self, transition: Transition, gravity: u8) -> bool {
        let is_graver = transition == Transition::Firing && gravity > self.gravity;
        self.transitions.has(transition) && !is_graver
    }

    /// After one of `transition` has.
    #[must_use]
    pub fn with(self, transition: Transition, gravity: u8) -> Self {
        let fired = if transition == Transition::Firing { gravity } else { 0 };
        Self { transitions: self.transitions.with(transition), gravity: self.gravity.max(fired) }
    }
}

/// A set of transitions, as the store keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transitions(u16);

impl Transitions {
    /// What `bits` gave; none of what it never gives.
    pub fn from_bits(bits: u16) -> Option<Self> {
        let all = Transition::ALL.into_iter().fold(Self::default(), Self::with);
        Some(Self(bits)).filter(|set| set.0 & !all.0 == 0)
    }

    /// Bit by bit, each transition always the same.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// Whether it is in the set.
    pub fn has(self, transition: Transition) -> bool {
        self.0 & bit(transition) != 0
    }

    /// The set with it.
    #[must_use]
    pub fn with(self, transition: Transition) -> Self {
        Self(self.0 | bit(transition))
    }
}

/// Stored: never to be changed.
fn bit(transition: Transition) -> u16 {
    1 << match transition {
        Transition::Inquiring => 0,
        Transition::Scheduled => 1,
        Transition::Executing => 2,
        Transition::Executed => 3,
        Transition::Avoided => 4,
        Transition::Canceled => 5,
        Transition::Failed => 6,
        Transition::Firing => 7,
        Transition::Resolved => 8,
    }
}

#[cfg(test)]
mod tests;

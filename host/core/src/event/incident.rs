//! Incidents: the notices of one happening share a key, and come late, out of order, repeatedly and by several ways. What is decided
//! here is where an incident stands after a notice, and whether a policy is woken by it. Leaves remembering both to the store, and
//! finding the key to the decoders. Tested below.
//!
//! A policy is woken by each transition of an incident once; and, unless its entry names the transition, only if the incident is
//! not past it.

use super::Transition;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The transition that brought it there.
    pub transition: Transition,
    /// When it was last said to stand there, by the sender.
    pub heard: Timestamp,
}

/// After this long without a word a firing alarm that fires has fired anew, and the notice that it had resolved got lost: vendors
/// repeat one that goes on once a day at the least (CloudMonitor's longest silence is 24 hours), and this is twice that.
const ALARM_FORGOTTEN: Duration = Duration::from_secs(48 * 3600);

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
    /// later than it resolved is a happening of its own.
    pub fn after(before: Option<Self>, transition: Transition, at: Timestamp) -> (Self, News) {
        let here = Self { transition, heard: at };
        let Some(before) = before else { return (here, News::Begins) };
        let fires_anew = transition == Transition::Firing
            && match before.transition {
                Transition::Resolved => at > before.heard,
                Transition::Firing => at >= before.heard + ALARM_FORGOTTEN,
                _ => false,
            };
        if fires_anew {
            (here, News::Begins)
        } else if before.transition == transition {
            (Self { heard: before.heard.max(at), ..before }, News::Stands)
        } else if before.transition.precedes(transition) {
            (here, News::Moves)
        } else {
            (before, News::Late)
        }
    }
}

impl Wants {
    /// Whether a policy that wants this is woken by a notice that is `news`; `had_before` where it was woken by the same transition
    /// of this incident.
    pub fn wakes(self, news: News, had_before: bool) -> bool {
        !had_before && (news != News::Late || self == Self::Transition)
    }
}

/// A set of transitions, as the store keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transitions(u16);

impl Transitions {
    /// What `bits` gave.
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
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
mod tests {
    use super::*;
    use Transition::{Avoided, Executed, Executing, Firing, Resolved, Scheduled};

    const AT: Timestamp = Timestamp::from_seconds(1_700_000_000);

    #[test]
    fn an_incident_moves_forward_only_and_an_alarm_may_fire_anew() {
        let later = |hours: u64| AT + Duration::from_secs(hours * 3600);
        let table = [
            (None, (Executed, 0), News::Begins),
            (Some((Scheduled, 0)), (Executing, 5), News::Moves),
            (Some((Scheduled, 0)), (Executed, 5), News::Moves),
            (Some((Executed, 5)), (Executed, 6), News::Stands),
            (Some((Executed, 5)), (Executing, 4), News::Late),
            (Some((Executed, 5)), (Executing, 6), News::Late),
            (Some((Avoided, 5)), (Executed, 6), News::Late),
            (Some((Firing, 0)), (Resolved, 9), News::Moves),
            (Some((Firing, 0)), (Firing, 47), News::Stands),
            (Some((Firing, 9)), (Firing, 8), News::Stands),
            (Some((Firing, 0)), (Firing, 48), News::Begins),
            (Some((Resolved, 9)), (Firing, 9), News::Late),
            (Some((Resolved, 9)), (Firing, 8), News::Late),
            (Some((Resolved, 9)), (Firing, 10), News::Begins),
        ];
        for (before, (transition, at), expected) in table {
            let incident = |(transition, at)| Incident { transition, heard: later(at) };
            let (before, notice) = (before.map(incident), incident((transition, at)));
            let (after, news) = Incident::after(before, transition, notice.heard);
            assert_eq!(news, expected, "{before:?} and {notice:?}");
            let expected = match (news, before) {
                (News::Late, Some(before)) => before,
                (News::Stands, Some(before)) => Incident { heard: before.heard.max(notice.heard), ..before },
                _ => notice,
            };
            assert_eq!(after, expected, "{before:?} and {notice:?}");
        }
    }

    #[test]
    fn a_policy_is_woken_by_a_transition_once_and_by_a_late_one_only_where_it_names_it() {
        for news in [News::Begins, News::Moves, News::Stands] {
            for wants in [Wants::Progress, Wants::Transition] {
                assert!(wants.wakes(news, false) && !wants.wakes(news, true), "{news:?}, {wants:?}");
            }
        }
        assert!(!Wants::Progress.wakes(News::Late, false));
        assert!(Wants::Transition.wakes(News::Late, false) && !Wants::Transition.wakes(News::Late, true));
    }

    #[test]
    fn a_set_of_transitions_is_what_it_was_when_it_is_read_back() {
        for one in Transition::ALL {
            let set = Transitions::from_bits(Transitions::default().with(one).bits());
            assert!(Transition::ALL.into_iter().all(|other| set.has(other) == (one == other)), "{one:?}");
        }
        let all = Transition::ALL.into_iter().fold(Transitions::default(), Transitions::with);
        assert_eq!(all.bits(), 0x1ff);
    }
}

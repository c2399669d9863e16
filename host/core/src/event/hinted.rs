//! Runs that hints have woken: what each is to a proved notice of the same transition. Nobody knows who sent a hint, so that it may be
//! refused for that, name another resource, or come too early: a proved notice wakes the policy as well, but for one thing. A hint's run
//! that has made an effect has done what the proved notice asks for, and is not done again; one that has made none ends before the
//! proved notice's run begins, so that never both make it. Leaves remembering and ending the runs to the store.

use super::{Incident, News, Transition};
use crate::time::Timestamp;

/// A run that a hint has woken.
#[derive(Debug, Clone)]
pub struct Hinted {
    /// How grave the hint was.
    pub gravity: u8,
    /// When it was, by its sender.
    pub at: Timestamp,
    /// What it was about.
    pub subject: Option<String>,
    /// Whether the run has made an effect, or may have.
    pub acted: bool,
}

/// A proved notice that would wake the policy.
#[derive(Debug, Clone, Copy)]
pub struct Proof<'e> {
    /// Where its incident stands by proved senders, before it.
    pub proved: Option<Incident>,
    /// Where its incident stands by hints.
    pub by_hints: Option<Incident>,
    /// What it tells.
    pub transition: Transition,
    /// How grave it is.
    pub gravity: u8,
    /// When it was, by its sender.
    pub at: Timestamp,
    /// What it is about.
    pub subject: Option<&'e str>,
}

/// What a hint's run is to a proved notice of its transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// It has done what the notice asks for: the notice starts no run.
    Done,
    /// It ends, where it has not yet, and the notice's run begins.
    GivesWay,
    /// It is of something else, and goes on.
    Apart,
}

impl Hinted {
    /// What the run is to a proved notice. Where it has acted, it is of something else only if that is clear: what is done twice is
    /// worse than what a person must look after.
    pub fn meets(&self, proof: &Proof<'_>) -> Meeting {
        let fires = proof.transition == Transition::Firing;
        if !self.is_of_the_happening(proof) {
            return Meeting::Apart;
        }
        match self.acted {
            true if fires && self.gravity < proof.gravity => Meeting::Apart,
            true if !may_be_one(self.subject.as_deref(), proof.subject) => Meeting::Apart,
            true => Meeting::Done,
            // Also one that is graver: if it is true, it is proved in its turn, and wakes the policy once more.
            false => Meeting::GivesWay,
        }
    }

    /// Whether it may be of the happening that the notice tells of, though another of the same incident began before or after it.
    fn is_of_the_happening(&self, proof: &Proof<'_>) -> bool {
        let Proof { proved, by_hints, transition, at, .. } = *proof;
        let begins = |before, at| Incident::after(before, transition, at).1 == News::Begins;
        let both_begin = proved.is_none() || begins(proved, at) == begins(proved, self.at);
        // An alarm begins anew, nothing else.
        let may_recur = matches!(transition, Transition::Firing | Transition::Resolved);
        let between = by_hints.is_some_and(|by_hints| self.at < by_hints.since && by_hints.since <= at);
        both_begin && !begins(by_hints, at) && !(may_recur && between)
    }
}

/// Whether two subjects may be one thing. Vendors name one resource in several ways, which end in its id:
/// `acs:ecs:cn-hangzhou:123:instance/i-1`, `acs:ecs:cn-hangzhou:123:i-1`, `i-1`.
fn may_be_one(one: Option<&str>, other: Option<&str>) -> bool {
    let id = |subject| str::rsplit(subject, ['/', ':']).next();
    one.zip(other).is_none_or(|(one, other)| id(one) == id(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Meeting::{Apart, Done, GivesWay};
    use Transition::{Executed, Firing, Resolved, Scheduled};
    use std::time::Duration;

    fn hour(hours: u64) -> Timestamp {
        Timestamp::from_seconds(1_700_000_000) + Duration::from_secs(hours * 3600)
    }

    fn stands(transition: Transition, at: u64) -> Option<Incident> {
        Some(Incident { transition, since: hour(at), heard: hour(at) })
    }

    fn hint(at: u64, acted: bool) -> Hinted {
        Hinted { gravity: 3, at: hour(at), subject: Some("i-1".to_owned()), acted }
    }

    fn proof(transition: Transition, at: u64) -> Proof<'static> {
        let by_hints = stands(transition, at);
        Proof { proved: None, by_hints, transition, gravity: 3, at: hour(at), subject: Some("i-1") }
    }

    #[test]
    fn what_has_acted_is_done_and_what_has_not_gives_way() {
        assert_eq!(hint(1, true).meets(&proof(Executed, 1)), Done);
        assert_eq!(hint(1, false).meets(&proof(Executed, 1)), GivesWay);
    }

    #[test]
    fn an_act_on_another_resource_is_not_what_the_notice_asks_for() {
        let long = "acs:ecs:cn-hangzhou:123:instance/i-1";
        for (hinted, subject, expected) in [
            (Some("i-1"), Some(long), Done),
            (Some("acs:ecs:cn-hangzhou:123:i-1"), Some(long), Done),
            (Some("instance/i-2"), Some(long), Apart),
            (Some("i-11"), Some("i-1"), Apart),
            (None, Some(long), Done),
            (Some(long), None, Done),
            (None, None, Done),
        ] {
            let hinted = hinted.map(str::to_owned);
            let proof = Proof { subject, ..proof(Executed, 1) };
            assert_eq!(
                Hinted { subject: hinted.clone(), ..hint(1, true) }.meets(&proof),
                expected,
                "{hinted:?}"
            );
            assert_eq!(Hinted { subject: hinted, ..hint(1, false) }.meets(&proof), GivesWay);
        }
    }

    #[test]
    fn an_alarm_is_as_grave_as_it_is() {
        for (gravity, acted, expected) in [
            (2, true, Apart),
            (3, true, Done),
            (4, true, Done),
            (2, false, GivesWay),
            (3, false, GivesWay),
            (4, false, GivesWay),
        ] {
            let hinted = Hinted { gravity, ..hint(1, acted) };
            assert_eq!(hinted.meets(&proof(Firing, 1)), expected, "{gravity} {acted}");
            assert_ne!(hinted.meets(&proof(Resolved, 1)), Apart, "the end of one has no gravity");
        }
    }

    #[test]
    fn a_hint_of_another_firing_is_of_another_happening() {
        for (proved, by_hints, hinted, transition, at, expected) in [
            (None, stands(Firing, 1), 1, Firing, 1, true),
            (stands(Resolved, 1), stands(Firing, 2), 2, Firing, 2, true),
            (stands(Firing, 2), stands(Firing, 2), 2, Firing, 3, true),
            (None, stands(Resolved, 1), 0, Firing, 2, false),
            (stands(Resolved, 1), stands(Firing, 0), 0, Firing, 2, false),
            (stands(Firing, 0), stands(Firing, 0), 0, Firing, 48, false),
            // Hints tell of an end and of another firing since.
            (None, stands(Firing, 3), 1, Firing, 1, true),
            (None, stands(Firing, 3), 1, Firing, 2, true),
            (None, stands(Firing, 3), 1, Firing, 3, false),
            (
                None,
                Some(Incident { since: hour(3), ..stands(Resolved, 4).expect("so") }),
                2,
                Resolved,
                4,
                false,
            ),
            (stands(Scheduled, 0), stands(Executed, 5), 5, Executed, 6, true),
            (None, stands(Executed, 5), 4, Executed, 6, true),
        ] {
            let proof = Proof { proved, by_hints, ..proof(transition, at) };
            let is_same = hint(hinted, true).meets(&proof) == Done;
            assert_eq!(is_same, expected, "{proved:?}, {by_hints:?}, {hinted}, {transition:?}, {at}");
        }
    }
}

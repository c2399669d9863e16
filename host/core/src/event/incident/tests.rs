//! What a notice is to its incident, and whom it wakes: as tables.

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
        (Some((Firing, 9)), (Resolved, 9), News::Moves),
        (Some((Firing, 9)), (Resolved, 8), News::Late),
        (Some((Firing, 0)), (Firing, 47), News::Stands),
        (Some((Firing, 9)), (Firing, 8), News::Stands),
        (Some((Firing, 0)), (Firing, 48), News::Begins),
        (Some((Resolved, 9)), (Firing, 9), News::Late),
        (Some((Resolved, 9)), (Firing, 8), News::Late),
        (Some((Resolved, 9)), (Firing, 10), News::Begins),
    ];
    for (before, (transition, at), expected) in table {
        let incident = |(transition, at)| Incident { transition, since: later(at), heard: later(at) };
        let (before, notice) = (before.map(incident), incident((transition, at)));
        let (after, news) = Incident::after(before, transition, notice.heard);
        assert_eq!(news, expected, "{before:?} and {notice:?}");
        let expected = match (news, before) {
            (News::Late, Some(before)) => before,
            (News::Stands, Some(before)) => Incident { heard: before.heard.max(notice.heard), ..before },
            (News::Moves, Some(before)) => Incident { since: before.since, ..notice },
            _ => notice,
        };
        assert_eq!(after, expected, "{before:?} and {notice:?}");
    }
}

#[test]
fn an_alarm_without_end_fires_anew_every_two_days() {
    let mut stands = None;
    let begun = (0..200).filter(|hour| {
        let (after, news) = Incident::after(stands, Firing, AT + Duration::from_secs(hour * 3600));
        stands = Some(after);
        news == News::Begins
    });
    assert_eq!(begun.collect::<Vec<_>>(), [0, 48, 96, 144, 192]);
}

#[test]
fn a_hint_is_judged_by_what_was_heard_later() {
    let at = |transition, hours: u64| {
        let heard = AT + Duration::from_secs(hours * 3600);
        Some(Incident { transition, since: AT, heard })
    };
    for (one, other, expected) in [
        (None, None, None),
        (at(Executing, 1), None, at(Executing, 1)),
        (at(Executing, 1), at(Executed, 2), at(Executed, 2)),
        (at(Firing, 3), at(Resolved, 2), at(Firing, 3)),
        (at(Executing, 2), at(Executed, 2), at(Executed, 2)),
    ] {
        assert_eq!(Incident::later(one, other), expected);
        assert_eq!(Incident::later(other, one), expected, "whichever it is");
    }
}

#[test]
fn an_alarm_wakes_once_more_where_it_fires_graver() {
    let warned = Woken::default().with(Firing, 3);
    assert!(warned.has(Firing, 3) && warned.has(Firing, 1) && warned.has(Firing, 0));
    assert!(!warned.has(Firing, 5) && !warned.has(Resolved, 0));
    let over = warned.with(Resolved, 5);
    assert!(over.has(Resolved, 9) && !over.has(Firing, 5), "its end says nothing of how grave it was");
    assert!(warned.with(Firing, 5).with(Firing, 1).has(Firing, 5));
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
        let set = Transitions::from_bits(Transitions::default().with(one).bits()).expect("given");
        assert!(Transition::ALL.into_iter().all(|other| set.has(other) == (one == other)), "{one:?}");
    }
    let all = Transition::ALL.into_iter().fold(Transitions::default(), Transitions::with);
    assert_eq!((all.bits(), Transitions::from_bits(0x200)), (0x1ff, None));
}

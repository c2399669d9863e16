//! The table of DESIGN's classes, and the bounds of waiting: what follows a sending, a judgement, a fault, a failure.

use super::*;
use crate::answer::{Remedy, no_answer};
use crate::call::CallResponse;

fn throttled(retry_after: Option<Duration>) -> Verdict {
    let error =
        CallError { retryable: true, ..refusal(ErrorKind::Throttled, "Throttling.User", String::new()) };
    Verdict::NotExecuted { error, retry_after, remedy: Remedy::Wait }
}

fn at_work() -> Verdict {
    let error =
        CallError { retryable: true, ..refusal(ErrorKind::Conflict, "LastTokenProcessing", String::new()) };
    Verdict::NotExecuted { error, retry_after: None, remedy: Remedy::RepeatToken }
}

#[derive(Debug, PartialEq)]
enum Kind {
    Reply,
    Again,
    ReadBack,
    Sleep,
}

fn kind(after: &After) -> Kind {
    match after {
        After::Reply(_) => Kind::Reply,
        After::SendAgain(_) => Kind::Again,
        After::ReadBack(_) => Kind::ReadBack,
        After::Sleep(_) => Kind::Sleep,
    }
}

#[test]
fn what_follows_a_sending_depends_on_the_class_only_where_the_result_is_unclear() {
    use Class::{Convergent, Once, Read, Token};
    let unclear = || no_answer("opsward.Timeout", "no answer");
    let done = || {
        Verdict::Answered(Ok(CallResponse { request_id: "r".into(), body: "{}".into(), simulated: false }))
    };
    let table = [
        (Read, unclear(), 1, Kind::Again),
        (Read, unclear(), SENDS_MAX, Kind::Reply),
        (Token, unclear(), 1, Kind::Again),
        (Token, unclear(), SENDS_MAX, Kind::Sleep),
        (Convergent, unclear(), 1, Kind::ReadBack),
        (Once, unclear(), 1, Kind::ReadBack),
        (Once, throttled(None), 1, Kind::Again),
        (Once, throttled(None), SENDS_MAX, Kind::Reply),
        (Once, done(), 1, Kind::Reply),
        (Token, at_work(), 1, Kind::Again),
        (Convergent, at_work(), 1, Kind::ReadBack),
        (Once, at_work(), 1, Kind::ReadBack),
    ];
    for (class, verdict, sends, expected) in table {
        let shown = format!("{class:?} {verdict:?} {sends}");
        assert_eq!(kind(&after_send(class, verdict, sends, 0)), expected, "{shown}");
    }
}

#[test]
fn being_turned_away_settles_an_effect_with_a_token_only_if_it_cannot_have_taken_place_before() {
    use Class::{Once, Read, Token};
    let gone = || {
        let error = refusal(ErrorKind::Unauthorized, "InvalidAccessKeyId.NotFound", String::new());
        Verdict::NotExecuted { error, retry_after: None, remedy: Remedy::RefreshCredentials }
    };
    let refused =
        || Verdict::Answered(Err(refusal(ErrorKind::Conflict, "IncorrectDiskStatus", String::new())));
    let table = [
        (Token, throttled(None), 1, Kind::Again, Kind::Again),
        (Token, throttled(None), SENDS_MAX, Kind::Reply, Kind::Sleep),
        (Token, gone(), 1, Kind::Reply, Kind::Sleep),
        (Token, refused(), 1, Kind::Reply, Kind::Reply),
        (Read, throttled(None), SENDS_MAX, Kind::Reply, Kind::Reply),
        (Once, throttled(None), SENDS_MAX, Kind::Reply, Kind::Reply),
    ];
    for (class, verdict, sends, certain, in_doubt) in table {
        let shown = format!("{class:?} {verdict:?} {sends}");
        assert_eq!(kind(&after_send(class, verdict.clone(), sends, 0)), certain, "{shown}");
        assert_eq!(kind(&after_send_in_doubt(class, verdict, sends, 0)), in_doubt, "{shown}");
    }
}

#[test]
fn what_turns_a_sending_away_does_not_answer_for_an_earlier_one() {
    let refused = |kind, code: &str| Verdict::Answered(Err(refusal(kind, code, String::new())));
    assert!(leaves_doubt(&at_work()) && leaves_doubt(&no_answer("opsward.timeout", "none")));
    assert!(!leaves_doubt(&throttled(None)));
    let table = [
        (at_work(), Kind::Sleep),
        (throttled(None), Kind::Sleep),
        (refused(ErrorKind::Unauthorized, "Forbidden.RAM"), Kind::Sleep),
        (refused(ErrorKind::Invalid, "opsward.no-endpoint"), Kind::Sleep),
        (refused(ErrorKind::Conflict, "IncorrectDiskStatus"), Kind::Reply),
    ];
    for (verdict, expected) in table {
        let shown = format!("{verdict:?}");
        let after = after_send_in_doubt(Class::Token, verdict, SENDS_MAX, 0);
        assert_eq!(kind(&after), expected, "{shown}");
    }
}

#[test]
fn a_refusal_that_will_not_change_is_the_answer_at_once() {
    let error = refusal(ErrorKind::Unauthorized, "InvalidAccessKeyId.NotFound", String::new());
    let verdict = Verdict::NotExecuted { error, retry_after: None, remedy: Remedy::RefreshCredentials };
    assert_eq!(kind(&after_send(Class::Read, verdict, 1, 0)), Kind::Reply);
}

#[test]
fn delays_double_are_spread_and_bounded_and_a_hint_is_honoured() {
    assert_eq!(delay(1, 0), DELAY_FIRST / 2);
    assert_eq!(delay(1, 255), DELAY_FIRST);
    assert_eq!(delay(3, 255), DELAY_FIRST * 4);
    assert_eq!(delay(1000, 255), DELAY_MAX);
    let hint = Duration::from_secs(7);
    assert_eq!(after_send(Class::Read, throttled(Some(hint)), 1, 255), After::SendAgain(hint));
    let beyond = throttled(Some(Duration::from_secs(3600)));
    assert_eq!(after_send(Class::Read, beyond, 1, 0), After::SendAgain(DELAY_MAX));
}

#[test]
fn a_failed_run_is_tried_again_later_and_later_and_not_for_ever() {
    let settings =
        RetrySettings { attempts: 4, ceiling: Duration::from_secs(15), ..RetrySettings::default() };
    let pauses: Vec<_> = (1..=4).map(|tries| after_failure(&settings, tries, 255)).collect();
    assert_eq!(pauses, [Some(10), Some(15), Some(15), None].map(|s| s.map(Duration::from_secs)));
    assert_eq!(after_failure(&settings, 1, 0), Some(Duration::from_secs(5)), "half of it is spread");
    assert_eq!(after_failure(&RetrySettings { attempts: 1, ..settings }, 1, 0), None);
}

#[test]
fn all_sendings_of_a_call_have_one_deadline() {
    let s = Duration::from_secs;
    for (elapsed, pause, may) in [(0, 60, true), (40, 60, true), (41, 60, false), (101, 0, false)] {
        assert_eq!(may_send_again(s(elapsed), s(pause)), may, "{elapsed} {pause}");
    }
    assert!(!may_send_again(Duration::MAX, DELAY_MAX));
    // A call ends in time: the last sending waits for its turn, and may take 90 s for an effect and 30 s for a read.
    let longest = |sending| SENDING_MAX + crate::pace::TURN_WAIT_MAX + sending;
    assert!(longest(s(30)) + longest(s(90)) + longest(s(30)) < s(900), "baseline, effect, look");
    assert!(longest(s(90)) < LATE_EXECUTION);
}

#[test]
fn an_unclear_effect_is_made_anew_a_bounded_number_of_times_and_looked_at_for_a_bounded_time() {
    use Class::{Convergent, Once};
    use Settling::{Hold, LookAgain, MakeAnew, Took};
    let s = Duration::from_secs;
    let done = || Judgement::Done { request_id: Some("r".into()) };
    for (class, judged, looked_for, disproofs, expected) in [
        (Once, done(), 0, 0, Took(Some("r".into()))),
        (Convergent, Judgement::Reached, 9999, 9, Took(None)),
        (Convergent, Judgement::Unmet, 9999, 3, MakeAnew),
        (Convergent, Judgement::Unmet, 0, 4, Hold),
        (Once, Judgement::Unchanged, 0, 1, MakeAnew),
        (Once, Judgement::Unchanged, 0, 2, Hold),
        (Once, Judgement::NotYet, 1799, 0, LookAgain),
        (Once, Judgement::NotYet, 1800, 0, Hold),
        (Once, Judgement::Unproved, 119, 0, LookAgain),
        (Once, Judgement::Unproved, 120, 0, Hold),
        (Convergent, Judgement::Unknown, 0, 0, Hold),
    ] {
        let settled = after_judgement(class, judged.clone(), s(looked_for), disproofs);
        assert_eq!(settled, expected, "{class:?} {judged:?} {looked_for} {disproofs}");
    }
}

#[test]
fn looks_grow_rarer_and_stay_bounded() {
    let s = Duration::from_secs;
    assert_eq!([0, 60, 3600].map(|waited| settle_pause(s(waited))), [s(5), s(30), s(60)]);
    assert_eq!([0, 60, 86_400].map(|waited| lock_pause(s(waited))), [s(5), s(15), s(600)]);
}

#[test]
fn faults_that_the_same_input_brings_again_are_not_tried_again() {
    for kind in [FaultKind::Diverged, FaultKind::Trap, FaultKind::Size, FaultKind::CallBudget] {
        assert_eq!(after_fault(kind, 1), None, "{kind:?}");
    }
    let pauses: Vec<_> = (1..=FAULTS_MAX).map(|n| after_fault(FaultKind::Timeout, n)).collect();
    assert_eq!(pauses[0], Some(Duration::from_secs(2)));
    assert_eq!(pauses.last(), Some(&None));
}

//! What to do after one sending of a call, and after a fault of a run. Pure: the broker sends and waits, the worker
//! schedules. The table of DESIGN's classes is the test below.

use crate::answer::{Remedy, Verdict};
use crate::call::{CallError, CallReply, ErrorKind};
use crate::catalog::Class;
use crate::run::FaultKind;
use std::time::Duration;

/// Sendings of one call before the run stops waiting for it. With the delays below: about 12 s of patience, within
/// what a sender of events and a person watching will bear; a sleeping run costs nothing, so longer waits are its.
pub const SENDS_MAX: u32 = 6;
/// The first delay between sendings; doubles each time.
pub const DELAY_FIRST: Duration = Duration::from_millis(400);
/// The longest delay. Alibaba's limits free at the next minute (FACTS: Throttling), so more is of no use.
pub const DELAY_MAX: Duration = Duration::from_secs(60);
/// How long a run with an unclear effect of class *token* sleeps before it sends again.
pub const UNCLEAR_PAUSE: Duration = Duration::from_secs(60);
/// How long after the intent a token may be relied on; past it the run is held. Well inside the 24 h that the vendors
/// keep a token at the least.
pub const TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);
/// The first pause between two looks at a resource whose effect is unknown, or that another run holds; they grow with the wait.
pub const SETTLE_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause between two looks at a resource whose effect is unknown.
pub const SETTLE_PAUSE_MAX: Duration = Duration::from_secs(60);
/// The longest pause of a run that waits for a resource: a held run may keep it for days, and each look is a record.
pub const LOCK_PAUSE_MAX: Duration = Duration::from_secs(600);
/// How long a resource may stay under way, or unreadable, while it is looked at, before a person is asked.
pub const SETTLE_PATIENCE: Duration = Duration::from_secs(1800);
/// How long after its last sending a request may still be carried out: Tencent, whose record of operations is what can prove
/// that one was not, takes a signature for 300 s (FACTS 4), and a minute is for clocks that differ.
pub const LATE_EXECUTION: Duration = Duration::from_secs(360);
/// How long an effect of class *once* may be repeated after refusals that certainly did nothing. With the longest pause, the
/// longest wait for a turn and the time of one call after that, its last sending is well before `LATE_EXECUTION`, even where
/// another worker has the run by then.
pub const ONCE_SENDING_MAX: Duration = Duration::from_secs(100);
/// Looks after that which must all find nothing, since a read may lag behind.
pub const STABLE_READS: u32 = 3;
/// Between two of these looks.
pub const STABLE_PAUSE: Duration = Duration::from_secs(5);
/// How often an effect of class *once* may be found not to have taken place and be sent anew before a person is asked.
pub const DISPROOFS_MAX: u32 = 2;
/// How long a run stays in its guest while effects that others asked for first, with the same natural keys, have no answer
/// yet: well beyond the few hundred milliseconds of a call, and less than the patience with a failing cloud.
pub const ONCE_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at such a key.
pub const ONCE_PAUSE: Duration = Duration::from_millis(200);
/// Faulted tries of a run before it is given up.
pub const FAULTS_MAX: u32 = 5;
/// Hosts that may die, one after the other, while they have a run, before it is given up as the likely cause.
pub const CRASHES_MAX: u32 = 5;

/// What to do after a sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// It is settled: this is the answer.
    Reply(CallReply),
    /// The cloud did not execute it, or may execute it again without harm: send it again after this long.
    SendAgain(Duration),
    /// It may or may not have taken place: read the resource's state.
    ReadBack(CallError),
    /// It may or may not have taken place, and it carries a token: let the run sleep, then send again.
    Sleep(Duration),
}

/// Decides after the `sends`-th sending of a call of `class`. `spread` in 0..=255 is a random number that keeps many
/// runs from sending in step.
pub fn after_send(class: Class, verdict: Verdict, sends: u32, spread: u8) -> After {
    match verdict {
        Verdict::Answered(reply) => After::Reply(reply),
        Verdict::NotExecuted { error, retry_after, .. } => {
            if sends < SENDS_MAX && error.retryable {
                After::SendAgain(retry_after.unwrap_or_default().max(delay(sends, spread)).min(DELAY_MAX))
            } else {
                After::Reply(Err(error))
            }
        }
        Verdict::Unclear { error } => match class {
            Class::Read if sends < SENDS_MAX => After::SendAgain(delay(sends, spread)),
            Class::Read => After::Reply(Err(error)),
            Class::Token if sends < SENDS_MAX => After::SendAgain(delay(sends, spread)),
            Class::Token => After::Sleep(UNCLEAR_PAUSE),
            Class::Convergent | Class::Once => After::ReadBack(error),
        },
    }
}

/// Whether after this sending the effect may have taken place. Where another sending with the same token is still at work,
/// it may as well.
pub fn leaves_doubt(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Unclear { .. } | Verdict::NotExecuted { remedy: Remedy::RepeatToken, .. })
}

/// As `after_send`, where this or an earlier sending of the same effect may have taken place: that this one was turned away,
/// by a rate limit, for its credentials, or by this host itself, says nothing of that one, and only its token can still tell.
pub fn after_send_in_doubt(class: Class, verdict: Verdict, sends: u32, spread: u8) -> After {
    let turned_away = match &verdict {
        Verdict::NotExecuted { .. } => true,
        Verdict::Answered(Err(error)) => {
            error.kind == ErrorKind::Unauthorized || error.code.starts_with(OWN_CODES)
        }
        Verdict::Answered(Ok(_)) | Verdict::Unclear { .. } => false,
    };
    match after_send(class, verdict, sends, spread) {
        After::Reply(_) if turned_away && class == Class::Token => After::Sleep(UNCLEAR_PAUSE),
        after => after,
    }
}

/// Half of the doubled delay is fixed, half is spread.
fn delay(sends: u32, spread: u8) -> Duration {
    let whole = DELAY_FIRST.saturating_mul(1 << sends.saturating_sub(1).min(10)).min(DELAY_MAX);
    whole / 2 + (whole / 2).mul_f64(f64::from(spread) / 255.0)
}

/// When to try a run again after its `faults`-th fault; `None` gives it up. A fault that the same input must bring
/// again is not tried again.
pub fn after_fault(kind: FaultKind, faults: u32) -> Option<Duration> {
    match kind {
        FaultKind::Diverged | FaultKind::Trap | FaultKind::Size | FaultKind::CallBudget => None,
        FaultKind::CpuBudget
        | FaultKind::Timeout
        | FaultKind::Memory
        | FaultKind::Stack
        | FaultKind::Instantiate
        | FaultKind::Host => (faults < FAULTS_MAX).then(|| Duration::from_secs(1 << faults.min(10))),
    }
}

/// How long to wait before the next look at a resource, `waited` long after the first.
pub fn settle_pause(waited: Duration) -> Duration {
    (waited / 2).clamp(SETTLE_PAUSE, SETTLE_PAUSE_MAX)
}

/// How long a run waits before it asks for a resource again that another holds, `waited` long after it was accepted.
pub fn lock_pause(waited: Duration) -> Duration {
    (waited / 4).clamp(SETTLE_PAUSE, LOCK_PAUSE_MAX)
}

/// How a run is tried again whose policy says that its failure may pass: `retry` in the policy's file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetrySettings {
    /// Tries in all; 1 is no second one.
    pub attempts: u32,
    /// The pause after the first failure.
    pub base: Duration,
    /// What each later pause is of the one before.
    pub factor: f64,
    /// The longest pause.
    pub ceiling: Duration,
}

impl Default for RetrySettings {
    /// Five tries within two minutes and a half: longer than a rate limit, which frees at the next minute, and short enough
    /// that what woke the policy is still true.
    fn default() -> Self {
        Self { attempts: 5, base: Duration::from_secs(10), factor: 2.0, ceiling: Duration::from_secs(600) }
    }
}

/// When to try a run again after its `tries`-th try failed in a way that may pass; `None` gives it up. Half of the pause is
/// fixed, half is spread.
pub fn after_failure(settings: &RetrySettings, tries: u32, spread: u8) -> Option<Duration> {
    if tries >= settings.attempts {
        return None;
    }
    let grown = settings.base.as_secs_f64() * settings.factor.powf(f64::from(tries.saturating_sub(1)));
    let whole = Duration::from_secs_f64(grown.min(settings.ceiling.as_secs_f64()));
    Some(whole / 2 + (whole / 2).mul_f64(f64::from(spread) / 255.0))
}

/// How the codes of the host's own errors begin.
const OWN_CODES: &str = "opsward.";

/// An answer of the host's own, where the cloud is not asked.
pub fn refusal(kind: ErrorKind, code: &str, message: String) -> CallError {
    CallError { kind, code: code.to_owned(), message, request_id: None, retryable: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Remedy, no_answer};
    use crate::call::CallResponse;

    fn throttled(retry_after: Option<Duration>) -> Verdict {
        let error =
            CallError { retryable: true, ..refusal(ErrorKind::Throttled, "Throttling.User", String::new()) };
        Verdict::NotExecuted { error, retry_after, remedy: Remedy::Wait }
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
            Verdict::Answered(Ok(CallResponse {
                request_id: "r".into(),
                body: "{}".into(),
                simulated: false,
            }))
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
        let at_work = || Verdict::NotExecuted {
            error: CallError {
                retryable: true,
                ..refusal(ErrorKind::Conflict, "LastTokenProcessing", String::new())
            },
            retry_after: None,
            remedy: Remedy::RepeatToken,
        };
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
}

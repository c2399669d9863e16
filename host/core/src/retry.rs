//! What to do after one sending of a call, and after a fault of a run. Pure: the broker sends and waits, the worker
//! schedules. Tested in `retry/tests.rs`.

use crate::answer::{Remedy, Verdict};
use crate::call::{CallError, CallReply, ErrorKind};
use crate::catalog::{Class, Judgement};
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
/// How long what would prove an effect is looked for, before a person is asked: a restart shows itself within seconds, and reads
/// lag behind by seconds.
pub const PROOF_PATIENCE: Duration = Duration::from_secs(120);
/// How long after its last sending a request may still be carried out: Tencent, whose record of operations is what can prove
/// that one was not, takes a signature for 300 s (FACTS 4), and a minute is for clocks that differ.
pub const LATE_EXECUTION: Duration = Duration::from_secs(360);
/// How long after a call's first sending another one of it may begin, pauses and hints of the cloud included. More than the
/// minute after which a rate limit frees. With the longest wait for a turn and the time of one sending after that, the last
/// sending of an effect of class *once* is well before `LATE_EXECUTION`, even where another worker has the run by then; and a
/// call with its baseline and a look at what it did ends within what the engine leaves it (`WALL_GRACE`, 900 s).
pub const SENDING_MAX: Duration = Duration::from_secs(100);
/// Sendings of one *convergent* effect, over all claims of its run, whose goal stays unmet, before a person is asked: a cloud
/// that loses as many is no matter of luck.
pub const CONVERGENT_SENDS_MAX: u32 = 5;
/// Looks that must all say the same before it is believed, since a read may lag behind.
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
/// Hosts or runners that may die, one after the other, while they have a run, before it is given up as the likely cause. From the second
/// on it is tried alone. A run that kills is soon there; an innocent one, whose hosts die of something else before it has come to
/// anything, hardly ever.
pub const CRASHES_MAX: u32 = 10;

/// The first pause before a process that runs guests is started again; doubles each time.
pub const RESTART_PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest one: events wait meanwhile, within what an operator who watches will bear.
pub const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);

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
        // About a token, to a call that has none: what it says of this call is unknown.
        Verdict::NotExecuted { error, remedy: Remedy::RepeatToken, .. }
            if matches!(class, Class::Convergent | Class::Once) =>
        {
            After::ReadBack(error)
        }
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

/// Whether a call that was sent for the first time `elapsed` ago may be sent once more after `pause`.
pub fn may_send_again(elapsed: Duration, pause: Duration) -> bool {
    elapsed.saturating_add(pause) <= SENDING_MAX
}

/// What follows from a judgement of an effect whose result is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settling {
    /// It took place, by this request where that is known.
    Took(Option<String>),
    /// It did not, or has not reached its goal: make it anew.
    MakeAnew,
    /// Look again later.
    LookAgain,
    /// Ask a person.
    Hold,
}

/// Decides what follows. `looked_for` is how long the resource has been looked at, `disproofs` how often the effect was made anew.
/// `Reached`, `Unmet` and `Unchanged` are what `STABLE_READS` looks said.
pub fn after_judgement(class: Class, judged: Judgement, looked_for: Duration, disproofs: u32) -> Settling {
    let anew_max = if class == Class::Convergent { CONVERGENT_SENDS_MAX - 1 } else { DISPROOFS_MAX };
    match judged {
        Judgement::Done { request_id } => Settling::Took(request_id),
        Judgement::Reached => Settling::Took(None),
        Judgement::Unmet | Judgement::Unchanged if disproofs < anew_max => Settling::MakeAnew,
        Judgement::NotYet if looked_for < SETTLE_PATIENCE => Settling::LookAgain,
        Judgement::Unproved if looked_for < PROOF_PATIENCE => Settling::LookAgain,
        Judgement::Unmet
        | Judgement::Unchanged
        | Judgement::NotYet
        | Judgement::Unproved
        | Judgement::Unknown => Settling::Hold,
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

/// How long to wait before the process that runs guests is started again; `died_soon` is how many, one after the other, died
/// soon after they were started. One death is no reason to wait; a hundred must not keep the machine busy.
pub fn restart_pause(died_soon: u32) -> Duration {
    match died_soon {
        0 | 1 => Duration::ZERO,
        more => RESTART_PAUSE_FIRST.saturating_mul(1 << (more - 2).min(10)).min(RESTART_PAUSE_MAX),
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
mod tests;

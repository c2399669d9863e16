//! Faults injected on demand: how a cloud, or the way to it, fails or lies, before or after the change took place. Leaves
//! carrying them out to `server` and `lies`. Tested below and by `tests/tests/it/sim/lies.rs`.

mod kind;

pub(crate) use kind::FaultKind;

use crate::ids::mix;
use kind::DRAWN;
use opsward_core::catalog::Provider;
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The delay of a drawn fault where none is given: longer than an answer takes, and nothing to wait for.
const DRAWN_DELAY_MS: u64 = 200;
/// How far ahead a drawn skew is: more than either vendor bears.
const DRAWN_SKEW_MS: u64 = 20 * 60 * 1000;
/// How many calls meet a drawn skew: one to be refused, one that has learnt it.
const DRAWN_SKEW_CALLS: u64 = 2;

/// A fault that waits for its action.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// `CreateSnapshot`, `ecs:CreateSnapshot` or `*`.
    pub(crate) action: String,
    pub(crate) kind: FaultKind,
    /// Only calls whose parameters contain this text, such as a resource's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) naming: Option<String>,
    /// How many calls it meets: 1 where it is not given, any number for `random`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) times: Option<u64>,
    /// How late the answer, its absence or the change comes; how old a stale answer may be; how far the clock is ahead.
    #[serde(default)]
    pub(crate) delay_ms: u64,
    /// The share of calls that `random` meets: above 0, at most 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<f64>,
    /// Makes the draws of `random` repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    #[serde(skip)]
    draws: u64,
}

/// Why a fault is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidFault {
    #[error("`times` is 0")]
    Never,
    #[error("a `{}` fault needs `delay_ms`", .0.as_str())]
    NoDelay(FaultKind),
    #[error("`random` needs `share`, above 0 and at most 1")]
    NoShare,
    #[error("`share` and `seed` are for `random`")]
    NotRandom,
}

impl Fault {
    pub(crate) fn check(&self) -> Result<(), InvalidFault> {
        let is_random = self.kind == FaultKind::Random;
        match self {
            Self { times: Some(0), .. } => Err(InvalidFault::Never),
            Self { delay_ms: 0, kind, .. } if kind.needs_delay() => Err(InvalidFault::NoDelay(*kind)),
            Self { share, .. } if is_random && !share.is_some_and(|share| share > 0.0 && share <= 1.0) => {
                Err(InvalidFault::NoShare)
            }
            Self { share, seed, .. } if !is_random && (share.is_some() || seed.is_some()) => {
                Err(InvalidFault::NotRandom)
            }
            _ => Ok(()),
        }
    }

    fn fits(&self, call: &Met<'_>) -> bool {
        let action_fits = match self.action.split_once(':') {
            Some((product, name)) => product == call.product && name == call.action,
            None => self.action == "*" || self.action == call.action,
        };
        action_fits
            && self.naming.as_ref().is_none_or(|text| call.params.contains(text))
            && call.suits(self.kind, self.delay_ms)
    }

    /// What `random` has for a call, if it has something.
    fn draw(&mut self, call: &Met<'_>) -> Option<FaultKind> {
        let mut bits = || {
            self.draws += 1;
            mix(self.seed.unwrap_or_default() ^ mix(self.draws))
        };
        // 53 bits are what a float between 0 and 1 can hold.
        let is_met = ((bits() >> 11) as f64) < self.share.unwrap_or_default() * (1_u64 << 53) as f64;
        let suitable: Vec<FaultKind> =
            DRAWN.into_iter().filter(|kind| call.suits(*kind, self.delay_ms)).collect();
        let nth = usize::try_from(bits() % suitable.len() as u64).unwrap_or(0);
        is_met.then(|| suitable[nth])
    }
}

/// A call as faults look at it.
pub(crate) struct Met<'a> {
    pub(crate) provider: Provider,
    pub(crate) product: &'a str,
    pub(crate) action: &'a str,
    /// The parameters as JSON text.
    pub(crate) params: &'a str,
    pub(crate) is_read: bool,
    /// How long ago something changed that the call names; asked for reads only.
    pub(crate) since_change: &'a dyn Fn() -> Option<Duration>,
}

impl Met<'_> {
    fn suits(&self, kind: FaultKind, delay_ms: u64) -> bool {
        match kind {
            FaultKind::Late | FaultKind::Operator => !self.is_read,
            FaultKind::PollCap => self.action.ends_with("ReceiveMessage"),
            FaultKind::NonceUsed => self.provider == Provider::Alibaba,
            FaultKind::Stale if self.is_read => (self.since_change)()
                .is_some_and(|since| delay_ms == 0 || since <= Duration::from_millis(delay_ms)),
            FaultKind::Stale => false,
            _ => true,
        }
    }
}

/// What a call meets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Whether another operator comes first.
    pub(crate) operator: bool,
    /// What else goes wrong, and its delay in milliseconds.
    pub(crate) fault: Option<(FaultKind, u64)>,
}

impl Taken {
    pub(crate) fn kind(&self) -> Option<FaultKind> {
        self.fault.map(|(kind, _)| kind)
    }

    /// As requests record it.
    pub(crate) fn shown(&self) -> Option<String> {
        let operator = self.operator.then_some(FaultKind::Operator);
        let kinds: Vec<&str> = operator.into_iter().chain(self.kind()).map(FaultKind::as_str).collect();
        (!kinds.is_empty()).then(|| kinds.join("+"))
    }
}

/// The faults that wait.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.lock().push(fault);
    }

    /// Forgets those that name `naming`, or all.
    pub(crate) fn clear(&self, naming: Option<&str>) {
        self.lock().retain(|fault| naming.is_some() && fault.naming.as_deref() != naming);
    }

    pub(crate) fn waiting(&self) -> Vec<Fault> {
        self.lock().clone()
    }

    /// How far the clock is ahead for a call. Asked before the call's signature is looked at.
    pub(crate) fn take_skew(&self, call: &Met<'_>) -> Duration {
        let mut waiting = self.lock();
        let at = waiting.iter().position(|fault| fault.kind == FaultKind::ClockSkew && fault.fits(call));
        at.map_or(Duration::ZERO, |at| Duration::from_millis(use_up(&mut waiting, at).delay_ms))
    }

    /// Takes one use of the first fault that fits a believed call, and one of an operator.
    pub(crate) fn take(&self, call: &Met<'_>) -> Taken {
        let mut waiting = self.lock();
        let mut taken = Taken::default();
        if let Some(at) = waiting.iter().position(|f| f.kind == FaultKind::Operator && f.fits(call)) {
            use_up(&mut waiting, at);
            taken.operator = true;
        }
        for at in 0..waiting.len() {
            let is_other = !matches!(waiting[at].kind, FaultKind::Operator | FaultKind::ClockSkew);
            if !is_other || !waiting[at].fits(call) {
                continue;
            }
            let kind = match waiting[at].kind {
                FaultKind::Random => waiting[at].draw(call),
                kind => Some(kind),
            };
            let Some(kind) = kind else { continue };
            let is_drawn = waiting[at].kind == FaultKind::Random;
            let fault = use_up(&mut waiting, at);
            match kind {
                FaultKind::Operator => taken.operator = true,
                FaultKind::ClockSkew => waiting.push(drawn_skew(call, fault.naming)),
                _ if is_drawn && fault.delay_ms == 0 && kind.needs_delay() => {
                    taken.fault = Some((kind, DRAWN_DELAY_MS));
                }
                _ => taken.fault = Some((kind, fault.delay_ms)),
            }
            break;
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn use_up(waiting: &mut Vec<Fault>, at: usize) -> Fault {
    let fault = &mut waiting[at];
    if fault.kind == FaultKind::Random && fault.times.is_none() {
        return fault.clone();
    }
    let left = fault.times.unwrap_or(1).saturating_sub(1);
    fault.times = Some(left);
    if left == 0 { waiting.remove(at) } else { fault.clone() }
}

/// A skew can only be drawn when the signature has been looked at: the next calls of the kind meet it.
fn drawn_skew(call: &Met<'_>, naming: Option<String>) -> Fault {
    Fault {
        action: format!("{}:{}", call.product, call.action),
        kind: FaultKind::ClockSkew,
        naming,
        times: Some(DRAWN_SKEW_CALLS),
        delay_ms: DRAWN_SKEW_MS,
        share: None,
        seed: None,
        draws: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fault(typed: Value) -> Fault {
        serde_json::from_value(typed).expect("a fault")
    }

    fn call(is_read: bool) -> Met<'static> {
        let (action, params) = if is_read { ("Describe", "{}") } else { ("Stop", r#"{"Id":"i-1"}"#) };
        Met { provider: Provider::Tencent, product: "cvm", action, params, is_read, since_change: &|| None }
    }

    #[test]
    fn a_fault_that_says_too_little_or_too_much_is_refused() {
        for (typed, problem) in [
            (json!({ "action": "*", "kind": "throttle", "times": 0 }), Some("`times` is 0")),
            (json!({ "action": "*", "kind": "slow" }), Some("a `slow` fault needs `delay_ms`")),
            (json!({ "action": "*", "kind": "late" }), Some("a `late` fault needs `delay_ms`")),
            (json!({ "action": "*", "kind": "clock-skew" }), Some("a `clock-skew` fault needs `delay_ms`")),
            (
                json!({ "action": "*", "kind": "random" }),
                Some("`random` needs `share`, above 0 and at most 1"),
            ),
            (
                json!({ "action": "*", "kind": "late", "delay_ms": 1, "seed": 1 }),
                Some("`share` and `seed` are for `random`"),
            ),
            (json!({ "action": "*", "kind": "random", "share": 0.2, "seed": 1 }), None),
            (json!({ "action": "*", "kind": "stale" }), None),
        ] {
            let refused = fault(typed.clone()).check().err().map(|problem| problem.to_string());
            assert_eq!(refused.as_deref(), problem, "{typed}");
        }
    }

    #[test]
    fn random_meets_its_share_with_all_kinds_that_suit_and_repeats() {
        let drawn = |is_read: bool| -> Vec<Option<String>> {
            let faults = Faults::default();
            faults.add(fault(
                json!({ "action": "*", "kind": "random", "share": 0.5, "seed": 7, "times": 900 }),
            ));
            (0..2000).map(|_| faults.take(&call(is_read)).shown()).collect()
        };
        let effects = drawn(false);
        assert_eq!(effects, drawn(false));
        let met = effects.iter().flatten().count();
        // The kind of a drawn skew is met by the next calls, before their signatures are judged.
        assert!((780..=900).contains(&met), "{met} of 900");
        let kinds: std::collections::BTreeSet<_> = effects.into_iter().flatten().collect();
        assert_eq!(kinds.len(), DRAWN.len() - 3, "no stale effects, no nonces at Tencent: {kinds:?}");
        let reads = drawn(true);
        assert!(reads.iter().flatten().all(|kind| !["late", "operator", "stale"].contains(&kind.as_str())));
    }

    #[test]
    fn a_fault_meets_the_calls_it_names_and_an_operator_comes_on_top() {
        let faults = Faults::default();
        faults.add(fault(json!({ "action": "Stop", "kind": "drop-after", "naming": "i-2" })));
        assert_eq!(faults.take(&call(false)), Taken::default());
        faults.add(fault(json!({ "action": "*", "kind": "operator" })));
        faults.add(fault(json!({ "action": "cvm:Stop", "kind": "drop-before", "naming": "i-1" })));
        assert_eq!(faults.take(&call(true)), Taken::default());
        assert_eq!(faults.take(&call(false)).shown().as_deref(), Some("operator+drop-before"));
        assert_eq!(faults.waiting().len(), 1);
    }
}

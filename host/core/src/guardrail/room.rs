//! Whether there is room for an effect under a limit, after what was counted, and what a refusal says. Leaves asking to the
//! store, and what a ramp allows to `ramp`. Tested in the parent and below.

use super::Quota;
use super::limit::{Fleet, Limit, Scope};
use super::ramp::{self, RAMP_MEMORY};
use crate::call::{CallError, ErrorKind};
use crate::retry::refusal;
use crate::schedule::interval;
use crate::time::Timestamp;
use std::collections::HashSet;
use std::time::Duration;

/// What one effect counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// When its intent was recorded.
    pub at: Timestamp,
    /// How much; nothing where it has failed.
    pub cost: u32,
    /// When its outcome was known.
    pub ended: Option<Timestamp>,
    /// What is counted once however often it comes; empty where everything is counted.
    pub member: String,
}

/// An effect that took place at once.
impl From<(Timestamp, u32)> for Spent {
    fn from((at, cost): (Timestamp, u32)) -> Self {
        Self { at, cost, ended: Some(at), member: String::new() }
    }
}

/// How long the outcome of an effect may come after its intent and still count for a circuit.
const LATE_OUTCOME: Duration = Duration::from_secs(24 * 3600);

impl Limit {
    /// What an effect of `at` that falls under it counts.
    pub fn counts(&self, at: Timestamp) -> Vec<Spent> {
        let one = |member: &str, cost| Spent { at, cost, ended: None, member: member.to_owned() };
        match self.scope.members() {
            [] => vec![one("", self.cost)],
            members => members.iter().map(|member| one(member, 1)).collect(),
        }
    }

    /// How long ago an effect may have been begun to count.
    pub fn span(&self) -> Duration {
        let per = self.quota.map_or(Duration::ZERO, |quota| quota.per);
        match self.scope {
            Scope::Ramp(_) => RAMP_MEMORY,
            Scope::Circuit(_) => per + LATE_OUTCOME,
            _ => per,
        }
    }
}

/// Why an effect does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Full,
    /// An effect failed at that time.
    Failed(Timestamp),
    /// The outcome of an effect of that time is not known.
    Unclear(Timestamp),
}

/// An effect that does not fit, and when it will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// The limit.
    pub limit: Limit,
    /// When there is room for it; `None` where it alone is too much, or where nobody can know.
    pub room_at: Option<Timestamp>,
    why: Why,
}

/// Whether there is room under `limit` at `now`, after what was `spent` within `Limit::span`, newest first.
pub fn fits(
    limit: &Limit,
    spent: impl IntoIterator<Item = impl Into<Spent>>,
    now: Timestamp,
) -> Result<(), Over> {
    let Some(Quota { max, per }) = limit.quota else { return Ok(()) };
    // What was spent under a clock that ran ahead counts as well.
    let spent = spent.into_iter().map(Into::into);
    let spent = spent.take_while(|spent: &Spent| spent.at + limit.span() > now);
    let over = |why| move |room_at| Over { limit: limit.clone(), room_at, why };
    match &limit.scope {
        Scope::Ramp(_) => {
            ramp::fits(per, limit.cost, &spent.collect::<Vec<_>>(), now).map_err(|stopped| match stopped {
                ramp::Stopped::Paused(until) => over(Why::Full)(until),
                ramp::Stopped::Failed(at) => over(Why::Failed(at))(Some(at + RAMP_MEMORY)),
                ramp::Stopped::Unclear(at) => over(Why::Unclear(at))(None),
            })
        }
        Scope::Circuit(_) => {
            let failed = spent.filter(|spent| spent.cost == 0).filter_map(|spent| spent.ended);
            let mut failed: Vec<Timestamp> = failed.collect();
            failed.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
            let failed = failed.into_iter().map(|at| (at, 1));
            within(max, 1, per, failed, now).map_err(over(Why::Full))
        }
        scope => {
            let own = scope.members();
            let mut seen: HashSet<String> = own.iter().cloned().collect();
            let counts = |spent: &Spent| own.is_empty() || seen.insert(spent.member.clone());
            let costs =
                spent.filter(|spent| spent.cost > 0).filter(counts).map(|spent| (spent.at, spent.cost));
            within(max, limit.cost, per, costs, now).map_err(over(Why::Full))
        }
    }
}

/// Whether `cost` fits within `max` in any span of `per`; if not, when it will, if ever.
fn within(
    max: u32,
    cost: u32,
    per: Duration,
    spent: impl Iterator<Item = (Timestamp, u32)>,
    now: Timestamp,
) -> Result<(), Option<Timestamp>> {
    let mut room = max.checked_sub(cost).ok_or(None)?;
    for (at, cost) in spent.take_while(|(at, _)| *at + per > now) {
        room = room.checked_sub(cost).ok_or(Some(at + per))?;
    }
    Ok(())
}

impl Over {
    /// One of a limit that is used up.
    pub fn full(limit: Limit, room_at: Option<Timestamp>) -> Self {
        Self { limit, room_at, why: Why::Full }
    }

    /// What the policy is answered.
    pub fn refusal(&self) -> CallError {
        let quota = self.limit.quota.map(|quota| quota.to_string()).unwrap_or_default();
        let per = self.limit.quota.map(|quota| interval::show(quota.per)).unwrap_or_default();
        let (what, key) = match &self.limit.scope {
            Scope::Policy(policy) => (format!("effects of `{policy}`: {quota}"), "effects"),
            Scope::PolicyOnce(policy) => {
                (format!("effects of `{policy}` that cannot be repeated: {quota}"), "once-effects")
            }
            Scope::Action(policy, action) => (format!("`{action}` of `{policy}`: {quota}"), "limit"),
            Scope::Resource(_, id) => {
                (format!("effects on {id} that cannot be repeated: one in {per}"), "cool-down")
            }
            Scope::Resources(policy, _) => {
                (format!("different resources that `{policy}` changes: {quota}"), "resources")
            }
            Scope::Fleet(policy, fleet) => {
                let Fleet { kind, region, count, .. } = &**fleet;
                let of = format!("different ones of the {count} in {region} by {kind}");
                (format!("{of} that `{policy}` changes: {quota}"), "max-percent")
            }
            Scope::Api(account, actions) => {
                (format!("effects of `{actions}` by all policies of account `{account}`: {quota}"), "budgets")
            }
            Scope::Ramp(policy) => (
                format!(
                    "effects of `{policy}` that cannot be repeated: one, two, four and so on, {per} apart"
                ),
                "ramp-up",
            ),
            Scope::Circuit(policy) => return self.open_circuit(policy.as_str()),
        };
        let when = match (self.room_at, self.why) {
            (_, Why::Failed(at)) => return self.stopped_ramp(&format!("one failed at {at}")),
            (_, Why::Unclear(at)) => {
                return self.stopped_ramp(&format!("the outcome of the one of {at} is not known"));
            }
            (Some(at), Why::Full) => format!("there is room at {at}"),
            (None, Why::Full) => format!("this call alone counts {}", self.limit.cost),
        };
        let message = format!("over the guardrail `{key}` ({what}); {when}");
        refusal(ErrorKind::Denied, "opsward.OverGuardrail", message)
    }

    fn open_circuit(&self, policy: &str) -> CallError {
        let Quota { max, per } = self.limit.quota.unwrap_or(Quota { max: 0, per: Duration::ZERO });
        let closes = self.room_at.map(|at| format!(" or at {at}")).unwrap_or_default();
        let message = format!(
            "the circuit of `{policy}` is open: {max} of its effects failed within {}; it closes by `opsward resume \
             --policy {policy}`{closes}",
            interval::show(per)
        );
        refusal(ErrorKind::Denied, "opsward.CircuitOpen", message)
    }

    fn stopped_ramp(&self, why: &str) -> CallError {
        let policy = match &self.limit.scope {
            Scope::Ramp(policy) => policy.as_str(),
            _ => "",
        };
        let goes_on = match self.room_at {
            Some(at) => format!("after `opsward resume --policy {policy}`, or at {at}"),
            None => "once it is known; `opsward run ls` shows what is held".to_owned(),
        };
        let message =
            format!("the guardrail `ramp-up` of `{policy}` has stopped: {why}; it goes on {goes_on}");
        refusal(ErrorKind::Denied, "opsward.RampStopped", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn limit(scope: Scope, max: u32, cost: u32) -> Limit {
        Limit { scope, quota: Some(Quota { max, per: Duration::from_secs(100) }), cost }
    }

    #[test]
    fn a_resource_counts_once_however_often_it_is_changed() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let on = |at, id: &str, cost| Spent { at: t(at), cost, ended: None, member: id.to_owned() };
        let table = [
            (&["a"][..], vec![], 100, Ok(())),
            (&["c"], vec![on(90, "a", 1), on(80, "a", 1), on(70, "a", 1)], 100, Ok(())),
            (&["c"], vec![on(90, "a", 1), on(80, "b", 1)], 100, Err(Some(t(180)))),
            (&["b"], vec![on(90, "a", 1), on(80, "b", 1)], 100, Ok(())),
            (&["a", "b"], vec![on(90, "a", 1), on(80, "b", 1)], 100, Ok(())),
            (&["b", "c"], vec![on(90, "a", 1)], 100, Err(Some(t(190)))),
            (&["c"], vec![on(90, "a", 1), on(80, "b", 0)], 100, Ok(())),
            (&["c"], vec![on(90, "a", 1), on(80, "b", 1)], 180, Ok(())),
            (&["a", "b", "c"], vec![], 100, Err(None)),
        ];
        for (own, spent, now, expected) in table {
            let shown = format!("{own:?} after {spent:?}");
            let cost = u32::try_from(own.len()).expect("few");
            let limit = limit(Scope::Resources("p".parse().expect("a name"), ids(own)), 2, cost);
            assert_eq!(fits(&limit, spent, t(now)).map_err(|over| over.room_at), expected, "{shown}");
        }
    }

    #[test]
    fn a_circuit_opens_with_the_failures_and_closes_when_the_first_of_them_is_old() {
        let failed = |at, ended| Spent { at: t(at), cost: 0, ended: Some(t(ended)), member: String::new() };
        let good = |at| Spent::from((t(at), 1));
        let table = [
            (vec![good(90), good(80), good(70)], 100, Ok(())),
            (vec![failed(90, 91), good(80)], 100, Ok(())),
            (vec![failed(90, 91), good(85), failed(80, 82)], 100, Err(Some(t(182)))),
            (vec![failed(90, 91), failed(80, 82)], 182, Ok(())),
            (vec![failed(90, 91), failed(10, 95)], 111, Err(Some(t(191)))),
        ];
        for (spent, now, expected) in table {
            let shown = format!("{spent:?} at {now}");
            let circuit = limit(Scope::Circuit("p".parse().expect("a name")), 2, 1);
            let over = fits(&circuit, spent, t(now));
            assert_eq!(over.clone().map_err(|over| over.room_at), expected, "{shown}");
            if let Err(over) = over {
                assert_eq!(over.refusal().code, "opsward.CircuitOpen");
            }
        }
    }

    #[test]
    fn a_ramp_that_has_stopped_says_how_it_goes_on() {
        let ramp = limit(Scope::Ramp("p".parse().expect("a name")), u32::MAX, 1);
        let one = |cost, ended| vec![Spent { at: t(0), cost, ended, member: String::new() }];
        let said = |spent| fits(&ramp, spent, t(200)).expect_err("stopped").refusal();
        let failed = said(one(0, Some(t(1))));
        assert_eq!(failed.code, "opsward.RampStopped");
        assert!(
            failed.message.contains("`opsward resume --policy p`, or at 1970-01-02"),
            "{}",
            failed.message
        );
        let unclear = said(one(1, None));
        assert!(unclear.message.contains("is not known") && unclear.code == "opsward.RampStopped");
        let paused = fits(&ramp, one(1, Some(t(150))), t(200)).expect_err("paused").refusal();
        assert!(paused.message.contains("room at 1970-01-01T00:04:10.000Z"), "{}", paused.message);
        assert_eq!(paused.code, "opsward.OverGuardrail");
    }
}

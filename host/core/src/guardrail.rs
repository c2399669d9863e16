//! Guardrails: how many granted effects a policy may make, and how often on one resource. Pure: which limits an effect falls
//! under, whether it fits, and what a refusal says. Leaves counting to the store, in the transaction that records the intent, so
//! that a crash or a restart makes no room, and the kill switch to `halt`. Tested below.

mod halt;
pub mod protected;

pub use halt::{Halt, Halts};
pub use protected::Protected;

use crate::call::{CallError, ErrorKind};
use crate::catalog::Class;
use crate::id::{AccountName, PolicyName};
use crate::retry::refusal;
use crate::schedule::interval;
use crate::time::Timestamp;
use std::fmt;
use std::time::Duration;

/// What limits a policy's effects: `guardrails` in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guardrails {
    /// Most effects of every class.
    pub effects: Option<Quota>,
    /// Most effects of class *once*.
    pub once_effects: Option<Quota>,
    /// How long after an effect of class *once* on a resource the next one may come, whichever policies make them; zero for no
    /// such time.
    pub cool_down: Duration,
    /// What it may not change in its account: the host's, not the policy's, to say.
    pub protected: Vec<Protected>,
}

impl Default for Guardrails {
    /// A machine is wiped at most once a night, and a policy gone wrong wipes no more than ten before a person has an hour to
    /// see it.
    fn default() -> Self {
        Self {
            effects: None,
            once_effects: Some(Quota { max: 10, per: Duration::from_secs(3600) }),
            cool_down: Duration::from_secs(20 * 3600),
            protected: Vec::new(),
        }
    }
}

impl Guardrails {
    /// Each key with its value as an operator would write it.
    pub fn shown(&self) -> Vec<(&'static str, String)> {
        let quota = |quota: Option<Quota>| quota.map_or_else(|| "none".to_owned(), |quota| quota.to_string());
        let cool_down =
            if self.cool_down.is_zero() { "none".to_owned() } else { interval::show(self.cool_down) };
        let mut shown = vec![
            ("cool-down", cool_down),
            ("effects", quota(self.effects)),
            ("once-effects", quota(self.once_effects)),
        ];
        if !self.protected.is_empty() {
            let protected: Vec<String> = self.protected.iter().map(ToString::to_string).collect();
            shown.push(("protected", protected.join(", ")));
        }
        shown
    }
}

/// So many in any span of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many.
    pub max: u32,
    /// The span.
    pub per: Duration,
}

/// Most a quota may allow: what is within one is counted one by one.
pub const QUOTA_MAX: u32 = 10_000;
/// Longest span of a quota, and longest cool-down: what was spent is kept for so long.
pub const SPAN_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

const UNITS: [(&str, u64); 4] = [("minute", 60), ("hour", 3600), ("day", 24 * 3600), ("week", 7 * 24 * 3600)];

impl Quota {
    /// Reads `10/hour`; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "write a number and `minute`, `hour`, `day` or `week`, such as `10/hour`";
        let (max, unit) = text.split_once('/').ok_or(FORM)?;
        let seconds = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or(FORM)?.1;
        match max.trim().parse() {
            Ok(max @ 1..=QUOTA_MAX) => Ok(Self { max, per: Duration::from_secs(seconds) }),
            Ok(0) => Err("0 lets nothing through: switch the policy off with `mode = \"off\"`".to_owned()),
            Ok(_) => Err(format!("more than {QUOTA_MAX} are not counted: write less, or `none`")),
            Err(_) => Err(FORM.to_owned()),
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, seconds)| *seconds == self.per.as_secs());
        match unit {
            Some((name, _)) => write!(f, "{}/{name}", self.max),
            None => write!(f, "{} in {}", self.max, interval::show(self.per)),
        }
    }
}

/// A limit that an effect falls under, with what is counted against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What is counted together.
    pub scope: Scope,
    /// `None` where it is counted for the sake of others only.
    pub quota: Option<Quota>,
    /// How much the effect counts.
    pub cost: u32,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// A policy's effects.
    Policy(PolicyName),
    /// A policy's effects of class *once*.
    PolicyOnce(PolicyName),
    /// A policy's effects of one action.
    Action(PolicyName, String),
    /// Effects of class *once* on a resource, whoever makes them.
    Resource(AccountName, String),
}

impl Scope {
    /// The name under which it is counted. Changing it forgets what was counted.
    pub fn key(&self) -> String {
        match self {
            Self::Policy(policy) => format!("policy {policy}"),
            Self::PolicyOnce(policy) => format!("once {policy}"),
            Self::Action(policy, action) => format!("action {policy} {action}"),
            Self::Resource(account, id) => format!("resource {account} {id}"),
        }
    }
}

/// An effect, as far as guardrails tell effects apart.
#[derive(Debug, Clone, Copy)]
pub struct Effect<'a> {
    /// Whose.
    pub policy: &'a PolicyName,
    /// Where.
    pub account: &'a AccountName,
    /// `service:Action`.
    pub action: &'a str,
    /// What repeating it may do.
    pub class: Class,
    /// What it acts on.
    pub resources: &'a [String],
}

/// The limits that `effect` falls under, of which `of_action` is its grant's; it counts once for each resource it names.
pub fn limits(guardrails: &Guardrails, of_action: Option<Quota>, effect: &Effect<'_>) -> Vec<Limit> {
    let Effect { policy, account, action, class, resources } = *effect;
    let cost = u32::try_from(resources.len()).unwrap_or(u32::MAX).max(1);
    let mut limits = Vec::new();
    if of_action.is_some() {
        let scope = Scope::Action(policy.clone(), action.to_owned());
        limits.push(Limit { scope, quota: of_action, cost });
    }
    if guardrails.effects.is_some() {
        limits.push(Limit { scope: Scope::Policy(policy.clone()), quota: guardrails.effects, cost });
    }
    if class == Class::Once {
        limits.push(Limit { scope: Scope::PolicyOnce(policy.clone()), quota: guardrails.once_effects, cost });
        let per = guardrails.cool_down;
        let quota = (!per.is_zero()).then_some(Quota { max: 1, per });
        let mut ids = resources.to_vec();
        ids.sort_unstable();
        ids.dedup();
        limits.extend(ids.into_iter().map(|id| {
            let scope = Scope::Resource(account.clone(), id);
            Limit { scope, quota, cost: 1 }
        }));
    }
    limits
}

/// An effect that does not fit, and when it will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// The limit.
    pub limit: Limit,
    /// When there is room for it; `None` where it alone is too much.
    pub room_at: Option<Timestamp>,
}

/// Whether there is room under `limit` at `now`, after what was `spent`: when and how much, newest first.
pub fn fits(
    limit: &Limit,
    spent: impl IntoIterator<Item = (Timestamp, u32)>,
    now: Timestamp,
) -> Result<(), Over> {
    let Some(Quota { max, per }) = limit.quota else { return Ok(()) };
    let over = |room_at| Err(Over { limit: limit.clone(), room_at });
    let Some(mut room) = max.checked_sub(limit.cost) else { return over(None) };
    // What was spent under a clock that ran ahead counts as well.
    for (at, cost) in spent.into_iter().take_while(|(at, _)| *at + per > now) {
        match room.checked_sub(cost) {
            Some(left) => room = left,
            None => return over(Some(at + per)),
        }
    }
    Ok(())
}

impl Over {
    /// What the policy is answered.
    pub fn refusal(&self) -> CallError {
        let quota = self.limit.quota.map(|quota| quota.to_string()).unwrap_or_default();
        let (what, key) = match &self.limit.scope {
            Scope::Policy(policy) => (format!("effects of `{policy}`: {quota}"), "effects"),
            Scope::PolicyOnce(policy) => {
                (format!("effects of `{policy}` that cannot be repeated: {quota}"), "once-effects")
            }
            Scope::Action(policy, action) => (format!("`{action}` of `{policy}`: {quota}"), "limit"),
            Scope::Resource(_, id) => {
                let per = self.limit.quota.map(|quota| interval::show(quota.per)).unwrap_or_default();
                (format!("effects on {id} that cannot be repeated: one in {per}"), "cool-down")
            }
        };
        let when = match self.room_at {
            Some(at) => format!("there is room at {at}"),
            None => format!("this call alone counts {}", self.limit.cost),
        };
        let message = format!("over the guardrail `{key}` ({what}); {when}");
        refusal(ErrorKind::Denied, "opsward.OverGuardrail", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (PolicyName, AccountName) {
        ("p".parse().expect("a name"), "lab".parse().expect("a name"))
    }

    fn t(seconds: i64) -> Timestamp {
        Timestamp::from_ms(seconds * 1000)
    }

    #[test]
    fn a_quota_is_a_number_in_a_span() {
        for text in ["10/hour", "1/minute", "200/day", "10000/week"] {
            assert_eq!(Quota::parse(text).map(|quota| quota.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "10", "10/h", "ten/hour", "0/hour", "-1/hour", "10001/day", "10/hour/2"] {
            assert!(Quota::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_effects_of_class_once_are_limited_unless_the_operator_says_so() {
        let (policy, account) = names();
        let ids = ["ins-2".to_owned(), "ins-1".to_owned(), "ins-2".to_owned()];
        let of = |guardrails: &Guardrails, class| {
            let action = "cvm:ResetInstance";
            let effect = Effect { policy: &policy, account: &account, action, class, resources: &ids };
            let limits = limits(guardrails, None, &effect);
            limits.iter().map(|l| (l.scope.key(), l.quota.map(|q| q.max), l.cost)).collect::<Vec<_>>()
        };
        let default = Guardrails::default();
        assert_eq!(of(&default, Class::Token), []);
        assert_eq!(
            of(&default, Class::Once),
            [
                ("once p".to_owned(), Some(10), 3),
                ("resource lab ins-1".to_owned(), Some(1), 1),
                ("resource lab ins-2".to_owned(), Some(1), 1)
            ]
        );
        let effects = Some(Quota::parse("50/hour").expect("valid"));
        let own = Guardrails { effects, once_effects: None, cool_down: Duration::ZERO, ..default };
        assert_eq!(of(&own, Class::Token), [("policy p".to_owned(), Some(50), 3)]);
        let counted: Vec<_> = of(&own, Class::Once).into_iter().map(|(_, max, _)| max).collect();
        assert_eq!(counted, [Some(50), None, None, None], "counted for other policies' sake");
    }

    #[test]
    fn an_effect_fits_until_the_span_is_full_and_again_when_the_oldest_has_left_it() {
        let (policy, _) = names();
        let limit = |cost| Limit {
            scope: Scope::PolicyOnce(policy.clone()),
            quota: Some(Quota { max: 3, per: Duration::from_secs(100) }),
            cost,
        };
        let full = [(t(90), 1), (t(80), 1), (t(10), 1)];
        let table = [
            (1, vec![], t(100), Ok(())),
            (1, full[..2].to_vec(), t(100), Ok(())),
            (1, full.to_vec(), t(100), Err(Some(t(110)))),
            (1, full.to_vec(), t(110), Ok(())),
            (2, full[..2].to_vec(), t(100), Err(Some(t(180)))),
            (3, full[..2].to_vec(), t(100), Err(Some(t(190)))),
            (4, vec![], t(100), Err(None)),
            (1, vec![(t(500), 3)], t(100), Err(Some(t(600)))),
        ];
        for (cost, spent, now, expected) in table {
            let shown = format!("{cost} after {spent:?} at {now}");
            let fits = fits(&limit(cost), spent, now).map_err(|over| over.room_at);
            assert_eq!(fits, expected, "{shown}");
        }
    }

    #[test]
    fn a_refusal_names_the_key_to_change_and_when_there_is_room() {
        let (policy, account) = names();
        let (action, resources) = ("cvm:ResetInstance", &["ins-1".to_owned()]);
        let effect = Effect { policy: &policy, account: &account, action, class: Class::Once, resources };
        let limits = limits(&Guardrails::default(), Some(Quota::parse("5/day").expect("valid")), &effect);
        let said: Vec<String> =
            limits.into_iter().map(|limit| Over { limit, room_at: Some(t(0)) }.refusal().message).collect();
        assert_eq!(
            said,
            [
                "over the guardrail `limit` (`cvm:ResetInstance` of `p`: 5/day); there is room at 1970-01-01T00:00:00.000Z",
                "over the guardrail `once-effects` (effects of `p` that cannot be repeated: 10/hour); there is room at \
                 1970-01-01T00:00:00.000Z",
                "over the guardrail `cool-down` (effects on ins-1 that cannot be repeated: one in 20h); there is room at \
                 1970-01-01T00:00:00.000Z",
            ]
        );
    }
}

//! Guardrails: how many granted effects a policy may make, how fast, when, and how often on one resource. Pure. `limit` says
//! which limits an effect falls under, `room` whether it fits and what a refusal says, `ramp` how fast a policy may become,
//! `protected` what it may not touch, `halt` is the kill switch, and here is what an operator writes. Leaves counting to the
//! store, in the transaction that records the intent, so that a crash or a restart makes no room. Tested below.

mod halt;
mod limit;
pub mod maintenance;
pub mod protected;
mod ramp;
mod room;

pub use halt::{Halt, Halts};
pub use limit::{Effect, Fleet, Limit, Scope, limits};
pub use protected::Protected;
pub use ramp::RAMP_MEMORY;
pub use room::{Over, Spent, fits};

use crate::grant::Window;
use crate::schedule::interval;
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
    /// Most different resources that its effects name.
    pub resources: Option<Quota>,
    /// Most different resources in percent of all of their kind in the region.
    pub max_percent: Option<Quota>,
    /// The pause between the first effect of class *once*, the next two, the next four and so on.
    pub ramp_up: Option<Duration>,
    /// The failures of effects with which no more are made.
    pub circuit: Option<Quota>,
    /// When effects may be made: for each list, while one of its windows is open. One list is the policy's, one its account's.
    pub windows: Vec<Vec<Window>>,
    /// Most effects of the actions of a pattern that all policies of its account make together: the account's, not the policy's,
    /// to say.
    pub budgets: Vec<(String, Quota)>,
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
            resources: None,
            max_percent: None,
            ramp_up: None,
            circuit: None,
            windows: Vec::new(),
            budgets: Vec::new(),
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
        let interval = |span: Option<Duration>| span.map(interval::show);
        let text = |quota: Option<Quota>| quota.map(|quota| quota.to_string());
        let windows = self.windows.iter().map(|list| join(list, " or "));
        let budgets = self.budgets.iter().map(|(actions, quota)| format!("{actions} {quota}"));
        let list = |all: Vec<String>| (!all.is_empty()).then(|| all.join(", "));
        let rest = [
            ("resources", text(self.resources)),
            ("max-percent", text(self.max_percent)),
            ("ramp-up", interval(self.ramp_up)),
            ("circuit", self.circuit.map(|quota| format!("{} failures/{}", quota.max, quota.unit()))),
            ("windows", list(windows.collect())),
            ("budgets", list(budgets.collect())),
            ("protected", list(self.protected.iter().map(ToString::to_string).collect())),
        ];
        shown.extend(rest.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))));
        shown
    }
}

fn join(all: &[impl fmt::Display], between: &str) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
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

impl Quota {
    /// The span in words: `hour`, or `90s`.
    fn unit(&self) -> String {
        let unit = UNITS.iter().find(|(_, seconds)| *seconds == self.per.as_secs());
        unit.map_or_else(|| interval::show(self.per), |(name, _)| (*name).to_owned())
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.max, self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Class;
    use crate::id::{AccountName, PolicyName};
    use crate::time::Timestamp;

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
            let limits = limits(guardrails, None, &[], &effect);
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
        let limits =
            limits(&Guardrails::default(), Some(Quota::parse("5/day").expect("valid")), &[], &effect);
        let said: Vec<String> =
            limits.into_iter().map(|limit| Over::full(limit, Some(t(0))).refusal().message).collect();
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

//! The limits that an effect falls under, and what each counts together. Leaves whether there is room to `room`. Tested in the
//! parent and below.

use super::{Guardrails, Quota};
use crate::catalog::Class;
use crate::grant::glob_matches;
use crate::id::{AccountName, PolicyName};

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
    /// The different resources that a policy's effects name, of which these are this effect's.
    Resources(PolicyName, Vec<String>),
    /// The same among all of a kind in a region.
    Fleet(PolicyName, Box<Fleet>),
    /// Effects of an account's actions of a pattern, whoever makes them.
    Api(AccountName, String),
    /// A policy's effects of class *once*, of which there may be twice as many after each pause.
    Ramp(PolicyName),
    /// A policy's effects, of which so many may fail.
    Circuit(PolicyName),
}

/// All resources of one kind in one region, as a fresh read has counted them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// The read that shows them, `service:Action`: their kind.
    pub kind: String,
    /// Where.
    pub region: String,
    /// How many there are.
    pub count: u32,
    /// Those that the effect names.
    pub named: Vec<String>,
}

impl Scope {
    /// The name under which it is counted. Changing it forgets what was counted.
    pub fn key(&self) -> String {
        match self {
            Self::Policy(policy) => format!("policy {policy}"),
            Self::PolicyOnce(policy) => format!("once {policy}"),
            Self::Action(policy, action) => format!("action {policy} {action}"),
            Self::Resource(account, id) => format!("resource {account} {id}"),
            Self::Resources(policy, _) => format!("resources {policy}"),
            Self::Fleet(policy, fleet) => format!("fleet {policy} {} {}", fleet.kind, fleet.region),
            Self::Api(account, actions) => format!("api {account} {actions}"),
            Self::Ramp(policy) => format!("ramp {policy}"),
            Self::Circuit(policy) => format!("circuit {policy}"),
        }
    }

    /// What is counted once however often it comes; empty where everything is counted.
    pub fn members(&self) -> &[String] {
        match self {
            Self::Resources(_, named) => named,
            Self::Fleet(_, fleet) => &fleet.named,
            _ => &[],
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

/// The limits that `effect` falls under, of which `of_action` is its grant's; it counts once for each resource it names. `fleets`
/// are those that its resources are of, where a share of them is bounded.
pub fn limits(
    guardrails: &Guardrails,
    of_action: Option<Quota>,
    fleets: &[Fleet],
    effect: &Effect<'_>,
) -> Vec<Limit> {
    let Effect { policy, account, action, class, resources } = *effect;
    let cost = count(resources).max(1);
    let mut ids = resources.to_vec();
    ids.sort_unstable();
    ids.dedup();
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
        limits.extend(ids.iter().map(|id| {
            let scope = Scope::Resource(account.clone(), id.clone());
            Limit { scope, quota, cost: 1 }
        }));
        limits.extend(guardrails.ramp_up.map(|pause| {
            // What each step allows follows from what has gone well before it.
            let quota = Some(Quota { max: u32::MAX, per: pause });
            Limit { scope: Scope::Ramp(policy.clone()), quota, cost }
        }));
    }
    if guardrails.circuit.is_some() {
        limits.push(Limit { scope: Scope::Circuit(policy.clone()), quota: guardrails.circuit, cost: 1 });
    }
    for (actions, quota) in guardrails.budgets.iter().filter(|(actions, _)| is_of(actions, action)) {
        limits.push(Limit { scope: Scope::Api(account.clone(), actions.clone()), quota: Some(*quota), cost });
    }
    if guardrails.resources.is_some() && !ids.is_empty() {
        let cost = count(&ids);
        let scope = Scope::Resources(policy.clone(), ids);
        limits.push(Limit { scope, quota: guardrails.resources, cost });
    }
    if let Some(percent) = guardrails.max_percent {
        limits.extend(fleets.iter().map(|fleet| {
            let quota = Some(Quota { max: share(percent.max, fleet.count), per: percent.per });
            let scope = Scope::Fleet(policy.clone(), Box::new(fleet.clone()));
            Limit { scope, quota, cost: count(&fleet.named) }
        }));
    }
    limits
}

/// So many percent of a fleet, rounded down, but one at least: a small fleet is looked after too.
fn share(percent: u32, fleet: u32) -> u32 {
    let share = u64::from(fleet) * u64::from(percent) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

/// Whether an action is one of a pattern; vendors tell actions apart without regard to case, or not at all.
fn is_of(actions: &str, action: &str) -> bool {
    glob_matches(&actions.to_ascii_lowercase(), &action.to_ascii_lowercase())
}

fn count(ids: &[String]) -> u32 {
    u32::try_from(ids.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_share_is_rounded_down_and_one_at_least() {
        for (percent, fleet, expected) in
            [(10, 1000, 100), (10, 19, 1), (10, 9, 1), (10, 0, 1), (100, 7, 7), (33, 10, 3)]
        {
            assert_eq!(share(percent, fleet), expected, "{percent} % of {fleet}");
        }
    }

    #[test]
    fn each_guardrail_that_is_written_is_a_limit_of_its_own() {
        let (policy, account) = ("p".parse().expect("a name"), "lab".parse().expect("a name"));
        let quota = |text| Quota::parse(text).expect("a quota");
        let guardrails = Guardrails {
            once_effects: None,
            cool_down: Duration::ZERO,
            resources: Some(quota("20/hour")),
            max_percent: Some(quota("10/day")),
            ramp_up: Some(Duration::from_secs(600)),
            circuit: Some(quota("5/hour")),
            budgets: vec![("cvm:*".into(), quota("50/hour")), ("ecs:*".into(), quota("1/hour"))],
            ..Guardrails::default()
        };
        let resources = ["b", "a", "b"].map(str::to_owned);
        let fleet = Fleet {
            kind: "cvm:DescribeInstances".into(),
            region: "r".into(),
            count: 50,
            named: vec!["a".into(), "b".into()],
        };
        let of = |action, class| {
            let effect = Effect { policy: &policy, account: &account, action, class, resources: &resources };
            let limits = limits(&guardrails, None, std::slice::from_ref(&fleet), &effect);
            let shown = limits.iter().filter_map(|l| Some((l.scope.key(), l.quota?.max, l.cost)));
            shown.collect::<Vec<_>>()
        };
        let same = [
            ("circuit p".to_owned(), 5, 1),
            ("api lab cvm:*".to_owned(), 50, 3),
            ("resources p".to_owned(), 20, 2),
            ("fleet p cvm:DescribeInstances r".to_owned(), 5, 2),
        ];
        assert_eq!(of("cvm:StartInstances", Class::Convergent), same);
        let ramp = ("ramp p".to_owned(), u32::MAX, 3);
        assert_eq!(of("CVM:resetinstance", Class::Once), [&[ramp], &same[..]].concat());
    }
}

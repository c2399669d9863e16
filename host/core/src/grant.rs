//! What a policy may call: action x region x resource x time, in the policy's account. What is not granted is denied, with
//! the line that would grant it. Leaves budgets to `guardrail`, asking to the broker, and reading what selectors are judged
//! by to the broker as well. Tested in `tests` and in `compile`.

mod action;
mod compile;
mod denied;
mod matrix;
mod problem;
mod resource;
mod window;

pub use matrix::{MatrixRow, Standing};
pub use problem::{GrantFinding, GrantProblem};
pub(crate) use resource::glob_matches;
pub use resource::{ResourceEntry, Selector};
pub use window::{Window, WindowEntry, WindowError};

use crate::catalog::{self, Class, Facts, Provider};
use crate::guardrail::Quota;
use crate::time::Timestamp;
use action::ActionPattern;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One `[[allow]]` entry as typed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AllowEntry {
    /// `service:Action`; a read may end in `*`, as in `ecs:Describe*`.
    pub action: String,
    /// The regions it holds for; any where absent.
    pub region: Option<Vec<String>>,
    /// The resources it holds for; any where absent. An effect of class once or that destroys something takes ids without
    /// `*`, and selectors that leave something out.
    pub resource: Option<Vec<ResourceEntry>>,
    /// The account it holds for: that of the policy, which it only repeats.
    pub account: Option<String>,
    /// When it holds; always where absent.
    pub window: Option<WindowEntry>,
    /// Most effects of this action, such as `50/hour`; no bound of its own where absent.
    pub limit: Option<String>,
}

/// The compiled grants of one policy.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    rules: Vec<Rule>,
    /// What the plugin asks for, once that is known.
    asked: Option<Vec<ActionPattern>>,
}

/// One thing that is allowed.
#[derive(Debug, Clone)]
struct Rule {
    action: ActionPattern,
    class: Class,
    /// Whether it is granted for named resources only, by `catalog::is_strict`.
    is_strict: bool,
    regions: Option<Vec<String>>,
    resources: Option<Vec<ResourceEntry>>,
    window: Option<Window>,
    limit: Option<Quota>,
    /// The effects that brought this read along; empty for what the operator wrote.
    implied_by: Vec<String>,
}

/// A call that somebody wants to make.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The vendor of the policy's account.
    pub provider: Provider,
    /// Product code.
    pub service: &'a str,
    /// The vendor's action name.
    pub action: &'a str,
    /// The region the call goes to, the account's default filled in.
    pub region: &'a str,
    /// Further regions that it changes something in, such as that of a copy.
    pub elsewhere: &'a [String],
    /// What it acts on, by `catalog::resources`.
    pub resources: &'a [String],
    /// By `catalog::class_of`.
    pub class: Class,
    /// The time.
    pub now: Timestamp,
}

/// Why a call is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// An `opsward.*` code, as the policy sees it.
    pub code: &'static str,
    /// What is missing and how to grant it.
    pub reason: String,
}

/// A line of the matrix of what a policy may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantRow {
    /// `service:Action`.
    pub action: String,
    /// What repeating it may do.
    pub class: Class,
    /// The regions it holds for; any where absent.
    pub regions: Option<Vec<String>>,
    /// The resources it holds for, as typed; any where absent.
    pub resources: Option<Vec<String>>,
    /// When it holds; always where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// Most effects of this action; no bound of its own where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The granted effects that need this read; empty for what the operator wrote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub implied_by: Vec<String>,
}

impl Grants {
    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether anything that is granted must never be sent on a guess, or destroys something.
    pub fn is_destructive(&self) -> bool {
        self.rules.iter().any(|rule| rule.is_strict)
    }

    /// The same grants, restricted to what the plugin asks for in `describe`. An effect that is not asked for brings no read
    /// along.
    pub fn asked_by(&self, permissions: &[String]) -> Self {
        let asked = parse_permissions(permissions);
        let is_asked = |effect: &String| {
            let (service, action) = effect.split_once(':').unwrap_or_default();
            asked.iter().any(|pattern| pattern.covers(service, action))
        };
        let mut rules = self.rules.clone();
        rules.retain_mut(|rule| {
            let is_written = rule.implied_by.is_empty();
            rule.implied_by.retain(is_asked);
            is_written || !rule.implied_by.is_empty()
        });
        Self { rules, asked: Some(asked) }
    }

    /// Whether the call is allowed: asked for, granted for its regions and the time, and granted for every resource it
    /// names, of which `facts` tell what a read has shown.
    pub fn authorize(&self, question: &Question<'_>, facts: &Facts) -> Result<(), Denied> {
        let resources = question.resources;
        let candidates = self.candidates(question)?;
        let (open, closed): (Vec<&Rule>, Vec<&Rule>) =
            candidates.iter().partition(|rule| rule.is_open(question.now));
        let too_early = |rules: Vec<&Rule>| {
            denied::window(question, rules.into_iter().filter_map(|rule| rule.window.as_ref()))
        };
        if open.is_empty() {
            return Err(too_early(closed));
        }
        let allows = |rule: &&Rule, id: Option<&String>| match id {
            Some(id) => rule.holds_for(id, facts),
            None => rule.resources.is_none(),
        };
        let refusal = |id: Option<&String>| {
            let later: Vec<&Rule> = closed.iter().copied().filter(|rule| allows(rule, id)).collect();
            match id {
                _ if !later.is_empty() => too_early(later),
                Some(id) => denied::resource(question, id, &candidates),
                None => denied::unnamed(question, &candidates),
            }
        };
        if resources.is_empty() && !open.iter().any(|rule| allows(rule, None)) {
            return Err(refusal(None));
        }
        match resources.iter().find(|id| !open.iter().any(|rule| allows(rule, Some(id)))) {
            Some(id) => Err(refusal(Some(id))),
            None => Ok(()),
        }
    }

    /// The resources that only a selector may allow the call for: a read must show what they are. None where that cannot
    /// help, so that nothing is read for a call that is denied anyway.
    pub fn facts_wanted(&self, question: &Question<'_>) -> Vec<String> {
        let Ok(candidates) = self.candidates(question) else { return Vec::new() };
        let open: Vec<&Rule> = candidates.into_iter().filter(|rule| rule.is_open(question.now)).collect();
        let is_named = |id: &&String| open.iter().any(|rule| rule.holds_for(id, &Facts::new()));
        let unnamed: Vec<String> = question.resources.iter().filter(|id| !is_named(id)).cloned().collect();
        if open.iter().any(|rule| rule.has_selectors()) { unnamed } else { Vec::new() }
    }

    /// The rules for the call's action that hold in all of its regions.
    fn candidates(&self, question: &Question<'_>) -> Result<Vec<&Rule>, Denied> {
        let &Question { provider, service, action, region, elsewhere, class, .. } = question;
        if catalog::answers_with_credentials(provider, service, action) {
            return Err(denied::credentials(question));
        }
        if let Some(asked) = &self.asked
            && !asked.iter().any(|pattern| pattern.covers(service, action))
        {
            return Err(denied::not_asked(question));
        }
        let of_action: Vec<&Rule> = self.rules.iter().filter(|r| r.covers(service, action, class)).collect();
        if of_action.is_empty() {
            return Err(denied::action(question));
        }
        let holds =
            |rule: &&Rule| rule.holds_in(region) && elsewhere.iter().all(|other| rule.holds_in(other));
        let in_regions: Vec<&Rule> = of_action.iter().copied().filter(holds).collect();
        if in_regions.is_empty() {
            return Err(denied::region(question, &of_action));
        }
        Ok(in_regions)
    }

    /// How many effects of an action may be made, where a grant says so.
    pub fn limit(&self, service: &str, action: &str) -> Option<Quota> {
        self.rules.iter().filter(|rule| rule.action.covers(service, action)).find_map(|rule| rule.limit)
    }

    /// Every action that the host may call for the policy: what is granted, what comes with it, and the reads that show what
    /// its selectors ask for.
    pub fn callable(&self, provider: Provider) -> BTreeSet<String> {
        let facts = |rule: &Rule| {
            let known = catalog::find(provider, &rule.action.service, &rule.action.name);
            known.into_iter().flat_map(|action| action.facts_actions())
        };
        let granted = self.rules.iter().map(|rule| rule.action.to_string());
        granted.chain(self.rules.iter().flat_map(facts)).collect()
    }

    /// What is effectively allowed, in the operator's order, implied reads last.
    pub fn rows(&self) -> Vec<GrantRow> {
        let mut rows = Vec::new();
        for rule in &self.rules {
            match &self.asked {
                None => rows.push(rule.row(&rule.action)),
                Some(asked) => {
                    let narrowed = asked.iter().filter_map(|asked| asked.intersection(&rule.action));
                    rows.extend(narrowed.map(|action| rule.row(action)));
                }
            }
        }
        rows
    }
}

impl Rule {
    fn covers(&self, service: &str, action: &str, class: Class) -> bool {
        // A pattern never reaches an effect, whatever a vendor may name one.
        self.action.covers(service, action) && (self.action.is_exact() || class == Class::Read)
    }

    fn holds_in(&self, region: &str) -> bool {
        self.regions.as_ref().is_none_or(|regions| regions.iter().any(|granted| granted == region))
    }

    fn holds_for(&self, id: &str, facts: &Facts) -> bool {
        self.resources.as_ref().is_none_or(|granted| granted.iter().any(|entry| entry.holds_for(id, facts)))
    }

    fn is_open(&self, now: Timestamp) -> bool {
        self.window.as_ref().is_none_or(|window| window.is_open(now))
    }

    fn has_selectors(&self) -> bool {
        self.resources.iter().flatten().any(|entry| matches!(entry, ResourceEntry::Where(_)))
    }

    fn row(&self, action: &ActionPattern) -> GrantRow {
        GrantRow {
            action: action.to_string(),
            class: self.class,
            regions: self.regions.clone(),
            resources: self.resources.as_ref().map(|all| all.iter().map(ToString::to_string).collect()),
            window: self.window.as_ref().map(ToString::to_string),
            limit: self.limit.map(|limit| limit.to_string()),
            implied_by: self.implied_by.clone(),
        }
    }
}

fn parse_permissions(permissions: &[String]) -> Vec<ActionPattern> {
    permissions.iter().filter_map(|text| ActionPattern::parse(text)).collect()
}

#[cfg(test)]
mod tests;

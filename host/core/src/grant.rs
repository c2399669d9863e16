//! What a policy may call: action x region x resource, in the policy's account. What is not granted is denied, with the
//! line that would grant it. Leaves budgets to `guardrail` and asking to the broker. Tested below and in `compile`.

mod action;
mod compile;

pub use compile::{GrantFinding, GrantProblem};

use crate::catalog::{self, Class, Provider};
use action::ActionPattern;
use serde::{Deserialize, Serialize};

/// One `[[allow]]` entry as typed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AllowEntry {
    /// `service:Action`; a read may end in `*`, as in `ecs:Describe*`.
    pub action: String,
    /// The regions it holds for; any where absent.
    pub region: Option<Vec<String>>,
    /// The resource ids it holds for, each of which may contain `*` unless the action is of class once; any where absent.
    pub resource: Option<Vec<String>>,
    /// The account it holds for: that of the policy, which it only repeats.
    pub account: Option<String>,
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
    regions: Option<Vec<String>>,
    resources: Option<Vec<String>>,
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
    /// What it acts on, by `catalog::resources`.
    pub resources: &'a [String],
    /// By `catalog::class_of`.
    pub class: Class,
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
    /// The resources it holds for; any where absent.
    pub resources: Option<Vec<String>>,
    /// The granted effects that need this read; empty for what the operator wrote.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub implied_by: Vec<String>,
}

impl Grants {
    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The same grants, restricted to what the plugin asks for in `describe`.
    pub fn asked_by(&self, permissions: &[String]) -> Self {
        Self { rules: self.rules.clone(), asked: Some(parse_permissions(permissions)) }
    }

    /// Whether the call is allowed: asked for, granted for its region, and granted for every resource it names.
    pub fn authorize(&self, question: &Question<'_>) -> Result<(), Denied> {
        let &Question { provider, service, action, region, resources, class } = question;
        if catalog::answers_with_credentials(provider, service, action) {
            return Err(denied_credentials(question));
        }
        if let Some(asked) = &self.asked
            && !asked.iter().any(|pattern| pattern.covers(service, action))
        {
            return Err(denied_not_asked(question));
        }
        if let Some(odd) = resources.iter().find(|id| !is_resource_id(id)) {
            return Err(denied_odd_resource(odd));
        }
        let of_action: Vec<&Rule> = self.rules.iter().filter(|r| r.covers(service, action, class)).collect();
        if of_action.is_empty() {
            return Err(denied_action(question));
        }
        let in_region: Vec<&Rule> = of_action.iter().copied().filter(|r| r.holds_in(region)).collect();
        if in_region.is_empty() {
            return Err(denied_region(question, &of_action));
        }
        if resources.is_empty() && !in_region.iter().any(|r| r.resources.is_none()) {
            return Err(denied_unnamed(question, &in_region));
        }
        match resources.iter().find(|id| !in_region.iter().any(|r| r.holds_for(id))) {
            Some(id) => Err(denied_resource(question, id, &in_region)),
            None => Ok(()),
        }
    }

    /// What is effectively allowed, in the operator's order, implied reads last.
    pub fn rows(&self) -> Vec<GrantRow> {
        let row = |rule: &Rule, action: &ActionPattern| GrantRow {
            action: action.to_string(),
            class: rule.class,
            regions: rule.regions.clone(),
            resources: rule.resources.clone(),
            implied_by: rule.implied_by.clone(),
        };
        let mut rows = Vec::new();
        for rule in &self.rules {
            match &self.asked {
                None => rows.push(row(rule, &rule.action)),
                Some(asked) => {
                    let narrowed = asked.iter().filter_map(|asked| asked.intersection(&rule.action));
                    rows.extend(narrowed.map(|action| row(rule, action)));
                }
            }
        }
        rows
    }

    /// Which of a plugin's `permissions` nothing is granted for.
    pub fn asked_not_granted<'a>(&self, permissions: &'a [String]) -> Vec<&'a str> {
        let granted =
            |asked: &ActionPattern| self.rules.iter().any(|r| r.action.intersection(asked).is_some());
        permissions
            .iter()
            .map(String::as_str)
            .filter(|text| !ActionPattern::parse(text).is_some_and(|asked| granted(&asked)))
            .collect()
    }

    /// Which actions the operator grants though the plugin's `permissions` do not ask for them.
    pub fn granted_not_asked(&self, permissions: &[String]) -> Vec<String> {
        let asked = parse_permissions(permissions);
        let wanted = |rule: &Rule| asked.iter().any(|asked| asked.intersection(&rule.action).is_some());
        self.rules
            .iter()
            .filter(|rule| rule.implied_by.is_empty() && !wanted(rule))
            .map(|rule| rule.action.to_string())
            .collect()
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

    fn holds_for(&self, resource: &str) -> bool {
        self.resources.as_ref().is_none_or(|ids| ids.iter().any(|granted| glob_matches(granted, resource)))
    }
}

fn parse_permissions(permissions: &[String]) -> Vec<ActionPattern> {
    permissions.iter().filter_map(|text| ActionPattern::parse(text)).collect()
}

/// Whether `text` may be the id of one resource. Lists and blanks are refused, so that `i-1,i-2` never passes for `i-*`.
fn is_resource_id(text: &str) -> bool {
    /// Longest id judged; role and rule names of both vendors stay below 256.
    const BYTES_MAX: usize = 512;
    !text.is_empty()
        && text.len() <= BYTES_MAX
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/' | '@' | '+'))
}

/// Whether `text` is `pattern`, where `*` stands for any run of characters.
fn glob_matches(pattern: &str, text: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    while let Some((middle, after)) = rest.split_once('*') {
        let Some(at) = text.find(middle) else { return false };
        text = &text[at + middle.len()..];
        rest = after;
    }
    text.ends_with(rest)
}

fn denied_credentials(question: &Question<'_>) -> Denied {
    let Question { service, action, .. } = question;
    let reason = format!("`{service}:{action}` answers with credentials, which never enter a policy");
    Denied { code: "opsward.Credentials", reason }
}

fn denied_not_asked(question: &Question<'_>) -> Denied {
    let Question { service, action, .. } = question;
    let reason = format!(
        "the plugin does not ask for `{service}:{action}`: add it to the permissions of its `describe` and build it again"
    );
    Denied { code: "opsward.NotAsked", reason }
}

fn denied_odd_resource(id: &str) -> Denied {
    let shown: String = id.chars().take(80).collect();
    let reason = format!("`{shown}` is not the id of one resource: pass several as a list");
    Denied { code: "opsward.MalformedResource", reason }
}

fn denied_action(question: &Question<'_>) -> Denied {
    let &Question { service, action, region, resources, class, .. } = question;
    let mut lines = format!("`action = \"{service}:{action}\"`");
    if class != Class::Read && !region.is_empty() {
        lines += &format!(", `region = [\"{region}\"]`");
    }
    if class == Class::Once {
        lines += &format!(", `resource = [{}]`", quoted(resources));
    }
    let reason =
        format!("`{service}:{action}` is not granted: add `[[allow]]` with {lines} to the policy's file");
    Denied { code: "opsward.NotGranted", reason }
}

fn denied_region(question: &Question<'_>, rules: &[&Rule]) -> Denied {
    let Question { service, action, region, .. } = question;
    let granted = listed(rules.iter().filter_map(|rule| rule.regions.as_ref()));
    let reason = if region.is_empty() {
        format!("`{service}:{action}` is granted for {granted} only, and the call names no region")
    } else {
        format!(
            "`{service}:{action}` is granted for {granted}, not for `{region}`: add \"{region}\" to its `region` in the policy's file"
        )
    };
    Denied { code: "opsward.RegionNotGranted", reason }
}

fn denied_unnamed(question: &Question<'_>, rules: &[&Rule]) -> Denied {
    let Question { service, action, .. } = question;
    let granted = listed(rules.iter().filter_map(|rule| rule.resources.as_ref()));
    let reason =
        format!("`{service}:{action}` is granted for {granted} only, and the call names no resource");
    Denied { code: "opsward.ResourceNotGranted", reason }
}

fn denied_resource(question: &Question<'_>, id: &str, rules: &[&Rule]) -> Denied {
    let Question { service, action, .. } = question;
    let granted = listed(rules.iter().filter_map(|rule| rule.resources.as_ref()));
    let reason = format!(
        "`{service}:{action}` is granted for {granted}, not for `{id}`: add \"{id}\" to its `resource` in the policy's file"
    );
    Denied { code: "opsward.ResourceNotGranted", reason }
}

/// Names for a sentence: each once, and no more than a reader takes in.
fn listed<'a>(lists: impl Iterator<Item = &'a Vec<String>>) -> String {
    const SHOWN_MAX: usize = 8;
    let mut names: Vec<&str> = lists.flatten().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(SHOWN_MAX);
    names.truncate(SHOWN_MAX);
    let shown = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn quoted(ids: &[String]) -> String {
    ids.iter().map(|id| format!("{id:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;

//! From `[[allow]]` entries as typed to grants that hold together, with every fault of every entry and how to mend it.
//! Leaves the places in the file to `config`. Tested below.

use super::action::ActionPattern;
use super::{AllowEntry, Grants, Rule, is_resource_id};
use crate::catalog::{self, Class, Provider};
use crate::endpoint::is_region;
use crate::suggest::nearest;

/// A fault of one `[[allow]]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantFinding {
    /// Which entry, from 0.
    pub entry: usize,
    /// The key it is about.
    pub key: &'static str,
    /// Which element of the key's list, where it is about one.
    pub element: Option<usize>,
    /// What is wrong.
    pub problem: GrantProblem,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantProblem {
    /// Not of the form `service:Action`.
    #[error("`{0}` does not name an action")]
    Malformed(String),
    /// The service is not in the catalog; a warning.
    #[error("`{service}` is no service of {provider} that this release knows")]
    UnknownService {
        /// As written.
        service: String,
        /// The vendor.
        provider: &'static str,
        /// A known one that is near.
        nearest: Option<&'static str>,
    },
    /// The host has no client for what the service speaks; a warning.
    #[error("`{0}` is a REST call, and the host has no client for these yet")]
    NotSpoken(String),
    /// The action is not in the catalog though its service is; a warning.
    #[error("`{action}` is not in the catalog; it counts as class {}", .class.as_str())]
    UnknownAction {
        /// As written.
        action: String,
        /// What it counts as.
        class: Class,
        /// A known one that is near.
        nearest: Option<String>,
    },
    /// A pattern that is not confined to reads.
    #[error("`{0}` may cover actions that change something")]
    OpenEffect(String),
    /// A call that answers with credentials.
    #[error("`{0}` answers with credentials, which never enter a policy")]
    Credentials(String),
    /// Class once without resources.
    #[error(
        "`{0}` is of class once (it must never be repeated on a guess), so it is granted for named resources only"
    )]
    OnceUnnamed(String),
    /// Class once with a pattern of resources.
    #[error("`{action}` is of class once, so `{resource}` must be one resource's id")]
    OncePattern {
        /// The action.
        action: String,
        /// As written.
        resource: String,
    },
    /// Resources for an action that takes none.
    #[error("a call of `{0}` names no resource, so this entry allows nothing")]
    NoResources(String),
    /// An empty list.
    #[error("an empty list allows nothing")]
    Empty,
    /// No region name.
    #[error("`{0}` is not a region")]
    BadRegion(String),
    /// No resource id.
    #[error("`{0}` is not a resource id")]
    BadResource(String),
}

impl GrantProblem {
    /// Whether the entry works all the same.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::UnknownService { .. } | Self::UnknownAction { .. } | Self::NotSpoken(_))
    }

    /// What to write instead.
    pub fn fix(&self) -> String {
        match self {
            Self::Malformed(_) => "write `service:Action`, such as `ecs:CreateSnapshot`".into(),
            Self::UnknownService { nearest: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::UnknownAction { nearest: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::UnknownService { .. } | Self::NotSpoken(_) => "its calls will be refused".into(),
            Self::UnknownAction { .. } => "check the spelling".into(),
            Self::OpenEffect(_) => {
                "name each action; only reads may end in `*`: `Describe*`, `Get*`, `List*`".into()
            }
            Self::Credentials(_) => "remove this entry".into(),
            Self::OnceUnnamed(_) => "add `resource = [\"...\"]` with the ids it may act on".into(),
            Self::OncePattern { .. } => "write out each id".into(),
            Self::NoResources(_) => "leave `resource` out".into(),
            Self::Empty => "leave the key out to allow any, or name some".into(),
            Self::BadRegion(_) => {
                "write each region out, such as `cn-hangzhou`; leave `region` out for any".into()
            }
            Self::BadResource(_) => "write an id such as `i-bp1` or a pattern such as `i-bp1*`".into(),
        }
    }
}

impl Grants {
    /// Compiles the entries of one policy whose account is `provider`'s. Warnings come with the grants, errors instead of
    /// them.
    pub fn compile(
        entries: &[AllowEntry],
        provider: Provider,
    ) -> Result<(Self, Vec<GrantFinding>), Vec<GrantFinding>> {
        let mut rules = Vec::new();
        let mut findings = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            let mut find = |key, element, problem| {
                findings.push(GrantFinding { entry: place, key, element, problem });
            };
            check_regions(entry, &mut find);
            match ActionPattern::parse(&entry.action) {
                Some(action) => {
                    let class = check_action(&action, provider, &mut find);
                    check_resources(entry, &action, class, provider, &mut find);
                    rules.push(Rule {
                        action,
                        class,
                        regions: entry.region.clone(),
                        resources: entry.resource.clone(),
                        implied_by: Vec::new(),
                    });
                }
                None => find("action", None, GrantProblem::Malformed(entry.action.clone())),
            }
        }
        if findings.iter().any(|finding| !finding.problem.is_warning()) {
            return Err(findings);
        }
        let implied = implied_reads(&rules, provider);
        rules.extend(implied);
        Ok((Self { rules, asked: None }, findings))
    }
}

type Find<'a> = dyn FnMut(&'static str, Option<usize>, GrantProblem) + 'a;

fn check_action(action: &ActionPattern, provider: Provider, find: &mut Find<'_>) -> Class {
    let (service, name, text) = (action.service.as_str(), action.name.as_str(), action.to_string());
    if catalog::version_of(provider, service).is_none() {
        let nearest = nearest(service, catalog::services(provider));
        let provider = provider.as_str();
        find("action", None, GrantProblem::UnknownService { service: service.to_owned(), provider, nearest });
    }
    if !catalog::is_spoken(provider, service) {
        find("action", None, GrantProblem::NotSpoken(text.clone()));
    }
    if !action.is_exact() {
        if !catalog::READ_WORDS.iter().any(|word| name.starts_with(word)) {
            find("action", None, GrantProblem::OpenEffect(text));
        }
        return Class::Read;
    }
    let class = catalog::class_of(provider, service, name);
    if catalog::answers_with_credentials(provider, service, name) {
        find("action", None, GrantProblem::Credentials(text));
    } else if catalog::version_of(provider, service).is_some()
        && catalog::find(provider, service, name).is_none()
    {
        let known = catalog::actions(provider, service).map(|known| known.name.as_str());
        let nearest = nearest(name, known).map(|near| format!("{service}:{near}"));
        find("action", None, GrantProblem::UnknownAction { action: text, class, nearest });
    }
    class
}

fn check_regions(entry: &AllowEntry, find: &mut Find<'_>) {
    let Some(regions) = &entry.region else { return };
    if regions.is_empty() {
        find("region", None, GrantProblem::Empty);
    }
    for (at, region) in regions.iter().enumerate() {
        if !is_region(region) {
            find("region", Some(at), GrantProblem::BadRegion(region.clone()));
        }
    }
}

fn check_resources(
    entry: &AllowEntry,
    action: &ActionPattern,
    class: Class,
    provider: Provider,
    find: &mut Find<'_>,
) {
    let text = action.to_string();
    let Some(resources) = &entry.resource else {
        if class == Class::Once {
            find("action", None, GrantProblem::OnceUnnamed(text));
        }
        return;
    };
    if resources.is_empty() {
        find("resource", None, GrantProblem::Empty);
    }
    let known = catalog::find(provider, &action.service, &action.name).filter(|_| action.is_exact());
    if known.is_some_and(|known| !known.names_resources()) {
        find("resource", None, GrantProblem::NoResources(text.clone()));
    }
    for (at, resource) in resources.iter().enumerate() {
        let is_pattern = resource.contains('*');
        if !is_pattern && !is_resource_id(resource)
            || is_pattern && !is_resource_id(&resource.replace('*', "x"))
        {
            find("resource", Some(at), GrantProblem::BadResource(resource.clone()));
        } else if is_pattern && class == Class::Once {
            let problem = GrantProblem::OncePattern { action: text.clone(), resource: resource.clone() };
            find("resource", Some(at), problem);
        }
    }
}

/// The reads that granted effects need to see whether they took place, for what the effects are granted for.
fn implied_reads(rules: &[Rule], provider: Provider) -> Vec<Rule> {
    let mut implied: Vec<Rule> = Vec::new();
    for effect in rules {
        let known = catalog::find(provider, &effect.action.service, &effect.action.name);
        let Some(read_back) = known.and_then(|known| known.read_back.as_ref()) else { continue };
        let (service, name) = (read_back.service.as_str(), read_back.action.as_str());
        let granted_anyway = |rule: &Rule| {
            rule.action.covers(service, name) && rule.regions.is_none() && rule.resources.is_none()
        };
        if rules.iter().any(granted_anyway) {
            continue;
        }
        let text = effect.action.to_string();
        let same = implied.iter_mut().find(|rule| {
            rule.action.covers(service, name)
                && rule.regions == effect.regions
                && rule.resources == effect.resources
        });
        match same {
            Some(rule) if rule.implied_by.contains(&text) => {}
            Some(rule) => rule.implied_by.push(text),
            None => implied.push(Rule {
                action: ActionPattern::exact(service, name),
                class: Class::Read,
                regions: effect.regions.clone(),
                resources: effect.resources.clone(),
                implied_by: vec![text],
            }),
        }
    }
    implied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(action: &str, region: &[&str], resource: &[&str]) -> AllowEntry {
        let list =
            |items: &[&str]| (!items.is_empty()).then(|| items.iter().map(|i| (*i).to_owned()).collect());
        AllowEntry { action: action.into(), region: list(region), resource: list(resource), account: None }
    }

    #[test]
    fn faults_name_the_entry_the_key_and_the_fix() {
        let cases = [
            (entry("CreateSnapshot", &[], &[]), "action", None, "write `service:Action`"),
            (entry("ecs:*", &[], &[]), "action", None, "only reads may end in `*`"),
            (entry("ecs:D*", &[], &[]), "action", None, "name each action"),
            (entry("ecs:Create*", &[], &[]), "action", None, "name each action"),
            (entry("sts:AssumeRole", &[], &[]), "action", None, "remove this entry"),
            (entry("sts:GetFederationToken", &[], &[]), "action", None, "remove this entry"),
            (entry("ecs:RebootInstance", &[], &[]), "action", None, "add `resource = "),
            (entry("ecs:RebootInstance", &[], &["i-1", "*"]), "resource", Some(1), "write out each id"),
            (entry("ecs:RebootInstance", &[], &["i-*"]), "resource", Some(0), "write out each id"),
            (entry("ecs:DescribeRegions", &[], &["i-1"]), "resource", None, "leave `resource` out"),
            (entry("ecs:CreateSnapshot", &["cn-hangzhou", "*"], &[]), "region", Some(1), "cn-hangzhou"),
            (entry("ecs:CreateSnapshot", &["hangzhou"], &[]), "region", Some(0), "cn-hangzhou"),
            (entry("ecs:CreateSnapshot", &[], &["d-1,d-2"]), "resource", Some(0), "write an id"),
        ];
        for (bad, key, element, fix) in cases {
            let shown = format!("{bad:?}");
            let good = entry("ecs:DescribeDisks", &[], &[]);
            let findings = Grants::compile(&[good, bad], Provider::Alibaba).expect_err(&shown);
            let finding = findings.iter().find(|f| !f.problem.is_warning()).expect("an error");
            assert_eq!((finding.entry, finding.key, finding.element), (1, key, element), "{shown}");
            assert!(finding.problem.fix().contains(fix), "{shown}: {}", finding.problem.fix());
        }
        let mut empty = entry("ecs:CreateSnapshot", &[], &[]);
        (empty.region, empty.resource) = (Some(vec![]), Some(vec![]));
        assert_eq!(Grants::compile(&[empty], Provider::Alibaba).expect_err("empty").len(), 2);
    }

    #[test]
    fn an_unknown_action_is_a_warning_with_a_suggestion() {
        let warnings = |action: &str, resource: &[&str]| {
            let compiled = Grants::compile(&[entry(action, &[], resource)], Provider::Alibaba);
            let (_, findings) = compiled.expect("only warnings");
            findings.into_iter().map(|f| format!("{}: {}", f.problem, f.problem.fix())).collect::<Vec<_>>()
        };
        assert_eq!(
            warnings("ecs:DescribeDisk", &[]),
            [
                "`ecs:DescribeDisk` is not in the catalog; it counts as class read: did you mean `ecs:DescribeDisks`?"
            ]
        );
        assert_eq!(
            warnings("ecs:CreateSnapshots", &["d-1"]),
            [
                "`ecs:CreateSnapshots` is not in the catalog; it counts as class once: did you mean `ecs:CreateSnapshot`?"
            ]
        );
        assert_eq!(
            warnings("esc:DescribeDisks", &[]),
            ["`esc` is no service of alibaba that this release knows: did you mean `ecs`?"]
        );
        assert!(warnings("ecs:Describe*", &[]).is_empty());
        for (action, queue) in [("mns:SendMessage", &["q"][..]), ("mns:Get*", &[])] {
            assert_eq!(
                warnings(action, queue),
                [format!(
                    "`{action}` is a REST call, and the host has no client for these yet: its calls will be refused"
                )]
            );
        }
    }
}

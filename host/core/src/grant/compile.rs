//! From `[[allow]]` entries as typed to grants that hold together, with every fault of every entry and how to mend it.
//! Leaves the places in the file to `config`. Tested below.

use super::action::ActionPattern;
use super::problem::{GrantFinding, GrantProblem};
use super::resource::{ResourceEntry, Selector};
use super::window::Window;
use super::{AllowEntry, Grants, Rule};
use crate::catalog::{self, Class, Provider};
use crate::endpoint::is_region;
use crate::guardrail::Quota;
use crate::suggest::nearest;

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
                        is_strict: strict(&action, class, provider).is_some(),
                        action,
                        class,
                        regions: entry.region.clone(),
                        resources: entry.resource.clone(),
                        window: check_window(entry, &mut find),
                        limit: check_limit(entry, class, &entries[..place], &mut find),
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

fn check_window(entry: &AllowEntry, find: &mut Find<'_>) -> Option<Window> {
    match Window::parse(entry.window.as_ref()?) {
        Ok(window) => Some(window),
        Err(error) => {
            find("window", None, error.into());
            None
        }
    }
}

fn check_limit(
    entry: &AllowEntry,
    class: Class,
    before: &[AllowEntry],
    find: &mut Find<'_>,
) -> Option<Quota> {
    let text = entry.limit.as_ref()?;
    if class == Class::Read {
        find("limit", None, GrantProblem::LimitedRead(entry.action.clone()));
    }
    if before.iter().any(|other| other.action == entry.action && other.limit.is_some()) {
        find("limit", None, GrantProblem::LimitedTwice(entry.action.clone()));
    }
    Quota::parse(text).map_err(|problem| find("limit", None, GrantProblem::BadLimit(problem))).ok()
}

/// Why an action is granted for named resources only.
struct Strict {
    why: String,
    short: &'static str,
}

fn strict(action: &ActionPattern, class: Class, provider: Provider) -> Option<Strict> {
    if class == Class::Once {
        let why = "of class once (it must never be repeated on a guess)".to_owned();
        return Some(Strict { why, short: "of class once" });
    }
    let known = catalog::find(provider, &action.service, &action.name).filter(|_| action.is_exact())?;
    let why = format!("destructive (it {})", known.destructive.as_ref()?);
    Some(Strict { why, short: "destructive" })
}

fn check_resources(
    entry: &AllowEntry,
    action: &ActionPattern,
    class: Class,
    provider: Provider,
    find: &mut Find<'_>,
) {
    let text = action.to_string();
    let strict = strict(action, class, provider);
    let Some(resources) = &entry.resource else {
        if let Some(Strict { why, .. }) = strict {
            find("action", None, GrantProblem::Unnamed { action: text, why });
        }
        return;
    };
    if resources.is_empty() {
        find("resource", None, GrantProblem::Empty);
    }
    let known = catalog::find(provider, &action.service, &action.name).filter(|_| action.is_exact());
    if known.is_some_and(|known| !known.names_resources()) {
        find("resource", None, GrantProblem::NoResources(text.clone()));
        return;
    }
    let shows_facts = match known {
        Some(known) => known.shows_facts(),
        None => !action.is_exact() && catalog::shows_facts(provider, &action.service),
    };
    let short = strict.map(|strict| strict.short);
    for (at, resource) in resources.iter().enumerate() {
        let problem = match resource {
            ResourceEntry::Id(id) => id_problem(&text, id, short),
            ResourceEntry::Where(_) if !shows_facts => Some(GrantProblem::Unreadable(text.clone())),
            ResourceEntry::Where(selector) => selector_problem(&text, selector, short),
        };
        if let Some(problem) = problem {
            find("resource", Some(at), problem);
        }
    }
}

fn id_problem(action: &str, id: &str, strict: Option<&'static str>) -> Option<GrantProblem> {
    let is_pattern = id.contains('*');
    if !catalog::is_resource_id(&if is_pattern { id.replace('*', "x") } else { id.to_owned() }) {
        return Some(GrantProblem::BadResource(id.to_owned()));
    }
    let why = strict.filter(|_| is_pattern)?;
    Some(GrantProblem::Pattern { action: action.to_owned(), why, resource: id.to_owned() })
}

fn selector_problem(action: &str, selector: &Selector, strict: Option<&'static str>) -> Option<GrantProblem> {
    if selector.is_empty() {
        return Some(GrantProblem::EmptySelector);
    }
    let why = strict.filter(|_| !selector.is_narrow())?;
    let selector = ResourceEntry::Where(selector.clone()).to_string();
    Some(GrantProblem::OpenSelector { action: action.to_owned(), why, selector })
}

/// The reads that granted effects need to see whether they took place, for what the effects are granted for.
fn implied_reads(rules: &[Rule], provider: Provider) -> Vec<Rule> {
    let mut implied: Vec<Rule> = Vec::new();
    for effect in rules {
        let known = catalog::find(provider, &effect.action.service, &effect.action.name);
        let Some(read_back) = known.and_then(|known| known.read_back.as_ref()) else { continue };
        let (service, name) = (read_back.service.as_str(), read_back.action.as_str());
        let granted_anyway = |rule: &Rule| {
            rule.action.covers(service, name)
                && rule.regions.is_none()
                && rule.resources.is_none()
                && rule.window.is_none()
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
                is_strict: false,
                regions: effect.regions.clone(),
                resources: effect.resources.clone(),
                // An effect made within its window may end after it.
                limit: None,
                window: None,
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
        let resource: Option<Vec<String>> = list(resource);
        let resource = resource.map(|ids| ids.into_iter().map(ResourceEntry::Id).collect());
        AllowEntry { action: action.into(), region: list(region), resource, ..AllowEntry::default() }
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
    fn a_limit_is_of_an_effect_and_written_once() {
        let compiled = |allow: &[&str]| {
            let entries: Vec<AllowEntry> =
                allow.iter().map(|text| toml::from_str(text).expect("well-formed")).collect();
            Grants::compile(&entries, Provider::Alibaba)
                .map(|(grants, _)| grants.limit("ecs", "CreateSnapshot").map(|limit| limit.to_string()))
                .map_err(|mut findings| {
                    let finding = findings.remove(0);
                    format!("{}.{}: {}", finding.entry, finding.key, finding.problem)
                })
        };
        let snapshot = "action = 'ecs:CreateSnapshot'";
        let limited = "action = 'ecs:CreateSnapshot'\nlimit = '50/hour'";
        assert_eq!(compiled(&[snapshot]), Ok(None));
        assert_eq!(compiled(&[snapshot, limited]), Ok(Some("50/hour".to_owned())));
        let cases = [
            (vec![limited, limited], "1.limit: `ecs:CreateSnapshot` has a limit already"),
            (
                vec!["action = 'ecs:DescribeDisks'\nlimit = '50/hour'"],
                "0.limit: `ecs:DescribeDisks` is a read",
            ),
            (vec!["action = 'ecs:CreateSnapshot'\nlimit = 'often'"], "0.limit: write a number and `minute`"),
        ];
        for (allow, expected) in cases {
            let problem = compiled(&allow).expect_err(expected);
            assert!(problem.starts_with(expected), "{problem}");
        }
    }

    #[test]
    fn what_destroys_is_granted_for_named_resources_only_and_a_selector_must_say_something() {
        let problem = |allow: &str| {
            let entry: AllowEntry = toml::from_str(allow).expect("well-formed");
            let found =
                Grants::compile(&[entry], Provider::Alibaba).err().map(|mut findings| findings.remove(0));
            found.map(|finding| format!("{}: {}; {}", finding.key, finding.problem, finding.problem.fix()))
        };
        let cases = [
            (
                "action = 'ecs:DeleteInstances'",
                "action: `ecs:DeleteInstances` is destructive (it deletes instances with their data), so it is granted for named resources only; add `resource = [\"...\"]` with the ids it may act on",
            ),
            (
                "action = 'ecs:StopInstances'\nresource = ['*']",
                "resource: `ecs:StopInstances` is destructive, so `*` must be one resource's id; write out each id, or select by what a read shows: `{ tag = { env = \"lab\" } }`",
            ),
            (
                "action = 'ecs:RebootInstance'\nresource = [{ name = '*' }]",
                "resource: `ecs:RebootInstance` is of class once, and `{ name = \"*\" }` leaves nothing out; say what its resources have in common, such as a tag",
            ),
            (
                "action = 'ecs:StartInstance'\nresource = [{ }]",
                "resource: an empty selector selects nothing; write one of `tag`, `name`, `charge-type` and `group`",
            ),
            (
                "action = 'ecs:DeleteKeyPairs'\nresource = [{ tag = { env = 'lab' } }]",
                "resource: no read shows the tags of what `ecs:DeleteKeyPairs` acts on; write out each id",
            ),
            (
                "action = 'ecs:CreateSnapshot'\nwindow = { from = '25:00', zone = 'UTC' }",
                "window: `25:00` is not a time of day: write it as in `22:00`; ",
            ),
        ];
        for (allow, expected) in cases {
            assert_eq!(problem(allow).as_deref(), Some(expected), "{allow}");
        }
        for good in [
            "action = 'ecs:RebootInstance'\nresource = [{ tag = { env = 'lab' } }, 'i-1']",
            "action = 'ecs:DeleteInstances'\nresource = [{ name = 'lab-*', charge-type = 'PostPaid' }]",
            "action = 'ecs:StartInstance'\nresource = ['i-prod-*', { group = '*' }]",
            "action = 'ecs:Describe*'\nresource = [{ tag = { env = 'lab' } }]",
            "action = 'ecs:CreateSnapshot'\nwindow = { from = '22:00', to = '06:00', zone = 'Asia/Shanghai', days = ['fri'] }",
        ] {
            assert_eq!(problem(good), None, "{good}");
        }
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

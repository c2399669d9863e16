//! CloudMonitor 2019-01-01: rules for system events, where each sends what it takes, and test events through them. Field names as in
//! the vendor's SDK model. Leaves sending to `deliver`. Tested below and by `tests/tests/it/setup.rs`.

use crate::answer::{ApiError, Outcome, object};
use crate::cloud::{Call, Cloud};
use crate::emit::{Form, Subscriber};
use crate::flat::{self, Params};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The API version.
pub(crate) const VERSION: &str = "2019-01-01";
/// Patterns of a rule, and names of one pattern.
const LISTED_MAX: usize = 50;
/// Targets of one kind in one request.
const TARGETS_MAX: usize = 5;

/// The rules by name.
pub(crate) type Rules = BTreeMap<String, Rule>;

/// One rule.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    is_enabled: bool,
    patterns: Vec<Pattern>,
    /// By their ids.
    targets: BTreeMap<String, Target>,
}

/// What a rule takes. A list that is empty leaves nothing out.
#[derive(Debug, Clone)]
struct Pattern {
    product: String,
    names: Vec<String>,
    levels: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Queue { name: String, region: String },
    Url(String),
}

/// A test event on its way to the targets of the rules that take it.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) to: Vec<Subscriber>,
    pub(crate) body: Value,
}

/// Carries an action out; `None` where there is none of this name.
pub(crate) fn answer(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Option<Outcome> {
    Some(match call.action {
        "PutEventRule" => put_rule(cloud, call, params),
        "PutEventRuleTargets" => put_targets(cloud, call, params),
        "DescribeEventRuleTargetList" => describe_targets(cloud, params),
        "SendDryRunSystemEvent" => send_test_event(cloud, call, params),
        _ => return None,
    })
}

impl Cloud {
    /// Whom rules tell of a system event.
    pub(crate) fn told_of(&self, product: &str, name: &str, level: &str) -> Vec<Subscriber> {
        let rules = self.rules.values().filter(|rule| rule.is_enabled);
        let taking = rules.filter(|rule| rule.patterns.iter().any(|one| one.takes(product, name, level)));
        taking.flat_map(|rule| rule.targets.values().map(Target::subscriber)).collect()
    }
}

impl Pattern {
    fn takes(&self, product: &str, name: &str, level: &str) -> bool {
        let in_list = |list: &[String], value: &str| {
            list.is_empty() || list.iter().any(|one| one == value || one == "*")
        };
        self.product.eq_ignore_ascii_case(product)
            && in_list(&self.names, name)
            && in_list(&self.levels, level)
    }
}

impl Target {
    fn subscriber(&self) -> Subscriber {
        match self {
            Self::Queue { name, .. } => Subscriber { url: format!("mns:{name}"), form: Form::Cloudmonitor },
            Self::Url(url) => Subscriber { url: url.clone(), form: Form::UrlCallback },
        }
    }
}

/// What is there under the name is changed, and keeps its targets.
fn put_rule(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let name = flat::required(params, "RuleName")?;
    let patterns: Vec<Pattern> = (1..=LISTED_MAX)
        .map_while(|nth| {
            let product = flat::optional(params, &format!("EventPattern.{nth}.Product"))?.to_owned();
            let list = |what: &str| listed(params, &format!("EventPattern.{nth}.{what}"));
            Some(Pattern { product, names: list("NameList"), levels: list("LevelList") })
        })
        .collect();
    if patterns.is_empty() {
        flat::required(params, "EventPattern.1.Product")?;
    }
    let is_enabled = flat::optional(params, "State") != Some("DISABLED");
    let targets = cloud.rules.remove(name).map(|rule| rule.targets).unwrap_or_default();
    cloud.rules.insert(name.to_owned(), Rule { is_enabled, patterns, targets });
    cloud.record_effect(call, name);
    done(json!({ "Data": "1" }))
}

fn put_targets(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let name = flat::required(params, "RuleName")?;
    let rule = cloud.rules.get_mut(name).ok_or_else(rule_not_found)?;
    for nth in 1..=TARGETS_MAX {
        let text = |what: String| flat::optional(params, &what).map(str::to_owned);
        let mns = |key: &str| text(format!("MnsParameters.{nth}.{key}"));
        let webhook = |key: &str| text(format!("WebhookParameters.{nth}.{key}"));
        if let (Some(id), Some(name)) = (mns("Id"), mns("Queue")) {
            rule.targets.insert(id, Target::Queue { name, region: mns("Region").unwrap_or_default() });
        }
        if let (Some(id), Some(url)) = (webhook("Id"), webhook("Url")) {
            rule.targets.insert(id, Target::Url(url));
        }
    }
    cloud.record_effect(call, name);
    done(json!({ "FailedParameterCount": "0" }))
}

fn describe_targets(cloud: &Cloud, params: &Params) -> Outcome {
    let rule = cloud.rules.get(flat::required(params, "RuleName")?).ok_or_else(rule_not_found)?;
    let (mut queues, mut urls) = (Vec::new(), Vec::new());
    for (id, target) in &rule.targets {
        match target {
            Target::Queue { name, region } => {
                queues.push(json!({ "Id": id, "Queue": name, "Region": region }))
            }
            Target::Url(url) => {
                urls.push(json!({ "Id": id, "Protocol": "http", "Method": "POST", "Url": url }))
            }
        }
    }
    done(json!({
        "MnsParameters": { "MnsParameter": queues }, "WebhookParameters": { "WebhookParameter": urls },
    }))
}

/// Goes through the rules as an event of the product would; a rule that takes none of it is no error.
fn send_test_event(cloud: &mut Cloud, call: &Call<'_>, params: &Params) -> Outcome {
    let (product, name) = (flat::required(params, "Product")?, flat::required(params, "EventName")?);
    let content = flat::optional(params, "EventContent").unwrap_or("{}");
    let body: Value = serde_json::from_str(content).map_err(|_| flat::invalid("EventContent"))?;
    let to = cloud.told_of(product, name, body["level"].as_str().unwrap_or_default());
    cloud.record_effect(call, name);
    cloud.sent.push(Sent { to, body });
    done(json!({}))
}

fn listed(params: &Params, name: &str) -> Vec<String> {
    let one = |nth: usize| flat::optional(params, &format!("{name}.{nth}")).map(str::to_owned);
    (1..=LISTED_MAX).map_while(one).collect()
}

/// CloudMonitor repeats an HTTP status in its answers.
fn done(mut answer: Value) -> Outcome {
    answer["Code"] = "200".into();
    answer["Success"] = true.into();
    Ok(object(answer))
}

fn rule_not_found() -> ApiError {
    ApiError::new(404, "ResourceNotFound", "The specified resource is not found.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_takes_what_its_lists_name_and_leaves_nothing_out_where_they_are_empty() {
        let pattern = |names: &[&str], levels: &[&str]| Pattern {
            product: "ECS".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            levels: levels.iter().map(|level| (*level).to_owned()).collect(),
        };
        assert!(pattern(&[], &[]).takes("ecs", "Disk:Stalled:Executing", "CRITICAL"));
        assert!(pattern(&["a", "b"], &["*"]).takes("ECS", "b", "WARN"));
        assert!(!pattern(&["a"], &[]).takes("ECS", "b", "WARN"));
        assert!(!pattern(&[], &["CRITICAL"]).takes("ECS", "b", "WARN"));
        assert!(!pattern(&[], &[]).takes("RDS", "b", "WARN"));
    }
}

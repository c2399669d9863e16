//! `opsward catalog`: what an operator, or a reviewer, is shown of the actions known; and the catalog held against the vendors'
//! schemas, of which `tests/schemas/actions.json` has the names.

use crate::harness::World;
use opsward_core::catalog::{self, Action, Paging, Provider, Rate};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

async fn opsward(args: &[&str]) -> (Option<i32>, String) {
    let world = World::new().await;
    let ended = world.command(args).output().await.expect("it runs");
    let printed = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8(printed).expect("text"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_is_listed_with_its_class_and_what_settled_it() {
    let (code, printed) = opsward(&["catalog", "ls", "-o", "json"]).await;
    assert_eq!(code, Some(0));
    let listed: Value = serde_json::from_str(&printed).expect("JSON");
    let actions = listed["actions"].as_array().expect("a list");
    assert!(actions.len() >= 150, "{} actions", actions.len());
    for action in actions {
        let class = action["class"].as_str().expect("a class");
        assert!(["read", "token", "convergent", "once"].contains(&class), "{action}");
        assert!(action["source"].as_str().is_some_and(|source| !source.is_empty()), "{action}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_action_is_shown_whole_and_an_unknown_one_with_how_it_is_treated() {
    let (code, shown) = opsward(&["catalog", "show", "cvm:ResetInstance"]).await;
    assert_eq!(code, Some(0));
    let facts = [
        "once: never sent on a guess",
        "InstanceId",
        "10/s per account",
        "cvm:DescribeInstances",
        "RUNNING, STOPPED",
        "a JSON body",
        "sent again after a wait: RequestLimitExceeded.*",
        "the policy may try again later: ",
        "FACTS 12",
    ];
    assert!(facts.iter().all(|fact| shown.contains(fact)), "{shown}");
    let (code, shown) = opsward(&["catalog", "show", "ecs:DeleteSnapshot"]).await;
    assert!(code == Some(0) && shown.contains("ecs:DescribeSnapshots, proved when it is gone"), "{shown}");
    let (code, shown) = opsward(&["catalog", "show", "ecs:CreateSnapshot"]).await;
    assert!(code == Some(0) && shown.contains("with the same token: IdempotentProcessing.*"), "{shown}");
    let (code, shown) = opsward(&["catalog", "show", "ecs:RebootInstance"]).await;
    assert!(code == Some(0) && !shown.contains("with the same token"), "it takes none: {shown}");
    let (code, shown) = opsward(&["catalog", "show", "mns:DeleteMessage"]).await;
    let target = "no client for yet: DELETE /queues/{QueueName}/messages?ReceiptHandle";
    assert!(code == Some(0) && shown.contains(target), "{shown}");
    let (_, shown) = opsward(&["catalog", "show", "ecs:DeleteInstances"]).await;
    assert!(
        shown.contains("it deletes instances with their data: granted for named resources only"),
        "{shown}"
    );
    let (code, shown) = opsward(&["catalog", "show", "ecs:WipeEverything"]).await;
    assert!(code != Some(0) && shown.contains("class once"), "{shown}");
    let (code, shown) = opsward(&["catalog", "ls", "ResetInst", "--class", "read"]).await;
    assert!(code == Some(0) && shown.contains("0 actions"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_is_shown_with_the_codes_that_hold_for_it() {
    let (code, shown) = opsward(&["catalog", "show", "cbs:CreateSnapshot", "-o", "json"]).await;
    assert_eq!(code, Some(0));
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let codes = shown["codes"].as_array().expect("a list");
    for (code, scope, means, not_executed, retryable) in [
        ("ResourceUnavailable.NotSupportSnapshot", "cbs:CreateSnapshot", "failed", false, false),
        ("ResourceUnavailable.*", "tencent", "conflict", false, true),
        ("RequestLimitExceeded.*", "tencent", "wait", true, true),
        ("AuthFailure.TokenFailure", "tencent", "refresh-credentials", true, false),
        ("InternalError.*", "tencent", "unclear", false, true),
    ] {
        let row = codes.iter().find(|row| row["code"] == code).expect(code);
        assert!(row["source"].as_str().is_some_and(|source| !source.is_empty()), "{row}");
        assert_eq!((row["scope"].as_str(), row["means"].as_str()), (Some(scope), Some(means)), "{code}");
        assert_eq!((&row["not_executed"], &row["retryable"]), (&not_executed.into(), &retryable.into()));
    }
}

/// An action as the vendor's SDK models it: all its parameters with their paths, and what its answer has for paging.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    provider: Provider,
    service: String,
    version: String,
    action: String,
    params_in: Value,
    params: BTreeSet<String>,
    answer: BTreeSet<String>,
}

impl Schema {
    fn takes(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.params.contains(*name))
    }

    fn paging(&self) -> Option<Paging> {
        let has_total = ["TotalCount", "Total"].iter().any(|total| self.answer.contains(*total));
        if self.takes(&["NextToken"]) && self.answer.contains("NextToken") {
            Some(Paging::NextToken)
        } else if self.takes(&["Offset", "Limit"]) && has_total {
            Some(Paging::Offset)
        } else if self.takes(&["PageNumber", "PageSize"]) && has_total {
            Some(Paging::PageNumber)
        } else {
            None
        }
    }
}

#[test]
fn every_action_of_the_schemas_is_in_the_catalog_as_the_vendor_models_it() {
    let schemas: Vec<Schema> =
        serde_json::from_str(include_str!("../../schemas/actions.json")).expect("schemas");
    assert_eq!(schemas.len(), 70);
    for schema in &schemas {
        let at = format!("{}:{}", schema.service, schema.action);
        let Some(known) = catalog::find(schema.provider, &schema.service, &schema.action) else {
            panic!("{at} is not in the catalog")
        };
        let if_taken = |name: &str| schema.takes(&[name]).then(|| name.to_owned());
        assert_eq!(known.version, schema.version, "{at}");
        assert_eq!(serde_json::to_value(known.params_in).expect("a word"), schema.params_in, "{at}");
        assert_eq!(known.token_field, if_taken("ClientToken"), "{at}");
        assert_eq!(known.dry_run_field, if_taken("DryRun"), "{at}");
        assert_eq!(known.region_field, if_taken("RegionId"), "{at}");
        assert_eq!(known.paging, schema.paging(), "{at}");
        for resource in known.resource_params() {
            assert!(schema.params.contains(&resource), "{at} has no parameter `{resource}`");
        }
        assert!(catalog::codes(known).any(|row| row.means.is_not_executed()), "{at}");
        assert!(!known.source.is_empty(), "{at}");
    }
}

#[test]
fn every_call_of_the_message_service_is_in_the_catalog() {
    let names = "BatchDeleteMessage BatchPeekMessage BatchReceiveMessage BatchSendMessage ChangeMessageVisibility CreateQueue \
        CreateTopic DeleteMessage DeleteQueue DeleteTopic GetAccountAttributes GetQueueAttributes GetSubscriptionAttributes \
        GetTopicAttributes ListQueue ListSubscriptionByTopic ListTopic PeekMessage PublishMessage ReceiveMessage SendMessage \
        SetAccountAttributes SetQueueAttributes SetSubscriptionAttributes SetTopicAttributes Subscribe Unsubscribe";
    let known: Vec<&str> =
        catalog::actions(Provider::Alibaba, "mns").map(|action| action.name.as_str()).collect();
    assert_eq!(known, names.split_whitespace().collect::<Vec<_>>());
    assert_eq!(catalog::version_of(Provider::Alibaba, "mns"), Some("2015-06-06"));
}

#[test]
fn limits_and_recipes_are_those_of_the_vendors_pages() {
    let find = |name: &str| -> &'static Action {
        let (service, action) = name.split_once(':').expect("service:Action");
        let found = catalog::PROVIDERS.into_iter().find_map(|vendor| catalog::find(vendor, service, action));
        found.expect(name)
    };
    for (action, rate) in [
        ("cms:DescribeMetricLast", "50/s"),
        ("cms:DescribeMetricList", "50/s"),
        ("cvm:ResetInstance", "10/s"),
        ("cvm:StartInstances", "10/s"),
        ("cvm:RebootInstances", "10/s"),
        ("cvm:StopInstances", "10/s"),
        ("cvm:DescribeInstances", "40/s"),
        ("cbs:CreateSnapshot", "20/s"),
        ("cbs:DescribeDisks", "100/s"),
    ] {
        assert_eq!(find(action).rate, Rate::try_from(rate.to_owned()).ok(), "{action}");
    }
    for (action, read, goal, settled) in [
        ("cvm:ResetInstance", "DescribeInstances", None, ["RUNNING", "STOPPED"]),
        ("cvm:RebootInstances", "DescribeInstances", None, ["RUNNING", "STOPPED"]),
        ("cvm:StartInstances", "DescribeInstances", Some("RUNNING"), ["RUNNING", "STOPPED"]),
        ("cvm:StopInstances", "DescribeInstances", Some("STOPPED"), ["RUNNING", "STOPPED"]),
        ("ecs:StartInstance", "DescribeInstances", Some("Running"), ["Running", "Stopped"]),
        ("ecs:StopInstances", "DescribeInstances", Some("Stopped"), ["Running", "Stopped"]),
        ("ess:EnableScalingGroup", "DescribeScalingGroups", Some("Active"), ["Active", "Inactive"]),
        (
            "as:DisableAutoScalingGroup",
            "DescribeAutoScalingGroups",
            Some("DISABLED"),
            ["ENABLED", "DISABLED"],
        ),
    ] {
        let recipe = find(action).read_back.as_ref().expect(action);
        assert_eq!((recipe.action.as_str(), recipe.goal.as_deref()), (read, goal), "{action}");
        assert_eq!(recipe.settled, settled, "{action}");
    }
}

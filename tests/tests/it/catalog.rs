//! `opsward catalog`: what an operator, or a reviewer, is shown of the actions known.

use crate::harness::World;
use serde_json::Value;

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
        "FACTS 12",
    ];
    assert!(facts.iter().all(|fact| shown.contains(fact)), "{shown}");
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

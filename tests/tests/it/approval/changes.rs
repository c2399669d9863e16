//! What is not any more as it was approved: it is asked again, and nothing is done that was not approved.

use super::{ONE, Stage, call};
use crate::harness::eventually;
use serde_json::{Value, json};

/// The facts that a policy had read differ when it begins for real.
pub(crate) async fn changed_facts_are_asked_again(wrong: &str) -> Result<(), String> {
    let stage = Stage::new(ONE).await;
    let host = stage.world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    stage.send(&host, "e", stage.snapshots(2)).await;
    let first = stage.asked(&host, 1).await;
    stage
        .world
        .patch_state(json!({ "alibaba": { "disks": { &stage.disks[2]: { "size_gb": 4000 } } } }))
        .await;
    if stage.approve(&host, &first, "alice").await != 200 {
        return Err("not approved".to_owned());
    }
    let asked = eventually("another asking, or the end", async || {
        let asked = stage.waiting(&host).await?;
        let again = asked["id"].as_str().is_some_and(|id| id.ends_with("-2"));
        let ended = stage.world.runs(&host).await[0]["state"] == "done";
        (again || ended).then_some(asked)
    })
    .await;
    let effects = stage.effects().await;
    if asked.is_null() || !effects.is_empty() {
        return Err(format!("made on other facts than were approved: {effects:?}"));
    }
    assert_eq!(asked["changed"], "what the policy has read");
    assert_eq!(stage.approve(&host, &first, "bob").await, 409, "the old approval is void");
    assert_eq!(stage.approve(&host, &asked, "alice").await, 200);
    let run = stage.ended(&host).await;
    match (run["state"].as_str(), stage.effects().await == stage.of_disks(&[0, 1])) {
        (Some("done"), true) => Ok(()),
        (state, _) => Err(format!("{state:?}, {:?}", stage.effects().await)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_that_have_changed_are_asked_again() {
    changed_facts_are_asked_again("").await.expect("asked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parameter_that_turns_out_otherwise_stops_the_run_before_it_is_sent() {
    let stage = Stage::new(ONE).await;
    let host = stage.world.start().await;
    // The second effect carries what is read after the first: in truth a machine takes its time to stop.
    stage.world.patch_state(json!({ "settle": { "stop_ms": 600_000 } })).await;
    let stop = call("StopInstance", json!({ "InstanceId": stage.instance }));
    let ids = json!([stage.instance]).to_string();
    let look = call("DescribeInstances", json!({ "InstanceIds": ids }));
    // Of another machine's disk: a cloud makes none of a machine that stops.
    let state = stage.world.sim_get("state").await;
    let disks = state["alibaba"]["disks"].as_object().expect("a map").iter();
    let others = |(_, disk): &(&String, &Value)| {
        disk["instance_id"] != stage.instance && disk["region"] == "cn-hangzhou"
    };
    let (other, _) = disks.into_iter().find(others).expect("another machine's");
    let named = json!({ "DiskId": other, "Description": { "$answer": [1, "/Instances/Instance/0/Status"] } });
    stage.send(&host, "e", json!({ "calls": [stop, look, call("CreateSnapshot", named)] })).await;
    let asked = stage.asked(&host, 1).await;
    let second = |asked: &Value| asked["calls"][1]["params"].as_str().expect("text").to_owned();
    assert!(!second(&asked).contains(r#""Description":"Stopping""#), "{asked:#}");
    assert_eq!(stage.approve(&host, &asked, "alice").await, 200);

    let stopped = vec![format!("StopInstance {}", stage.instance)];
    let asked = stage.asked(&host, 2).await;
    assert_eq!(stage.effects().await, stopped, "the altered one is not sent");
    assert_eq!(asked["calls"][0]["fate"], "made");
    assert_eq!(stage.approve(&host, &asked, "alice").await, 200);
    assert_eq!(stage.ended(&host).await["state"], "done");
    let [first, last] = [0, 1].map(|at| async_effect(&stage, at));
    let (first, last) = tokio::join!(first, last);
    assert_eq!(first["action"], "StopInstance");
    let approved: Value = serde_json::from_str(&second(&asked)).expect("JSON");
    assert_eq!(last["params"]["Description"], approved["Description"], "what was approved is what was sent");
    assert_eq!(stage.effects().await.len(), 2, "each once");
}

async fn async_effect(stage: &Stage, at: usize) -> Value {
    stage.world.sim_get("effects").await[at].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_an_effect_can_tell_is_approved_as_that_and_only_the_real_value_passes() {
    let stage = Stage::new(ONE).await;
    let host = stage.world.start().await;
    let named = json!({ "DiskId": stage.disks[1], "Description": { "$answer": [0, "/RequestId"] } });
    stage.send(&host, "e", json!({ "calls": [stage.snapshot(0), call("CreateSnapshot", named)] })).await;
    let asked = stage.asked(&host, 1).await;
    let shown = asked["calls"][1]["params"].as_str().expect("text");
    assert!(shown.contains(r#""Description":"<RequestId of 1>""#), "{shown}");
    assert_eq!(stage.approve(&host, &asked, "alice").await, 200);
    assert_eq!(stage.ended(&host).await["state"], "done");
    assert_eq!(stage.effects().await, stage.of_disks(&[0, 1]));
    let effects = stage.world.sim_get("effects").await;
    let real = effects[0]["request_id"].as_str().expect("the cloud's own");
    assert_eq!(effects[1]["params"]["Description"], real);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_file_is_asked_again_and_a_mode_stepped_back_to_is_obeyed() {
    let stage = Stage::new(ONE).await;
    let host = stage.world.start().await;
    let until_live = async |mode: &str, of_config: &str| {
        eventually("the changed file to be live", async || {
            let policies = stage.get(&host, "/api/v1/policies").await?;
            let policy =
                policies["policies"].as_array()?.iter().find(|one| one["name"] == "careful")?.clone();
            let actions = policy["may"].as_array()?.len().to_string();
            (policy["mode"] == mode && (of_config.is_empty() || actions == of_config)).then_some(())
        })
        .await;
    };
    stage.send(&host, "e", stage.snapshots(1)).await;
    let asked = stage.asked(&host, 1).await;
    // One grant more: what may become of the calls is another question by now.
    stage.policy("approve", ONE, "[[allow]]\naction = \"ecs:StartInstance\"\n");
    until_live("approve", "5").await;
    assert_eq!(stage.approve(&host, &asked, "alice").await, 200);
    let asked = stage.asked(&host, 2).await;
    assert_eq!((asked["changed"].as_str(), stage.effects().await.len()), (Some("the policy's file"), 0));
    // Bob is no approver any more: what he says by then does not count.
    stage.policy("approve", "approvers = [\"alice\"]", "[[allow]]\naction = \"ecs:StartInstance\"\n");
    eventually("the approvers to be live", async || {
        let policies = stage.get(&host, "/api/v1/policies").await?;
        let policy = policies["policies"].as_array()?.iter().find(|one| one["name"] == "careful")?.clone();
        (policy["approvers"] == json!(["alice"])).then_some(())
    })
    .await;
    assert_eq!(stage.approve(&host, &asked, "bob").await, 200, "he was when it was asked");
    let asked = stage.asked(&host, 3).await;
    assert_eq!(asked["approvers"], json!(["alice"]));
    assert_eq!(stage.effects().await.len(), 0);
    // From enforce it would be obeyed as well: a run keeps the mode it began with, unless the file is stricter.
    stage.policy("dry-run", "", "");
    until_live("dry-run", "").await;
    assert_eq!(stage.approve(&host, &asked, "alice").await, 200);
    let run = stage.ended(&host).await;
    assert_eq!((run["state"].as_str(), stage.effects().await.len()), (Some("done"), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_replaced_between_plan_and_approval_changes_nothing_of_what_is_made() {
    let stage = Stage::new(ONE).await;
    let host = stage.world.start().await;
    stage.send(&host, "e", stage.snapshots(1)).await;
    let asked = stage.asked(&host, 1).await;
    let other =
        opsward_bundle::PLUGINS.iter().find(|plugin| plugin.name == "snapshot-on-reboot").expect("bundled");
    std::fs::write(stage.world.plugins().join("calls.wasm"), other.bytes).expect("writable");
    let digest = asked["digest"].clone();
    eventually("the other plugin", async || {
        let policies = stage.get(&host, "/api/v1/policies").await?;
        let policy = policies["policies"].as_array()?.iter().find(|one| one["name"] == "careful")?.clone();
        (policy["plugin"]["digest"] != digest).then_some(())
    })
    .await;
    assert_eq!(stage.approve(&host, &asked, "alice").await, 200);
    let run = stage.ended(&host).await;
    assert_eq!((run["state"].as_str(), &run["digest"]), (Some("done"), &digest), "a run keeps its revision");
    assert_eq!(stage.effects().await, stage.of_disks(&[0]));
}

//! Convergent effects whose answers are lost: what a second sending runs into may be the first one's doing.

use super::stage::{self, Class, Lane};
use super::{HASTE, eventually, post, runs_of};
use crate::harness::{Host, World};
use serde_json::{Value, json};

/// Stops a machine while the cloud lies as told; how the run ended, and how often the machine was stopped.
async fn stopped(settle: Value, faults: &[Value]) -> (Value, usize) {
    let lane = &lane(Class::PowerAlibaba);
    let world: World = stage::set(std::slice::from_ref(lane)).await;
    world.patch_state(json!({ "settle": settle })).await;
    for fault in faults {
        world.sim_post("faults", fault.clone()).await;
    }
    let host = world.start_with(&[("OPSWARD_HASTE", HASTE)]).await.expect("ready");
    post(&world, &host, &stage::event(lane, "stop", "StopInstance")).await;
    let ended = eventually(async || {
        let run = runs_of(&world, &host, lane).await.into_iter().next()?;
        ["done", "failed", "held", "dead"].contains(&run["state"].as_str()?).then_some(run)
    });
    (ended.await.expect("the run ends"), world.effects("StopInstance").await.values().sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sending_whose_answer_is_lost_is_judged_when_the_machine_has_settled() {
    let lost = |kind: &str| json!({ "action": "StopInstance", "kind": kind });
    let (run, stops) = stopped(json!({ "stop_ms": 1500 }), &[lost("drop-before"), lost("drop-after")]).await;
    assert_eq!((run["state"].as_str(), stops), (Some("done"), 1), "{run:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sending_that_is_refused_because_of_the_first_is_judged_by_the_machine() {
    let lost = json!({ "action": "StopInstance", "kind": "drop-after" });
    // The reading before the effect meets none: nothing has changed by then.
    let behind = json!({ "action": "DescribeInstances", "kind": "stale" });
    let (run, stops) = stopped(json!({ "stop_ms": 1500 }), &[lost, behind]).await;
    assert_eq!((run["state"].as_str(), stops), (Some("done"), 1), "{run:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sendings_that_get_lost_are_repeated_as_long_as_the_goal_is_unmet_and_not_for_ever() {
    for (lost, state, made) in [(4, "done", 1), (5, "held", 0)] {
        let fault = json!({ "action": "StopInstance", "kind": "drop-before", "times": lost });
        let (run, stops) = stopped(json!({}), &[fault]).await;
        assert_eq!((run["state"].as_str(), stops), (Some(state), made), "{lost} lost: {run:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_lags_behind_two_changes_is_not_believed() {
    a_lag_of_two_changes("").await.expect("it looks again");
}

/// Stops a machine that was started just before, while the request gets lost and a read shows it as it was before its start; the
/// host is `wrong` in this way.
pub(crate) async fn a_lag_of_two_changes(wrong: &str) -> Result<(), String> {
    let lane = lane(Class::PowerAlibaba);
    let world = stage::set(std::slice::from_ref(&lane)).await;
    let stopped = json!({ "status": { "state": "Stopped" } });
    world.patch_state(json!({ "alibaba": { "instances": { &lane.machine: stopped } } })).await;
    let host = world.start_with(&[("OPSWARD_HASTE", HASTE), ("OPSWARD_WRONG", wrong)]).await.expect("ready");
    post(&world, &host, &stage::event(&lane, "start", "StartInstance")).await;
    ended(&world, &host, &lane, 1).await;
    world.sim_post("faults", json!({ "action": "StopInstance", "kind": "drop-before" })).await;
    // The baseline meets the first.
    let behind = json!({ "action": "DescribeInstances", "kind": "stale", "times": 2 });
    world.sim_post("faults", behind).await;
    post(&world, &host, &stage::event(&lane, "stop", "StopInstance")).await;
    ended(&world, &host, &lane, 2).await;
    match world.effects("StopInstance").await.values().sum() {
        1 => Ok(()),
        stops => Err(format!("a run says that a machine was stopped, and it was {stops} times")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_says_success_while_the_machine_is_stopping_is_not_taken_as_done() {
    a_success_while_stopping("").await.expect("it looks at the state");
}

/// A request to stop a machine gets lost while somebody else's stop of it says SUCCESS and the machine is STOPPING; that stop
/// comes to nothing then. The host is `wrong` in this way.
pub(crate) async fn a_success_while_stopping(wrong: &str) -> Result<(), String> {
    let lane = lane(Class::PowerTencent);
    let world = stage::set(std::slice::from_ref(&lane)).await;
    let put = async |machine: Value| {
        world.patch_state(json!({ "tencent": { "instances": { &lane.machine: machine } } })).await;
    };
    let operation = json!({ "action": "StopInstances", "request_id": "others", "done_at": 0 });
    put(json!({ "state": { "state": "STOPPING" }, "latest_operation": operation })).await;
    world.sim_post("faults", json!({ "action": "StopInstances", "kind": "drop-before" })).await;
    let host = world.start_with(&[("OPSWARD_HASTE", HASTE), ("OPSWARD_WRONG", wrong)]).await.expect("ready");
    post(&world, &host, &stage::event(&lane, "stop", "StopInstances")).await;
    let looked = eventually(async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).unwrap_or_default();
        let is_over = runs_of(&world, &host, &lane).await.iter().any(|run| run["state"] == "done");
        (is_over || log.contains("its state is read again")).then_some(())
    });
    looked.await.ok_or("the host did not look at the machine")?;
    put(json!({ "state": { "state": "RUNNING" } })).await;
    ended(&world, &host, &lane, 1).await;
    match world.effects("StopInstances").await.values().sum() {
        1 => Ok(()),
        stops => Err(format!("a run says that a machine was stopped, and it was {stops} times")),
    }
}

fn lane(class: Class) -> Lane {
    stage::lanes().into_iter().find(|lane| lane.class == class).expect("each class has a lane")
}

/// Waits until so many runs of the lane's policy are done.
async fn ended(world: &World, host: &Host, lane: &Lane, count: usize) {
    let done = eventually(async || {
        let runs = runs_of(world, host, lane).await;
        (runs.iter().filter(|run| run["state"] == "done").count() == count).then_some(())
    });
    assert!(done.await.is_some(), "{:#?}", runs_of(world, host, lane).await);
}

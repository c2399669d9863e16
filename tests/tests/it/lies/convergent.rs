//! Convergent effects whose answers are lost: what a second sending runs into may be the first one's doing.

use super::stage::{self, Class, Lane};
use super::{HASTE, eventually, post, runs_of};
use crate::harness::World;
use serde_json::{Value, json};

/// Stops a machine while the cloud lies as told; how the run ended, and how often the machine was stopped.
async fn stopped(settle: Value, faults: &[Value]) -> (Value, usize) {
    let lanes: Vec<Lane> =
        stage::lanes().into_iter().filter(|lane| lane.class == Class::PowerAlibaba).collect();
    let lane = &lanes[0];
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

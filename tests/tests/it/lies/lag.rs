//! Reads that lag behind two operations of the same kind: the earlier one of them is not taken for the present effect.

use super::stage::{self, Class, Lane};
use super::{HASTE, eventually, post, runs_of};
use crate::harness::World;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_reset_is_not_taken_for_one_whose_answer_is_lost() {
    // The baseline lags behind; in the second case the reading after the effect does as well.
    for (lost, reads_behind) in [("drop-before", 1), ("drop-after", 2)] {
        let lanes: Vec<Lane> = stage::lanes().into_iter().filter(|lane| lane.class == Class::Reset).collect();
        let lane = &lanes[0];
        let world: World = stage::set(std::slice::from_ref(lane)).await;
        let host = world.start_with(&[("OPSWARD_HASTE", HASTE)]).await.expect("ready");
        for nth in 1..=3 {
            if nth == 3 {
                world.sim_post("faults", json!({ "action": "ResetInstance", "kind": lost })).await;
                let behind = json!({ "action": "DescribeInstances", "kind": "stale", "times": reads_behind });
                world.sim_post("faults", behind).await;
            }
            post(&world, &host, &stage::event(lane, &format!("e-{nth}"), "ResetInstance")).await;
            let is_done = |run: &Value| run["state"] == "done";
            let done = eventually(async || {
                let runs = runs_of(&world, &host, lane).await;
                (runs.len() == nth && runs.iter().all(is_done)).then_some(())
            });
            assert!(done.await.is_some(), "{lost}: {:#?}", runs_of(&world, &host, lane).await);
            let resets: usize = world.effects("ResetInstance").await.values().sum();
            assert_eq!(resets, nth, "{lost}");
        }
    }
}

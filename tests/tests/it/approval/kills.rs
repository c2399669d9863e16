//! Hosts that die around an approval, at each place: nothing is done before it, and what was approved is done once.

use super::{ONE, Stage};
use crate::harness::{Host, eventually};
use std::time::Duration;

/// Where a host dies, and at which passage.
const PLACES: [&str; 18] = [
    "before-asked:1",
    "before-sleep:1",
    "after-sleep:1",
    "before-decision:1",
    "after-decision:1",
    "after-claim:2",
    "after-started:2",
    "before-sleep:2",
    "after-sleep:2",
    "before-intent:1",
    "after-intent:1",
    "after-send:1",
    "before-result:1",
    "after-result:1",
    "before-intent:2",
    "after-intent:2",
    "after-send:2",
    "before-finish:1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_dies_anywhere_makes_what_was_approved_and_makes_it_once() {
    for place in PLACES {
        dies_at(place).await;
    }
}

async fn dies_at(place: &str) {
    let stage = Stage::new(ONE).await;
    let mut host = stage.world.start_with(&[("OPSWARD_FAILPOINT", place)]).await.expect("ready");
    stage.send(&host, "e", stage.snapshots(2)).await;
    let mut deaths = 0;
    let mut approved = 0;
    loop {
        // The host may be dead by any of these: then the next one goes on.
        let Some(asked) = next(&stage, &mut host).await else {
            deaths += 1;
            host = stage.world.start().await;
            continue;
        };
        if asked.is_null() {
            break;
        }
        assert_eq!(stage.effects().await, Vec::<String>::new(), "{place}: before it was approved");
        approved += usize::from(stage.decide(&host, &asked, "approve", "alice").await.is_some());
    }
    assert_eq!(deaths, 1, "{place}: it is not passed");
    assert!(approved <= 1, "{place}: asked again although nothing has changed");
    assert_eq!(stage.effects().await, stage.of_disks(&[0, 1]), "{place}");
    host.kill().await;
}

/// What the run asks, null once it is done; `None` where the host is dead.
async fn next(stage: &Stage, host: &mut Host) -> Option<serde_json::Value> {
    eventually("an asking, the end, or a death", async || {
        if host.child.try_wait().expect("looked").is_some() {
            return Some(None);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let asked = stage.waiting(host).await?;
        if !asked.is_null() {
            return Some(Some(asked));
        }
        let listed = stage.get(host, "/api/v1/runs").await?;
        (listed["runs"][0]["state"] == "done").then_some(Some(serde_json::Value::Null))
    })
    .await
}

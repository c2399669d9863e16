//! Runs whose policy says that its failure may pass: tried again later and later, given up, and tried again when a person asks.
//! What a try has made, no later one makes again.

use crate::harness::{World, eventually, executed};
use opsward_core::retry::SENDING_MAX;
use serde_json::json;
use std::process::Output;

/// Every disk of the machine has exactly one snapshot.
async fn each_disk_has_one(world: &World, disks: &[String]) {
    let snapshots = world.effects("CreateSnapshot").await;
    assert!(disks.iter().all(|disk| snapshots.get(disk) == Some(&1)), "{snapshots:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_passes_ends_in_success_and_nothing_is_made_twice() {
    let world = World::new().await;
    world.try_snapshots("{ attempts = 20, base = \"1s\", factor = 1.0 }");
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    world.set_disk_status(&disks[1], "Detaching").await;
    world.post(&host, &executed(&instance, "e-passes")).await;
    eventually("the second try", async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).unwrap_or_default();
        log.contains("\"tries\":2").then_some(())
    })
    .await;
    world.set_disk_status(&disks[1], "In_use").await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!((runs.len(), runs[0]["state"].as_str()), (1, Some("done")), "{runs:#?}");
    each_disk_has_one(&world, &disks).await;
    let shown = opsward(&world, &["run", "show", runs[0]["id"].as_str().expect("an id")]).await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("from the start: IncorrectDiskStatus"), "{shown}");
    assert!(shown.contains("ok, made by an earlier try"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_keeps_failing_is_dead_and_tried_again_when_a_person_asks() {
    let world = World::new().await;
    world.try_snapshots("{ attempts = 2, base = \"1s\" }");
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    world.set_disk_status(&disks[1], "Detaching").await;
    world.post(&host, &executed(&instance, "e-stays")).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "dead", "{runs:#?}");
    let id = runs[0]["id"].as_str().expect("an id");

    world.set_disk_status(&disks[1], "In_use").await;
    let told = opsward(&world, &["run", "retry", id, "--by", "ops"]).await;
    assert!(told.status.success(), "{told:?}");
    let done = eventually("the run to be done", async || {
        let runs = world.runs(&host).await;
        (runs[0]["state"] == "done").then_some(runs.len())
    });
    assert_eq!(done.await, 1, "it is the same run");
    each_disk_has_one(&world, &disks).await;
    let refused = opsward(&world, &["run", "retry", id]).await;
    assert!(!refused.status.success(), "a run that is done is not tried again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_throttling_is_not_answered_by_a_storm_of_calls() {
    calls_in_a_storm("").await.expect("within the budget");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sendings_of_a_call_have_one_deadline() {
    let world = World::new().await;
    world.try_snapshots("{ attempts = 1 }");
    // Each answer takes as long as all sendings may.
    let slow = json!({ "action": "DescribeDisks", "kind": "throttle", "times": 100, "delay_ms": 1000 });
    world.sim_post("faults", slow).await;
    assert_eq!(SENDING_MAX.as_secs(), 100);
    let host = world.start_with(&[("OPSWARD_HASTE", "100")]).await.expect("ready");
    let (instance, _) = world.machine(3).await;
    world.post(&host, &executed(&instance, "e-slow")).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "dead", "{runs:#?}");
    assert_eq!(world.sim_get("counts").await["requests"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_over_which_hosts_die_is_parked_and_the_others_go_on() {
    let world = World::new().await;
    let (instance, _) = world.machine(3).await;
    let wrong = [("OPSWARD_WRONG", "die-of-poison"), ("OPSWARD_HASTE", "50")];
    let mut deaths = 0;
    for n in 0.. {
        // It may die of what it has before it is ready.
        let Some(mut host) = world.start_with(&wrong).await else {
            deaths += 1;
            continue;
        };
        if n == 0 {
            // It may die of the event before it has answered for it.
            let answered = world.post(&host, &executed(&instance, "e-poison")).await;
            assert!(matches!(answered, Some(200) | None), "{answered:?}");
        }
        let died = eventually("the host to die, or to park the run", async || {
            let died = host.child.try_wait().expect("asked").is_some();
            let listed = opsward(&world, &["run", "ls", "--state", "dead"]).await;
            let parked = String::from_utf8_lossy(&listed.stdout).contains("10 processes died");
            (died || parked).then_some(died)
        });
        if !died.await {
            let runs = world.runs(&host).await;
            assert_eq!(runs[0]["state"], "dead", "{runs:#?}");
            assert!(runs[0]["note"].as_str().expect("a note").contains("10 processes died"), "{runs:#?}");
            world.post(&host, &executed(&instance, "e-fine")).await;
            let runs = world.settled_runs(&host, 2).await;
            assert_eq!(runs[0]["state"], "done", "{runs:#?}");
            break;
        }
        deaths += 1;
    }
    // The first may come before the claim is on disk, and is then not counted.
    assert!((10..=11).contains(&deaths), "{deaths} deaths");
}

/// Has 40 runs meet a cloud that throttles everything; the host is `wrong` in this way.
pub(crate) async fn calls_in_a_storm(wrong: &str) -> Result<(), String> {
    const RUNS: usize = 40;
    let world = World::new().await;
    world.try_snapshots("{ attempts = 1 }");
    let storm = json!({ "action": "DescribeDisks", "kind": "throttle", "times": 100_000 });
    world.sim_post("faults", storm).await;
    let host = world.start_with(&[("OPSWARD_HASTE", "50"), ("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let (instance, _) = world.machine(3).await;
    for n in 0..RUNS {
        assert_eq!(world.post(&host, &executed(&instance, &format!("e-storm-{n}"))).await, Some(200));
    }
    let runs = world.settled_runs(&host, RUNS).await;
    assert!(runs.iter().all(|run| run["state"] == "dead"), "{runs:#?}");
    let requests = world.sim_get("counts").await["by_action"].to_string();
    let sent = world.sim_get("counts").await["requests"].as_u64().expect("a count");
    // Each run's own, a fifth more, and twenty that were saved.
    let budget = (RUNS + RUNS / 5 + 20) as u64;
    if sent <= budget { Ok(()) } else { Err(format!("{sent} calls, {budget} are paid for: {requests}")) }
}

async fn opsward(world: &World, args: &[&str]) -> Output {
    world.command(args).output().await.expect("it runs")
}

//! Events that never came, told by the cloud's own history: through a whole host and the simulated ECS. What was made of a notification is
//! not made again, and nobody is woken by what happened before the source was there.

use crate::chaos::HASTE;
use crate::harness::{Host, TOKEN, World, eventually};
use crate::pulled::events;
use serde_json::json;

/// A world whose source catches up with these regions, written as a list.
async fn world_that_catches_up(regions: &str) -> World {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let token = "token = { env = \"TEST_TOKEN\" }";
    let opted_in = settings.replace(token, &format!("{token}\ncatch-up = [{regions}]"));
    assert_ne!(opted_in, settings, "the test source opts in");
    world.write("opsward.toml", &opted_in);
    world
}

async fn emit(world: &World, instance: &str) {
    world.sim_post("emit", json!({ "instance": instance, "event": "SystemFailure.Reboot" })).await;
}

/// Waits until the history was read so often more.
async fn looked(world: &World, times: usize) {
    let looks = async || {
        let requests = world.sim_get("requests").await;
        let all = requests.as_array().expect("a list");
        all.iter().filter(|one| one["action"] == "DescribeInstanceHistoryEvents").count()
    };
    let before = looks().await;
    eventually("looks at the history", async || (looks().await >= before + times).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_received_is_caught_up_with_and_what_was_wakes_nobody_again() {
    let world = world_that_catches_up("\"cn-hangzhou\"").await;
    let (instance, disks) = world.machine(3).await;
    emit(&world, &instance).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    looked(&world, 2).await;
    assert_eq!(events(&world, &host).await.len(), 0, "it happened before the source was there");

    // Nobody is told of this one; all that is left of it is its end.
    emit(&world, &instance).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!((runs.len(), runs[0]["state"].as_str()), (1, Some("done")));
    assert_eq!(world.effects("CreateSnapshot").await.len(), disks.len());

    // And this one is posted, as it should be: two notifications, which nobody has signed.
    let url = format!("http://{}/hooks/cloudmonitor/{TOKEN}", host.listen);
    world.sim_post("subscribe", json!({ "url": url })).await;
    emit(&world, &instance).await;
    let woken = world.settled_runs(&host, 3).await.len();
    let host = restarted(&world, host).await;
    looked(&world, 2).await;
    assert_eq!(world.settled_runs(&host, woken).await.len(), woken, "what was acted on wakes nobody again");
    let snapshots = world.effects("CreateSnapshot").await;
    assert!(disks.iter().all(|disk| snapshots.get(disk) == Some(&2)), "one for each incident: {snapshots:?}");
    let incidents: std::collections::BTreeSet<String> =
        events(&world, &host).await.iter().map(|row| row["event"]["incident"].to_string()).collect();
    assert_eq!(incidents.len(), 2, "{incidents:?}");
    assert_eq!(host.terminate().await, Some(0));
}

async fn restarted(world: &World, host: Host) -> Host {
    assert_eq!(host.terminate().await, Some(0));
    world.start_with(&[HASTE]).await.expect("ready")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_refuses_holds_no_other_up() {
    let world = world_that_catches_up("\"cn-beijing\", \"cn-hangzhou\"").await;
    let (instance, _) = world.machine(3).await;
    let refused = json!({ "action": "DescribeInstanceHistoryEvents", "naming": "cn-beijing", "kind": "error-500-before",
        "times": 1_000_000 });
    world.sim_post("faults", refused).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    looked(&world, 2).await;
    emit(&world, &instance).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!((runs.len(), runs[0]["state"].as_str()), (1, Some("done")));
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("a log");
    assert_eq!(log.matches("the cloud's history of cn-beijing").count(), 1, "told once: {log}");
}

//! Natural keys with a running host: several notifications of one incident make one effect, whatever becomes of the first.

use crate::harness::{Host, World, executed};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_notifications_of_one_incident_make_one_snapshot_per_disk() {
    let world = World::new().await;
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    world.post(&host, &notification(&instance, 1)).await;
    world.settled_runs(&host, 1).await;
    world.post(&host, &notification(&instance, 2)).await;
    let runs = world.settled_runs(&host, 2).await;
    judge(&world, &runs, &disks, 2).await;

    let [second, first] = [&runs[0], &runs[1]].map(|run| run["id"].as_str().expect("an id").to_owned());
    let (made, _) = snapshots_of(&world, &host, &first).await;
    let (given, answered) = snapshots_of(&world, &host, &second).await;
    assert_eq!(made.len(), 3);
    assert_eq!(given, made, "the later run got the first's answers");
    assert_eq!(answered, vec![json!({ "once": { "run": first } }); 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_that_comes_while_the_first_is_worked_on_waits_for_its_answer() {
    let world = World::new().await;
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    slow_snapshots(&world, 1500, 3).await;
    world.post(&host, &notification(&instance, 1)).await;
    world.post(&host, &notification(&instance, 2)).await;
    let runs = world.settled_runs(&host, 2).await;
    judge(&world, &runs, &disks, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_takes_too_long_is_a_conflict_for_the_second_which_gets_it_in_another_try() {
    let world = World::new().await;
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    slow_snapshots(&world, 13_000, 1).await;
    world.post(&host, &notification(&instance, 1)).await;
    world.post(&host, &notification(&instance, 2)).await;
    let runs = world.settled_runs(&host, 2).await;
    judge(&world, &runs, &disks, 2).await;
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("a log");
    assert!(log.contains("opsward.OnceInFlight"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_failed_is_made_for_the_next_notification_and_the_others_are_not() {
    let world = World::new().await;
    world.try_snapshots("{ attempts = 1 }");
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    world.set_disk_status(&disks[1], "Detaching").await;
    world.post(&host, &notification(&instance, 1)).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "dead", "{runs:#?}");
    world.set_disk_status(&disks[1], "In_use").await;
    world.post(&host, &notification(&instance, 2)).await;
    let runs = world.settled_runs(&host, 2).await;
    judge(&world, &runs, &disks, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_outlives_a_host_that_died_with_it_in_hand() {
    for failpoint in ["after-intent:1", "after-send:2", "before-result:1", "after-result:2"] {
        let world = World::new().await;
        let (instance, disks) = world.machine(3).await;
        let mut host = world.start_with(&[("OPSWARD_FAILPOINT", failpoint)]).await.expect("ready");
        assert_eq!(world.post(&host, &notification(&instance, 1)).await, Some(200));
        host.died().await;
        let host = world.start().await;
        world.post(&host, &notification(&instance, 2)).await;
        let runs = world.settled_runs(&host, 2).await;
        judge(&world, &runs, &disks, 2).await;
    }
}

/// One snapshot of each disk, and `done` runs that ended as wanted.
async fn judge(world: &World, runs: &[Value], disks: &[String], done: usize) {
    assert_eq!(runs.iter().filter(|run| run["state"] == "done").count(), done, "{runs:#?}");
    let snapshots = world.effects("CreateSnapshot").await;
    assert!(disks.iter().all(|disk| snapshots.get(disk) == Some(&1)), "{snapshots:?}");
}

/// The n-th notification of one happening, of at most two: an event of its own, of the same incident. Each is news of the incident by
/// its status, so that both wake the policy, and is over by its name: vendors' samples disagree like that.
pub(crate) fn notification(instance: &str, n: usize) -> String {
    let mut event: Value = serde_json::from_str(&executed(instance, "e-once")).expect("JSON");
    event["id"] = json!(format!("notification-{n}"));
    event["content"]["eventStatus"] = json!(["Executing", "Executed"][n - 1]);
    event.to_string()
}

async fn slow_snapshots(world: &World, delay_ms: u64, times: u64) {
    let fault = json!({ "action": "CreateSnapshot", "kind": "slow", "times": times, "delay_ms": delay_ms });
    world.sim_post("faults", fault).await;
}

/// Disk, snapshot and request of each snapshot that a run says was made, and where the ledger has the answers from.
async fn snapshots_of(world: &World, host: &Host, run: &str) -> (Vec<Value>, Vec<Value>) {
    let url = format!("http://{}/api/v1/runs/{run}", host.admin);
    let answer = world.http.get(url).send().await.expect("admin answers");
    let detail: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
    let entries = detail["ledger"].as_array().expect("a ledger").iter().map(|record| &record["entry"]);
    let outcome =
        entries.clone().next_back().expect("records")["outcome"]["details"].as_str().expect("details");
    let details: Value = serde_json::from_str(outcome).expect("JSON");
    let made = details["created"].as_array().expect("a list").clone();
    let of_snapshots = entries.filter(|entry| entry["request"]["action"] == "CreateSnapshot");
    (made, of_snapshots.map(|entry| entry["answered"].clone()).collect())
}

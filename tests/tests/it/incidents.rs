//! Incidents with a running host: notices that come late, repeatedly, by two sources and around a kill wake each
//! policy once. Leaves the table of what wakes whom to the stores' conformance suite.

use crate::harness::{Host, TOKEN, World, executed};
use serde_json::{Value, json};

/// A second way on which the same happenings come.
const SECOND: &str =
    "\n[sources.second]\nkind = \"alibaba-cloudmonitor\"\ntoken = { env = \"TEST_TOKEN\" }\n";

/// A notice of the incident `happening` of this machine, that stands at `status`.
pub(crate) fn notice(instance: &str, happening: &str, status: &str) -> String {
    let mut event: Value = serde_json::from_str(&executed(instance, happening)).expect("JSON");
    event["id"] = json!(format!("{happening}-{status}"));
    event["name"] = json!(format!("Instance:SystemFailure.Reboot:{status}"));
    event.to_string()
}

/// Posts to the second source.
async fn post_to_second(world: &World, host: &Host, body: &str) {
    let url = format!("http://{}/hooks/second/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/json").body(body.to_owned());
    assert_eq!(request.send().await.expect("answered").status().as_u16(), 200);
}

fn listens_to_both(world: &World) {
    let config = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    world.write("opsward.toml", &(config + SECOND));
    let file = include_str!("harness/snapshot-on-reboot.toml");
    let file = file.replace("source = \"cloudmonitor\"", "source = [\"cloudmonitor\", \"second\"]");
    world.write("plugins.d/snapshot-on-reboot.toml", &file);
}

/// What woke a policy, in the order in which it did.
async fn woken_by(world: &World, host: &Host) -> Vec<String> {
    let id = |run: &Value| run["event_id"].as_str().expect("an id").to_owned();
    world.runs(host).await.iter().rev().map(id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_happening_told_by_two_sources_late_and_repeatedly_is_one() {
    late_notices_wake_nobody("").await.expect("as promised");
}

/// On a host that is `wrong` in this way.
pub(crate) async fn late_notices_wake_nobody(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    listens_to_both(&world);
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let (instance, disks) = world.machine(3).await;
    world.post(&host, &notice(&instance, "e-two", "Scheduled")).await;
    world.post(&host, &notice(&instance, "e-two", "Executed")).await;
    // Late, of another id, and by the other source.
    world.post(&host, &notice(&instance, "e-two", "Executing")).await;
    let mut again: Value = serde_json::from_str(&notice(&instance, "e-two", "Executed")).expect("JSON");
    again["id"] = json!("e-two-again");
    world.post(&host, &again.to_string()).await;
    for status in ["Executed", "Executing"] {
        post_to_second(&world, &host, &notice(&instance, "e-two", status)).await;
    }
    world.post(&host, &notice(&instance, "e-three", "Executed")).await;
    world.settled_runs(&host, 3).await;
    let woken = woken_by(&world, &host).await;
    if woken.len() != 3 || !woken[0].starts_with("e-two-Scheduled") || !woken[1].starts_with("e-two-Executed")
    {
        return Err(format!("woken by {woken:?}"));
    }
    let snapshots = world.effects("CreateSnapshot").await;
    match disks.iter().find(|disk| snapshots.get(*disk) != Some(&2)) {
        None => Ok(()),
        Some(disk) => Err(format!("{:?} snapshots of {disk} for two happenings", snapshots.get(disk))),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_counts_once_whatever_moment_the_host_dies_at() {
    for failpoint in ["before-accept:1", "before-commit:1", "after-commit-before-reply:1", "after-accept:1"] {
        let world = World::new().await;
        let (instance, _) = world.machine(3).await;
        let executed = notice(&instance, "e-dies", "Executed");
        let mut host = world.start_with(&[("OPSWARD_FAILPOINT", failpoint)]).await.expect("ready");
        assert_eq!(world.post(&host, &executed).await, None, "{failpoint}: nobody was answered");
        host.died().await;
        let host = world.start().await;
        // The sender sends again what was not answered; a late notice and a repeated one follow.
        let mut again: Value = serde_json::from_str(&executed).expect("JSON");
        again["id"] = json!("e-dies-again");
        for body in [executed, notice(&instance, "e-dies", "Executing"), again.to_string()] {
            assert_eq!(world.post(&host, &body).await, Some(200), "{failpoint}");
        }
        world.settled_runs(&host, 1).await;
        let woken = woken_by(&world, &host).await;
        assert!(woken.len() == 1 && woken[0].starts_with("e-dies-Executed"), "{failpoint}: {woken:?}");
    }
}

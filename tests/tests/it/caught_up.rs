//! Events that never came, told by the cloud's own history: through a whole host and the simulated ECS. What was made of a notification is
//! not made again, and nobody is woken by what happened before the source was there.

use crate::chaos::HASTE;
use crate::grants;
use crate::harness::{Host, TOKEN, World, eventually};
use crate::pulled::events;
use crate::sim::lab::real_time;
use serde_json::json;
use std::time::Duration;

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

/// What is asked of the tasks of CVM: a policy that is woken by each of them once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_cvm_are_events_of_their_own_and_wake_once_at_each_step() {
    let world = grants::world().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let monitor = "\n[sources.monitor]\nkind = \"tencent-monitor\"\naccount = \"lab\"\ntoken = { env = \"TEST_TOKEN\" }\n\
        catch-up = [\"ap-shanghai\"]\n";
    world.write("opsward.toml", &(settings + monitor));
    let file = grants::policy("tasks", "lab", "enforce", "");
    let wanted = "on = [{ source = \"monitor\", type = \"cvm:RepairTask:*\" }]";
    let file: Vec<&str> =
        file.lines().map(|line| if line.starts_with("on = ") { wanted } else { line }).collect();
    world.write("plugins.d/tasks.toml", &file.join("\n"));

    let task = |region: &str, status: u32, seconds_ago: u64, ended: bool| {
        let created = real_time() - Duration::from_secs(seconds_ago);
        let ended = ended.then(real_time);
        json!({ "instance_id": "ins-1", "region": region, "kind": 107, "status": status, "created": created, "ended": ended })
    };
    let old = json!({ "rep-old": task("ap-shanghai", 1, 3600, false) });
    world.patch_state(json!({ "tencent": { "tasks": old } })).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    asked(&world, 2).await;
    assert_eq!(events(&world, &host).await.len(), 0, "it was made before the source was there");

    // Times are told to the second: this one is made in a later one than that in which the source began.
    eventually("a later second", async || {
        let new =
            json!({ "rep-1": task("ap-shanghai", 1, 0, false), "rep-2": task("ap-guangzhou", 1, 0, false) });
        world.patch_state(json!({ "tencent": { "tasks": new } })).await;
        (!events(&world, &host).await.is_empty()).then_some(())
    })
    .await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!((runs.len(), &runs[0]["event_id"]), (1, &json!("rep-1 inquiring")));
    // Read again it wakes nobody again, after a restart neither.
    let host = restarted(&world, host).await;
    asked(&world, 2).await;
    assert_eq!(world.runs(&host).await.len(), 1);
    let over = json!({
        "rep-1": task("ap-shanghai", 3, 0, true), "rep-old": task("ap-shanghai", 3, 3600, true),
        "rep-agreed": task("ap-shanghai", 4, 5 * 86_400, false),
    });
    world.patch_state(json!({ "tencent": { "tasks": over } })).await;
    let runs = world.settled_runs(&host, 4).await;
    let ids: std::collections::BTreeSet<&str> =
        runs.iter().filter_map(|run| run["event_id"].as_str()).collect();
    assert_eq!(
        ids.into_iter().collect::<Vec<_>>(),
        ["rep-1 executed", "rep-1 inquiring", "rep-agreed scheduled", "rep-old executed"]
    );
    let listed = events(&world, &host).await;
    let event = listed.iter().find(|row| row["event"]["id"] == "rep-1 executed").expect("listed");
    assert_eq!(
        (&event["event"]["type"], &event["event"]["incident"]),
        (&json!("cvm:RepairTask:107"), &json!("tencent:task/rep-1"))
    );
    assert_eq!(host.terminate().await, Some(0));
}

/// Waits until the tasks were read so often more.
async fn asked(world: &World, times: usize) {
    let looks = async || {
        let requests = world.sim_get("requests").await;
        requests.as_array().expect("a list").iter().filter(|one| one["action"] == "DescribeTaskInfo").count()
    };
    let before = looks().await;
    eventually("looks at the tasks", async || (looks().await >= before + times).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_longer_than_is_read_is_told_of_and_its_latest_part_is_read() {
    let world = grants::world().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let monitor = "\n[sources.monitor]\nkind = \"tencent-monitor\"\naccount = \"lab\"\ntoken = { env = \"TEST_TOKEN\" }\n\
        catch-up = [\"ap-shanghai\"]\n";
    world.write("opsward.toml", &(settings + monitor));
    let task = |days_ago: u64| {
        let created = real_time() - Duration::from_secs(days_ago * 86_400);
        json!({ "instance_id": "ins-1", "region": "ap-shanghai", "kind": 107, "status": 1, "created": created })
    };
    let old: serde_json::Map<_, _> = (0..5_000).map(|nth| (format!("rep-{nth}"), task(20))).collect();
    world.patch_state(json!({ "tencent": { "tasks": old } })).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    asked(&world, 50).await;
    // As many as are read are all that there are: nothing is amiss.
    let log = || std::fs::read_to_string(world.dir.path().join("host.log")).expect("a log");
    assert!(!log().contains("passed over"), "{}", log());
    eventually("a later second", async || {
        world.patch_state(json!({ "tencent": { "tasks": { "rep-new": task(0) } } })).await;
        (!events(&world, &host).await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(log().matches("may be passed over").count(), 1, "told once: {}", log());
    let shown = world.command(&["source", "status", "monitor"]).output().await.expect("it runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(" history-too-long"), "{shown}");
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

//! Events that the host reads from a log store: through a whole host and the simulated log service, over lost answers, kills, shards
//! that are split and cursors that have lapsed. The judge joins what was written with what the host has recorded and what the clouds
//! saw.

use crate::chaos::HASTE;
use crate::harness::{Host, World, eventually, times};
use crate::pulled::events;
use opsward_core::source::UNDECODABLE;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const STORE: &str = "cloud-events";

/// A world whose policy for snapshots wakes on what comes from the log store.
async fn world_with_log_store(more: &str) -> World {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let source = format!(
        "[sources.logs]\nkind = \"alibaba-sls\"\naccount = \"prod\"\nlog-store = {{ name = \"{STORE}\", since = \"1h\"{more} }}\n"
    );
    world.write("opsward.toml", &format!("{settings}\n{source}"));
    let policy = include_str!("harness/snapshot-on-reboot.toml").replace("\"cloudmonitor\"", "\"logs\"");
    world.write("plugins.d/snapshot-on-reboot.toml", &policy);
    world
        .patch_state(json!({ "limits": { "snapshots_per_disk": 100_000, "essd_in_progress": 100_000 } }))
        .await;
    world.sim_post("logs", json!({ "name": STORE })).await;
    world
}

/// A reboot as CloudMonitor writes it into a log store, without an id of its own.
fn record(instance: &str, happening: &str) -> Value {
    let content = json!({ "eventId": happening, "instanceId": instance, "eventStatus": "Executed" });
    json!({
        "__time__": 1_528_421_137, "product": "ECS", "name": "Instance:SystemFailure.Reboot:Executed", "level": "CRITICAL",
        "resourceId": format!("acs:ecs:cn-hangzhou:1234567890123456:instance/{instance}"), "regionId": "cn-hangzhou",
        "userId": "1234567890123456", "content": content.to_string(),
    })
}

async fn write(world: &World, records: &[Value]) {
    world.sim_post("logs", json!({ "name": STORE, "records": records })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_an_event_once_whatever_becomes_of_shards_and_answers() {
    let world = world_with_log_store("").await;
    let (instance, disks) = world.machine(3).await;
    let records: Vec<Value> = (0..12).map(|n| record(&instance, &format!("e-log-{n:03}"))).collect();
    // Written before the host has ever seen the log store, within the hour.
    write(&world, &records[..3]).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    world.settled_runs(&host, 3).await;
    for kind in ["drop-after", "truncated", "garbage", "error-500-after", "throttle"] {
        world.sim_post("faults", json!({ "action": "sls:PullLogs", "kind": kind })).await;
    }
    world.sim_post("faults", json!({ "action": "sls:ListShards", "kind": "drop-after" })).await;
    write(&world, &records[3..6]).await;
    world.settled_runs(&host, 6).await;
    // The shard is split: what follows is in others, which are found.
    write(&world, &records[6..7]).await;
    world.sim_post("logs", json!({ "name": STORE, "split": 0, "records": [records[7], records[8]] })).await;
    world.settled_runs(&host, 9).await;
    assert_eq!(host.terminate().await, Some(0));
    write(&world, &records[9..12]).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let runs = world.settled_runs(&host, 12).await;
    assert_eq!((runs.len(), events(&world, &host).await.len()), (12, 12));
    let made = world.effects("CreateSnapshot").await;
    assert_eq!(made, disks.iter().map(|disk| (disk.clone(), 12)).collect::<BTreeMap<_, _>>());
    let requests = world.sim_get("requests").await;
    let mut pulls = requests.as_array().expect("a list").iter().filter(|one| one["product"] == "sls");
    assert!(pulls.all(|pull| pull["signature"] == "ok" && pull["scheme"] == "sls"));
    assert_eq!(world.sim_get("faults").await, json!([]), "every fault was met");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_leaves_records_out_and_a_lapsed_cursor_begins_anew() {
    let world = world_with_log_store(", query = \"* | where level = 'CRITICAL'\"").await;
    let (instance, _) = world.machine(3).await;
    let mut quiet = record(&instance, "e-quiet");
    quiet["level"] = json!("INFO");
    let host = world.start_with(&[HASTE]).await.expect("ready");
    write(&world, &[quiet.clone(), record(&instance, "e-loud")]).await;
    world.settled_runs(&host, 1).await;
    assert_eq!(host.terminate().await, Some(0));
    // What was written while the host was down is deleted by age before it reads on.
    write(&world, &[record(&instance, "e-gone")]).await;
    world
        .sim_post("logs", json!({ "name": STORE, "expire": 0, "records": [record(&instance, "e-next")] }))
        .await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let runs = world.settled_runs(&host, 2).await;
    assert_eq!((runs.len(), events(&world, &host).await.len()), (2, 2));
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("a log");
    assert!(log.contains("records may be lost"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_decoded_is_recorded_wakes_nobody_and_blocks_nothing() {
    let world = world_with_log_store("").await;
    let (instance, _) = world.machine(3).await;
    let large = json!({ "__time__": 1, "name": "x".repeat(300 * 1024) });
    write(&world, &[large, record(&instance, "e-after")]).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    world.settled_runs(&host, 1).await;
    let events = events(&world, &host).await;
    let odd = events.iter().find(|row| row["event"]["type"] == UNDECODABLE).expect("it is recorded");
    assert_eq!((odd["runs"].as_array().map(Vec::len), events.len()), (Some(0), 2), "{odd:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_what_cannot_be_decoded_costs_few_commits_and_one_line_of_the_log() {
    let world = world_with_log_store("").await;
    let odd = |nth: usize| {
        let mut odd = record("i-1", &format!("e-odd-{nth}"));
        odd["name"] = json!("Instance:\u{1}:Executed");
        odd
    };
    write(&world, &(0..512).map(odd).collect::<Vec<_>>()).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let events = eventually("all of them", async || {
        let events = events(&world, &host).await;
        (events.len() == 512).then_some(events)
    })
    .await;
    assert!(events.iter().all(|row| row["event"]["type"] == UNDECODABLE));
    let page = world.http.get(format!("http://{}/metrics", host.admin)).send().await.expect("metrics");
    let page = String::from_utf8_lossy(&page.bytes().await.expect("a body")).into_owned();
    let commits = page.lines().find_map(|line| line.strip_prefix("opsward_store_commit_seconds_count "));
    let commits: usize = commits.and_then(|count| count.parse().ok()).expect("commits are counted");
    assert!(commits < 512 / 4, "{commits} commits");
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("a log");
    assert_eq!(log.matches("cannot be decoded").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_refused_neither_holds_nor_slows_another() {
    let world = world_with_log_store("").await;
    let (instance, _) = world.machine(3).await;
    world.sim_post("logs", json!({ "name": STORE, "split": 0 })).await;
    let refused = json!({ "action": "sls:PullLogs", "naming": "\"shard\":1", "kind": "error-500-before", "times": 1_000_000 });
    world.sim_post("faults", refused).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    world
        .sim_post("logs", json!({ "name": STORE, "shard": 2, "records": [record(&instance, "e-other")] }))
        .await;
    world.settled_runs(&host, 1).await;
    // The one is asked less and less often, the other as often as ever.
    eventually("more looks at the one than at the other", async || {
        let requests = world.sim_get("requests").await;
        let pulls = requests.as_array().expect("a list").iter().filter(|one| one["action"] == "PullLogs");
        let of = |shard: u32| pulls.clone().filter(|pull| pull["params"]["shard"] == shard).count();
        (of(2) >= of(1) + 8).then_some(())
    })
    .await;
    let log = std::fs::read_to_string(world.dir.path().join("host.log")).expect("a log");
    assert!(
        log.contains(&format!("{STORE}, shard 1")) && !log.contains(&format!("{STORE}, shard 2")),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_too_large_is_read_in_parts() {
    let world = world_with_log_store("").await;
    // 17.6 MB in what would be one page.
    for part in 0..22 {
        let records: Vec<Value> =
            (0..4).map(|nth| json!({ "__time__": part * 4 + nth, "text": "x".repeat(200_000) })).collect();
        write(&world, &records).await;
    }
    let host = world.start_with(&[HASTE]).await.expect("ready");
    eventually("all records", async || (events(&world, &host).await.len() == 88).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_pointed_at_another_store_reads_that_from_its_own_beginning() {
    let world = world_with_log_store("").await;
    let other = "other-events";
    let some = |count: usize| json!((0..count).map(|n| json!({ "__time__": n, "n": n })).collect::<Vec<_>>());
    world.sim_post("logs", json!({ "name": STORE, "records": some(3) })).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let recorded = async |host: &Host, wanted| {
        let what = format!("{wanted} events");
        eventually(&what, async || (events(&world, host).await.len() == wanted).then_some(())).await
    };
    recorded(&host, 3).await;
    assert_eq!(host.terminate().await, Some(0));
    // As many as that the old cursor would stand amid them.
    world.sim_post("logs", json!({ "name": other, "records": some(5) })).await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    world.write("opsward.toml", &settings.replace(STORE, other));
    let host = world.start_with(&[HASTE]).await.expect("ready");
    recorded(&host, 8).await;
    assert_eq!(host.terminate().await, Some(0));
    // And back: what came meanwhile, and nothing again.
    world.sim_post("logs", json!({ "name": STORE, "records": some(1) })).await;
    world.write("opsward.toml", &settings);
    let host = world.start_with(&[HASTE]).await.expect("ready");
    recorded(&host, 9).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_before_a_first_record_was_read_is_read_after_a_restart() {
    let world = world_with_log_store("").await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    world.write("opsward.toml", &settings.replace(", since = \"1h\"", ""));
    let host = world.start_with(&[HASTE]).await.expect("ready");
    eventually("a look", async || {
        let requests = world.sim_get("requests").await;
        let mut all = requests.as_array().expect("a list").iter();
        all.any(|one| one["action"] == "PullLogs").then_some(())
    })
    .await;
    assert_eq!(host.terminate().await, Some(0));
    write(&world, &[json!({ "__time__": 1, "text": "between" })]).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    eventually("the record", async || (events(&world, &host).await.len() == 1).then_some(())).await;
}

/// Where the host dies while it has a page in hand.
const FAILPOINTS: [&str; 5] =
    ["after-receive", "before-accept", "before-commit", "after-commit-before-reply", "after-accept"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_a_log_store_is_read_loses_no_event_and_accepts_none_twice() {
    let world = world_with_log_store("").await;
    let (instance, disks) = world.machine(3).await;
    let mut written = 0;
    for round in 1..=times(1, 3, 30) {
        for name in FAILPOINTS {
            let armed = format!("{name}:{round}");
            let Some(mut host) = world.start_with(&[HASTE, ("OPSWARD_FAILPOINT", &armed)]).await else {
                continue;
            };
            for _ in 0..80 {
                write(&world, &[record(&instance, &format!("e-poll-{written:05}"))]).await;
                written += 1;
                if tokio::time::timeout(Duration::from_millis(250), host.died()).await.is_ok() {
                    break;
                }
            }
            assert!(host.child.try_wait().expect("waited").is_some(), "{armed} was never passed");
        }
    }
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let runs = world.settled_runs(&host, written).await;
    assert_eq!((runs.len(), events(&world, &host).await.len()), (written, written));
    let made = world.effects("CreateSnapshot").await;
    assert_eq!(made, disks.iter().map(|disk| (disk.clone(), written)).collect::<BTreeMap<_, _>>());
    world.audited().await;
    println!("{written} records");
}

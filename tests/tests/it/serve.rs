//! The whole path with a running host against simulated clouds: what an operator would try first.

use crate::harness::{EXECUTED, EXECUTING, World, eventually, executed};
use serde_json::{Value, json};
use std::time::Duration;

/// The instance the article's event names; the simulated cloud has it.
const ARTICLE_INSTANCE: &str = "i-bp18l0uopocfc98xxxx";
/// A changed plugins directory is live within this.
const RELOAD_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_articles_executed_event_posted_twice_gives_one_run_and_one_snapshot_per_disk() {
    let world = World::new().await;
    let host = world.start().await;
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    assert_eq!(world.post(&host, EXECUTED).await, Some(200));
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs.len(), 1, "{runs:#?}");
    assert_eq!(runs[0]["state"], "done", "{runs:#?}");
    let snapshots = world.effects("CreateSnapshot").await;
    let state = world.sim_get("state").await;
    let disks = state["alibaba"]["disks"].as_object().expect("disks").iter();
    let disks: Vec<&String> =
        disks.filter(|(_, disk)| disk["instance_id"] == ARTICLE_INSTANCE).map(|(id, _)| id).collect();
    assert!(!disks.is_empty(), "the simulated cloud has the article's instance");
    for disk in &disks {
        assert_eq!(snapshots.get(*disk), Some(&1), "{snapshots:?}");
    }
    assert_eq!(snapshots.len(), disks.len(), "no other disk was touched");
    assert_eq!(host.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_executing_form_has_no_effect_and_the_run_says_why() {
    let world = World::new().await;
    let host = world.start().await;
    assert_eq!(world.post(&host, EXECUTING).await, Some(200));
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "done");
    let note = runs[0]["note"].as_str().expect("a note");
    assert!(note.to_lowercase().contains("executing"), "{note}");
    assert!(world.effects("CreateSnapshot").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_disks_get_twelve_snapshots_although_a_page_has_ten() {
    let world = World::new().await;
    let host = world.start().await;
    let (instance, disks) = world.machine(12).await;
    assert_eq!(world.post(&host, &executed(&instance, "e-12")).await, Some(200));
    world.settled_runs(&host, 1).await;
    let snapshots = world.effects("CreateSnapshot").await;
    assert!(disks.iter().all(|disk| snapshots.get(disk) == Some(&1)), "{snapshots:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_does_not_stop_the_others_and_is_named() {
    let world = World::new().await;
    world.try_snapshots("{ attempts = 1 }");
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    world.set_disk_status(&disks[1], "Detaching").await;
    world.post(&host, &executed(&instance, "e-busy")).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "dead");
    assert!(runs[0]["note"].as_str().expect("a note").contains(&disks[1]), "{runs:#?}");
    let snapshots = world.effects("CreateSnapshot").await;
    assert_eq!(
        (snapshots.get(&disks[0]), snapshots.get(&disks[1]), snapshots.get(&disks[2])),
        (Some(&1), None, Some(&1))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_gives_one_snapshot_per_disk() {
    for kind in ["drop-after", "error-500-after", "truncated", "throttle", "drop-before", "error-500-before"]
    {
        let world = World::new().await;
        let host = world.start().await;
        let (instance, disks) = world.machine(3).await;
        world.sim_post("faults", json!({ "action": "CreateSnapshot", "kind": kind, "times": 2 })).await;
        world.post(&host, &executed(&instance, "e-lost")).await;
        let runs = world.settled_runs(&host, 1).await;
        assert_eq!(runs[0]["state"], "done", "{kind}: {runs:#?}");
        let snapshots = world.effects("CreateSnapshot").await;
        assert!(disks.iter().all(|disk| snapshots.get(disk) == Some(&1)), "{kind}: {snapshots:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_resets_one_machine_once_and_waits_until_it_has_settled() {
    let world = World::new().await;
    world.put_nightly_reset().await;
    let host = world.start().await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(
        (runs[0]["policy"].as_str(), runs[0]["state"].as_str()),
        (Some("nightly-reset"), Some("done")),
        "{runs:#?}"
    );
    assert_eq!(world.effects("ResetInstance").await.get("ins-1"), Some(&1));
    let state = world.sim_get("state").await;
    let machine = &state["tencent"]["instances"]["ins-1"];
    assert!(machine.to_string().contains("RUNNING"), "the run ends when the machine has settled: {machine}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_whose_answer_is_lost_is_proved_by_reading_and_never_sent_again() {
    for kind in ["drop-after", "error-500-after", "truncated"] {
        let world = World::new().await;
        world.sim_post("faults", json!({ "action": "ResetInstance", "kind": kind, "times": 1 })).await;
        world.put_nightly_reset().await;
        let host = world.start().await;
        let runs = world.settled_runs(&host, 1).await;
        assert_eq!(runs[0]["state"], "done", "{kind}: {runs:#?}");
        assert_eq!(world.effects("ResetInstance").await.get("ins-1"), Some(&1), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_policy_is_live_within_two_seconds_and_garbage_leaves_the_old_one_serving() {
    let world = World::new().await;
    std::fs::remove_file(world.plugins().join("snapshot-on-reboot.wasm")).expect("removed");
    std::fs::remove_file(world.plugins().join("snapshot-on-reboot.toml")).expect("removed");
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;

    world.put_plugin("snapshot-on-reboot");
    world.write("plugins.d/snapshot-on-reboot.toml", include_str!("harness/snapshot-on-reboot.toml"));
    tokio::time::sleep(RELOAD_MAX).await;
    world.post(&host, &executed(&instance, "e-new")).await;
    world.settled_runs(&host, 1).await;

    world.write("plugins.d/snapshot-on-reboot.wasm", "garbage");
    tokio::time::sleep(RELOAD_MAX).await;
    world.post(&host, &executed(&instance, "e-old-serves")).await;
    let runs = world.settled_runs(&host, 2).await;
    assert!(runs.iter().all(|run| run["state"] == "done"), "{runs:#?}");
    let snapshots = world.effects("CreateSnapshot").await;
    assert!(disks.iter().all(|disk| snapshots.get(disk) == Some(&2)), "{snapshots:?}");

    let check = world.command(&["check", "--config", "opsward.toml"]).output().await.expect("check runs");
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(1), "{said}");
    assert!(said.contains("snapshot-on-reboot.wasm"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_gets_a_clear_answer() {
    let world = World::new().await;
    let host = world.start().await;
    let post = async |path: &str, body: String| {
        let url = format!("http://{}{path}", host.listen);
        let answer = world
            .http
            .post(url)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .expect("answers");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let hook = format!("/hooks/cloudmonitor/{}", crate::harness::TOKEN);
    assert_eq!(post("/hooks/cloudmonitor/wrong", "{}".into()).await.0, 404);
    assert_eq!(post("/hooks/nobody/wrong", "{}".into()).await.0, 404);
    let (status, text) = post(&hook, "{\n  \"name\": }".into()).await;
    assert_eq!(status, 400);
    assert!(text.contains("line 2"), "{text}");
    assert_eq!(post(&hook, format!("\"{}\"", "x".repeat(256 * 1024))).await.0, 413);
    assert_eq!(post(&hook, format!("{}1{}", "[".repeat(40), "]".repeat(40))).await.0, 400);
    assert!(world.runs(&host).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_shows_health_metrics_policies_and_runs() {
    let world = World::new().await;
    let host = world.start().await;
    world.post(&host, EXECUTED).await;
    world.settled_runs(&host, 1).await;
    let get = async |path: &str| {
        let answer = world.http.get(format!("http://{}{path}", host.admin)).send().await.expect("answers");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    assert_eq!(get("/livez").await.0, 200);
    assert_eq!(get("/readyz").await.0, 200);
    let (_, metrics) = get("/metrics").await;
    assert!(metrics.contains("opsward_events_total"), "{metrics}");
    for path in ["/api/v1/policies", "/api/v1/events", "/api/v1/runs", "/api/v1/schedules"] {
        let (status, text) = get(path).await;
        assert_eq!(status, 200, "{path}");
        serde_json::from_str::<Value>(&text).expect("JSON");
    }
    let id = world.runs(&host).await[0]["id"].as_str().expect("id").to_owned();
    let (status, text) = get(&format!("/api/v1/runs/{id}")).await;
    assert_eq!(status, 200);
    assert!(text.contains("CreateSnapshot"), "{text}");
    assert_eq!(get("/api/v1/runs/ffffffff").await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_with_exit_code_zero_and_the_next_start_goes_on() {
    let world = World::new().await;
    let host = world.start().await;
    let (instance, disks) = world.machine(3).await;
    world
        .sim_post(
            "faults",
            json!({ "action": "DescribeDisks", "kind": "slow", "times": 1, "delay_ms": 1500 }),
        )
        .await;
    world.post(&host, &executed(&instance, "e-drain")).await;
    assert_eq!(host.terminate().await, Some(0));
    let host = world.start().await;
    world.settled_runs(&host, 1).await;
    let snapshots = world.effects("CreateSnapshot").await;
    assert!(disks.iter().all(|disk| snapshots.get(disk) == Some(&1)), "{snapshots:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_in_dry_run_reads_for_real_and_changes_nothing() {
    let world = World::new().await;
    let dry = include_str!("harness/snapshot-on-reboot.toml").replace("mode = \"enforce\"\n", "");
    world.write("plugins.d/snapshot-on-reboot.toml", &dry);
    let host = world.start().await;
    let (instance, _) = world.machine(3).await;
    world.post(&host, &executed(&instance, "e-dry")).await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "done", "{runs:#?}");
    assert!(world.effects("CreateSnapshot").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_host_on_the_same_store_is_refused() {
    let world = World::new().await;
    let host = world.start().await;
    assert!(world.start_with(&[]).await.is_none());
    assert_eq!(world.post(&host, EXECUTED).await, Some(200), "the first goes on");
    eventually("the first host's run", async || (!world.runs(&host).await.is_empty()).then_some(())).await;
}

//! Effects of which it is unknown whether they took place, while the operator changes the policy's file or ends the host:
//! none is sent against the file as it is now, none is forgotten, none is cut off without need.

use crate::harness::{Host, World, cron_at, eventually, executed};
use serde_json::{Value, json};

/// A host that died between an intent of CreateSnapshot and its sending, on a machine with three disks.
async fn killed_before_a_snapshot(world: &World) {
    let mut host = world.start_with(&[("OPSWARD_FAILPOINT", "after-intent:1")]).await.expect("ready");
    let (instance, _) = world.machine(3).await;
    world.post(&host, &executed(&instance, "e-doubt")).await;
    host.died().await;
}

/// A host that died between the intent of ResetInstance and its sending.
async fn killed_before_a_reset(world: &World) {
    world.put_nightly_reset().await;
    let mut host = world.start_with(&[("OPSWARD_FAILPOINT", "after-intent:1")]).await.expect("ready");
    host.died().await;
}

async fn sent(world: &World, action: &str) -> usize {
    let requests = world.sim_get("requests").await;
    let list = requests.as_array().or(requests["requests"].as_array()).expect("a list").clone();
    list.iter().filter(|request| request["action"] == action).count()
}

/// Waits until the only run has been begun `times` times and rests.
async fn begun_and_resting(world: &World, host: &Host, times: usize) -> Value {
    eventually("the run to be begun and to rest", async || {
        let runs = world.runs(host).await;
        let id = runs.first()?["id"].as_str()?.to_owned();
        let url = format!("http://{}/api/v1/runs/{id}", host.admin);
        let answer = world.http.get(url).send().await.expect("admin answers");
        let run: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        let ledger = run["ledger"].as_array().expect("a ledger");
        let begun = ledger.iter().filter(|record| record["entry"]["kind"] == "started").count();
        (begun >= times && run["row"]["state"] != "running").then_some(run)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclear_effect_is_not_sent_again_for_a_policy_that_is_in_dry_run_by_now() {
    let world = World::new().await;
    killed_before_a_snapshot(&world).await;
    let before = sent(&world, "CreateSnapshot").await;
    let dry = include_str!("harness/snapshot-on-reboot.toml").replace("enforce", "dry-run");
    world.write("plugins.d/snapshot-on-reboot.toml", &dry);
    let host = world.start().await;
    let run = begun_and_resting(&world, &host, 2).await;
    assert_eq!(run["row"]["state"], "ready", "it waits for the operator or a person: {run:#}");
    assert_eq!(sent(&world, "CreateSnapshot").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclear_effect_is_not_sent_again_where_its_grant_is_gone() {
    let world = World::new().await;
    killed_before_a_snapshot(&world).await;
    let before = sent(&world, "CreateSnapshot").await;
    let elsewhere = include_str!("harness/snapshot-on-reboot.toml").replace("cn-hangzhou", "cn-beijing");
    world.write("plugins.d/snapshot-on-reboot.toml", &elsewhere);
    let host = world.start().await;
    let run = begun_and_resting(&world, &host, 2).await;
    assert_eq!(run["row"]["state"], "ready", "{run:#}");
    assert_eq!(sent(&world, "CreateSnapshot").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_does_not_go_on_in_another_account() {
    goes_on_in_another_account("").await.expect("it waits");
}

/// Gives a policy with an effect in doubt another account; the host is `wrong` in this way.
pub(crate) async fn goes_on_in_another_account(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let prod = &settings[settings.find("[accounts.prod]").expect("there")..];
    let prod = &prod[..prod.find("[accounts.lab]").expect("after it")];
    world.write("opsward.toml", &format!("{settings}\n{}", prod.replace("accounts.prod", "accounts.other")));
    killed_before_a_snapshot(&world).await;
    let before = world.sim_get("requests").await;
    let other = include_str!("harness/snapshot-on-reboot.toml").replace("\"prod\"", "\"other\"");
    world.write("plugins.d/snapshot-on-reboot.toml", &other);
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let waits = eventually("the run to be left waiting, or to end", async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).unwrap_or_default();
        let ended = world.runs(&host).await[0]["state"] == "done";
        (ended || log.contains("has another account; the run waits for it")).then_some(!ended)
    })
    .await;
    let asked = world.sim_get("requests").await != before;
    if waits && !asked { Ok(()) } else { Err("a run went on in an account it was not begun in".to_owned()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_go_on_is_held_where_an_effect_is_unclear() {
    for config in [
        // Another call than the recorded one.
        r#"{ instance-id = "ins-1", image-id = "img-2", region = "ap-shanghai" }"#,
        // An end before it.
        r#"{ region = "ap-shanghai" }"#,
    ] {
        let world = World::new().await;
        killed_before_a_reset(&world).await;
        let file = include_str!("harness/nightly-reset.toml").replace("{cron}", &cron_at(3600));
        let line = file.lines().find(|line| line.starts_with("config")).expect("there").to_owned();
        world.write("plugins.d/nightly-reset.toml", &file.replace(&line, &format!("config = {config}")));
        let host = world.start().await;
        let runs = world.settled_runs(&host, 1).await;
        assert_eq!(runs[0]["state"], "held", "{config}: {runs:#?}");
        let note = runs[0]["note"].as_str().expect("a note");
        assert!(note.contains("may or may not have taken place, and the run cannot go on"), "{note}");
        assert!(world.effects("ResetInstance").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_back_that_fails_is_no_judgement() {
    let world = World::new().await;
    world.put_nightly_reset().await;
    let mut host = world.start_with(&[("OPSWARD_FAILPOINT", "after-send:1")]).await.expect("ready");
    host.died().await;
    // As many as one read is tried.
    let down = json!({ "action": "DescribeInstances", "kind": "drop-before", "times": 6 });
    world.sim_post("faults", down).await;
    let host = world.start().await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "done", "{runs:#?}");
    assert_eq!(sent(&world, "ResetInstance").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_ends_begins_no_more_effects_and_lets_those_under_way_end() {
    let world = World::new().await;
    let host = world.start().await;
    let (instance, disks) = world.machine(12).await;
    let slow = json!({ "action": "CreateSnapshot", "kind": "slow", "times": 100, "delay_ms": 1500 });
    world.sim_post("faults", slow).await;
    world.post(&host, &executed(&instance, "e-ends")).await;
    eventually("the first snapshot", async || (sent(&world, "CreateSnapshot").await > 0).then_some(())).await;
    assert_eq!(host.terminate().await, Some(0));
    let begun = sent(&world, "CreateSnapshot").await;
    assert!(begun < disks.len(), "{begun} of {} were begun", disks.len());
    assert_eq!(world.effects("CreateSnapshot").await.len(), begun, "those that were begun have ended");

    let host = world.start().await;
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "done", "{runs:#?}");
    assert_eq!(sent(&world, "CreateSnapshot").await, disks.len(), "none was cut off and sent again");
}

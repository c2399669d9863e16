//! `opsward invoke`: one policy, one event, from the command line.

use crate::harness::{World, executed};
use serde_json::{Value, json};
use std::process::Output;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;

async fn invoke(world: &World, args: &[&str]) -> (Option<i32>, String, String) {
    let args = [&["invoke", "snapshot-on-reboot"], args].concat();
    told(world.command(&args).output().await.expect("it runs"))
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A world with an event about a machine with three disks in a file.
async fn world() -> World {
    let world = World::new().await;
    let (instance, _) = world.machine(3).await;
    world.write("event.json", &executed(&instance, "e-invoke"));
    world
}

async fn books(world: &World) -> usize {
    world.sim_get("effects").await.as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_what_would_be_done_without_a_host() {
    let world = world().await;
    let (code, out, err) = invoke(&world, &["--event", "event.json", "--dry-run"]).await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.contains("snapshot-on-reboot, plugin") && out.contains(", dry-run"), "{out}");
    assert_eq!(out.matches("ok, simulated SnapshotId=s-dryrun").count(), 3, "{out}");
    assert!(out.ends_with("dry run: 3 effects would be made, nothing was changed\n"), "{out}");
    assert_eq!(books(&world).await, 0);
    assert!(!world.dir.path().join("opsward.db").exists(), "its ledger is thrown away");

    let mut child = world
        .command(&["invoke", "snapshot-on-reboot", "--event", "-", "--dry-run", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let event = std::fs::read(world.dir.path().join("event.json")).expect("readable");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&event).await.expect("taken");
    drop(stdin);
    let (code, out, _) = told(child.wait_with_output().await.expect("it ends"));
    let run: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &run["row"]["state"], &run["event"]["source"]),
        (Some(0), &json!("done"), &json!("manual"))
    );
    assert_eq!(books(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_does_not_end_well_and_one_that_is_not_there_show_in_the_exit_code() {
    let world = world().await;
    let bad = r#"{"specversion":"1.0","id":"e","source":"s","type":"Instance:SystemFailure.Reboot:Executed","data":{}}"#;
    world.write("bad.json", bad);
    let (code, out, _) = invoke(&world, &["--event", "bad.json", "--dry-run"]).await;
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("opsward.NoInstanceId"), "{out}");
    world.write("worse.json", "{");
    let (code, _, err) = invoke(&world, &["--event", "worse.json", "--dry-run"]).await;
    assert!(code != Some(0) && err.contains("worse.json is neither a CloudEvent nor"), "{err}");
    let output = world.command(&["invoke", "other", "--event", "event.json", "--dry-run"]).output();
    let (code, _, err) = told(output.await.expect("it runs"));
    assert!(code != Some(0) && err.contains("no policy is called `other`"), "{err}");
    let (code, ..) = invoke(&world, &["--dry-run"]).await;
    assert_eq!(code, Some(2), "an event is needed");
    let (code, _, err) = invoke(&world, &["--event", "event.json"]).await;
    assert!(code != Some(0) && err.contains("no store"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_dry_run_the_running_host_takes_the_event_once() {
    let world = world().await;
    let host = world.start().await;
    let (code, out, err) = invoke(&world, &["--event", "event.json"]).await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.contains(" is begun: opsward run show "), "{out}");
    let run = world.settled_runs(&host, 1).await.remove(0);
    assert_eq!((&run["state"], &run["source"]), (&json!("done"), &json!("manual")), "{run:#}");
    assert_eq!(world.effects("CreateSnapshot").await.len(), 3);

    let (code, out, _) = invoke(&world, &["--event", "event.json"]).await;
    assert!(code == Some(1) && out.contains("has this event already"), "{out}");
    // What is stored can be looked at again, beside the host.
    let id = run["event_id"].as_str().expect("an id");
    let (code, out, err) = invoke(&world, &["--event-id", id, "--dry-run"]).await;
    assert!(code == Some(0) && out.contains("3 effects would be made"), "{out}\n{err}");
    let before = books(&world).await;
    assert_eq!(before, 3);
    assert_eq!(world.runs(&host).await.len(), 1);

    let off = include_str!("harness/snapshot-on-reboot.toml").replace("enforce", "off");
    world.write("plugins.d/snapshot-on-reboot.toml", &off);
    crate::harness::eventually("the policy to be off", async || {
        world.write("event.json", &executed("i-1", &format!("e-{:?}", std::time::Instant::now())));
        let (_, _, err) = invoke(&world, &["--event", "event.json"]).await;
        err.contains("the policy is off").then_some(())
    })
    .await;
}

//! Schedules of whole hosts: `opsward schedule`, pauses that last, a person's firing, and hosts that are killed while they fire.

use crate::harness::{World, cron_at, eventually};
use opsward::store::sqlite::Reader;
use serde_json::Value;
use std::time::Duration;

async fn schedule(world: &World, args: &[&str]) -> (Option<i32>, String, String) {
    let args = [&["schedule"], args].concat();
    let output = world.command(&args).output().await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A world with a policy that fires every second.
fn put_frequent(world: &World) {
    world.put_plugin("nightly-reset");
    let file = include_str!("harness/nightly-reset.toml");
    let line = r#"{ cron = "{cron}", dialect = "scf", zone = "Asia/Shanghai" }"#;
    world.write("plugins.d/frequent.toml", &file.replace(line, r#"{ every = "1s", allow-frequent = true }"#));
}

/// Decisions of the store, newest first.
fn decisions(world: &World) -> Vec<String> {
    let store = Reader::open(&world.dir.path().join("opsward.db")).expect("the store opens");
    let firings = store.list_firings(1000).expect("listed");
    firings.iter().map(|firing| firing.decision.as_str().to_owned()).collect()
}

async fn listed(world: &World) -> Value {
    let (code, out, err) = schedule(world, &["ls", "-o", "json"]).await;
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_read_out_without_a_host() {
    let world = World::new().await;
    let args = ["next", "0 0 3 * * * *", "--dialect", "scf", "--zone", "Asia/Shanghai", "-n", "2"];
    let (code, out, err) = schedule(&world, &[&args[..], &["--from", "2024-01-01T00:00:00Z"]].concat()).await;
    assert_eq!(code, Some(0), "{err}");
    let expected = "every day at 03:00, Asia/Shanghai\n每天 03:00(Asia/Shanghai)\n\n\
                    2024-01-02 03:00:00 +08:00\n2024-01-03 03:00:00 +08:00\n";
    assert_eq!(out, expected);
    let (code, out, _) = schedule(&world, &["next", "--every", "5m", "-n", "3", "-o", "json"]).await;
    let shown: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, shown["next_at"].as_array().map(Vec::len)), (Some(0), Some(3)));
    assert_eq!(shown["reads"]["zh"], "每 5 分钟");
    for (args, part) in [
        (vec!["next", "0 0 3 * * 1-5"], "add `dialect`"),
        (vec!["next", "0 3 * * *", "--dialect", "unix"], "add `zone"),
        (vec!["next", "0 3 * * *", "--dialect", "cron"], "unix, scf, fc or quartz"),
        (vec!["next", "* * * * * *", "--zone", "UTC"], "fires every 1s"),
        (vec!["next"], "required"),
    ] {
        let (code, _, err) = schedule(&world, &args).await;
        assert!(code == Some(2) && err.contains(part), "{args:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_schedule_fires_nothing_through_restarts_until_it_is_resumed() {
    a_pause_lasts("").await.expect("nothing is fired");
}

/// A schedule is paused while no host runs; a host that is `wrong` in this way fires it all the same.
pub(crate) async fn a_pause_lasts(wrong: &str) -> Result<(), String> {
    let world = World::new().await;
    put_frequent(&world);
    world.start().await.kill().await;
    let before = decisions(&world).len();
    let (code, out, err) = schedule(&world, &["pause", "frequent", "--by", "alice", "--why", "freeze"]).await;
    assert!(
        code == Some(0) && out.contains("are paused until `opsward schedule resume frequent`"),
        "{out}{err}"
    );
    for _ in 0..2 {
        let seen = decisions(&world).len();
        let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
        eventually("decisions", async || (decisions(&world).len() > seen + 1).then_some(())).await;
        host.kill().await;
    }
    let since = decisions(&world);
    let since = &since[..since.len() - before];
    if let Some(other) = since.iter().find(|decision| *decision != "skipped-paused") {
        return Err(format!("a schedule that is paused was {other}"));
    }
    let (_, out, _) = schedule(&world, &["ls"]).await;
    assert!(out.contains("paused by alice: freeze") && out.contains("every second"), "{out}");

    let host = world.start().await;
    let (code, out, err) = schedule(&world, &["resume", "frequent", "--by", "bob"]).await;
    assert!(code == Some(0) && out.contains("frequent: its schedules fire again"), "{out}{err}");
    eventually("a firing", async || decisions(&world).contains(&"fired".to_owned()).then_some(())).await;
    let (_, out, _) = schedule(&world, &["resume", "frequent"]).await;
    assert!(out.contains("was not paused"), "{out}");
    // A person's word on a running host.
    let (code, out, err) = schedule(&world, &["pause", "frequent", "every:", "--by", "carol"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let by = listed(&world).await["schedules"][0]["paused"]["by"].to_string();
    assert!(by.contains("for carol"), "{by}");
    let changes = changes(&world).await;
    for (what, by) in [("schedule.pause", "alice"), ("schedule.resume", "bob"), ("schedule.pause", "carol")] {
        let is_it = |change: &&String| change.starts_with(what) && change.ends_with(by);
        assert_eq!(changes.iter().filter(is_it).count(), 1, "{changes:?}");
    }
    host.terminate().await;
    world.audited().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_a_policy_needs_no_good_file_and_outlasts_a_change_of_its_lines() {
    let world = World::new().await;
    put_frequent(&world);
    world.start().await.kill().await;
    let before = decisions(&world).len();
    let file = std::fs::read_to_string(world.dir.path().join("plugins.d/frequent.toml")).expect("read");
    world.write("plugins.d/frequent.toml", "schedule = [");
    let (code, out, err) = schedule(&world, &["pause", "frequent", "--why", "freeze"]).await;
    assert!(code == Some(0) && out.contains("are paused until"), "{out}{err}");
    let (_, out, err) = schedule(&world, &["ls"]).await;
    assert!(
        out.contains("frequent: all its schedules, of which none can be read now: paused by"),
        "{out}{err}"
    );
    let (code, _, err) = schedule(&world, &["pause", "frequent", "every:1s"]).await;
    assert!(code != Some(0) && err.contains("without a schedule named"), "{err}");
    let on = "on = [{ source = \"cloudmonitor\", type = \"a:b\" }]";
    let lines = file.lines().map(|line| if line.starts_with("schedule = ") { on } else { line });
    world.write("plugins.d/frequent.toml", &lines.collect::<Vec<_>>().join("\n"));
    let (code, out, err) = schedule(&world, &["ls"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("frequent: all its schedules, of which it has none now: paused by"), "{out}{err}");
    // Another line, and none that was there before.
    world.write("plugins.d/frequent.toml", &file.replace("every = \"1s\"", "every = \"2s\""));
    let host = world.start().await;
    let (code, out, err) = schedule(&world, &["resume", "frequent", "every:2s"]).await;
    assert!(code != Some(0) && err.contains("resume the policy"), "{out}{err}");
    eventually("decisions", async || (decisions(&world).len() > before + 1).then_some(())).await;
    let since = decisions(&world);
    let since = &since[..since.len() - before];
    assert!(since.iter().all(|one| one == "skipped-paused"), "{since:?}");
    // With a host, too, and a pause of one line whose text has gone.
    let (code, _, err) = schedule(&world, &["resume", "frequent"]).await;
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = schedule(&world, &["pause", "frequent", "every:2s"]).await;
    assert_eq!(code, Some(0), "{err}");
    world.write("plugins.d/frequent.toml", "schedule = [");
    let (code, _, err) = schedule(&world, &["pause", "frequent"]).await;
    assert_eq!(code, Some(0), "{err}");
    let (_, out, _) = schedule(&world, &["ls"]).await;
    assert!(out.contains("`every:2s`, which is not in its file: paused by"), "{out}");
    std::fs::remove_file(world.dir.path().join("plugins.d/frequent.toml")).expect("removed");
    let (code, out, err) = schedule(&world, &["resume", "frequent"]).await;
    assert!(code == Some(0) && out.contains("fire again"), "{out}{err}");
    let (_, out, _) = schedule(&world, &["ls"]).await;
    assert_eq!(out, "no policy has a schedule\n");
    host.terminate().await;
}

/// What the audit chain has of changes by people.
async fn changes(world: &World) -> Vec<String> {
    let output = world.command(&["audit", "export"]).output().await.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let word = |entry: &Value, key: &str| {
        let inner = if entry["entry"].is_object() { &entry["entry"][key] } else { &entry[key] };
        inner.as_str().unwrap_or_default().to_owned()
    };
    entries
        .filter(|entry| word(entry, "kind") == "change")
        .map(|entry| format!("{} {}", word(&entry, "outcome"), word(&entry, "by")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_has_a_schedule_fire_now_and_once() {
    let world = World::new().await;
    world.put_plugin("nightly-reset");
    let cron = cron_at(12 * 3600);
    let file = include_str!("harness/nightly-reset.toml").replace("{cron}", &cron);
    world.write("plugins.d/nightly.toml", &file);
    let (code, _, err) = schedule(&world, &["fire", "nightly"]).await;
    assert!(code != Some(0) && err.contains("no store"), "{err}");
    let host = world.start().await;
    let (code, out, err) = schedule(&world, &["fire", "nightly", "--by", "alice", "-o", "json"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!((runs.len(), &runs[0]["id"]), (1, &told["run"]), "{runs:#?}");
    assert_eq!(world.effects("ResetInstance").await.values().sum::<usize>(), 1);
    assert_eq!(decisions(&world), ["fired-by-hand"]);
    let shown = listed(&world).await;
    assert_eq!(shown["schedules"][0]["latest"]["decision"], "fired-by-hand");
    let changes = changes(&world).await;
    assert!(changes.len() == 1 && changes[0].ends_with("for alice"), "{changes:?}");
    for (args, part) in [
        (["fire", "nightlies"], "no policy is called `nightlies`"),
        (["pause", "nightlies"], "nothing was changed"),
    ] {
        let (code, _, err) = schedule(&world, &args).await;
        assert!(code != Some(0) && err.contains(part), "{err}");
    }
    let (code, _, err) = schedule(&world, &["pause", "nightly", "0 4 * * *"]).await;
    assert!(code != Some(0) && err.contains("is in no schedule of the policy; it has `scf:"), "{err}");
    host.terminate().await;
    let (code, _, err) = schedule(&world, &["fire", "nightly"]).await;
    assert!(code != Some(0) && err.contains("no host runs"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_firing_that_could_not_begin_within_its_grace_begins_only_when_a_person_says_so() {
    let world = World::new().await;
    world.put_plugin("nightly-reset");
    let file = include_str!("harness/nightly-reset.toml").replace("{cron}", &cron_at(12 * 3600));
    let file = file.replace(r#"zone = "Asia/Shanghai" }"#, r#"zone = "Asia/Shanghai", grace = "5s" }"#);
    world.write("plugins.d/nightly.toml", &file);
    let host = world.start().await;
    let opsward = async |args: &[&str]| {
        let output = world.command(args).output().await.expect("it runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    opsward(&["halt", "--policy", "nightly"]).await;
    // A halt is in force everywhere within a second.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    opsward(&["schedule", "fire", "nightly"]).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    opsward(&["resume", "--policy", "nightly"]).await;
    let runs = world.settled_runs(&host, 1).await;
    assert!(runs[0]["state"] == "failed" && runs[0].to_string().contains("too-late"), "{runs:#?}");
    assert_eq!(world.effects("ResetInstance").await.len(), 0);
    opsward(&["run", "retry", runs[0]["id"].as_str().expect("an id")]).await;
    eventually("the reset", async || (!world.effects("ResetInstance").await.is_empty()).then_some(())).await;
    host.terminate().await;
}

/// Where a host dies while it fires: before and after the decision, before and after the commit of decision, event and run.
const KILLS: [&str; 4] = ["before-fire", "before-commit", "after-commit-before-reply", "after-fire"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_around_a_firing_leaves_one_decision_with_one_run() {
    for name in KILLS {
        let world = World::new().await;
        world.put_nightly_reset().await;
        // It may die before it is ready.
        if let Some(mut host) = world.start_with(&[("OPSWARD_FAILPOINT", &format!("{name}:1"))]).await {
            host.died().await;
        }
        let decided = decisions(&world).len();
        // Decision, event and run are there together, or none of them is.
        let store = Reader::open(&world.dir.path().join("opsward.db")).expect("the store opens");
        let runs = store.list_runs(&opsward::store::RunFilter::default()).expect("listed");
        assert_eq!(decided, 1 + runs.len(), "{name}: one decision is from before");
        let host = world.start().await;
        let runs = world.settled_runs(&host, 1).await;
        assert_eq!(runs.len(), 1, "{name}: {runs:#?}");
        assert_eq!(decisions(&world).iter().filter(|one| *one == "fired").count(), 1, "{name}");
        assert_eq!(world.effects("ResetInstance").await.values().sum::<usize>(), 1, "{name}");
    }
}

//! Effects of class once whose answer is lost: proved by the cloud's record of operations, or held for a person, who settles
//! them; their resource is kept from others until then.

use crate::harness::{Host, World, eventually};
use crate::store::damage::flip;
use serde_json::{Value, json};

/// Waits of minutes become seconds.
const HASTE: (&str, &str) = ("OPSWARD_HASTE", "120");

async fn lose_the_request(world: &World, times: u32) {
    world
        .sim_post("faults", json!({ "action": "ResetInstance", "kind": "drop-before", "times": times }))
        .await;
}

async fn resets(world: &World) -> usize {
    world.effects("ResetInstance").await.values().sum()
}

/// Runs `opsward run <args>` beside the host; its exit code, and what it printed.
async fn opsward_run(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let ended = world.command(&[&["run"], args].concat()).output().await.expect("it runs");
    let printed = [ended.stdout, ended.stderr].concat();
    (ended.status.code(), String::from_utf8_lossy(&printed).into_owned())
}

/// A running host puts first who it knows the command to be from: the user that the test runs as.
fn is_given_up_for_ops(note: &Value) -> bool {
    note.as_str().is_some_and(|note| note.starts_with("given up by ") && note.ends_with(" for ops"))
}

/// A host with a run that is held: it died before its reset was sent, and afterwards nothing could be read.
async fn held_by_blindness(world: &World) -> (Host, String) {
    world.put_nightly_reset().await;
    let mut host = world.start_with(&[HASTE, ("OPSWARD_FAILPOINT", "after-intent:1")]).await.expect("ready");
    host.died().await;
    let machine = world.sim_get("state").await["tencent"]["instances"]["ins-1"].clone();
    let put = async |machine: Value| {
        world.patch_state(json!({ "tencent": { "instances": { "ins-1": machine } } })).await;
    };
    put(Value::Null).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "held", "{runs:#?}");
    put(machine).await;
    (host, runs[0]["id"].as_str().expect("an id").to_owned())
}

async fn ended(world: &World, host: &Host, id: &str) -> Value {
    eventually("the run to end", async || {
        let runs = world.runs(host).await;
        let run = runs.iter().find(|run| run["id"] == id)?;
        ["done", "failed", "dead"].contains(&run["state"].as_str()?).then(|| run.clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_got_lost_is_sent_anew_once_it_can_take_place_no_more() {
    let world = World::new().await;
    world.put_nightly_reset().await;
    lose_the_request(&world, 1).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "done", "{runs:#?}");
    assert_eq!(resets(&world).await, 1);
    let (code, shown) = opsward_run(&world, &["show", runs[0]["id"].as_str().expect("an id")]).await;
    assert_eq!(code, Some(0));
    assert!(shown.contains("did not take place: the cloud's record"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_get_lost_again_and_again_end_with_a_person() {
    let world = World::new().await;
    world.put_nightly_reset().await;
    lose_the_request(&world, 100).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let runs = world.settled_runs(&host, 1).await;
    assert_eq!(runs[0]["state"], "held", "{runs:#?}");
    assert_eq!(resets(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_says_that_a_held_effect_took_place_and_the_run_goes_on() {
    let world = World::new().await;
    let (host, id) = held_by_blindness(&world).await;
    let (code, listed) = opsward_run(&world, &["ls", "--held"]).await;
    assert!(code == Some(0) && listed.contains(&id[..12]), "{listed}");
    let (code, told) =
        opsward_run(&world, &["resolve", &id[..12], "--done", "req-by-hand", "--by", "ops"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("the running host was told"), "{told}");
    eventually("the run to go on", async || {
        opsward_run(&world, &["show", &id]).await.1.contains(" for ops").then_some(())
    })
    .await;
    assert_eq!(resets(&world).await, 0, "nobody sent it");
    let (code, told) = opsward_run(&world, &["resolve", &id, "--abandon"]).await;
    assert_ne!(code, Some(0), "only a held run can be resolved");
    assert!(told.contains("only a held one can be resolved"), "{told}");
    assert_eq!(host.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_says_that_a_held_effect_did_not_take_place_and_it_is_made() {
    let world = World::new().await;
    let (host, id) = held_by_blindness(&world).await;
    assert_eq!(host.terminate().await, Some(0));
    let (code, told) = opsward_run(&world, &["resolve", &id, "--not-done", "--by", "ops"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("goes on with it at its next start"), "{told}");
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let run = ended(&world, &host, &id).await;
    assert_eq!(run["state"], "done", "{run:#}");
    assert_eq!(resets(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_given_up_is_dead_and_its_resource_free() {
    let world = World::new().await;
    let (host, id) = held_by_blindness(&world).await;
    let (code, told) = opsward_run(&world, &["resolve", &id, "--abandon", "--by", "ops"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(is_given_up_for_ops(&ended(&world, &host, &id).await["note"]));
    assert_eq!(host.terminate().await, Some(0));
    world.put_reset("other-reset").await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let other = another_reset(&world, &host, &id).await;
    assert_eq!(ended(&world, &host, &other).await["state"], "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_ledger_cannot_be_read_can_only_be_given_up_and_its_resource_is_free() {
    for has_host in [true, false] {
        let world = World::new().await;
        let (host, id) = held_by_blindness(&world).await;
        assert_eq!(host.terminate().await, Some(0));
        flip(&world.dir.path().join("opsward.db"), "\"kind\":\"intent\"", 0x01);
        let host = if has_host { world.start_with(&[HASTE]).await } else { None };
        let given_up = if has_host { " for ops" } else { "given up  by ops" };

        let (code, listed) = opsward_run(&world, &["ls", "--held"]).await;
        assert!(code == Some(0) && listed.contains(&id[..12]), "{listed}");
        let (code, shown) = opsward_run(&world, &["show", &id]).await;
        assert!(code == Some(0) && shown.contains("damaged   row "), "{shown}");
        assert!(shown.contains("its checksum is wrong") && shown.contains("held  "), "{shown}");
        for answer in [&["--not-done"][..], &["--done", ""]] {
            let (code, told) = opsward_run(&world, &[&["resolve", &id], answer].concat()).await;
            assert!(code != Some(0) && told.contains("ledger cannot be read whole"), "{told}");
        }
        let (code, told) = opsward_run(&world, &["resolve", &id, "--abandon", "--by", "ops"]).await;
        assert_eq!(code, Some(0), "{told}");
        let (code, told) = opsward_run(&world, &["retry", &id]).await;
        assert!(code != Some(0) && told.contains("ledger cannot be read whole"), "{told}");
        let (_, shown) = opsward_run(&world, &["show", &id]).await;
        assert!(shown.contains("dead in ") && shown.contains(given_up), "{shown}");

        if let Some(host) = host {
            assert!(is_given_up_for_ops(&ended(&world, &host, &id).await["note"]));
            assert_eq!(host.terminate().await, Some(0));
        }
        world.put_reset("other-reset").await;
        let host = world.start_with(&[HASTE]).await.expect("ready");
        let other = another_reset(&world, &host, &id).await;
        assert_eq!(ended(&world, &host, &other).await["state"], "done");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_about_an_earlier_hold_settles_no_later_one() {
    let world = World::new().await;
    world.put_nightly_reset().await;
    lose_the_request(&world, 1000).await;
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let runs = world.settled_runs(&host, 1).await;
    let id = runs[0]["id"].as_str().expect("an id");
    let url = format!("http://{}/api/v1/runs/{id}", host.admin);
    let held_after = async |epoch: u64| {
        eventually("the run to be held", async || {
            let answer = world.http.get(&url).send().await.expect("answered").bytes().await.expect("a body");
            let run: Value = serde_json::from_slice(&answer).expect("JSON");
            (run["row"]["state"] == "held").then(|| run["epoch"].as_u64())?.filter(|held| *held > epoch)
        })
        .await
    };
    let first = held_after(0).await;
    let (_, shown) = opsward_run(&world, &["show", id]).await;
    assert!(shown.contains(&format!("`opsward run resolve --epoch {first}`")), "{shown}");
    let as_shown = ["resolve", id, "--not-done", "--by", "ops", "--epoch", &first.to_string()];
    let (code, told) = opsward_run(&world, &as_shown).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("is held: "), "it says what it settles: {told}");

    let second = held_after(first).await;
    let (code, told) = opsward_run(&world, &as_shown).await;
    assert!(
        code != Some(0) && told.contains("held anew since you looked, and for something else: "),
        "{told}"
    );
    let late = world.http.post(format!("{url}/decision")).header("content-type", "application/json");
    let late =
        late.body(json!({ "decision": { "resolve": "not-done" }, "by": "ops", "epoch": first }).to_string());
    assert_eq!(late.send().await.expect("answered").status(), 409);
    assert_eq!(held_after(first).await, second, "nothing was settled");
    let (code, told) = opsward_run(&world, &["resolve", id, "--abandon", "--by", "ops"]).await;
    assert_eq!(code, Some(0), "what the command itself has read is what it settles: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_effect_keeps_its_resource_from_other_runs_through_restarts() {
    let (world, id) = a_held_reset().await;
    waits_for_the_held_one(&world, &id, "").await.expect("the right host keeps the lock");
}

/// Starts a host that is `wrong` in this way, with another reset of the machine that the held run `id` has.
pub(crate) async fn waits_for_the_held_one(world: &World, id: &str, wrong: &str) -> Result<(), String> {
    world.put_reset("other-reset").await;
    let host = world.start_with(&[HASTE, ("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let other = another_reset(world, &host, id).await;
    let waits = eventually("the other run to wait or to end", async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).unwrap_or_default();
        if log.contains("waits for a resource") {
            return Some(true);
        }
        let runs = world.runs(&host).await;
        runs.iter().any(|run| run["id"] == *other && run["state"] == "done").then_some(false)
    })
    .await;
    if !waits || resets(world).await > 0 {
        return Err("a machine was reset while another reset of it may be under way".to_owned());
    }
    let (code, told) = opsward_run(world, &["resolve", id, "--done", "", "--by", "ops"]).await;
    assert_eq!(code, Some(0), "{told}");
    let run = ended(world, &host, &other).await;
    if run["state"] == "done" && resets(world).await == 1 { Ok(()) } else { Err(format!("{run:#}")) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_store_asks_before_it_makes_again_what_it_may_have_forgotten() {
    let world = World::new().await;
    let (host, id) = a_reset_that_the_store_has_forgotten(&world, "").await.expect("it asks");
    let (code, told) = opsward_run(&world, &["resolve", &id, "--not-done", "--by", "ops"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(ended(&world, &host, &id).await["state"], "done");
    assert_eq!(resets(&world).await, 2, "a person is believed");
}

/// A host, `wrong` in this way, on a copy of its store from before a reset. The run of that reset, once it is held.
pub(crate) async fn a_reset_that_the_store_has_forgotten(
    world: &World,
    wrong: &str,
) -> Result<(Host, String), String> {
    world.put_nightly_reset().await;
    let copied = world.command(&["db", "backup", "copy.db"]).output().await.expect("it runs");
    assert!(copied.status.success(), "{copied:?}");
    let host = world.start_with(&[HASTE]).await.expect("ready");
    world.settled_runs(&host, 1).await;
    assert_eq!((resets(world).await, host.terminate().await), (1, Some(0)));
    for end in ["", "-wal", "-shm"] {
        let path = world.dir.path().join(format!("opsward.db{end}"));
        std::fs::remove_file(path)
            .or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
            .expect("removed");
    }
    std::fs::rename(world.dir.path().join("copy.db"), world.dir.path().join("opsward.db")).expect("restored");
    let host = world.start_with(&[HASTE, ("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let runs = world.settled_runs(&host, 1).await;
    match (runs[0]["state"].as_str(), resets(world).await) {
        (Some("held"), 1) => Ok((host, runs[0]["id"].as_str().expect("an id").to_owned())),
        (_, resets) => Err(format!("{resets} resets, and the run is {}", runs[0]["state"])),
    }
}

/// A world with a held reset and no host, for `waits_for_the_held_one`.
pub(crate) async fn a_held_reset() -> (World, String) {
    let world = World::new().await;
    let (host, id) = held_by_blindness(&world).await;
    assert_eq!(host.terminate().await, Some(0));
    (world, id)
}

async fn another_reset(world: &World, host: &Host, than: &str) -> String {
    eventually("another run", async || {
        let runs = world.runs(host).await;
        Some(runs.iter().find(|run| run["id"] != than)?["id"].as_str()?.to_owned())
    })
    .await
}

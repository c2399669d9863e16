//! Dry run, judged by the simulated clouds' books: nothing takes place, the policy decides as it would, and what it is told is what
//! it would see. `opsward_core::overlay` has the tables of what reads show.

use crate::grants::{ended, policy, requests, send, world};
use crate::harness::{Host, World, eventually, executed};
use crate::setup;
use serde_json::{Value, json};

/// One call of the guest that makes calls.
fn call(action: &str, params: Value) -> Value {
    let (service, action) = action.split_once(':').expect("service:Action");
    let region = if service == "ecs" { "cn-hangzhou" } else { "ap-shanghai" };
    json!({ "service": service, "action": action, "region": region, "params": params })
}

fn allow(actions: &[&str], resources: &[&str]) -> String {
    let grant = |action: &&str| format!("\n[[allow]]\naction = \"{action}\"\nresource = {resources:?}\n");
    actions.iter().map(grant).collect()
}

/// The whole run as the admin listener shows it.
pub(crate) async fn whole(world: &World, host: &Host, run: &Value) -> Value {
    let url = format!("http://{}/api/v1/runs/{}", host.admin, run["id"].as_str().expect("an id"));
    let answer = world.http.get(url).send().await.expect("admin answers");
    serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
}

/// Runs `calls` as a policy in `mode`, and gives the answers in order: the body, or the error's code.
async fn answers(world: &World, host: &Host, id: &str, kind: &str, calls: Value) -> Vec<Value> {
    send(world, host, id, kind, json!({ "calls": calls, "together": false })).await;
    let run = ended(world, host, id).await;
    let ledger = whole(world, host, &run).await["ledger"].as_array().expect("a ledger").clone();
    let reply = |record: &Value| {
        let reply = record["entry"].get("reply")?;
        let body = reply["Ok"]["body"].as_str().map(|body| serde_json::from_str(body).expect("JSON"));
        Some(body.unwrap_or_else(|| reply["Err"]["code"].clone()))
    };
    ledger.iter().filter_map(reply).collect()
}

/// The policy's effects in its ledger: made or simulated.
fn effects(run: &Value) -> Vec<Value> {
    let ledger = run["ledger"].as_array().expect("a ledger");
    let effects = ledger.iter().map(|record| &record["entry"]).filter(|entry| {
        entry["kind"] == "intent"
            || (entry["kind"] == "call"
                && ["simulated", "cloud-dry-run"].map(Value::from).contains(&entry["answered"]))
    });
    let mut effects: Vec<Value> = effects
        .map(|entry| {
            let mut request = entry["request"].clone();
            // Has the time at which a schedule fired.
            request.as_object_mut().expect("a request").remove("once");
            request
        })
        .collect();
    effects.sort_by_key(Value::to_string);
    effects
}

async fn books(world: &World) -> usize {
    world.sim_get("effects").await.as_array().expect("a list").len()
}

/// Runs the bundled policy `name` once, and gives its run.
async fn run_once(name: &str, mode: &str) -> (World, Value) {
    let world = match name {
        "cloud-setup" => setup::world("enforce").await,
        _ => World::new().await,
    };
    let set_mode = |world: &World| {
        let file = format!("plugins.d/{name}.toml");
        let text = std::fs::read_to_string(world.dir.path().join(&file)).expect("its file");
        world.write(&file, &text.replace("mode = \"enforce\"", &format!("mode = \"{mode}\"")));
    };
    let host;
    match name {
        "snapshot-on-reboot" => {
            set_mode(&world);
            host = world.start().await;
            let (instance, _) = world.machine(3).await;
            world.post(&host, &executed(&instance, "e-dry")).await;
        }
        "nightly-reset" => {
            world.put_nightly_reset().await;
            set_mode(&world);
            host = world.start().await;
        }
        "cloud-setup" => {
            set_mode(&world);
            host = world.start().await;
            let (code, out, err) = setup::source(&world, &setup::APPLY).await;
            // What a dry run shows is not made.
            assert_eq!(code, Some(i32::from(mode == "dry-run")), "{out}\n{err}");
        }
        other => panic!("no scenario for the policy {other}: add one"),
    }
    let run = world.settled_runs(&host, 1).await.remove(0);
    let run = whole(&world, &host, &run).await;
    (world, run)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_policy_decides_in_a_dry_run_as_it_would_in_enforce_and_nothing_takes_place() {
    for plugin in opsward_bundle::PLUGINS {
        let (enforced, real) = run_once(plugin.name, "enforce").await;
        let (dry, simulated) = run_once(plugin.name, "dry-run").await;
        let name = plugin.name;
        assert_eq!(real["row"]["state"], "done", "{name}: {real:#}");
        assert_eq!(simulated["row"]["state"], "done", "{name}: {simulated:#}");
        assert_eq!(effects(&simulated), effects(&real), "{name}");
        assert!(books(&enforced).await > 0, "{name}");
        assert_eq!(books(&dry).await, 0, "{name}");
        let said = |run: &Value| {
            let ledger = run["ledger"].as_array().expect("a ledger").clone();
            let last = ledger.last().expect("an end")["entry"]["outcome"]["summary"].clone();
            last.as_str().expect("a summary").replace("would make", "made").replace("would reset", "reset")
        };
        assert_eq!(said(&simulated), said(&real), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_reads_show_what_was_simulated() {
    shows_what_was_simulated("").await.expect("shown");
}

/// A run that changes things and looks at them; the host is `wrong` in this way.
pub(crate) async fn shows_what_was_simulated(wrong: &str) -> Result<(), String> {
    let world = world().await;
    let (instance, disks) = world.machine(3).await;
    let disk = &disks[0];
    let may = [
        "ecs:StopInstance",
        "ecs:CreateSnapshot",
        "ecs:TagResources",
        "ecs:DescribeInstances",
        "ecs:DescribeSnapshots",
    ];
    let allow = allow(&may, &[&instance, disk]);
    world.write("plugins.d/dry.toml", &policy("dry", "prod", "dry-run", &allow));
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let calls = json!([
        call("ecs:StopInstance", json!({ "InstanceId": instance })),
        call(
            "ecs:TagResources",
            json!({ "ResourceType": "instance", "ResourceId": [instance], "Tag": [{ "Key": "dry", "Value": "yes" }] })
        ),
        call("ecs:DescribeInstances", json!({ "InstanceIds": json!([instance]).to_string() })),
        call("ecs:CreateSnapshot", json!({ "DiskId": disk })),
        call("ecs:DescribeSnapshots", json!({ "DiskId": disk })),
    ]);
    let seen = answers(&world, &host, "e-1", "calls.dry", calls).await;
    if books(&world).await != 0 {
        return Err("something took place".to_owned());
    }
    let [_, _, instances, made, snapshots] = seen.as_slice() else { return Err(format!("{seen:#?}")) };
    let shown = &instances["Instances"]["Instance"][0];
    let tags = shown["Tags"]["Tag"].as_array().map(Vec::as_slice).unwrap_or_default();
    if shown["Status"] != "Stopped" || !tags.contains(&json!({ "TagKey": "dry", "TagValue": "yes" })) {
        return Err(format!("the instance is shown as it was: {} with {}", shown["Status"], shown["Tags"]));
    }
    let listed = snapshots["Snapshots"]["Snapshot"].as_array().expect("a list");
    let new = listed.iter().find(|item| item["SnapshotId"] == made["SnapshotId"]);
    match new {
        Some(new) if new["Status"] == "accomplished" && new["SourceDiskId"] == **disk => Ok(()),
        other => Err(format!("the new snapshot is shown as {other:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cloud_is_asked_whether_it_would_take_the_effect_and_its_refusal_is_the_answer() {
    asks_the_cloud_for_no_more_than_a_check("").await.expect("asked");
}

/// A dry run of effects that the cloud can check; the host is `wrong` in this way.
pub(crate) async fn asks_the_cloud_for_no_more_than_a_check(wrong: &str) -> Result<(), String> {
    let world = world().await;
    let (instance, _) = world.machine(3).await;
    let may = ["ecs:StopInstance", "ecs:StartInstance", "ecs:RebootInstance"];
    world.write("plugins.d/dry.toml", &policy("dry", "prod", "dry-run", &allow(&may, &[&instance])));
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    // It runs: to start it is refused by the cloud itself.
    let calls = json!([call("ecs:StartInstance", json!({ "InstanceId": instance }))]);
    let refused = answers(&world, &host, "e-1", "calls.dry", calls).await;
    // To stop it is not; that it could be started then, the cloud would not see, so that it is not asked.
    let calls = json!([
        call("ecs:StopInstance", json!({ "InstanceId": instance })),
        call("ecs:StartInstance", json!({ "InstanceId": instance })),
    ]);
    let passed = answers(&world, &host, "e-2", "calls.dry", calls).await;
    if books(&world).await != 0 {
        return Err("something took place".to_owned());
    }
    let sent: Vec<Value> = requests(&world).await;
    let changing = sent.iter().filter(|request| !request["action"].to_string().contains("Describe"));
    let changing: Vec<(&Value, &Value)> =
        changing.map(|request| (&request["action"], &request["params"]["DryRun"])).collect();
    let flagged = json!("true");
    assert_eq!(changing, [(&json!("StartInstance"), &flagged), (&json!("StopInstance"), &flagged)]);
    assert!(sent.iter().all(|request| request["params"].get("ClientToken").is_none()), "{sent:#?}");
    assert_eq!(refused, [json!("IncorrectInstanceStatus")]);
    assert_eq!(passed.len(), 2, "{passed:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guardrails_refuse_what_they_would_refuse_and_nothing_is_spent() {
    let world = world().await;
    world.patch_state(json!({ "tencent": { "instances": { "ins-1": {} } } })).await;
    let allow = allow(&["cvm:ResetInstance"], &["ins-1"]);
    world.write("plugins.d/dry.toml", &policy("dry", "lab", "dry-run", &allow));
    world.write("plugins.d/real.toml", &policy("real", "lab", "enforce", &allow));
    let host = world.start().await;
    let reset = || call("cvm:ResetInstance", json!({ "InstanceId": "ins-1", "ImageId": "img-1" }));
    for id in ["e-1", "e-2"] {
        let seen = answers(&world, &host, id, "calls.dry", json!([reset(), reset()])).await;
        assert!(seen[0]["RequestId"].is_string(), "{id}: {seen:#?}");
        assert_eq!(seen[1], "opsward.OverGuardrail", "{id}: the second within 20 hours");
    }
    let made = answers(&world, &host, "e-3", "calls.real", json!([reset()])).await;
    assert!(made.last().is_some_and(|answer| answer["RequestId"].is_string()), "there is room: {made:#?}");
    let after = answers(&world, &host, "e-4", "calls.dry", json!([reset()])).await;
    assert_eq!(after, [json!("opsward.OverGuardrail")], "what was really spent counts");
    assert_eq!(world.effects("ResetInstance").await.get("ins-1"), Some(&1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_shows_what_was_shown_and_asks_nobody_again() {
    let world = world().await;
    let (instance, _) = world.machine(3).await;
    let allow = allow(&["ecs:StopInstance", "ecs:DescribeInstances"], &[&instance]);
    world.write("plugins.d/dry.toml", &policy("dry", "prod", "dry-run", &allow));
    let mut host = world.start_with(&[("OPSWARD_FAILPOINT", "before-finish:1")]).await.expect("ready");
    let look = || call("ecs:DescribeInstances", json!({ "InstanceIds": json!([instance]).to_string() }));
    let calls = json!([call("ecs:StopInstance", json!({ "InstanceId": instance })), look()]);
    send(&world, &host, "e-1", "calls.dry", json!({ "calls": calls })).await;
    host.died().await;
    let host = world.start().await;
    let run = ended(&world, &host, "e-1").await;
    let run = whole(&world, &host, &run).await;
    assert_eq!(run["row"]["state"], "done", "{run:#}");
    let ledger = run["ledger"].as_array().expect("a ledger");
    let overlaid = ledger.iter().filter(|record| record["entry"]["answered"] == "overlaid").count();
    assert_eq!(overlaid, 1, "{run:#}");
    assert_eq!(books(&world).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_show_says_what_was_simulated() {
    let (world, run) = run_once("snapshot-on-reboot", "dry-run").await;
    let shown = eventually("the run to be shown", async || {
        let output = world.command(&["run", "show", run["row"]["id"].as_str()?]).output().await.ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    })
    .await;
    assert_eq!(shown.matches("ok, simulated SnapshotId=s-dryrun").count(), 3, "{shown}");
}

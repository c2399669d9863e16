//! Guardrails of whole hosts: a policy gone wrong stops at its budget, whatever happens to the host, and a machine is left
//! alone for its cool-down. What falls under which limit is tested in core, what the store counts by its conformance suite.

pub(crate) mod pace;
pub(crate) mod protected;

use crate::harness::{Host, SIGNED, TOKEN, World, signed, times};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

const CALLS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-calls.wasm"));

/// A world with `machines` and a policy that resets whichever its event names.
async fn fleet(machines: &[String], guardrails: &str) -> World {
    let world = World::new().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let source = "\n[sources.fleet]\nkind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }\n";
    world.write("opsward.toml", &(settings + source + SIGNED));
    std::fs::write(world.plugins().join("calls.wasm"), CALLS).expect("writable");
    let mut policy = format!(
        "plugin = \"calls.wasm\"\naccount = \"lab\"\nmode = \"enforce\"\non = [{{ source = \"fleet\" }}]\n{guardrails}"
    );
    let ids = machines.iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>().join(", ");
    write!(policy, "\n[[allow]]\naction = \"cvm:ResetInstance\"\nresource = [{ids}]\n").expect("written");
    world.write("plugins.d/fleet.toml", &policy);
    let state = world.sim_get("state").await;
    let mut known = state["tencent"]["instances"].as_object().expect("a map").values();
    let runs_there = |one: &&Value| one["region"] == "ap-shanghai" && one["state"]["state"] == "RUNNING";
    let running = known.find(runs_there).expect("one that runs");
    let all: serde_json::Map<String, Value> =
        machines.iter().map(|id| (id.clone(), running.clone())).collect();
    world.patch_state(json!({ "tencent": { "instances": all }, "settle": { "reset_ms": 20 } })).await;
    world
}

fn machines(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("ins-fleet{n:04}")).collect()
}

/// Has the policy reset a machine.
async fn ask(world: &World, host: &Host, machine: &str, id: &str) {
    let call = json!({
        "service": "cvm", "action": "ResetInstance", "region": "ap-shanghai",
        "params": { "InstanceId": machine, "ImageId": "img-1" },
    });
    let event = json!({
        "specversion": "1.0", "id": id, "source": "test", "type": "calls.told", "data": { "calls": [call] },
    });
    let url = format!("http://{}/hooks/fleet/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    let answer = signed(request, &event).send().await.expect("answered");
    assert_eq!(answer.status(), 200);
}

/// A policy is asked to reset each machine of a fleet, by a host that is killed half-way and is `wrong` in this way.
pub(crate) async fn a_fleet_is_not_reset(wrong: &str, count: usize) -> Result<(), String> {
    let machines = machines(count);
    let world = fleet(&machines, "").await;
    let (before, after) = machines.split_at(count / 2);
    let env = [("OPSWARD_HASTE", "120"), ("OPSWARD_WRONG", wrong)];
    let host = world.start_with(&env).await.expect("ready");
    for machine in before {
        ask(&world, &host, machine, machine).await;
    }
    world.settled_runs(&host, before.len() / 2).await;
    host.kill().await;
    let host = world.start_with(&env).await.expect("ready");
    for machine in after {
        ask(&world, &host, machine, machine).await;
    }
    let runs = world.settled_runs(&host, count).await;
    let resets = world.effects("ResetInstance").await.values().sum::<usize>();
    let refused = |run: &&Value| {
        let note = run["note"].as_str().unwrap_or_default();
        run["state"] == "failed" && note.contains("opsward.OverGuardrail") && note.contains("`once-effects`")
    };
    match (resets, runs.iter().filter(refused).count()) {
        (10, refused) if refused == count - 10 => Ok(()),
        (resets, refused) => {
            Err(format!("{resets} resets, {refused} refused, of {count} machines with 10 an hour"))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_that_would_reset_a_fleet_stops_at_its_budget_also_through_a_kill() {
    let count = times(40, 1000, 1000);
    a_fleet_is_not_reset("", count).await.expect("at most the budget");
    println!("{count} machines asked for, 10 reset");
}

#[tokio::test]
async fn a_machine_is_left_alone_for_its_cool_down_unless_the_operator_says_otherwise() {
    let machines = machines(1);
    for (guardrails, expected) in [("", 1), ("guardrails = { cool-down = \"none\" }\n", 2)] {
        let world = fleet(&machines, guardrails).await;
        let host = world.start().await;
        for (n, id) in ["first", "second"].into_iter().enumerate() {
            ask(&world, &host, &machines[0], id).await;
            world.settled_runs(&host, n + 1).await;
            // The cloud takes no reset while one is under way.
            world.patch_state(json!({ "clock_offset_ms": 60_000 * (n + 1) })).await;
        }
        let resets = world.effects("ResetInstance").await.values().sum::<usize>();
        assert_eq!(resets, expected, "{guardrails}: {:#?}", world.runs(&host).await);
    }
}

async fn opsward(world: &World, args: &[&str]) -> (bool, String) {
    let output = world.command(args).output().await.expect("started");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Requests that the clouds have seen.
async fn sent(world: &World) -> usize {
    world.sim_get("requests").await.as_array().expect("a list").len()
}

/// A policy is halted while it resets one machine after the other; a host that is `wrong` in this way goes on.
pub(crate) async fn a_halt_stops_what_is_sent(wrong: &str) -> Result<(), String> {
    let machines = machines(60);
    let world = fleet(&machines, "guardrails = { once-effects = \"none\" }\n").await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    for machine in &machines[..30] {
        ask(&world, &host, machine, machine).await;
    }
    let (halted, said) =
        opsward(&world, &["halt", "--policy", "fleet", "--by", "ops", "--why", "wrong machines"]).await;
    assert!(
        halted && said.contains("policy fleet: nothing is sent until `opsward resume --policy fleet`"),
        "{said}"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = sent(&world).await;
    for machine in &machines[30..] {
        ask(&world, &host, machine, machine).await;
    }
    // Also not by the next host.
    host.kill().await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong), ("OPSWARD_HASTE", "20")]).await.expect("ready");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = sent(&world).await;
    if after > before {
        return Err(format!("{} requests were sent for a policy that is halted", after - before));
    }
    let (_, listed) = opsward(&world, &["halt", "--list"]).await;
    assert!(
        listed.contains("fleet") && listed.contains("ops") && listed.contains("wrong machines"),
        "{listed}"
    );
    let (resumed, said) = opsward(&world, &["resume", "--policy", "fleet", "--by", "ops"]).await;
    assert!(resumed && said.contains("no longer halted"), "{said}");
    let runs = world.settled_runs(&host, machines.len()).await;
    let done = runs.iter().filter(|run| run["state"] == "done").count();
    let resets = world.effects("ResetInstance").await.values().sum::<usize>();
    assert_eq!(
        (done, resets),
        (machines.len(), machines.len()),
        "accepted meanwhile, and done once it may be"
    );
    Ok(())
}

#[tokio::test]
async fn a_grants_limit_is_counted_for_its_action() {
    let machines = machines(4);
    let world = fleet(&machines, "").await;
    let file = "plugins.d/fleet.toml";
    let policy = std::fs::read_to_string(world.dir.path().join(file)).expect("readable");
    world.write(file, &policy.replace("resource =", "limit = \"3/day\"\nresource ="));
    let host = world.start().await;
    for (n, machine) in machines.iter().enumerate() {
        ask(&world, &host, machine, machine).await;
        world.settled_runs(&host, n + 1).await;
    }
    assert_eq!(world.effects("ResetInstance").await.values().sum::<usize>(), 3);
    let note = world.runs(&host).await[0]["note"].to_string();
    assert!(note.contains("`limit` (`cvm:ResetInstance` of `fleet`: 3/day)"), "{note}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halted_policy_sends_nothing_through_restarts_and_goes_on_when_it_is_resumed() {
    a_halt_stops_what_is_sent("").await.expect("nothing is sent");
}

#[tokio::test]
async fn a_halt_is_written_where_no_host_runs_and_of_no_unknown_policy() {
    let world = fleet(&machines(1), "").await;
    world.start().await.terminate().await;
    let (good, said) = opsward(&world, &["halt", "--policy", "fleets"]).await;
    assert!(
        !good && said.contains("no policy is called `fleets`") && said.contains("nothing was halted"),
        "{said}"
    );
    let (good, said) = opsward(&world, &["halt", "--by", "ops"]).await;
    assert!(
        good && said.contains("all policies: nothing is sent until `opsward resume` (written; no host runs)"),
        "{said}"
    );
    let host = world.start().await;
    ask(&world, &host, &machines(1)[0], "while-halted").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(sent(&world).await, 0);
    let url = format!("http://{}/api/v1/halts", host.admin);
    let halts = world.http.get(url).send().await.expect("answered").text().await.expect("a body");
    assert!(halts.contains(r#""by":"ops""#), "{halts}");
    let (_, said) = opsward(&world, &["resume", "--policy", "fleet"]).await;
    assert!(said.contains("policy fleet: not halted"), "{said}");
}

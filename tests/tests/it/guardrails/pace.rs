//! How fast, how widely and when: different resources, the share of a fleet, ramps, circuits, maintenance windows and the budget
//! that the policies of an account share, each judged by the simulated cloud's books and through a kill.

use super::{fleet, machines, opsward};
use crate::harness::{Host, TOKEN, World, eventually, signed};
use opsward::clock::{Clock as _, SystemClock};
use serde_json::json;
use std::fmt::Write as _;

const HASTE: (&str, &str) = ("OPSWARD_HASTE", "100");
/// An image that the cloud knows.
const GOOD: &str = "img-1";
/// One of which it knows nothing: it refuses the reset.
const BAD: &str = "img-nobody";

/// Adds a policy that resets what the events `calls.<name>` name.
fn add_policy(world: &World, name: &str, machines: &[String], guardrails: &str) {
    let ids = machines.iter().map(|id| format!("\"{id}\"")).collect::<Vec<_>>().join(", ");
    let mut policy = format!(
        "plugin = \"calls.wasm\"\naccount = \"lab\"\nmode = \"enforce\"\nretry = {{ attempts = 1 }}\n\
         on = [{{ source = \"fleet\", type = \"calls.{name}\" }}]\n[guardrails]\n{guardrails}\n"
    );
    write!(policy, "[[allow]]\naction = \"cvm:ResetInstance\"\nresource = [{ids}]\n").expect("written");
    world.write(&format!("plugins.d/{name}.toml"), &policy);
}

/// A fleet with one policy of these guardrails, `pace`, which is not kept back by the ones that are there by default.
async fn paced(count: usize, guardrails: &str) -> (World, Vec<String>) {
    let machines = machines(count);
    let world = fleet(&machines, "").await;
    std::fs::remove_file(world.plugins().join("fleet.toml")).expect("removed");
    add_policy(
        &world,
        "pace",
        &machines,
        &format!("once-effects = \"none\"\ncool-down = \"none\"\n{guardrails}"),
    );
    (world, machines)
}

/// Adds lines to the account.
fn of_account(world: &World, lines: &str) {
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    world.write("opsward.toml", &settings.replace("[accounts.lab]\n", &format!("[accounts.lab]\n{lines}\n")));
}

async fn send(world: &World, host: &Host, policy: &str, id: &str, machine: &str, image: &str) {
    let call = json!({
        "service": "cvm", "action": "ResetInstance", "region": "ap-shanghai",
        "params": { "InstanceId": machine, "ImageId": image },
    });
    let event = json!({
        "specversion": "1.0", "id": id, "source": "test", "type": format!("calls.{policy}"),
        "data": { "calls": [call] },
    });
    let url = format!("http://{}/hooks/fleet/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    let answer = signed(request, &event).send().await.expect("answered");
    assert_eq!(answer.status(), 200);
}

/// Has `policy` reset a machine; how its run ended.
async fn reset(world: &World, host: &Host, policy: &str, id: &str, machine: &str, image: &str) -> String {
    send(world, host, policy, id, machine, image).await;
    eventually(&format!("the end of the run on {id}"), async || {
        let runs = world.runs(host).await;
        let run = runs.iter().find(|run| run["event_id"] == format!("{id} test"))?;
        let ended = ["done", "failed", "held", "dead"].contains(&run["state"].as_str()?);
        ended.then(|| format!("{} {}", run["state"].as_str().unwrap_or_default(), run["note"]))
    })
    .await
}

async fn resets(world: &World) -> usize {
    world.effects("ResetInstance").await.values().sum()
}

async fn restarted(world: &World, host: Host, env: &[(&str, &str)]) -> Host {
    host.kill().await;
    world.start_with(env).await.expect("ready")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_changes_so_many_different_machines_however_often() {
    let (world, machines) = paced(3, "resources = \"2/hour\"").await;
    let mut host = world.start_with(&[HASTE]).await.expect("ready");
    for (n, machine) in [0, 1, 0].into_iter().enumerate() {
        let end = reset(&world, &host, "pace", &format!("e-{n}"), &machines[machine], GOOD).await;
        assert!(end.starts_with("done"), "{end}");
        // The cloud takes no reset while one is under way.
        world.patch_state(json!({ "clock_offset_ms": 60_000 * (n + 1) })).await;
    }
    host = restarted(&world, host, &[HASTE]).await;
    let end = reset(&world, &host, "pace", "e-third", &machines[2], GOOD).await;
    assert!(end.contains("`resources` (different resources that `pace` changes: 2/hour)"), "{end}");
    assert_eq!(resets(&world).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_changes_a_share_of_its_fleet_as_a_fresh_read_counts_it() {
    let (world, machines) = paced(25, "max-percent = \"10/day\"").await;
    let state = world.sim_get("state").await;
    let all = state["tencent"]["instances"].as_object().expect("a map").values();
    let share = all.filter(|one| one["region"] == "ap-shanghai").count() / 10;
    let mut host = world.start_with(&[HASTE]).await.expect("ready");
    for (n, machine) in machines.iter().take(share + 3).enumerate() {
        if n == 1 {
            host = restarted(&world, host, &[HASTE]).await;
        }
        let end = reset(&world, &host, "pace", machine, machine, GOOD).await;
        assert_eq!(end.starts_with("done"), n < share, "{n}: {end}");
        assert!(n < share || end.contains("`max-percent`"), "{end}");
    }
    assert_eq!(resets(&world).await, share);
    let fault =
        json!({ "action": "DescribeInstances", "kind": "error-500-before", "times": 1000, "delay_ms": 0 });
    world.sim_post("faults", fault).await;
    let end = reset(&world, &host, "pace", "uncounted", &machines[20], GOOD).await;
    assert!(end.contains("opsward.FleetUnread"), "{end}");
    assert_eq!(resets(&world).await, share);
}

/// A policy asks for four resets in the first step of its ramp, half of them after a kill, of a host that is `wrong` in this way.
pub(crate) async fn a_ramp_holds_through_a_kill(wrong: &str) -> Result<(), String> {
    let (world, machines) = paced(12, "ramp-up = \"1h\"").await;
    let env = [HASTE, ("OPSWARD_WRONG", wrong)];
    let mut host = world.start_with(&env).await.expect("ready");
    let mut ends = Vec::new();
    for (n, machine) in machines.iter().take(4).enumerate() {
        if n == 2 {
            host = restarted(&world, host, &env).await;
        }
        ends.push(reset(&world, &host, "pace", machine, machine, GOOD).await);
    }
    match resets(&world).await {
        1 if ends[3].contains("`ramp-up`") => Ok(()),
        resets => Err(format!("{resets} resets in the first step of a ramp: {ends:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ramp_begins_with_one_also_through_a_kill() {
    a_ramp_holds_through_a_kill("").await.expect("one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ramp_stops_with_a_failure_until_a_person_says_so() {
    let (world, machines) = paced(40, "ramp-up = \"1s\"").await;
    let mut host = world.start_with(&[HASTE]).await.expect("ready");
    let mut fresh = machines.iter();
    // The pauses pass while the test looks.
    let mut made = 0;
    while made < 2 {
        let machine = fresh.next().expect("a step comes within so many");
        let end = reset(&world, &host, "pace", machine, machine, GOOD).await;
        made += usize::from(end.starts_with("done"));
        assert!(end.starts_with("done") || end.contains("`ramp-up`"), "{end}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let failed = eventually("the cloud to refuse one", async || {
        let machine = fresh.next().expect("a step comes within so many");
        let end = reset(&world, &host, "pace", machine, machine, BAD).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        (!end.contains("`ramp-up`")).then_some(end)
    });
    let failed = failed.await;
    assert!(failed.starts_with("failed") && !failed.contains("opsward."), "{failed}");
    host = restarted(&world, host, &[HASTE]).await;
    let machine = fresh.next().expect("one is left");
    let stopped = reset(&world, &host, "pace", "stopped", machine, GOOD).await;
    assert!(stopped.contains("opsward.RampStopped") && stopped.contains("one failed at"), "{stopped}");
    assert_eq!(resets(&world).await, 2);
    let (good, said) = opsward(&world, &["resume", "--policy", "pace"]).await;
    assert!(good && said.contains("no failure counts any more"), "{said}");
    let resumed = reset(&world, &host, "pace", "resumed", machine, GOOD).await;
    assert!(resumed.starts_with("done"), "{resumed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_opens_with_its_failures_until_a_person_closes_it() {
    let (world, machines) = paced(4, "circuit = \"2 failures/hour\"").await;
    let mut host = world.start_with(&[HASTE]).await.expect("ready");
    for (id, image) in [("good-1", GOOD), ("bad-1", BAD), ("good-2", GOOD), ("bad-2", BAD)] {
        let end = reset(&world, &host, "pace", id, &machines[usize::from(id == "good-2")], image).await;
        assert_eq!(end.starts_with("done"), image == GOOD, "{id}: {end}");
        assert!(!end.contains("opsward."), "{end}");
        world.patch_state(json!({ "clock_offset_ms": 60_000 })).await;
    }
    host = restarted(&world, host, &[HASTE]).await;
    let refused = reset(&world, &host, "pace", "e-open", &machines[2], GOOD).await;
    let expected = "the circuit of `pace` is open: 2 of its effects failed within 1h";
    assert!(refused.contains("opsward.CircuitOpen") && refused.contains(expected), "{refused}");
    let (_, listed) = opsward(&world, &["halt", "--list"]).await;
    assert!(listed.contains("policy pace: its circuit counts failures: 2, the last at "), "{listed}");
    assert_eq!(resets(&world).await, 2);
    let (good, said) = opsward(&world, &["resume", "--policy", "pace"]).await;
    assert!(good && said.contains("no failure counts any more"), "{said}");
    let closed = reset(&world, &host, "pace", "e-closed", &machines[3], GOOD).await;
    assert!(closed.starts_with("done"), "{closed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_waits_for_its_maintenance_window_and_not_for_one_that_never_comes() {
    let (world, machines) = paced(3, "windows = [{ zone = \"UTC\" }]").await;
    let hour = SystemClock.now().seconds().unsigned_abs() / 3600 % 24;
    let [from, to] = [hour + 3, hour + 4].map(|hour| format!("{:02}:00", hour % 24));
    let later = format!("windows = [{{ zone = \"UTC\", from = \"{from}\", to = \"{to}\" }}]");
    add_policy(&world, "later", &machines, &later);
    add_policy(
        &world,
        "never",
        &machines,
        "windows = [{ zone = \"UTC\", days = [\"mon\"], from = \"05:00\", to = \"05:01\" }]",
    );
    let host = world.start_with(&[HASTE]).await.expect("ready");
    send(&world, &host, "later", "e-later", &machines[0], GOOD).await;
    eventually("the run to wait", async || {
        let log = std::fs::read_to_string(world.dir.path().join("host.log")).unwrap_or_default();
        log.contains("waits for its maintenance window").then_some(())
    })
    .await;
    let open = reset(&world, &host, "pace", "e-open", &machines[1], GOOD).await;
    assert!(open.starts_with("done"), "{open}");
    host.kill().await;
    of_account(&world, "windows = [{ zone = \"UTC\", days = [\"tue\"] }]");
    let host = world.start_with(&[HASTE]).await.expect("ready");
    let never = reset(&world, &host, "never", "e-never", &machines[2], GOOD).await;
    assert!(never.contains("opsward.OutsideWindow") && never.contains("do not open together"), "{never}");
    assert_eq!(resets(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policies_of_an_account_share_its_budget() {
    let (world, machines) = paced(6, "").await;
    add_policy(&world, "other", &machines, "");
    of_account(&world, "budgets = { \"cvm:Reset*\" = \"3/day\" }");
    let mut host = world.start_with(&[HASTE]).await.expect("ready");
    let mut refused = 0;
    for (n, machine) in machines.iter().enumerate() {
        if n == 2 {
            host = restarted(&world, host, &[HASTE]).await;
        }
        let policy = ["pace", "other"][n % 2];
        let end = reset(&world, &host, policy, machine, machine, GOOD).await;
        let expected = "`budgets` (effects of `cvm:Reset*` by all policies of account `lab`: 3/day)";
        refused += usize::from(end.contains(expected));
        assert_eq!(end.starts_with("done"), n < 3, "{n}: {end}");
    }
    assert_eq!((resets(&world).await, refused), (3, 3));
    let (_, shown) = opsward(&world, &["policy", "show", "other"]).await;
    assert!(shown.contains("budgets cvm:Reset* 3/day"), "{shown}");
}

//! What an event of which nobody knows who sent it names is read before it is changed: on whole hosts, judged by what the clouds saw.

use crate::grants::{ended, policy, world};
use crate::harness::{Host, SIGNED, TOKEN, World, signed};
use serde_json::{Value, json};

const ALLOW: &str =
    "[[allow]]\naction = \"ecs:DescribeInstances\"\n[[allow]]\naction = \"ecs:StartInstance\"\n";

/// A source besides `hook` whose senders cannot sign.
const BARE: &str = "\n[sources.bare]\nkind = \"cloudevents\"\ntoken = { env = \"TEST_TOKEN\" }\n";

pub(crate) async fn bare_world(allow: &str, mode: &str) -> World {
    let world = world().await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    assert!(settings.contains(SIGNED.trim_end()), "the other source is signed");
    world.write("opsward.toml", &(settings + BARE));
    let file = policy("start", "prod", mode, allow).replace("source = \"hook\", ", "");
    world.write("plugins.d/start.toml", &file);
    world
}

/// Has the policy make `calls` on an event of `source`; the run's end, and its note.
async fn told(world: &World, host: &Host, source: &str, id: &str, calls: Vec<Value>) -> (String, String) {
    let event = json!({
        "specversion": "1.0", "id": id, "source": "test", "type": "calls.start", "data": { "calls": calls },
    });
    let url = format!("http://{}/hooks/{source}/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    let answer = signed(request, &event).send().await.expect("the host answers");
    assert_eq!(answer.status().as_u16(), 200, "{id}");
    let run = ended(world, host, id).await;
    let text = |key: &str| run[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("note"))
}

pub(crate) fn call(action: &str, params: Value) -> Value {
    json!({ "service": "ecs", "action": action, "region": "cn-hangzhou", "params": params })
}

pub(crate) fn start(machine: &str) -> Value {
    call("StartInstance", json!({ "InstanceId": machine }))
}

fn look(machine: &str) -> Value {
    call("DescribeInstances", json!({ "InstanceIds": json!([machine]).to_string() }))
}

pub(crate) async fn starts(world: &World) -> usize {
    let requests = world.sim_get("requests").await;
    requests.as_array().expect("a list").iter().filter(|one| one["action"] == "StartInstance").count()
}

/// A host that is `wrong` in this way, told by an unsigned event to start a machine that no read has shown.
pub(crate) async fn what_a_hint_names_is_read_first(wrong: &str) -> Result<(), String> {
    let world = bare_world(ALLOW, "enforce").await;
    let (machine, _) = world.machine(3).await;
    let host = world.start_with(&[("OPSWARD_WRONG", wrong)]).await.expect("ready");
    let (_, note) = told(&world, &host, "bare", "unread", vec![start(&machine)]).await;
    match starts(&world).await {
        0 if note.contains("opsward.Unconfirmed") => {}
        0 => return Err(format!("the run does not say why: {note}")),
        count => return Err(format!("started {count} times on a stranger's word")),
    }
    let (_, note) = told(&world, &host, "bare", "other", vec![look(&machine), start("i-another")]).await;
    if starts(&world).await > 0 || !note.contains("opsward.Unconfirmed") {
        return Err(format!("a read of one machine let another be started: {note}"));
    }
    told(&world, &host, "bare", "read", vec![look(&machine), start(&machine)]).await;
    if starts(&world).await == 0 {
        return Err("what a read has shown was not started".to_owned());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_on_what_an_unsigned_event_names_waits_for_a_read() {
    what_a_hint_names_is_read_first("").await.expect("read first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_event_or_a_grant_that_says_so_needs_no_read() {
    let world = bare_world(ALLOW, "enforce").await;
    let (machine, _) = world.machine(3).await;
    let host = world.start().await;
    told(&world, &host, "hook", "signed", vec![start(&machine)]).await;
    assert_eq!(starts(&world).await, 1, "a signature proves who names it");
    let always = format!("{ALLOW}confirm = true\n");
    world.write("plugins.d/start.toml", &policy("start", "prod", "enforce", &always));
    let host = {
        host.terminate().await;
        world.start().await
    };
    let (_, note) = told(&world, &host, "hook", "wants", vec![start(&machine)]).await;
    assert!(note.contains("opsward.Unconfirmed") && starts(&world).await == 1, "{note}");
    let never = format!("{ALLOW}confirm = false\n");
    let file = policy("start", "prod", "enforce", &never).replace("source = \"hook\", ", "");
    world.write("plugins.d/start.toml", &file);
    host.terminate().await;
    let host = world.start().await;
    told(&world, &host, "bare", "trusts", vec![start(&machine)]).await;
    assert_eq!(starts(&world).await, 2, "the operator takes the sender's word");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_refuses_what_enforce_would() {
    let world = bare_world(ALLOW, "dry-run").await;
    let (machine, _) = world.machine(3).await;
    let host = world.start().await;
    let (_, note) = told(&world, &host, "bare", "unread", vec![start(&machine)]).await;
    assert!(note.contains("opsward.Unconfirmed"), "{note}");
}

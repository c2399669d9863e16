//! Resources that no grant reaches: whatever a policy is granted and however it names them, the clouds' books show no effect.

use super::{ask, fleet, machines, opsward};
use crate::harness::{Host, TOKEN, World, eventually, signed};
use serde_json::{Value, json};

/// Protected by id, by a pattern of ids, and by a tag.
const UNTOUCHABLE: [usize; 3] = [3, 4, 5];

/// A fleet of six, of which three are protected, with a policy that may reset them all, and another that may start anything.
async fn protected_fleet() -> (World, Vec<String>) {
    let machines = machines(6);
    let world = fleet(&machines, "").await;
    let settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    let protected = "
[[protected]]
resource = [\"ins-fleet0003\", \"ins-*0004\", { tag = { tier = \"prod\" } }]
account = \"lab\"
[[protected]]
resource = [\"*\"]
account = \"prod\"
";
    world.write("opsward.toml", &(settings + protected));
    let tagged = json!({ &machines[5]: { "tags": { "tier": "prod" } } });
    world.patch_state(json!({ "tencent": { "instances": tagged } })).await;
    let other = "plugin = \"calls.wasm\"\naccount = \"lab\"\nmode = \"enforce\"\nretry = { attempts = 1 }\n\
                 on = [{ source = \"fleet\", type = \"calls.start\" }]\n\
                 [[allow]]\naction = \"cvm:StartInstances\"\nresource = [\"*\"]\n";
    world.write("plugins.d/start.toml", other);
    (world, machines)
}

async fn ended(world: &World, host: &Host, id: &str, policy: &str) -> String {
    eventually(&format!("the end of the run of {policy} on {id}"), async || {
        let runs = world.runs(host).await;
        let is_it = |run: &&Value| run["event_id"] == format!("{id} test") && run["policy"] == policy;
        let run = runs.iter().find(is_it)?;
        let ended = ["done", "failed", "held", "dead"].contains(&run["state"].as_str()?);
        ended.then(|| format!("{} {}", run["state"].as_str().unwrap_or_default(), run["note"]))
    })
    .await
}

/// Asks both policies for `StartInstances` with these parameters; how the run of the one that is granted `*` ended.
async fn start(world: &World, host: &Host, id: &str, params: &Value) -> String {
    let call =
        json!({ "service": "cvm", "action": "StartInstances", "region": "ap-shanghai", "params": params });
    let event = json!({
        "specversion": "1.0", "id": id, "source": "test", "type": "calls.start", "data": { "calls": [call] },
    });
    let url = format!("http://{}/hooks/fleet/{TOKEN}", host.listen);
    let request = world.http.post(url).header("content-type", "application/cloudevents+json");
    signed(request, &event).send().await.expect("answered");
    ended(world, host, id, "start").await
}

/// Resets a fleet and starts it in every spelling, by a host that is `wrong` in this way.
pub(crate) async fn what_is_protected_is_left_alone(wrong: &str) -> Result<(), String> {
    let (world, machines) = protected_fleet().await;
    let host = world.start_with(&[("OPSWARD_HASTE", "100"), ("OPSWARD_WRONG", wrong)]).await.expect("ready");
    for machine in &machines {
        ask(&world, &host, machine, machine).await;
        ended(&world, &host, machine, "fleet").await;
    }
    let tried = [
        json!({ "InstanceIds": [&machines[0], &machines[3]] }),
        json!({ "InstanceIds": [&machines[4]] }),
        json!({ "InstanceIds": [&machines[5], &machines[0]] }),
        json!({ "InstanceIds": ["INS-FLEET0003"] }),
        json!({ "InstanceIds": ["ins-fleet0003", "ins-fleet0003"] }),
        json!({ "InstanceIds": [&machines[0]], "StopType": "ins-fleet0003" }),
        json!({ "InstanceIds": [&machines[0]], "Other": "[\"ins-fleet0003\"]" }),
    ];
    let mut wrongly = Vec::new();
    for (n, params) in tried.iter().enumerate() {
        let end = start(&world, &host, &format!("start-{n}"), params).await;
        // The last ones have parameters that the action does not have.
        if !end.contains("opsward.Protected") && !end.contains("opsward.InvalidParams") {
            wrongly.push(format!("{params}: {end}"));
        }
    }
    let touched = world.sim_get("requests").await;
    let touched = touched.as_array().expect("a list").iter().filter(|request| {
        let text = request["params"].to_string().to_ascii_lowercase();
        request["action"] != "DescribeInstances"
            && UNTOUCHABLE.iter().any(|nth| text.contains(&machines[*nth]))
    });
    let resets = world.effects("ResetInstance").await;
    match touched.count() {
        0 if wrongly.is_empty() && resets.len() == 3 => Ok(()),
        touched => Err(format!("{touched} requests name what is protected; {resets:?} reset; {wrongly:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_protected_is_left_alone_whatever_was_granted_and_however_it_is_named() {
    what_is_protected_is_left_alone("").await.expect("left alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_changed_where_it_cannot_be_seen_whether_it_is_protected() {
    let (world, machines) = protected_fleet().await;
    let host = world.start_with(&[("OPSWARD_HASTE", "100")]).await.expect("ready");
    let unknown = start(&world, &host, "unknown", &json!({ "InstanceIds": ["ins-nobody"] })).await;
    assert!(unknown.contains("opsward.ProtectionUnseen"), "{unknown}");
    let fault =
        json!({ "action": "DescribeInstances", "kind": "error-500-before", "times": 1000, "delay_ms": 0 });
    world.sim_post("faults", fault).await;
    let unread = start(&world, &host, "unread", &json!({ "InstanceIds": [&machines[0]] })).await;
    assert!(unread.contains("opsward.FactsUnread"), "{unread}");
    let requests = world.sim_get("requests").await;
    let sent = requests.as_array().expect("a list").iter().filter(|r| r["action"] == "StartInstances");
    assert_eq!(sent.count(), 0);

    let (good, shown) = opsward(&world, &["policy", "show", "start"]).await;
    let expected = "protected ins-fleet0003, ins-*0004, { tag = { tier = \"prod\" } }";
    assert!(good && shown.contains(expected) && !shown.contains("protected *"), "{shown}");
    let (good, checked) = opsward(&world, &["check"]).await;
    let expected = "ins-fleet0003, ins-*0004, { tag = { tier = \"prod\" } }  lab";
    assert!(good && checked.contains("PROTECTED") && checked.contains(expected), "{checked}");
}

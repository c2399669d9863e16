//! The confused deputy: events that name what is not theirs to name, in every form that might be taken for something else,
//! through the shipped policies and the guest that makes whatever call its event asks for. No request leaves that touches a
//! foreign machine or region. The seed is fixed: the events are the same each time.

use super::{policy, requests, send, world};
use crate::harness::{Host, World, eventually};
use serde_json::{Value, json};

const EVENTS: usize = 500;
const SEED: u64 = 0x0de9_0715_c0de_5eed;
/// What the policies are granted, in this region alone.
const MINE: &str = "i-bp18l0uopocfc98xxxx";
const MY_DISK: &str = "d-bp18l0uopocfc98x0001";
const MY_REGION: &str = "cn-hangzhou";
const MY_LAB: &str = "ins-1";
/// They exist in the same account, some of them in the same region.
const FOREIGN: [&str; 4] =
    ["i-bp1h6jymt9ki9web0001", "i-uf6b0kz5xq1m7db00001", "i-bp1h6jymt9ki9tmp0001", "i-bp18l0uopocfc98xxx"];
const FOREIGN_DISKS: [&str; 2] = ["d-bp1h6jymt9ki9web0001", "d-bp1spare9ki9new0001"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_makes_a_policy_touch_what_it_was_not_granted() {
    let world = world().await;
    write_policies(&world);
    let settle = json!({ "reset_ms": 20, "reboot_ms": 0, "start_ms": 20, "stop_ms": 20, "snapshot_ms": 20 });
    world.patch_state(json!({ "settle": settle })).await;
    let host = world.start_with(&[("OPSWARD_HASTE", "100")]).await.expect("ready");
    let mut random = SEED;
    for nth in 0..EVENTS {
        let id = format!("e-{nth}");
        match nth % 100 {
            // The machine that is reset is the operator's word, not the event's.
            0 => send(&world, &host, &id, "reset.now", claims(&mut random)).await,
            1..=33 => {
                let kind = "Instance:SystemFailure.Reboot:Executed";
                send(&world, &host, &id, kind, claims(&mut random)).await;
            }
            34..=66 => {
                send(&world, &host, &id, "calls.alibaba", json!({ "calls": [ecs(&mut random)] })).await
            }
            67..=82 => {
                send(&world, &host, &id, "calls.tencent", json!({ "calls": [cvm(&mut random)] })).await
            }
            _ => {
                let calls: Vec<Value> = (0..5).map(|_| ecs(&mut random)).collect();
                send(&world, &host, &id, "calls.alibaba", json!({ "calls": calls, "together": true })).await;
            }
        }
    }
    all_ended(&world, &host).await;
    let sent = requests(&world).await;
    let foreign: Vec<&Value> = sent.iter().filter(|request| !is_mine(request)).collect();
    assert!(foreign.is_empty(), "{} of {}: {foreign:#?}", foreign.len(), sent.len());
    for action in ["DescribeDisks", "CreateSnapshot", "StopInstance", "ResetInstance", "StopInstances"] {
        let count = sent.iter().filter(|request| request["action"] == action).count();
        println!("{action}: {count} requests");
        assert!(count > 0, "{action}: what is granted is sent");
    }
}

fn write_policies(world: &World) {
    world.put_plugin("nightly-reset");
    let granted = format!("region = [\"{MY_REGION}\"]\nresource = ");
    let snapshots = format!(
        "plugin = \"snapshot-on-reboot.wasm\"\naccount = \"prod\"\nmode = \"enforce\"\nretry = {{ attempts = 1 }}\n\
         on = [{{ source = \"hook\", type = \"Instance:SystemFailure.Reboot:*\" }}]\n\
         [[allow]]\naction = \"ecs:DescribeDisks\"\n{granted}[\"{MINE}\"]\n\
         [[allow]]\naction = \"ecs:CreateSnapshot\"\n{granted}[\"d-bp18l0uopocfc98x*\"]\n"
    );
    world.write("plugins.d/snapshot-on-reboot.toml", &snapshots);
    let reset = format!(
        "plugin = \"nightly-reset.wasm\"\naccount = \"lab\"\nmode = \"enforce\"\nretry = {{ attempts = 1 }}\n\
         on = [{{ source = \"hook\", type = \"reset.now\" }}]\n\
         config = {{ instance-id = \"{MY_LAB}\", image-id = \"img-1\", region = \"ap-shanghai\" }}\n\
         [[allow]]\naction = \"cvm:ResetInstance\"\nresource = [\"{MY_LAB}\"]\n"
    );
    world.write("plugins.d/nightly-reset.toml", &reset);
    let mut alibaba = String::new();
    for (action, resource) in [
        ("DescribeDisks", MINE),
        ("DescribeInstances", MINE),
        ("StopInstance", MINE),
        ("StartInstance", MINE),
        ("ReplaceSystemDisk", MINE),
        ("ModifyInstanceAttribute", MINE),
        ("CreateSnapshot", MY_DISK),
    ] {
        alibaba += &format!("[[allow]]\naction = \"ecs:{action}\"\n{granted}[\"{resource}\"]\n");
    }
    world.write("plugins.d/alibaba.toml", &policy("alibaba", "prod", "enforce", &alibaba));
    let allow = |action: &str| {
        format!(
            "[[allow]]\naction = \"cvm:{action}\"\nregion = [\"ap-shanghai\"]\nresource = [\"{MY_LAB}\"]\n"
        )
    };
    let tencent = allow("StopInstances") + &allow("StartInstances");
    world.write("plugins.d/tencent.toml", &policy("tencent", "lab", "enforce", &tencent));
}

/// Whether everything that a request names is granted.
fn is_mine(request: &Value) -> bool {
    let region = request["region"].as_str().unwrap_or_default();
    let mut named = Vec::new();
    collect(&request["params"], "", &mut named);
    let is_tencent = request["provider"] == "tencent";
    let (my_region, is_mine): (_, &dyn Fn(&str) -> bool) = match is_tencent {
        true => ("ap-shanghai", &|id| id == MY_LAB || id == "img-1"),
        false => (MY_REGION, &|id| id == MINE || id.starts_with("d-bp18l0uopocfc98x") && !id.ends_with('*')),
    };
    region == my_region && !named.is_empty() && named.iter().all(|id| is_mine(id))
}

/// Every value that stands in a parameter named like an id, in whatever form.
fn collect(value: &Value, name: &str, found: &mut Vec<String>) {
    let name = name.to_lowercase();
    let is_id = ["instanceid", "diskid", "imageid"].iter().any(|word| name.starts_with(word));
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| collect(member, name, found)),
        Value::Array(items) => items.iter().for_each(|item| collect(item, &name, found)),
        Value::String(text) if is_id => match serde_json::from_str::<Vec<Value>>(text) {
            Ok(items) => items.iter().for_each(|item| collect(item, &name, found)),
            Err(_) => found.push(text.clone()),
        },
        other if is_id => found.push(other.to_string()),
        _ => {}
    }
}

/// What an event says of a machine.
fn claims(random: &mut u64) -> Value {
    let (instance, region) = (machine(random), region(random));
    let mut data = match draw(random, 3) {
        0 => json!({ "regionId": region, "content": { "ecsInstanceId": instance } }),
        1 => json!({ "regionId": region, "resourceId": format!("acs:ecs:{region}:1:instance/{instance}") }),
        _ => json!({ "instanceId": instance, "regionId": region, "content": { "resourceId": MINE } }),
    };
    if draw(random, 4) == 0 {
        data["content"]["diskIds"] = json!(FOREIGN_DISKS);
        data["content"]["tags"] = json!({ "env": "scratch" });
    }
    data
}

fn machine(random: &mut u64) -> String {
    let foreign = FOREIGN[draw(random, FOREIGN.len())];
    match draw(random, 16) {
        0..=2 => MINE.to_owned(),
        3..=5 => foreign.to_owned(),
        form => disguised(form - 6, MINE, foreign),
    }
}

/// An id that might be taken for another one.
fn disguised(form: usize, mine: &str, foreign: &str) -> String {
    match form {
        0 => "*".to_owned(),
        1 => format!("{}*", &mine[..4]),
        2 => format!("{mine},{foreign}"),
        3 => format!("[\"{mine}\",\"{foreign}\"]"),
        4 => format!("{mine}&InstanceId.2={foreign}"),
        5 => mine.replacen('x', "\u{445}", 1),
        6 => format!("{mine}\u{200b}"),
        7 => format!(" {foreign}"),
        8 => mine.to_uppercase(),
        _ => format!("{mine}%2C{foreign}"),
    }
}

fn region(random: &mut u64) -> &'static str {
    const OTHERS: [&str; 9] = [
        "cn-shanghai",
        "cn-*",
        "",
        "CN-HANGZHOU",
        "cn-hangzhou.evil.example",
        "cn-hangzhou,cn-shanghai",
        "cn-hangzhou/../cn-shanghai",
        "cn-h\u{430}ngzhou",
        "cn-hangzhou ",
    ];
    match draw(random, 3) {
        0 => OTHERS[draw(random, OTHERS.len())],
        _ => MY_REGION,
    }
}

/// A call in which own and foreign resources are mixed in some way.
fn ecs(random: &mut u64) -> Value {
    const ACTIONS: [&str; 9] = [
        "StopInstance",
        "StartInstance",
        "DescribeDisks",
        "DescribeInstances",
        "CreateSnapshot",
        "ReplaceSystemDisk",
        "ModifyInstanceAttribute",
        "DeleteSnapshot",
        "RebootInstance",
    ];
    let action = ACTIONS[draw(random, ACTIONS.len())];
    let (key, mine, foreign) = match action {
        "CreateSnapshot" => ("DiskId", MY_DISK, FOREIGN_DISKS[draw(random, 2)]),
        "DescribeInstances" => ("InstanceIds", MINE, FOREIGN[draw(random, FOREIGN.len())]),
        _ => ("InstanceId", MINE, FOREIGN[draw(random, FOREIGN.len())]),
    };
    let takes_list = key.ends_with('s');
    let lower = key.to_lowercase();
    let other = if takes_list { "InstanceId" } else { "InstanceIds" };
    let mut params = match draw(random, 12) {
        0..=1 if takes_list => json!({ key: [mine] }),
        0..=1 => json!({ key: mine }),
        2 => json!({ key: foreign }),
        3 => json!({ key: [mine, foreign] }),
        4 => json!({ key: mine, format!("{key}.1"): foreign }),
        5 => json!({ format!("{key}.1"): mine, format!("{key}.2"): foreign }),
        6 => json!({ key: mine, lower: foreign }),
        7 => json!({ key: mine, other: [foreign], "DiskIds": FOREIGN_DISKS }),
        8 => json!({ key: { "1": mine, "2": foreign } }),
        9 => json!({ key: format!("[\"{mine}\",\"{foreign}\"]") }),
        10 => json!({ format!("{key} "): foreign, key: mine }),
        _ => json!({ key: disguised(draw(random, 10), mine, foreign) }),
    };
    const SYSTEM: [(&str, &str); 8] = [
        ("RegionId", "cn-shanghai"),
        ("regionid", "cn-shanghai"),
        ("Action", "DeleteInstance"),
        ("ClientToken", "mine"),
        ("OwnerId", "1"),
        ("ResourceOwnerAccount", "other@example.com"),
        ("SignatureNonce", "1"),
        ("DryRun", "true"),
    ];
    if draw(random, 5) == 0 {
        let (name, value) = SYSTEM[draw(random, SYSTEM.len())];
        params[name] = json!(value);
    }
    json!({ "service": "ecs", "action": action, "region": region(random), "params": params })
}

fn cvm(random: &mut u64) -> Value {
    const OTHERS: [&str; 3] = ["ins-r8hr2upy", "ins-00lycyy6", "ins-11"];
    let foreign = OTHERS[draw(random, OTHERS.len())];
    let action = ["StopInstances", "StartInstances", "ResetInstance"][draw(random, 3)];
    let mut params = match draw(random, 8) {
        0..=1 => json!({ "InstanceIds": [MY_LAB] }),
        2 => json!({ "InstanceIds": [foreign] }),
        3 => json!({ "InstanceIds": [MY_LAB, foreign] }),
        4 => json!({ "InstanceIds": [MY_LAB], "InstanceIds.1": foreign }),
        5 => json!({ "InstanceIds": [MY_LAB], "instanceids": [foreign] }),
        6 => json!({ "InstanceId": foreign, "ImageId": "img-1" }),
        _ => json!({ "InstanceIds": [disguised(draw(random, 10), MY_LAB, foreign)] }),
    };
    if draw(random, 4) == 0 {
        params["Region"] = json!("ap-singapore");
    }
    let region = ["ap-shanghai", "ap-shanghai", "ap-singapore", "ap-*", ""][draw(random, 5)];
    json!({ "service": "cvm", "action": action, "region": region, "params": params })
}

/// Every run has ended, or waits for a person; but for resets, which wait for a machine that another policy may have stopped.
async fn all_ended(world: &World, host: &Host) {
    const OVER: [&str; 4] = ["done", "failed", "held", "dead"];
    eventually("the end of all runs", async || {
        let runs = world.runs(host).await;
        let is_under_way = |run: &Value| {
            run["policy"] != "nightly-reset" && !OVER.contains(&run["state"].as_str().unwrap_or_default())
        };
        (runs.len() == EVENTS && !runs.iter().any(is_under_way)).then_some(())
    })
    .await;
    eventually("a reset", async || {
        requests(world).await.iter().any(|request| request["action"] == "ResetInstance").then_some(())
    })
    .await;
}

/// xorshift64.
fn draw(state: &mut u64, below: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % below as u64).expect("below a usize")
}

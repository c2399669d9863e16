//! Grants by what a fresh read shows of a resource, whatever an event says of it.

use super::{ended, policy, requests, send, world};
use crate::harness::{Host, World, eventually};
use serde_json::{Value, json};

/// Tagged `env = scratch` in the simulated cloud; the others are `prod`.
const SCRATCH: &str = "i-bp1h6jymt9ki9tmp0001";
const WEB: &str = "i-bp1h6jymt9ki9web0001";
const HASTE: (&str, &str) = ("OPSWARD_HASTE", "100");

fn stop(id: &str) -> Value {
    let params = json!({ "InstanceId": id });
    let call =
        json!({ "service": "ecs", "action": "StopInstance", "region": "cn-hangzhou", "params": params });
    // What an event says of tags is nobody's business.
    json!({ "calls": [call], "tags": { "env": "scratch" } })
}

async fn stopped(world: &World, host: &Host, event: &str, id: &str) -> String {
    send(world, host, event, "calls.picked", stop(id)).await;
    let run = ended(world, host, event).await;
    format!("{} {}", run["state"].as_str().expect("a state"), run["note"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_is_granted_by_what_a_fresh_read_shows_of_its_resource() {
    let world = world().await;
    let allow = r#"
        [[allow]]
        action = "ecs:StopInstance"
        resource = [{ tag = { env = "scratch" }, charge-type = "PostPaid", group = "sg-*" }]
    "#;
    world.write("plugins.d/picked.toml", &policy("picked", "prod", "enforce", allow));
    let allow = r#"
        [[allow]]
        action = "cvm:StopInstances"
        resource = [{ name = "lab-1" }]
    "#;
    world.write("plugins.d/named.toml", &policy("named", "lab", "enforce", allow));
    let host = world.start_with(&[HASTE]).await.expect("ready");

    assert!(stopped(&world, &host, "e-1", SCRATCH).await.starts_with("done"));
    let denied = stopped(&world, &host, "e-2", WEB).await;
    assert!(denied.contains("opsward.ResourceNotGranted"), "{denied}");
    let unknown = stopped(&world, &host, "e-3", "i-nobody").await;
    assert!(unknown.contains("opsward.ResourceNotGranted"), "{unknown}");
    world.patch_state(json!({ "alibaba": { "instances": { WEB: { "tags": { "env": "scratch" } } } } })).await;
    assert!(stopped(&world, &host, "e-4", WEB).await.starts_with("done"), "read afresh");
    let effects = world.effects("StopInstance").await;
    assert_eq!(effects.into_iter().collect::<Vec<_>>(), [(SCRATCH.to_owned(), 1), (WEB.to_owned(), 1)]);

    let cvm = |ids: &[&str]| {
        let params = json!({ "InstanceIds": ids });
        let call =
            json!({ "service": "cvm", "action": "StopInstances", "region": "ap-shanghai", "params": params });
        json!({ "calls": [call] })
    };
    send(&world, &host, "e-5", "calls.named", cvm(&["ins-1", "ins-r8hr2upy"])).await;
    assert_eq!(ended(&world, &host, "e-5").await["state"], "failed", "every one must be selected");
    send(&world, &host, "e-6", "calls.named", cvm(&["ins-1"])).await;
    assert_eq!(ended(&world, &host, "e-6").await["state"], "done");
    let sent = requests(&world).await.into_iter().filter(|request| request["action"] == "StopInstances");
    assert_eq!(
        sent.map(|request| request["params"].clone()).collect::<Vec<_>>(),
        [json!({ "InstanceIds": ["ins-1"] })]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_fails_lets_nothing_pass() {
    let world = world().await;
    let allow = "[[allow]]\naction = \"ecs:StopInstance\"\nresource = [{ tag = { env = \"scratch\" } }]\n";
    world.write("plugins.d/picked.toml", &policy("picked", "prod", "enforce", allow));
    let host = world.start_with(&[HASTE]).await.expect("ready");
    for kind in ["error-500-before", "garbage", "drop-before"] {
        let fault = json!({ "action": "DescribeInstances", "kind": kind, "times": 1000, "delay_ms": 0 });
        world.sim_post("faults", fault).await;
        let refused = stopped(&world, &host, kind, SCRATCH).await;
        assert!(refused.contains("opsward.FactsUnread"), "{kind}: {refused}");
        world.http.delete(format!("{}/_sim/faults", world.sim.url)).send().await.expect("the clouds answer");
    }
    assert!(requests(&world).await.iter().all(|request| request["action"] != "StopInstance"));
    assert!(stopped(&world, &host, "e-good", SCRATCH).await.starts_with("done"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_under_way_is_sent_again_only_while_it_is_still_selected() {
    let world = world().await;
    let allow = "[[allow]]\naction = \"ecs:CreateSnapshot\"\nresource = [{ tag = { backup = \"*\" } }]\n";
    world.write("plugins.d/picked.toml", &policy("picked", "prod", "enforce", allow));
    let (_, disks) = world.machine(1).await;
    let disk = disks[0].as_str();
    let tag = |tags: Value| json!({ "alibaba": { "disks": { disk: { "tags": tags } } } });
    world.patch_state(tag(json!({ "backup": "daily" }))).await;

    let mut host = world.start_with(&[HASTE, ("OPSWARD_FAILPOINT", "after-intent:1")]).await.expect("ready");
    let params = json!({ "DiskId": disk });
    let call =
        json!({ "service": "ecs", "action": "CreateSnapshot", "region": "cn-hangzhou", "params": params });
    send(&world, &host, "e-1", "calls.picked", json!({ "calls": [call] })).await;
    host.died().await;
    world.patch_state(tag(json!({ "backup": null }))).await;
    let fault =
        json!({ "action": "DescribeDisks", "kind": "error-500-before", "times": 1000, "delay_ms": 0 });
    world.sim_post("faults", fault).await;

    let host = world.start_with(&[HASTE]).await.expect("ready");
    let waits = async |why: &str| {
        eventually(&format!("the run to wait: {why}"), async || {
            let log = std::fs::read_to_string(world.dir.path().join("host.log")).unwrap_or_default();
            log.contains(why).then_some(())
        })
        .await;
    };
    waits("must be seen by ecs:DescribeDisks, which failed").await;
    world.http.delete(format!("{}/_sim/faults", world.sim.url)).send().await.expect("the clouds answer");
    waits("no longer lets it be sent again").await;
    assert!(world.effects("CreateSnapshot").await.is_empty(), "it is not selected any more");
    world.patch_state(tag(json!({ "backup": "daily" }))).await;
    assert_eq!(ended(&world, &host, "e-1").await["state"], "done");
    assert_eq!(world.effects("CreateSnapshot").await.values().copied().collect::<Vec<_>>(), [1]);
}

//! Effects of class once on a cloud that keeps no record of operations: what they lead to proves that they took place, and
//! nothing proves that they did not.

use super::stage::{self, Class, Lane};
use super::{HASTE, eventually, post, runs_of};
use crate::harness::World;
use serde_json::{Value, json};

const SNAPSHOT: &str = "s-lies-proof";

/// Makes an effect while the cloud lies about it as told: how its run ended, and how often the effect was sent and took place.
async fn made(action: &str, params: Value, fault: &str) -> (Value, usize, usize) {
    let lanes: Vec<Lane> = stage::lanes().into_iter().filter(|lane| lane.class == Class::Reboot).collect();
    let lane = &lanes[0];
    let world: World = stage::set(std::slice::from_ref(lane)).await;
    let (_, resource) = params.as_object().and_then(|named| named.iter().next()).expect("one parameter");
    let allowed = format!("\n[[allow]]\naction = \"ecs:{action}\"\nresource = [{resource}]\n");
    let file = format!("plugins.d/{}.toml", lane.name);
    let policy = std::fs::read_to_string(world.dir.path().join(&file)).expect("readable");
    world.write(&file, &if action == "RebootInstance" { policy } else { policy + &allowed });
    set_stage(&world, lane, action).await;
    world.sim_post("faults", json!({ "action": action, "kind": fault })).await;
    let host = world.start_with(&[("OPSWARD_HASTE", HASTE)]).await.expect("ready");
    let mut event = stage::event(lane, "proof", action);
    event["data"]["calls"][0]["params"] = params;
    post(&world, &host, &event).await;
    let ended = eventually(async || {
        let run = runs_of(&world, &host, lane).await.into_iter().next()?;
        ["done", "failed", "held", "dead"].contains(&run["state"].as_str()?).then_some(run)
    });
    let run = ended.await.expect("the run ends");
    let count = async |what: &str| {
        let listed = world.sim_get(what).await;
        listed.as_array().expect("a list").iter().filter(|one| one["action"] == action).count()
    };
    (run, count("requests").await, count("effects").await)
}

/// A snapshot to delete, and for a disk to initialise a machine that is stopped.
async fn set_stage(world: &World, lane: &Lane, action: &str) {
    let disk = format!("d-{}-0", lane.naming);
    let snapshot = json!({
        "disk_id": disk, "name": "old", "description": "", "region": "cn-hangzhou", "disk_kind": "system",
        "disk_size_gb": 40, "retention_days": null, "created": 0, "done_at": 1,
        "failed": false,
    });
    // Longer than a busy host takes for its first look; a restart is over at once.
    let mut patch = json!({ "settle": { "reinit_ms": 20_000, "reboot_ms": 0 } });
    patch["alibaba"]["snapshots"][SNAPSHOT] = snapshot;
    if action == "ReInitDisk" {
        patch["alibaba"]["instances"][&lane.machine]["status"] = json!({ "state": "Stopped" });
    }
    world.patch_state(patch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_effect_leads_to_proves_it_and_nothing_proves_that_it_was_not_made() {
    let naming = stage::lanes().into_iter().find(|lane| lane.class == Class::Reboot).expect("there").naming;
    let effects = [
        ("DeleteSnapshot", json!({ "SnapshotId": SNAPSHOT })),
        ("RebootInstance", json!({ "InstanceId": format!("i-{naming}") })),
        ("ReInitDisk", json!({ "DiskId": format!("d-{naming}-0") })),
    ];
    for (action, params) in effects {
        for (fault, state, took_place) in [("drop-after", "done", 1), ("drop-before", "held", 0)] {
            let (run, sent, effects) = made(action, params.clone(), fault).await;
            assert_eq!(run["state"], state, "{action} {fault}: {run:#}");
            assert_eq!((sent, effects), (1, took_place), "{action} {fault}");
        }
    }
}

//! Events delivered several times, out of order and late, as vendors do: each starts one run, and each happening has its effects
//! once. The judge joins what was answered with what the simulated clouds saw.

use crate::harness::{Host, World, eventually, executed, seed, times};
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Senders at a time.
const SENDERS: usize = 32;
/// Deliveries of one event, at most.
const DELIVERIES_MAX: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_delivered_often_shuffled_and_late_take_effect_once() {
    let mut random = seed("events_delivered_often");
    let mut left = times(200, 5_000, 100_000);
    while left > 0 {
        // As many as the admin listener lists at once, in a world of their own.
        let events = left.min(5_000);
        left -= events;
        deliver_all(events, &mut random).await;
    }
}

async fn deliver_all(events: usize, random: &mut u64) {
    let world = World::new().await;
    // Both notifications of a happening wake the policy, whichever comes first: what holds then is the natural key.
    let file = include_str!("harness/snapshot-on-reboot.toml");
    let named = "source = \"cloudmonitor\", transition = [\"executing\", \"executed\"]";
    let file = file.replace("source = \"cloudmonitor\"", named);
    world.write("plugins.d/snapshot-on-reboot.toml", &file);
    let limits = json!({ "snapshots_per_disk": 1_000_000, "essd_in_progress": 1_000_000 });
    world.patch_state(json!({ "limits": limits })).await;
    let (instance, disks) = world.machine(1).await;
    let bodies: Vec<String> = (0..events).map(|n| notification(&instance, n / 2, n % 2)).collect();
    let often = |n| vec![n; 1 + (next(random) % DELIVERIES_MAX) as usize];
    let mut deliveries: Vec<usize> = (0..events).flat_map(often).collect();
    shuffle(&mut deliveries, random);
    // A third of them comes late: after the runs have ended, and after a restart.
    let late = deliveries.split_off(deliveries.len() * 2 / 3);

    let host = world.start().await;
    deliver(&world, &host, &bodies, &deliveries).await;
    let at_first: BTreeSet<usize> = deliveries.iter().copied().collect();
    world.settled_runs(&host, at_first.len()).await;
    assert_eq!(host.terminate().await, Some(0));
    let host = world.start().await;
    deliver(&world, &host, &bodies, &late).await;
    let runs = world.settled_runs(&host, events).await;
    assert!(runs.len() == events && runs.iter().all(|run| run["state"] == "done"), "{} runs", runs.len());
    judge(&world, &disks[0], events.div_ceil(2)).await;
    world.audited().await;
    println!("{events} events, {} deliveries, {} runs", deliveries.len() + late.len(), runs.len());
}

/// The n-th of the two notifications of a happening: events of their own, of one incident, that differ in its status.
fn notification(instance: &str, happening: usize, nth: usize) -> String {
    let mut event: Value =
        serde_json::from_str(&executed(instance, &format!("e-often-{happening:06}"))).expect("JSON");
    event["id"] = json!(format!("often-{happening:06}-{nth}"));
    event["content"]["eventStatus"] = json!(["Executing", "Executed"][nth]);
    event.to_string()
}

async fn deliver(world: &World, host: &Host, bodies: &[String], deliveries: &[usize]) {
    // As senders do, each is sent again where it comes faster than the source takes them.
    let send = |n: &usize| {
        let body = &bodies[*n];
        eventually("a delivery to be let in", async || {
            world.post(host, body).await.filter(|status| *status != 429).map(Some)
        })
    };
    let sent = futures::stream::iter(deliveries).map(send).buffer_unordered(SENDERS);
    let refused: Vec<Option<u16>> =
        sent.filter(|status| std::future::ready(*status != Some(200))).collect().await;
    assert!(refused.is_empty(), "{} deliveries were not taken: {:?}", refused.len(), refused[0]);
}

/// One snapshot of each happening, and nothing else.
async fn judge(world: &World, disk: &str, happenings: usize) {
    let effects = world.sim_get("effects").await;
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for effect in effects.as_array().expect("a list") {
        assert_eq!(
            (&effect["action"], &effect["params"]["DiskId"]),
            (&json!("CreateSnapshot"), &json!(disk))
        );
        let text = effect["params"].to_string();
        let at = text.find("e-often-").expect("traceable");
        *made.entry(text[at..at + "e-often-000000".len()].to_owned()).or_default() += 1;
    }
    let doubled: Vec<_> = made.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    let total = world.sim_get("counts").await["effects"].as_u64().expect("a count");
    assert_eq!(total, happenings as u64, "one snapshot for each happening");
}

fn shuffle(list: &mut [usize], random: &mut u64) {
    for at in (1..list.len()).rev() {
        list.swap(at, (next(random) % (at as u64 + 1)) as usize);
    }
}

/// xorshift64, as good as is needed to shuffle.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

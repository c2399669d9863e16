//! The samples that the host fetches, each through a running host and a queue of its own in the simulated cloud: what the host has
//! recorded of each is what its index expects.

use super::check;
use super::posted::{name, recorded};
use super::sample::{Sample, extra_samples, own_samples};
use crate::harness::{World, eventually};
use opsward_core::event::{Event, Route};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_of_a_queue_is_recorded_as_expected() {
    let queued = |sample: &Sample| sample.kind.route() == Route::Queue;
    let samples: Vec<Sample> = own_samples().chain(extra_samples()).filter(queued).collect();
    assert!(samples.len() >= 2, "only {} samples", samples.len());
    let world = World::new().await;
    std::fs::remove_file(world.plugins().join("snapshot-on-reboot.toml")).expect("removed");
    let mut settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    for (at, sample) in samples.iter().enumerate() {
        let (source, kind) = (name(at), sample.kind);
        settings += &format!(
            "\n[sources.{source}]\nkind = \"{kind}\"\naccount = \"prod\"\nqueue = {{ name = \"{source}\" }}\n"
        );
        let body = String::from_utf8(sample.body.clone()).expect("text");
        world.sim_post("queues", json!({ "name": source, "messages": [body] })).await;
    }
    world.write("opsward.toml", &settings);
    let host = world.start().await;
    let mut recorded = eventually("every sample", async || {
        let recorded = recorded(&world, &host).await;
        (recorded.len() == samples.len()).then_some(recorded)
    })
    .await;
    for (at, sample) in samples.iter().enumerate() {
        let checked = match recorded.remove(&name(at)).as_deref() {
            Some([event]) => check(event, &sample.expect),
            other => Err(format!("{} events", other.map_or(0, <[Event]>::len))),
        };
        checked.unwrap_or_else(|problem| panic!("{} as {}: {problem}", sample.file, sample.kind));
    }
}

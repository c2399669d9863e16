//! The samples that the host fetches, each through a running host and a queue or log store of its own in the simulated cloud: what
//! the host has recorded of each is what its index expects.

use super::check;
use super::posted::{name, recorded};
use super::sample::{Sample, extra_samples, own_samples};
use crate::harness::{World, eventually};
use opsward_core::event::{Event, Route};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_that_is_fetched_is_recorded_as_expected() {
    let is_fetched = |sample: &Sample| matches!(sample.kind.route(), Route::Queue | Route::LogStore);
    let samples: Vec<Sample> = own_samples().chain(extra_samples()).filter(is_fetched).collect();
    assert!(samples.len() >= 3, "only {} samples", samples.len());
    let world = World::new().await;
    std::fs::remove_file(world.plugins().join("snapshot-on-reboot.toml")).expect("removed");
    let mut settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    for (at, sample) in samples.iter().enumerate() {
        let (source, kind) = (name(at), sample.kind);
        let table = if kind.route() == Route::Queue {
            let body = String::from_utf8(sample.body.clone()).expect("text");
            world.sim_post("queues", json!({ "name": source, "messages": [body] })).await;
            format!("queue = {{ name = \"{source}\" }}")
        } else {
            let record: Value = serde_json::from_slice(&sample.body).expect("JSON");
            world.sim_post("logs", json!({ "name": source, "records": [record] })).await;
            format!("log-store = {{ name = \"{source}\", since = \"1h\" }}")
        };
        settings += &format!("\n[sources.{source}]\nkind = \"{kind}\"\naccount = \"prod\"\n{table}\n");
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

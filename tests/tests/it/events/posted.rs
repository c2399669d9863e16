//! The samples that are posted, through a running host: what the host has recorded of each is what its index expects. Each has a source
//! of its own, since samples share ids. Leaves queues and log stores to the tests of what fetches from them.

use super::sample::{Sample, extra_samples, own_samples};
use super::{aws_map, check};
use crate::harness::{Host, TOKEN, World};
use opsward_core::event::{Event, Route, SourceKind};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_that_is_posted_is_recorded_as_expected() {
    let posted = |sample: &Sample| sample.kind.route() == Route::Posted;
    let samples: Vec<Sample> = own_samples().chain(extra_samples()).filter(posted).collect();
    let world = World::new().await;
    std::fs::remove_file(world.plugins().join("snapshot-on-reboot.toml")).expect("removed");
    let host = start(&world, &samples).await;
    for (at, sample) in samples.iter().enumerate() {
        for counts in [json!({ "accepted": 1, "duplicates": 0 }), json!({ "accepted": 0, "duplicates": 1 })] {
            let answer = post(&world, &host, &name(at), sample).await;
            assert_eq!(answer.0, 200, "{}: {}", sample.file, answer.1);
            for (what, count) in counts.as_object().expect("counts") {
                assert_eq!(&answer.1[what], count, "{}: {what}", sample.file);
            }
        }
    }
    let mut recorded = recorded(&world, &host).await;
    let mut problems = Vec::new();
    for (at, sample) in samples.iter().enumerate() {
        let checked = match recorded.remove(&name(at)).as_deref() {
            Some([event]) => check(event, &sample.expect),
            other => Err(format!("{} events", other.map_or(0, <[Event]>::len))),
        };
        problems
            .extend(checked.err().map(|problem| format!("{} as {}: {problem}", sample.file, sample.kind)));
    }
    println!("{} samples posted", samples.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(host.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_for_snapshots_understands_every_form_of_a_reboot() {
    let is_reboot = |sample: &Sample| {
        let named =
            ["name", "type", "name_equivalent"].iter().filter_map(|key| sample.expect.get(*key)?.as_str());
        let is_executed = sample.expect.get("status").is_none_or(|status| status == "Executed");
        is_executed
            && named
                .into_iter()
                .any(|name| name == "Instance:SystemFailure.Reboot:Executed" || name == EVENTBRIDGE)
    };
    let posted = own_samples().filter(|sample| sample.kind.route() == Route::Posted && is_reboot(sample));
    // Each is a happening of its own, or one run would be for all of them.
    let samples: Vec<Sample> = posted.enumerate().map(|(at, sample)| of_incident(sample, at)).collect();
    assert!(samples.len() >= 7, "only {} forms", samples.len());
    let world = World::new().await;
    let limits = json!({ "snapshots_per_disk": 1000, "essd_in_progress": 1000 });
    world.patch_state(json!({ "limits": limits })).await;
    let policy = std::fs::read_to_string(world.plugins().join("snapshot-on-reboot.toml")).expect("readable");
    let by_type = policy.replace("on = [{ source = \"cloudmonitor\" }]\n", "");
    assert_ne!(by_type, policy, "the policy is woken by the types that its plugin names");
    world.write("plugins.d/snapshot-on-reboot.toml", &by_type);
    let host = start(&world, &samples).await;
    for (at, sample) in samples.iter().enumerate() {
        let (status, answer) = post(&world, &host, &name(at), sample).await;
        assert_eq!((status, &answer["runs"]), (200, &json!(1)), "{}: {answer}", sample.file);
    }
    let runs = world.settled_runs(&host, samples.len()).await;
    assert!(runs.iter().all(|run| run["state"] == "done"), "{runs:#?}");
    let snapshots = world.effects("CreateSnapshot").await;
    let of_each_disk = snapshots.values().all(|count| *count == samples.len());
    assert!(!snapshots.is_empty() && of_each_disk, "{snapshots:?}");
    assert_eq!(host.terminate().await, Some(0));
}

/// The type of EventBridge's event of it, which the status is not a part of.
const EVENTBRIDGE: &str = "ecs:Instance:SystemFailure.Reboot";

/// The sample as the notice of another happening.
fn of_incident(mut sample: Sample, at: usize) -> Sample {
    let mut body = String::from_utf8(sample.body).expect("text");
    for id in ["e-bp11trdxxxxpqum2", "e-t4nhcpqcu8fqushpn3mm"] {
        body = body.replace(id, &format!("e-of-sample-{at}"));
    }
    sample.body = body.into_bytes();
    sample
}

/// The name of the source of a sample.
pub(super) fn name(at: usize) -> String {
    format!("sample-{at}")
}

async fn start(world: &World, samples: &[Sample]) -> Host {
    let mut settings = std::fs::read_to_string(world.dir.path().join("opsward.toml")).expect("readable");
    for (at, sample) in samples.iter().enumerate() {
        settings += &format!(
            "\n[sources.{}]\nkind = \"{}\"\ntoken = {{ env = \"TEST_TOKEN\" }}\n",
            name(at),
            sample.kind
        );
        if sample.kind == SourceKind::Generic {
            settings += &format!("\n[sources.{}.map]\n{}", name(at), aws_map());
        }
    }
    world.write("opsward.toml", &settings);
    world.start().await
}

async fn post(world: &World, host: &Host, source: &str, sample: &Sample) -> (u16, Value) {
    let mut request = world.http.post(format!("http://{}/hooks/{source}/{TOKEN}", host.listen));
    let own = ["host", "content-length"];
    for (name, value) in sample.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())) {
        request = request.header(name, value);
    }
    let answer = request.body(sample.body.clone()).send().await.expect("the host answers");
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
}

/// What the host has recorded, by source.
pub(super) async fn recorded(world: &World, host: &Host) -> BTreeMap<String, Vec<Event>> {
    let url = format!("http://{}/api/v1/events?limit=10000", host.admin);
    let answer = world.http.get(url).send().await.expect("admin answers").bytes().await.expect("a body");
    let listed: Value = serde_json::from_slice(&answer).expect("JSON");
    let mut by_source: BTreeMap<String, Vec<Event>> = BTreeMap::new();
    for row in listed["events"].as_array().expect("a list") {
        let event: Event = serde_json::from_value(row["event"].clone()).expect("an event");
        by_source.entry(event.source.as_str().to_owned()).or_default().push(event);
    }
    by_source
}

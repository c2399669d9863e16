//! Event samples: each one that `tests/events/INDEX.json` lists, and each of an index of that shape in the directory named by
//! `OPSWARD_EXTRA_EVENTS`, decodes to what the index expects. Samples of forms that no source kind takes are printed and
//! counted as skipped. Leaves bad input to the tables beside the decoders.

use opsward_core::event::{Delivery, Event, SourceKind, decode};
use opsward_core::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// One line of an index.
#[derive(Deserialize)]
struct Sample {
    file: String,
    form: String,
    expect: Map<String, Value>,
}

/// A request as it was captured; other samples are bodies.
#[derive(Deserialize)]
struct Capture {
    method: String,
    headers: Vec<(String, String)>,
    body: String,
}

/// Forms no source kind takes: queue and log deliveries, threshold alarms, vendors' timers and alarms.
const SKIPPED: [&str; 12] = [
    "aliyun-cms-system-event-mns-queue.http.json",
    "aliyun-cms-threshold-callback-alert.http.json",
    "aliyun-cms-threshold-callback-ok.http.json",
    "aliyun-cms-threshold-mns-queue.json",
    "aliyun-fc-sls-log-trigger.json",
    "aliyun-fc-timer.json",
    "aliyun-sls-alert-webhook-firing.http.json",
    "aws-eventbridge-ec2-state-change.json",
    "tencent-monitor-alarm-event-recovered.http.json",
    "tencent-monitor-alarm-event.http.json",
    "tencent-monitor-alarm-metric.http.json",
    "tencent-scf-timer.json",
];

#[test]
fn every_sample_of_a_kind_built_here_decodes_to_what_is_expected() {
    let (mut checked, mut skipped, mut problems) = (0, Vec::new(), Vec::new());
    for (path, sample) in own_samples().chain(extra_samples()) {
        let (headers, body) = request(&path);
        match kind_of(&headers, &body) {
            None => skipped.push((path, sample.form)),
            Some(kind) => {
                checked += 1;
                if let Err(problem) = check(kind, &headers, &body, &sample.expect) {
                    problems.push(format!("{} as {kind}: {problem}", path.display()));
                }
            }
        }
    }
    for (path, form) in &skipped {
        println!("skipped: {} ({form})", path.display());
    }
    println!("{checked} samples checked, {} skipped", skipped.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked >= 19, "only {checked} samples found");
    let own = Path::new(EVENTS_DIR);
    for (path, _) in skipped.iter().filter(|(path, _)| path.starts_with(own)) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        assert!(SKIPPED.contains(&name), "{name} is not known to be of another kind");
    }
}

const EVENTS_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/events");

fn own_samples() -> impl Iterator<Item = (PathBuf, Sample)> {
    samples(Path::new(EVENTS_DIR)).into_iter()
}

fn extra_samples() -> impl Iterator<Item = (PathBuf, Sample)> {
    std::env::var_os("OPSWARD_EXTRA_EVENTS").into_iter().flat_map(|dir| samples(Path::new(&dir)))
}

fn samples(dir: &Path) -> Vec<(PathBuf, Sample)> {
    let index = dir.join("INDEX.json");
    let text = std::fs::read_to_string(&index).unwrap_or_else(|e| panic!("{}: {e}", index.display()));
    let list: Vec<Sample> =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", index.display()));
    list.into_iter().map(|sample| (dir.join(&sample.file), sample)).collect()
}

/// Headers in lower case and body of what would be posted.
fn request(path: &Path) -> (Vec<(String, String)>, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    match serde_json::from_slice::<Capture>(&bytes) {
        Ok(capture) => {
            assert_eq!(capture.method, "POST", "{}", path.display());
            let headers = capture.headers.into_iter();
            (
                headers.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
                capture.body.into_bytes(),
            )
        }
        Err(_) => (Vec::new(), bytes),
    }
}

/// The kind of source an operator would give the sender, where there is one.
fn kind_of(headers: &[(String, String)], body: &[u8]) -> Option<SourceKind> {
    let by_header = headers.iter().any(|(name, value)| {
        name.starts_with("ce-") || name == "content-type" && value.contains("application/cloudevents")
    });
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    if by_header || body.get("specversion").is_some() {
        return Some(SourceKind::Cloudevents);
    }
    let is_system_event = body.get("name").is_some() && body.get("content").is_some();
    is_system_event.then_some(SourceKind::AlibabaCloudmonitor)
}

fn check(
    kind: SourceKind,
    headers: &[(String, String)],
    body: &[u8],
    expect: &Map<String, Value>,
) -> Result<(), String> {
    let received = Timestamp::from_seconds(1_700_000_000);
    let source = "sample".parse().map_err(|e| format!("{e}"))?;
    let decoded = decode(kind, &source, &Delivery { headers, body }, received).map_err(|e| e.to_string())?;
    let [event] = decoded.as_slice() else { return Err(format!("{} events", decoded.len())) };
    let again = decode(kind, &source, &Delivery { headers, body }, received).map_err(|e| e.to_string())?;
    if event.id.is_empty() || again[0].id != event.id {
        return Err("the id is not stable".to_owned());
    }
    for (what, expected) in expect {
        let found = found(event, what);
        if found.as_ref().is_some_and(|found| found != expected) {
            return Err(format!("{what} is {found:?} instead of {expected}"));
        }
        if found.is_none() {
            println!("not checked: `{what}`, which is not for a decoder to find");
        }
    }
    Ok(())
}

/// What a policy finds in `event` under the index's word for it.
fn found(event: &Event, what: &str) -> Option<Value> {
    let data: Value = serde_json::from_str(&event.data).expect("data is JSON");
    // CloudMonitor has the facts in `content`, an event bus has them at the top, and a queue in between wraps CloudMonitor's.
    let inner = data
        .get("messageBody")
        .and_then(Value::as_str)
        .map(|text| serde_json::from_str::<Value>(text).expect("a wrapped event is JSON"));
    let whole = inner.as_ref().unwrap_or(&data);
    let content = whole.get("content").unwrap_or(whole);
    let in_content =
        |keys: &[&str]| Some(keys.iter().find_map(|key| content.get(key)).cloned().unwrap_or_default());
    match what {
        "name" => Some(whole.get("content").map_or(Value::Null, |_| match inner {
            Some(_) => whole["name"].clone(),
            None => event.kind.clone().into(),
        })),
        "type" => Some(event.kind.clone().into()),
        "name_equivalent" => {
            let name = event.kind.strip_prefix("ecs:").unwrap_or(&event.kind);
            Some(format!("{name}:{}", data["eventStatus"].as_str().unwrap_or_default()).into())
        }
        "status" => {
            Some(whole.get("status").or_else(|| content.get("eventStatus")).cloned().unwrap_or_default())
        }
        "instance_id" => {
            let named = ["instanceId", "ecsInstanceId", "resourceId"].iter().find_map(|key| content.get(key));
            let tail = || event.subject.as_deref().and_then(|arn| arn.rsplit('/').next()).map(Value::from);
            named.cloned().or_else(tail).or(Some(Value::Null))
        }
        "region" => Some(event.region.clone().into()),
        "account" => Some(event.account.clone().into()),
        "time" => {
            let text = event.time.to_string();
            Some(text.strip_suffix(".000Z").map_or(text.clone(), |whole| format!("{whole}Z")).into())
        }
        "not_before" => in_content(&["notBefore"]),
        "state" => in_content(&["state"]),
        "disk_id" => in_content(&["diskId"]),
        "snapshot_id" => in_content(&["snapshotId"]),
        "result" => in_content(&["result"]),
        _ => None,
    }
}

//! Event samples: each one that `tests/events/INDEX.json` lists, and each of an index of that shape in the directory named by
//! `OPSWARD_EXTRA_EVENTS`, decodes through the kind of source that an operator would give its sender to what the index expects;
//! in `posted`, through a running host. Leaves bad input to the tables beside the decoders.

mod fetched;
mod posted;
mod sample;

use opsward_core::event::{Delivery, Event, Mapping, Route, SourceKind, decode, given};
use opsward_core::time::Timestamp;
use sample::{Sample, extra_samples, own_samples};
use serde_json::{Map, Value};

#[test]
fn every_sample_decodes_to_what_is_expected() {
    let (mut checked, mut problems) = (0, Vec::new());
    for sample in own_samples().chain(extra_samples()) {
        checked += 1;
        if let Err(problem) = decoded(&sample).and_then(|event| check(&event, &sample.expect)) {
            problems.push(format!("{} as {}: {problem}", sample.file, sample.kind));
        }
    }
    println!("{checked} samples checked");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked >= 31, "only {checked} samples found");
}

#[test]
fn a_person_may_give_an_event_in_the_form_of_any_sample() {
    let mut given_ones = 0;
    for sample in own_samples().chain(extra_samples()) {
        // Forms, base64, and what is read by a map are not JSON that tells what it is.
        let text = String::from_utf8(sample.body.clone()).expect("text");
        if sample.kind == SourceKind::Generic || serde_json::from_str::<Value>(&text).is_err() {
            continue;
        }
        let received = Timestamp::from_seconds(1_700_000_000);
        let event = given(&text, received).unwrap_or_else(|e| panic!("{}: {e}", sample.file));
        if let Err(problem) = check(&event, &sample.expect) {
            panic!("{}: {problem}", sample.file);
        }
        given_ones += 1;
    }
    assert!(given_ones >= 27, "{given_ones}");
}

#[test]
fn every_kind_that_a_cloud_sends_to_has_a_sample() {
    let with_sample: Vec<_> = own_samples().map(|sample| sample.kind).collect();
    // Theirs is of a form that no index has: its decoder's own tests make it, and those of the three modes of CloudEvents.
    let without = [SourceKind::TencentCls, SourceKind::Cloudevents];
    let is_sent = |kind: &&SourceKind| kind.route() != Route::File && !without.contains(kind);
    for kind in SourceKind::ALL.iter().filter(is_sent) {
        assert!(with_sample.contains(kind), "no sample is of {kind}");
    }
}

/// How an operator would have AWS's EventBridge read: a form that no kind is for.
pub(crate) fn aws_map() -> &'static str {
    "id = \"$.id\"\ntype = \"$['detail-type']\"\nsubject = \"$.resources[0]\"\ntime = \"$.time\"\n\
     account = \"$.account\"\nregion = \"$.region\"\n"
}

fn decoded(sample: &Sample) -> Result<Event, String> {
    let received = Timestamp::from_seconds(1_700_000_000);
    let source = "sample".parse().expect("a name");
    let delivery = Delivery { headers: &sample.headers, body: &sample.body };
    let read = || match sample.kind {
        SourceKind::Generic => {
            let typed = toml_of(aws_map());
            Mapping::compile(&typed).expect("a mapping").decode(&source, &delivery, received)
        }
        kind => decode(kind, &source, &delivery, received),
    };
    let events = read().map_err(|e| e.to_string())?;
    let [event] = events.as_slice() else { return Err(format!("{} events", events.len())) };
    event.check().map_err(|e| e.to_string())?;
    if read().map_err(|e| e.to_string())?[0] != *event {
        return Err("the same delivery is another event the second time".to_owned());
    }
    Ok(event.clone())
}

fn toml_of<T: serde::de::DeserializeOwned>(text: &str) -> T {
    // What an operator writes is TOML; these few lines are texts only.
    let members: Map<String, Value> = text
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').into()))
        .collect();
    serde_json::from_value(Value::Object(members)).expect("typed")
}

/// Whether a policy finds in `event` what the index expects.
pub(crate) fn check(event: &Event, expect: &Map<String, Value>) -> Result<(), String> {
    for (what, expected) in expect {
        match found(event, what) {
            Some(found) if same(&found, expected) => {}
            Some(found) => return Err(format!("{what} is {found} instead of {expected}")),
            None => println!("not checked: `{what}`, which is not for a decoder to find"),
        }
    }
    Ok(())
}

/// Texts count by their letters in any case: `Executed` is the transition `executed`.
fn same(found: &Value, expected: &Value) -> bool {
    match (found.as_str(), expected.as_str()) {
        (Some(found), Some(expected)) => found.eq_ignore_ascii_case(expected),
        _ => found == expected,
    }
}

/// What a policy finds in `event` under the index's word for it.
fn found(event: &Event, what: &str) -> Option<Value> {
    let data: Value = serde_json::from_str(&event.data).expect("data is JSON");
    // CloudMonitor has the facts in `content`, an event bus has them at the top.
    let content = data.get("content").unwrap_or(&data);
    let text = |text: &str| Some(Value::from(text));
    let at = |pointers: &[&str]| pointers.iter().find_map(|at| data.pointer(at)).cloned();
    let (before, after) = event.kind.split_once(':').unwrap_or(("", &event.kind));
    match what {
        "name" | "type" => text(&event.kind),
        "name_equivalent" => {
            let status = event.transition.map(|transition| transition.as_str()).unwrap_or_default();
            text(&format!("{after}:{status}"))
        }
        "status" => Some(status(event, &data)),
        "alertState" => text(match event.transition.map(|transition| transition.as_str()) {
            Some("firing") => "ALERT",
            Some("resolved") => "OK",
            _ => "",
        }),
        "metric" | "event" => text(after),
        "namespace" => text(before),
        "alert_name" => text(event.kind.strip_prefix("sls:Alert:").unwrap_or_default()),
        "severity" => Some(event.level.as_deref().and_then(|level| level.parse::<u64>().ok()).into()),
        "trigger" => Some(event.subject.clone().into()),
        "instance_id" => {
            let named = ["instanceId", "ecsInstanceId", "resourceId"].iter().find_map(|key| content.get(key));
            let tail = || event.subject.as_deref().and_then(|arn| arn.rsplit('/').next()).map(Value::from);
            named.cloned().or_else(tail).or(Some(Value::Null))
        }
        "region" => Some(event.region.clone().into()),
        "account" => Some(event.account.clone().into()),
        "time" => {
            let time = event.time.to_string();
            text(&time.strip_suffix(".000Z").map_or(time.clone(), |whole| format!("{whole}Z")))
        }
        "not_before" => at(&["/content/notBefore", "/notBefore"]),
        "state" => at(&["/content/state", "/state", "/detail/state"]),
        "disk_id" => at(&["/content/diskId", "/diskId"]),
        "snapshot_id" => at(&["/content/snapshotId", "/snapshotId"]),
        "result" => at(&["/content/result", "/result"]),
        "project" => at(&["/source/projectName", "/project"]),
        "logstore" => at(&["/source/logstoreName"]),
        "shard" => at(&["/source/shardId"]),
        _ => None,
    }
}

/// How far the incident has come, in the vendor's word, or what state the vendor says something is in.
fn status(event: &Event, data: &Value) -> Value {
    match event.transition.map(|transition| transition.as_str()) {
        Some("resolved") if data.get("alarmStatus").is_some() => "recovered".into(),
        Some(transition) => transition.into(),
        None => data.get("status").cloned().unwrap_or_default(),
    }
}

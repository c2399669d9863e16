//! The samples of an index: what would be delivered, and by which kind of source. Leaves what is expected of them to `super`.

use super::Map;
use opsward_core::event::{MESSAGE_ID, SourceKind};
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// One sample as its sender would deliver it.
pub(crate) struct Sample {
    pub(crate) file: String,
    pub(crate) kind: SourceKind,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) expect: Map<String, Value>,
}

/// One line of an index.
#[derive(Deserialize)]
struct Line {
    file: String,
    expect: Map<String, Value>,
}

/// A request as it was captured, or the answer of a queue; other samples are bodies.
#[derive(Deserialize)]
struct Capture {
    method: Option<String>,
    headers: Vec<(String, String)>,
    body: String,
}

const EVENTS_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/events");

pub(crate) fn own_samples() -> impl Iterator<Item = Sample> {
    samples(Path::new(EVENTS_DIR)).into_iter()
}

pub(crate) fn extra_samples() -> impl Iterator<Item = Sample> {
    std::env::var_os("OPSWARD_EXTRA_EVENTS").into_iter().flat_map(|dir| samples(Path::new(&dir)))
}

fn samples(dir: &Path) -> Vec<Sample> {
    let index = dir.join("INDEX.json");
    let text = std::fs::read_to_string(&index).unwrap_or_else(|e| panic!("{}: {e}", index.display()));
    let lines: Vec<Line> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", index.display()));
    lines.into_iter().map(|line| sample(dir, line)).collect()
}

fn sample(dir: &Path, line: Line) -> Sample {
    let path = dir.join(&line.file);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (headers, body) = match serde_json::from_slice::<Capture>(&bytes) {
        Ok(capture) if capture.method.is_some() => {
            let headers = capture.headers.into_iter();
            (
                headers.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
                capture.body.into_bytes(),
            )
        }
        Ok(received) => {
            let part =
                |name: &str| between(&received.body, name).unwrap_or_else(|| panic!("{}", path.display()));
            (vec![(MESSAGE_ID.to_owned(), part("MessageId"))], part("MessageBody").into_bytes())
        }
        Err(_) => (Vec::new(), bytes),
    };
    Sample { kind: kind_of(&headers, &body), file: line.file, headers, body, expect: line.expect }
}

/// The text of the first element with this name, which has no attributes.
fn between(xml: &str, name: &str) -> Option<String> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    Some(entities.iter().fold(text.to_owned(), |text, (entity, sign)| text.replace(entity, sign)))
}

/// The kind of source that an operator would give the sender.
fn kind_of(headers: &[(String, String)], body: &[u8]) -> SourceKind {
    let header =
        |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let content_type = header("content-type").unwrap_or_default();
    if header(MESSAGE_ID).is_some() {
        return SourceKind::AlibabaMns;
    }
    if header("ce-id").is_some() || content_type.contains("application/cloudevents") {
        return SourceKind::Cloudevents;
    }
    if content_type.contains("x-www-form-urlencoded") {
        return SourceKind::AlibabaCloudmonitor;
    }
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let first = body.get(0).unwrap_or(&body);
    let has = |keys: &[&str]| keys.iter().any(|key| first.get(key).is_some());
    match first {
        _ if has(&["specversion"]) => kind_of_cloud_event(first),
        _ if has(&["__time__"]) => SourceKind::AlibabaSls,
        _ if has(&["alert_name", "alert_instance_id"]) => SourceKind::AlibabaSlsAlert,
        _ if has(&["alarmStatus", "alarmPolicyInfo"]) => SourceKind::TencentMonitor,
        _ if has(&["clslogs"]) => SourceKind::TencentCls,
        _ if has(&["Type", "Records"]) => SourceKind::TencentScf,
        _ if has(&["triggerTime", "jobName", "events"]) => SourceKind::AlibabaFc,
        _ if has(&["message"]) => SourceKind::AlibabaMns,
        _ if has(&["detail-type"]) => SourceKind::Generic,
        _ => SourceKind::AlibabaCloudmonitor,
    }
}

fn kind_of_cloud_event(event: &Value) -> SourceKind {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    match (text("source"), text("type")) {
        (_, "mns:Queue:SendMessage") => SourceKind::AlibabaFc,
        (source, _) if source.starts_with("acs.") => SourceKind::AlibabaEventbridge,
        (source, _) if source.ends_with(".tencent") => SourceKind::TencentEventbridge,
        _ => SourceKind::Cloudevents,
    }
}

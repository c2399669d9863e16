//! Kind `alibaba-fc`: what a trigger of Function Compute hands to a function, posted to this host instead. Reads timers, ranges of a
//! log store, lists of an OSS bucket's events, and what CloudMonitor, EventBridge and queues send; any other JSON is an event
//! `fc:Event`. Leaves fetching the logs of a range to a policy. Tested by the samples and below.
//!
//! Source of the formats: Function Compute's pages on triggers.

use super::json::{self, Object, scalar};
use super::{DecodeError, Delivery, Event, alibaba, each_item, parse_vendor_time};
use crate::id::SourceName;
use crate::time::Timestamp;
use serde_json::Value;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    let text = json::text(delivery.body)?;
    let body = match json::value(text)? {
        Value::Array(items) => {
            return each_item(items, |item| match item {
                Value::Object(body) => {
                    let text = Value::Object(body.clone()).to_string();
                    payload(source, &text, body, received)
                }
                _ => Err(DecodeError::field("event", "is not a JSON object")),
            });
        }
        Value::Object(body) => body,
        _ => return Err(DecodeError::field("body", "is neither a JSON object nor a list of them")),
    };
    payload(source, text, body, received)
}

fn payload(
    source: &SourceName,
    text: &str,
    body: Object,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    if let Some(event) = alibaba::known(source, text, &body, None, received)? {
        return Ok(vec![event]);
    }
    if let Some(Value::Array(items)) = body.get("events") {
        return each_item(items.iter().collect(), |item| {
            bucket(source, item, received).map(|event| vec![event])
        });
    }
    let event =
        timer(source, &body, received).or_else(|| log_range(source, &body, received)).unwrap_or_else(|| {
            Event { time: received, ..Event::bare(source, json::digest(&body, &[]), "fc:Event") }
        });
    Ok(vec![Event { data: text.trim().to_owned(), ..event }])
}

/// A timer fires once at a time: a second delivery is the same event.
fn timer(source: &SourceName, body: &Object, received: Timestamp) -> Option<Event> {
    let (name, when) = (scalar(body, "triggerName")?, scalar(body, "triggerTime")?);
    Some(Event {
        time: parse_vendor_time(&when).unwrap_or(received),
        subject: Some(name.clone()),
        ..Event::bare(source, format!("{name} {when}"), "fc:Timer")
    })
}

/// What is told of logs is where they begin and end in one shard.
fn log_range(source: &SourceName, body: &Object, received: Timestamp) -> Option<Event> {
    let from = body.get("source")?.as_object()?;
    let (project, store) = (scalar(from, "projectName")?, scalar(from, "logstoreName")?);
    let part = |key: &str| scalar(from, key).unwrap_or_default();
    let (shard, begin, end) = (part("shardId"), part("beginCursor"), part("endCursor"));
    // `http://cn-hangzhou-intranet.log.aliyuncs.com`
    let endpoint = part("endpoint");
    let host = endpoint.split("://").last().and_then(|host| host.strip_suffix(".log.aliyuncs.com"));
    let region = host.map(|region| region.trim_end_matches("-intranet").to_owned());
    Some(Event {
        time: scalar(body, "cursorTime").and_then(|text| parse_vendor_time(&text)).unwrap_or(received),
        subject: Some(format!("{project}/{store}")),
        region: region.filter(|region| !region.is_empty()),
        ..Event::bare(source, format!("{project}/{store}/{shard}/{begin}-{end}"), "fc:Log")
    })
}

/// One of an OSS bucket's events.
fn bucket(source: &SourceName, item: &Value, received: Timestamp) -> Result<Event, DecodeError> {
    let Value::Object(item) = item else { return Err(DecodeError::field("event", "is not a JSON object")) };
    let at = |keys: [&str; 3]| {
        keys.iter()
            .try_fold(None, |found: Option<&Value>, key| {
                Some(Some(found.map_or_else(|| item.get(*key), |value| value.get(*key))?))
            })??
            .as_str()
            .map(str::to_owned)
    };
    let name = scalar(item, "eventName").ok_or_else(|| DecodeError::field("eventName", "is missing"))?;
    let product = scalar(item, "eventSource").and_then(|from| from.strip_prefix("acs:").map(str::to_owned));
    let (bucket, key) = (at(["oss", "bucket", "name"]), at(["oss", "object", "key"]));
    Ok(Event {
        subject: bucket.map(|bucket| format!("acs:oss:*:*:{bucket}/{}", key.unwrap_or_default())),
        time: scalar(item, "eventTime").and_then(|text| parse_vendor_time(&text)).unwrap_or(received),
        region: scalar(item, "region"),
        data: Value::Object(item.clone()).to_string(),
        ..Event::bare(
            source,
            json::digest(item, &[]),
            format!("{}:{name}", product.unwrap_or_else(|| "fc".into())),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{SourceKind, decode};

    fn triggered(body: &str) -> Result<Vec<Event>, DecodeError> {
        let delivery = Delivery { headers: &[], body: body.as_bytes() };
        let received = Timestamp::from_seconds(1_700_000_000);
        decode(SourceKind::AlibabaFc, &"in".parse().expect("a name"), &delivery, received)
    }

    #[test]
    fn each_payload_is_told_by_its_content() {
        for (body, kind, subject, id) in [
            (
                r#"{"triggerTime":"2018-06-08T01:25:37Z","triggerName":"nightly","payload":"x"}"#,
                "fc:Timer",
                Some("nightly"),
                "nightly 2018-06-08T01:25:37Z",
            ),
            (
                r#"{"source":{"endpoint":"http://cn-hangzhou-intranet.log.aliyuncs.com","projectName":"p",
                "logstoreName":"s","shardId":0,"beginCursor":"a","endCursor":"b"},"cursorTime":1528421137}"#,
                "fc:Log",
                Some("p/s"),
                "p/s/0/a-b",
            ),
            (
                r#"{"id":"1","name":"Disk:Stalled:Executing","content":{}}"#,
                "Disk:Stalled:Executing",
                None,
                "1 executing",
            ),
            (r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#, "t", None, "1 s"),
        ] {
            let events = triggered(body).expect(body);
            let [event] = events.as_slice() else { panic!("{events:?}") };
            assert_eq!((event.kind.as_str(), event.subject.as_deref()), (kind, subject), "{body}");
            assert_eq!(event.id, id);
        }
        let range = triggered(
            r#"{"source":{"endpoint":"cn-beijing.log.aliyuncs.com","projectName":"p","logstoreName":"s"}}"#,
        );
        assert_eq!(range.expect("valid")[0].region.as_deref(), Some("cn-beijing"));
        let other = triggered(r#" {"a":1} "#).expect("valid").remove(0);
        assert_eq!((other.kind.as_str(), other.data.as_str()), ("fc:Event", r#"{"a":1}"#));
    }

    #[test]
    fn a_list_has_an_event_for_each_of_its_items() {
        let put = r#"{"eventName":"ObjectCreated:PutObject","eventSource":"acs:oss","eventTime":"2018-06-08T01:25:37.000Z",
            "region":"cn-hangzhou","oss":{"bucket":{"name":"b"},"object":{"key":"k"}}}"#;
        let events = triggered(&format!(r#"{{"events":[{put}]}}"#)).expect("valid");
        assert_eq!(events[0].kind, "oss:ObjectCreated:PutObject");
        assert_eq!(events[0].subject.as_deref(), Some("acs:oss:*:*:b/k"));
        let cloud_event = r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;
        assert_eq!(triggered(&format!("[{cloud_event},{{}}]")).expect("valid").len(), 2);
        for body in ["[1]", "1", "\"x\"", "", r#"{"events":[{}]}"#, r#"{"events":[1]}"#] {
            assert!(triggered(body).is_err(), "{body}");
        }
    }
}

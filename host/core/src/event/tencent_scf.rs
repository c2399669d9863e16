//! Kind `tencent-scf`: what a trigger of Serverless Cloud Function hands to a function, posted to this host instead. Reads timers, lists
//! of records (COS, CMQ, CKafka), log topics, and events of EventBridge; any other JSON object is an event `scf:Event`. Tested by the
//! samples and below.
//!
//! Source of the formats: SCF's pages on triggers. A timer's time is in UTC, although its cron is read in UTC+8.

use super::json::{self, Object, first_scalar, scalar};
use super::{
    DecodeError, Delivery, Event, each_item, parse_vendor_time, tencent_cls, tencent_eventbridge,
    tencent_monitor,
};
use crate::id::SourceName;
use crate::time::Timestamp;
use serde_json::Value;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    let text = json::text(delivery.body)?;
    let body = json::object(text)?;
    if tencent_cls::is_logs(&body) {
        return tencent_cls::logs(source, &body, received);
    }
    if body.contains_key("specversion") {
        return tencent_eventbridge::one(source, text, received).map(|event| vec![event]);
    }
    if let Some(Value::Array(records)) = body.get("Records") {
        return each_item(records.iter().collect(), |record| {
            record_of(source, record, received).map(|event| vec![event])
        });
    }
    let event = timer(source, &body, received).unwrap_or_else(|| Event {
        time: received,
        ..Event::bare(source, json::digest(&body, &[]), "scf:Event")
    });
    Ok(vec![Event { data: text.trim().to_owned(), ..event }])
}

/// A timer fires once at a time: a second delivery is the same event.
fn timer(source: &SourceName, body: &Object, received: Timestamp) -> Option<Event> {
    scalar(body, "Type").filter(|kind| kind == "Timer")?;
    let (name, when) = (scalar(body, "TriggerName")?, scalar(body, "Time")?);
    Some(Event {
        time: parse_vendor_time(&when).unwrap_or(received),
        subject: Some(name.clone()),
        ..Event::bare(source, format!("{name} {when}"), "scf:Timer")
    })
}

/// One record: of a COS bucket with its own event name, of a queue or a topic with the name of what it is of.
fn record_of(source: &SourceName, record: &Value, received: Timestamp) -> Result<Event, DecodeError> {
    let Value::Object(record) = record else {
        return Err(DecodeError::field("record", "is not a JSON object"));
    };
    let data = Value::Object(record.clone()).to_string();
    let part = |key: &str| record.get(key).and_then(Value::as_object);
    if let (Some(event), Some(cos)) = (part("event"), part("cos")) {
        let named = |of: &str, key: &str| scalar(cos.get(of)?.as_object()?, key);
        let kind = scalar(event, "eventName").ok_or_else(|| DecodeError::field("eventName", "is missing"))?;
        return Ok(Event {
            subject: named("cosObject", "key").or_else(|| named("cosBucket", "name")),
            time: scalar(event, "eventTime").and_then(|text| parse_vendor_time(&text)).unwrap_or(received),
            region: named("cosBucket", "region").map(tencent_monitor::region),
            data,
            ..Event::bare(source, json::digest(record, &[]), kind)
        });
    }
    let (name, of) = record
        .iter()
        .find_map(|(name, of)| Some((name, of.as_object()?)))
        .ok_or_else(|| DecodeError::field("record", "says nothing of what it is of"))?;
    Ok(Event {
        subject: first_scalar(of, &["topicName", "topic", "queueName"]),
        time: received,
        data,
        ..Event::bare(
            source,
            scalar(of, "msgId").unwrap_or_else(|| json::digest(record, &[])),
            format!("scf:{name}"),
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
        decode(SourceKind::TencentScf, &"in".parse().expect("a name"), &delivery, received)
    }

    #[test]
    fn each_payload_is_told_by_its_content() {
        let cos = r#"{"Records":[{"event":{"eventName":"cos:ObjectCreated:Post","eventTime":1528421137},
            "cos":{"cosBucket":{"name":"b","region":"gz"},"cosObject":{"key":"/1/b/k"}}}]}"#;
        for (body, kind, subject, seconds) in [
            (
                r#"{"Type":"Timer","TriggerName":"EveryDay","Time":"2019-02-21T11:49:00Z","Message":"m"}"#,
                "scf:Timer",
                Some("EveryDay"),
                1_550_749_740,
            ),
            (cos, "cos:ObjectCreated:Post", Some("/1/b/k"), 1_528_421_137),
            (r#"{"Records":[{"CMQ":{"msgId":"m-1","topicName":"t"}}]}"#, "scf:CMQ", Some("t"), 1_700_000_000),
            (
                r#"{"Records":[{"Ckafka":{"topic":"t","msgBody":"x"}}]}"#,
                "scf:Ckafka",
                Some("t"),
                1_700_000_000,
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"s","type":"t","time":1528421137000}"#,
                "t",
                None,
                1_528_421_137,
            ),
            (r#"{"a":1}"#, "scf:Event", None, 1_700_000_000),
        ] {
            let events = triggered(body).expect(body);
            let [event] = events.as_slice() else { panic!("{events:?}") };
            assert_eq!((event.kind.as_str(), event.subject.as_deref()), (kind, subject), "{body}");
            assert_eq!(event.time.seconds(), seconds);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["", "[]", "1", r#"{"Records":[1]}"#, r#"{"Records":[{}]}"#, r#"{"clslogs":1}"#] {
            assert!(triggered(body).is_err(), "{body}");
        }
        assert_eq!(triggered(r#"{"Records":[]}"#), Ok(vec![]));
    }
}

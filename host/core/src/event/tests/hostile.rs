//! Hostile bytes for every decoder: JSON that is none, naughty strings, deep nesting, bombs, long things, wrong encodings. Each is
//! refused with a reason or becomes events that may be recorded; nothing panics.

use super::json_cases::{CHOSEN, REFUSED, TAKEN};
use super::*;
use crate::event::json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A mapping that takes whatever has a type.
pub(super) fn mapping() -> Mapping {
    let at = |path: &str| Some(path.to_owned());
    Mapping::compile(&MappingText {
        id: at("$.id"),
        kind: at("$.type"),
        subject: at("$.subject"),
        time: at("$.time"),
        incident: at("$.incident"),
        account: at("$.account"),
        region: at("$.region"),
        level: at("$.level"),
        transition: at("$.transition"),
        ..MappingText::default()
    })
    .expect("a mapping")
}

/// The kinds whose events are delivered: lines of files are not.
pub(super) fn delivered() -> impl Iterator<Item = SourceKind> {
    SourceKind::ALL.iter().copied().filter(|kind| kind.route() != Route::File)
}

/// What the kind makes of it, with every header that a decoder looks at or none; each event may be recorded.
pub(super) fn read(
    kind: SourceKind,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Vec<Event>, DecodeError> {
    let events = match kind {
        SourceKind::Generic => {
            let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let source = "in".parse().expect("a name");
            mapping().decode(&source, &Delivery { headers: &headers, body }, RECEIVED)?
        }
        kind => decode_as(kind, headers, body)?,
    };
    assert!(events.len() <= BATCH_EVENTS_MAX, "{kind}");
    for event in &events {
        assert_eq!(event.check(), Ok(()), "{kind}");
        let data = serde_json::from_str::<Value>(&event.data);
        assert!(data.is_ok(), "{kind}: {}", event.data);
        let record = serde_json::to_string(event).expect("a record");
        assert_eq!(serde_json::from_str::<Event>(&record).as_ref().ok(), Some(event), "{kind}");
    }
    Ok(events)
}

#[test]
fn what_is_no_json_is_refused_by_every_kind_with_its_place() {
    for kind in delivered() {
        for (name, body) in REFUSED {
            let refused = read(kind, &[], body);
            // A post without anything asks whether the URL is there.
            if kind == SourceKind::TencentMonitor && body.trim_ascii().is_empty() {
                assert_eq!(refused, Ok(vec![]));
                continue;
            }
            let error = refused.expect_err(name);
            let has_place = error.position().is_some() || error == DecodeError::Empty;
            // What is no JSON object may be base64 in a queue, and a list of events names the one at fault.
            let may_lack_it = kind.route() == Route::Queue || matches!(error, DecodeError::InBatch { .. });
            assert!(has_place || may_lack_it, "{name} as {kind}: {error:?}");
        }
    }
}

#[test]
fn json_is_taken_as_data_as_it_was_sent() {
    let chosen = CHOSEN.iter().map(|(name, body, taken)| (*name, *body, *taken));
    let cases = TAKEN.iter().map(|(name, body)| (*name, *body, true)).chain(chosen);
    for (name, body, taken) in cases {
        let text = std::str::from_utf8(body).expect(name);
        assert_eq!(json::value(text).is_ok(), taken, "{name}");
        for kind in delivered() {
            drop(read(kind, &[], body));
        }
        let event =
            [&br#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":"#[..], body, b"}"].concat();
        let is_deepest = name.starts_with("i_depth");
        let read = read(SourceKind::Cloudevents, &[], &event);
        assert_eq!(read.is_ok(), taken && !is_deepest, "{name}");
        if let Ok(events) = read {
            assert_eq!(events[0].data, text.trim(), "{name}");
        }
    }
}

#[test]
fn what_is_no_json_is_refused_inside_of_what_is() {
    for (name, body) in REFUSED {
        let event =
            [&br#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":"#[..], body, b"}"].concat();
        for kind in [SourceKind::Cloudevents, SourceKind::AlibabaEventbridge, SourceKind::TencentEventbridge]
        {
            assert!(read(kind, &[], &event).is_err(), "{name} as {kind}");
        }
        assert!(read(SourceKind::AlibabaMns, &[], STANDARD.encode(&event).as_bytes()).is_err(), "{name}");
        if let Ok(text) = std::str::from_utf8(body)
            && !text.trim().is_empty()
        {
            let event = json!({ "name": "Disk:N:Executed", "content": text }).to_string();
            for kind in [SourceKind::AlibabaCloudmonitor, SourceKind::AlibabaSls, SourceKind::AlibabaFc] {
                assert!(read(kind, &[], event.as_bytes()).is_err(), "{name} as {kind}");
            }
        }
    }
}

/// A body of each kind with `text` in each place where a sender may write one.
fn bodies_with(text: &str) -> Vec<(SourceKind, Value)> {
    let data = json!({ "eventId": text, "eventStatus": text, "instanceId": text, "appId": text });
    let cloud_event = json!({ "specversion": "1.0", "id": text, "source": "acs.x", "type": text, "subject": text,
        "time": text, "data": data, "region": text, "status": text, "aliyunregionid": text, "resource": [text] });
    let system = json!({ "name": text, "id": text, "level": text, "regionId": text, "userId": text,
        "resourceId": text, "eventTime": text, "content": data });
    let alarm = json!({ "message": { "metricProject": text, "metricName": text, "dimensions": text,
        "alertName": text, "levelDescription": text, "userId": text, "time": text } });
    let monitor = json!({ "sessionId": text, "alarmStatus": text, "firstOccurTime": text, "recoverTime": text,
        "alarmObjInfo": { "region": text, "namespace": text, "uin": text, "dimensions": { "unInstanceId": text } },
        "alarmPolicyInfo": { "policyId": text, "conditions": { "metricName": text } } });
    let alert = json!([{ "alert_name": text, "alert_id": text, "alert_instance_id": text, "status": text,
        "project": text, "region": text, "aliuid": text, "severity": text, "fire_time": text, "labels": { text: text } }]);
    let fc = json!({ "triggerName": text, "triggerTime": text });
    let bucket = json!({ "events": [{ "eventName": text, "eventSource": text, "region": text, "eventTime": text,
        "oss": { "bucket": { "name": text }, "object": { "key": text } } }] });
    let range = json!({ "source": { "projectName": text, "logstoreName": text, "endpoint": text } });
    let scf = json!({ "Type": "Timer", "TriggerName": text, "Time": text });
    let records = json!({ "Records": [{ text: { "msgId": text, "topicName": text } }] });
    let generic = json!({ "id": text, "type": text, "subject": text, "time": text, "incident": text,
        "account": text, "region": text, "level": text, "transition": text });
    vec![
        (SourceKind::AlibabaCloudmonitor, system.clone()),
        (SourceKind::AlibabaSls, system.clone()),
        (SourceKind::AlibabaMns, system),
        (SourceKind::AlibabaMns, alarm),
        (SourceKind::AlibabaEventbridge, cloud_event.clone()),
        (SourceKind::Cloudevents, cloud_event.clone()),
        (SourceKind::TencentEventbridge, cloud_event),
        (SourceKind::TencentMonitor, monitor),
        (SourceKind::AlibabaSlsAlert, alert),
        (SourceKind::AlibabaFc, fc),
        (SourceKind::AlibabaFc, bucket),
        (SourceKind::AlibabaFc, range),
        (SourceKind::TencentScf, scf),
        (SourceKind::TencentScf, records),
        (SourceKind::Generic, generic),
    ]
}

#[test]
fn naughty_strings_are_taken_as_they_are_or_refused_with_a_reason() {
    let own = [
        "\0",
        "a\0b",
        "\u{202e}gpj.exe",
        "\u{feff}",
        "\u{fffd}",
        "\u{1b}[2J",
        "a\r\nb",
        "i-1\u{2028}x",
        "\u{e0041}",
    ];
    let long = "x".repeat(ATTRIBUTE_BYTES_MAX + 1);
    let all = naughty_strings::BLNS.iter().copied().chain(own).chain([long.as_str()]);
    let (mut taken, mut refused) = (0, 0);
    for text in all {
        for (kind, body) in bodies_with(text) {
            match read(kind, &[], body.to_string().as_bytes()) {
                Ok(_) => taken += 1,
                Err(error) => {
                    refused += 1;
                    let reason = error.to_string();
                    assert!(!reason.is_empty() && !reason.contains(char::is_control), "{kind}: {reason:?}");
                }
            }
        }
        let form = format!(
            "alertState={0}&metricName={0}&dimensions={0}&ruleId={0}&userId={0}&regionId={0}",
            percent(text)
        );
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        drop(read(SourceKind::AlibabaCloudmonitor, &headers, form.as_bytes()));
        let headers = [("ce-id", text), ("ce-source", "s"), ("ce-type", text), ("ce-specversion", "1.0")];
        drop(read(SourceKind::Cloudevents, &headers, text.as_bytes()));
        for kind in delivered() {
            drop(read(kind, &[("content-type", text)], text.as_bytes()));
        }
    }
    assert!(taken > 2000 && refused > 100, "{taken} taken, {refused} refused");
}

fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[test]
fn nesting_is_bounded_whatever_it_is_wrapped_in() {
    for depth in [31, 32, 33, 1000, 100_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let event = format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t","data":{deep}}}"#);
            let system = json!({ "name": "N", "content": deep }).to_string();
            let message = json!({ "specversion": "1.0", "id": "1", "source": "s", "type": "mns:Queue:SendMessage",
                "data": { "messageBody": event } });
            for kind in delivered() {
                for body in [&deep, &event, &system, &message.to_string(), &STANDARD.encode(&event)] {
                    drop(read(kind, &[], body.as_bytes()));
                }
            }
            assert_eq!(
                read(SourceKind::Cloudevents, &[], event.as_bytes()).is_ok(),
                depth < JSON_DEPTH_MAX,
                "{depth}"
            );
        }
    }
}

#[test]
fn lists_are_bounded_in_every_kind_that_takes_them() {
    let many = |item: &str| format!("[{}]", vec![item; BATCH_EVENTS_MAX + 1].join(","));
    let too_many = Err(DecodeError::BatchTooLarge { events: BATCH_EVENTS_MAX + 1 });
    for (kind, body) in [
        (SourceKind::AlibabaEventbridge, many("{}")),
        (SourceKind::TencentEventbridge, many("{}")),
        (SourceKind::AlibabaSlsAlert, many("{}")),
        (SourceKind::AlibabaFc, many("{}")),
        (SourceKind::AlibabaFc, format!(r#"{{"events":{}}}"#, many("{}"))),
        (SourceKind::TencentScf, format!(r#"{{"Records":{}}}"#, many("{}"))),
    ] {
        assert_eq!(read(kind, &[], body.as_bytes()), too_many, "{kind}");
    }
}

#[test]
fn what_is_no_base64_is_refused_where_base64_is_meant() {
    for message in ["e30", "e30=e30=", "====", "e3 0=", "e30=\u{200b}", "_-_-", "\u{ff25}30="] {
        assert!(read(SourceKind::AlibabaMns, &[], message.as_bytes()).is_err(), "{message}");
        let logs = json!({ "clslogs": { "data": message } }).to_string();
        for kind in [SourceKind::TencentCls, SourceKind::TencentScf] {
            assert!(read(kind, &[], logs.as_bytes()).is_err(), "{message}");
        }
    }
    assert!(read(SourceKind::AlibabaMns, &[], b"e30=").is_ok(), "an empty object is a message");
}

/// Names that some decoder looks at, and values that some decoder tells apart.
fn vendor_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            json!(null),
            json!(""),
            json!("0"),
            json!("1"),
            json!(1),
            json!(-1.5e300),
            json!(true),
            json!("null"),
            json!("OK"),
            json!("ALERT"),
            json!("Timer"),
            json!("1.0"),
            json!("acs.ecs"),
            json!("i-1"),
            json!("Executed"),
            json!("firing"),
            json!("acs:ecs:::i"),
            json!("acs::::"),
            json!("qcs::cvm:r:uin/1:i"),
            json!("{a=b, c, =d}"),
            json!("e30="),
            json!("{}"),
            json!("{\"eventId\":\"e\"}"),
            json!("2021-04-20 10:23:24"),
            json!(1_528_421_137_000_i64),
            json!(i64::MAX),
            json!("9999-99-99 99:99:99"),
            json!("1e9"),
            json!("mns:Queue:SendMessage"),
            json!("a\u{202e}b"),
            json!("a\nb"),
        ]),
        any::<String>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
    ];
    let names = vec![
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "data",
        "data_base64",
        "datacontenttype",
        "status",
        "resource",
        "region",
        "name",
        "content",
        "eventId",
        "eventStatus",
        "instanceId",
        "resourceId",
        "regionId",
        "userId",
        "level",
        "eventTime",
        "message",
        "metricProject",
        "metricName",
        "dimensions",
        "alertName",
        "levelDescription",
        "messageBody",
        "alert_name",
        "alert_instance_id",
        "fire_time",
        "resolve_time",
        "labels",
        "severity",
        "project",
        "triggerName",
        "triggerTime",
        "projectName",
        "logstoreName",
        "endpoint",
        "cursorTime",
        "events",
        "eventName",
        "eventSource",
        "oss",
        "bucket",
        "object",
        "key",
        "Type",
        "TriggerName",
        "Time",
        "Records",
        "cos",
        "cosBucket",
        "cosObject",
        "event",
        "clslogs",
        "sessionId",
        "alarmStatus",
        "alarmObjInfo",
        "alarmPolicyInfo",
        "conditions",
        "unInstanceId",
        "firstOccurTime",
        "recoverTime",
        "policyId",
        "namespace",
        "appId",
        "uin",
        "timer",
        "subjuect",
        "__time__",
        "traceId",
    ];
    leaf.prop_recursive(4, 48, 8, move |inner| {
        let name = prop::sample::select(names.clone());
        prop_oneof![
            3 => prop::collection::btree_map(name, inner.clone(), 0..8)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            1 => prop::collection::vec(inner, 0..4).prop_map(Value::from),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_of_vendors_words_breaks_a_decoder(body in vendor_json(), text in any::<bool>()) {
        let mut body = body;
        // Some forms carry JSON in text.
        if text && let Some(inner) = body.get_mut("content") {
            *inner = Value::from(inner.to_string());
        }
        let body = body.to_string();
        for kind in delivered() {
            let read_once = read(kind, &[], body.as_bytes());
            prop_assert_eq!(&read(kind, &[], body.as_bytes()), &read_once, "{} reads it differently", kind);
            drop(read(kind, &[], STANDARD.encode(&body).as_bytes()));
            drop(read(kind, &[("message-id", "M"), ("content-type", "application/json")], body.as_bytes()));
        }
    }

    #[test]
    fn no_form_breaks_a_decoder(
        pairs in prop::collection::vec((prop::sample::select(vec!["alertState", "metricName", "dimensions", "ruleId",
            "timestamp", "userId", "regionId", "triggerLevel", "x"]), any::<String>()), 0..10),
        raw in "[a-z=&%+0-9]{0,40}",
    ) {
        let form = pairs.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect::<Vec<_>>().join("&");
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        for body in [form, raw] {
            drop(read(SourceKind::AlibabaCloudmonitor, &headers, body.as_bytes()));
        }
    }

    #[test]
    fn no_mapping_breaks_what_compiles_it(key in "[$a-z.'\\[\\]0-9*\"]{0,24}", any in any::<String>(), body in vendor_json()) {
        for text in [key, any] {
            let typed = MappingText { kind: Some(text.clone()), each: Some(text.clone()), data: Some(text), ..MappingText::default() };
            let source = "in".parse().expect("a name");
            if let Ok(mapping) = Mapping::compile(&typed) {
                drop(mapping.decode(&source, &Delivery { headers: &[], body: body.to_string().as_bytes() }, RECEIVED));
            }
        }
    }
}

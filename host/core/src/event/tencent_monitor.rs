//! Kind `tencent-monitor`: alarms of Tencent Cloud Monitor as it posts them, of metrics and of events, firing and recovered. Leaves
//! what EventBridge makes of them to `tencent_eventbridge`. Tested by the samples and below.
//!
//! Source of the format: Cloud Monitor's "alarm callback" and a captured body. Its times are those of UTC+8 and do not say so. A
//! repeated alarm has another `sessionId` and the same first occurrence, which makes the incident with policy and object. There is
//! no signature: everything decoded here is the sender's claim.

use super::json::{self, Object, first_scalar, scalar};
use super::{DecodeError, Delivery, Event, Transition, id_at, incident_key, parse_vendor_time};
use crate::id::SourceName;
use crate::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads one alarm. Cloud Monitor asks whether a URL is there by a post that says nothing: that is no event.
pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    if delivery.body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let text = json::text(delivery.body)?;
    let body = json::object(text)?;
    if body.is_empty() {
        return Ok(Vec::new());
    }
    event(source, text, &body, received).map(|event| vec![event])
}

/// What Cloud Monitor wants to read in an answer by its older pages: members for the answer to `body`.
pub(super) fn answer(body: &[u8]) -> Vec<(&'static str, Value)> {
    let body = json::text(body).and_then(json::object);
    let session = body.ok().and_then(|body| scalar(&body, "sessionId"));
    let session = session.filter(|session| session.len() <= SESSION_BYTES_MAX);
    let session = session.map(|session| ("sessionId", Value::from(session)));
    session.into_iter().chain([("retCode", Value::from(0))]).collect()
}

/// Longest session that is answered, in bytes: four times the longest seen.
const SESSION_BYTES_MAX: usize = 96;

fn event(source: &SourceName, text: &str, body: &Object, received: Timestamp) -> Result<Event, DecodeError> {
    let none = Object::new();
    let part = |of: &'_ Object, key: &str| of.get(key).and_then(Value::as_object).cloned();
    let object = part(body, "alarmObjInfo").unwrap_or_default();
    let policy = part(body, "alarmPolicyInfo").unwrap_or_default();
    let conditions = part(&policy, "conditions").unwrap_or_default();
    let dimensions = object.get("dimensions").and_then(Value::as_object).unwrap_or(&none);
    let name = first_scalar(&conditions, &["metricName", "eventName"]).ok_or_else(|| {
        let problem = "has neither `metricName` nor `eventName`: an alarm of Cloud Monitor has one of them";
        DecodeError::field("alarmPolicyInfo.conditions", problem)
    })?;
    let namespace = scalar(&object, "namespace")
        .or_else(|| scalar(&conditions, "productName").map(|product| format!("qce/{product}")))
        .or_else(|| scalar(&policy, "policyType"))
        .unwrap_or_else(|| "qce".to_owned());
    let transition = match scalar(body, "alarmStatus").as_deref() {
        Some("1") => Some(Transition::Firing),
        Some("0") => Some(Transition::Resolved),
        _ => None,
    };
    let subject = first_scalar(dimensions, &["unInstanceId", "instanceId", "InstanceId", "objId"]);
    let since = scalar(body, "firstOccurTime");
    let incident = since.as_ref().map(|since| {
        let policy = first_scalar(&policy, &["policyId", "policyName"]).unwrap_or_default();
        incident_key("tencent", &["alarm", &policy, &name, &measured(dimensions, subject.as_deref()), since])
    });
    let over = scalar(body, "recoverTime").filter(|text| text != "0");
    let id = match scalar(body, "sessionId") {
        Some(session) => id_at(session, transition),
        None => json::digest(body, &[]),
    };
    Ok(Event {
        subject,
        time: over.or(since).and_then(|text| parse_local(&text)).unwrap_or(received),
        incident,
        account: first_scalar(&object, &["uin", "appId"]),
        region: scalar(&object, "region").map(region),
        transition,
        data: text.trim().to_owned(),
        ..Event::bare(source, id, format!("{namespace}:{name}"))
    })
}

/// What is measured, in one writing: the resource, and whatever tells one part of it from another, such as its disks. `deviceName` is a
/// name that people change.
fn measured(dimensions: &Object, resource: Option<&str>) -> String {
    let named: BTreeMap<&String, String> = dimensions
        .iter()
        .filter(|(name, _)| *name != "deviceName")
        .filter_map(|(name, _)| Some((name, scalar(dimensions, name)?)))
        .filter(|(_, value)| Some(value.as_str()) != resource)
        .collect();
    let parts = named.into_iter().map(|(name, value)| format!("{name}={value}"));
    resource.map(str::to_owned).into_iter().chain(parts).collect::<Vec<_>>().join(",")
}

/// The region that a short code of Cloud Monitor's stands for: `gz` is `ap-guangzhou`, as calls and grants name it.
pub(super) fn region(code: String) -> String {
    let known = REGIONS.iter().find(|(short, _)| *short == code);
    known.map_or(code, |(_, region)| (*region).to_owned())
}

/// Short codes by Cloud Monitor's older API pages ("region" of GetMonitorData); others stay as sent.
const REGIONS: [(&str, &str); 17] = [
    ("gz", "ap-guangzhou"),
    ("sh", "ap-shanghai"),
    ("bj", "ap-beijing"),
    ("cd", "ap-chengdu"),
    ("cq", "ap-chongqing"),
    ("nj", "ap-nanjing"),
    ("hk", "ap-hongkong"),
    ("sg", "ap-singapore"),
    ("th", "ap-bangkok"),
    ("in", "ap-mumbai"),
    ("kr", "ap-seoul"),
    ("jp", "ap-tokyo"),
    ("usw", "na-siliconvalley"),
    ("use", "na-ashburn"),
    ("de", "eu-frankfurt"),
    ("shjr", "ap-shanghai-fsi"),
    ("szjr", "ap-shenzhen-fsi"),
];

/// Reads `2021-04-20 10:23:24` as UTC+8, and any form that says its offset.
pub(super) fn parse_local(text: &str) -> Option<Timestamp> {
    let east_8 = jiff::tz::TimeZone::fixed(jiff::tz::Offset::constant(8));
    match text.parse::<jiff::civil::DateTime>() {
        Ok(local) if !text.contains(['Z', 'z', '+']) => Some(east_8.to_timestamp(local).ok()?.into()),
        _ => parse_vendor_time(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{SourceKind, decode};

    fn alarm(body: &str) -> Result<Vec<Event>, DecodeError> {
        let delivery = Delivery { headers: &[], body: body.as_bytes() };
        let received = Timestamp::from_seconds(1_700_000_000);
        decode(SourceKind::TencentMonitor, &"in".parse().expect("a name"), &delivery, received)
    }

    const EVENT: &str = r#"{"sessionId":"call-1","alarmStatus":"1","alarmType":"event","alarmObjInfo":{"region":"hk",
        "dimensions":{"unInstanceId":"ins-1"}},"alarmPolicyInfo":{"policyId":"p-1","policyType":"cvm_device",
        "conditions":{"productName":"cvm","eventName":"ping_unreachable"}},"firstOccurTime":"2021-04-20 10:23:24",
        "durationTime":0,"recoverTime":"0"}"#;

    #[test]
    fn an_alarm_its_repetition_and_its_end_are_one_incident() {
        let read = |text: &str| alarm(text).expect("valid").remove(0);
        let firing = read(EVENT);
        let repeated = read(
            &EVENT.replace("call-1", "call-2").replace("\"durationTime\":0", "\"durationTime\":\"300\""),
        );
        let over = read(
            &EVENT
                .replace("\"alarmStatus\":\"1\"", "\"alarmStatus\":0")
                .replace("\"recoverTime\":\"0\"", "\"recoverTime\":\"2021-04-20 10:31:24\""),
        );
        let again = read(&EVENT.replace("10:23:24", "11:23:24"));
        assert_eq!((firing.kind.as_str(), firing.id.as_str()), ("qce/cvm:ping_unreachable", "call-1 firing"));
        assert_eq!(
            (firing.subject.as_deref(), firing.region.as_deref()),
            (Some("ins-1"), Some("ap-hongkong"))
        );
        assert_eq!(firing.time.to_iso_seconds(), "2021-04-20T02:23:24Z");
        let incident = Some("tencent:alarm/p-1/ping_unreachable/ins-1/2021-04-20 10:23:24");
        assert_eq!(firing.incident.as_deref(), incident);
        assert_eq!((&repeated.incident, &over.incident), (&firing.incident, &firing.incident));
        assert_eq!((over.transition, over.id.as_str()), (Some(Transition::Resolved), "call-1 resolved"));
        assert_eq!(over.time.to_iso_seconds(), "2021-04-20T02:31:24Z");
        assert_ne!(again.incident, firing.incident);
    }

    #[test]
    fn alarms_of_two_disks_of_one_machine_are_two_incidents() {
        let of = |dimensions: &str| {
            let dimensions = format!(r#""unInstanceId":"ins-1",{dimensions}"#);
            alarm(&EVENT.replace(r#""unInstanceId":"ins-1""#, &dimensions)).expect("valid").remove(0).incident
        };
        let first = of(r#""disk":"vdb","objId":"ins-1","deviceName":"db""#);
        assert_eq!(
            first.as_deref(),
            Some("tencent:alarm/p-1/ping_unreachable/ins-1,disk=vdb/2021-04-20 10:23:24")
        );
        assert_ne!(first, of(r#""disk":"vdc","objId":"ins-1","deviceName":"db""#));
        let renamed = r#""objDetail":{"deviceLanIp":"10.0.0.1"},"deviceName":"other","disk":"vdb""#;
        assert_eq!(first, of(renamed), "whatever the machine is called, wherever it is reached");
    }

    #[test]
    fn a_post_that_asks_whether_the_url_is_there_is_no_event() {
        for body in ["", " \n", "{}"] {
            assert_eq!(alarm(body), Ok(vec![]), "{body}");
        }
        for body in ["[]", "1", r#"{"sessionId":"s"}"#, r#"{"alarmPolicyInfo":{"conditions":{}}}"#] {
            assert!(alarm(body).is_err(), "{body}");
        }
    }

    #[test]
    fn the_answer_names_the_session_that_was_asked() {
        let answered = |body: &str| {
            answer(body.as_bytes()).into_iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>()
        };
        assert_eq!(answered(EVENT), ["sessionId=\"call-1\"", "retCode=0"]);
        assert_eq!(answered(""), ["retCode=0"]);
        assert_eq!(answered(&EVENT.replace("call-1", &"s".repeat(97))), ["retCode=0"]);
    }

    #[test]
    fn times_are_those_of_china_unless_they_say_otherwise() {
        for (text, seconds) in [
            ("2021-04-20 10:23:24", 1_618_885_404),
            ("2021-04-20T10:23:24", 1_618_885_404),
            ("2021-04-20T02:23:24Z", 1_618_885_404),
            ("2021-04-20 10:23:24+08:00", 1_618_885_404),
            ("1618885404", 1_618_885_404),
        ] {
            assert_eq!(parse_local(text).map(Timestamp::seconds), Some(seconds), "{text}");
        }
        for text in ["", "0000-00-00 00:00:00", "soon", "9999-12-31 23:59:59.9999999999"] {
            assert_eq!(parse_local(text), None, "{text}");
        }
    }
}

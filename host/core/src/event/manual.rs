//! An event that a person gives: in the form of any sender that this release knows. Leaves where it comes from to the command line.
//! Tested below.

use super::{BODY_BYTES_MAX, DecodeError, Delivery, Event, SourceKind, checked_attribute, decode};
use crate::id::SourceName;
use crate::time::Timestamp;
use serde_json::Value;

/// The source of what a person gives: no operator's source has this name.
pub fn manual_source() -> SourceName {
    "manual".parse().expect("a name")
}

/// Reads one event, in the form of whichever kind its members tell: a CloudEvent, or JSON that a cloud sends.
///
/// # Errors
/// Where it is none of these, or several events.
pub fn given(text: &str, received: Timestamp) -> Result<Event, DecodeError> {
    if text.len() > BODY_BYTES_MAX {
        return Err(DecodeError::DataTooLarge { bytes: text.len() });
    }
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let kind = parsed.map_or(SourceKind::AlibabaCloudmonitor, |body| kind_of(&body));
    let headers = [("content-type".to_owned(), "application/json".to_owned())];
    let delivery = Delivery { headers: &headers, body: text.as_bytes() };
    let mut events = decode(kind, &manual_source(), &delivery, received)?;
    if events.len() > 1 {
        return Err(DecodeError::Unsupported(format!("these are {} events: give one of them", events.len())));
    }
    events.pop().ok_or(DecodeError::Empty)
}

/// The kind of source that sends JSON with such members.
fn kind_of(body: &Value) -> SourceKind {
    let one = body.get(0).unwrap_or(body);
    if one.get("specversion").is_some() {
        let is_from = |what: fn(&str) -> bool| one.get("source").and_then(Value::as_str).is_some_and(what);
        return if is_from(|source| source.ends_with(".tencent")) {
            SourceKind::TencentEventbridge
        } else if is_from(|source| source.starts_with("acs.") || source.starts_with("MNS-")) {
            SourceKind::AlibabaEventbridge
        } else {
            SourceKind::Cloudevents
        };
    }
    let told = TELLING.iter().find(|(member, _)| one.get(*member).is_some());
    told.map_or(SourceKind::AlibabaCloudmonitor, |(_, kind)| *kind)
}

/// Members that JSON of one kind has and that of the others has not.
const TELLING: [(&str, SourceKind); 10] = [
    ("__time__", SourceKind::AlibabaSls),
    ("alert_name", SourceKind::AlibabaSlsAlert),
    ("alarmPolicyInfo", SourceKind::TencentMonitor),
    ("clslogs", SourceKind::TencentCls),
    ("Type", SourceKind::TencentScf),
    ("Records", SourceKind::TencentScf),
    ("triggerTime", SourceKind::AlibabaFc),
    ("jobName", SourceKind::AlibabaFc),
    ("events", SourceKind::AlibabaFc),
    ("message", SourceKind::AlibabaMns),
];

impl Event {
    /// Whether its attributes are what those of a decoded event are: one that was put together elsewhere may have any.
    pub fn check(&self) -> Result<(), DecodeError> {
        let Self { id, kind, subject, incident, account, region, level, data, .. } = self;
        let optional = [
            ("subject", subject),
            ("incident", incident),
            ("account", account),
            ("region", region),
            ("level", level),
        ];
        let given = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        for (name, value) in [("id", id.as_str()), ("type", kind.as_str())].into_iter().chain(given) {
            checked_attribute(name, value)?;
        }
        if data.len() > BODY_BYTES_MAX {
            return Err(DecodeError::DataTooLarge { bytes: data.len() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_767_578_850);

    #[test]
    fn an_event_is_read_in_the_form_that_it_has() {
        let cloud_event =
            r#"{"specversion":"1.0","id":"e-1","source":"test","type":"disk.full","data":{"disk":"d-1"}}"#;
        let event = given(cloud_event, NOW).expect("a CloudEvent");
        assert_eq!((event.source.as_str(), event.kind.as_str()), ("manual", "disk.full"));
        let sample = include_str!("../../../../tests/events/aliyun-cms-ecs-reboot-executed.json");
        let event = given(sample, NOW).expect("a notification");
        assert_eq!(event.kind, "Instance:SystemFailure.Reboot:Executed");
        assert_eq!(event.check(), Ok(()));
        for odd in ["", "{", "[]", "{}", r#"{"specversion":"1.0"}"#] {
            assert!(given(odd, NOW).is_err(), "{odd}");
        }
    }

    #[test]
    fn an_event_that_was_put_together_elsewhere_has_bounded_attributes() {
        let event =
            given(r#"{"specversion":"1.0","id":"e","source":"s","type":"t"}"#, NOW).expect("an event");
        assert_eq!(event.check(), Ok(()));
        for odd in [
            Event { id: String::new(), ..event.clone() },
            Event { kind: "a\nb".to_owned(), ..event.clone() },
            Event { subject: Some("x".repeat(5000)), ..event.clone() },
            Event { data: "x".repeat(BODY_BYTES_MAX + 1), ..event.clone() },
        ] {
            assert!(odd.check().is_err());
        }
    }
}

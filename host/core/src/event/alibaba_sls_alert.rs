//! Kind `alibaba-sls-alert`: alerts as SLS posts them by its default template, a list or one alone. Leaves log records to
//! `alibaba_sls`. Tested by the samples and below.
//!
//! Source of the format: SLS, "variables in alert templates". The template is the user's to change; what is read here is `alert_name`
//! and `status`, and all else where it is there. An evaluation is an event; one firing, from `fire_time` to its end, an incident.

use super::json::{self, Object, first_scalar, scalar};
use super::{DecodeError, Delivery, Event, Transition, each_item, id_at, incident_key, parse_vendor_time};
use crate::id::{Digest, SourceName};
use crate::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    match json::value(json::text(delivery.body)?)? {
        Value::Array(items) => each_item(items, |item| match item {
            Value::Object(alert) => event(source, alert, received).map(|event| vec![event]),
            _ => Err(DecodeError::field("alert", "is not a JSON object")),
        }),
        Value::Object(alert) => event(source, alert, received).map(|event| vec![event]),
        _ => Err(DecodeError::field("body", "is neither a JSON object nor a list of them")),
    }
}

fn event(source: &SourceName, alert: Object, received: Timestamp) -> Result<Event, DecodeError> {
    let name = first_scalar(&alert, &["alert_name", "alert_id"]).ok_or_else(|| {
        let problem =
            "is missing: the default template has it; put it into yours, with `status` and `fire_time`";
        DecodeError::field("alert_name", problem)
    })?;
    let status = scalar(&alert, "status").unwrap_or_default();
    let transition = match status.to_ascii_lowercase().as_str() {
        "firing" => Some(Transition::Firing),
        "resolved" => Some(Transition::Resolved),
        _ => None,
    };
    let (region, account, project) =
        (scalar(&alert, "region"), scalar(&alert, "aliuid"), scalar(&alert, "project"));
    let ended = scalar(&alert, "resolve_time").filter(|text| text != "0");
    let when = ended.or_else(|| first_scalar(&alert, &["alert_time", "fire_time"]));
    let any = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".to_owned());
    let subject = project
        .as_ref()
        .map(|project| format!("acs:log:{}:{}:project/{project}", any(&region), any(&account)));
    let id = match scalar(&alert, "alert_instance_id") {
        Some(instance) => id_at(evaluated(&alert, &name, &instance), transition),
        None => json::digest(&alert, &[]),
    };
    Ok(Event {
        subject,
        time: when.and_then(|text| parse_vendor_time(&text)).unwrap_or(received),
        incident: scalar(&alert, "fire_time").map(|since| incident(&alert, &name, &since)),
        level: scalar(&alert, "severity"),
        transition,
        account,
        region,
        data: Value::Object(alert).to_string(),
        ..Event::bare(source, id, format!("sls:Alert:{name}"))
    })
}

/// Names one evaluation of one set of labels. SLS does not say whether its instance is of an execution of the rule, which evaluates
/// all sets of labels, or of a firing, which is evaluated again and again: whichever it is, neither passes for the other.
fn evaluated(alert: &Object, name: &str, instance: &str) -> String {
    let at = scalar(alert, "alert_time").unwrap_or_default();
    let written = [rule(alert, name), labels(alert), at].join("\n");
    let digest = Digest::of(written.as_bytes()).to_string();
    format!("{instance} {}", &digest[..DIGITS])
}

/// Hex digits that tell the evaluations of one instance apart: 64 bits.
const DIGITS: usize = 16;

/// One rule fires once for each set of labels, and anew after it has ended.
fn incident(alert: &Object, name: &str, since: &str) -> String {
    let project = scalar(alert, "project").unwrap_or_default();
    incident_key("alibaba", &["sls", &project, &rule(alert, name), &labels(alert), since])
}

fn rule(alert: &Object, name: &str) -> String {
    scalar(alert, "alert_id").unwrap_or_else(|| name.to_owned())
}

/// The set of labels, in one writing.
fn labels(alert: &Object) -> String {
    scalar(alert, "fingerprint").unwrap_or_else(|| {
        let labels: BTreeMap<_, _> =
            alert.get("labels").and_then(Value::as_object).into_iter().flatten().collect();
        let written = |(name, value)| format!("{name}={}", json::scalar_text(value).unwrap_or_default());
        labels.into_iter().map(written).collect::<Vec<_>>().join(",")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{SourceKind, decode};

    fn posted(body: &str) -> Result<Vec<Event>, DecodeError> {
        let delivery = Delivery { headers: &[], body: body.as_bytes() };
        let received = Timestamp::from_seconds(1_700_000_000);
        decode(SourceKind::AlibabaSlsAlert, &"in".parse().expect("a name"), &delivery, received)
    }

    const ALERT: &str = r#"{"alert_name":"5xx","alert_id":"r","alert_instance_id":"x-1","project":"p","region":"cn-hangzhou",
        "aliuid":"1","status":"firing","severity":10,"fire_time":1616059834,"alert_time":1616744734,"resolve_time":0,
        "labels":{"env":"test"}}"#;

    #[test]
    fn a_firing_and_its_end_are_one_incident() {
        let over =
            ALERT.replace("firing", "resolved").replace("\"resolve_time\":0", "\"resolve_time\":1616745000");
        let events = posted(&format!("[{ALERT},{over}]")).expect("valid");
        let [firing, over] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(firing.kind, "sls:Alert:5xx");
        assert_eq!(firing.subject.as_deref(), Some("acs:log:cn-hangzhou:1:project/p"));
        assert_eq!(firing.level.as_deref(), Some("10"));
        assert_eq!(firing.incident.as_deref(), Some("alibaba:sls/p/r/env=test/1616059834"));
        assert_eq!((&firing.incident, firing.transition), (&over.incident, Some(Transition::Firing)));
        assert_eq!((over.transition, over.time.seconds()), (Some(Transition::Resolved), 1_616_745_000));
        assert_ne!(firing.id, over.id);
        let again = posted(&ALERT.replace("1616059834", "1616059999")).expect("valid").remove(0);
        assert_ne!(again.incident, firing.incident);
    }

    #[test]
    fn each_set_of_labels_of_each_evaluation_is_an_event_of_its_own() {
        let id = |from: &str, to: &str| posted(&ALERT.replace(from, to)).expect("valid").remove(0).id;
        let first = id("\"severity\":10", "\"severity\": 10");
        assert_eq!(id("\"p\"", "\"p\" "), first, "a repetition is the same");
        // One execution of the rule, and a firing that is evaluated again, by the same instance.
        for other in [id("\"env\":\"test\"", "\"env\":\"prod\""), id("1616744734", "1616745634")] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn a_template_of_the_users_own_needs_a_name_only() {
        let event = posted(r#"{"alert_name":"x"}"#).expect("valid").remove(0);
        assert_eq!((event.transition, event.incident, event.subject), (None, None, None));
        for body in ["{}", "[1]", "1", "[]x", r#"[{"alert_name":"x"},{}]"#] {
            assert!(posted(body).is_err(), "{body}");
        }
        assert_eq!(posted("[]"), Ok(vec![]));
    }
}

//! Threshold alarms of CloudMonitor: as posted, a form whose `dimensions` are the text of a Java map (`{k=v, k=v}`; in very old
//! rules a JSON list), and as put into a queue, JSON with texts for people. Leaves choosing between them and system events to
//! `cloudmonitor` and `alibaba`. Tested by the samples and below.
//!
//! Source of the format: CloudMonitor's "use alert callbacks", and captures. An alarm has no id and no name of its incident: the
//! same content is the same event, and rule and dimensions are the incident, which `OK` ends.

use super::json::{self, Object, first_scalar, scalar};
use super::{DecodeError, Event, Transition, cloudmonitor::instance_arn, incident_key, parse_vendor_time};
use crate::id::SourceName;
use crate::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is measured where: `instanceId` to `i-1`.
type Dimensions = BTreeMap<String, String>;

/// Reads an alarm that was posted as a form.
pub(super) fn posted(source: &SourceName, body: &[u8], received: Timestamp) -> Result<Event, DecodeError> {
    let mut fields = form(body)?;
    let dimensions = scalar(&fields, "dimensions").map(|text| dimensions_of(&text)).unwrap_or_default();
    // Its meaning is documented nowhere, and it may be of the posting.
    let id = json::digest(&fields, &["signature"]);
    let said = |key: &str| scalar(&fields, key).filter(|text| text != "null");
    let state = said("alertState").ok_or_else(|| {
        DecodeError::field(
            "alertState",
            "is missing: a threshold alarm says `ALERT`, `OK` or `INSUFFICIENT_DATA`",
        )
    })?;
    let metric = said("metricName").ok_or_else(|| DecodeError::field("metricName", "is missing"))?;
    let namespace = said("namespace").or_else(|| said("metricProject")).unwrap_or_else(|| "acs".to_owned());
    let rule = said("ruleId").or_else(|| said("alertName")).unwrap_or_else(|| metric.clone());
    let (region, account) = (said("regionId"), said("userId"));
    let graded = |key: &str| said(key).filter(|level| level != "OK");
    let event = Event {
        subject: subject(&dimensions, region.as_deref(), account.as_deref()),
        incident: Some(incident(account.as_deref(), &rule, &metric, &dimensions)),
        level: graded("triggerLevel").or_else(|| graded("preTriggerLevel")),
        transition: match state.as_str() {
            "ALERT" | "ALARM" => Some(Transition::Firing),
            "OK" => Some(Transition::Resolved),
            _ => None,
        },
        region,
        account,
        ..Event::bare(source, id, format!("{namespace}:{metric}"))
    };
    let time = said("timestamp").and_then(|text| parse_vendor_time(&text)).unwrap_or(received);
    if !dimensions.is_empty() {
        fields.insert("dimensions".to_owned(), texts(dimensions).into());
    }
    Ok(Event { time, data: Value::Object(fields).to_string(), ..event })
}

/// Whether `body` is an alarm as it is put into a queue.
pub(super) fn is_queued(body: &Object) -> bool {
    body.get("message").is_some_and(|message| message.get("metricProject").is_some())
}

/// Reads an alarm that was put into a queue. What it says is for people: neither rule nor region is in it.
pub(super) fn queued(
    source: &SourceName,
    body: Object,
    message: Option<&str>,
    received: Timestamp,
) -> Result<Event, DecodeError> {
    let Some(Value::Object(alarm)) = body.get("message") else {
        return Err(DecodeError::field("message", "is not a JSON object"));
    };
    let namespace = first_scalar(alarm, &["metricProject", "namespace"]).unwrap_or_else(|| "acs".to_owned());
    let metric =
        scalar(alarm, "metricName").ok_or_else(|| DecodeError::field("message.metricName", "is missing"))?;
    let dimensions = scalar(alarm, "dimensions").map(|text| dimensions_of(&text)).unwrap_or_default();
    let account = scalar(alarm, "userId");
    let rule = first_scalar(alarm, &["ruleId", "alertName"]).unwrap_or_else(|| metric.clone());
    Ok(Event {
        subject: subject(&dimensions, None, account.as_deref()),
        incident: Some(incident(account.as_deref(), &rule, &metric, &dimensions)),
        time: scalar(alarm, "time").and_then(|text| parse_vendor_time(&text)).unwrap_or(received),
        transition: match scalar(alarm, "levelDescription").as_deref() {
            Some("发生告警") => Some(Transition::Firing),
            Some("恢复告警") => Some(Transition::Resolved),
            _ => None,
        },
        account,
        data: Value::Object(body.clone()).to_string(),
        ..Event::bare(
            source,
            message.map_or_else(|| json::digest(&body, &[]), str::to_owned),
            format!("{namespace}:{metric}"),
        )
    })
}

/// Names of rules are an account's own, and one rule made from a template may measure several things.
fn incident(account: Option<&str>, rule: &str, metric: &str, dimensions: &Dimensions) -> String {
    let named = dimensions.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    incident_key("alibaba", &["alarm", account.unwrap_or("*"), rule, metric, &named.join(",")])
}

/// The instance that is measured, or the first thing that is named by an id.
fn subject(dimensions: &Dimensions, region: Option<&str>, account: Option<&str>) -> Option<String> {
    if let Some(instance) = dimensions.values().find(|value| value.starts_with("i-")) {
        return Some(match region {
            Some(region) => instance_arn(instance, region, account),
            None => instance.clone(),
        });
    }
    dimensions.get("instanceId").cloned()
}

fn texts(dimensions: Dimensions) -> Object {
    dimensions.into_iter().map(|(name, value)| (name, value.into())).collect()
}

/// Reads `{k=v, k=v}`, `k=v,k=v`, and JSON: an object, or a list of which the first is one. A part without `=` belongs to the
/// value before it.
fn dimensions_of(text: &str) -> Dimensions {
    if let Some(members) = json_dimensions(text) {
        return members;
    }
    let is_map = text.starts_with('{') && text.ends_with('}');
    let (inner, between) = if is_map { (&text[1..text.len() - 1], ", ") } else { (text, ",") };
    let mut found: Vec<(String, String)> = Vec::new();
    for part in inner.split(between) {
        match (part.split_once('='), found.last_mut()) {
            (Some((name, value)), _) => found.push((name.trim().to_owned(), value.trim().to_owned())),
            (None, Some((_, before))) => {
                before.push_str(between);
                before.push_str(part);
            }
            (None, None) => {}
        }
    }
    found.into_iter().filter(|(name, value)| !name.is_empty() && !value.is_empty()).collect()
}

fn json_dimensions(text: &str) -> Option<Dimensions> {
    let members = match json::value(text).ok()? {
        Value::Array(items) => items.into_iter().next()?,
        other => other,
    };
    let members = members.as_object()?;
    Some(members.iter().filter_map(|(name, _)| Some((name.clone(), scalar(members, name)?))).collect())
}

/// Reads `name=value&...` (WHATWG URL, "application/x-www-form-urlencoded parsing"), each name once.
fn form(body: &[u8]) -> Result<Object, DecodeError> {
    let text = json::text(body)?;
    let decoded = |part: &str| {
        let spaced = part.replace('+', " ");
        let bytes = percent_encoding::percent_decode_str(&spaced);
        bytes
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|_| part.chars().take(40).collect::<String>())
    };
    let mut fields = Object::new();
    for pair in text.trim().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let not_text = |part| DecodeError::field(part, "is not UTF-8 once percent-decoded");
        let (name, value) = (decoded(name).map_err(not_text)?, decoded(value).map_err(not_text)?);
        if fields.insert(name.clone(), value.into()).is_some() {
            return Err(DecodeError::field(name, "is there twice"));
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(body: &str) -> Result<Event, DecodeError> {
        posted(&"in".parse().expect("a name"), body.as_bytes(), Timestamp::from_seconds(1))
    }

    #[test]
    fn dimensions_are_read_in_every_form_that_was_seen() {
        for (text, wanted) in [
            ("{userId=1, instanceId=i-1}", &[("instanceId", "i-1"), ("userId", "1")][..]),
            ("{instanceId=i-1}", &[("instanceId", "i-1")]),
            ("{device=/dev/vda, b, instanceId=i-1}", &[("device", "/dev/vda, b"), ("instanceId", "i-1")]),
            ("{state=a=b}", &[("state", "a=b")]),
            (r#"[{"userId":"1","instanceId":"i-1"}]"#, &[("instanceId", "i-1"), ("userId", "1")]),
            (r#"{"instanceId":"i-1","port":80}"#, &[("instanceId", "i-1"), ("port", "80")]),
            ("云服务器实例名称=timewarp,实例ID=i-1", &[("云服务器实例名称", "timewarp"), ("实例ID", "i-1")]),
            ("{}", &[]),
            ("", &[]),
            ("none", &[]),
            ("{", &[]),
            ("{=x, y=}", &[]),
        ] {
            let wanted: Dimensions = wanted.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
            assert_eq!(dimensions_of(text), wanted, "{text}");
        }
    }

    #[test]
    fn an_alarm_and_its_end_are_one_incident_whatever_the_order_of_dimensions() {
        let form = |state: &str, dimensions: &str, rest: &str| {
            alarm(&format!(
                "alertState={state}&metricName=CPU&namespace=n&ruleId=r&dimensions={dimensions}&{rest}"
            ))
            .expect(state)
        };
        let firing = form("ALERT", "%7Ba%3D1%2C+b%3D2%7D", "triggerLevel=WARN&timestamp=1528421137000");
        let over =
            form("OK", "%7Bb%3D2%2C+a%3D1%7D", "triggerLevel=OK&preTriggerLevel=WARN&timestamp=1528421497");
        assert_eq!(firing.incident.as_deref(), Some("alibaba:alarm/*/r/CPU/a=1,b=2"));
        assert_eq!(firing.incident, over.incident);
        let of = |rest: &str| {
            let body = format!("alertState=ALERT&namespace=n&ruleId=r&dimensions=%7Ba%3D1%7D&{rest}");
            alarm(&body).expect("valid").incident
        };
        let one = of("metricName=CPU&userId=1");
        assert!(![of("metricName=CPU&userId=2"), of("metricName=Load&userId=1")].contains(&one), "{one:?}");
        assert_ne!(firing.id, over.id);
        assert_eq!(
            (firing.transition, over.transition),
            (Some(Transition::Firing), Some(Transition::Resolved))
        );
        assert_eq!((firing.level.as_deref(), over.level.as_deref()), (Some("WARN"), Some("WARN")));
        assert_eq!(over.time.since(firing.time).as_secs(), 360);
        assert_eq!(firing.kind, "n:CPU");
        let none = form("INSUFFICIENT_DATA", "null", "triggerLevel=null");
        assert_eq!((none.transition, none.level, none.subject), (None, None, None));
    }

    #[test]
    fn a_repetition_is_the_same_event_and_only_the_signature_may_differ() {
        let id = |rest: &str| alarm(&format!("alertState=OK&metricName=CPU&{rest}")).expect(rest).id;
        assert_eq!(id("signature=a&curValue=1"), id("curValue=1&signature=b"));
        assert_ne!(id("curValue=1"), id("curValue=2"));
    }

    #[test]
    fn what_is_no_alarm_is_refused_with_the_reason() {
        for (body, wanted) in [
            ("", "body is empty"),
            ("a=1", "`alertState` is missing"),
            ("alertState=OK", "`metricName` is missing"),
            ("alertState=null&metricName=x", "`alertState` is missing"),
            ("alertState=OK&alertState=ALERT", "`alertState` is there twice"),
            ("alertState=%ff", "not UTF-8"),
        ] {
            let error = alarm(body).expect_err(body).to_string();
            assert!(error.contains(wanted), "{body}: {error}");
        }
    }
}

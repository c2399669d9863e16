//! Kind `alibaba-cloudmonitor`: what CloudMonitor posts. System events, by URL callback or subscription webhook, in both
//! generations of `content` (`ecsInstanceId`, `instanceId`), as an object or as JSON text, and the console's test event, which
//! has neither id nor time nor account. Leaves threshold alarms to `cloudmonitor_alarm`.
//!
//! The notices of one incident may share an id: the one that maintenance was avoided keeps the id and the name of the one that it
//! is scheduled. So the event's id here is `<id> <transition>` where the notice tells how far its incident has come.
//!
//! Source of the format: the ECS "event notifications" page and CloudMonitor's "callbacks for system events". There is
//! no signature: everything decoded here is the sender's claim.

use super::json::{Object, scalar};
use super::{
    DecodeError, Delivery, Event, Transition, checked_attribute, cloudmonitor_alarm, id_at, json,
    parse_vendor_time,
};
use crate::id::SourceName;
use crate::time::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Event, DecodeError> {
    if delivery.media_type() == "application/x-www-form-urlencoded" {
        return cloudmonitor_alarm::posted(source, delivery.body, received);
    }
    let text = json::text(delivery.body)?;
    let body = json::object(text)?;
    if cloudmonitor_alarm::is_queued(&body) {
        return cloudmonitor_alarm::queued(source, body, None, received);
    }
    system_event(source, text, body, None, received)
}

/// Whether `body` is meant for a system event, and is not a log record or a message of somebody's own that has a `name`. Those of ECS are
/// called `Instance:<what>:<status>` and the like; those of other products have names of any form, and come with the product, where it
/// is, and a `content` that is an object or its text.
pub(super) fn is_system_event(body: &Object) -> bool {
    let Some(name) = body.get("name").and_then(Value::as_str) else { return false };
    let has = |key: &str| body.get(key).is_some_and(Value::is_string);
    let is_placed = has("resourceId") || has("regionId");
    if name.split_once(':').is_some_and(|(what, _)| OF_ECS.contains(&what)) {
        return is_placed || body.contains_key("content");
    }
    let is_object = match body.get("content") {
        None | Some(Value::Null | Value::Object(_)) => true,
        Some(Value::String(text)) => text.trim_start().starts_with('{'),
        Some(_) => false,
    };
    has("product") && is_placed && is_object
}

/// What ECS's system events are of, as their names begin.
const OF_ECS: [&str; 4] = ["Instance", "Disk", "Snapshot", "NetworkInterface"];

/// Reads a system event, whichever way it came. `text` is what `body` was read from; `message` is the id of the message that it
/// came in, for an event that has none.
pub(super) fn system_event(
    source: &SourceName,
    text: &str,
    mut body: Object,
    message: Option<&str>,
    received: Timestamp,
) -> Result<Event, DecodeError> {
    let data = take_content_out_of_text(text, &mut body)?;
    let name = required_name(&body)?;
    checked_attribute("name", &name)?;
    let content = body.get("content").and_then(Value::as_object);
    let in_content = |key: &str| content.and_then(|content| scalar(content, key));
    let resource = scalar(&body, "resourceId");
    let arn = resource.as_deref().and_then(Arn::parse);
    let is_arn = arn.is_some();
    let arn = arn.unwrap_or_default();
    let region = scalar(&body, "regionId").or(arn.region);
    let account = scalar(&body, "userId").or(arn.account);
    let time = [scalar(&body, "eventTime")]
        .into_iter()
        .chain(["executeFinishTime", "executeStartTime", "publishTime"].map(in_content))
        .flatten()
        .find_map(|text| parse_vendor_time(&text))
        .unwrap_or(received);
    let built = || built_arn(&body, content, region.as_deref(), account.as_deref());
    let subject = if is_arn { resource } else { built().or(resource) };
    let incident = in_content("eventId").map(|id| format!("alibaba:{id}"));
    let level = scalar(&body, "level");
    let by_name = name.rsplit(':').next().and_then(Transition::of_status);
    // Of an incident that was avoided the name still says that it is scheduled.
    let transition = in_content("eventStatus").as_deref().and_then(Transition::of_status).or(by_name);
    let id = match (scalar(&body, "id"), message) {
        (Some(id), _) => id_at(id, transition),
        (None, Some(message)) => message.to_owned(),
        (None, None) => json::digest(&body, &["traceId"]),
    };
    let attributes = [
        ("id", Some(&id)),
        ("resourceId", subject.as_ref()),
        ("userId", account.as_ref()),
        ("regionId", region.as_ref()),
        ("content.eventId", incident.as_ref()),
        ("level", level.as_ref()),
    ];
    for (field, value) in attributes {
        value.map_or(Ok(()), |value| checked_attribute(field, value))?;
    }
    Ok(Event {
        source: source.clone(),
        id,
        kind: name,
        subject,
        time,
        data,
        incident,
        account,
        region,
        level,
        transition,
    })
}

fn required_name(body: &Object) -> Result<String, DecodeError> {
    if let Some(name) = scalar(body, "name") {
        return Ok(name);
    }
    if body.contains_key("specversion") {
        return Err(DecodeError::Unsupported(
            "this is a CloudEvent: give the source the kind `alibaba-eventbridge` or `cloudevents`"
                .to_owned(),
        ));
    }
    let problem = "is missing: a system event has `name`, such as `Instance:SystemFailure.Reboot:Executed`, \
                   `resourceId`, `regionId` and `content`";
    Err(DecodeError::field("name", problem))
}

/// Makes `content` an object in `body` and returns the event's text with it. All else in the text stays as it was sent.
fn take_content_out_of_text(text: &str, body: &mut Object) -> Result<String, DecodeError> {
    let content = match body.get("content") {
        Some(Value::Object(_)) => return Ok(text.trim().to_owned()),
        Some(Value::String(inner)) => inner.trim().to_owned(),
        None | Some(Value::Null) => "{}".to_owned(),
        Some(_) => return Err(DecodeError::field("content", "is neither an object nor JSON text")),
    };
    let parsed = json::value(&content).map_err(DecodeError::inside("content"))?;
    if !parsed.is_object() {
        return Err(DecodeError::field("content", "is text that holds no JSON object"));
    }
    let raw_content =
        RawValue::from_string(content).map_err(|e| DecodeError::field("content", e.to_string()))?;
    let mut members: BTreeMap<String, &RawValue> = json::parse(text)?;
    members.insert("content".to_owned(), &raw_content);
    let data = serde_json::to_string(&members).map_err(|e| DecodeError::field("body", e.to_string()))?;
    body.insert("content".to_owned(), parsed);
    // A content 31 levels deep in text was within bounds on its own and is not inside of the body.
    json::parse::<&RawValue>(&data).map_err(DecodeError::inside("content"))?;
    Ok(data)
}

/// What `acs:<product>:<region>:<account>:<resource>` tells.
#[derive(Default)]
struct Arn {
    region: Option<String>,
    account: Option<String>,
}

impl Arn {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, ':');
        let (scheme, _product) = (parts.next()?, parts.next()?);
        // Empty and `*` stand for any.
        let named = |part: &str| (!part.is_empty() && part != "*").then(|| part.to_owned());
        let arn = Self { region: named(parts.next()?), account: named(parts.next()?) };
        (scheme == "acs" && parts.next().is_some_and(|resource| !resource.is_empty())).then_some(arn)
    }
}

/// The ARN of the instance that `content` names, for an event whose `resourceId` is none.
fn built_arn(
    body: &Object,
    content: Option<&Object>,
    region: Option<&str>,
    account: Option<&str>,
) -> Option<String> {
    let instance = ["instanceId", "ecsInstanceId", "resourceId"]
        .into_iter()
        .filter_map(|key| scalar(content?, key))
        .chain(scalar(body, "resourceId"))
        .find(|id| id.starts_with("i-"))?;
    Some(instance_arn(&instance, region?, account))
}

/// An instance as Alibaba names its resources.
pub(super) fn instance_arn(instance: &str, region: &str, account: Option<&str>) -> String {
    format!("acs:ecs:{region}:{}:instance/{instance}", account.unwrap_or("*"))
}

#[cfg(test)]
mod tests {
    use super::super::json;
    use super::is_system_event;

    #[test]
    fn a_record_with_a_name_is_no_system_event_for_that() {
        for (body, expected) in [
            (r#"{"name":"Instance:SystemFailure.Reboot:Executed","content":{}}"#, true),
            (r#"{"name":"CertKeyExpired","product":"SLB","resourceId":"lb-1"}"#, true),
            (r#"{"name":"Disk:Stalled:Executing","content":" {\"eventId\":\"e-1\"}"}"#, true),
            (r#"{"name":"Instance:StateChange","regionId":"cn-hangzhou"}"#, true),
            (r#"{"name":"CertKeyExpired","product":"SLB","regionId":"cn-hangzhou","content":null}"#, true),
            (r#"{"name":"alice","content":"logged in"}"#, false),
            (r#"{"name":"app:login","content":"logged in"}"#, false),
            (r#"{"name":"app:login","content":{},"regionId":"cn-hangzhou"}"#, false),
            (r#"{"name":"Instances:SystemFailure.Reboot:Executed","content":{}}"#, false),
            (r#"{"name":"alice","product":"shop","content":{}}"#, false),
            (r#"{"name":"alice","product":"shop","resourceId":"cart-1","content":"bought"}"#, false),
            (r#"{"name":"Instance:SystemFailure.Reboot:Executed"}"#, false),
            (r#"{"name":7,"product":"SLB","content":{}}"#, false),
        ] {
            let body_read = json::object(body).expect("an object");
            assert_eq!(is_system_event(&body_read), expected, "{body}");
        }
    }
}

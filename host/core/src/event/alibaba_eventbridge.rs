//! Kind `alibaba-eventbridge`: CloudEvents as Alibaba's EventBridge pushes them to an HTTP target, one or a list. The type stays as
//! sent (`ecs:Instance:SystemFailure.Reboot`, without the status that CloudMonitor's names end in); how far the incident has come
//! is in the data. Leaves the attributes to `cloudevents` and the sender's signature to the trigger. Tested by the samples and below.
//!
//! Source of the format: EventBridge's "ECS events". A rule may replace the body by anything; then it is no CloudEvent and is
//! refused.

use super::json::{self, scalar};
use super::{DecodeError, Delivery, Event, Transition, alibaba, checked_attribute, cloudevents, each_item};
use crate::id::SourceName;
use crate::time::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    if delivery.media_type() != "application/json" && !delivery.media_type().is_empty() {
        return cloudevents::decode(source, delivery, received);
    }
    let text = json::text(delivery.body)?;
    let one = |text: &str| {
        let body = json::object(text)?;
        alibaba::known(source, text, &body, None, received)?.map(|event| vec![event]).ok_or_else(|| {
            DecodeError::Unsupported(
                "this is no CloudEvent: let the rule's target push the complete event".to_owned(),
            )
        })
    };
    match text.trim_start().starts_with('[') {
        true => each_item(json::parse::<Vec<&RawValue>>(text)?, |item| one(item.get())),
        false => one(text),
    }
}

/// Reads one CloudEvent.
pub(super) fn one(source: &SourceName, text: &str, received: Timestamp) -> Result<Event, DecodeError> {
    cloudevents::structured(source, text, received)
}

/// Adds what the data of an event of Alibaba's says: the incident, as CloudMonitor names it, so that one happening reported both
/// ways is one incident, and how far it has come.
pub(super) fn add_incident(event: &mut Event, sender: &str) {
    if !sender.starts_with("acs.") {
        return;
    }
    let Ok(Value::Object(data)) = serde_json::from_str::<Value>(&event.data) else { return };
    let id = scalar(&data, "eventId").filter(|id| checked_attribute("eventId", id).is_ok());
    event.incident = id.map(|id| format!("alibaba:{id}"));
    event.transition = scalar(&data, "eventStatus").as_deref().and_then(Transition::of_status);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{SourceKind, decode};

    const EVENT: &str = r#"{"id":"e-1","source":"acs.ecs","specversion":"1.0","type":"ecs:Instance:SystemFailure.Reboot",
        "time":"2020-08-24T13:54:05.965Asia/Shanghai","aliyunregionid":"cn-hangzhou","aliyunaccountid":"1","data":
        {"eventId":"e-9","eventStatus":"Executed"}}"#;

    fn pushed(body: &str) -> Result<Vec<Event>, DecodeError> {
        let headers = [("content-type".to_owned(), "application/json; charset=utf-8".to_owned())];
        let delivery = Delivery { headers: &headers, body: body.as_bytes() };
        let received = Timestamp::from_seconds(1_700_000_000);
        decode(SourceKind::AlibabaEventbridge, &"in".parse().expect("a name"), &delivery, received)
    }

    #[test]
    fn the_status_is_in_the_data_and_the_type_stays_as_sent() {
        let event = pushed(EVENT).expect("valid").remove(0);
        assert_eq!(event.kind, "ecs:Instance:SystemFailure.Reboot");
        assert_eq!((event.id.as_str(), event.incident.as_deref()), ("e-1 acs.ecs", Some("alibaba:e-9")));
        assert_eq!(event.transition, Some(Transition::Executed));
        assert_eq!(event.time.to_iso_seconds(), "2020-08-24T05:54:05Z");
    }

    #[test]
    fn a_list_is_read_whole_or_not_at_all() {
        let other = EVENT.replacen("e-1", "e-2", 1);
        assert_eq!(pushed(&format!("[{EVENT},{other}]")).expect("valid").len(), 2);
        let half = pushed(&format!("[{EVENT},{{}}]"));
        assert!(matches!(half, Err(DecodeError::InBatch { index: 1, .. })), "{half:?}");
    }

    #[test]
    fn a_body_that_a_rule_has_replaced_is_refused() {
        for body in [r#"{"message":"hello"}"#, "[1]", "\"x\"", "{}"] {
            assert!(pushed(body).is_err(), "{body}");
        }
    }
}

//! Kind `alibaba-mns`: one message of an MNS (SMQ) queue, its body as it is or in base64. Reads CloudMonitor's system events and
//! threshold alarms, EventBridge's CloudEvents, and any of them inside the event that a message was sent; any other JSON object is an
//! event `mns:Queue:SendMessage`. Leaves taking messages and deleting them to the host. Tested by the samples and below.

use super::{DecodeError, Delivery, Event, alibaba, json};
use crate::id::SourceName;
use crate::time::Timestamp;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    let (text, body) = alibaba::message_object(json::text(delivery.body)?)?;
    let message = delivery.message_id();
    if let Some(event) = alibaba::known(source, &text, &body, message, received)? {
        return Ok(vec![event]);
    }
    let id = message.map_or_else(|| json::digest(&body, &[]), str::to_owned);
    let bare = Event::bare(source, id, "mns:Queue:SendMessage");
    Ok(vec![Event { time: received, data: text, ..bare }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{MESSAGE_ID, SourceKind, Transition, decode};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    const SYSTEM: &str = r#"{"name":"Instance:SystemFailure.Reboot:Executed","regionId":"cn-hangzhou",
        "content":{"eventId":"e-9","instanceId":"i-1"}}"#;
    const ALARM: &str = r#"{"message":{"metricProject":"acs_ecs_dashboard","metricName":"CPU","alertName":"a",
        "dimensions":"x=y,id=i-1","levelDescription":"恢复告警","time":1528421137000},"type":0}"#;

    fn message(body: &str) -> Result<Event, DecodeError> {
        let headers = [(MESSAGE_ID.to_owned(), "M-1".to_owned())];
        let delivery = Delivery { headers: &headers, body: body.as_bytes() };
        let received = Timestamp::from_seconds(1_700_000_000);
        let source = "in".parse().expect("a name");
        decode(SourceKind::AlibabaMns, &source, &delivery, received).map(|mut events| events.remove(0))
    }

    #[test]
    fn a_body_is_read_as_it_is_and_in_base64() {
        for body in [SYSTEM.to_owned(), STANDARD.encode(SYSTEM), format!(" {} \n", STANDARD.encode(SYSTEM))] {
            let event = message(&body).expect("valid");
            assert_eq!(event.kind, "Instance:SystemFailure.Reboot:Executed");
            assert_eq!((event.id.as_str(), event.incident.as_deref()), ("M-1", Some("alibaba:e-9")));
            assert_eq!(event.transition, Some(Transition::Executed));
        }
        let with_id = SYSTEM.replacen('{', r#"{"id":"U-1","#, 1);
        assert_eq!(message(&with_id).expect("valid").id, "U-1 executed");
    }

    #[test]
    fn an_alarm_in_words_for_people_is_read() {
        let event = message(ALARM).expect("valid");
        assert_eq!((event.kind.as_str(), event.subject.as_deref()), ("acs_ecs_dashboard:CPU", Some("i-1")));
        assert_eq!(event.transition, Some(Transition::Resolved));
        assert_eq!(event.incident.as_deref(), Some("alibaba:alarm/*/a/CPU/id=i-1,x=y"));
    }

    #[test]
    fn what_was_sent_to_another_queue_is_taken_out_of_the_event_that_says_so() {
        let sent = |inner: &str| {
            let data = serde_json::json!({ "messageId": "M-0", "messageBody": inner });
            let event = serde_json::json!({ "specversion": "1.0", "id": "1", "source": "MNS-x", "data": data,
                "type": "mns:Queue:SendMessage" });
            message(&event.to_string()).expect("valid").kind
        };
        for inner in [SYSTEM.to_owned(), STANDARD.encode(SYSTEM)] {
            assert_eq!(sent(&inner), "Instance:SystemFailure.Reboot:Executed");
        }
        assert_eq!(sent(ALARM), "acs_ecs_dashboard:CPU");
        for inner in ["hello", "{}", "{", r#"{"order":1}"#] {
            assert_eq!(sent(inner), "mns:Queue:SendMessage", "{inner}");
        }
    }

    #[test]
    fn other_objects_are_events_of_their_own_and_other_text_is_refused() {
        let event = message(r#"{"order":1}"#).expect("valid");
        assert_eq!((event.kind.as_str(), event.data.as_str()), ("mns:Queue:SendMessage", r#"{"order":1}"#));
        for body in ["", "hello", "[1]", "{", "////", "e30", &STANDARD.encode([0xff]), &STANDARD.encode("[]")]
        {
            assert!(message(body).is_err(), "{body}");
        }
    }
}

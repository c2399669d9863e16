//! What CloudMonitor and EventBridge send, told by its content alone: a queue, a log store or a trigger of Function Compute hands on
//! either. Leaves reading each to its own decoder. Tested by the samples and by `alibaba_mns`, `alibaba_sls` and `alibaba_fc`.

use super::json::{self, Object, scalar};
use super::{DecodeError, Event, alibaba_eventbridge, cloudmonitor, cloudmonitor_alarm};
use crate::id::SourceName;
use crate::time::Timestamp;

/// The events of `text`, which `body` was read from; nothing where it is neither's. `message` is the id of the message that it came
/// in, for an event that has none.
pub(super) fn known(
    source: &SourceName,
    text: &str,
    body: &Object,
    message: Option<&str>,
    received: Timestamp,
) -> Result<Option<Event>, DecodeError> {
    if body.contains_key("specversion") {
        return match message_body(body) {
            Some(inner) => wrapped(source, text, &inner, message, received).map(Some),
            None => alibaba_eventbridge::one(source, text, received).map(Some),
        };
    }
    plain(source, text, body, message, received)
}

/// What CloudMonitor sends, without an event bus around it.
fn plain(
    source: &SourceName,
    text: &str,
    body: &Object,
    message: Option<&str>,
    received: Timestamp,
) -> Result<Option<Event>, DecodeError> {
    if cloudmonitor_alarm::is_queued(body) {
        return cloudmonitor_alarm::queued(source, body.clone(), message, received).map(Some);
    }
    if cloudmonitor::is_system_event(body) {
        return cloudmonitor::system_event(source, text, body.clone(), message, received).map(Some);
    }
    Ok(None)
}

/// The text of the message that an event says was sent to a queue.
fn message_body(body: &Object) -> Option<String> {
    let is_message = scalar(body, "type").is_some_and(|kind| kind == "mns:Queue:SendMessage");
    let data = body.get("data").filter(|_| is_message)?.as_object()?;
    Some(data.get("messageBody")?.as_str()?.to_owned())
}

/// What was sent to a queue, where it is one of these itself; else the event that something was sent.
fn wrapped(
    source: &SourceName,
    text: &str,
    inner: &str,
    message: Option<&str>,
    received: Timestamp,
) -> Result<Event, DecodeError> {
    let Ok((inner, body)) = message_object(inner) else {
        return alibaba_eventbridge::one(source, text, received);
    };
    let found = match body.contains_key("specversion") {
        true => Some(alibaba_eventbridge::one(source, &inner, received)?),
        false => plain(source, &inner, &body, message, received)?,
    };
    found.map_or_else(|| alibaba_eventbridge::one(source, text, received), Ok)
}

/// A message as JSON text and what is in it: as it is, or in base64, as the vendor's own clients write it.
pub(super) fn message_object(message: &str) -> Result<(String, Object), DecodeError> {
    use base64::Engine as _;
    let message = message.trim();
    let text = match message.starts_with('{') {
        true => message.to_owned(),
        false => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(message).map_err(|e| {
                DecodeError::field("message", format!("is neither a JSON object nor base64: {e}"))
            })?;
            json::text(&bytes)?.to_owned()
        }
    };
    let body = json::object(&text)?;
    Ok((text, body))
}

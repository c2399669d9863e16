//! Messages of a queue: the body is what CloudMonitor or EventBridge put there, in base64 as their SDKs do by default, or as it is.
//! Leaves the queue's protocol to `source::queue`. Tested in `super::tests`.

use super::{DecodeError, Delivery, Event, cloudevents, cloudmonitor, json};
use crate::id::SourceName;
use crate::sign::keyed_hash::from_base64;
use crate::time::Timestamp;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    // No JSON object is base64: it begins with a brace.
    let decoded = std::str::from_utf8(delivery.body).ok().and_then(from_base64);
    let body = decoded.as_deref().unwrap_or(delivery.body);
    let members: BTreeMap<String, &RawValue> = json::parse(json::text(body)?)?;
    if members.contains_key("specversion") {
        return cloudevents::decode(source, &Delivery { headers: &[], body }, received);
    }
    cloudmonitor::decode(source, &Delivery { headers: &[], body }, received).map(|event| vec![event])
}

//! Kind `alibaba-sls`: one record of an SLS log store, a JSON object of texts. A system event of CloudMonitor that was delivered to a
//! log store is read as such; any other record is an event `sls:Log`, with its fields as data. Leaves reading the log store to the
//! host. Tested by the samples and below.
//!
//! Source of the format: the log model of SLS; the keys of CloudMonitor's delivery are not documented and are taken to be those of its
//! event.

use super::json::{self, scalar};
use super::{DecodeError, Delivery, Event, alibaba, parse_vendor_time};
use crate::id::SourceName;
use crate::time::Timestamp;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Event, DecodeError> {
    let text = json::text(delivery.body)?;
    let record = json::object(text)?;
    let message = delivery.message_id();
    if let Some(event) = alibaba::known(source, text, &record, message, received)? {
        return Ok(event);
    }
    let id = message.map_or_else(|| json::digest(&record, &[]), str::to_owned);
    Ok(Event {
        time: scalar(&record, "__time__").and_then(|text| parse_vendor_time(&text)).unwrap_or(received),
        data: text.trim().to_owned(),
        ..Event::bare(source, id, "sls:Log")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{MESSAGE_ID, SourceKind, decode};

    fn record(body: &str, id: Option<&str>) -> Result<Event, DecodeError> {
        let headers: Vec<_> = id.map(|id| (MESSAGE_ID.to_owned(), id.to_owned())).into_iter().collect();
        let delivery = Delivery { headers: &headers, body: body.as_bytes() };
        let source = "in".parse().expect("a name");
        let events =
            decode(SourceKind::AlibabaSls, &source, &delivery, Timestamp::from_seconds(1_700_000_000))?;
        Ok(events.into_iter().next().expect("one"))
    }

    #[test]
    fn a_record_is_an_event_with_its_place_as_id() {
        let event = record(r#"{"__time__":1528421137,"status":"500"}"#, Some("0/MTUy/3")).expect("valid");
        assert_eq!((event.kind.as_str(), event.id.as_str()), ("sls:Log", "0/MTUy/3"));
        assert_eq!(event.time, Timestamp::from_seconds(1_528_421_137));
        assert_eq!(event.data, r#"{"__time__":1528421137,"status":"500"}"#);
        assert_eq!(record("{}", None).expect("valid").id.len(), 64);
    }

    #[test]
    fn a_system_event_is_read_out_of_its_record() {
        let text =
            r#"{"__time__":1,"id":"U-1","name":"Disk:Stalled:Executing","content":"{\"eventId\":\"e-9\"}"}"#;
        let event = record(text, Some("0/MTUy/3")).expect("valid");
        assert_eq!((event.kind.as_str(), event.id.as_str()), ("Disk:Stalled:Executing", "U-1 executing"));
        assert_eq!(event.incident.as_deref(), Some("alibaba:e-9"));
    }

    #[test]
    fn a_record_that_is_no_object_is_refused() {
        for body in ["", "[]", "1", "\"x\"", "{\"a\":1,\"a\":2}"] {
            assert!(record(body, None).is_err(), "{body}");
        }
    }
}

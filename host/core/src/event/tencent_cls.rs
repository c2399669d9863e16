//! Kind `tencent-cls`: what the trigger of CLS sends, `{"clslogs":{"data":"..."}}` with the base64 of the gzip of JSON: one event for
//! each record of a log topic. Leaves what a record says to policies. Tested below.
//!
//! Source of the format: SCF's "CLS trigger". A small text may be a large one once it is unpacked, so that is bounded before it is.

use super::json::{self, Object, scalar};
use super::{BATCH_EVENTS_MAX, BODY_BYTES_MAX, DecodeError, Delivery, Event, each_item, parse_vendor_time};
use crate::id::{Digest, SourceName};
use crate::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::GzDecoder;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read as _;

/// Largest list of records, in bytes once unpacked: logs shrink to a quarter and less, and a body may be this large by as much.
pub(super) const UNPACKED_BYTES_MAX: usize = 4 * BODY_BYTES_MAX;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    let body = json::object(json::text(delivery.body)?)?;
    logs(source, &body, received)
}

/// Whether `body` is what the trigger of CLS sends.
pub(super) fn is_logs(body: &Object) -> bool {
    body.contains_key("clslogs")
}

/// The records in `body`.
pub(super) fn logs(
    source: &SourceName,
    body: &Object,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    let packed = body.get("clslogs").and_then(|logs| logs.get("data")?.as_str()).ok_or_else(|| {
        DecodeError::field("clslogs.data", "is missing: the trigger of CLS sends base64 of gzip there")
    })?;
    let bytes = unpack(packed)?;
    let inside = DecodeError::inside("clslogs.data");
    let batch = json::text(&bytes).and_then(json::object).map_err(inside)?;
    let topic = scalar(&batch, "topic_id").unwrap_or_else(|| "cls".to_owned());
    let Some(Value::Array(records)) = batch.get("records") else {
        return Err(DecodeError::field("records", "is no list"));
    };
    if records.len() > BATCH_EVENTS_MAX {
        return Err(DecodeError::BatchTooLarge { events: records.len() });
    }
    let mut seen = HashMap::new();
    let numbered = records.iter().map(|record| {
        let text = json::canonical(record);
        let nth = seen.entry(text.clone()).and_modify(|nth| *nth += 1).or_insert(0_usize);
        (record, text, *nth)
    });
    let numbered: Vec<_> = numbered.collect();
    each_item(numbered, |(record, text, nth)| {
        let Value::Object(record) = record else {
            return Err(DecodeError::field("record", "is not a JSON object"));
        };
        let when = scalar(record, "timestamp");
        // Two lines of one instant may be equal, and a batch that is sent again has both again.
        let id = format!("{topic}/{}/{nth}", Digest::of(text.as_bytes()));
        Ok(vec![Event {
            subject: Some(topic.clone()),
            time: when.and_then(|text| parse_vendor_time(&text)).unwrap_or(received),
            data: with_content(record),
            ..Event::bare(source, id, "cls:Log")
        }])
    })
}

/// The record, with `content` as an object where it is the text of one.
fn with_content(record: &Object) -> String {
    let mut record = record.clone();
    if let Some(Value::String(content)) = record.get("content")
        && content.trim_start().starts_with('{')
        && let Ok(object) = json::object(content)
    {
        record.insert("content".to_owned(), object.into());
    }
    Value::Object(record).to_string()
}

fn unpack(packed: &str) -> Result<Vec<u8>, DecodeError> {
    let field = |problem: String| DecodeError::field("clslogs.data", problem);
    let zipped = STANDARD.decode(packed.trim()).map_err(|e| field(format!("is not base64: {e}")))?;
    let mut bytes = Vec::new();
    let bound = u64::try_from(UNPACKED_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let read = GzDecoder::new(zipped.as_slice()).take(bound).read_to_end(&mut bytes);
    read.map_err(|e| field(format!("is not gzip: {e}")))?;
    match bytes.len() > UNPACKED_BYTES_MAX {
        true => Err(field(format!(
            "has more than {UNPACKED_BYTES_MAX} bytes once unpacked: shorten the trigger's maximum waiting time"
        ))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{SourceKind, decode};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn zipped(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("to memory");
        encoder.finish().expect("to memory")
    }

    fn body(bytes: &[u8]) -> String {
        format!(r#"{{"clslogs":{{"data":"{}"}}}}"#, STANDARD.encode(bytes))
    }

    fn sent(body: &str) -> Result<Vec<Event>, DecodeError> {
        let delivery = Delivery { headers: &[], body: body.as_bytes() };
        let received = Timestamp::from_seconds(1_700_000_000);
        decode(SourceKind::TencentCls, &"in".parse().expect("a name"), &delivery, received)
    }

    #[test]
    fn each_record_is_an_event_and_equal_ones_are_two() {
        let line = r#"{"timestamp":"1605578090000000","content":"{\"level\":\"error\"}"}"#;
        let other = r#"{"timestamp":1605578090000,"content":"plain"}"#;
        let batch = format!(r#"{{"topic_id":"t-1","topic_name":"n","records":[{line},{other},{line}]}}"#);
        let events = sent(&body(&zipped(batch.as_bytes()))).expect("valid");
        let [first, second, third] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((first.kind.as_str(), first.subject.as_deref()), ("cls:Log", Some("t-1")));
        assert_eq!(first.time, Timestamp::from_seconds(1_605_578_090));
        assert_eq!(second.time, first.time);
        assert_eq!(first.data, r#"{"content":{"level":"error"},"timestamp":"1605578090000000"}"#);
        assert_eq!(second.data, r#"{"content":"plain","timestamp":1605578090000}"#);
        assert_ne!(first.id, third.id);
        assert_eq!(sent(&body(&zipped(batch.as_bytes()))).expect("valid"), events);
    }

    #[test]
    fn a_bomb_is_not_unpacked_beyond_its_bound() {
        let bomb = zipped(&vec![b' '; 64 * UNPACKED_BYTES_MAX]);
        let error = sent(&body(&bomb)).expect_err("a bomb").to_string();
        assert!(error.contains("more than 1048576 bytes once unpacked"), "{error}");
    }

    #[test]
    fn what_is_no_gzip_of_json_is_refused_with_the_reason() {
        let cut = zipped(br#"{"records":[]}"#);
        let many = format!(r#"{{"records":[{}]}}"#, vec!["{}"; BATCH_EVENTS_MAX + 1].join(","));
        for (body, wanted) in [
            (body(&cut[..cut.len() - 1]), "is not gzip"),
            (body(b"plain"), "is not gzip"),
            (body(&zipped(b"\xff")), "unreadable JSON"),
            (body(&zipped(b"[]")), "unreadable JSON"),
            (body(&zipped(b"{}")), "`records` is no list"),
            (body(&zipped(br#"{"records":[1]}"#)), "event 0 of the batch"),
            (body(&zipped(many.as_bytes())), "the batch has 1001 events"),
            (r#"{"clslogs":{"data":"?"}}"#.to_owned(), "is not base64"),
            (r#"{"clslogs":{"data":1}}"#.to_owned(), "`clslogs.data` is missing"),
            ("{}".to_owned(), "`clslogs.data` is missing"),
        ] {
            let error = sent(&body).expect_err(&body).to_string();
            assert!(error.contains(wanted), "{body}: {error}");
        }
    }
}

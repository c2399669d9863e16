//! Kind `cloudevents`: CloudEvents 1.0 over HTTP in all three modes. Binary: attributes in `ce-*` headers, data in the
//! body. Structured: `application/cloudevents+json`. Batched: `application/cloudevents-batch+json`. A body of type
//! `application/json` without `ce-*` headers is read as structured too, since Alibaba's EventBridge posts that.
//!
//! Two senders may give one id to two events: only (source, id) is unique (CloudEvents 1.0.2, "id"). An operator's source
//! can have several senders, so the event's id here is `<id> <source>`. Attributes the specification does not define are
//! ignored, except those of Alibaba's and Tencent's event buses that name account and region.
//!
//! Accepted beyond the specification, because a cloud sends it: `time` as a number, extensions that are lists or objects
//! (Tencent), `time` with a zone's name (Alibaba).

use super::{BODY_BYTES_MAX, DecodeError, Delivery, Event, alibaba_eventbridge, checked_attribute};
use super::{each_item, json, media_type, parse_vendor_time};
use crate::id::SourceName;
use crate::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";

/// Attributes by name, as text. Those with no text form are left out.
pub(super) type Attributes = BTreeMap<String, String>;

pub(super) fn decode(
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    let media_type = delivery.media_type();
    let is_binary = || delivery.headers.iter().any(|(name, _)| name.starts_with("ce-"));
    match media_type.as_str() {
        STRUCTURED => structured(source, json::text(delivery.body)?, received).map(|event| vec![event]),
        BATCHED => batched(source, json::text(delivery.body)?, received),
        other if other.starts_with("application/cloudevents") => Err(DecodeError::Unsupported(format!(
            "the event format `{other}` is not supported: send `{STRUCTURED}`, `{BATCHED}` or `ce-*` headers"
        ))),
        _ if is_binary() => binary(source, delivery, &media_type, received).map(|event| vec![event]),
        "application/json" | "" => {
            structured(source, json::text(delivery.body)?, received).map(|event| vec![event])
        }
        other => Err(DecodeError::Unsupported(format!(
            "no CloudEvent: content type `{other}` without `ce-*` headers"
        ))),
    }
}

/// Reads a batch. Its events stand or fall together: a sender repeats a whole batch.
fn batched(source: &SourceName, text: &str, received: Timestamp) -> Result<Vec<Event>, DecodeError> {
    let items: Vec<&RawValue> = json::parse(text)?;
    each_item(items, |item| structured(source, item.get(), received).map(|event| vec![event]))
}

/// Reads one event whose attributes and data are members of one object.
pub(super) fn structured(source: &SourceName, text: &str, received: Timestamp) -> Result<Event, DecodeError> {
    json::value(text)?;
    let mut members: BTreeMap<String, &RawValue> = json::parse(text)?;
    let data = members.remove("data");
    let data_base64 = members.remove("data_base64");
    let mut attributes = Attributes::new();
    for (name, value) in members {
        check_name(&name)?;
        match json::parse(value.get())? {
            // An attribute that is null is absent (JSON event format 1.0.2, section 2.2).
            Value::Null | Value::Array(_) | Value::Object(_) => {}
            Value::String(text) => drop(attributes.insert(name, text)),
            Value::Number(number) => drop(attributes.insert(name, number.to_string())),
            Value::Bool(truth) => drop(attributes.insert(name, truth.to_string())),
        }
    }
    let content_type = attributes.get("datacontenttype").map(|text| media_type(text)).unwrap_or_default();
    let data = match (data, data_base64) {
        (Some(_), Some(_)) => {
            return Err(DecodeError::field("data_base64", "and `data` are both there: send one of them"));
        }
        (Some(data), None) => data.get().to_owned(),
        (None, Some(encoded)) => {
            let Value::String(encoded) = json::parse(encoded.get())? else {
                return Err(DecodeError::field("data_base64", "is not a string"));
            };
            let bytes = STANDARD
                .decode(encoded)
                .map_err(|e| DecodeError::field("data_base64", format!("is not base64: {e}")))?;
            data_as_json(&bytes, &content_type).map_err(DecodeError::inside("data_base64"))?
        }
        (None, None) => "null".to_owned(),
    };
    event(source, &attributes, data, received)
}

fn binary(
    source: &SourceName,
    delivery: &Delivery<'_>,
    media_type: &str,
    received: Timestamp,
) -> Result<Event, DecodeError> {
    let mut attributes = Attributes::new();
    for (header, value) in delivery.headers {
        let Some(name) = header.strip_prefix("ce-") else { continue };
        check_name(name)?;
        if attributes.insert(name.to_owned(), header_text(header, value)?).is_some() {
            return Err(DecodeError::field(header, "is there twice"));
        }
    }
    event(source, &attributes, data_as_json(delivery.body, media_type)?, received)
}

/// Data as JSON text. JSON stays as it is; other text becomes a string, other bytes `{"data_base64": "..."}`.
fn data_as_json(bytes: &[u8], media_type: &str) -> Result<String, DecodeError> {
    if bytes.is_empty() {
        return Ok("null".to_owned());
    }
    let says_json = media_type.ends_with("/json") || media_type.ends_with("+json");
    if says_json || media_type.is_empty() {
        let as_json = json::text(bytes).and_then(|text| json::value(text).map(|_| text.trim()));
        match as_json {
            Ok(text) => return Ok(text.to_owned()),
            Err(problem) if says_json => return Err(problem),
            Err(_) => {}
        }
    }
    Ok(match std::str::from_utf8(bytes) {
        Ok(text) => json::quoted(text),
        Err(_) => format!("{{\"data_base64\":\"{}\"}}", STANDARD.encode(bytes)),
    })
}

/// The event with these attributes.
pub(super) fn event(
    source: &SourceName,
    attributes: &Attributes,
    data: String,
    received: Timestamp,
) -> Result<Event, DecodeError> {
    let version = required(attributes, "specversion")?;
    if version != "1.0" {
        return Err(DecodeError::field("specversion", format!("is `{version}`: only `1.0` is known")));
    }
    let (id, sender, kind) =
        (required(attributes, "id")?, required(attributes, "source")?, required(attributes, "type")?);
    if sender.contains(char::is_whitespace) {
        return Err(DecodeError::field("source", "is not a URI-reference: it contains white space"));
    }
    let optional = |name: &str| match attributes.get(name) {
        Some(text) => checked_attribute(name, text).map(|()| Some(text.clone())),
        None => Ok(None),
    };
    let time = match attributes.get("time") {
        Some(text) => parse_vendor_time(text).ok_or_else(|| {
            DecodeError::field("time", "is not an RFC 3339 time such as `2018-04-05T17:31:00Z`")
        })?,
        None => received,
    };
    if data.len() > BODY_BYTES_MAX {
        return Err(DecodeError::DataTooLarge { bytes: data.len() });
    }
    let account = match optional("aliyunaccountid")? {
        Some(account) => Some(account),
        None => optional("aliyunoriginalaccountid")?,
    };
    let region = match optional("aliyunregionid")? {
        Some(region) => Some(region),
        None => optional("region")?,
    };
    let mut event = Event {
        subject: optional("subject")?,
        time,
        data,
        account,
        region,
        ..Event::bare(source, format!("{id} {sender}"), kind)
    };
    alibaba_eventbridge::add_incident(&mut event, sender);
    Ok(event)
}

fn required<'a>(attributes: &'a Attributes, name: &str) -> Result<&'a str, DecodeError> {
    let Some(text) = attributes.get(name) else {
        return Err(DecodeError::field(
            name,
            "is missing: a CloudEvent has `id`, `source`, `specversion`, `type`",
        ));
    };
    checked_attribute(name, text).map(|()| text.as_str())
}

/// Names are lower-case letters and digits (CloudEvents 1.0.2, "Naming conventions").
fn check_name(name: &str) -> Result<(), DecodeError> {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    Err(DecodeError::field(shown, "is no attribute name: use lower-case letters and digits"))
}

/// Undoes double quotes with their backslashes, then percent-encoding once (HTTP binding 1.0.2, section 3.1.3.2).
fn header_text(header: &str, value: &str) -> Result<String, DecodeError> {
    let mut unquoted = String::with_capacity(value.len());
    let mut quoted = false;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => unquoted.extend(chars.next()),
            _ => unquoted.push(c),
        }
    }
    if quoted {
        return Err(DecodeError::field(header, "has an opening double quote and no closing one"));
    }
    let decoded = percent_encoding::percent_decode_str(&unquoted).decode_utf8();
    let text = decoded.map_err(|_| DecodeError::field(header, "is not UTF-8 once percent-decoded"))?;
    Ok(text.into_owned())
}

//! Events as the host accepts them: CloudEvents 1.0 attributes plus incident, account and region. One decoder file per
//! vendor format turns received bytes into them. Leaves verifying the sender to the trigger and matching to `pattern`.
//! Tested here for what all decoders share, and by the table of samples in `tests/events`.

mod alibaba;
mod alibaba_eventbridge;
mod alibaba_fc;
mod alibaba_mns;
mod alibaba_sls;
mod alibaba_sls_alert;
mod cloudevents;
mod cloudmonitor;
mod cloudmonitor_alarm;
mod generic;
mod gravity;
mod hinted;
mod incident;
pub(crate) mod json;
mod kind;
mod logline;
mod manual;
mod mapping;
mod tencent_cls;
mod tencent_eventbridge;
mod tencent_monitor;
mod tencent_scf;
mod tencent_task;
mod transition;

pub use gravity::gravity_of;
pub use hinted::{Hinted, Meeting, Proof};
pub use incident::{Incident, News, Transitions, Wants, Woken};
pub use kind::{Route, SourceKind, UnknownSourceKind};
pub use logline::{LinePattern, LinePatternError, ReadFrom};
pub use manual::{given, manual_source};
pub use mapping::{Mapping, MappingError, MappingText};
pub use tencent_task::repair_task;
pub use transition::Transition;

use crate::id::{Digest, SourceName};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest request body and longest `data`, in bytes: four times the largest notification a cloud documents (CloudEvents
/// asks for 64 KiB), and small enough to hold hundreds at a time.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of arrays and objects: vendors use 5, and a guest's parser may recurse on what it gets.
pub const JSON_DEPTH_MAX: usize = 32;
/// Longest id, type, subject or other attribute, in bytes: the longest real one, an object key, has 1,024.
pub const ATTRIBUTE_BYTES_MAX: usize = 2048;
/// Most events in one batch: they are recorded in one transaction.
pub const BATCH_EVENTS_MAX: usize = 1000;

/// One accepted event. Identified by (`source`, `id`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The operator's source that received it, or `schedule`, or `manual`.
    pub source: SourceName,
    /// Unique within the source; a digest of the content where the sender gives none.
    pub id: String,
    /// The vendor's event name, such as `Instance:SystemFailure.Reboot:Executed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The resource it is about, as the vendor names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it happened, by the sender; the time of receipt where the sender does not say.
    pub time: Timestamp,
    /// The vendor's event body as JSON text.
    pub data: String,
    /// Shared by all notifications of one happening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The cloud's own account id, as the sender claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The cloud region, as the sender claims.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// How grave the vendor says it is, in the vendor's word: `CRITICAL`, `WARN`, `INFO`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// How far the incident has come with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
}

/// What arrived, before it is understood.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// Header names in lower case, with their values. Decoders look at `content-type` and `ce-*` only, and of what the host
    /// itself fetched at `MESSAGE_ID`.
    pub headers: &'a [(String, String)],
    /// At most `BODY_BYTES_MAX` bytes.
    pub body: &'a [u8],
}

/// The header under which what was taken from a queue or a log store has the id that it has there: that of an event whose body
/// has none. No sender can give it, since of what is posted other headers are not handed on.
pub const MESSAGE_ID: &str = "message-id";

impl Delivery<'_> {
    fn message_id(&self) -> Option<&str> {
        self.header(MESSAGE_ID)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn media_type(&self) -> String {
        media_type(self.header("content-type").unwrap_or_default())
    }
}

/// The media type without parameters, in lower case; empty where there is none.
fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Turns a delivery to `source` into the events it carries, in order. One malformed event refuses the whole delivery. What a
/// `generic` source is sent is read by its `Mapping`.
pub fn decode(
    kind: SourceKind,
    source: &SourceName,
    delivery: &Delivery<'_>,
    received: Timestamp,
) -> Result<Vec<Event>, DecodeError> {
    let events = match kind {
        SourceKind::AlibabaCloudmonitor => vec![cloudmonitor::decode(source, delivery, received)?],
        SourceKind::AlibabaEventbridge => alibaba_eventbridge::decode(source, delivery, received)?,
        SourceKind::AlibabaMns => alibaba_mns::decode(source, delivery, received)?,
        SourceKind::AlibabaSls => vec![alibaba_sls::decode(source, delivery, received)?],
        SourceKind::AlibabaSlsAlert => alibaba_sls_alert::decode(source, delivery, received)?,
        SourceKind::AlibabaFc => alibaba_fc::decode(source, delivery, received)?,
        SourceKind::TencentMonitor => tencent_monitor::decode(source, delivery, received)?,
        SourceKind::TencentEventbridge => tencent_eventbridge::decode(source, delivery, received)?,
        SourceKind::TencentCls => tencent_cls::decode(source, delivery, received)?,
        SourceKind::TencentScf => tencent_scf::decode(source, delivery, received)?,
        SourceKind::Cloudevents => cloudevents::decode(source, delivery, received)?,
        SourceKind::Generic => {
            return Err(DecodeError::Unsupported(
                "a source of kind `generic` is read by its `map`".to_owned(),
            ));
        }
        // Its lines are read, not delivered.
        SourceKind::Logfile => {
            return Err(DecodeError::Unsupported("nothing is posted to a log file".to_owned()));
        }
    };
    checked(events)
}

/// What the sender wants to read in the answer to `body` once it is recorded, beside what the host says: members of a JSON object.
pub fn answer(kind: SourceKind, body: &[u8]) -> Vec<(&'static str, serde_json::Value)> {
    match kind {
        SourceKind::TencentMonitor => tencent_monitor::answer(body),
        _ => Vec::new(),
    }
}

/// Events that may be recorded: of a number that one transaction holds, and each as an event must be.
fn checked(events: Vec<Event>) -> Result<Vec<Event>, DecodeError> {
    if events.len() > BATCH_EVENTS_MAX {
        return Err(DecodeError::BatchTooLarge { events: events.len() });
    }
    events.iter().try_for_each(Event::check)?;
    Ok(events)
}

/// Reads each item of a list as events. They stand or fall together: a sender repeats a whole list.
fn each_item<T>(
    items: Vec<T>,
    read: impl Fn(T) -> Result<Vec<Event>, DecodeError>,
) -> Result<Vec<Event>, DecodeError> {
    if items.len() > BATCH_EVENTS_MAX {
        return Err(DecodeError::BatchTooLarge { events: items.len() });
    }
    let mut events = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let read = read(item).and_then(checked);
        events.extend(read.map_err(|cause| DecodeError::InBatch { index, cause: Box::new(cause) })?);
    }
    Ok(events)
}

impl Event {
    /// An event of which nothing else is known, with neither time nor data.
    pub(crate) fn bare(source: &SourceName, id: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            source: source.clone(),
            id: id.into(),
            kind: kind.into(),
            subject: None,
            time: Timestamp::default(),
            data: String::new(),
            incident: None,
            account: None,
            region: None,
            level: None,
            transition: None,
        }
    }
}

impl Event {
    /// The event with an id that no proved event of its source is taken for, where that may have both: whoever sends what nobody
    /// proves chooses its id.
    #[must_use]
    pub fn unproved(self) -> Self {
        Self { id: format!("{} unproved", self.id), ..self }
    }
}

/// The id of a notification whose sender may give all notifications of an incident one id.
fn id_at(id: String, transition: Option<Transition>) -> String {
    match transition {
        Some(transition) => format!("{id} {}", transition.as_str()),
        None => id,
    }
}

/// Longest incident that is written out, in bytes: it is shown to people, in lists and in tags of what a policy makes.
const INCIDENT_BYTES_MAX: usize = 256;

/// The key of an incident that its vendor has no id for: what tells it from others, written out, or a digest of that where it is
/// long.
fn incident_key(vendor: &str, parts: &[&str]) -> String {
    let written = parts.join("/");
    if written.len() <= INCIDENT_BYTES_MAX && !written.chars().any(char::is_control) {
        return format!("{vendor}:{written}");
    }
    let Some((first, rest)) = parts.split_first() else { return vendor.to_owned() };
    format!("{vendor}:{first}/{}", Digest::of(rest.join("/").as_bytes()))
}

/// Why a delivery cannot be understood: the sender's fault, and sending it again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing arrived.
    #[error("the body is empty")]
    Empty,
    /// Bytes that are not text.
    #[error("the body is not UTF-8 text: line {line}, column {column}")]
    NotUtf8 {
        /// Counted from 1.
        line: usize,
        /// In bytes, counted from 1.
        column: usize,
    },
    /// Text that is not JSON.
    #[error("malformed JSON at line {line}, column {column}: {problem}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// In bytes; 0 where the fault is the end of the line before.
        column: usize,
        /// What was expected.
        problem: String,
    },
    /// JSON nested too deeply.
    #[error("JSON nested deeper than {JSON_DEPTH_MAX} levels at line {line}, column {column}")]
    TooDeep {
        /// Counted from 1.
        line: usize,
        /// In bytes, counted from 1.
        column: usize,
    },
    /// `data` outgrows the limit once it is JSON text.
    #[error("the event's data is {bytes} bytes as JSON; at most {BODY_BYTES_MAX} are accepted")]
    DataTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// More events than one batch may have.
    #[error("the batch has {events} events; at most {BATCH_EVENTS_MAX} are accepted")]
    BatchTooLarge {
        /// Their number.
        events: usize,
    },
    /// An attribute that is missing or not as it must be.
    #[error("`{field}` {problem}")]
    Field {
        /// Its name.
        field: String,
        /// What is wrong and what is wanted.
        problem: String,
    },
    /// JSON text inside a field cannot be read.
    #[error("`{field}` holds unreadable JSON")]
    Inside {
        /// The field.
        field: &'static str,
        /// Why; its position counts from the start of the field's text.
        #[source]
        cause: Box<DecodeError>,
    },
    /// A form this kind of source does not take.
    #[error("{0}")]
    Unsupported(String),
    /// One event of a batch cannot be understood.
    #[error("event {index} of the batch (counted from 0) cannot be read")]
    InBatch {
        /// Its place.
        index: usize,
        /// Why.
        #[source]
        cause: Box<DecodeError>,
    },
}

impl DecodeError {
    /// Line and column where reading stopped, for faults that have a place in the body.
    pub fn position(&self) -> Option<(usize, usize)> {
        match self {
            Self::NotUtf8 { line, column }
            | Self::Malformed { line, column, .. }
            | Self::TooDeep { line, column } => Some((*line, *column)),
            _ => None,
        }
    }

    fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Field { field: field.into(), problem: problem.into() }
    }

    fn inside(field: &'static str) -> impl FnOnce(Self) -> Self {
        move |cause| Self::Inside { field, cause: Box::new(cause) }
    }
}

/// Checks a text that becomes an attribute: there, short, and free of control characters (CloudEvents 1.0, section
/// "Type System", forbids them; in a log or a table they would forge lines).
fn checked_attribute(field: &str, text: &str) -> Result<(), DecodeError> {
    if text.is_empty() {
        return Err(DecodeError::field(field, "is empty"));
    }
    if text.len() > ATTRIBUTE_BYTES_MAX {
        let problem = format!("is {} bytes long; at most {ATTRIBUTE_BYTES_MAX} are accepted", text.len());
        return Err(DecodeError::field(field, problem));
    }
    if text.chars().any(char::is_control) {
        return Err(DecodeError::field(field, "contains a control character"));
    }
    Ok(())
}

/// Vendors count from 1970 in seconds, milliseconds or microseconds and do not say which; this is 1973 as the one, 5138 as the
/// other.
const EPOCH_MS_MIN: i64 = 100_000_000_000;
/// Likewise, between milliseconds and microseconds.
const EPOCH_MICROS_MIN: i64 = 100_000_000_000_000;

/// Reads an instant as vendors write it: RFC 3339, ISO 8601 basic form, a number since 1970, or a local time followed
/// by an IANA zone (`2020-08-24T13:54:05.965Asia/Shanghai`, as in Alibaba's EventBridge samples).
fn parse_vendor_time(text: &str) -> Option<Timestamp> {
    if let Some(time) = Timestamp::parse_rfc3339(text) {
        return Some(time);
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let number: i64 = text.parse().ok()?;
        return Some(match number {
            ..EPOCH_MS_MIN => Timestamp::from_seconds(number),
            EPOCH_MS_MIN..EPOCH_MICROS_MIN => Timestamp::from_ms(number),
            _ => Timestamp::from_ms(number / 1000),
        });
    }
    let date_time_ends = text.bytes().rposition(|b| b.is_ascii_digit())? + 1;
    let (local, zone) = text.split_at_checked(date_time_ends)?;
    let zone = jiff::tz::TimeZone::get(zone.trim()).ok()?;
    let local: jiff::civil::DateTime = local.parse().ok()?;
    Some(zone.to_ambiguous_timestamp(local).compatible().ok()?.into())
}

#[cfg(test)]
mod tests;

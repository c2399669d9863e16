//! What the host fetches instead of having it posted: the requests and answers of message queues and log stores, and how soon to ask again.
//! Leaves signing to `sign`, sending to the host, and what a body means to `event`. Tested in each file.

pub mod history;
pub mod log_groups;
pub mod log_store;
pub mod poll;
mod protobuf;
pub mod queue;

use crate::event::Event;
use crate::id::SourceName;
use crate::time::Timestamp;
use serde_json::json;

/// The type of the event that is recorded for what a source gave and no decoder understands.
pub const UNDECODABLE: &str = "opsward.source.undecodable";

/// One request of a source's own protocol, before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `DELETE` ...
    pub method: &'static str,
    /// Path and query, encoded as they are sent.
    pub target: String,
    /// Empty where there is none.
    pub body: String,
}

/// Why an answer to such a request is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The cloud refuses.
    #[error("{code} (status {status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The vendor's code; empty where it gives none.
        code: String,
        /// What it says.
        message: String,
    },
    /// It is longer than is taken.
    #[error("the answer is longer than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: usize,
    },
    /// It has another form than documented.
    #[error("the answer (status {status}) cannot be read: {problem}")]
    Unreadable {
        /// The HTTP status.
        status: u16,
        /// Where reading stopped.
        problem: String,
    },
}

/// The event in place of what cannot be decoded, so that it neither blocks the source nor is lost: its bytes are recorded with it.
/// `id` is what the source calls it. It is for people, and wakes no policy.
pub fn undecodable(source: &SourceName, id: &str, problem: &str, bytes: usize, received: Timestamp) -> Event {
    let data = json!({ "problem": problem, "bytes": bytes }).to_string();
    Event { time: received, data, ..Event::bare(source, id.to_owned(), UNDECODABLE) }
}

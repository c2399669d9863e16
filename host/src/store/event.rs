//! Events as the store's verbs take and return them. Leaves the verbs to `Store`. Tested by the conformance suite.

use super::NewRun;
use opsward_core::event::Event;
use opsward_core::id::{RunId, SourceName};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use serde::Serialize;

/// An event to record, with the runs it starts.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// As decoded.
    pub event: Event,
    /// The bytes as they came, for the record; empty where there are none.
    pub raw: Vec<u8>,
    /// When the host received it.
    pub received: Timestamp,
    /// How far it is to be believed.
    pub trust: Trust,
    /// One per policy that matched.
    pub runs: Vec<NewRun>,
}

/// What became of an event handed to `accept`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acceptance {
    /// Recorded, with this many runs.
    New {
        /// How many runs it started.
        runs: usize,
    },
    /// Known already.
    Duplicate,
}

/// Which events to list; what is left out counts for nothing.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Notices of this incident.
    pub incident: Option<String>,
    /// From this source.
    pub source: Option<SourceName>,
    /// Of a type that is this, in any case, with `*` for any run of characters.
    pub kind: Option<String>,
    /// Whose id begins so.
    pub id: Option<String>,
    /// At most this many; none means a default.
    pub limit: usize,
}

impl EventFilter {
    /// The latest, whatever they are.
    pub fn latest(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }
}

/// An event in a list.
#[derive(Debug, Clone, Serialize)]
pub struct EventRow {
    /// The event.
    pub event: Event,
    /// When it was received.
    pub received: Timestamp,
    /// How far it is to be believed.
    pub trust: Trust,
    /// The runs it started.
    pub runs: Vec<RunId>,
}

//! Events as the store's verbs take and return them. Leaves the verbs to `Store`. Tested by the conformance suite.

use super::NewRun;
use opsward_core::event::Event;
use opsward_core::id::RunId;
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

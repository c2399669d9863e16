//! How far the host has read what it fetches itself. Leaves the verbs to `Store`, and what a cursor says to who reads. Tested by
//! the conformance suite.

use opsward_core::id::SourceName;

/// Where reading goes on: everything before is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Whose events they are.
    pub source: SourceName,
    /// What of the source it is about, such as a shard; a source may have several.
    pub key: String,
    /// Where in that, in the reader's own words.
    pub value: String,
}

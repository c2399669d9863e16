//! A plugin revision that waits: which serves instead, and what the new one asks for that the other did not. Leaves deciding so to
//! `live`. Tested in `tests/tests/it/registry.rs` and `tests/tests/it/enable.rs`.

use crate::plugin::engine::{Permission, Revision};
use opsward_core::config::{PolicySettings, draft};
use opsward_core::id::Digest;
use serde::Serialize;
use std::fmt;

/// The newest good revision of a plugin does not serve a policy yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waits {
    /// Which waits.
    pub revision: Digest,
    /// Which goes on serving.
    pub serving: Digest,
    /// Whether it waits because the policy's file names another digest.
    pub pinned: bool,
    /// What it asks for, the serving one does not, and is not granted.
    pub adds: Vec<Permission>,
    /// What it no longer asks for.
    pub drops: Vec<String>,
}

impl Waits {
    /// What `newest` changes for a policy that `serving` serves.
    pub(super) fn between(settings: &PolicySettings, serving: &Revision, newest: &Revision) -> Self {
        let (known, asked) = (serving.description.actions(), newest.description.actions());
        let missing = settings.grants.asked_not_granted(&asked);
        let is_new = |permission: &&Permission| {
            missing.contains(&permission.action.as_str()) && !known.contains(&permission.action)
        };
        Self {
            revision: newest.digest,
            serving: serving.digest,
            pinned: settings.digest.is_some(),
            adds: newest.description.permissions.iter().filter(is_new).cloned().collect(),
            drops: known.into_iter().filter(|action| !asked.contains(action)).collect(),
        }
    }

    /// A line for each action it asks for and each it no longer asks for.
    pub fn difference(&self) -> Vec<String> {
        let adds = self
            .adds
            .iter()
            .map(|added| format!("+ {}  {}", added.action, draft::on_one_line(&added.reason)));
        adds.chain(self.drops.iter().map(|action| format!("- {action}"))).collect()
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.pinned { "the file pins that" } else { "it asks for more than is granted" };
        let (revision, serving) = (self.revision.short(), self.serving.short());
        write!(f, "revision {revision} of its plugin waits and {serving} goes on serving: {why}")
    }
}

//! The policies that are live: each policy file bound to a plugin revision, and the index that finds them by event.
//! Swapped as a whole, so that an event sees one consistent set. Leaves building the set to `plugin::registry`.

use crate::plugin::engine::Revision;
use opsward_core::config::PolicySettings;
use opsward_core::id::PolicyName;
use opsward_core::pattern::Index;
use std::sync::{Arc, PoisonError, RwLock};

/// One live policy.
#[derive(Debug)]
pub struct LivePolicy {
    /// What the operator wrote.
    pub settings: PolicySettings,
    /// The plugin revision new runs are pinned to.
    pub revision: Arc<Revision>,
}

/// All live policies at one moment.
#[derive(Debug, Default)]
pub struct PolicySet {
    /// Sorted by name.
    pub policies: Vec<Arc<LivePolicy>>,
    /// Finds them by event; places are those in `policies`.
    pub index: Index,
}

impl PolicySet {
    /// The live policy of that name.
    pub fn find(&self, name: &PolicyName) -> Option<&Arc<LivePolicy>> {
        self.policies.binary_search_by(|p| p.settings.name.cmp(name)).ok().map(|at| &self.policies[at])
    }
}

/// The present set, shared by triggers and workers.
#[derive(Debug, Default)]
pub struct Policies(RwLock<Arc<PolicySet>>);

impl Policies {
    /// The present set.
    pub fn load(&self) -> Arc<PolicySet> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes `set` the present one.
    pub fn store(&self, set: PolicySet) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }
}

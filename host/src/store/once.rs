//! Natural keys, and who asked first with one. Leaves the verb to `Store`. Tested by the conformance suite.

use opsward_core::call::CallResponse;
use opsward_core::id::{PolicyName, RunId};

/// A natural key of an effect: the same one takes effect once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnceKey {
    /// Whose effect it is.
    pub policy: PolicyName,
    /// `service:Action`. The region is not part of it: a key that should be told by region says so.
    pub action: String,
    /// As the policy gave it.
    pub key: String,
}

/// Who asked first with a natural key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// This effect, or nobody yet.
    First,
    /// Another effect.
    Later {
        /// The run whose effect it is.
        run: RunId,
        /// Its answer, once it is known.
        reply: Option<CallResponse>,
    },
}

//! Natural keys, and who may make an effect. Leaves the verb to `Store`. Tested by the conformance suite.

use opsward_core::call::CallResponse;
use opsward_core::guardrail::Over;
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

/// Whether an effect may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// Yes: none has its natural key, and every limit has room.
    First,
    /// No: another effect has its natural key.
    Later {
        /// The run whose effect it is.
        run: RunId,
        /// Its answer, once it is known.
        reply: Option<CallResponse>,
    },
    /// Not now: a limit has no room for it.
    Over(Over),
}

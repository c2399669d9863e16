//! The policy's small durable store: 1,024 keys of up to 256 bytes, values of up to 64 KiB, shared by all its runs.

use crate::host;
use serde::de::DeserializeOwned;
use std::fmt;

/// The policy's durable store; see [`Run::state`](crate::Run::state).
///
/// ```
/// # use opsward_policy::{Description, Event, Failure, NoConfig, Outcome, Policy, Run};
/// # struct Counting;
/// # impl Policy for Counting {
/// # type Config = NoConfig;
/// # fn describe() -> Description { Description::new("counting", "0.1.0", "Counts.") }
/// fn handle(_: &Event, run: &Run<NoConfig>) -> Result<Outcome, Failure> {
///     let seen = run.state().get("seen");
///     let count: u64 = seen.as_ref().and_then(|entry| entry.parse().ok()).unwrap_or(0);
///     // Fails with a conflict where another run wrote meanwhile, so that no event goes uncounted.
///     run.state().compare_and_set("seen", seen.as_ref(), (count + 1).to_string())?;
///     Ok(Outcome::new(format!("{} events so far", count + 1)))
/// }
/// # }
/// # let host = opsward_policy::testing::FakeHost::new();
/// # let event = opsward_policy::testing::event("test", serde_json::json!({}));
/// # host.handle::<Counting>(&event).expect("handled");
/// # assert_eq!(host.handle::<Counting>(&event).expect("handled").summary, "2 events so far");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct State;

impl State {
    /// Reads a key.
    pub fn get(&self, key: &str) -> Option<Entry> {
        host::state_get(key)
    }

    /// Writes a key whatever it held. Returns the new version.
    ///
    /// # Errors
    /// [`StateError::TooLarge`] where a limit is met.
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<u64, StateError> {
        host::state_set(key, value.as_ref())
    }

    /// Removes a key; nothing happens where it is absent.
    pub fn delete(&self, key: &str) {
        host::state_delete(key);
    }

    /// Writes a key only if it is still as `seen`, `None` meaning absent. Returns the new version.
    ///
    /// # Errors
    /// [`StateError::Conflict`] where another run wrote or removed it meanwhile; [`StateError::TooLarge`].
    pub fn compare_and_set(
        &self,
        key: &str,
        seen: Option<&Entry>,
        value: impl AsRef<[u8]>,
    ) -> Result<u64, StateError> {
        host::state_compare_and_set(key, seen.map_or(0, |entry| entry.version), value.as_ref())
    }
}

/// A stored value and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Vec<u8>,
    /// Grows with every write of the key; never 0.
    pub version: u64,
}

impl Entry {
    /// The value as a type of the policy's own, if it was written as JSON.
    ///
    /// # Errors
    /// What is wrong with the JSON.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.value)
    }
}

/// Why a write was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateError {
    /// Key or value is too long, the key is empty, or the policy's keys are used up.
    TooLarge,
    /// Another version is stored.
    Conflict,
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the policy's state would become too large",
            Self::Conflict => "another run changed the policy's state",
        })
    }
}

impl std::error::Error for StateError {}

impl From<StateError> for crate::Failure {
    fn from(error: StateError) -> Self {
        let code = match error {
            StateError::TooLarge => "opsward.StateTooLarge",
            StateError::Conflict => "opsward.StateConflict",
        };
        Self::new(code, error.to_string()).retryable(error == StateError::Conflict)
    }
}

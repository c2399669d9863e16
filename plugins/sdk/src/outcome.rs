//! How a run ends: what was done, or what went wrong.

use crate::CallError;
use serde_json::Value;
use std::fmt;

/// How a run that worked ended. Having found nothing to do is an outcome too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was done, in one line for the operator.
    pub summary: String,
    /// Anything worth keeping, as JSON text; empty for nothing.
    pub details: String,
}

impl Outcome {
    /// An outcome with its line for the operator.
    pub fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), details: String::new() }
    }

    /// Adds something worth keeping with the run.
    pub fn details(mut self, details: &Value) -> Self {
        self.details = details.to_string();
        self
    }
}

/// How a run that did not work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A short code: the vendor's where one call failed.
    pub code: String,
    /// What went wrong, in one line for the operator.
    pub message: String,
    /// Whether running again later may help.
    pub retryable: bool,
    /// Anything worth keeping, as JSON text; empty for nothing.
    pub details: String,
}

impl Failure {
    /// A failure that running again would not mend.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false, details: String::new() }
    }

    /// Says whether running again later may help.
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Adds something worth keeping with the run.
    pub fn details(mut self, details: &Value) -> Self {
        self.details = details.to_string();
        self
    }

    /// Puts before the message what was being done.
    ///
    /// ```
    /// # use opsward_policy::{CallError, ErrorKind, Failure};
    /// let error = CallError::new(ErrorKind::NotFound, "InvalidDiskId.NotFound", "no such disk");
    /// assert_eq!(Failure::from(error).during("reading d-1").message, "reading d-1: no such disk");
    /// ```
    pub fn during(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let message = match error.request_id {
            Some(id) => format!("{} (request {id})", error.message),
            None => error.message,
        };
        Self::new(error.code, message).retryable(error.retryable)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

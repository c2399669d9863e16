//! What a scripted cloud answers.

use crate::CallError;
use serde_json::Value;

/// What a script of [`FakeHost::on`](super::FakeHost::on) answers; made from a JSON value, an error, or a `Result`.
#[derive(Debug, Clone)]
pub struct Reply(pub(crate) Result<Value, CallError>);

impl From<Value> for Reply {
    fn from(value: Value) -> Self {
        Self(Ok(value))
    }
}

impl From<CallError> for Reply {
    fn from(error: CallError) -> Self {
        Self(Err(error))
    }
}

impl From<Result<Value, CallError>> for Reply {
    fn from(result: Result<Value, CallError>) -> Self {
        Self(result)
    }
}

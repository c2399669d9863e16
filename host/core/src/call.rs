//! A cloud call as a policy asks for it and as it is answered. Leaves what an action means to `catalog`, whether it is
//! allowed to `grant`, and how it is put on the wire to `sign`.

mod reference;

pub(crate) use reference::SECRET_KEY;
pub use reference::{InvalidReference, secrets_named, with_secrets};

use serde::{Deserialize, Serialize};

/// A call as a policy asks for it. Field meanings: `wit/policy.wit`, `cloud.request`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRequest {
    /// Product code in lower case: `ecs`, `cvm`.
    pub service: String,
    /// The vendor's action name: `CreateSnapshot`.
    pub action: String,
    /// Region of the endpoint; empty takes the account's default.
    pub region: String,
    /// The action's parameters: a JSON object, as text in canonical form once the broker has taken it.
    pub params: String,
    /// A natural key of the effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<String>,
}

/// Most bytes of parameters that a line for people repeats.
const PARAMS_SHOWN_BYTES: usize = 400;

impl CallRequest {
    /// The call in one line for people, however long its parameters are.
    pub fn brief(&self) -> String {
        let Self { service, action, region, params, .. } = self;
        let shown = &params[..params.floor_char_boundary(PARAMS_SHOWN_BYTES)];
        let rest = if shown.len() < params.len() { "…" } else { "" };
        format!("{service}:{action} {region} {shown}{rest}")
    }
}

/// How a call ended.
pub type CallReply = Result<CallResponse, CallError>;

/// A call that the cloud carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallResponse {
    /// The vendor's request id.
    pub request_id: String,
    /// The vendor's answer as JSON text (for Tencent the object inside `Response`).
    pub body: String,
    /// Whether the host made the answer up, in dry run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

impl CallResponse {
    /// The answer to a call that took place, of which no more than the cloud's request id is known, and that may be empty.
    pub fn proved(request_id: String) -> Self {
        let body = match request_id.as_str() {
            "" => "{}".to_owned(),
            id => serde_json::json!({ "RequestId": id }).to_string(),
        };
        Self { request_id, body, simulated: false }
    }
}

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct CallError {
    /// What sort of failure it is.
    pub kind: ErrorKind,
    /// The vendor's error code, or an `opsward.*` code where the host refused.
    pub code: String,
    /// The vendor's message, or the host's.
    pub message: String,
    /// The vendor's request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
}

/// Sorts of failure, as `wit/policy.wit` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// Not granted, or refused by a guardrail: the cloud was not asked.
    Denied,
    /// The request is wrong.
    Invalid,
    /// The named resource does not exist.
    NotFound,
    /// The resource's state does not allow it, or another operation runs on it.
    Conflict,
    /// The cloud limits the rate.
    Throttled,
    /// The cloud, or the way to it, is failing.
    Unavailable,
    /// The cloud refuses the host's credentials or their permissions.
    Unauthorized,
    /// Refused for another reason.
    Failed,
}

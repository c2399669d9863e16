//! The kill switch over HTTP: `GET /api/v1/halts`, `POST /api/v1/halt`, `POST /api/v1/resume`. Leaves keeping it to the store and
//! obeying to the broker.

use super::{Admin, Refusal, audited, json_answer, told};
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use opsward_core::access::Caller;
use opsward_core::guardrail::Halt;
use opsward_core::id::PolicyName;
use serde::Deserialize;
use serde_json::json;

pub(super) async fn list(State(admin): State<Admin>) -> Result<Response, Refusal> {
    Ok(json_answer(&json!({ "halts": admin.store.halts().await?.0 })))
}

/// Whom a person halts or resumes: all where no policy is named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whom {
    policy: Option<PolicyName>,
    /// For whom the caller says so.
    #[serde(default)]
    by: String,
    #[serde(default)]
    why: String,
}

impl Whom {
    fn target(&self) -> String {
        self.policy.as_ref().map_or_else(|| "all policies".to_owned(), |policy| format!("policy {policy}"))
    }
}

/// Takes `{"policy": "p", "why": "..."}`.
pub(super) async fn halt(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let whom: Whom = told(&headers, &body)?;
    let target = whom.target();
    let Whom { policy, by, why } = whom;
    if let Some(policy) = &policy
        && admin.policies.load().find(policy).is_none()
        && !(admin.refused)().iter().any(|file| file.policy.as_ref() == Some(policy))
    {
        return Err(Refusal::not_found("no policy is called so: nothing was halted"));
    }
    let halt = Halt { policy, by: caller.named(&by), why, at: admin.clock.now() };
    admin.store.halt(halt.clone()).await?;
    audited(&caller, "halt", &target);
    Ok(json_answer(&json!({ "halted": halt })))
}

/// Takes `{"policy": "p"}`.
pub(super) async fn resume(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let whom: Whom = told(&headers, &body)?;
    let Whom { policy, by, .. } = &whom;
    let resumed = admin.store.resume(policy.clone(), caller.named(by), admin.clock.now()).await?;
    audited(&caller, "resume", &whom.target());
    Ok(json_answer(&json!({ "resumed": resumed })))
}

//! The kill switch over HTTP: `GET /api/v1/halts`, `POST /api/v1/halt`, `POST /api/v1/resume`. Leaves keeping it to the store and
//! obeying to the broker.

use super::{Admin, Refusal, json_answer, told};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
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
    by: String,
    #[serde(default)]
    why: String,
}

/// Takes `{"policy": "p", "by": "...", "why": "..."}`.
pub(super) async fn halt(
    State(admin): State<Admin>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let Whom { policy, by, why } = by_somebody(&headers, &body)?;
    if let Some(policy) = &policy
        && admin.policies.load().find(policy).is_none()
        && !(admin.refused)().iter().any(|file| file.policy.as_ref() == Some(policy))
    {
        return Err(Refusal::not_found("no policy is called so: nothing was halted"));
    }
    let halt = Halt { policy, by, why, at: admin.clock.now() };
    admin.store.halt(halt.clone()).await?;
    tracing::warn!(%halt, "a person halted");
    Ok(json_answer(&json!({ "halted": halt })))
}

/// Takes `{"policy": "p", "by": "..."}`.
pub(super) async fn resume(
    State(admin): State<Admin>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let Whom { policy, by, .. } = by_somebody(&headers, &body)?;
    let resumed = admin.store.resume(policy.clone(), by.clone(), admin.clock.now()).await?;
    tracing::warn!(
        policy = policy.as_ref().map_or("(all)", |policy| policy.as_str()),
        by,
        resumed,
        "a person resumed"
    );
    Ok(json_answer(&json!({ "resumed": resumed })))
}

fn by_somebody(headers: &HeaderMap, body: &Bytes) -> Result<Whom, Refusal> {
    let whom: Whom = told(headers, body)?;
    match whom.by.trim().is_empty() {
        true => Err(Refusal::new(StatusCode::BAD_REQUEST, "`by` is empty: say who decides")),
        false => Ok(whom),
    }
}

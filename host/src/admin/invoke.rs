//! `POST /api/v1/policies/{name}/invoke`: a person gives an event to one policy, whatever that is woken by. Leaves recording it to
//! `trigger::accept`.

use super::{Admin, Refusal, audited, json_answer, told};
use crate::store::Acceptance;
use crate::trigger::accept::Accept;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use opsward_core::access::Caller;
use opsward_core::event::{Event, manual_source};
use opsward_core::id::PolicyName;
use opsward_core::run::Mode;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    event: Event,
}

/// Takes `{"event": {...}}`, the event as the store shows it; its source is `manual`, whatever it says.
pub(super) async fn invoke(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<PolicyName>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let Given { event } = told(&headers, &body)?;
    event.check().map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let event = Event { source: manual_source(), ..event };
    let Some(policy) = admin.policies.load().find(&name).cloned() else {
        return Err(Refusal::not_found("no live policy is called so"));
    };
    if policy.settings.mode == Mode::Off {
        return Err(Refusal::new(StatusCode::CONFLICT, "the policy is off"));
    }
    let Admin { store, policies, clock, work, seen, .. } = admin;
    let accept = Accept { store, policies, clock, work, seen };
    // A task of its own: a caller who hangs up does not stop half-way what was begun.
    let recording = tokio::spawn(async move { accept.invoke(event, &policy).await });
    let recorded =
        recording.await.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()));
    let (run, acceptance) = recorded??;
    let new = matches!(acceptance, Acceptance::New { .. });
    if new {
        audited(&caller, "invoke", name.as_str());
    }
    Ok(json_answer(&json!({ "run": run, "new": new })))
}

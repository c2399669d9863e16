//! Events over HTTP: `GET /api/v1/events`, by incident, source and type, and `GET /api/v1/events/{id}` with the other notices of its
//! incident. Leaves finding them to the store.

use super::{Admin, Asked, CANDIDATES_MAX, Filter, Refusal, json_answer};
use crate::store::{EventFilter, EventRow, LISTED_MAX};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

pub(super) async fn list(State(admin): State<Admin>, query: Asked) -> Result<Response, Refusal> {
    let Filter { incident, source, kind, limit, .. } =
        Filter::parse(query, &["incident", "source", "type", "limit"])?;
    let filter = EventFilter { incident, source, kind, id: None, limit };
    Ok(json_answer(&json!({ "events": admin.store.list_events(filter).await? })))
}

/// The event whose id begins so; `source` tells those of one id apart.
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    query: Asked,
) -> Result<Response, Refusal> {
    let Filter { source, .. } = Filter::parse(query, &["source"])?;
    let filter =
        EventFilter { id: Some(id.clone()), source, limit: CANDIDATES_MAX, ..EventFilter::default() };
    let mut found = admin.store.list_events(filter).await?;
    if found.iter().any(|row| row.event.id == id) {
        found.retain(|row| row.event.id == id);
    }
    let [row] = found.as_slice() else {
        let several = "the id fits more than one event; send more of it, or `source`";
        return Err(match found.len() {
            0 => Refusal::not_found("no event has an id that begins so"),
            _ => Refusal::new(StatusCode::CONFLICT, several),
        });
    };
    let incident = match &row.event.incident {
        Some(incident) => notices(&admin, incident.clone()).await?,
        None => Vec::new(),
    };
    Ok(json_answer(&json!({ "event": row, "incident": incident })))
}

/// All that came of an incident, oldest first.
async fn notices(admin: &Admin, incident: String) -> Result<Vec<EventRow>, Refusal> {
    let filter = EventFilter { incident: Some(incident), limit: LISTED_MAX, ..EventFilter::default() };
    let mut rows = admin.store.list_events(filter).await?;
    rows.reverse();
    Ok(rows)
}

//! The control interface under `/_sim/`: what was asked and done, the state, faults, subscriptions, events. JSON over
//! HTTP, unsigned: a simulator listens where only its user can reach it. Tested by `tests/tests/it/sim.rs`.
//!
//! `GET requests`, `GET effects` (both with `?since=<seq>`), `GET counts`, `GET|PUT state` (PUT merges: a member
//! given as `null` is removed), `GET|POST|DELETE faults` (see `faults` for the kinds; `DELETE ?naming=<text>` leaves
//! those that name something else), `GET|POST|DELETE subscribe`, `POST emit`, `POST revoke` (no temporary key issued so far is
//! accepted any more), `GET|POST queues` (POST makes a queue and sends to it), `GET|POST logs` (the same
//! with a log store), `GET secrets` (the secret parts of all keys, and tokens, for a test to look for). Setting
//! `clock_offset_ms` of the state lets time pass for everything, also for the age of signatures.

use crate::emit::{self, EmitError, EmitRequest, Subscriber};
use crate::faults::Fault;
use crate::logs::LogsRequest;
use crate::queues::QueueRequest;
use crate::server::Simulator;
use crate::state::World;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::routing::{any, get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// The control routes.
pub(crate) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/_sim/requests", get(requests))
        .route("/_sim/effects", get(effects))
        .route("/_sim/counts", get(counts))
        .route("/_sim/state", get(state).put(put_state))
        .route("/_sim/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/_sim/subscribe", get(subscribers).post(subscribe).delete(unsubscribe))
        .route("/_sim/emit", post(emit_event))
        .route("/_sim/revoke", post(revoke))
        .route("/_sim/queues", get(queues).post(put_queue))
        .route("/_sim/logs", get(logs).post(put_logs))
        .route("/_sim/secrets", get(secrets))
        .route("/_sim/{*rest}", any(unknown))
}

async fn unknown() -> Reply {
    refuse(
        StatusCode::NOT_FOUND,
        "no such control: see requests, effects, counts, state, faults, subscribe, emit, revoke, queues, logs, secrets",
    )
}

type Shared = State<Arc<Simulator>>;
type Reply = Response<Body>;

async fn requests(State(sim): Shared, Query(query): Query<HashMap<String, String>>) -> Reply {
    let kept: Vec<_> = sim.traffic().requests.after(since(&query)).cloned().collect();
    reply(StatusCode::OK, &kept)
}

async fn effects(State(sim): Shared, Query(query): Query<HashMap<String, String>>) -> Reply {
    let kept: Vec<_> = sim.cloud().effects.after(since(&query)).cloned().collect();
    reply(StatusCode::OK, &kept)
}

fn since(query: &HashMap<String, String>) -> u64 {
    query.get("since").and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn secrets(State(sim): Shared) -> Reply {
    reply(StatusCode::OK, &[sim.keyring.secrets(), sim.metadata_tokens.all()].concat())
}

async fn counts(State(sim): Shared) -> Reply {
    let effects = sim.cloud().effects.total();
    let traffic = sim.traffic();
    let counts = json!({
        "requests": traffic.requests.total(),
        "effects": effects,
        "late": sim.later.pending(),
        "by_action": traffic.counts,
    });
    drop(traffic);
    reply(StatusCode::OK, &counts)
}

async fn state(State(sim): Shared) -> Reply {
    let world = sim.cloud().world.clone();
    reply(StatusCode::OK, &world)
}

async fn put_state(State(sim): Shared, body: Bytes) -> Reply {
    let patch: Value = match read(&body) {
        Ok(patch) => patch,
        Err(refused) => return *refused,
    };
    let mut cloud = sim.cloud();
    let mut merged = json!(cloud.world);
    merge(&mut merged, patch);
    match serde_json::from_value::<World>(merged) {
        Ok(world) => {
            sim.clock.set_offset_ms(world.clock_offset_ms);
            cloud.replace(world.clone());
            drop(cloud);
            reply(StatusCode::OK, &world)
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

/// JSON merge patch, RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(fields) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

async fn faults(State(sim): Shared) -> Reply {
    reply(StatusCode::OK, &sim.faults.waiting())
}

async fn add_fault(State(sim): Shared, body: Bytes) -> Reply {
    let fault: Fault = match read(&body) {
        Ok(fault) => fault,
        Err(refused) => return *refused,
    };
    match fault.check() {
        Ok(()) => {
            sim.faults.add(fault.clone());
            reply(StatusCode::OK, &fault)
        }
        Err(problem) => refuse(StatusCode::BAD_REQUEST, &problem.to_string()),
    }
}

async fn clear_faults(State(sim): Shared, Query(query): Query<HashMap<String, String>>) -> Reply {
    sim.faults.clear(query.get("naming").map(String::as_str));
    reply(StatusCode::OK, &sim.faults.waiting())
}

async fn subscribers(State(sim): Shared) -> Reply {
    reply(StatusCode::OK, &sim.subscribers.all())
}

async fn subscribe(State(sim): Shared, body: Bytes) -> Reply {
    match read::<Subscriber>(&body) {
        Ok(subscriber) if !["http://", "mns:", "sls:"].iter().any(|way| subscriber.url.starts_with(way)) => {
            refuse(
                StatusCode::BAD_REQUEST,
                "events go to `http://` addresses, to queues as `mns:<name>` and to log stores as `sls:<name>`",
            )
        }
        Ok(subscriber) => {
            sim.subscribers.add(subscriber.clone());
            reply(StatusCode::OK, &subscriber)
        }
        Err(refused) => *refused,
    }
}

async fn unsubscribe(State(sim): Shared) -> Reply {
    sim.subscribers.clear();
    reply(StatusCode::OK, &json!([]))
}

async fn revoke(State(sim): Shared) -> Reply {
    reply(StatusCode::OK, &json!({ "revoked": sim.keyring.revoke_temporary(sim.clock.now()) }))
}

async fn emit_event(State(sim): Shared, body: Bytes) -> Reply {
    let request: EmitRequest = match read(&body) {
        Ok(request) => request,
        Err(refused) => return *refused,
    };
    match emit::emit(&sim, &request).await {
        Ok(posted) => reply(StatusCode::OK, &posted),
        Err(error @ EmitError::UnknownInstance(_)) => refuse(StatusCode::NOT_FOUND, &error.to_string()),
        Err(error) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn queues(State(sim): Shared) -> Reply {
    reply(StatusCode::OK, &sim.queues.all())
}

async fn put_queue(State(sim): Shared, body: Bytes) -> Reply {
    match read::<QueueRequest>(&body) {
        Ok(request) => {
            sim.queues.put(request, &sim.ids, sim.clock.now());
            reply(StatusCode::OK, &sim.queues.all())
        }
        Err(refused) => *refused,
    }
}

async fn logs(State(sim): Shared) -> Reply {
    reply(StatusCode::OK, &sim.logs.all())
}

async fn put_logs(State(sim): Shared, body: Bytes) -> Reply {
    match read::<LogsRequest>(&body) {
        Ok(request) => {
            sim.logs.put(request, sim.clock.now());
            reply(StatusCode::OK, &json!({}))
        }
        Err(refused) => *refused,
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Reply>> {
    serde_json::from_slice(body)
        .map_err(|error| Box::new(refuse(StatusCode::BAD_REQUEST, &error.to_string())))
}

fn refuse(status: StatusCode, message: &str) -> Reply {
    reply(status, &json!({ "error": message }))
}

fn reply<T: Serialize>(status: StatusCode, content: &T) -> Reply {
    let body = serde_json::to_vec(content).expect("plain data can be written as JSON");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_merges_members_and_removes_those_given_as_null() {
        let mut state = json!({ "a": { "x": 1, "y": 2 }, "b": [1] });
        merge(&mut state, json!({ "a": { "x": null, "z": 3 }, "b": [2, 3] }));
        assert_eq!(state, json!({ "a": { "y": 2, "z": 3 }, "b": [2, 3] }));
    }
}

//! The metadata services of machines in both clouds, as far as they hand out the credential of the machine's role: Alibaba's
//! in its hardened mode alone. `metadata` of the state says which role a machine has and how long its keys last; each asking
//! makes new ones. Tested by `tests/tests/it/credentials.rs`.

use crate::keys::AlibabaStsKey;
use crate::server::Simulator;
use crate::traffic::{RequestSeen, shown};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{get, put};
use opsward_core::catalog::Provider;
use opsward_core::time::Timestamp;
use serde_json::json;
use serde_json::value::to_raw_value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

type Shared = State<Arc<Simulator>>;
type Reply = Response<Body>;

/// The services' routes.
pub(crate) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/latest/api/token", put(put_token))
        .route("/latest/meta-data/ram/security-credentials/", get(alibaba_roles))
        .route("/latest/meta-data/ram/security-credentials/{role}", get(alibaba_role))
        .route("/latest/meta-data/cam/security-credentials/", get(tencent_roles))
        .route("/latest/meta-data/cam/security-credentials/{role}", get(tencent_role))
}

/// The tokens that harden the asking, with their ends.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<Vec<(String, Timestamp)>>);

impl Tokens {
    fn add(&self, token: String, ends: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((token, ends));
    }

    pub(crate) fn all(&self) -> Vec<String> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.iter().map(|(token, _)| token.clone()).collect()
    }

    fn has(&self, token: &str, now: Timestamp) -> bool {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.iter().any(|(known, ends)| known == token && *ends > now)
    }
}

/// Longest life of such a token, in seconds.
const TOKEN_SECONDS_MAX: u64 = 21_600;

async fn put_token(State(sim): Shared, headers: HeaderMap) -> Reply {
    let asked = headers.get("x-aliyun-ecs-metadata-token-ttl-seconds").and_then(|value| value.to_str().ok());
    let seconds = asked.and_then(|text| text.parse().ok()).filter(|s| (1..=TOKEN_SECONDS_MAX).contains(s));
    // Something that forwards requests must not be able to get one.
    let seconds = seconds.filter(|_| !headers.contains_key("x-forwarded-for"));
    let is_hardened = sim.cloud().world.metadata.is_hardened;
    record(&sim, Provider::Alibaba, "PutToken", None, is_hardened && seconds.is_some());
    if !is_hardened {
        return reply(StatusCode::FORBIDDEN, String::new());
    }
    let Some(seconds) = seconds else { return reply(StatusCode::BAD_REQUEST, String::new()) };
    let token = sim.ids.word(56);
    sim.metadata_tokens.add(token.clone(), sim.clock.now() + Duration::from_secs(seconds));
    reply(StatusCode::OK, token)
}

async fn alibaba_roles(State(sim): Shared, headers: HeaderMap) -> Reply {
    let role = sim.cloud().world.metadata.alibaba_role.clone();
    let may = may_ask(&sim, &headers);
    record(&sim, Provider::Alibaba, "ListRoles", None, may && role.is_some());
    match role {
        _ if !may => reply(StatusCode::FORBIDDEN, String::new()),
        Some(role) => reply(StatusCode::OK, role),
        None => reply(StatusCode::NOT_FOUND, String::new()),
    }
}

async fn alibaba_role(State(sim): Shared, Path(role): Path<String>, headers: HeaderMap) -> Reply {
    let machine = sim.cloud().world.metadata.clone();
    let may = may_ask(&sim, &headers);
    let is_there = machine.alibaba_role.as_ref() == Some(&role);
    record(&sim, Provider::Alibaba, "GetRole", Some(&role), may && is_there);
    if !may || !is_there {
        return reply(if may { StatusCode::NOT_FOUND } else { StatusCode::FORBIDDEN }, String::new());
    }
    let now = sim.clock.now();
    let expires = now + Duration::from_secs(machine.seconds);
    let (key, _) = sim.keyring.assume(&sim.ids, &role, "i-metadata", Some(expires), None);
    let AlibabaStsKey { access_key_id, access_key_secret, security_token } = key;
    let body = json!({
        "Code": "Success", "AccessKeyId": access_key_id, "AccessKeySecret": access_key_secret,
        "SecurityToken": security_token, "Expiration": expires.to_iso_seconds(),
        "LastUpdated": now.to_iso_seconds(),
    });
    reply(StatusCode::OK, body.to_string())
}

async fn tencent_roles(State(sim): Shared) -> Reply {
    let role = sim.cloud().world.metadata.tencent_role.clone();
    record(&sim, Provider::Tencent, "ListRoles", None, role.is_some());
    match role {
        Some(role) => reply(StatusCode::OK, role),
        None => reply(StatusCode::NOT_FOUND, String::new()),
    }
}

async fn tencent_role(State(sim): Shared, Path(role): Path<String>) -> Reply {
    let machine = sim.cloud().world.metadata.clone();
    let is_there = machine.tencent_role.as_ref() == Some(&role);
    record(&sim, Provider::Tencent, "GetRole", Some(&role), is_there);
    if !is_there {
        return reply(StatusCode::NOT_FOUND, String::new());
    }
    let expires = sim.clock.now() + Duration::from_secs(machine.seconds);
    let key = sim.keyring.assume_tencent(&sim.ids, &role, "ins-metadata", expires, None);
    let body = json!({
        "TmpSecretId": key.secret_id, "TmpSecretKey": key.secret_key, "Token": key.token,
        "ExpiredTime": expires.seconds(), "Expiration": expires.to_iso_seconds(), "Code": "Success",
    });
    reply(StatusCode::OK, body.to_string())
}

/// Whether a request for the role may be answered.
fn may_ask(sim: &Simulator, headers: &HeaderMap) -> bool {
    if !sim.cloud().world.metadata.is_hardened {
        return true;
    }
    let token = headers.get("x-aliyun-ecs-metadata-token").and_then(|value| value.to_str().ok());
    token.is_some_and(|token| sim.metadata_tokens.has(token, sim.clock.now()))
}

fn record(sim: &Simulator, provider: Provider, action: &str, role: Option<&str>, is_fine: bool) {
    let seen = RequestSeen {
        seq: 0,
        time: shown(sim.clock.now()),
        provider,
        product: "metadata".to_owned(),
        version: "latest".to_owned(),
        action: action.to_owned(),
        method: if action == "PutToken" { "PUT" } else { "GET" }.to_owned(),
        region: None,
        params: Arc::from(to_raw_value(&json!({ "role": role })).expect("plain data can be written as JSON")),
        scheme: "none",
        signature: "none".to_owned(),
        access_key_id: None,
        session_token: false,
        nonce: None,
        client_token: None,
        request_id: String::new(),
        code: (!is_fine).then(|| "Refused".to_owned()),
        fault: None,
    };
    sim.traffic().record(seen);
}

fn reply(status: StatusCode, body: String) -> Reply {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
}

//! The admin listener: is the host alive and ready, its metrics, and what it holds, as JSON; and what a person may tell it: a
//! decision on a run, the kill switch (`halts`), and on schedules (`schedules`). Times in JSON are milliseconds since 1970 in UTC; every answer is one object,
//! so that fields can be added. `listen` binds, `gate` says who asks and may they, `tokens` reads those there are. Leaves what is
//! counted to the places where it happens. Tested over real connections in `admin/tests.rs`.

pub(crate) mod approvals;
mod events;
mod gate;
mod halts;
mod invoke;
mod listen;
pub(crate) mod schedules;
pub mod tokens;

pub use gate::Gate;
pub use listen::Listeners;

use crate::clock::Clock;
use crate::plugin::engine::Description;
use crate::plugin::registry::RegistryStatus;
use crate::policy::Policies;
use crate::resolve::{self, DecideError, Decided};
use crate::store::{RunFilter, Store, StoreError};
use crate::trigger::seen::Seen;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use opsward_core::access::{Caller, Scope};
use opsward_core::config::PolicySettings;
use opsward_core::id::{Digest, PolicyName, SourceName};
use opsward_core::run::RunState;
use opsward_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// What the admin listener shows.
#[derive(Clone)]
pub struct Admin {
    /// Says who asks.
    pub gate: Arc<Gate>,
    /// Events, runs, decisions on schedules.
    pub store: Arc<dyn Store>,
    /// The policies that are live.
    pub policies: Arc<Policies>,
    /// Tells when schedules fire next.
    pub clock: Arc<dyn Clock>,
    /// What has come from each source.
    pub seen: Arc<Seen>,
    /// Files of the plugins directory that are not live as they are, asked at each request.
    pub refused: Arc<dyn Fn() -> Vec<RefusedFile> + Send + Sync>,
    /// Tells the workers that there is work.
    pub work: Arc<Notify>,
    /// Signs the links by which people approve.
    pub approval_key: Arc<[u8; 32]>,
    /// The metrics so far.
    pub metrics: PrometheusHandle,
    /// Whether events are taken: the registry is loaded and the store is open.
    pub ready: watch::Receiver<bool>,
}

/// A file of the plugins directory that is not live as it is. An earlier content may still be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedFile {
    /// Its name in the plugins directory.
    pub file: String,
    /// The policy it would be or belong to.
    pub policy: Option<PolicyName>,
    /// Why.
    pub reason: String,
}

/// The refused files among what the registry knows.
pub fn refused_files(status: &RegistryStatus) -> Vec<RefusedFile> {
    let file = |file: &str, policy, reason: &str| RefusedFile {
        file: file.to_owned(),
        policy,
        reason: reason.to_owned(),
    };
    let plugins = status.plugins.iter().filter_map(|p| Some(file(&p.file, None, p.refused.as_deref()?)));
    let policies = status.policies.iter().filter_map(|p| {
        let name = p.file.strip_suffix(".toml").and_then(|stem| stem.parse().ok());
        Some(file(&p.file, name, p.refused.as_deref()?))
    });
    let waiting = status.policies.iter().filter_map(|p| {
        let name = p.file.strip_suffix(".toml").and_then(|stem| stem.parse().ok());
        let reason =
            [vec![p.waits.as_ref()?.to_string()], p.waits.as_ref()?.difference()].concat().join("; ");
        Some(file(p.plugin.as_deref()?, name, &reason))
    });
    plugins.chain(policies).chain(waiting).collect()
}

/// The routes, each behind the scope it needs; without a caller who has it none of them is reached.
fn router(admin: Admin) -> Router {
    let needing = |scope, routes: Router<Admin>| routes.route_layer(from_fn_with_state(scope, gate::needs));
    let metrics = Router::new().route("/metrics", get(metrics));
    let open = Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(ready));
    let read = Router::new()
        .route("/api/v1/policies", get(policies))
        .route("/api/v1/sources", get(sources))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/{id}", get(events::show))
        .route("/api/v1/runs", get(runs))
        .route("/api/v1/runs/{id}", get(run))
        .route("/api/v1/schedules", get(schedules::list))
        .route("/api/v1/approvals", get(approvals::list))
        .route("/api/v1/approvals/{id}", get(approvals::show))
        .route("/api/v1/halts", get(halts::list));
    let operate = Router::new()
        .route("/api/v1/runs/{id}/decision", post(decide))
        .route("/api/v1/policies/{name}/invoke", post(invoke::invoke))
        .route("/api/v1/schedules/pause", post(schedules::pause))
        .route("/api/v1/schedules/resume", post(schedules::resume))
        .route("/api/v1/schedules/fire", post(schedules::fire))
        .route("/api/v1/halt", post(halts::halt))
        .route("/api/v1/resume", post(halts::resume));
    let approve = Router::new().route("/api/v1/approvals/{id}/decision", post(approvals::decide));
    // A link says by itself who decides what.
    let open = open.route("/approve/{token}", get(approvals::look).post(approvals::use_link));
    let (open, read) = match admin.gate.open_metrics {
        true => (open.merge(metrics), read),
        false => (open, read.merge(metrics)),
    };
    open.merge(needing(Scope::Read, read))
        .merge(needing(Scope::Operate, operate))
        .merge(needing(Scope::Approve, approve))
        .fallback(async || Refusal::not_found("no such page"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this page is only read: use GET")
        })
        .layer(from_fn_with_state(admin.gate.clone(), gate::identify))
        .with_state(admin)
}

/// Says who has changed what, in one line of the log; every change that is made through this listener comes through here.
fn audited(caller: &Caller, what: &'static str, target: &str) {
    tracing::warn!(caller = caller.name, what, target, "changed through the admin listener");
}

async fn ready(State(admin): State<Admin>) -> Response {
    if *admin.ready.borrow() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n").into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    // Metrics matter most when the store does not answer.
    for (state, runs) in admin.store.count_runs().await.unwrap_or_default() {
        // Above 2^53 runs the last digits are lost.
        metrics::gauge!("opsward_runs", "state" => state.as_str()).set(runs as f64);
    }
    let text = admin.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn policies(State(admin): State<Admin>) -> Response {
    let set = admin.policies.load();
    let now = admin.clock.now();
    let live = set.policies.iter().map(|live| {
        let revision = &live.revision;
        policy_json(&live.settings, revision.digest, &revision.description, now)
    });
    json_answer(&json!({ "policies": live.collect::<Vec<_>>(), "refused": (admin.refused)() }))
}

/// What has come from each source since the host began.
async fn sources(State(admin): State<Admin>) -> Response {
    json_answer(&json!({ "sources": admin.seen.rows(admin.clock.now()) }))
}

async fn runs(State(admin): State<Admin>, query: Asked) -> Result<Response, Refusal> {
    let filter = Filter::parse(query, &["policy", "state", "limit"])?;
    let Filter { policy, state, limit, .. } = filter;
    let runs = admin.store.list_runs(RunFilter { policy, state, limit }).await?;
    Ok(json_answer(&json!({ "runs": runs })))
}

async fn run(State(admin): State<Admin>, Path(prefix): Path<String>) -> Result<Response, Refusal> {
    let found = admin.store.find_runs(&prefix, CANDIDATES_MAX).await?;
    let exact = found.iter().find(|run| run.row.id.as_str() == prefix);
    match (exact, found.as_slice()) {
        (Some(run), _) | (None, [run]) => Ok(json_answer(run)),
        (None, []) => Err(Refusal::not_found("no run has an id that begins so")),
        (None, several) => {
            let mut refusal =
                Refusal::new(StatusCode::CONFLICT, "the id fits more than one run; send more of it");
            refusal.candidates = several.iter().map(|run| json!(run.row)).collect();
            Err(refusal)
        }
    }
}

/// Takes a person's decision: `{"decision": {"resolve": {"done": {"request_id": "..."}}}, "epoch": 2}`, where `done` may be
/// `"not-done"` or `"abandon"` instead, and the whole decision `"retry"`; `epoch` is the run's as it was shown. `by` may name for
/// whom the caller decides.
async fn decide(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Path(prefix): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let mut decided: Decided = told(&headers, &body)?;
    decided.by = caller.named(&decided.by);
    let run = resolve::decide(admin.store.as_ref(), &prefix, &decided, admin.clock.now()).await?;
    audited(&caller, decided.decision.as_str(), run.row.id.as_str());
    admin.work.notify_one();
    Ok(json_answer(&json!({ "run": run.row.id })))
}

/// What a person tells this host to do.
fn told<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send `content-type: application/json`",
        ));
    }
    serde_json::from_slice(body).map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Runs named where a prefix fits several.
const CANDIDATES_MAX: usize = 10;
/// A live policy. Its `config` is left out: it may name what only the operator should see.
fn policy_json(settings: &PolicySettings, digest: Digest, told: &Description, now: Timestamp) -> Value {
    let asked: Vec<String> = told.permissions.iter().map(|permission| permission.action.clone()).collect();
    json!({
        "name": settings.name,
        "mode": settings.mode,
        "account": settings.account,
        "approvers": settings.approvers.as_ref().map(|approvers| &approvers.names),
        "plugin": {
            "file": settings.plugin,
            "digest": digest,
            "name": told.name,
            "version": told.version,
            "summary": told.summary,
        },
        "asks": told.permissions,
        "may": settings.grants.asked_by(&asked).rows(),
        "schedules": settings.schedules.iter().map(|schedule| schedules::schedule_json(schedule, now)).collect::<Vec<_>>(),
    })
}

/// The parameters of a request, as typed.
type Asked = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// What a request narrows its answer by.
#[derive(Default)]
struct Filter {
    policy: Option<PolicyName>,
    state: Option<RunState>,
    incident: Option<String>,
    source: Option<SourceName>,
    kind: Option<String>,
    limit: usize,
}

impl Filter {
    /// Reads the parameters a page `knows`; any other, or a value of the wrong form, is refused.
    fn parse(asked: Asked, knows: &[&str]) -> Result<Self, Refusal> {
        let bad = |problem: String| Refusal::new(StatusCode::BAD_REQUEST, problem);
        let Query(pairs) = asked.map_err(|e| bad(e.body_text()))?;
        let mut filter = Self::default();
        for (key, value) in pairs {
            match key.as_str() {
                _ if !knows.contains(&key.as_str()) => {
                    return Err(bad(format!("unknown parameter `{key}`: use {}", knows.join(", "))));
                }
                "policy" => {
                    filter.policy = Some(value.parse::<PolicyName>().map_err(|e| bad(e.to_string()))?)
                }
                "incident" => filter.incident = Some(value),
                "source" => {
                    filter.source = Some(value.parse::<SourceName>().map_err(|e| bad(e.to_string()))?)
                }
                "type" => filter.kind = Some(value),
                "state" => filter.state = Some(value.parse::<RunState>().map_err(|e| bad(e.to_string()))?),
                _ => {
                    let limit = value.parse().ok().filter(|limit| *limit > 0);
                    let refuse = || bad(format!("limit must be a number above 0, not `{value}`"));
                    filter.limit = limit.ok_or_else(refuse)?;
                }
            }
        }
        Ok(filter)
    }
}

fn json_answer(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, format!("unprintable answer: {error}"))
            .into_response(),
    }
}

/// An answer other than the one asked for.
struct Refusal {
    status: StatusCode,
    problem: String,
    candidates: Vec<Value>,
}

impl Refusal {
    fn new(status: StatusCode, problem: impl Into<String>) -> Self {
        Self { status, problem: problem.into(), candidates: Vec::new() }
    }

    fn not_found(problem: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, problem)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "the store did not answer an admin request");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

impl From<DecideError> for Refusal {
    fn from(error: DecideError) -> Self {
        let status = match error {
            DecideError::NotOne(0) => StatusCode::NOT_FOUND,
            DecideError::NotOne(_)
            | DecideError::Settle(_)
            | DecideError::RestsAnew { .. }
            | DecideError::Store(StoreError::Lost(_)) => StatusCode::CONFLICT,
            DecideError::Nobody => StatusCode::BAD_REQUEST,
            DecideError::Store(error) => return error.into(),
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.problem });
        if !self.candidates.is_empty() {
            body["candidates"] = Value::Array(self.candidates);
        }
        (self.status, json_answer(&body)).into_response()
    }
}

#[cfg(test)]
mod tests;

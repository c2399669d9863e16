//! The public listener's webhooks: `POST /hooks/<source>/<token>`. Checks the token, reads a bounded body, has it decoded,
//! and answers 200 once the events and their runs are on disk. Leaves what the bytes mean to `opsward_core::event` and
//! recording to `accept`. Tested over a loopback socket in `http/tests.rs`.
//!
//! | answer | when |
//! |---|---|
//! | 200 | recorded, or known already |
//! | 400 | not what the source's kind sends; with line and column where there are any |
//! | 404 | unknown source or wrong token: which of them is not told, nor shown by the time it takes |
//! | 405 | neither POST nor OPTIONS |
//! | 408, 413 | the body is too slow, too large |
//! | 503 | too many at once, or the store cannot record now: the sender should try again |

mod listener;

pub use listener::serve;

use super::accept::{Accept, count};
use crate::store::{Acceptance, StoreError};
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures::StreamExt as _;
use opsward_core::event::{BODY_BYTES_MAX, DecodeError, Delivery, Event, Mapping, SourceKind, decode};
use opsward_core::id::{Digest, SourceName};
use opsward_core::secret::Secret;
use serde_json::json;
use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// A place that events are posted to.
#[derive(Debug, Clone)]
pub struct HookSource {
    /// The first part of its path.
    pub name: SourceName,
    /// What its senders send.
    pub kind: SourceKind,
    /// How that is read, where the kind is `generic`.
    pub map: Option<Mapping>,
    /// The second part of its path.
    pub token: Secret,
}

/// Bounds of the public listener.
#[derive(Debug, Clone, Copy)]
pub struct HookLimits {
    /// Requests worked on at a time; over it the answer is 503. With full bodies 512 of them take 128 MiB.
    pub requests_max: usize,
    /// Open connections; over it the kernel's backlog waits. Most sit idle, and each takes a file descriptor.
    pub connections_max: usize,
    /// How long a sender may take for the head of a request, idle time before it included, and again for its body. The
    /// clouds' own patience with us is 5 s.
    pub read_timeout: Duration,
    /// How long the store may take before the sender is told to come again.
    pub accept_timeout: Duration,
}

impl Default for HookLimits {
    fn default() -> Self {
        let ten_seconds = Duration::from_secs(10);
        Self {
            requests_max: 512,
            connections_max: 2048,
            read_timeout: ten_seconds,
            accept_timeout: ten_seconds,
        }
    }
}

/// How much of a body that is too large is read and thrown away, so that the sender gets to read the answer instead of a reset
/// connection.
const DISCARDED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Seconds a sender is asked to wait after a 503: a commit takes milliseconds, a full disk longer than anybody waits.
const RETRY_AFTER_SECONDS: u16 = 2;

struct Hooks {
    sources: HashMap<String, Hook>,
    /// Compared with the token where the source is unknown.
    no_source: Secret,
    accept: Arc<Accept>,
    requests: Semaphore,
    limits: HookLimits,
}

struct Hook {
    name: SourceName,
    kind: SourceKind,
    map: Option<Mapping>,
    token_digest: Secret,
}

/// The routes of the public listener.
pub fn router(sources: Vec<HookSource>, accept: Arc<Accept>, limits: HookLimits) -> Router {
    let hooks = sources.into_iter().map(|HookSource { name, kind, map, token }| {
        (name.as_str().to_owned(), Hook { name, kind, map, token_digest: digest(token.expose()) })
    });
    let hooks = Hooks {
        sources: hooks.collect(),
        no_source: digest(""),
        accept,
        requests: Semaphore::new(limits.requests_max),
        limits,
    };
    Router::new()
        .route("/hooks/{source}/{token}", post(deliver).options(validate))
        .fallback(|| async { Refusal::NotFound.into_response() })
        .with_state(Arc::new(hooks))
}

/// Tokens are compared by digest, so that neither content nor length shows in the time.
fn digest(token: &str) -> Secret {
    Secret::new(Digest::of(token.as_bytes()).to_string())
}

impl Hooks {
    fn find(&self, path: Result<Path<(String, String)>, PathRejection>) -> Result<&Hook, Refusal> {
        let Path((source, token)) = path.map_err(|_| Refusal::NotFound)?;
        let hook = self.sources.get(&source);
        let wanted = hook.map_or(&self.no_source, |hook| &hook.token_digest);
        let token_matches = wanted.matches(digest(&token).expose());
        hook.filter(|_| token_matches).ok_or(Refusal::NotFound)
    }
}

type HookPath = Result<Path<(String, String)>, PathRejection>;

async fn deliver(State(hooks): State<Arc<Hooks>>, path: HookPath, request: Request) -> Response {
    let hook = match hooks.find(path) {
        Ok(hook) => hook,
        Err(refusal) => {
            count("unknown", refusal.result());
            return refusal.into_response();
        }
    };
    match receive(&hooks, hook, request).await {
        Ok(acceptances) => recorded(&acceptances),
        Err(refusal) => {
            let source = &hook.name;
            match &refusal {
                // Counted where it failed.
                Refusal::Store(error) => {
                    tracing::error!(%source, error = chain(error), "events not recorded")
                }
                refusal => {
                    tracing::warn!(%source, reason = %refusal.message(), "delivery refused");
                    count(source.as_str(), refusal.result());
                }
            }
            refusal.into_response()
        }
    }
}

async fn receive(hooks: &Hooks, hook: &Hook, request: Request) -> Result<Vec<Acceptance>, Refusal> {
    let _turn = hooks.requests.try_acquire().map_err(|_| Refusal::Busy)?;
    let (head, body) = request.into_parts();
    let headers = event_headers(&head.headers)?;
    let body = tokio::time::timeout(hooks.limits.read_timeout, read(&head.headers, body))
        .await
        .map_err(|_| Refusal::TooSlow)??;
    let delivery = Delivery { headers: &headers, body: &body };
    let now = hooks.accept.clock.now();
    let events = match &hook.map {
        Some(map) => map.decode(&hook.name, &delivery, now)?,
        None => decode(hook.kind, &hook.name, &delivery, now)?,
    };
    record(hooks, events, body).await
}

/// Hands the events over in a task of its own: a sender that hangs up does not stop half-way what was begun.
async fn record(hooks: &Hooks, events: Vec<Event>, raw: Vec<u8>) -> Result<Vec<Acceptance>, Refusal> {
    let accept = hooks.accept.clone();
    let recording = tokio::spawn(async move { accept.accept(events, &raw).await });
    match tokio::time::timeout(hooks.limits.accept_timeout, recording).await {
        Ok(Ok(accepted)) => accepted.map_err(Refusal::Store),
        Ok(Err(failed)) => Err(Refusal::Store(StoreError::Closed(failed.to_string()))),
        Err(_) => Err(Refusal::StoreSlow),
    }
}

/// The headers that decoders look at.
fn event_headers(headers: &HeaderMap) -> Result<Vec<(String, String)>, Refusal> {
    let wanted =
        headers.iter().filter(|(name, _)| **name == CONTENT_TYPE || name.as_str().starts_with("ce-"));
    wanted
        .map(|(name, value)| match std::str::from_utf8(value.as_bytes()) {
            Ok(value) => Ok((name.as_str().to_owned(), value.to_owned())),
            Err(_) => Err(Refusal::Unreadable(format!("header `{name}` is not UTF-8"))),
        })
        .collect()
}

async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Refusal> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let announced = announced.unwrap_or(0);
    // A sender that asks first has sent nothing yet.
    if announced > BODY_BYTES_MAX && headers.contains_key(EXPECT) {
        return Err(Refusal::TooLarge);
    }
    let mut bytes = Vec::with_capacity(announced.min(BODY_BYTES_MAX));
    let mut seen = 0_usize;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|e| Refusal::Unreadable(format!("the body broke off: {e}")))?;
        seen = seen.saturating_add(chunk.len());
        if seen > DISCARDED_BYTES_MAX {
            break;
        }
        if seen <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&chunk);
        }
    }
    if seen > BODY_BYTES_MAX { Err(Refusal::TooLarge) } else { Ok(bytes) }
}

fn recorded(acceptances: &[Acceptance]) -> Response {
    let runs = acceptances.iter().map(|one| match one {
        Acceptance::New { runs } => *runs,
        Acceptance::Duplicate => 0,
    });
    let duplicates = acceptances.iter().filter(|one| **one == Acceptance::Duplicate).count();
    let accepted = acceptances.len() - duplicates;
    let body = json!({ "accepted": accepted, "duplicates": duplicates, "runs": runs.sum::<usize>() });
    answer(StatusCode::OK, &body)
}

/// Why a delivery is not recorded.
#[derive(Debug)]
enum Refusal {
    NotFound,
    Busy,
    TooSlow,
    TooLarge,
    Unreadable(String),
    Decode(DecodeError),
    Store(StoreError),
    StoreSlow,
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unreadable(_) | Self::Decode(_) => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Store(_) | Self::StoreSlow => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// As it is counted.
    fn result(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Busy => "busy",
            Self::TooSlow => "too-slow",
            Self::TooLarge => "too-large",
            Self::Unreadable(_) | Self::Decode(_) => "malformed",
            Self::Store(_) | Self::StoreSlow => "unavailable",
        }
    }

    /// As the sender reads it. What ails the store is the operator's to know.
    fn message(&self) -> String {
        match self {
            Self::NotFound => "not found".to_owned(),
            Self::Busy => "too many requests at once".to_owned(),
            Self::TooSlow => "the body did not arrive in time".to_owned(),
            Self::TooLarge => format!("the body is larger than {BODY_BYTES_MAX} bytes"),
            Self::Unreadable(problem) => problem.clone(),
            Self::Decode(error) => chain(error),
            Self::Store(StoreError::Full) => "the host's disk is full: nothing was recorded".to_owned(),
            Self::Store(_) => "the host cannot record events now".to_owned(),
            Self::StoreSlow => {
                "recording takes too long: it may still succeed, send the event again".to_owned()
            }
        }
    }

    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.message() });
        if let Self::Decode(error) = &self
            && let Some((line, column)) = error.position()
        {
            body["line"] = line.into();
            body["column"] = column.into();
        }
        let status = self.status();
        let mut response = answer(status, &body);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// The error with its causes, in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Tells a sender that asks whether it may post here (CloudEvents "HTTP 1.1 Web Hooks", section 4): whoever knows the path
/// may, at any rate.
async fn validate(State(hooks): State<Arc<Hooks>>, path: HookPath, headers: HeaderMap) -> Response {
    let hook = match hooks.find(path) {
        Ok(hook) => hook,
        Err(refusal) => return refusal.into_response(),
    };
    let mut response = StatusCode::OK.into_response();
    let answers = response.headers_mut();
    answers.insert("allow", HeaderValue::from_static("POST, OPTIONS"));
    if hook.kind == SourceKind::Cloudevents
        && let Some(origin) = headers.get("webhook-request-origin")
    {
        answers.insert(HeaderName::from_static("webhook-allowed-origin"), origin.clone());
        answers.insert(HeaderName::from_static("webhook-allowed-rate"), HeaderValue::from_static("*"));
    }
    response
}

#[cfg(test)]
mod tests;

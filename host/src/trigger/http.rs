//! The public listener's webhooks: `POST /hooks/<source>/<token>`. Checks the token, reads a bounded body, has it decoded,
//! and answers 200 once the events and their runs are on disk. Leaves what the bytes mean to `opsward_core::event` and
//! recording to `accept`. Tested over a loopback socket in `http/tests.rs`.
//!
//! | answer | when |
//! |---|---|
//! | 200 | recorded, or known already |
//! | 400 | not what the source's kind sends; with line and column where there are any |
//! | 401 | without the proof that the source asks for |
//! | 403 | from an address that the source does not take from |
//! | 404 | unknown source or wrong token: which of them is not told, nor shown by the time it takes |
//! | 405 | neither POST nor OPTIONS |
//! | 408, 413 | the body is too slow, too large |
//! | 429 | faster than the source's rate, or too many of it at once: the sender should try again |
//! | 503 | too many at once, the store cannot record now, or a certificate cannot be had: the sender should try again |

mod body;
mod impatient;
mod listener;
mod per_address;
mod refusal;
mod room;

pub use listener::serve;

use super::accept::Accept;
use crate::cloud::Certificates;
use crate::failpoint::wrong;
use crate::store::{Acceptance, StoreError};
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use opsward_core::event::{self, Delivery, Event, Mapping, SourceKind, decode};
use opsward_core::id::{Digest, SourceName};
use opsward_core::secret::Secret;
use opsward_core::sender::addresses::{AddressRange, sender_of};
use opsward_core::sender::{Checked, Delivered, Proof, Trust, check, check_signed};
pub(super) use refusal::chain;
use refusal::{Refusal, answer};
use room::{Place, Room, Share};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

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
    /// What deliveries must bear besides.
    pub proof: Proof<Secret>,
    /// From where they may come; from anywhere where there is none.
    pub addresses: Vec<AddressRange>,
    /// Most deliveries a second, of those that bear the proof; and as many from one address before it is checked.
    pub rate: u32,
    /// Whether some of its events are proved, and others may be hints.
    pub is_mixed: bool,
}

impl HookSource {
    /// Refuses what comes from elsewhere than the source takes from.
    fn lets_in(&self, from: Option<IpAddr>) -> Result<(), Refusal> {
        let is_in = |from| self.addresses.iter().any(|range| range.contains(from));
        if self.addresses.is_empty() || from.is_some_and(is_in) { Ok(()) } else { Err(Refusal::Elsewhere) }
    }
}

/// What the webhooks need.
pub struct Receiving {
    /// Records what is taken.
    pub accept: Arc<Accept>,
    /// Of senders that sign with them; where none does, none.
    pub certificates: Option<Arc<Certificates>>,
    /// The proxies in front, whose word on who asks is believed.
    pub proxies: Vec<AddressRange>,
    /// The listener's bounds.
    pub limits: HookLimits,
}

/// Bounds of the public listener.
#[derive(Debug, Clone, Copy)]
pub struct HookLimits {
    /// Requests worked on at a time.
    pub requests_max: usize,
    /// Those of one source: an eighth, so that a flood leaves room for the others, and more than a cloud sends at once.
    pub source_requests_max: usize,
    /// Those of one address, or one /64 of IPv6, of which nothing is proved yet: an eighth of the source's.
    pub unproved_per_address: usize,
    /// Bytes of bodies at a time, those of which the store has not said yet that they are on disk included. One source at its bound
    /// takes a quarter.
    pub body_bytes_max: usize,
    /// Open connections; over it the kernel's backlog waits. Most sit idle, and each takes a file descriptor.
    pub connections_max: usize,
    /// Those from one address, or from one /64 of IPv6, the operator's proxies excepted; over it they are closed.
    pub connections_per_address: usize,
    /// How long a sender may take for the head of a request, idle time before it included, and again for its body. The
    /// clouds' own patience with us is 5 s.
    pub read_timeout: Duration,
    /// How long a peer may read nothing of an answer before it is cut off.
    pub write_timeout: Duration,
    /// How long a delivery waits for room: the clouds give up after 5 s, and recording takes time as well.
    pub turn_timeout: Duration,
    /// How long the store may take before the sender is told to come again.
    pub accept_timeout: Duration,
}

impl Default for HookLimits {
    fn default() -> Self {
        let ten_seconds = Duration::from_secs(10);
        Self {
            requests_max: 512,
            source_requests_max: 64,
            unproved_per_address: 8,
            body_bytes_max: 64 << 20,
            connections_max: 2048,
            connections_per_address: 2048,
            read_timeout: ten_seconds,
            write_timeout: ten_seconds,
            turn_timeout: Duration::from_secs(2),
            accept_timeout: ten_seconds,
        }
    }
}

struct Hooks {
    sources: HashMap<String, Hook>,
    /// Compared with the token where the source is unknown.
    no_source: Secret,
    room: Room,
    receiving: Receiving,
}

struct Hook {
    token_digest: Secret,
    source: HookSource,
    share: Share,
}

/// Who is at the other end of a connection: to be laid over the router as an extension.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The routes of the public listener.
pub fn router(sources: Vec<HookSource>, receiving: Receiving) -> Router {
    let room = Room::new(receiving.limits);
    let hooks = sources.into_iter().map(|source| {
        let (token_digest, share) = (digest(source.token.expose()), room.share(&source));
        (source.name.as_str().to_owned(), Hook { token_digest, source, share })
    });
    let hooks = Hooks { sources: hooks.collect(), no_source: digest(""), room, receiving };
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

    /// Whom a request is from; `None` where a proxy does not say.
    fn sender(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let forwarded = headers.get_all("x-forwarded-for").iter();
        // A value that is no text is nobody's address.
        let forwarded = forwarded.map(|value| value.to_str().unwrap_or_default());
        sender_of(peer, &self.receiving.proxies, forwarded)
    }

    /// How far a delivery is to be believed.
    async fn believe(&self, hook: &Hook, delivered: &Delivered<'_>) -> Result<Trust, Refusal> {
        let proof = &hook.source.proof;
        match check(proof, delivered, self.receiving.accept.clock.now())? {
            Checked::Believed(trust) => Ok(trust),
            Checked::Needs(certificate) => {
                let Some(certificates) = &self.receiving.certificates else { return Err(Refusal::NotFound) };
                let key = certificates.key(&certificate).await.map_err(Refusal::Uncertified)?;
                Ok(check_signed(proof, delivered, &key)?)
            }
        }
    }
}

type HookPath = Result<Path<(String, String)>, PathRejection>;

async fn deliver(
    State(hooks): State<Arc<Hooks>>,
    Extension(Peer(peer)): Extension<Peer>,
    path: HookPath,
    request: Request,
) -> Response {
    let hook = match hooks.find(path) {
        Ok(hook) => hook,
        Err(refusal) => {
            metrics::counter!("opsward_events_total", "source" => "unknown", "result" => refusal.result())
                .increment(1);
            return refusal.into_response();
        }
    };
    match receive(&hooks, hook, peer, request).await {
        Ok(answer) => answer,
        Err(refusal) => {
            let accept = &hooks.receiving.accept;
            if accept.seen.is_first(&hook.source.name, refusal.result()) {
                refusal.tell(&hook.source.name);
            }
            // What the store refuses is counted where it failed.
            if !matches!(refusal, Refusal::Store(_)) {
                accept.seen.count(&hook.source.name, refusal.result(), accept.clock.now());
            }
            refusal.into_response()
        }
    }
}

async fn receive(hooks: &Hooks, hook: &Hook, peer: IpAddr, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    let from = hooks.sender(peer, &head.headers);
    hook.source.lets_in(from)?;
    let sender = from.unwrap_or(peer);
    hooks.room.turn_before_proof(&hook.share, sender)?;
    let unproved = hooks.room.place_before_proof(&hook.share, sender).await?;
    let place = hooks.room.place(&hook.share, body::announced(&head.headers)).await?;
    let headers = wanted_headers(&hook.source.proof, &head.headers)?;
    let body = tokio::time::timeout(hooks.receiving.limits.read_timeout, body::read(&head.headers, body))
        .await
        .map_err(|_| Refusal::TooSlow)??;
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let trust = hooks.believe(hook, &Delivered { headers: &headers, target, body: &body }).await?;
    drop(unproved);
    hooks.room.turn_of_proved(&hook.share)?;
    let delivery = Delivery { headers: &headers, body: &body };
    let HookSource { kind, name, map, is_mixed, .. } = &hook.source;
    let now = hooks.receiving.accept.clock.now();
    let mut events = match map {
        Some(map) => map.decode(name, &delivery, now)?,
        None => decode(*kind, name, &delivery, now)?,
    };
    if *is_mixed && trust == Trust::Hint && !wrong("hints-take-ids") {
        events = events.into_iter().map(Event::unproved).collect();
    }
    let wanted = event::answer(*kind, &body);
    Ok(recorded(&record(hooks, events, body, trust, place).await?, wanted))
}

/// Hands the events over in a task of its own: a sender that hangs up does not stop half-way what was begun.
async fn record(
    hooks: &Hooks,
    events: Vec<Event>,
    raw: Vec<u8>,
    trust: Trust,
    place: Place,
) -> Result<Vec<Acceptance>, Refusal> {
    let accept = hooks.receiving.accept.clone();
    let recording = tokio::spawn(async move {
        let accepted = accept.accept(events, &raw, trust).await;
        drop(place);
        accepted
    });
    match tokio::time::timeout(hooks.receiving.limits.accept_timeout, recording).await {
        Ok(Ok(accepted)) => accepted.map_err(Refusal::Store),
        Ok(Err(failed)) => Err(Refusal::Store(StoreError::Closed(failed.to_string()))),
        Err(_) => Err(Refusal::StoreSlow),
    }
}

/// The headers that decoders and the source's proof look at.
fn wanted_headers(proof: &Proof<Secret>, headers: &HeaderMap) -> Result<Vec<(String, String)>, Refusal> {
    let is_wanted = |name: &str| name == "content-type" || name.starts_with("ce-") || proof.looks_at(name);
    let wanted = headers.iter().filter(|(name, _)| is_wanted(name.as_str()));
    wanted
        .map(|(name, value)| match std::str::from_utf8(value.as_bytes()) {
            Ok(value) => Ok((name.as_str().to_owned(), value.to_owned())),
            Err(_) => Err(Refusal::Unreadable(format!("header `{name}` is not UTF-8"))),
        })
        .collect()
}

/// The answer that it is on disk, with what the sender wants to read in it besides.
fn recorded(acceptances: &[Acceptance], wanted: Vec<(&'static str, Value)>) -> Response {
    let runs = acceptances.iter().map(|one| match one {
        Acceptance::New { runs } => *runs,
        Acceptance::Duplicate => 0,
    });
    let duplicates = acceptances.iter().filter(|one| **one == Acceptance::Duplicate).count();
    let accepted = acceptances.len() - duplicates;
    let mut body = json!({ "accepted": accepted, "duplicates": duplicates, "runs": runs.sum::<usize>() });
    wanted.into_iter().for_each(|(name, value)| body[name] = value);
    answer(StatusCode::OK, &body)
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
    if hook.source.kind == SourceKind::Cloudevents
        && let Some(origin) = headers.get("webhook-request-origin")
    {
        answers.insert(HeaderName::from_static("webhook-allowed-origin"), origin.clone());
        answers.insert(HeaderName::from_static("webhook-allowed-rate"), HeaderValue::from_static("*"));
    }
    response
}

#[cfg(test)]
mod tests;

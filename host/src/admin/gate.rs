//! The door of the admin listener: who asks, and may they. The one place where an identity comes from: the user at the other end of
//! the socket, as the kernel tells it, or the holder of a token. Leaves what scopes there are to `opsward_core::access`, and which
//! route needs which to `admin`. Tested in `admin/tests/access.rs`.

use super::Refusal;
use super::listen::Peer;
use super::tokens::{self, Known};
use crate::clock::Clock;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use opsward_core::access::{Caller, FAILURES_MAX, Failures, Scope, Unrecognised, is_own_host};
use opsward_core::config::AdminSettings;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Where the names of users are.
const USERS: &str = "/etc/passwd";

/// Whom the admin listener knows.
pub struct Gate {
    known: Known,
    failures: Mutex<Failures>,
    clock: Arc<dyn Clock>,
    hosts: Vec<String>,
    pub(super) open_metrics: bool,
    /// Whom the service runs as.
    own: u32,
    own_name: String,
}

/// Nobody the host knows.
#[derive(Debug, Clone)]
enum Stranger {
    /// Another user of this machine, at the socket.
    User,
    /// Without a token.
    Nobody,
    /// With a token that is none.
    Forged,
    /// With one that has expired.
    Expired,
    /// With the last of too many wrong ones.
    TooMany(Duration),
}

impl Gate {
    /// Of the host whose store is at `store`.
    pub fn new(settings: &AdminSettings, store: &Path, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        // Both ends of a socket of one's own are oneself.
        let own = tokio::net::UnixStream::pair()?.0.peer_cred()?.uid();
        Ok(Self {
            known: Known::in_file(tokens::path_of(store)),
            failures: Mutex::default(),
            clock,
            hosts: settings.hosts.clone(),
            open_metrics: settings.open_metrics,
            own,
            own_name: name_of(own),
        })
    }

    fn identify(&self, peer: Peer, headers: &HeaderMap) -> Result<Caller, Stranger> {
        let from = match peer {
            Peer::Socket { uid } => {
                let caller = uid.and_then(|uid| Caller::local(uid, self.own, &self.own_name));
                return caller.ok_or_else(|| {
                    tracing::warn!(uid, "another user of this machine asked at the admin socket");
                    Stranger::User
                });
            }
            Peer::Tcp { from } => from,
        };
        let mut presented = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(only), None) = (presented.next(), presented.next()) else { return Err(Stranger::Nobody) };
        let token = only.to_str().ok().and_then(bearer);
        let recognised = token.map(|token| self.known.all().recognise(token, self.clock.now()));
        match recognised.unwrap_or(Err(Unrecognised::Unknown)) {
            Ok(caller) => Ok(caller),
            Err(problem) => Err(self.refuse(from, &problem)),
        }
    }

    /// Counts a wrong token, and says so in the log while that is news.
    fn refuse(&self, from: IpAddr, problem: &Unrecognised) -> Stranger {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (failures, forgotten_in) = failures.count(from, self.clock.now());
        match problem {
            _ if failures > FAILURES_MAX + 1 => {}
            _ if failures > FAILURES_MAX => {
                tracing::warn!(%from, "too many wrong tokens from there; no more is said of them for a minute");
            }
            Unrecognised::Unknown => tracing::warn!(%from, "wrong token at the admin listener"),
            Unrecognised::Expired(name) => {
                tracing::warn!(%from, token = %name, "expired token at the admin listener")
            }
        }
        match problem {
            _ if failures > FAILURES_MAX => Stranger::TooMany(forgotten_in),
            Unrecognised::Unknown => Stranger::Forged,
            Unrecognised::Expired(_) => Stranger::Expired,
        }
    }

    /// Whether the request comes from a web page, or was meant for another host.
    fn misdirected(&self, peer: Peer, request: &Request) -> Option<Refusal> {
        // The page behind a signed link has a button; whoever has no such link finds no page.
        let is_signed = request.uri().path().starts_with("/approve/");
        if request.headers().contains_key(header::ORIGIN) && !is_signed {
            return Some(Refusal::new(StatusCode::FORBIDDEN, "a web page has no business here"));
        }
        // No browser reaches a socket.
        let Peer::Tcp { .. } = peer else { return None };
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let named = hosts.next().and_then(|host| host.to_str().ok());
        let is_own = |host: &str| is_own_host(host, &self.hosts);
        let is_meant = hosts.next().is_none()
            && named.is_some_and(is_own)
            && request.uri().authority().is_none_or(|authority| is_own(authority.as_str()));
        let problem =
            "this host has no such name: ask by address, or add the name to `hosts` under `[admin]`";
        (!is_meant).then(|| Refusal::new(StatusCode::MISDIRECTED_REQUEST, problem))
    }
}

/// Finds out who asks; every request comes through here first.
pub(super) async fn identify(
    State(gate): State<Arc<Gate>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(refusal) = gate.misdirected(peer, &request) {
        return refusal.into_response();
    }
    let identity = Identity(gate.identify(peer, request.headers()));
    request.extensions_mut().insert(identity);
    next.run(request).await
}

/// Who asks, before anybody has said that it matters.
#[derive(Clone)]
struct Identity(Result<Caller, Stranger>);

/// Lets callers through who may do this, and tells the handler who they are: `Extension<Caller>`.
pub(super) async fn needs(State(scope): State<Scope>, mut request: Request, next: Next) -> Response {
    let identity = request.extensions_mut().remove::<Identity>().map(|identity| identity.0);
    let caller = match identity.unwrap_or(Err(Stranger::Nobody)) {
        Ok(caller) => caller,
        Err(stranger) => return turned_away(&stranger),
    };
    if !caller.may(scope) && !crate::failpoint::wrong("no-scopes") {
        let scopes: Vec<&str> = caller.scopes.iter().map(|scope| scope.as_str()).collect();
        let problem = format!("`{}` may {}; this needs `{scope}`", caller.name, scopes.join(", "));
        tracing::warn!(caller = caller.name, %scope, "turned away: the token has another scope");
        return Refusal::new(StatusCode::FORBIDDEN, problem).into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

fn turned_away(stranger: &Stranger) -> Response {
    let (status, problem) = match stranger {
        Stranger::User => {
            (StatusCode::FORBIDDEN, "only root and the service's own user are known at this socket")
        }
        Stranger::Nobody => (
            StatusCode::UNAUTHORIZED,
            "say who asks: `authorization: Bearer <token>`; `opsward token new` makes one",
        ),
        Stranger::Forged => {
            (StatusCode::UNAUTHORIZED, "no such token: `opsward token ls` lists those there are")
        }
        Stranger::Expired => {
            (StatusCode::UNAUTHORIZED, "the token has expired: `opsward token new` makes another")
        }
        Stranger::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens from your address"),
    };
    let mut answer = Refusal::new(status, problem).into_response();
    if status == StatusCode::UNAUTHORIZED {
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"opsward\""));
    }
    if let Stranger::TooMany(wait) = stranger {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    answer
}

/// The token of an `authorization` header.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The user's name; its number where this machine's file of users does not have it.
fn name_of(uid: u32) -> String {
    let users = std::fs::read_to_string(USERS).unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid {uid}"))
}

//! Makes one attempt of one call: sign, send, judge the answer. Never repeats anything, at any layer. Learns from each
//! account's answers how far this machine's clock is off. Leaves repeating to `broker`, credentials to `credentials`, where
//! connections may go to `egress`, and every decision to `opsward_core`. Tested in `client/tests.rs` against loopback servers.

use super::credentials::{Held, Metadata, Sessions};
use super::egress::Clients;
use super::wire;
use crate::broker::Caller;
use crate::clock::Clock;
use crate::failpoint::wrong;
use opsward_core::answer::{Answer, RESPONSE_BYTES_MAX, Remedy, Verdict, judge, no_answer, not_sent};
use opsward_core::call::{CallError, ErrorKind};
use opsward_core::catalog::Provider;
use opsward_core::credential::{CredentialSource, Issued};
use opsward_core::egress::Reach;
use opsward_core::endpoint::{Endpoint, is_region};
use opsward_core::id::{AccountName, hex};
use opsward_core::retry::refusal;
use opsward_core::secret::{Credential, Secret};
use opsward_core::sign::{OutboundCall, Scheme, SignedRequest, anonymous, prepare};
use opsward_core::time::Timestamp;
use reqwest::header::HeaderMap;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// How long a call may take where the caller does not say. The vendors' own clients give slow actions more.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// A smaller difference to the cloud's clock is left alone: its `Date` has whole seconds and travelled.
const SKEW_MIN_MS: i64 = 5_000;
/// Random bytes of a nonce: 128 bits never meet again.
const NONCE_BYTES: usize = 16;

/// A cloud account, ready for use.
#[derive(Debug, Clone)]
pub struct Account {
    /// The operator's name for it.
    pub name: AccountName,
    /// Whose cloud.
    pub provider: Provider,
    /// Where all its calls go; computed from service and region where absent.
    pub endpoint: Option<Endpoint>,
    /// How its calls are signed.
    pub scheme: Scheme,
    /// The region of calls that name none; may be empty.
    pub region: String,
    /// Where what signs comes from.
    pub credentials: CredentialSource<Issued>,
}

/// Sends calls for accounts.
pub struct CloudClient {
    accounts: HashMap<AccountName, Known>,
    /// What calls may refer to by name.
    secrets: HashMap<String, Secret>,
    clock: Arc<dyn Clock>,
    random: SystemRandom,
    pub(super) clients: Clients,
    metadata: Metadata,
}

pub(super) struct Known {
    pub(super) account: Account,
    pub(super) sessions: Sessions,
    /// The cloud's clock minus ours, in milliseconds.
    skew_ms: AtomicI64,
}

/// The HTTP client cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client")]
pub struct BuildClientError(#[from] reqwest::Error);

impl CloudClient {
    /// A client for `accounts`, whose names differ, whose calls may refer to `secrets`.
    ///
    /// # Errors
    /// Where TLS cannot be set up. A machine without CA certificates is no error: https calls fail, each saying so.
    pub fn new(
        accounts: Vec<Account>,
        secrets: HashMap<String, Secret>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildClientError> {
        install_tls();
        let reach = |account: &Account| account.endpoint.as_ref().map_or(Reach::Table, Endpoint::reach);
        let clients = Clients::new(accounts.iter().map(reach))?;
        let known = |account: Account| {
            let sessions = Sessions::new(account.name.clone(), account.credentials.clone());
            (account.name.clone(), Known { account, sessions, skew_ms: AtomicI64::new(0) })
        };
        let accounts = accounts.into_iter().map(known).collect();
        let metadata = Metadata::new()?;
        Ok(Self { accounts, secrets, clock, random: SystemRandom::new(), clients, metadata })
    }

    /// The same with clients for endpoints that no account names.
    ///
    /// # Errors
    /// As [`CloudClient::new`].
    pub fn reaching<'a>(
        mut self,
        endpoints: impl IntoIterator<Item = &'a Endpoint>,
    ) -> Result<Self, BuildClientError> {
        self.clients = self.clients.and(endpoints.into_iter().map(Endpoint::reach))?;
        Ok(self)
    }

    pub(super) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The account of this name; the error is the host's own.
    pub(super) fn known(&self, name: &AccountName) -> Result<&Known, CallError> {
        self.accounts.get(name).ok_or_else(|| {
            let message = format!("account `{name}` is not configured");
            refusal(ErrorKind::Invalid, "opsward.unknown-account", message)
        })
    }

    /// The account's cloud's time, as far as it is known.
    pub(super) fn now_of(&self, known: &Known) -> Timestamp {
        let skew_ms = known.skew_ms.load(Ordering::Relaxed);
        Timestamp::from_ms(self.clock.now().ms().saturating_add(skew_ms))
    }

    /// How far the account's cloud's clock is ahead of ours, in milliseconds, and when the credential in use lapses.
    pub fn learnt(&self, name: &AccountName) -> Option<(i64, Option<Timestamp>)> {
        let known = self.accounts.get(name)?;
        Some((known.skew_ms.load(Ordering::Relaxed), known.sessions.own().expires()))
    }

    pub(super) fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)
    }

    /// The account of this name.
    pub fn account(&self, name: &AccountName) -> Option<&Account> {
        self.accounts.get(name).map(|known| &known.account)
    }

    /// Makes one attempt of `call`, in at most `timeout` or [`TIMEOUT_DEFAULT`]. An empty region takes the account's.
    ///
    /// A connection that cannot be made is `NotExecuted`; whatever goes wrong later is `Unclear`. A call that cannot be
    /// sent as it is, such as one to an unknown service, is `Answered` with `Invalid`.
    pub async fn send(
        &self,
        caller: Caller<'_>,
        call: &OutboundCall<'_>,
        timeout: Option<Duration>,
    ) -> Verdict {
        let known = match self.known(caller.account) {
            Ok(known) => known,
            Err(refused) => return Verdict::Answered(Err(refused)),
        };
        match known.sessions.of(caller.session) {
            Some(held) => self.send_with(known, &held, call, timeout.unwrap_or(TIMEOUT_DEFAULT)).await,
            None => {
                let message = format!(
                    "account `{}` gives each policy a session, and this one has none",
                    caller.account
                );
                refuse("opsward.no-session", message)
            }
        }
    }

    /// The same for the host itself.
    pub(super) async fn send_as_account(&self, known: &Known, call: &OutboundCall<'_>) -> Verdict {
        self.send_with(known, known.sessions.own(), call, TIMEOUT_DEFAULT).await
    }

    async fn send_with(
        &self,
        known: &Known,
        held: &Held,
        call: &OutboundCall<'_>,
        timeout: Duration,
    ) -> Verdict {
        let region = if call.region.is_empty() { &known.account.region } else { call.region };
        let call = OutboundCall { region, ..*call };
        let credential = match self.credential(known, held).await {
            Ok(credential) => credential,
            Err(none) => return not_sent("opsward.no-credential", &none.to_string()),
        };
        let mut verdict = self.attempt(known, Some(&credential), call, timeout).await;
        if let Verdict::NotExecuted { error, remedy: Remedy::RefreshCredentials, .. } = &mut verdict {
            // The next sending has another credential, where there is one to be had.
            error.retryable = held.reject(&credential.key_id, self.now_of(known));
        }
        verdict
    }

    /// Signs and sends once, in at most `timeout`; without a credential it is not signed.
    pub(super) async fn attempt(
        &self,
        known: &Known,
        credential: Option<&Credential>,
        call: OutboundCall<'_>,
        timeout: Duration,
    ) -> Verdict {
        let verdict = match self.sign(known, credential, &call) {
            Ok((endpoint, request)) => {
                let exchange = self.exchange(known, &call, &endpoint, request);
                tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| {
                    no_answer("opsward.timeout", &format!("no answer within {} s", timeout.as_secs_f32()))
                })
            }
            Err(refusal) => refusal,
        };
        count(&known.account.name, &call, &verdict);
        verdict
    }

    pub(super) fn random_bytes<const N: usize>(&self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).is_ok().then_some(bytes)
    }

    fn sign(
        &self,
        known: &Known,
        credential: Option<&Credential>,
        call: &OutboundCall<'_>,
    ) -> Result<(Endpoint, SignedRequest), Verdict> {
        let account = &known.account;
        let endpoint = match &account.endpoint {
            // The region goes into a header all the same.
            Some(_) if !call.region.is_empty() && !is_region(call.region) => {
                return Err(refuse("opsward.invalid-region", format!("`{}` is not a region", call.region)));
            }
            Some(endpoint) => endpoint.clone(),
            None => Endpoint::of(account.provider, call.service, call.region)
                .map_err(|error| refuse("opsward.no-endpoint", error.to_string()))?,
        };
        let Some(nonce) = self.random_bytes::<NONCE_BYTES>() else {
            return Err(not_sent("opsward.no-randomness", "the operating system gives no random numbers"));
        };
        let (now, nonce) = (self.now_of(known), hex(&nonce));
        if let Some(credential) = credential.filter(|_| wrong("logs-a-key")) {
            tracing::info!(key = ?credential.key_secret.expose().as_bytes(), "seeded by a test");
        }
        let prepared = match credential {
            Some(credential) => prepare(account.scheme, call, &endpoint, credential, now, &nonce),
            None => anonymous::prepare(account.provider, call, &endpoint, now, &nonce),
        };
        prepared
            .map(|request| (endpoint, request))
            .map_err(|error| refuse("opsward.invalid-params", error.to_string()))
    }

    async fn exchange(
        &self,
        known: &Known,
        call: &OutboundCall<'_>,
        endpoint: &Endpoint,
        request: SignedRequest,
    ) -> Verdict {
        let response = match wire::send(&self.clients, endpoint, &request).await {
            Ok(response) => response,
            Err(verdict) => return verdict,
        };
        self.learn_skew(known, response.headers());
        let status = response.status().as_u16();
        let (request_id, retry_after_ms) = {
            let header = |name: &str| response.headers().get(name)?.to_str().ok();
            let wait = header("x-acs-retry-after").and_then(|ms| ms.parse().ok());
            (header("x-acs-request-id").map(str::to_owned), wait)
        };
        match wire::read_body(response, RESPONSE_BYTES_MAX).await {
            Ok(body) => judge(
                known.account.provider,
                &Answer {
                    service: call.service,
                    action: call.action,
                    status,
                    body: &body,
                    request_id: request_id.as_deref(),
                    retry_after_ms,
                    string_to_sign: &request.string_to_sign,
                },
            ),
            Err(unclear) => unclear,
        }
    }

    /// Keeps the difference between the cloud's clock and ours for the next signature.
    pub(super) fn learn_skew(&self, known: &Known, headers: &HeaderMap) {
        let date = headers.get("date").and_then(|value| value.to_str().ok());
        let Some(theirs) = date.and_then(Timestamp::parse_http_date) else { return };
        let skew_ms = theirs.ms().saturating_sub(self.clock.now().ms());
        let skew_ms = if skew_ms.saturating_abs() < SKEW_MIN_MS { 0 } else { skew_ms };
        let before = known.skew_ms.swap(skew_ms, Ordering::Relaxed);
        if before == 0 && skew_ms != 0 {
            let account = known.account.name.as_str();
            tracing::warn!(
                account,
                skew_ms,
                "this machine's clock differs from the cloud's: signing with the cloud's"
            );
        }
    }
}

/// Makes ring the process's TLS provider unless there is one.
pub fn install_tls() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
}

/// For a call that the host does not send: it would never work.
pub(super) fn refuse(code: &str, message: String) -> Verdict {
    let kind = ErrorKind::Invalid;
    Verdict::Answered(Err(CallError { kind, code: code.into(), message, request_id: None, retryable: false }))
}

fn count(account: &AccountName, call: &OutboundCall<'_>, verdict: &Verdict) {
    let (word, code) = match verdict {
        Verdict::Answered(Ok(_)) => ("done", ""),
        Verdict::Answered(Err(error)) => ("refused", error.code.as_str()),
        Verdict::NotExecuted { error, .. } => ("not-executed", error.code.as_str()),
        Verdict::Unclear { error } => ("unclear", error.code.as_str()),
    };
    let action = format!("{}:{}", call.service, call.action);
    tracing::debug!(
        account = account.as_str(),
        action,
        region = call.region,
        verdict = word,
        code,
        "cloud call sent"
    );
    metrics::counter!(
        "opsward_cloud_calls_total",
        "account" => account.as_str().to_owned(),
        "action" => action,
        "verdict" => word
    )
    .increment(1);
}

#[cfg(test)]
mod tests;

//! Requests of the protocols by which sources are fetched from: the same credentials, signatures, clients and clock as calls have.
//! They are no calls of a policy's: what they do to a queue or a log store is the source's own business. One request a time, never
//! repeated. Leaves what is asked, and what an answer says, to `opsward_core::source`. Tested by `tests/tests/it/pulled.rs`.

use super::client::CloudClient;
use super::wire;
use opsward_core::answer::Verdict;
use opsward_core::call::{CallError, ErrorKind};
use opsward_core::catalog::{self, Class};
use opsward_core::endpoint::Endpoint;
use opsward_core::id::AccountName;
use opsward_core::retry::refusal;
use opsward_core::secret::Credential;
use opsward_core::sign::{OutboundCall, SignedRequest};
use opsward_core::time::Timestamp;
use reqwest::header::HeaderMap;
use std::time::Duration;
use zeroize::Zeroizing;

/// Statuses of a refusal that may be for the credential's sake.
const OF_CREDENTIALS: [u16; 3] = [400, 401, 403];

/// What is asked of whom.
pub struct Pull<'a> {
    /// With whose credential.
    pub account: &'a AccountName,
    /// Where.
    pub endpoint: &'a Endpoint,
    /// What is asked, for the metrics: `mns:ReceiveMessage`.
    pub action: &'static str,
    /// How long all of it may take.
    pub timeout: Duration,
    /// Longest answer, in bytes.
    pub bytes_max: usize,
}

/// An answer, whatever it says.
pub struct Pulled {
    /// The HTTP status.
    pub status: u16,
    headers: HeaderMap,
    /// Zeroed when dropped: events may hold secrets as well as anything.
    pub body: Zeroizing<Vec<u8>>,
}

impl Pulled {
    /// The header of this name, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl CloudClient {
    /// Sends what `prepare` signs, once.
    ///
    /// # Errors
    /// Where there is no answer, or none that is whole.
    pub async fn pull(
        &self,
        what: &Pull<'_>,
        prepare: impl Fn(&Credential, Timestamp) -> SignedRequest,
    ) -> Result<Pulled, CallError> {
        let pulled = tokio::time::timeout(what.timeout, self.pull_now(what, prepare));
        let outcome = pulled.await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s", what.timeout.as_secs_f32());
            Err(refusal(ErrorKind::Unavailable, "opsward.timeout", message))
        });
        let verdict = match &outcome {
            Ok(pulled) if pulled.status < 400 => "done",
            Ok(_) => "refused",
            Err(_) => "unclear",
        };
        metrics::counter!(
            "opsward_cloud_calls_total",
            "account" => what.account.as_str().to_owned(), "action" => what.action, "verdict" => verdict
        )
        .increment(1);
        outcome
    }

    /// What a read of the host's own is answered: one that changes nothing, for no policy.
    ///
    /// # Errors
    /// What the cloud, or this host, says instead.
    pub async fn read(
        &self,
        account: &AccountName,
        service: &str,
        action: &str,
        region: &str,
        params: &str,
    ) -> Result<String, CallError> {
        let known = self.known(account)?;
        let provider = known.account.provider;
        let version = catalog::version_of(provider, service);
        let is_read = catalog::class_of(provider, service, action) == Class::Read;
        let Some(version) = version.filter(|_| is_read) else {
            let message = format!("`{service}:{action}` is no read");
            return Err(refusal(ErrorKind::Invalid, "opsward.not-a-read", message));
        };
        let call = OutboundCall { service, version, action, region, params, token: None, dry_run: None };
        match self.send_as_account(known, &call).await {
            Verdict::Answered(Ok(response)) => Ok(response.body),
            failed => Err(fault(failed)),
        }
    }

    async fn pull_now(
        &self,
        what: &Pull<'_>,
        prepare: impl Fn(&Credential, Timestamp) -> SignedRequest,
    ) -> Result<Pulled, CallError> {
        let known = self.known(what.account)?;
        let held = known.sessions.own();
        let credential = self
            .credential(known, held)
            .await
            .map_err(|none| refusal(ErrorKind::Unavailable, "opsward.no-credential", none.to_string()))?;
        let request = prepare(&credential, self.now_of(known));
        let response = wire::send(&self.clients, what.endpoint, &request).await.map_err(fault)?;
        self.learn_skew(known, response.headers());
        let status = response.status().as_u16();
        if OF_CREDENTIALS.contains(&status) {
            held.reject(&credential.key_id, self.now_of(known));
        }
        let headers = response.headers().clone();
        let body = wire::read_body(response, what.bytes_max).await.map_err(fault)?;
        Ok(Pulled { status, headers, body })
    }
}

fn fault(verdict: Verdict) -> CallError {
    match verdict {
        Verdict::Answered(Err(error)) | Verdict::NotExecuted { error, .. } | Verdict::Unclear { error } => {
            error
        }
        Verdict::Answered(Ok(_)) => {
            refusal(ErrorKind::Unavailable, "opsward.no-answer", "there is no answer".to_owned())
        }
    }
}

//! The credentials of accounts: from keys, profiles, machines' roles, roles of roles and tokens, fetched anew before they
//! lapse. One file per source; `held` keeps one and sees to it that only one call fetches. Leaves when to fetch to
//! `opsward_core::credential::refresh`. Tested by `tests/tests/it/credentials.rs`.

mod held;
mod keys;
mod metadata;
mod profile;
mod sessions;

pub(super) use held::Held;
pub use keys::{ReadSecretError, SECRET_BYTES_MAX, is_readable_by_others, resolve};
pub(super) use metadata::Metadata;
pub(super) use sessions::Sessions;

use super::client::{CloudClient, Known};
use futures::future::BoxFuture;
use keys::read_text;
use opsward_core::answer::{Remedy, Verdict};
use opsward_core::call::{CallError, ErrorKind};
use opsward_core::catalog::Provider;
use opsward_core::credential::profile::ProfileError;
use opsward_core::credential::session::PolicySession;
use opsward_core::credential::sts::{Identity, ReadIssuedError, StsCall, read_issued};
use opsward_core::credential::{CredentialSource, Issued};
use opsward_core::id::AccountName;
use opsward_core::retry::refusal;
use opsward_core::secret::{Credential, Secret};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a fetch may take, a whole chain of roles.
const FETCH_MAX: Duration = Duration::from_secs(20);
/// How long a call waits for a fetch, its own or another's: as long as it may take itself. It is not signed before, so that
/// what is said of a signature's life holds.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long one call of a token service may take: they answer within a second.
const ISSUE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a credential cannot be fetched. Holds nothing of any.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A file cannot be read, or must not be.
    #[error(transparent)]
    Read(#[from] ReadSecretError),
    /// Profiles are in the home directory.
    #[error(
        "profiles are in the home directory, and the variable HOME is not set: set it where the service runs"
    )]
    NoHome,
    /// The profile does not serve.
    #[error("{place}: {cause}")]
    Profile {
        /// Its file.
        place: String,
        /// Why.
        cause: ProfileError,
    },
    /// The metadata service.
    #[error("{0}")]
    Metadata(String),
    /// The metadata service knows nothing of it.
    #[error("the metadata service knows of no role of this machine: attach one")]
    NoSuchRole,
    /// What was issued is not whole.
    #[error("what was issued cannot be used: {0}")]
    Issued(#[from] ReadIssuedError),
    /// The token service refuses, or does not answer.
    #[error("sts:{action}: {} ({})", error.message, error.code)]
    Sts {
        /// Which call of it.
        action: &'static str,
        /// What it said.
        error: Box<CallError>,
    },
    /// All of it took too long.
    #[error("not fetched within {} s", FETCH_MAX.as_secs())]
    TooLong,
}

/// No credential to make a call with.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NoCredential(String);

/// Reads the profile that `source` begins with, if any, so that what is wrong with it is told at the start.
///
/// # Errors
/// Where it cannot be read or used.
pub fn try_profile<K>(provider: Provider, source: &CredentialSource<K>) -> Result<(), FetchError> {
    match source.beginning() {
        CredentialSource::Profile(name) => profile::read(provider, name).map(drop),
        _ => Ok(()),
    }
}

impl CloudClient {
    /// What `held` has, or what is fetched for it.
    pub(super) async fn credential(
        &self,
        known: &Known,
        held: &Held,
    ) -> Result<Arc<Credential>, NoCredential> {
        let fetch = async || {
            let fetched = self.fetch(known, held.source(), held.session().map(Arc::as_ref));
            tokio::time::timeout(FETCH_MAX, fetched).await.unwrap_or(Err(FetchError::TooLong))
        };
        let got = held.get(|| self.now_of(known), fetch);
        tokio::time::timeout(WAIT_MAX, got)
            .await
            .unwrap_or_else(|_| Err(NoCredential(FetchError::TooLong.to_string())))
    }

    /// Who the account's credential is, by the cloud's own word.
    ///
    /// # Errors
    /// What the cloud, or this host, says instead.
    pub async fn identify(&self, account: &AccountName) -> Result<Identity, CallError> {
        let known = self.known(account)?;
        let call = StsCall::identity(known.account.provider);
        let outbound = call.outbound(&known.account.region);
        let mut verdict = self.send_as_account(known, &outbound).await;
        if matches!(&verdict, Verdict::NotExecuted { error, .. } if error.retryable && !is_own(error)) {
            // The clock's difference is known now, or another credential is to be had.
            verdict = self.send_as_account(known, &outbound).await;
        }
        let body = answered(verdict)?;
        serde_json::from_str(&body).map_err(|_| {
            let message = "the cloud does not say who the credential is".to_owned();
            refusal(ErrorKind::Unavailable, "opsward.NoIdentity", message)
        })
    }

    /// Fetches along the chain of roles; what narrows it narrows the last role.
    fn fetch<'a>(
        &'a self,
        known: &'a Known,
        source: &'a CredentialSource<Issued>,
        session: Option<&'a PolicySession>,
    ) -> BoxFuture<'a, Result<Issued, FetchError>> {
        let provider = known.account.provider;
        Box::pin(async move {
            match source {
                CredentialSource::Keys(issued) => Ok(issued.clone()),
                CredentialSource::Profile(name) => {
                    let source = profile::read(provider, name)?;
                    self.fetch(known, &source, None).await
                }
                CredentialSource::InstanceRole(role) => {
                    self.metadata().issued(provider, role.as_deref()).await
                }
                CredentialSource::AssumeRole(assumed) => {
                    let by = self.fetch(known, &assumed.from, None).await?;
                    let call = StsCall::assume_role(provider, &assumed.role, session);
                    self.issue(known, Some(&by.credential), "AssumeRole", &call).await
                }
                CredentialSource::Oidc(oidc) => {
                    let place = format!("token file `{}`", oidc.token_file.display());
                    let text = read_text(&oidc.token_file, &place, SECRET_BYTES_MAX)?;
                    let token = Secret::new(text.trim().to_owned());
                    if token.expose().is_empty() {
                        return Err(ReadSecretError::Empty(place).into());
                    }
                    let call = StsCall::with_token(provider, oidc, &token, session);
                    self.issue(known, None, "AssumeRole with a token", &call).await
                }
            }
        })
    }

    /// Has the token service issue a credential, to the bearer of another or of the token in the call.
    async fn issue(
        &self,
        known: &Known,
        by: Option<&Credential>,
        action: &'static str,
        call: &StsCall,
    ) -> Result<Issued, FetchError> {
        let outbound = call.outbound(&known.account.region);
        let mut verdict = self.attempt(known, by, outbound, ISSUE_TIMEOUT).await;
        if matches!(verdict, Verdict::NotExecuted { remedy: Remedy::Resign, .. }) {
            // A machine whose clock is wrong has learnt the right time from this answer.
            verdict = self.attempt(known, by, outbound, ISSUE_TIMEOUT).await;
        }
        let body = answered(verdict).map_err(|error| FetchError::Sts { action, error: Box::new(error) })?;
        Ok(read_issued(body.as_bytes())?)
    }
}

/// Whether this host says it, and no cloud.
fn is_own(error: &CallError) -> bool {
    error.code.starts_with("opsward.")
}

/// The body of an answer, which may hold a credential.
fn answered(verdict: Verdict) -> Result<Zeroizing<String>, CallError> {
    match verdict {
        Verdict::Answered(Ok(response)) => Ok(Zeroizing::new(response.body)),
        Verdict::Answered(Err(error)) | Verdict::NotExecuted { error, .. } | Verdict::Unclear { error } => {
            Err(error)
        }
    }
}

//! Keeps the credential of one account. Many calls may ask at once; one of them fetches. Leaves when to fetch to
//! `opsward_core::credential::refresh`, and fetching to the caller. Tested below.

use super::{FetchError, NoCredential};
use opsward_core::credential::refresh::{Failures, Holding, Step, may_replace, step};
use opsward_core::credential::session::PolicySession;
use opsward_core::credential::{CredentialSource, Issued};
use opsward_core::id::AccountName;
use opsward_core::secret::Credential;
use opsward_core::time::Timestamp;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The credential of one account.
pub(in crate::cloud) struct Held {
    account: AccountName,
    source: CredentialSource<Issued>,
    /// What narrows it, where it is one policy's.
    session: Option<Arc<PolicySession>>,
    state: Mutex<State>,
    /// Held by the call that fetches.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    current: Option<(Arc<Credential>, Holding)>,
    /// The fetches that failed since one succeeded, and what the latest said.
    failed: Option<(Failures, String)>,
}

impl Held {
    pub(in crate::cloud) fn new(
        account: AccountName,
        source: CredentialSource<Issued>,
        session: Option<Arc<PolicySession>>,
    ) -> Self {
        let current = match &source {
            CredentialSource::Keys(issued) => {
                let obtained = Timestamp::default();
                let holding = Holding { obtained, expires: issued.expires, is_rejected: false };
                Some((Arc::new(issued.credential.clone()), holding))
            }
            _ => None,
        };
        let state = Mutex::new(State { current, failed: None });
        Self { account, source, session, state, flight: tokio::sync::Mutex::default() }
    }

    pub(in crate::cloud) fn source(&self) -> &CredentialSource<Issued> {
        &self.source
    }

    pub(in crate::cloud) fn session(&self) -> Option<&Arc<PolicySession>> {
        self.session.as_ref()
    }

    /// When what is held lapses.
    pub(in crate::cloud) fn expires(&self) -> Option<Timestamp> {
        self.state().current.as_ref().and_then(|(_, holding)| holding.expires)
    }

    /// What to sign with. `now` tells the cloud's time.
    pub(in crate::cloud) async fn get(
        &self,
        now: impl Fn() -> Timestamp,
        fetch: impl AsyncFnOnce() -> Result<Issued, FetchError>,
    ) -> Result<Arc<Credential>, NoCredential> {
        let turn = match self.step(now()) {
            Step::Use | Step::Refuse => return self.current_or_refusal(now()),
            Step::Fetch => self.flight.lock().await,
            Step::Renew => match self.flight.try_lock() {
                Ok(turn) => turn,
                Err(_) => return self.current_or_refusal(now()),
            },
        };
        // Another may have fetched while this call waited for its turn.
        if matches!(self.step(now()), Step::Fetch | Step::Renew) {
            let fetched = fetch().await;
            self.keep(fetched, now());
        }
        drop(turn);
        self.current_or_refusal(now())
    }

    /// The cloud has refused the credential of this key id. Whether the next call has another.
    pub(in crate::cloud) fn reject(&self, key_id: &str, now: Timestamp) -> bool {
        if matches!(self.source, CredentialSource::Keys(_)) {
            return false;
        }
        let mut state = self.state();
        let Some((credential, holding)) = &mut state.current else { return true };
        if credential.key_id != key_id {
            return true;
        }
        let may = may_replace(holding, now);
        holding.is_rejected |= may;
        may
    }

    fn keep(&self, fetched: Result<Issued, FetchError>, now: Timestamp) {
        let account = self.account.as_str();
        let outcome = if fetched.is_ok() { "fetched" } else { "failed" };
        metrics::counter!(
            "opsward_credential_fetches_total", "account" => account.to_owned(), "outcome" => outcome
        )
        .increment(1);
        let mut state = self.state();
        match fetched {
            Ok(Issued { credential, expires }) => {
                let policy = self.session.as_ref().map(|session| session.policy.as_str());
                let expires_at = expires.map(tracing::field::display);
                tracing::info!(account, policy, expires = expires_at, "credential fetched");
                let holding = Holding { obtained: now, expires, is_rejected: false };
                *state = State { current: Some((Arc::new(credential), holding)), failed: None };
            }
            Err(error) => {
                let count = state.failed.as_ref().map_or(0, |(failures, _)| failures.count).saturating_add(1);
                tracing::warn!(account, failures = count, "credential cannot be fetched: {error}");
                state.failed = Some((Failures { at: now, count }, error.to_string()));
            }
        }
    }

    /// What there is while it lasts.
    fn current_or_refusal(&self, now: Timestamp) -> Result<Arc<Credential>, NoCredential> {
        let state = self.state();
        let reason = state.failed.as_ref().map(|(_, reason)| reason.as_str());
        match (&state.current, reason) {
            (Some((credential, _)), None) => Ok(credential.clone()),
            (Some((credential, holding)), Some(reason)) => match holding.expires {
                Some(expires) if now >= expires => Err(NoCredential(format!(
                    "the credential has lapsed at {expires}, and no new one came: {reason}"
                ))),
                _ => Ok(credential.clone()),
            },
            (None, reason) => {
                Err(NoCredential(format!("no credential: {}", reason.unwrap_or("it was not fetched"))))
            }
        }
    }

    fn step(&self, now: Timestamp) -> Step {
        let state = self.state();
        let holding = state.current.as_ref().map(|(_, holding)| holding);
        let failures = state.failed.as_ref().map(|(failures, _)| failures);
        if matches!(self.source, CredentialSource::Keys(_)) {
            Step::Use
        } else {
            step(holding, failures, now)
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};
    use opsward_core::secret::Secret;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn issued(key_id: &str, expires: i64) -> Issued {
        let key_secret = Secret::new("hunter2".into());
        let credential = Credential { key_id: key_id.into(), key_secret, session_token: None };
        Issued { credential, expires: Some(Timestamp::from_seconds(expires)) }
    }

    fn role() -> Arc<Held> {
        Arc::new(Held::new("prod".parse().expect("a name"), CredentialSource::InstanceRole(None), None))
    }

    async fn key_id(
        held: &Held,
        clock: &ManualClock,
        fetch: Result<Issued, FetchError>,
    ) -> Result<String, String> {
        let got = held.get(|| clock.now(), async || fetch).await;
        got.map(|credential| credential.key_id.clone()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn many_calls_wait_for_one_fetch() {
        let (held, fetches) = (role(), Arc::new(AtomicUsize::new(0)));
        let calls: Vec<_> = (0..50)
            .map(|_| {
                let (held, fetches) = (held.clone(), fetches.clone());
                tokio::spawn(async move {
                    let fetch = async || {
                        fetches.fetch_add(1, Ordering::SeqCst);
                        tokio::task::yield_now().await;
                        Ok(issued("a", 10_000))
                    };
                    held.get(|| Timestamp::from_seconds(1000), fetch).await.map(|got| got.key_id.clone())
                })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.expect("ends").expect("a credential"), "a");
        }
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_renewed_is_used_until_it_lapses() {
        let (held, clock) = (role(), ManualClock::at(Timestamp::from_seconds(1000)));
        let failed = || Err(FetchError::NoSuchRole);
        assert_eq!(key_id(&held, &clock, Ok(issued("a", 4600))).await.as_deref(), Ok("a"));
        clock.set(Timestamp::from_seconds(4500));
        assert_eq!(key_id(&held, &clock, failed()).await.as_deref(), Ok("a"));
        // Too soon to ask again.
        assert_eq!(key_id(&held, &clock, Ok(issued("b", 9000))).await.as_deref(), Ok("a"));
        clock.set(Timestamp::from_seconds(4600));
        let refused = key_id(&held, &clock, failed()).await.expect_err("lapsed");
        assert!(refused.contains("has lapsed at 1970-01-01T01:16:40.000Z"), "{refused}");
        assert!(refused.contains("attach one"), "{refused}");
        clock.set(Timestamp::from_seconds(4700));
        assert_eq!(key_id(&held, &clock, Ok(issued("b", 9000))).await.as_deref(), Ok("b"));
    }

    #[tokio::test]
    async fn one_that_the_cloud_refuses_is_replaced_once() {
        let (held, clock) = (role(), ManualClock::at(Timestamp::from_seconds(1000)));
        assert_eq!(key_id(&held, &clock, Ok(issued("a", 9000))).await.as_deref(), Ok("a"));
        assert!(!held.reject("a", clock.now()), "it is fresh");
        clock.set(Timestamp::from_seconds(2000));
        assert!(held.reject("a", clock.now()) && held.reject("a", clock.now()));
        assert_eq!(key_id(&held, &clock, Ok(issued("b", 9000))).await.as_deref(), Ok("b"));
        assert!(held.reject("a", clock.now()), "another is there");
        assert!(!held.reject("b", clock.now()), "it is fresh");
    }

    #[tokio::test]
    async fn keys_are_never_fetched() {
        let keys = CredentialSource::Keys(Issued { expires: None, ..issued("a", 0) });
        let held = Held::new("prod".parse().expect("a name"), keys, None);
        let clock = ManualClock::at(Timestamp::from_seconds(1000));
        assert!(!held.reject("a", clock.now()));
        assert_eq!(key_id(&held, &clock, Err(FetchError::NoSuchRole)).await.as_deref(), Ok("a"));
    }
}

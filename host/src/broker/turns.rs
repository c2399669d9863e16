//! One pace per account, region and action for all policies, and the waiting for a turn. Leaves how fast that is to
//! `opsward_core::pace`, and sending to `send`. Tested in `tests/`.

use crate::failpoint::{haste, wrong};
use opsward_core::answer::Verdict;
use opsward_core::call::{CallRequest, ErrorKind};
use opsward_core::catalog::{self, Provider};
use opsward_core::id::AccountName;
use opsward_core::pace::{Crowded, Pace};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Paces kept; those at rest are forgotten beyond it. Ten accounts in thirty regions with thirty actions each are fewer.
const PACES_MAX: usize = 10_000;

/// The paces of this host.
#[derive(Debug)]
pub(super) struct Turns {
    begun: Instant,
    paces: Mutex<HashMap<Key, Pace>>,
}

/// Account, region, `service:Action`.
type Key = (AccountName, String, String);

impl Default for Turns {
    fn default() -> Self {
        Self { begun: Instant::now(), paces: Mutex::default() }
    }
}

impl Turns {
    /// Waits until `request` may be sent for the `sends`-th time.
    ///
    /// # Errors
    /// `Crowded` where that would be too long.
    pub(super) async fn wait(
        &self,
        account: &AccountName,
        provider: Option<Provider>,
        request: &CallRequest,
        sends: u32,
    ) -> Result<(), Crowded> {
        let wait = {
            let rate = provider.and_then(|p| catalog::find(p, &request.service, &request.action)?.rate);
            let mut paces = self.lock();
            let now = self.begun.elapsed();
            if paces.len() >= PACES_MAX {
                paces.retain(|_, pace| !pace.is_idle(now));
            }
            let pace = paces.entry(key(account, request)).or_insert_with(|| Pace::new(rate));
            if sends == 1 {
                pace.sent();
            }
            pace.turn(now)?
        };
        if !wait.is_zero() {
            tokio::time::sleep(haste(wait)).await;
        }
        Ok(())
    }

    /// Learns from what the cloud said. Whether the call may be repeated if its class allows it.
    pub(super) fn learn(&self, account: &AccountName, request: &CallRequest, verdict: &Verdict) {
        if let Verdict::NotExecuted { error, retry_after, .. } = verdict
            && error.kind == ErrorKind::Throttled
        {
            let now = self.begun.elapsed();
            if let Some(pace) = self.lock().get_mut(&key(account, request)) {
                pace.throttled(now, *retry_after);
            }
        }
    }

    /// Whether one more repetition of such calls is within the budget; takes it if so.
    pub(super) fn may_repeat(&self, account: &AccountName, request: &CallRequest) -> bool {
        wrong("no-retry-budget") || self.lock().get_mut(&key(account, request)).is_none_or(Pace::may_repeat)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Pace>> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(account: &AccountName, request: &CallRequest) -> Key {
    let CallRequest { service, action, region, .. } = request;
    (account.clone(), region.clone(), format!("{service}:{action}"))
}

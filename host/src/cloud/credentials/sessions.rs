//! The credentials of one account: its own, and one for each policy where its role is narrowed for policies. Leaves keeping
//! each fresh to `held`.

use super::Held;
use opsward_core::credential::session::PolicySession;
use opsward_core::credential::{CredentialSource, Issued};
use opsward_core::id::{AccountName, PolicyName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What signs an account's calls.
pub(in crate::cloud) struct Sessions {
    own: Arc<Held>,
    account: AccountName,
    /// One for each policy that has called since the start: as many as there are policies' names.
    of_policies: Mutex<HashMap<PolicyName, Arc<Held>>>,
}

impl Sessions {
    pub(in crate::cloud) fn new(account: AccountName, source: CredentialSource<Issued>) -> Self {
        let own = Arc::new(Held::new(account.clone(), source, None));
        Self { own, account, of_policies: Mutex::default() }
    }

    /// The account's own, which no policy signs with where its role is narrowed.
    pub(in crate::cloud) fn own(&self) -> &Arc<Held> {
        &self.own
    }

    /// What a policy's calls are signed with; `None` where it has no session in an account that gives each policy one.
    pub(in crate::cloud) fn of(&self, session: Option<&Arc<PolicySession>>) -> Option<Arc<Held>> {
        if !self.own.source().is_narrowed() {
            return Some(self.own.clone());
        }
        let session = session?;
        let mut of_policies = self.of_policies.lock().unwrap_or_else(PoisonError::into_inner);
        let known = of_policies.get(&session.policy).filter(|held| held.session() == Some(session));
        if let Some(held) = known {
            return Some(held.clone());
        }
        // Its file grants something else now.
        let source = self.own.source().clone();
        let held = Arc::new(Held::new(self.account.clone(), source, Some(session.clone())));
        of_policies.insert(session.policy.clone(), held.clone());
        Some(held)
    }
}

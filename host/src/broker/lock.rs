//! One effect of class once at a time on a resource: the readings before and after it then tell of it alone, as far as this
//! host's runs go. Leaves waiting to the run, which sleeps. Tested in `tests/`.

use opsward_core::id::AccountName;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The resources that an effect is under way on.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<HashSet<Resource>>);

type Resource = (AccountName, String);

/// The right to change some resources; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    locks: Arc<Locks>,
    resources: Vec<Resource>,
}

impl Locks {
    /// Takes all of `ids` in `account`, or none where one of them is taken.
    pub(super) fn take(self: &Arc<Self>, account: &AccountName, ids: &[String]) -> Option<Held> {
        let resources: Vec<Resource> = ids.iter().map(|id| (account.clone(), id.clone())).collect();
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if resources.iter().any(|resource| taken.contains(resource)) {
            return None;
        }
        taken.extend(resources.iter().cloned());
        Some(Held { locks: self.clone(), resources })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.locks.0.lock().unwrap_or_else(PoisonError::into_inner);
        for resource in &self.resources {
            taken.remove(resource);
        }
    }
}

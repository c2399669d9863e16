//! Whether a person has halted a policy. Kept in step with the store by the service, so that every host on one store obeys.
//! Leaves who is halted to `opsward_core::guardrail`.

use super::{HALTED_PAUSE, Session};
use crate::failpoint::{haste, wrong};
use crate::store::Store;
use opsward_core::guardrail::{Halt, Halts};
use opsward_core::id::PolicyName;
use opsward_core::run::Stop;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks at the store: a halt is obeyed within a second.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// The halts in force, as this host knows them.
#[derive(Debug, Clone, Default)]
pub struct Halted(Arc<RwLock<Halts>>);

impl Halted {
    /// What stops this policy.
    pub fn of(&self, policy: &PolicyName) -> Option<Halt> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).of(policy).cloned()
    }

    /// Asks the store once.
    pub async fn look(&self, store: &dyn Store) {
        match store.halts().await {
            Ok(halts) => *self.0.write().unwrap_or_else(PoisonError::into_inner) = halts,
            // What was halted stays so.
            Err(error) => tracing::warn!(%error, "cannot tell whether policies were halted"),
        }
    }

    /// Asks the store again and again, until `stop`.
    pub(crate) async fn keep_in_step(self, store: Arc<dyn Store>, mut stop: watch::Receiver<bool>) {
        while tokio::time::timeout(LOOK_EVERY, stop.wait_for(|stop| *stop)).await.is_err() {
            self.look(store.as_ref()).await;
        }
    }
}

impl Session {
    /// What keeps this policy from sending.
    pub(super) fn halted(&self) -> Option<Halt> {
        self.broker.halted.of(&self.policy.settings.name).filter(|_| !wrong("no-halt"))
    }

    /// The run's end for now: it looks again later whether its policy is resumed.
    pub(super) fn until_resumed(&self, halt: &Halt) -> Stop {
        Stop::WaitUntil { at: self.broker.clock.now() + haste(HALTED_PAUSE), why: halt.to_string() }
    }
}

//! Who may make an effect: with a natural key the first asker, and a later one gets its answer; under a guardrail whoever finds
//! room. Leaves keys and counts to the store, and making the effect to `effect`.

use super::{Session, stop};
use crate::failpoint::{hit, wrong};
use crate::store::{Once, OnceKey};
use opsward_core::call::{CallError, CallReply, CallRequest, ErrorKind};
use opsward_core::guardrail::Limit;
use opsward_core::id::RunId;
use opsward_core::retry::{self, refusal};
use opsward_core::run::{Answered, Entry, Record, Stop};
use opsward_core::time::Timestamp;
use tokio::time::Instant;

/// Who may make an effect.
pub(super) enum Turn {
    /// This run: its intent, if there was one to record, is on disk since then.
    Ours(Timestamp),
    /// Not this run, since another effect has taken its natural key or a guardrail has no room: the answer here.
    Others(CallReply, Answered),
}

impl Session {
    pub(super) fn once_key(&self, request: &CallRequest) -> Option<OnceKey> {
        let action = || format!("{}:{}", request.service, request.action);
        let policy = &self.policy.settings.name;
        let once = request.once.clone().filter(|_| !wrong("no-once-keys"));
        once.map(|key| OnceKey { policy: policy.clone(), action: action(), key })
    }

    /// Records `entry`, an intent or a result; with an intent the key is taken and the limits are counted against.
    pub(super) async fn record_effect(
        &self,
        key: Option<&OnceKey>,
        limits: Vec<Limit>,
        entry: Entry,
    ) -> Result<Turn, Stop> {
        if key.is_none() && limits.is_empty() {
            return self.append(entry).await.map(Turn::Ours);
        }
        if key.is_some() && wrong("key-apart") {
            self.append(entry.clone()).await?;
            hit("after-intent");
        }
        self.turn(key, limits, Some(entry)).await
    }

    /// Takes `key` with its intent, or only looks. Waits a little for a first asker that has no answer yet: two notifications
    /// of one incident often come in the same second.
    pub(super) async fn turn(
        &self,
        key: Option<&OnceKey>,
        limits: Vec<Limit>,
        entry: Option<Entry>,
    ) -> Result<Turn, Stop> {
        loop {
            let at = self.broker.clock.now();
            let record = entry.clone().map(|entry| Record::new(at, entry));
            let asked = self.broker.store.append_effect(&self.claim, key.cloned(), limits.clone(), record);
            match asked.await.map_err(stop)? {
                Once::First => return Ok(Turn::Ours(at)),
                Once::Over(over) => return Ok(Turn::Others(Err(over.refusal()), Answered::Host)),
                Once::Later { run, reply: Some(reply) } => {
                    return Ok(Turn::Others(Ok(reply), Answered::Once { run }));
                }
                Once::Later { run, reply: None } => {
                    // One deadline for all calls of the session, so that many keys of a held run cost one wait.
                    let patience = || Instant::now() + retry::ONCE_PATIENCE;
                    if Instant::now() >= *self.once_deadline.get_or_init(patience) {
                        return Ok(Turn::Others(Err(in_flight(&run)), Answered::Host));
                    }
                    tokio::time::sleep(retry::ONCE_PAUSE).await;
                }
            }
        }
    }
}

fn in_flight(first: &RunId) -> CallError {
    let message = format!("run {first} asked first with this natural key, and its answer is not known yet");
    CallError { retryable: true, ..refusal(ErrorKind::Conflict, "opsward.OnceInFlight", message) }
}

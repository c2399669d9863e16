//! The station every event from outside passes: finds the policies it wakes, records it with their runs in one transaction,
//! and only then reports. Leaves decoding to the trigger and matching to `opsward_core::pattern`. Tested through `http` and
//! as part of whole hosts in `tests/`.

use crate::clock::Clock;
use crate::failpoint;
use crate::policy::{LivePolicy, Policies, PolicySet};
use crate::store::{Acceptance, Cursor, NewEvent, NewRun, Store, StoreError};
use crate::trigger::seen::Seen;
use opsward_core::event::{Event, Wants};
use opsward_core::id::{RunId, SourceName};
use opsward_core::run::Mode;
use opsward_core::sender::Trust;
use opsward_core::source::UNDECODABLE;
use std::sync::Arc;
use tokio::sync::Notify;

/// What accepting needs.
pub struct Accept {
    /// Records events and runs.
    pub store: Arc<dyn Store>,
    /// Whom events may wake.
    pub policies: Arc<Policies>,
    /// Tells when an event was received.
    pub clock: Arc<dyn Clock>,
    /// Tells the dispatcher that there are runs to claim.
    pub work: Arc<Notify>,
    /// Counts what comes.
    pub seen: Arc<Seen>,
}

impl Accept {
    /// Records `events` of one delivery with the runs they start, all or none, and returns once they are on disk. `raw` is the
    /// delivery as it came; of a batch it is kept with the first event, since the others would repeat it.
    ///
    /// `trust` says how far they are to be believed.
    ///
    /// Not to be cancelled: the commit may happen while nobody is left to tell the dispatcher.
    pub async fn accept(
        &self,
        events: Vec<Event>,
        raw: &[u8],
        trust: Trust,
    ) -> Result<Vec<Acceptance>, StoreError> {
        self.accept_at(events, raw, trust, None).await
    }

    /// What `accept` is to events that the host fetches itself: `cursor` moves with them, in the same transaction.
    pub async fn accept_at(
        &self,
        events: Vec<Event>,
        raw: &[u8],
        trust: Trust,
        cursor: Option<Cursor>,
    ) -> Result<Vec<Acceptance>, StoreError> {
        let sources: Vec<_> = events.iter().map(|event| event.source.clone()).collect();
        let received = self.clock.now();
        let live = self.policies.load();
        let new = events.into_iter().enumerate().map(|(at, event)| NewEvent {
            runs: runs_of(&event, &live),
            raw: if at == 0 { raw.to_vec() } else { Vec::new() },
            received,
            trust,
            event,
        });
        self.record(&sources, new.collect(), cursor).await
    }

    /// Records an event that a person gives to `policy`, whatever that is woken by, and names its run. One that was given to it
    /// before begins nothing.
    pub async fn invoke(&self, event: Event, policy: &LivePolicy) -> Result<(RunId, Acceptance), StoreError> {
        let run = new_run(&event, policy, Wants::Transition);
        let (id, sources) = (run.id.clone(), [event.source.clone()]);
        // A person says so.
        let trust = Trust::Proved;
        let new = NewEvent { runs: vec![run], raw: Vec::new(), received: self.clock.now(), trust, event };
        let accepted = self.record(&sources, vec![new], None).await?;
        let one = accepted.into_iter().next();
        Ok((id, one.unwrap_or(Acceptance::Duplicate)))
    }

    async fn record(
        &self,
        sources: &[SourceName],
        new: Vec<NewEvent>,
        mut cursor: Option<Cursor>,
    ) -> Result<Vec<Acceptance>, StoreError> {
        if failpoint::wrong("cursor-before-events") {
            self.store.accept_at(Vec::new(), cursor.take()).await?;
        }
        failpoint::hit("before-accept");
        let accepted = self.store.accept_at(new, cursor).await;
        failpoint::hit("after-accept");
        let results = match &accepted {
            Ok(list) => list.iter().map(result).collect(),
            Err(_) => vec!["unavailable"; sources.len()],
        };
        let now = self.clock.now();
        for (source, result) in sources.iter().zip(results) {
            self.seen.count(source, result, now);
        }
        if accepted.iter().flatten().any(|one| matches!(one, Acceptance::New { runs: 1.. })) {
            self.work.notify_one();
        }
        accepted
    }
}

fn runs_of(event: &Event, live: &PolicySet) -> Vec<NewRun> {
    // It says nothing that a policy could act on.
    if event.kind == UNDECODABLE {
        return Vec::new();
    }
    let woken = live.index.matches(event).into_iter();
    let woken = woken.filter_map(|woken| Some((live.policies.get(woken.policy)?, woken.wants)));
    let woken = woken.filter(|(policy, _)| policy.settings.mode != Mode::Off);
    woken.map(|(policy, wants)| new_run(event, policy, wants)).collect()
}

fn new_run(event: &Event, policy: &LivePolicy, wants: Wants) -> NewRun {
    let name = policy.settings.name.clone();
    let id = RunId::derive(&event.source, &event.id, &name);
    NewRun { id, policy: name, digest: policy.revision.digest, wants }
}

fn result(acceptance: &Acceptance) -> &'static str {
    match acceptance {
        Acceptance::New { .. } => "accepted",
        Acceptance::Duplicate => "duplicate",
    }
}

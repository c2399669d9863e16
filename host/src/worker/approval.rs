//! The worker's part in approve mode: what a run does next by its ledger, asking once it is known what it would do, and going on
//! once that is approved. Leaves deciding to `opsward_core::approval`, comparing effects to the broker. Tested in
//! `tests/tests/it/approval.rs`.

use super::Worker;
use crate::broker::{Approving, PlannedRun};
use crate::failpoint::{hit, wrong};
use crate::plugin::Ended;
use crate::policy::LivePolicy;
use crate::store::{Claim, Standing, StoreError, Work};
use opsward_core::approval::{self, Approvers, Asked, EXPIRES_DEFAULT, Pending, Phase, Plan, Station, Terms};
use opsward_core::run::{Entry, Failure, Fault, FaultKind, Record, Stop};
use opsward_core::time::Timestamp;

/// The code of a run that nobody approved in time.
const EXPIRED: &str = "opsward.ApprovalExpired";

impl Worker {
    /// What the run does next; `None` where it does nothing now.
    pub(super) async fn approving(
        &self,
        run: &Work,
        policy: &LivePolicy,
        now: Timestamp,
    ) -> Result<Option<Approving>, StoreError> {
        let now_or_never = if wrong("no-approval-expiry") { Timestamp::default() } else { now };
        match approval::station(&run.ledger, policy.settings.approvers.as_ref(), now_or_never) {
            Station::Plan(_) => Ok(Some(Approving::plan())),
            Station::Follow(pending) => {
                let begun = pending.phase == Phase::Confirmed { begun: true };
                Ok(Some(Approving::follow(&pending.asked.plan, pending.asked.expires, begun)))
            }
            Station::Wait(until) => {
                // A host that is wrong in it looks again much later, instead of all the time.
                let until = if wrong("no-approval-expiry") { now + EXPIRES_DEFAULT } else { until };
                let waited = Entry::Waited { why: "waits for an approval".to_owned() };
                self.sleep(&run.claim, vec![Record::new(now, waited)], until, false).await?;
                Ok(None)
            }
            Station::Expired(pending) => {
                self.expire(&run.claim, &pending, now).await?;
                Ok(None)
            }
        }
    }

    async fn expire(&self, claim: &Claim, pending: &Pending<'_>, now: Timestamp) -> Result<(), StoreError> {
        let Asked { nth, expires, minimum, .. } = pending.asked;
        let message = format!(
            "asked for the {nth}. time at {}, it had {} of {minimum} approvals at {expires}; nothing of it was done",
            pending.asked_at,
            pending.by.len()
        );
        tracing::error!(run = %claim.run, message, "an approval expired");
        metrics::counter!("opsward_runs_total", "result" => "failed").increment(1);
        let failure = Failure { code: EXPIRED.to_owned(), message, retryable: false, details: String::new() };
        let record = Record::new(now, Entry::Failed { failure });
        self.broker.store.finish(claim, vec![record], Standing::Failed).await
    }

    /// Goes on after the guest of a run that plans: asks, or begins to carry out what was approved.
    pub(super) async fn planned(
        &self,
        (claim, mut records): (Claim, Vec<Record>),
        asking: Asking,
        planned: PlannedRun,
        cut: String,
    ) -> Result<(), StoreError> {
        let now = self.broker.clock.now();
        let PlannedRun { mut plan, facts } = planned;
        plan.cut = cut;
        let Asking { nth, approved, before, policy, digest, approvers } = asking;
        let settings = &policy.settings;
        let terms = Terms {
            digest,
            policy: &settings.name,
            run: &claim.run,
            account: settings.account.as_ref(),
            file: approval::file_digest(settings),
            facts,
            plan: &plan,
        };
        let hash = terms.hash();
        let is_approved = approved.is_some_and(|approved| approved == hash || wrong("approves-any-plan"));
        if is_approved {
            tracing::info!(run = %claim.run, nth, %hash, "approved, and the same: it is carried out");
            records.push(Record::new(now, Entry::Confirmed { nth }));
            return self.sleep(&claim, records, now, false).await;
        }
        let changed = before.map(|before| changed(&before, facts, &plan, hash)).unwrap_or_default();
        let (nth, expires, effects) = (nth + 1, now + approvers.expires, plan.effects());
        let minimum = u32::try_from(approvers.minimum).unwrap_or(u32::MAX);
        let names = approvers.names;
        let asked = Asked { nth, hash, facts, plan, approvers: names, minimum, expires, changed };
        let show = format!("opsward approval show {}", claim.run);
        tracing::warn!(run = %claim.run, policy = %settings.name, nth, %hash, effects, %expires, changed = asked.changed, show, "run waits for an approval");
        records.push(Record::new(now, Entry::Asked { asked: Box::new(asked) }));
        hit("before-asked");
        self.sleep(&claim, records, expires, false).await
    }

    /// A run whose policy does something else than what was approved begins afresh, unless an effect of it is not settled.
    pub(super) async fn void(
        &self,
        claim: &Claim,
        mut records: Vec<Record>,
        why: String,
    ) -> Result<(), StoreError> {
        let now = self.broker.clock.now();
        tracing::warn!(run = %claim.run, why, "no approval holds: the run begins afresh");
        if let Some((position, effect)) = self.open_effect(claim).await? {
            let reason = format!("call {position}, {effect}, may or may not have taken place, and {why}");
            records.push(Record::new(now, Entry::Held { position, reason }));
            return self.broker.store.finish(claim, records, Standing::Held).await;
        }
        records.push(Record::new(now, Entry::Void { why }));
        self.sleep(claim, records, now, false).await
    }
}

/// What must be known to ask, or to see that it need not be asked again.
pub(super) struct Asking {
    /// How often the run has asked.
    nth: u32,
    /// The hash that people have approved, where it is still to be compared.
    approved: Option<opsward_core::id::Digest>,
    before: Option<Asked>,
    policy: std::sync::Arc<LivePolicy>,
    digest: opsward_core::id::Digest,
    approvers: Approvers,
}

impl Asking {
    pub(super) fn of(run: &Work, policy: &std::sync::Arc<LivePolicy>, now: Timestamp) -> Self {
        let now = if wrong("no-approval-expiry") { Timestamp::default() } else { now };
        let pending = approval::pending(&run.ledger);
        let approved = match approval::station(&run.ledger, policy.settings.approvers.as_ref(), now) {
            Station::Plan(Some(pending)) => Some(pending.asked.hash),
            _ => None,
        };
        let nobody = || Approvers { names: Vec::new(), minimum: 1, expires: EXPIRES_DEFAULT };
        Self {
            nth: pending.as_ref().map_or(0, |pending| pending.asked.nth),
            approved,
            before: pending.map(|pending| pending.asked.clone()),
            policy: policy.clone(),
            digest: run.digest,
            approvers: policy.settings.approvers.clone().unwrap_or_else(nobody),
        }
    }
}

/// Why a plan goes no further, where the guest's end says that there is one.
pub(super) fn cut_of(ended: &Ended) -> Option<String> {
    match ended {
        Ended::Done(_) => Some(String::new()),
        Ended::Failed(failure) => {
            Some(format!("the policy would then fail: {}: {}", failure.code, failure.message))
        }
        Ended::Stopped(Stop::Planned { cut }) => Some(cut.clone()),
        // The guest's own doing, on answers that were simulated: the real ones may serve it better.
        Ended::Faulted(Fault { kind: FaultKind::Trap | FaultKind::CallBudget, message }) => {
            Some(format!("the policy is stopped there: {message}"))
        }
        Ended::Stopped(_) | Ended::Faulted(_) | Ended::Crashed { .. } => None,
    }
}

/// What is not as it was when the run asked before, for people.
fn changed(
    before: &Asked,
    facts: opsward_core::id::Digest,
    plan: &Plan,
    hash: opsward_core::id::Digest,
) -> String {
    let of_both = [
        (before.facts != facts, "what the policy has read"),
        (before.plan.calls != plan.calls, "what it would do"),
    ];
    let changed: Vec<&str> = of_both.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
    match changed.as_slice() {
        [] if before.hash == hash => {
            "nothing: an approval holds for one try, and for those who may approve".to_owned()
        }
        [] => "the policy's file".to_owned(),
        changed => changed.join(", and "),
    }
}

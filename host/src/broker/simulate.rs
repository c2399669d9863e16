//! Dry run: an effect is judged as it would be in `enforce`, by its natural key, its resource's state, the guardrails and the
//! cloud's own dry run where it has one; then it is answered, and nothing is sent that changes anything or takes a key, a lock or a
//! share of a guardrail. Later reads of the run are answered with it. Leaves the reply, and how it shows, to
//! `opsward_core::overlay`. Tested in `tests/tests/it/dry_run.rs`.

use super::once::Turn;
use super::send::Stamp;
use super::{Session, Timed, stop};
use crate::failpoint::wrong;
use opsward_core::admit::Admitted;
use opsward_core::call::{CallError, CallReply, CallRequest, ErrorKind};
use opsward_core::catalog::Class;
use opsward_core::guardrail::{Limit, Spent, fits};
use opsward_core::overlay::{self, Ask, Overlay};
use opsward_core::retry::refusal;
use opsward_core::run::{Answered, Mode, Record, Stop, parse_params};
use opsward_core::time::Timestamp;
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a session knows of the effects that it does not make.
pub(super) struct Simulation {
    is_on: bool,
    has_shown: bool,
    overlay: Mutex<Overlay>,
}

impl Simulation {
    /// Begins with the run's mode, and with what its ledger says was simulated.
    pub(super) fn new(mode: Mode, ledger: &[Record]) -> Self {
        let overlay = Mutex::new(Overlay::of(ledger));
        Self { is_on: mode != Mode::Enforce, has_shown: false, overlay }
    }

    /// Effects are made.
    pub(super) fn end(&mut self) {
        self.is_on = false;
    }

    /// Whether effects are answered without being made.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether the guest has been given a simulated reply.
    pub(super) fn has_shown(&self) -> bool {
        self.has_shown
    }

    /// The guest is given this reply.
    pub(super) fn came_past(&mut self, reply: &CallReply) {
        self.has_shown |= reply.as_ref().is_ok_and(|response| response.simulated);
    }
}

impl Session {
    /// What has been simulated so far in this try.
    pub fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.simulation.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers an effect, which has been admitted, without making it.
    pub(super) async fn simulate(
        &self,
        position: u32,
        request: CallRequest,
        params: &Value,
        admitted: &Admitted,
    ) -> Result<Timed, Stop> {
        let key = self.once_key(&request);
        if key.is_some() {
            let same = self.overlay().same_key(&request).cloned();
            if let Some(response) = same {
                let run = self.claim.run.clone();
                return self.answered(position, request, Ok(response), Answered::Once { run });
            }
            if let Turn::Others(reply, answered) = self.turn(key.as_ref(), Vec::new(), None).await? {
                return self.answered(position, request, reply, answered);
            }
        }
        if let Err(error) = self.baseline(position, &request, params, admitted).await? {
            return self.refuse(position, request, error);
        }
        if let Err(error) = self.has_room(position, &request, params, admitted).await? {
            return self.refuse(position, request, error);
        }
        let answered = match self.cloud_dry_run(position, &request, params, admitted).await? {
            None => Answered::Simulated,
            Some(Ok(())) => Answered::CloudDryRun,
            Some(Err(error)) => {
                return self.answered(position, request, Err(error), Answered::CloudDryRun);
            }
        };
        let Some(account) = self.account() else {
            return Err(Stop::Abandoned { reason: "the account is gone".to_owned() });
        };
        let response = overlay::reply(&self.claim.run, account.provider, position, &request);
        let timed = self.answered(position, request.clone(), Ok(response.clone()), answered)?;
        if !wrong("no-overlay") {
            self.overlay().add(position, request, response, timed.1);
        }
        Ok(timed)
    }

    /// Sends a read, and answers it with what has been simulated before `position`.
    pub(super) async fn look(
        &self,
        position: u32,
        request: &CallRequest,
    ) -> Result<(CallReply, Answered), Stop> {
        let provider = self.account().map(|account| account.provider);
        let Some(provider) = provider.filter(|_| !self.overlay().effects().is_empty()) else {
            return Ok((self.ask(request).await?, Answered::Cloud));
        };
        let ask = self.overlay().ask(provider, position, request);
        let (mut reply, mut answered) = match ask {
            Ask::AsItIs => (self.ask(request).await?, Answered::Cloud),
            Ask::Instead(known) => (self.ask(&known).await?, Answered::Overlaid),
            Ask::Nobody(body) => (Ok(overlay::nothing(body)), Answered::Overlaid),
        };
        if let Ok(response) = &mut reply
            && let Some(body) = self.overlay().shown(provider, position, request, &response.body)
        {
            response.body = body;
            answered = Answered::Overlaid;
        }
        Ok((reply, answered))
    }

    /// Whether every guardrail has room for the effect, after what was really spent and what this run has simulated.
    async fn has_room(
        &self,
        position: u32,
        request: &CallRequest,
        params: &Value,
        admitted: &Admitted,
    ) -> Result<Result<(), CallError>, Stop> {
        let fleets = match self.fleets(request, params, admitted).await? {
            Ok(fleets) => fleets,
            Err(error) => return Ok(Err(error)),
        };
        let limits = self.limits(request, admitted, &fleets);
        let limited: Vec<Limit> = limits.into_iter().filter(|limit| limit.quota.is_some()).collect();
        if limited.is_empty() {
            return Ok(Ok(()));
        }
        let now = self.broker.clock.now();
        let spent = self.broker.store.spent(limited.clone(), now).await.map_err(stop)?;
        let simulated = self.simulated_limits(position);
        for (limit, spent) in limited.iter().zip(spent) {
            let of_scope = simulated.iter().filter(|(_, other)| other.scope.key() == limit.scope.key());
            // What is simulated succeeds at once.
            let simulated = of_scope.flat_map(|(at, other)| {
                other.counts(*at).into_iter().map(|spent| Spent { ended: Some(spent.at), ..spent })
            });
            let mut spent: Vec<Spent> = spent.into_iter().chain(simulated).collect();
            spent.sort_by_key(|spent| std::cmp::Reverse(spent.at));
            if let Err(over) = fits(limit, spent, now) {
                return Ok(Err(over.refusal()));
            }
        }
        Ok(Ok(()))
    }

    /// The limits that what has been simulated before `position` would have counted against, and when.
    fn simulated_limits(&self, position: u32) -> Vec<(Timestamp, Limit)> {
        let Some(provider) = self.account().map(|account| account.provider) else { return Vec::new() };
        let overlay = self.overlay();
        let before = overlay.effects().iter().filter(|known| known.position < position);
        let limits = before.flat_map(|known| {
            let params = parse_params(&known.request.params).map(Value::Object).unwrap_or_default();
            let admitted = Admitted::of(&known.request, &params, provider);
            // The fleets are those of other calls: what is simulated takes no share of them.
            self.limits(&known.request, &admitted, &[]).into_iter().map(|limit| (known.at, limit))
        });
        limits.collect()
    }

    /// What the cloud says to the effect without making it: `None` where it cannot be asked, or would judge by what it does not
    /// know of. A read: it takes no intent, no key and no token.
    async fn cloud_dry_run(
        &self,
        position: u32,
        request: &CallRequest,
        params: &Value,
        admitted: &Admitted,
    ) -> Result<Option<Result<(), CallError>>, Stop> {
        let Some(action) = admitted.action.filter(|action| action.can_dry_run()) else { return Ok(None) };
        if self.overlay().bears_on(action.provider, position, params) {
            return Ok(None);
        }
        debug_assert_ne!(action.class, Class::Read);
        Ok(Some(match self.ask_with(request, Stamp::DryRun).await? {
            Ok(response) if overlay::gives_ids(action, &response.body) => {
                let message = format!(
                    "{} was asked for a dry run, but its answer gives new ids: look whether it took place ({})",
                    action.full_name(),
                    response.request_id
                );
                tracing::error!(run = %self.claim.run, message, "the cloud took no notice of a dry run");
                Err(refusal(ErrorKind::Failed, "opsward.DryRunIgnored", message))
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }))
    }
}

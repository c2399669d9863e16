//! Effects: intent before sending, result after, and settling one whose result is unknown by its class. Leaves reading a
//! resource's state to `readback`.

use super::once::Turn;
use super::send::{Before, Sent, Stamp};
use super::{Session, Timed, stop};
use crate::failpoint::{haste, hit, unhasted, wrong};
use opsward_core::admit::Admitted;
use opsward_core::call::{CallReply, CallRequest, CallResponse, ErrorKind};
use opsward_core::catalog::{self, Class, Judgement};
use opsward_core::config::PolicySettings;
use opsward_core::guardrail::{self, Limit};
use opsward_core::retry::{self, Settling};
use opsward_core::run::{Answered, Entry, OpenEffect, Stop, TokenInput};
use opsward_core::time::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// How Alibaba's codes begin where a token was used before for something else (FACTS: errors). Tokens are derived from parameters, so
/// that it cannot be, unless this host is wrong.
const TOKEN_OF_OTHER_PARAMETERS: &str = "IdempotentParameterMismatch";

/// What is known of an effect whose result was unknown.
enum Found {
    /// It took place: its answer is recorded.
    Took(Timed),
    /// It did not, and will not any more, or has not reached its goal and may be sent again. Carries what says so.
    NotReached(&'static str),
}

impl Session {
    /// Makes an effect that the ledger does not know, or that has been found `disproofs` times not to have reached what it
    /// leads to.
    pub(super) async fn effect(
        &self,
        position: u32,
        request: CallRequest,
        params: &Value,
        admitted: &Admitted,
        disproofs: u32,
    ) -> Result<Timed, Stop> {
        let class = admitted.class;
        let key = self.once_key(&request);
        // Before the baseline: an answer that is known needs no state of the resource, which may be gone by now.
        if let Some(key) = &key
            && class != Class::Token
            && let Turn::Others(reply, answered) = self.turn(Some(key), Vec::new(), None).await?
        {
            return self.answered(position, request, reply, answered);
        }
        // Before the baseline as well, so that it tells of this effect alone.
        self.lock(class, position, &request, &admitted.resources).await?;
        if class == Class::Once {
            hit("after-lock");
        }
        let baseline = match self.baseline(position, &request, params, admitted).await? {
            Ok(baseline) => baseline,
            Err(error) => return self.refuse(position, request, error),
        };
        if baseline.is_some() {
            hit("after-baseline");
        }
        let token = (class == Class::Token).then(|| self.token(position, &request));
        let intent = Entry::Intent {
            position,
            request: request.clone(),
            class,
            token: token.clone(),
            baseline: baseline.clone(),
        };
        hit("before-intent");
        let recorded = match wrong("intent-after-send") {
            true => Turn::Ours(self.broker.clock.now()),
            false => self.record_effect(key.as_ref(), self.limits(&request, admitted), intent).await?,
        };
        let since = match recorded {
            Turn::Ours(since) => since,
            Turn::Others(reply, answered) => return self.answered(position, request, reply, answered),
        };
        hit("after-intent");
        let open = OpenEffect { request, class, token, baseline, since, sent_by: None, disproofs };
        if let Some(why) = self.may_be_missing(position, class) {
            return self.hold(position, &open, &why);
        }
        self.send_effect(position, &open, params, Before::NotSent).await
    }

    /// Whether an effect of class once may have taken place although the ledger knows nothing of it: the store is a restored copy,
    /// and the event is of the time that is missing in it. A person who says that it did not is believed.
    fn may_be_missing(&self, position: u32, class: Class) -> Option<String> {
        let restored = self.broker.restored.filter(|_| class == Class::Once && !wrong("no-restore-epoch"))?;
        let is_of_then = self.event_time.min(self.received) <= restored.opened_at;
        let is_denied = self.replay.denied_at(position).is_some_and(|at| at > restored.opened_at);
        (is_of_then && !is_denied).then(|| {
            format!("the store was restored at {} from a copy of {}", restored.opened_at, restored.taken_at)
        })
    }

    /// Settles an effect whose intent is recorded and whose result is not: by sending again where that does no harm, by the
    /// resource's state, or by a person.
    pub(super) async fn settle(
        &self,
        position: u32,
        open: OpenEffect,
        params: &Value,
    ) -> Result<Timed, Stop> {
        hit("before-settle");
        let resources = self.account().map(|account| {
            catalog::resources(account.provider, &open.request.service, &open.request.action, params)
        });
        self.lock(open.class, position, &open.request, &resources.unwrap_or_default()).await?;
        match open.class {
            Class::Read | Class::Token => {
                if self.age(&open) > retry::TOKEN_LIFE {
                    return self.hold(position, &open, "its token is too old to send again");
                }
                if !self.may_still_send(position, &open, params).await? {
                    let why = "may have taken place, and the policy's file no longer lets it be sent again";
                    return Err(self.wait(retry::UNCLEAR_PAUSE, position, &open.request, why));
                }
                self.send_effect(position, &open, params, Before::MayBeSent).await
            }
            Class::Convergent | Class::Once => {
                let why = "the host stopped before its answer came";
                match self.settle_by_state(position, &open, params, why).await? {
                    Found::Took(answer) => Ok(answer),
                    Found::NotReached(why) => self.make_anew(position, open, params, why).await,
                }
            }
        }
    }

    /// The guardrails that the effect falls under.
    pub(super) fn limits(&self, request: &CallRequest, admitted: &Admitted) -> Vec<Limit> {
        let PolicySettings { name: policy, account, guardrails, grants, .. } = &self.policy.settings;
        let Some(account) = account else { return Vec::new() };
        let CallRequest { service, action: name, .. } = request;
        let action = format!("{service}:{name}");
        let Admitted { class, resources, .. } = admitted;
        let effect = guardrail::Effect { policy, account, action: &action, class: *class, resources };
        guardrail::limits(guardrails, grants.limit(service, name), &effect)
    }

    /// Keeps other effects of class once from the same resources until the outcome of this one is known; where there is one
    /// already, the run sleeps.
    async fn lock(
        &self,
        class: Class,
        position: u32,
        request: &CallRequest,
        resources: &[String],
    ) -> Result<(), Stop> {
        let Some(account) = self.policy.settings.account.as_ref().filter(|_| class == Class::Once) else {
            return Ok(());
        };
        let resources = resources.iter().map(|id| (account.clone(), id.clone())).collect();
        match self.broker.store.lock(&self.claim, position, resources).await.map_err(stop)? {
            None => Ok(()),
            Some(holder) => {
                let waited = self.broker.clock.now().since(self.received);
                let why = format!("waits for a resource that run {holder} has");
                Err(self.wait(retry::lock_pause(waited), position, request, &why))
            }
        }
    }

    /// Whether the operator, who may have changed the policy's file since the intent, would still have the effect made. Where that
    /// must be seen by a read that fails for now, the run waits.
    async fn may_still_send(&self, position: u32, open: &OpenEffect, params: &Value) -> Result<bool, Stop> {
        let Some(account) = self.account().filter(|_| self.makes_effects()) else { return Ok(false) };
        match self.admit(position, &open.request, params, account.provider).await? {
            Ok(_) => Ok(true),
            Err(error) if error.retryable => {
                Err(self.wait(retry::UNCLEAR_PAUSE, position, &open.request, &error.message))
            }
            Err(_) => Ok(false),
        }
    }

    async fn send_effect(
        &self,
        position: u32,
        open: &OpenEffect,
        params: &Value,
        before: Before,
    ) -> Result<Timed, Stop> {
        let (sent, sends) =
            self.send(&open.request, open.class, Stamp::token(open.token.as_deref()), before).await?;
        hit("after-send");
        match sent {
            Sent::Reply(Err(error)) if error.code.starts_with(TOKEN_OF_OTHER_PARAMETERS) => self.hold(
                position,
                open,
                "the cloud has its token with other parameters: an error of this host's",
            ),
            // May be an earlier sending's doing, which the reading before this one did not show yet.
            Sent::Reply(Err(error)) if error.kind == ErrorKind::Conflict && self.was_sent_before(open) => {
                match self.read_back(open, params).await? {
                    Judgement::Unmet | Judgement::Unknown => {
                        self.result(position, open, Err(error), Answered::Cloud, sends).await
                    }
                    _ => self.look_again(position, open, params, &error.to_string()).await,
                }
            }
            Sent::Reply(reply) => self.result(position, open, reply, Answered::Cloud, sends).await,
            Sent::Sleep(pause) => Err(self.wait(
                pause,
                position,
                &open.request,
                "may have taken place, and is sent again with its token",
            )),
            Sent::ReadBack(why) => self.look_again(position, open, params, &why).await,
            Sent::Halted(halt) => {
                let not_sent = Entry::NotExecuted { position, why: halt.to_string(), by: None };
                self.record_effect(self.once_key(&open.request).as_ref(), Vec::new(), not_sent).await?;
                Err(self.until_resumed(&halt))
            }
        }
    }

    /// Whether a sending of this convergent effect that had no answer may have brought it about.
    fn was_sent_before(&self, open: &OpenEffect) -> bool {
        open.class == Class::Convergent && open.disproofs > 0
    }

    /// Looks whether the effect that this claim has sent took place. Making it anew is left to the next claim: this one has spent
    /// its time on sending and looking.
    async fn look_again(
        &self,
        position: u32,
        open: &OpenEffect,
        params: &Value,
        why: &str,
    ) -> Result<Timed, Stop> {
        match self.settle_by_state(position, open, params, why).await? {
            Found::Took(answer) => Ok(answer),
            Found::NotReached(found) => Err(self.wait(retry::SETTLE_PAUSE, position, &open.request, found)),
        }
    }

    /// An unclear effect without a token: only the resource's state can tell.
    async fn settle_by_state(
        &self,
        position: u32,
        open: &OpenEffect,
        params: &Value,
        why: &str,
    ) -> Result<Found, Stop> {
        let judged = self.stable_judgement(open, params).await?;
        let found = match judged {
            Judgement::Unmet => "its goal is not reached, and nothing is under way",
            _ => "the cloud's record of the resource's operations is unchanged, and the request has expired",
        };
        let is_forbidden = judged == Judgement::Unmet && !self.may_still_send(position, open, params).await?;
        let looked_for = unhasted(self.looked_for(open));
        match retry::after_judgement(open.class, judged, looked_for, open.disproofs) {
            Settling::Took(request_id) => self.proved(position, open, request_id).await.map(Found::Took),
            Settling::MakeAnew if !is_forbidden => Ok(Found::NotReached(found)),
            Settling::LookAgain => {
                let why =
                    format!("may have taken place or be on its way, and its state is read again ({why})");
                Err(self.wait(retry::settle_pause(self.age(open)), position, &open.request, &why))
            }
            Settling::MakeAnew | Settling::Hold => self.hold(position, open, why).map(Found::Took),
        }
    }

    /// What the resource's state says, by several looks where one that lags behind would be believed.
    async fn stable_judgement(&self, open: &OpenEffect, params: &Value) -> Result<Judgement, Stop> {
        let judged = self.read_back(open, params).await?;
        match judged {
            Judgement::Unchanged if !self.is_expired(open) => return Ok(Judgement::NotYet),
            Judgement::Reached if wrong("one-look") => return Ok(judged),
            Judgement::Reached | Judgement::Unmet | Judgement::Unchanged => {}
            _ => return Ok(judged),
        }
        for _ in 1..retry::STABLE_READS {
            tokio::time::sleep(haste(retry::STABLE_PAUSE)).await;
            let again = self.read_back(open, params).await?;
            if again != judged {
                // Two looks that differ say nothing yet, unless the later one is a proof.
                return Ok(match again {
                    Judgement::Reached | Judgement::Unmet | Judgement::Unchanged => Judgement::NotYet,
                    other => other,
                });
            }
        }
        Ok(judged)
    }

    /// Whether the cloud would not take the request any more.
    fn is_expired(&self, open: &OpenEffect) -> bool {
        let age = |sent: Timestamp| unhasted(self.broker.clock.now().since(sent));
        open.sent_by.is_some_and(|sent| age(sent) > retry::LATE_EXECUTION) || wrong("no-late-execution")
    }

    /// Records that the effect did not take place, or not reach its goal, and makes the call as if it had never been.
    async fn make_anew(
        &self,
        position: u32,
        open: OpenEffect,
        params: &Value,
        why: &str,
    ) -> Result<Timed, Stop> {
        let disproved = Entry::NotExecuted { position, why: why.to_owned(), by: None };
        self.record_effect(self.once_key(&open.request).as_ref(), Vec::new(), disproved).await?;
        self.live(position, open.request, params, open.disproofs + 1).await
    }

    /// The resource's state proves that the effect took place.
    async fn proved(
        &self,
        position: u32,
        open: &OpenEffect,
        request_id: Option<String>,
    ) -> Result<Timed, Stop> {
        let response = CallResponse::proved(request_id.unwrap_or_default());
        self.result(position, open, Ok(response), Answered::ReadBack, 0).await
    }

    /// How long its state has been looked at: a host that was down for hours has not looked at all.
    fn looked_for(&self, open: &OpenEffect) -> Duration {
        open.sent_by.map_or(Duration::ZERO, |begun_again| self.broker.clock.now().since(begun_again))
    }

    fn age(&self, open: &OpenEffect) -> Duration {
        self.broker.clock.now().since(open.since)
    }

    async fn result(
        &self,
        position: u32,
        open: &OpenEffect,
        reply: CallReply,
        answered: Answered,
        sends: u32,
    ) -> Result<Timed, Stop> {
        hit("before-result");
        let result = Entry::Result { position, reply: reply.clone(), answered, sends };
        let key = self.once_key(&open.request);
        let recorded = self.record_effect(key.as_ref(), Vec::new(), result).await?;
        hit("after-result");
        self.remember(&open.request, &reply);
        match recorded {
            Turn::Ours(at) => Ok((reply, at)),
            Turn::Others(..) => unreachable!("the store takes every result"),
        }
    }

    /// The run's end for now: it goes on with the call after `pause`.
    fn wait(&self, pause: Duration, position: u32, request: &CallRequest, why: &str) -> Stop {
        let why = format!("call {position}, {}:{}: {why}", request.service, request.action);
        Stop::WaitUntil { at: self.broker.clock.now() + haste(pause), why }
    }

    fn hold(&self, position: u32, open: &OpenEffect, why: &str) -> Result<Timed, Stop> {
        let OpenEffect { request, since, .. } = open;
        let reason = format!(
            "call {position}, {} of {since}: may or may not have taken place ({why})",
            request.brief()
        );
        Err(Stop::Held { position, reason })
    }

    fn token(&self, position: u32, request: &CallRequest) -> String {
        let action = format!("{}:{}@{}", request.service, request.action, request.region);
        self.replay.token(TokenInput {
            source: &self.source,
            event_id: &self.event_id,
            policy: &self.policy.settings.name,
            position,
            nth: 0,
            action: &action,
            params: &request.params,
        })
    }
}

//! Effects: intent before sending, result after, and settling one whose result is unknown by its class. Leaves reading a
//! resource's state to `readback`.

use super::lock::Held;
use super::once::Turn;
use super::send::{Before, Sent};
use super::{Session, Timed};
use crate::failpoint::hit;
use opsward_core::admit::Admitted;
use opsward_core::call::{CallReply, CallRequest, CallResponse};
use opsward_core::catalog::{self, Class, Judgement};
use opsward_core::retry;
use opsward_core::run::{Answered, Entry, Mode, OpenEffect, Stop, TokenInput, client_token};
use serde_json::Value;
use std::time::Duration;

impl Session {
    /// Makes an effect that the ledger does not know.
    pub(super) async fn effect(
        &self,
        position: u32,
        request: CallRequest,
        params: &Value,
        admitted: &Admitted,
    ) -> Result<Timed, Stop> {
        let class = admitted.class;
        let _lock = self.lock(class, &admitted.resources)?;
        let key = self.once_key(&request);
        // Before the baseline: an answer that is known needs no state of the resource, which may be gone by now.
        if let Some(key) = &key
            && class != Class::Token
            && let Turn::Others(reply, answered) = self.turn(key, None).await?
        {
            return self.answered(position, request, reply, answered);
        }
        let baseline = match self.baseline(&request, params, admitted).await? {
            Ok(baseline) => baseline,
            Err(error) => return self.refuse(position, request, error),
        };
        let token = (class == Class::Token).then(|| self.token(position, &request));
        let intent = Entry::Intent {
            position,
            request: request.clone(),
            class,
            token: token.clone(),
            baseline: baseline.clone(),
        };
        hit("before-intent");
        let since = match self.record_effect(key.as_ref(), intent).await? {
            Turn::Ours(since) => since,
            Turn::Others(reply, answered) => return self.answered(position, request, reply, answered),
        };
        hit("after-intent");
        let open = OpenEffect { request, class, token, baseline, since };
        self.send_effect(position, &open, params, Before::NotSent).await
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
        let _lock = self.lock(open.class, &resources.unwrap_or_default())?;
        match open.class {
            Class::Read | Class::Token => {
                if self.age(&open) > retry::TOKEN_LIFE {
                    return self.hold(position, &open, "its token is too old to send again");
                }
                if !self.may_still_send(&open, params) {
                    return Err(Stop::SleepUntil(self.broker.clock.now() + retry::UNCLEAR_PAUSE));
                }
                self.send_effect(position, &open, params, Before::MayBeSent).await
            }
            Class::Convergent | Class::Once => {
                self.settle_by_state(position, &open, params, "the host stopped before its answer came").await
            }
        }
    }

    /// Keeps other runs' effects of class once from the same resources; where there is one under way, this run sleeps.
    fn lock(&self, class: Class, resources: &[String]) -> Result<Option<Held>, Stop> {
        let Some(account) = self.policy.settings.account.as_ref().filter(|_| class == Class::Once) else {
            return Ok(None);
        };
        match self.broker.locks.take(account, resources) {
            Some(held) => Ok(Some(held)),
            None => Err(Stop::SleepUntil(self.broker.clock.now() + retry::SETTLE_PAUSE)),
        }
    }

    /// Whether the operator, who may have changed the policy's file since the intent, would still have the effect made.
    fn may_still_send(&self, open: &OpenEffect, params: &Value) -> bool {
        self.mode == Mode::Enforce
            && self
                .account()
                .is_some_and(|account| self.admit(&open.request, params, account.provider).is_ok())
    }

    async fn send_effect(
        &self,
        position: u32,
        open: &OpenEffect,
        params: &Value,
        before: Before,
    ) -> Result<Timed, Stop> {
        let (sent, sends) = self.send(&open.request, open.class, open.token.as_deref(), before).await?;
        hit("after-send");
        match sent {
            Sent::Reply(reply) => self.result(position, open, reply, Answered::Cloud, sends).await,
            Sent::Sleep(pause) => Err(Stop::SleepUntil(self.broker.clock.now() + pause)),
            Sent::ReadBack(why) => self.settle_by_state(position, open, params, &why).await,
        }
    }

    /// An unclear effect without a token: only the resource's state can tell.
    async fn settle_by_state(
        &self,
        position: u32,
        open: &OpenEffect,
        params: &Value,
        why: &str,
    ) -> Result<Timed, Stop> {
        match self.read_back(open, params).await? {
            Judgement::Done { request_id } => self.proved(position, open, request_id, 0).await,
            Judgement::Unmet if open.class == Class::Convergent && self.may_still_send(open, params) => {
                self.send_convergent_again(position, open, params).await
            }
            Judgement::NotYet if self.age(open) < retry::SETTLE_PATIENCE => {
                Err(Stop::SleepUntil(self.broker.clock.now() + retry::SETTLE_PAUSE))
            }
            Judgement::Unmet | Judgement::NotYet | Judgement::Unknown => self.hold(position, open, why),
        }
    }

    /// The goal is unmet, and reaching it twice is reaching it once: send again, once; then the state tells again or a person.
    async fn send_convergent_again(
        &self,
        position: u32,
        open: &OpenEffect,
        params: &Value,
    ) -> Result<Timed, Stop> {
        let (sent, sends) = self.send(&open.request, open.class, None, Before::MayBeSent).await?;
        if let Sent::Reply(reply) = sent {
            return self.result(position, open, reply, Answered::Cloud, sends).await;
        }
        match self.read_back(open, params).await? {
            Judgement::Done { request_id } => self.proved(position, open, request_id, sends).await,
            Judgement::NotYet | Judgement::Unmet | Judgement::Unknown => {
                self.hold(position, open, "sent twice without an answer")
            }
        }
    }

    /// The resource's state proves that the effect took place.
    async fn proved(
        &self,
        position: u32,
        open: &OpenEffect,
        request_id: Option<String>,
        sends: u32,
    ) -> Result<Timed, Stop> {
        let request_id = request_id.unwrap_or_default();
        let body = if request_id.is_empty() {
            "{}".to_owned()
        } else {
            format!(r#"{{"RequestId":"{request_id}"}}"#)
        };
        let response = CallResponse { request_id, body, simulated: false };
        self.result(position, open, Ok(response), Answered::ReadBack, sends).await
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
        let recorded = self.record_effect(self.once_key(&open.request).as_ref(), result).await?;
        hit("after-result");
        match recorded {
            Turn::Ours(at) => Ok((reply, at)),
            Turn::Others(..) => unreachable!("the store takes every result"),
        }
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
        client_token(TokenInput {
            source: &self.source,
            event_id: &self.event_id,
            policy: &self.policy.settings.name,
            position,
            action: &action,
            params: &request.params,
        })
    }
}

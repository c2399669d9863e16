//! Sending one call to the cloud, when it is its turn, again where `retry` says so, and reads. Leaves effects to `effect`.

use super::{Session, Timed};
use crate::failpoint::{haste, unhasted, wrong};
use futures::future::BoxFuture;
use opsward_core::answer::{Remedy, Verdict};
use opsward_core::call::{CallError, CallReply, CallRequest, ErrorKind};
use opsward_core::catalog::{Class, Provider};
use opsward_core::credential::session::PolicySession;
use opsward_core::guardrail::Halt;
use opsward_core::id::AccountName;
use opsward_core::retry::{self, After, refusal};
use opsward_core::run::Stop;
use std::sync::Arc;
use tokio::time::Instant;

/// The way to the clouds: one attempt at a time. The real one is `cloud::CloudClient`; benchmarks answer from memory.
pub trait Sender: Send + Sync + 'static {
    /// What is known of an account.
    fn account(&self, name: &AccountName) -> Option<AccountFacts>;
    /// Signs and sends `request` once. Never retries.
    fn send<'a>(
        &'a self,
        caller: Caller<'a>,
        request: &'a CallRequest,
        stamp: Stamp<'a>,
    ) -> BoxFuture<'a, Verdict>;
    /// A random number that keeps runs from retrying in step.
    fn spread(&self) -> u8;
}

/// Who a call is signed for.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// The account.
    pub account: &'a AccountName,
    /// The policy's own session in it, where the account gives each policy one.
    pub session: Option<&'a Arc<PolicySession>>,
}

impl<'a> Caller<'a> {
    /// The account itself.
    pub fn of(account: &'a AccountName) -> Self {
        Self { account, session: None }
    }
}

/// What the host puts beside a policy's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp<'a> {
    /// Nothing.
    Plain,
    /// The idempotency token of an effect.
    Token(&'a str),
    /// The flag that has the cloud only check the request. What cannot bear it is not sent.
    DryRun,
}

impl<'a> Stamp<'a> {
    /// The token of an effect that has one.
    pub fn token(token: Option<&'a str>) -> Self {
        token.map_or(Self::Plain, Self::Token)
    }

    /// Its token, where it is one.
    pub fn as_token(self) -> Option<&'a str> {
        match self {
            Self::Token(token) => Some(token),
            Self::Plain | Self::DryRun => None,
        }
    }
}

/// What the broker needs to know of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountFacts {
    /// The vendor.
    pub provider: Provider,
    /// The region of calls that name none.
    pub region: Option<String>,
}

/// Whether the same effect may have been sent before, by this host or one that died.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    NotSent,
    MayBeSent,
}

/// How a sending ended.
pub(super) enum Sent {
    /// Settled by the cloud's answer.
    Reply(CallReply),
    /// Unclear: the resource's state must tell. Carries why it is unclear.
    ReadBack(String),
    /// Unclear for long: let the run sleep.
    Sleep(std::time::Duration),
    /// Not sent at all: a person halted the policy meanwhile.
    Halted(Halt),
}

impl Session {
    pub(super) async fn read(&self, position: u32, request: CallRequest) -> Result<Timed, Stop> {
        let (reply, answered) = self.look(position, &request).await?;
        self.answered(position, request, reply, answered)
    }

    /// Sends a read, which is the guest's or the host's own.
    pub(super) async fn ask(&self, request: &CallRequest) -> Result<CallReply, Stop> {
        self.ask_with(request, Stamp::Plain).await
    }

    /// The same, or the question what the cloud would say to an effect: that is a read as well.
    pub(super) async fn ask_with(&self, request: &CallRequest, stamp: Stamp<'_>) -> Result<CallReply, Stop> {
        match self.send(request, Class::Read, stamp, Before::NotSent).await?.0 {
            Sent::Reply(reply) => Ok(reply),
            Sent::Halted(halt) => Err(self.until_resumed(&halt)),
            Sent::ReadBack(_) | Sent::Sleep(_) => unreachable!("`retry::after_send` settles a read"),
        }
    }

    /// Sends until `retry` is content. Counts the sendings.
    pub(super) async fn send(
        &self,
        request: &CallRequest,
        class: Class,
        stamp: Stamp<'_>,
        before: Before,
    ) -> Result<(Sent, u32), Stop> {
        let Some(account) = &self.policy.settings.account else {
            return Err(Stop::Abandoned {
                reason: "the policy's account was removed from its file".to_owned(),
            });
        };
        let begun = Instant::now();
        let mut sends = 0;
        let mut in_doubt = before == Before::MayBeSent;
        loop {
            sends += 1;
            let verdict = match self.send_once(account, request, stamp, sends).await {
                Ok(verdict) => verdict,
                Err(halt) if in_doubt && class == Class::Token => {
                    tracing::debug!(%halt, "an effect that may have taken place waits");
                    return Ok((Sent::Sleep(retry::UNCLEAR_PAUSE), sends));
                }
                Err(halt) => return Ok((Sent::Halted(halt), sends)),
            };
            let class = if wrong("retry-once") && class == Class::Once { Class::Token } else { class };
            in_doubt |= retry::leaves_doubt(&verdict);
            let after = if in_doubt { retry::after_send_in_doubt } else { retry::after_send };
            let mut next = after(class, verdict.clone(), sends, self.broker.cloud.spread());
            if let After::SendAgain(pause) = next
                && (!retry::may_send_again(unhasted(begun.elapsed()), pause)
                    || is_crowded(&verdict)
                    || (class != Class::Read && !self.is_open())
                    || !self.broker.turns.may_repeat(account, request))
            {
                // As if it were the last time.
                next = after(class, verdict, retry::SENDS_MAX, 0);
            }
            match next {
                After::Reply(reply) => return Ok((Sent::Reply(reply), sends)),
                After::SendAgain(pause) => tokio::time::sleep(haste(pause)).await,
                After::ReadBack(error) => return Ok((Sent::ReadBack(error.to_string()), sends)),
                After::Sleep(pause) => return Ok((Sent::Sleep(pause), sends)),
            }
        }
    }

    /// Sends when it is this call's turn, for the `sends`-th time, unless the policy is halted by then.
    async fn send_once(
        &self,
        account: &AccountName,
        request: &CallRequest,
        stamp: Stamp<'_>,
        sends: u32,
    ) -> Result<Verdict, Halt> {
        let turns = &self.broker.turns;
        let provider = self.account().map(|account| account.provider);
        if let Err(crowded) = turns.wait(account, provider, request, sends).await {
            let error = refusal(ErrorKind::Throttled, RATE_LIMIT, crowded.to_string());
            let error = CallError { retryable: true, ..error };
            return Ok(Verdict::NotExecuted { error, retry_after: None, remedy: Remedy::Wait });
        }
        // As late as can be: the turn may have been long in coming.
        if let Some(halt) = self.halted() {
            return Err(halt);
        }
        let salted = match stamp {
            Stamp::Token(token) if wrong("random-token") => Some(format!("{sends:02}{}", &token[2..])),
            _ => None,
        };
        let changed = (wrong("changed-params") && sends > 1).then(|| {
            let params = request.params.replacen('{', r#"{"ResourceGroupId":"rg-again","#, 1);
            CallRequest { params, ..request.clone() }
        });
        let sent = changed.as_ref().unwrap_or(request);
        let caller = Caller { account, session: self.policy.settings.session.as_ref() };
        let verdict =
            self.broker.cloud.send(caller, sent, salted.as_deref().map_or(stamp, Stamp::Token)).await;
        turns.learn(account, request, &verdict);
        Ok(verdict)
    }
}

/// The host's own code where too many calls wait for their turn.
const RATE_LIMIT: &str = "opsward.RateLimit";

/// Whether this host itself turned the sending away: to repeat it at once would be in vain.
fn is_crowded(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::NotExecuted { error, .. } if error.code == RATE_LIMIT)
}

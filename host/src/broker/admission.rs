//! The door of a live call: what it would do, the secrets it may use, what its grants select by, whether it is granted. What
//! selectors are judged by is read afresh for each call; a replayed call is answered from the ledger and comes by here only if it is
//! to be sent again. Leaves deciding to `opsward_core::admit`. Tested in `tests/tests/it/grants`.

use super::Session;
use crate::failpoint::wrong;
use opsward_core::admit::{self, Admitted};
use opsward_core::call::{CallError, CallRequest, ErrorKind, secrets_named};
use opsward_core::catalog::{Facts, FactsRead, Provider};
use opsward_core::grant::Question;
use opsward_core::retry::refusal;
use opsward_core::run::Stop;
use serde_json::Value;

impl Session {
    /// What a call would do, if the policy may make it. What its grants select by is read afresh.
    pub(super) async fn admit(
        &self,
        position: u32,
        request: &CallRequest,
        params: &Value,
        provider: Provider,
    ) -> Result<Result<Admitted, CallError>, Stop> {
        let grants = &self.policy.settings.grants;
        let inspected = admit::inspect(request, params, provider)
            .and_then(|admitted| self.may_use_secrets(params).map(|()| admitted));
        let admitted = match inspected {
            Ok(admitted) => admitted,
            Err(error) => return Ok(Err(error)),
        };
        let question = admit::question(request, &admitted, provider, self.broker.clock.now());
        let shown = match admit::reads_before(&question, &admitted, params, grants) {
            Ok(reads) => self.facts(position, reads).await?,
            Err(error) => Err(error),
        };
        let granted = shown.and_then(|facts| admit::authorize(&question, grants, &facts).map(|()| facts));
        let facts = match granted {
            Err(error) if !wrong("no-grant-check") => return Ok(Err(error)),
            granted => granted.unwrap_or_default(),
        };
        let confirmed = admit::confirm(&question, grants, self.trust, &facts, &self.shown);
        if let Err(error) = confirmed.or_else(|error| if wrong("no-confirm") { Ok(()) } else { Err(error) }) {
            return Ok(Err(error));
        }
        let cleared = self.clear(position, &question, &admitted, params, facts).await?;
        Ok(cleared.map(|()| admitted))
    }

    /// Whether the call leaves alone what is protected. What the reads for its grants have shown is not read again.
    async fn clear(
        &self,
        position: u32,
        question: &Question<'_>,
        admitted: &Admitted,
        params: &Value,
        mut facts: Facts,
    ) -> Result<Result<(), CallError>, Stop> {
        let protected = &self.policy.settings.guardrails.protected;
        if wrong("no-protection") {
            return Ok(Ok(()));
        }
        let shown = match admit::reads_before_clearing(question, admitted, params, protected, &facts) {
            Ok(reads) => self.facts(position, reads).await?,
            Err(error) => Err(error),
        };
        Ok(shown.and_then(|shown| {
            facts.extend(shown);
            admit::clear(question, params, protected, &facts)
        }))
    }

    /// A policy's calls refer only to secrets that its file lists.
    fn may_use_secrets(&self, params: &Value) -> Result<(), CallError> {
        let invalid =
            |message: String| refusal(ErrorKind::Invalid, "opsward.InvalidSecretReference", message);
        let named = secrets_named(params).map_err(|e| invalid(e.to_string()))?;
        let listed = &self.policy.settings.secrets;
        match named.iter().find(|name| !listed.contains(name)) {
            Some(name) => Err(invalid(format!(
                "the policy's file does not list the secret `{name}`: add secrets = [\"{name}\"]"
            ))),
            None => Ok(()),
        }
    }

    /// What these reads show; a retryable refusal where one fails, because then nobody knows whether the call is granted.
    async fn facts(&self, position: u32, reads: Vec<FactsRead>) -> Result<Result<Facts, CallError>, Stop> {
        let mut facts = Facts::new();
        for read in reads {
            let body = self.look(position, &read.request).await?.0.map(|response| response.body);
            let unreadable = || {
                refusal(
                    ErrorKind::Unavailable,
                    "opsward.Unreadable",
                    "not an answer of this action".to_owned(),
                )
            };
            match body.and_then(|body| read.facts(&body).ok_or_else(unreadable)) {
                Ok(shown) => facts.extend(shown),
                Err(error) => return Ok(Err(admit::facts_unread(&read, &error))),
            }
        }
        Ok(Ok(facts))
    }
}

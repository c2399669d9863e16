//! The client as the broker sees it: a policy's request becomes a call with the catalog's API version and token field.

use super::client::{CloudClient, TIMEOUT_DEFAULT, refuse};
use crate::broker::{AccountFacts, Caller, Sender, Stamp};
use crate::failpoint::wrong;
use futures::future::BoxFuture;
use opsward_core::answer::Verdict;
use opsward_core::call::{CallRequest, secrets_named, with_secrets};
use opsward_core::catalog::{self, Class, Provider};
use opsward_core::id::AccountName;
use opsward_core::secret::Secret;
use opsward_core::sign::OutboundCall;
use std::time::Duration;

/// How long an effect may take: Alibaba's own client gives CreateSnapshot 86 s, and giving up early makes a result
/// unclear.
const EFFECT_TIMEOUT: Duration = Duration::from_secs(90);

impl Sender for CloudClient {
    fn account(&self, name: &AccountName) -> Option<AccountFacts> {
        let account = CloudClient::account(self, name)?;
        let region = (!account.region.is_empty()).then(|| account.region.clone());
        Some(AccountFacts { provider: account.provider, region })
    }

    fn send<'a>(
        &'a self,
        caller: Caller<'a>,
        request: &'a CallRequest,
        stamp: Stamp<'a>,
    ) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let CallRequest { service, action, region, params, once: _ } = request;
            let Some(known) = CloudClient::account(self, caller.account) else {
                let message = format!("account `{}` is not configured", caller.account);
                return refuse("opsward.unknown-account", message);
            };
            let provider = known.provider;
            let Some(version) = catalog::version_of(provider, service) else {
                return refuse("opsward.unknown-service", format!("service `{service}` is not known"));
            };
            let (token, dry_run) = match stamps(provider, request, stamp) {
                Ok(stamps) => stamps,
                Err(refused) => return refused,
            };
            let timeout = match catalog::class_of(provider, service, action) {
                Class::Read => TIMEOUT_DEFAULT,
                _ if stamp == Stamp::DryRun => TIMEOUT_DEFAULT,
                Class::Token | Class::Convergent | Class::Once => EFFECT_TIMEOUT,
            };
            let filled = match with_secrets(params, |name| self.secret(name)) {
                Ok(filled) => filled,
                Err(problem) => return refuse("opsward.InvalidSecretReference", problem.to_string()),
            };
            let sent = filled.as_ref().map_or(params.as_str(), Secret::expose);
            let call = OutboundCall { service, version, action, region, params: sent, token, dry_run };
            let verdict = CloudClient::send(self, caller, &call, Some(timeout)).await;
            if filled.is_none() {
                return verdict;
            }
            let params = serde_json::from_str(params).unwrap_or_default();
            let names = secrets_named(&params).unwrap_or_default();
            verdict.concealing(names.iter().filter_map(|name| self.secret(name)))
        })
    }

    fn spread(&self) -> u8 {
        self.random_bytes::<1>().map_or(0, |[byte]| byte)
    }
}

/// The token with its field, and the field of the dry run.
type Stamps<'a> = (Option<(&'a str, &'a str)>, Option<&'a str>);

/// What `stamp` puts into the request; the verdict where the action cannot bear it.
fn stamps<'a>(provider: Provider, request: &CallRequest, stamp: Stamp<'a>) -> Result<Stamps<'a>, Verdict> {
    let CallRequest { service, action, .. } = request;
    let known = catalog::find(provider, service, action);
    let none = |code: &str, what: &str| Err(refuse(code, format!("`{service}:{action}` takes no {what}")));
    match stamp {
        Stamp::Plain => Ok((None, None)),
        Stamp::Token(token) => match known.and_then(|action| action.token_field.as_deref()) {
            Some(field) => Ok((Some((field, token)), None)),
            None => none("opsward.no-token", "idempotency token"),
        },
        Stamp::DryRun if wrong("no-dry-run-flag") => Ok((None, None)),
        Stamp::DryRun => match known.and_then(|action| action.dry_run_field.as_deref()) {
            Some(field) => Ok((None, Some(field))),
            None => none("opsward.no-dry-run", "dry run"),
        },
    }
}

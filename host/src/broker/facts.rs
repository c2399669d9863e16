//! Reading what a grant's selectors are judged by, afresh for each call. Leaves which reads to `opsward_core::admit`, and judging
//! to it as well. A replayed call is answered from the ledger and reads nothing. Tested in `tests/tests/it/selectors.rs`.

use super::Session;
use super::send::{Before, Sent};
use opsward_core::admit;
use opsward_core::call::{CallError, ErrorKind};
use opsward_core::catalog::{Class, Facts, FactsRead};
use opsward_core::retry::refusal;
use opsward_core::run::Stop;

impl Session {
    /// What these reads show; a retryable refusal where one fails, because then nobody knows whether the call is granted.
    pub(super) async fn facts(&self, reads: Vec<FactsRead>) -> Result<Result<Facts, CallError>, Stop> {
        let mut facts = Facts::new();
        for read in reads {
            let (sent, _) = self.send(&read.request, Class::Read, None, Before::NotSent).await?;
            let body = match sent {
                Sent::Reply(reply) => reply.map(|response| response.body),
                Sent::ReadBack(_) | Sent::Sleep(_) => unreachable!("`retry::after_send` settles a read"),
            };
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

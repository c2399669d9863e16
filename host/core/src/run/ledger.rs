//! The ledger's records: what is durably known of a run, in order. Leaves writing them to the store and reading them
//! back into answers to `replay`. Old records load for ever: a new field has a default, a new meaning a new variant.

use super::host_call::{LogLevel, StateOp, StateReply};
use super::{Failure, Fault, Mode, Outcome};
use crate::approval::Asked;
use crate::call::{CallReply, CallRequest};
use crate::catalog::Class;
use crate::id::{AccountName, ApproverName, Digest, RunId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Version written into each record.
pub const RECORD_VERSION: u8 = 1;

/// One line of a run's ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Format version.
    pub v: u8,
    /// When it was written.
    pub at: Timestamp,
    /// What happened.
    pub entry: Entry,
}

impl Record {
    /// A record of the present version.
    pub fn new(at: Timestamp, entry: Entry) -> Self {
        Self { v: RECORD_VERSION, at, entry }
    }
}

/// Bytes of the clouds' answers in a ledger, those of earlier tries included.
pub fn answer_bytes(ledger: &[Record]) -> usize {
    let bytes = |record: &Record| match &record.entry {
        Entry::Call { reply: Ok(response), .. } | Entry::Result { reply: Ok(response), .. } => {
            response.body.len()
        }
        _ => 0,
    };
    ledger.iter().map(bytes).sum()
}

/// Whether an effect was made, or may have been.
pub fn has_acted(ledger: &[Record]) -> bool {
    ledger.iter().map(|record| effects(&record.entry)).sum::<i64>() > 0
}

/// What a record adds to the number of effects that its run has made or may have made: an intent one, and that it came to nothing takes
/// it back. No position has two intents without a result between them. What a dry run shows is none.
pub fn effects(entry: &Entry) -> i64 {
    match entry {
        Entry::Intent { .. } => 1,
        Entry::Result { reply: Err(_), .. } | Entry::NotExecuted { .. } => -1,
        _ => 0,
    }
}

/// What happened. `position` counts the guest's recorded host calls from 0; each request of a `call-all` has its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Entry {
    /// A worker began or continued the run.
    Started {
        /// 1 for the first try.
        attempt: u32,
        /// The plugin revision that runs.
        digest: Digest,
        /// The policy's mode.
        mode: Mode,
        /// The account its calls go to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<AccountName>,
    },
    /// A read, or a call answered by the host: request and answer at once.
    Call {
        /// Where in the run.
        position: u32,
        /// In canonical form.
        request: CallRequest,
        /// The answer the guest got.
        reply: CallReply,
        /// Where the answer came from.
        answered: Answered,
    },
    /// An effect is about to be sent. Durable before the first byte leaves.
    Intent {
        /// Where in the run.
        position: u32,
        /// In canonical form.
        request: CallRequest,
        /// What repeating it may do.
        class: Class,
        /// The idempotency token it carries.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// What a read of the resource said just before, as JSON text: what a read-back is compared with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline: Option<String>,
    },
    /// The answer to the intent at `position`.
    Result {
        /// Where in the run.
        position: u32,
        /// The answer the guest gets.
        reply: CallReply,
        /// Where the answer came from.
        answered: Answered,
        /// How often the request was sent; 0 where it was not.
        sends: u32,
    },
    /// An access to the policy's state, done in the same transaction.
    State {
        /// Where in the run.
        position: u32,
        /// What was asked.
        op: StateOp,
        /// What it gave.
        reply: StateReply,
    },
    /// The run slept.
    Slept {
        /// Where in the run.
        position: u32,
        /// What was asked.
        ms: u64,
        /// When it may go on.
        until: Timestamp,
    },
    /// A call could not go on yet; the run is continued later.
    Waited {
        /// For what.
        why: String,
    },
    /// A line the guest logged.
    Log {
        /// How grave.
        level: LogLevel,
        /// The line.
        message: String,
    },
    /// The run waits for a person.
    Held {
        /// The effect in question.
        position: u32,
        /// What is unknown.
        reason: String,
    },
    /// The effect at `position` did not take place: the call is to be made anew.
    NotExecuted {
        /// The effect in question.
        position: u32,
        /// What proves it; empty where a person says so.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
        /// Who says so, where a person does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// A person gave the run up, with the effect at `position` unknown for good.
    Abandoned {
        /// The effect in question; none where the ledger could not be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<u32>,
        /// Who.
        by: String,
    },
    /// The run begins afresh: positions count from 0 again, reads are made again, and an effect that was made is not.
    Retried {
        /// The failure that may pass; empty where a person asked.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        why: String,
        /// Who asked for it, where a person did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// The run waits until people have approved what it would do.
    Asked {
        /// What exactly.
        asked: Box<Asked>,
    },
    /// A person approves what was asked as the `nth`.
    Approved {
        /// Which asking.
        nth: u32,
        /// Who.
        by: ApproverName,
        /// Whether nobody else need be asked: the run begins afresh.
        enough: bool,
    },
    /// A person denies it: the run has ended.
    Denied {
        /// Which asking.
        nth: u32,
        /// Who.
        by: ApproverName,
    },
    /// Computed anew, facts and plan are what was approved: it is carried out from here on.
    Confirmed {
        /// Which asking.
        nth: u32,
    },
    /// No approval holds any more; the run begins afresh.
    Void {
        /// What was found.
        why: String,
    },
    /// The sandbox ended the attempt; it may be tried again.
    Faulted {
        /// Which bound was met.
        fault: Fault,
    },
    /// The run ended before it had made an effect: a proved notice of what a hint had woken it for has come, and has a run of its own.
    GaveWay {
        /// That run.
        to: RunId,
    },
    /// The run ended as the policy wanted.
    Done {
        /// Its own words.
        outcome: Outcome,
    },
    /// The run ended, and the policy says it did not work.
    Failed {
        /// Its own words.
        failure: Failure,
    },
}

/// Where an answer came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answered {
    /// From the cloud.
    Cloud,
    /// Proved by reading the resource's state.
    ReadBack,
    /// Made up by the host: dry run.
    Simulated,
    /// The same, after the cloud's own dry run: made up where that passed, the cloud's refusal where it did not.
    CloudDryRun,
    /// From the cloud, with what the dry run has simulated so far in it.
    Overlaid,
    /// Refused by the host: grant, guardrail or malformed request.
    Host,
    /// An earlier try of this run made the same effect: nothing was sent.
    EarlierTry,
    /// A person said that it took place.
    Person {
        /// Who.
        by: String,
    },
    /// The answer of an earlier effect with the same natural key: nothing was sent.
    Once {
        /// The run whose effect it was.
        run: RunId,
    },
}

impl Answered {
    /// Whether it is about an effect that a dry run did not make.
    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated | Self::CloudDryRun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallError, CallResponse, ErrorKind};

    #[test]
    fn a_run_has_acted_once_an_effect_may_have_been_made() {
        let request = CallRequest {
            service: "ecs".into(),
            action: "StartInstance".into(),
            region: "cn-hangzhou".into(),
            params: "{}".into(),
            once: None,
        };
        let made = || Ok(CallResponse { request_id: "r".into(), body: "{}".into(), simulated: false });
        let refused = || {
            let (code, message) = ("x".into(), String::new());
            Err(CallError { kind: ErrorKind::Conflict, code, message, request_id: None, retryable: false })
        };
        let intent = |position| {
            let (request, class) = (request.clone(), Class::Convergent);
            Entry::Intent { position, request, class, token: None, baseline: None }
        };
        let result = |position, reply| Entry::Result { position, reply, answered: Answered::Cloud, sends: 1 };
        let call = |reply, answered| Entry::Call { position: 0, request: request.clone(), reply, answered };
        let undone = |position| Entry::NotExecuted { position, why: "proved".into(), by: None };
        let again = || Entry::Retried { why: "may pass".into(), by: None };
        for (entries, expected) in [
            (vec![], false),
            (vec![call(made(), Answered::Cloud)], false),
            (vec![call(refused(), Answered::Host)], false),
            (vec![call(made(), Answered::Simulated)], false),
            (vec![call(refused(), Answered::CloudDryRun)], false),
            (vec![intent(1)], true),
            (vec![intent(1), result(1, made())], true),
            (vec![intent(1), result(1, refused())], false),
            (vec![intent(1), undone(1)], false),
            (vec![intent(1), intent(2), undone(1)], true),
            (vec![intent(1), result(1, made()), again(), intent(1), result(1, refused())], true),
        ] {
            let ledger: Vec<Record> =
                entries.into_iter().map(|entry| Record::new(Timestamp::from_seconds(0), entry)).collect();
            assert_eq!(has_acted(&ledger), expected, "{ledger:?}");
        }
    }
}

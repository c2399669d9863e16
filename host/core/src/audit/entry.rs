//! What a row of the audit chain says: one flat JSON text, the same fields for every kind, those that do not apply left out. A
//! text that is stored is never written anew, so that its hash holds for ever: a new field has a default, a new meaning a new
//! kind.

use super::digest;
use crate::call::{CallError, CallRequest};
use crate::catalog::{self, Class, Provider};
use crate::id::{AccountName, Digest, PolicyName, RunId};
use crate::run::{Answered, Entry as Recorded, Record};
use crate::time::Timestamp;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// Version written into each entry.
pub const AUDIT_VERSION: u8 = 1;
/// Resources that an entry names: a call on more is rare, and its parameters are in the ledger.
const RESOURCES_MAX: usize = 100;
/// Codes of what a grant would allow and a guardrail does not.
const REFUSALS: [&str; 7] = [
    "opsward.OverGuardrail",
    "opsward.Protected",
    "opsward.ProtectionUnseen",
    "opsward.CircuitOpen",
    "opsward.RampStopped",
    "opsward.OutsideWindow",
    "opsward.FleetUnseen",
];
/// Characters of a text that a guest or a cloud made up.
const TEXT_CHARS_MAX: usize = 200;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Format version.
    pub v: u8,
    /// Its place in the chain, from 1.
    pub seq: i64,
    /// When what it tells of was recorded.
    pub at: Timestamp,
    /// What it tells of.
    pub kind: Kind,
    /// Whose effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The run's policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyName>,
    /// The run's plugin revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Digest>,
    /// Where in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    /// The account of an intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountName>,
    /// `service:Action`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The region of an intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What the call names, as the catalog knows it; the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// What repeating the call may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// SHA-256 of the parameters in canonical form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Digest>,
    /// `ok`, or the error's code; of a change what was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Where the outcome is known from: `cloud`, `read-back`, `person`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_from: Option<String>,
    /// The cloud's name for the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How often it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sends: Option<u32>,
    /// The person who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What a change was made to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `fingerprint` of the ledger's record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Digest>,
    /// Of `begun`: rows of the ledger up to this are from before the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<i64>,
}

/// What a row tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The chain begins: in a new store, or in one from before there was a chain.
    Begun,
    /// The store is a restored copy: what was written since the copying is lost, and the chain goes on from the copy.
    Restored,
    /// An effect is about to be sent.
    Intent,
    /// An effect's outcome.
    Result,
    /// An effect did not take place, or not reach its goal.
    NotExecuted,
    /// A granted effect was refused by a guardrail.
    Refused,
    /// A person changed something.
    Change,
}

impl Kind {
    /// The kind as it is shown and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Restored => "restored",
            Self::Intent => "intent",
            Self::Result => "result",
            Self::NotExecuted => "not-executed",
            Self::Refused => "refused",
            Self::Change => "change",
        }
    }
}

/// Something that a person, or a program for one, changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Who.
    pub actor: String,
    /// What: `halt`, `resume`, `run.retry`, ...
    pub what: String,
    /// To what.
    pub target: String,
    /// When.
    pub at: Timestamp,
}

impl From<Change> for Entry {
    fn from(change: Change) -> Self {
        let Change { actor, what, target, at } = change;
        Self {
            by: Some(cut(&actor)),
            outcome: Some(cut(&what)),
            target: Some(cut(&target)),
            ..Self::new(at, Kind::Change)
        }
    }
}

impl Entry {
    /// An entry that has no place in the chain yet.
    pub fn new(at: Timestamp, kind: Kind) -> Self {
        Self {
            v: AUDIT_VERSION,
            seq: 0,
            at,
            kind,
            run: None,
            policy: None,
            plugin: None,
            position: None,
            account: None,
            action: None,
            region: None,
            resources: Vec::new(),
            class: None,
            params: None,
            outcome: None,
            known_from: None,
            request_id: None,
            sends: None,
            by: None,
            target: None,
            record: None,
            ledger: None,
        }
    }

    /// What the chain says of `record` of `run`, which the ledger has as `line`; nothing of a record that is of no effect.
    pub fn of(run: &RunId, record: &Record, line: &str) -> Option<Self> {
        let entry = |kind, position| Self {
            run: Some(run.clone()),
            position,
            record: Some(fingerprint(run, line)),
            ..Self::new(record.at, kind)
        };
        Some(match &record.entry {
            Recorded::Intent { position, request, class, .. } => {
                Self { class: Some(*class), ..entry(Kind::Intent, Some(*position)).about(request) }
            }
            Recorded::Result { position, reply, answered, sends } => {
                let (outcome, request_id) = match reply {
                    Ok(response) => ("ok", Some(response.request_id.as_str())),
                    Err(CallError { code, request_id, .. }) => (code.as_str(), request_id.as_deref()),
                };
                let (known_from, by) = match answered {
                    Answered::Person { by } => ("person", Some(by)),
                    Answered::ReadBack => ("read-back", None),
                    Answered::Cloud => ("cloud", None),
                    Answered::Simulated => ("simulated", None),
                    Answered::CloudDryRun => ("cloud-dry-run", None),
                    Answered::Overlaid => ("overlaid", None),
                    Answered::Host => ("host", None),
                    Answered::EarlierTry => ("earlier-try", None),
                    Answered::Once { .. } => ("once", None),
                };
                Self {
                    outcome: Some(cut(outcome)),
                    known_from: Some(known_from.to_owned()),
                    request_id: request_id.filter(|id| !id.is_empty()).map(cut),
                    sends: Some(*sends),
                    by: by.map(|by| cut(by)),
                    ..entry(Kind::Result, Some(*position))
                }
            }
            Recorded::NotExecuted { position, by, .. } => {
                Self { by: by.as_deref().map(cut), ..entry(Kind::NotExecuted, Some(*position)) }
            }
            Recorded::Call { position, request, reply: Err(error), answered: Answered::Host }
                if REFUSALS.contains(&error.code.as_str()) =>
            {
                let refused = entry(Kind::Refused, Some(*position)).about(request);
                Self { outcome: Some(cut(&error.code)), ..refused }
            }
            Recorded::Abandoned { position, by } => {
                entry(Kind::Change, *position).decided("run.give-up", run, by)
            }
            Recorded::Approved { by, .. } => {
                entry(Kind::Change, None).decided("approval.approve", run, by.as_str())
            }
            Recorded::Denied { by, .. } => {
                entry(Kind::Change, None).decided("approval.deny", run, by.as_str())
            }
            Recorded::Retried { by: Some(by), .. } => entry(Kind::Change, None).decided("run.retry", run, by),
            _ => return None,
        })
    }

    fn about(self, request: &CallRequest) -> Self {
        let CallRequest { service, action, region, params, .. } = request;
        Self {
            action: Some(cut(&format!("{service}:{action}"))),
            region: Some(cut(region)),
            resources: resources(service, action, params),
            params: Some(Digest::of(params.as_bytes())),
            ..self
        }
    }

    fn decided(self, what: &str, run: &RunId, by: &str) -> Self {
        Self { outcome: Some(what.to_owned()), target: Some(format!("run {run}")), by: Some(cut(by)), ..self }
    }

    /// Whether it tells of a record of the ledger that any row of it must tell of.
    pub fn is_of_ledger(&self) -> bool {
        self.record.is_some()
    }
}

/// What tells a record of the ledger from every other: SHA-256 over its run and the line that it is stored as.
pub fn fingerprint(run: &RunId, line: &str) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(run.as_str().as_bytes());
    context.update(b"\n");
    context.update(line.as_bytes());
    digest(&context.finish())
}

/// The ledger does not say whose cloud it is; no two vendors share an action of the same service and name but in `sts`, and one
/// that neither has names its resources alike.
fn resources(service: &str, action: &str, params: &str) -> Vec<String> {
    let Ok(params) = serde_json::from_str(params) else { return Vec::new() };
    let is_tencents = catalog::find(Provider::Tencent, service, action).is_some();
    let provider = if is_tencents { Provider::Tencent } else { Provider::Alibaba };
    let named = catalog::resources(provider, service, action, &params);
    named.iter().take(RESOURCES_MAX).map(|id| cut(id)).collect()
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

//! Approval: what a policy would do, as a plan that people approve of, and the comparison of what it then does with that. `facts`
//! has what it had read before, `placeholder` the values that only an earlier effect can give, `station` where a run stands by its
//! ledger, `decide` who may decide, `link` the one-use links. Leaves running the policy, asking and sending to the host. Tested in
//! `approval/tests.rs`.

mod decide;
mod facts;
mod follow;
mod link;
mod placeholder;
mod station;

pub use decide::{Choice, DecideApprovalError, Decided, HASH_DIGITS_MIN, Then, Verdict, decide};
pub use facts::Facts;
pub use follow::{Follow, Step};
pub use link::{InvalidLink, Link};
pub use placeholder::Placeholders;
pub use station::{Pending, Phase, Station, pending, station};

use crate::call::CallRequest;
use crate::config::PolicySettings;
use crate::id::{AccountName, ApproverName, Digest, PolicyName, RunId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// Most calls of a plan: as many as a policy may ask for together, and more than a person reads.
pub const PLAN_CALLS_MAX: usize = 500;
/// Bytes of parameters in a plan after which it is cut: it is a record of the ledger, and a page that people read.
pub const PLAN_BYTES_MAX: usize = 1 << 20;
/// How long people have to decide where the policy's file does not say.
pub const EXPIRES_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Longest that it may say: what was read a week ago is no ground to act on.
pub const EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Who must approve: `[approval]` of a policy's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvers {
    /// Who may.
    pub names: Vec<ApproverName>,
    /// How many of them must.
    pub minimum: usize,
    /// How long they have.
    pub expires: Duration,
}

impl Approvers {
    /// Whether `by` has enough of them.
    pub fn are_met(&self, by: &[ApproverName]) -> bool {
        self.names.iter().filter(|name| by.contains(name)).count() >= self.minimum
    }
}

/// What a policy would do: every call of it that is no read, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The calls.
    pub calls: Vec<PlannedCall>,
    /// Why it was looked ahead no further; empty where the policy came to its end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cut: String,
}

/// One call of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedCall {
    /// In canonical form: the bytes that are approved.
    pub request: CallRequest,
    /// What would become of it.
    pub fate: Fate,
    /// The simulated answer of an effect: values of it in later calls stand for those of the real one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
}

/// What would become of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is sent, once it is approved.
    Effect,
    /// An earlier try of the run made it: it is not sent again.
    Made,
    /// The host refuses it.
    Refused {
        /// With this code.
        code: String,
    },
}

impl Plan {
    /// Whether no more calls fit. What an earlier try made before the first effect takes no room: else a run that has made many
    /// could never ask for the rest.
    pub fn is_full(&self) -> bool {
        let ahead = || self.calls.iter().skip_while(|call| call.fate != Fate::Effect);
        let bytes: usize = ahead().map(|call| call.request.params.len() + call.answer.len()).sum();
        ahead().count() >= PLAN_CALLS_MAX || bytes >= PLAN_BYTES_MAX
    }

    /// Whether a call is in it that would be sent.
    pub fn has_effects(&self) -> bool {
        self.calls.iter().any(|call| call.fate == Fate::Effect)
    }

    /// How many calls of it would be sent.
    pub fn effects(&self) -> usize {
        self.calls.iter().filter(|call| call.fate == Fate::Effect).count()
    }
}

/// What people are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// 1 for the first time that the run asks.
    pub nth: u32,
    /// Of everything that is approved: see `Terms::hash`.
    pub hash: Digest,
    /// Of the answers that the policy had before its first effect.
    pub facts: Digest,
    /// What it would do.
    pub plan: Plan,
    /// Who may approve.
    pub approvers: Vec<ApproverName>,
    /// How many of them must.
    pub minimum: u32,
    /// Until when.
    pub expires: Timestamp,
    /// What has changed since the run asked before; empty where it did not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub changed: String,
}

/// Everything that an approval is of.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The plugin revision.
    pub digest: Digest,
    /// The policy.
    pub policy: &'a PolicyName,
    /// The run.
    pub run: &'a RunId,
    /// Where its calls go.
    pub account: Option<&'a AccountName>,
    /// What the operator's file lets it do: see `file_digest`.
    pub file: Digest,
    /// The answers before its first effect.
    pub facts: Digest,
    /// What it would do.
    pub plan: &'a Plan,
}

impl Terms<'_> {
    /// The digest that people approve: SHA-256 over every part with its length before it.
    pub fn hash(&self) -> Digest {
        let Self { digest, policy, run, account, file, facts, plan } = self;
        let mut hasher = Lengthy::default();
        hasher.add(b"opsward approval 1");
        hasher.add(digest.as_bytes());
        hasher.add(policy.as_str().as_bytes());
        hasher.add(run.as_str().as_bytes());
        hasher.add(account.map_or("", AccountName::as_str).as_bytes());
        hasher.add(file.as_bytes());
        hasher.add(facts.as_bytes());
        let placeholders = Placeholders::of(&plan.calls);
        for call in &plan.calls {
            let fate = match &call.fate {
                Fate::Effect => "effect",
                Fate::Made => "made",
                Fate::Refused { code } => code,
            };
            let CallRequest { service, action, region, params, once } = &call.request;
            for part in [fate, service, action, region, &placeholders.placed(params)] {
                hasher.add(part.as_bytes());
            }
            // A key that is empty is refused, so that none and an empty one need not be told apart.
            hasher.add(placeholders.placed(once.as_deref().unwrap_or_default()).as_bytes());
        }
        hasher.digest()
    }
}

/// What a policy's file says that decides what its calls may be and become.
pub fn file_digest(settings: &PolicySettings) -> Digest {
    let mut hasher = Lengthy::default();
    let grants = serde_json::to_vec(&settings.grants.rows()).expect("grants are plain data");
    hasher.add(&grants);
    hasher.add(settings.config.as_bytes());
    for secret in &settings.secrets {
        hasher.add(secret.as_bytes());
    }
    hasher.digest()
}

/// `text` with everything written out that would not be seen as it is: a policy chooses what people read before they approve, and
/// neither a terminal's commands nor writing that turns around may change what that says. (Unicode: Cc, Cf, Zl, Zp.)
pub fn visible(text: &str) -> String {
    let is_unseen = |c: char| {
        c.is_control()
            || matches!(u32::from(c),
                0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E
                | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB | 0xE0000..=0xE007F)
    };
    let shown = |c: char| if is_unseen(c) { format!("\\u{{{:x}}}", u32::from(c)) } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// SHA-256 of parts, each with its length before it, so that it shows where one ends.
#[derive(Default)]
struct Lengthy(Sha256);

impl Lengthy {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn digest(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests;

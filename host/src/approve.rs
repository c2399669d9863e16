//! People's decisions on what runs ask, and the links that carry one. Finds the run and has the store write the decision. Leaves
//! who may decide, and what that writes, to `opsward_core::approval`. Used by the command line, where no host runs, and by the
//! admin listener.

use crate::failpoint::{hit, wrong};
use crate::store::{Claim, RunDetail, Standing, Store, StoreError};
use opsward_core::approval::{
    self, Asked, Choice, DecideApprovalError, InvalidLink, Link, Pending, Phase, Then, Verdict,
};
use opsward_core::id::ApproverName;
use opsward_core::run::Record;
use opsward_core::time::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// How often a decision is judged anew where somebody else's came between: each time one of few people has decided.
const JUDGED_MAX: usize = 32;
/// Bytes of the key that links are signed with.
const KEY_BYTES: usize = 32;

/// A decision as a person gives it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Said {
    /// What they say.
    pub decision: Verdict,
    /// The hash of what they have seen.
    pub hash: String,
    /// For whom it is said, where that is not told by who says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ApproverName>,
}

/// Why a decision was not written.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// No such asking.
    #[error("no run that waits for an approval has an id that begins so: `opsward approval ls` lists them")]
    NotFound,
    /// More than one.
    #[error("the id fits more than one run; type more of it")]
    Ambiguous,
    /// A person may not decide so.
    #[error(transparent)]
    Decide(#[from] DecideApprovalError),
    /// The link is not good.
    #[error(transparent)]
    Link(#[from] InvalidLink),
    /// It was not written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Names an asking: the run, and which one of it where that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalId {
    /// The run, or enough of its beginning.
    pub run: String,
    /// Which asking; the latest where absent.
    pub nth: Option<u32>,
}

impl std::str::FromStr for ApprovalId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (run, nth) = match text.split_once('-') {
            Some((run, nth)) => (run, Some(nth.parse().ok())),
            None => (text, None),
        };
        let is_run = !run.is_empty() && run.bytes().all(|b| b.is_ascii_hexdigit());
        match (is_run, nth) {
            (true, None) => Ok(Self { run: run.to_owned(), nth: None }),
            (true, Some(Some(nth))) => Ok(Self { run: run.to_owned(), nth: Some(nth) }),
            _ => Err("not the id of an approval, as in `3fa29c01b2c4-1`: `opsward approval ls` lists them"
                .to_owned()),
        }
    }
}

/// What a run asks, if it waits for an answer.
pub fn asks(run: &RunDetail) -> Option<Pending<'_>> {
    approval::pending(run.whole_ledger().ok()?).filter(|pending| pending.phase == Phase::Waits)
}

/// The one run that `id` means.
pub async fn find(store: &dyn Store, id: &ApprovalId) -> Result<RunDetail, ApproveError> {
    only(store.find_runs(&id.run, 2).await?, id)
}

/// The one among those that were `found`.
pub fn only(mut found: Vec<RunDetail>, id: &ApprovalId) -> Result<RunDetail, ApproveError> {
    if let Some(at) = found.iter().position(|run| run.row.id.as_str() == id.run) {
        return Ok(found.swap_remove(at));
    }
    match found.len() {
        0 => Err(ApproveError::NotFound),
        1 => Ok(found.swap_remove(0)),
        _ => Err(ApproveError::Ambiguous),
    }
}

/// Takes `said` of the asking `id`, by whom the host knows as `by`.
pub async fn decide(
    store: &dyn Store,
    id: &ApprovalId,
    by: ApproverName,
    said: &Said,
    now: Timestamp,
) -> Result<Then, ApproveError> {
    let run = find(store, id).await?;
    let nth = match id.nth {
        Some(nth) => nth,
        None => asks(&run).ok_or(DecideApprovalError::NotWaiting)?.asked.nth,
    };
    let choice = Choice { nth, hash: said.hash.clone(), verdict: said.decision, by };
    write(store, run, &choice, now).await
}

/// Uses a link.
pub async fn decide_by_link(store: &dyn Store, link: &Link, now: Timestamp) -> Result<Then, ApproveError> {
    let id = ApprovalId { run: link.run.to_string(), nth: Some(link.nth) };
    let run = find(store, &id).await?;
    if now >= link.expires && !wrong("no-approval-expiry") {
        return Err(DecideApprovalError::Expired(link.expires).into());
    }
    let Link { nth, hash, verdict, by, .. } = link.clone();
    let mut choice = Choice { nth, hash: hash.to_string(), verdict, by };
    if wrong("link-twice")
        && let Some(pending) = asks(&run)
    {
        choice = Choice { nth: pending.asked.nth, hash: pending.asked.hash.to_string(), ..choice };
    }
    write(store, run, &choice, now).await
}

async fn write(
    store: &dyn Store,
    mut run: RunDetail,
    choice: &Choice,
    now: Timestamp,
) -> Result<Then, ApproveError> {
    let decided_at = if wrong("no-approval-expiry") { Timestamp::default() } else { now };
    for _ in 0..JUDGED_MAX {
        let decided = approval::decide(run.row.state, run.whole_ledger().ok(), choice, decided_at)?;
        let record = Record::new(now, decided.record.entry);
        let to = match decided.to {
            Then::Waits(expires) => Standing::Wake { at: expires, faulted: false },
            Then::GoesOn => Standing::Wake { at: now, faulted: false },
            Then::Ends => Standing::Failed,
        };
        let claim = Claim { run: run.row.id.clone(), epoch: run.epoch };
        hit("before-decision");
        match store.intervene(&claim, run.row.state, None, record, to).await {
            Ok(()) => {
                hit("after-decision");
                let Choice { nth, verdict, by, .. } = choice;
                tracing::warn!(run = %claim.run, nth, decision = verdict.as_str(), %by, "a person decided on an approval");
                return Ok(decided.to);
            }
            // Another decision, or a worker, came first: what is right to do is to be judged on that.
            Err(StoreError::Lost(_)) => {
                let id = ApprovalId { run: claim.run.to_string(), nth: Some(choice.nth) };
                run = find(store, &id).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Lost(run.row.id).into())
}

/// The link by which `by` decides on what a run asks.
pub fn link(run: &RunDetail, asked: &Asked, by: &ApproverName, verdict: Verdict) -> Link {
    Link {
        run: run.row.id.clone(),
        nth: asked.nth,
        hash: asked.hash,
        by: by.clone(),
        verdict,
        expires: asked.expires,
    }
}

/// Where the key of a store's links is.
pub fn key_path(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".approval-key");
    path.into()
}

/// The key that this host signs links with: made where there is none, readable by the service's user only.
pub fn key(store: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    let path = key_path(store);
    match read_key(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut key = [0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| std::io::Error::other("the system has no random bytes"))?;
    // Whole or not at all: written beside, then given its name, which only one of two can.
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}", std::process::id()));
    let mut file = private().write(true).create(true).truncate(true).open(&beside)?;
    file.write_all(&key)?;
    file.sync_all()?;
    let named = std::fs::hard_link(&beside, &path);
    std::fs::remove_file(&beside)?;
    match named {
        Ok(()) => Ok(key),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read_key(&path),
        Err(error) => Err(error),
    }
}

fn read_key(path: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    let bad = |what: &str| std::io::Error::other(format!("`{}` {what}", path.display()));
    let file = File::open(path)?;
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&file.metadata()?) & 0o077 != 0 {
        return Err(bad(
            "may be read by others: anybody who has it can approve; remove it, and a new one is made",
        ));
    }
    let mut key = Vec::with_capacity(KEY_BYTES);
    file.take(KEY_BYTES as u64 + 1).read_to_end(&mut key)?;
    key.try_into().map_err(|_| bad("is no key of 32 bytes: remove it, and a new one is made"))
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_kept_private_and_refused_where_others_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("a.db");
        let first = key(&store).expect("made");
        assert_eq!(key(&store).expect("read"), first);
        let path = key_path(&store);
        let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        mode(0o644);
        assert!(key(&store).expect_err("refused").to_string().contains("may be read by others"));
        mode(0o600);
        std::fs::write(&path, [1; 31]).expect("written");
        assert!(key(&store).expect_err("refused").to_string().contains("is no key of 32 bytes"));
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn an_approvals_id_is_a_run_and_which_asking_of_it() {
        let id = |run: &str, nth| Ok(ApprovalId { run: run.to_owned(), nth });
        assert_eq!("3fa2".parse(), id("3fa2", None));
        assert_eq!("3fa2-12".parse(), id("3fa2", Some(12)));
        for bad in ["", "-1", "3fa2-", "3fa2-x", "xyz", "3fa2-1-1", "3fa2--1"] {
            assert!(bad.parse::<ApprovalId>().is_err(), "{bad}");
        }
    }
}

//! What a person decides of a run that rests: a held one is resolved, a dead or failed one tried again. Finds the run and
//! has the store write the decision. Leaves what may be decided, and what it writes, to `opsward_core::run`. Used by the
//! command line, where no host runs, and by the admin listener.

use crate::store::{Claim, OnceKey, RunDetail, Standing, Store, StoreError};
use opsward_core::run::{self, Record, RunState, SettleError, Settlement};
use opsward_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a person decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Of a held run.
    Resolve(Settlement),
    /// Of a dead or failed run: begin afresh.
    Retry,
}

impl Decision {
    /// What it does.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Resolve(Settlement::Done { .. }) => "resolve as done",
            Self::Resolve(Settlement::NotDone) => "resolve as not done",
            Self::Resolve(Settlement::Abandon) => "abandon",
            Self::Retry => "retry",
        }
    }
}

/// A decision, and whose it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Decided {
    /// What is decided.
    pub decision: Decision,
    /// Who says so: kept with the run.
    #[serde(default)]
    pub by: String,
    /// The run's epoch as they saw it: it tells one hold of a run from the next.
    pub epoch: u64,
}

/// Why a decision was not written.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// No run, or more than one, begins so.
    #[error("{}", match .0 { 0 => "no run has an id that begins so", _ => "the id fits more than one run; type more of it" })]
    NotOne(usize),
    /// A person can decide nothing of the kind.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The run has been worked on since, and rests anew.
    #[error(
        "the run is {} anew since you looked{}: look again (`opsward run show`), then decide", .state.as_str(),
        match .note { Some(note) => format!(", and for something else: {note}"), None => String::new() }
    )]
    RestsAnew {
        /// Where it stands.
        state: RunState,
        /// What is said of it now.
        note: Option<String>,
    },
    /// Nobody to be named.
    #[error("`by` is empty: say who decides")]
    Nobody,
    /// The store did not take it; `Lost` where the run has moved on meanwhile.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes what `decided` says of the run whose id begins with `prefix`. Returns the run as it was before.
///
/// # Errors
/// Where there is not exactly one such run, it does not stand where that can be decided, or no longer as it was seen.
pub async fn decide(
    store: &dyn Store,
    prefix: &str,
    decided: &Decided,
    now: Timestamp,
) -> Result<RunDetail, DecideError> {
    if decided.by.trim().is_empty() {
        return Err(DecideError::Nobody);
    }
    // An empty one begins every id.
    let found = if prefix.is_empty() { Vec::new() } else { store.find_runs(prefix, 2).await? };
    let [run] = <[RunDetail; 1]>::try_from(found).map_err(|found| DecideError::NotOne(found.len()))?;
    let (record, key, to) = written(&run, decided, now)?;
    // Each claim raises the epoch: a run that was held, settled and held again has another.
    if run.epoch != decided.epoch {
        return Err(DecideError::RestsAnew { state: run.row.state, note: run.row.note });
    }
    let claim = Claim { run: run.row.id.clone(), epoch: run.epoch };
    store.intervene(&claim, run.row.state, key, record, to).await?;
    Ok(run)
}

fn written(
    run: &RunDetail,
    decided: &Decided,
    now: Timestamp,
) -> Result<(Record, Option<OnceKey>, Standing), SettleError> {
    let wake = Standing::Wake { at: now, faulted: false };
    let ledger = run.whole_ledger().ok();
    let settlement = match &decided.decision {
        Decision::Retry => {
            return Ok((run::retry(run.row.state, ledger, &decided.by, now)?, None, wake));
        }
        Decision::Resolve(settlement) => settlement,
    };
    let settled = run::settle(run.row.state, ledger, settlement, &decided.by, now)?;
    let request = settled.effect.map(|(_, open)| open.request);
    let key = request.and_then(|request| {
        let action = format!("{}:{}", request.service, request.action);
        request.once.map(|key| OnceKey { policy: run.row.policy.clone(), action, key })
    });
    let to = if settled.to == RunState::Dead { Standing::Dead } else { wake };
    Ok((settled.record, key, to))
}

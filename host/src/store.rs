//! The durable record of events, runs and schedules, as verbs. One transaction a verb: it happened whole or not at all,
//! and the future resolves once it is on disk. Leaves every decision to the caller. `sqlite` is the embedded store; every
//! store passes the conformance suite in `tests/tests/it/store.rs`.

mod cursor;
mod event;
mod firing;
mod once;
mod run;
pub mod sqlite;
mod upkeep;

pub use cursor::Cursor;
pub use event::{Acceptance, EventFilter, EventRow, NewEvent};
pub use firing::{Firing, NewFiring, Pause, Recorded, ScheduleKey, ScheduleState};
pub use once::{Once, OnceKey};
pub use opsward_core::schedule::Decision;
pub use run::{Claim, Claimed, NewRun, RunDetail, RunFilter, RunRow, Standing, Work};
pub use upkeep::{Restored, Retained, RetainedUpTo};

use futures::future::BoxFuture;
use opsward_core::guardrail::{Halt, Halts, Limit, Spent};
use opsward_core::id::{AccountName, Digest, PolicyName, RunId, SourceName};
use opsward_core::run::{Record, RunState, StateEntry, StateOp, StateReply};
use opsward_core::time::Timestamp;
use std::time::Duration;

/// An answer of the store, when it is there.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// What the host asks of a store.
pub trait Store: Send + Sync + 'static {
    /// Records events and the runs they start, all of them or none. An event that is known already (source, id) starts nothing
    /// and is reported as such.
    fn accept(&self, events: Vec<NewEvent>) -> Reply<'_, Vec<Acceptance>> {
        self.accept_at(events, None)
    }

    /// What `accept` is to events that the host fetches itself: `cursor` moves in the same transaction, so that what lies before it
    /// has been recorded and what lies behind it has not.
    fn accept_at(&self, events: Vec<NewEvent>, cursor: Option<Cursor>) -> Reply<'_, Vec<Acceptance>>;

    /// Where a cursor stands; `None` before it has first been moved.
    fn cursor(&self, source: &SourceName, key: &str) -> Reply<'_, Option<String>>;

    /// Records what was decided of fire times, each by itself, all in one transaction, each with its event and run. The first to
    /// record a (policy, schedule, fire time) wins, but for what waits, and for what was skipped under a clock that has been set
    /// back since. The clock starts nothing of a schedule that is paused, and nobody starts a run beside an unfinished one that
    /// may not overlap.
    fn fire(&self, firings: Vec<NewFiring>) -> Reply<'_, Vec<Recorded>>;

    /// Takes at most `limit` runs whose wake time has come, oldest wake time first, marks them running and raises their
    /// epoch. The one verb that need not be on disk when it is answered, since losing a claim means claiming again: whoever has
    /// one makes no effect before a verb that waits. A run that was accepted under a clock that ran ahead does not wait for that time. On opening the store, runs left `running` by a
    /// dead host are ready again, with a crash counted; of those that have `SUSPECT_AT` crashes one at a time is handed out, after
    /// all others. A run that cannot be read is not handed out but held, with the reason as its note. On a full disk only runs
    /// that were claimed before are.
    fn claim(&self, limit: usize, now: Timestamp) -> Reply<'_, Vec<Claimed>>;

    /// Reads the ledger of a run that was claimed: apart from the claim, since it may have megabytes, and other runs wait for
    /// theirs. `Unreadable` where it cannot be read: the run is then held, with the reason as its note. `Lost` as
    /// below where it was claimed before.
    fn take_up(&self, run: Claimed) -> Reply<'_, Work>;

    /// The earliest wake time of a ready run that is no suspect.
    fn next_wake(&self) -> Reply<'_, Option<Timestamp>>;

    /// Appends records to the ledger of a claimed run, in order, and waits until they are on disk. `Lost` if the epoch is
    /// not the run's present one. Where this, `append_later`, `append_effect`, `lock`, `state` or `finish` cannot be written for
    /// lack of space, the claim is over: its next verb gets `Lost`, and the run is ready again as soon as the disk takes it.
    fn append(&self, claim: &Claim, records: Vec<Record>) -> Reply<'_, ()>;

    /// Appends records that need not be on disk before the caller goes on: reads and log lines. Kept in order with
    /// every other append of the run; a failure shows in the claim's next verb that waits. Blocks where the disk is so far
    /// behind that more would not fit in memory.
    fn append_later(&self, claim: &Claim, records: Vec<Record>) -> Result<(), StoreError>;

    /// What `append` is to the intent or the result of an effect that falls under `limits` or has a natural key. Both follow the
    /// record in the same transaction. An intent counts against the limits, until the effect is known to have changed nothing;
    /// `Over` means that one has no room, and nothing was written. An intent takes the key; a result that is a success leaves its reply with the key, which is then kept for
    /// `ONCE_KEPT` or a little longer; one that is an error frees it, and so does `NotExecuted`. An effect without a result keeps its key. `Later` means
    /// that another effect has the key, and nothing was written; a result never gets it. Without a record it only looks.
    fn append_effect(
        &self,
        claim: &Claim,
        key: Option<OnceKey>,
        limits: Vec<Limit>,
        record: Option<Record>,
    ) -> Reply<'_, Once>;

    /// What was spent under each of these limits within its span before `now`, newest first. Only looks.
    fn spent(&self, limits: Vec<Limit>, now: Timestamp) -> Reply<'_, Vec<Vec<Spent>>>;

    /// Takes all of `resources` for the effect at `position`, or none where another effect has one of them: `Some` names the
    /// run. They stay taken, through restarts, until the effect has a result, is found not to have taken place or is not made
    /// after all (a `Call` at its position), or the run ends other than held.
    fn lock(
        &self,
        claim: &Claim,
        position: u32,
        resources: Vec<(AccountName, String)>,
    ) -> Reply<'_, Option<RunId>>;

    /// Does `op` on the policy's state and appends its record, in one transaction. Bounds: `STATE_KEYS_MAX`,
    /// `STATE_KEY_BYTES_MAX`, `STATE_VALUE_BYTES_MAX`; going over one is the policy's answer, not an error of the store. A
    /// key that was deleted and is written again goes on with higher versions.
    fn state(
        &self,
        claim: &Claim,
        policy: &PolicyName,
        position: u32,
        op: StateOp,
        at: Timestamp,
    ) -> Reply<'_, StateReply>;

    /// Appends the last records of this claim and sets where the run stands; the claim is over.
    fn finish(&self, claim: &Claim, records: Vec<Record>, to: Standing) -> Reply<'_, ()>;

    /// Appends what a person decided of a run that no worker has: it stands at `from`, and `claim` is its latest. Sets where
    /// it stands next, its faults forgotten and its epoch raised; natural key and locks of the effect follow the record as in `append_effect`. `Lost`
    /// where it stands there no more.
    fn intervene(
        &self,
        claim: &Claim,
        from: RunState,
        key: Option<OnceKey>,
        record: Record,
        to: Standing,
    ) -> Reply<'_, ()>;

    /// Halts a policy, or all, until `resume`; a second halt of the same says anew who and why.
    fn halt(&self, halt: Halt) -> Reply<'_, ()>;
    /// Ends the halt of a policy, or the one of all, as `by` says at `at`. Returns whether there was one.
    fn resume(&self, policy: Option<PolicyName>, by: String, at: Timestamp) -> Reply<'_, bool>;
    /// The halts in force.
    fn halts(&self) -> Reply<'_, Halts>;

    /// Pauses a schedule, or all of a policy's, until it is resumed; a second pause says anew who and why.
    fn pause_schedule(&self, key: ScheduleKey, pause: Pause) -> Reply<'_, ()>;
    /// Ends a pause, as `by` says at `at`; all pauses of a policy where all of its schedules are meant. Returns whether there was one.
    fn resume_schedule(&self, key: ScheduleKey, by: String, at: Timestamp) -> Reply<'_, bool>;
    /// Records of schedules up to where fire times are none of their own, whatever was recorded before.
    fn settle_schedules(&self, settled: Vec<(ScheduleKey, Timestamp)>) -> Reply<'_, ()>;
    /// What is recorded of schedules, in the same order, with fire times up to `up_to`: later ones were decided on under a clock
    /// that ran ahead.
    fn schedule_states(&self, keys: Vec<ScheduleKey>, up_to: Timestamp) -> Reply<'_, Vec<ScheduleState>>;

    /// Runs, newest first.
    fn list_runs(&self, filter: RunFilter) -> Reply<'_, Vec<RunRow>>;
    /// The runs whose id begins with `prefix`, each with its event and ledger, as far as they can be read; at most `limit`.
    fn find_runs(&self, prefix: &str, limit: usize) -> Reply<'_, Vec<RunDetail>>;
    /// Events, newest first.
    fn list_events(&self, filter: EventFilter) -> Reply<'_, Vec<EventRow>>;
    /// Decisions on schedules, newest first.
    fn list_firings(&self, limit: usize) -> Reply<'_, Vec<Firing>>;
    /// How many runs stand where; every state is named once.
    fn count_runs(&self) -> Reply<'_, Vec<(RunState, u64)>>;
    /// The runs that wait for an approval, those with the least time left first; at most `limit`. A run waits from the `finish`
    /// that appends `Asked` until it is approved, denied, begins afresh or ends.
    fn list_approvals(&self, limit: usize) -> Reply<'_, Vec<RunDetail>>;
    /// A value of a policy's state; nothing is recorded of that, and no claim is needed.
    fn peek_state(&self, policy: &PolicyName, key: &str) -> Reply<'_, Option<StateEntry>>;
    /// Digests that unfinished runs are pinned to: these plugin revisions must be kept.
    fn pinned_digests(&self) -> Reply<'_, Vec<Digest>>;

    /// Deletes a bounded share of what is older than `before`: runs that are done, failed or dead, events of which no run is
    /// left, so that a later delivery is new, and decisions on schedules but the latest. The newest event and run stay.
    fn retain(&self, before: Timestamp, from: RetainedUpTo) -> Reply<'_, Retained>;

    /// Writes what is waiting, then closes: every later verb that writes gets `Closed`.
    fn close(&self) -> Reply<'_, ()>;
}

/// Crashes from which on a run is suspected of them: it is handed out while no other suspect is. One crash proves nothing of
/// the many runs that were under way; of those that were so twice in a row, one may well be the cause.
pub const SUSPECT_AT: u32 = 2;
/// Keys a policy may keep: `wit/policy.wit`, `state`.
pub const STATE_KEYS_MAX: usize = 1024;
/// Longest key of a policy's state, in bytes: `wit/policy.wit`, `state`.
pub const STATE_KEY_BYTES_MAX: usize = 256;
/// Longest value of a policy's state, in bytes: `wit/policy.wit`, `state`.
pub const STATE_VALUE_BYTES_MAX: usize = 64 * 1024;
/// How long an answered natural key is kept at the least: `wit/policy.wit`, `cloud.request`. Vendors repeat a notification
/// for hours, and the phases of one incident are weeks apart at most.
pub const ONCE_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Rows in a list where the caller names no limit: two screens.
pub const LISTED_DEFAULT: usize = 100;
/// Most rows in one list: about 5 MB of JSON.
pub const LISTED_MAX: usize = 10_000;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The claim's epoch is past.
    #[error("run {0} belongs to another worker by now")]
    Lost(RunId),
    /// The disk is full: nothing was written.
    #[error("the store's disk is full: free some space on it, and what waits is written")]
    Full,
    /// Another host has the store open.
    #[error(
        "`{path}` is in use by another process, most likely a running opsward: stop it first; `opsward run` and \
         `opsward db check` and `backup` work beside it"
    )]
    InUse {
        /// The file.
        path: String,
    },
    /// The file is of a later release.
    #[error(
        "`{path}` has format {found}; this release knows up to {known}: use the newer opsward \
         that wrote it, or restore a backup from before"
    )]
    TooNew {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// The store has shut down or met a disk error; nothing more is written until a restart.
    #[error("the store is closed: {0}")]
    Closed(String),
    /// A record cannot be read.
    #[error("unreadable record of run {run}: {problem}")]
    Unreadable {
        /// Whose.
        run: RunId,
        /// Why.
        problem: String,
    },
    /// The file or its lock cannot be opened.
    #[error(
        "cannot open `{path}`, named by `[store] url`: its directory must exist and belong to the service's user"
    )]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error(
        "`{path}` is not an opsward store: name another file in `[store] url`, made where there is none, or restore a backup"
    )]
    NotAStore {
        /// The file.
        path: String,
    },
    /// The file is damaged.
    #[error(
        "`{path}` is damaged ({problem}): `opsward db check` lists what is; then restore the latest backup, or rescue what \
         can be read, as docs/operations.md says"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What SQLite says.
        problem: String,
    },
    /// A copy beside the WAL of the file it was put in the place of.
    #[error(
        "`{path}` is a backup, and `{wal}` belongs to the file that was there before: move that one and `-shm` away, then \
         start again"
    )]
    ForeignWal {
        /// The copy.
        path: String,
        /// The other file's.
        wal: String,
    },
    /// The SQLite this was linked with has a known fault.
    #[error("this build has SQLite {found}; 3.51.3 or newer is needed: build it with the bundled one")]
    OldSqlite {
        /// Its version.
        found: &'static str,
    },
    /// Any other failure of SQLite.
    #[error("store failure")]
    Sqlite(#[from] rusqlite::Error),
}

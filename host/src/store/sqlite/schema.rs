//! The SQLite file: its tables, how it is opened and locked, and what is put right when it is. Leaves writing to
//! `writer`, reading to `read`, and the question whether the file is damaged to `damage`. A file of an earlier format is
//! brought up to date here, step by step.

#[cfg(feature = "failpoints")]
use super::faulty_disk;
use super::{approvals, audit, copy, damage, hinted, in_use, incidents, schedule};
use crate::failpoint::wrong;
use crate::store::StoreError;
use opsward_core::run::RunState;
use opsward_core::time::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

/// Opens the file for the one writer at `now`, creating it where there is none. The lock lasts as long as the returned file.
pub(super) fn open_for_writing(
    path: &Path,
    checked_bytes: u64,
    now: Timestamp,
) -> Result<(Connection, File), StoreError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(StoreError::OldSqlite { found: rusqlite::version() });
    }
    let lock = in_use::lock_out_other_hosts(path)?;
    // Created first, so that it and the files SQLite derives from it are for the service's user only.
    open_private(path).map_err(|source| cannot_open(path, source))?;
    copy::refuse_wal_of_another(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = connect(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    check_format(&conn, path, MayBeEmpty::Yes)?;
    damage::refuse(&conn, path, checked_bytes)?;
    conn.pragma_update(None, "page_size", PAGE_BYTES)?;
    let synchronous = if wrong("sync-normal") { "NORMAL" } else { "FULL" };
    conn.pragma_update(None, "synchronous", synchronous)?;
    create_tables(&mut conn, now)?;
    // A copy is not in WAL mode: its mark is gone from the file itself before there is a WAL.
    copy::note_opened(&mut conn, now)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "foreign_keys", "OFF")?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    Ok((conn, lock))
}

/// Opens the file beside a host that may be running.
pub(super) fn open_for_reading(path: &Path) -> Result<(Connection, i64), StoreError> {
    // SQLite's own message for an absent file does not say that it is absent. Only looked at: to open and close the file
    // here would drop the locks this process's writer holds on it (sqlite.org/howtocorrupt.html, 2.2), and another
    // program could then take the WAL for abandoned.
    path.metadata().map_err(|source| cannot_open(path, source))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = connect(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    let format = check_format(&conn, path, MayBeEmpty::No)?;
    Ok((conn, format))
}

/// Opens the file for what copies the WAL into it, beside the writer.
pub(super) fn open_to_copy(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = connect(path, flags)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // Only the writer says when what was copied may be dropped from the WAL.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(conn)
}

/// Opens the file on the disk that it is on, or on the faulty one that a test has put under it.
fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    #[cfg(feature = "failpoints")]
    if let Some(vfs) = faulty_disk::vfs() {
        return Connection::open_with_flags_and_vfs(path, flags, vfs);
    }
    Connection::open_with_flags(path, flags)
}

/// Pages of WAL that make it due to be copied into the file.
pub(super) fn checkpoint_pages() -> u32 {
    #[cfg(feature = "failpoints")]
    if faulty_disk::vfs().is_some() {
        return faulty_disk::CHECKPOINT_PAGES;
    }
    CHECKPOINT_PAGES
}

/// Makes runs that a dead host left running ready again. Returns how many.
pub(super) fn release_running(conn: &mut Connection) -> Result<usize, rusqlite::Error> {
    let tx = conn.transaction()?;
    let released =
        tx.execute("UPDATE runs SET state = 0, crashes = crashes + 1 WHERE state = 1 AND state <> 3", [])?;
    let count = stored(released);
    if released > 0 {
        tx.execute("UPDATE tally SET runs = runs - ?1 WHERE state = 1", [count])?;
        tx.execute("UPDATE tally SET runs = runs + ?1 WHERE state = 0", [count])?;
    }
    tx.commit()?;
    Ok(released)
}

/// The number a state is stored as: its place in `RunState::ALL`. The partial indices name 0, 1, 2 and 3.
pub(super) const fn code(state: RunState) -> i64 {
    match state {
        RunState::Ready => 0,
        RunState::Running => 1,
        RunState::Held => 2,
        RunState::Done => 3,
        RunState::Failed => 4,
        RunState::Dead => 5,
    }
}

/// A count as SQLite stores it.
pub(super) fn stored(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Opens a file that is for the service's user only, creating it where there is none.
pub(super) fn open_private(path: &Path) -> Result<File, std::io::Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

pub(super) fn cannot_open(path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Open { path: path.display().to_string(), source }
}

#[derive(PartialEq)]
enum MayBeEmpty {
    Yes,
    No,
}

/// The format of the file, which is one that is known here.
fn check_format(conn: &Connection, path: &Path, may_be_empty: MayBeEmpty) -> Result<i64, StoreError> {
    let not_a_store = || StoreError::NotAStore { path: path.display().to_string() };
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let format = match pragma("user_version") {
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            return Err(not_a_store());
        }
        other => other?,
    };
    if pragma("application_id")? != APPLICATION_ID {
        let table = conn.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())).optional()?;
        let empty = table.is_none() && format == 0;
        return if empty && may_be_empty == MayBeEmpty::Yes { Ok(format) } else { Err(not_a_store()) };
    }
    if format > FORMAT {
        let path = path.display().to_string();
        return Err(StoreError::TooNew { path, found: format, known: FORMAT });
    }
    Ok(format)
}

fn create_tables(conn: &mut Connection, now: Timestamp) -> Result<(), rusqlite::Error> {
    let tx = conn.transaction()?;
    let format: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if format < FORMAT {
        for step in STEPS.iter().skip(usize::try_from(format).unwrap_or(0)) {
            for part in *step {
                tx.execute_batch(part)?;
            }
        }
        tx.execute_batch(COPY)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", FORMAT)?;
    }
    audit::begin(&tx, now)?;
    tx.commit()
}

/// Below it SQLite may corrupt a WAL file when a checkpoint and a reset meet (fixed in 3.51.3).
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// What makes a file of each format from one of the format before.
const STEPS: [&[&str]; 9] = [
    &[TABLES],
    &[ONCE_KEYS],
    &[LOCKS],
    &[CRASHES],
    &[UPKEEP],
    &[GUARDRAILS],
    &[approvals::TABLE, audit::STEP, OUTCOMES],
    &[LEVELS, CURSORS, incidents::TABLE, schedule::STEP, TRUST],
    &[incidents::TRACKS, hinted::TABLE, RUNS_OF_POLICY, schedule::SETTLED],
];
/// The newest format: that of the last step.
const FORMAT: i64 = STEPS.len() as i64;
/// The first format whose ledger has checksums.
pub(super) const SUMMED_FORMAT: i64 = 5;
/// The first format that can keep halts.
pub(super) const HALTS_FORMAT: i64 = 6;
/// The first format that keeps what became of effects.
pub(super) const OUTCOMES_FORMAT: i64 = 7;
/// The first format whose events have level, transition and trust.
pub(super) const LEVELS_FORMAT: i64 = 8;
/// The first format that keeps cursors.
pub(super) const CURSORS_FORMAT: i64 = 8;
/// `opsw`: tells a store from other SQLite files.
const APPLICATION_ID: i64 = 0x6f70_7377;
/// How long a statement waits for somebody who has the file open by hand.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Each page a commit touches costs two writes, whatever its size: at 8 KiB a burst needs half as many as at 4, and a lone
/// event still writes little.
const PAGE_BYTES: i64 = 8192;
/// Page cache of the writer: holds the index of known events up to a million of them, its inner pages far beyond.
const CACHE_KIB: i64 = 32 * 1024;
/// 32 MiB, so that a hot page is copied once for many changes.
const CHECKPOINT_PAGES: u32 = 4096;
/// A WAL that a long read let grow is cut back to this.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;

/// - Rows are keyed by integers that grow, so that a burst of events writes to few pages. What has keys in no order,
///   `event_keys` and `run_ids`, is written late and in bulk (see `late`); `indexed` says up to which event and run.
/// - The runs of an event are `first_run .. first_run + runs`, which saves an index.
/// - A row of `ledger` holds what one transaction had for a run: one or more records, one JSON text a line.
/// - `raw` is null where it equals `data`.
/// - Finished runs are in no index but those of their id, policy and ledger.
/// - `policy_state` has one row with the empty key per policy: the highest version any deleted key had.
const TABLES: &str = "
CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  source TEXT NOT NULL, id TEXT NOT NULL,
  kind TEXT NOT NULL, subject TEXT, time INTEGER NOT NULL, incident TEXT, account TEXT, region TEXT,
  received INTEGER NOT NULL, first_run INTEGER NOT NULL, runs INTEGER NOT NULL,
  data TEXT NOT NULL, raw BLOB
) STRICT;
CREATE TABLE event_keys (key BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  event INTEGER NOT NULL, policy TEXT NOT NULL, digest BLOB NOT NULL, schedule TEXT,
  state INTEGER NOT NULL, epoch INTEGER NOT NULL, faults INTEGER NOT NULL,
  created INTEGER NOT NULL, changed INTEGER NOT NULL, wake INTEGER NOT NULL,
  note TEXT
) STRICT;
CREATE INDEX runs_not_done ON runs (state, wake) WHERE state <> 3;
CREATE INDEX runs_scheduled ON runs (policy, schedule) WHERE schedule IS NOT NULL AND state < 3;
CREATE TABLE run_ids (id TEXT PRIMARY KEY, run INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE indexed (events INTEGER NOT NULL, runs INTEGER NOT NULL) STRICT;
INSERT INTO indexed VALUES (0, 0);
CREATE TABLE ledger (seq INTEGER PRIMARY KEY, run INTEGER NOT NULL, records TEXT NOT NULL) STRICT;
CREATE INDEX ledger_of_run ON ledger (run);
CREATE TABLE firings (
  seq INTEGER PRIMARY KEY,
  policy TEXT NOT NULL, schedule TEXT NOT NULL, fire_at INTEGER NOT NULL,
  decision INTEGER NOT NULL, decided_at INTEGER NOT NULL,
  UNIQUE (policy, schedule, fire_at)
) STRICT;
CREATE TABLE policy_state (
  policy TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY (policy, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE tally (state INTEGER PRIMARY KEY, runs INTEGER NOT NULL) STRICT;
INSERT INTO tally VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0);
";

/// Natural keys of effects; `reply` is null until the first asker has its answer, and `at` is when it had it. Only answered
/// keys grow old, so only they are in the index.
const ONCE_KEYS: &str = "
CREATE TABLE once_keys (
  policy TEXT NOT NULL, action TEXT NOT NULL, key TEXT NOT NULL,
  run TEXT NOT NULL, position INTEGER NOT NULL, at INTEGER NOT NULL, reply TEXT,
  PRIMARY KEY (policy, action, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX once_keys_answered ON once_keys (at) WHERE reply IS NOT NULL;
";

/// Resources that an effect of class once has, by the run and the position of the effect.
const LOCKS: &str = "
CREATE TABLE locks (
  account TEXT NOT NULL, resource TEXT NOT NULL, run TEXT NOT NULL, position INTEGER NOT NULL,
  PRIMARY KEY (account, resource)
) STRICT, WITHOUT ROWID;
CREATE INDEX locks_of_run ON locks (run);
";

/// Hosts that died, one after the other, while they had the run.
const CRASHES: &str = "
ALTER TABLE runs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX runs_suspect ON runs (crashes, state) WHERE crashes >= 2;
";

/// - `sum` is the checksum of a row's run and text; null in rows from before it: they are not checked.
/// - `shutdown` says whether the last host closed the file; where nobody can know, only a file without runs counts as closed.
/// - `restored` has a row for each time a host opened a copy of the store.
const UPKEEP: &str = "
ALTER TABLE ledger ADD COLUMN sum INTEGER;
CREATE TABLE shutdown (clean INTEGER NOT NULL) STRICT;
INSERT INTO shutdown SELECT NOT EXISTS (SELECT 1 FROM runs);
CREATE TABLE restored (taken_at INTEGER NOT NULL, opened_at INTEGER NOT NULL) STRICT;
";

/// - `spent` is what effects count against limits, by the limit's scope, until a month later.
/// - `halts` has a row for each policy that is halted, with the empty name for all.
const GUARDRAILS: &str = "
CREATE TABLE spent (
  scope TEXT NOT NULL, at INTEGER NOT NULL, run TEXT NOT NULL, position INTEGER NOT NULL, cost INTEGER NOT NULL,
  PRIMARY KEY (scope, at, run, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_of_run ON spent (run);
CREATE INDEX spent_at ON spent (at);
CREATE TABLE halts (
  policy TEXT PRIMARY KEY, by TEXT NOT NULL, why TEXT NOT NULL, at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// `spent` with what became of effects: `ended` once the outcome is known, no cost where it failed. `member` is what a scope counts
/// once however often it comes, and is empty in others.
const OUTCOMES: &str = "
CREATE TABLE counted (
  scope TEXT NOT NULL, at INTEGER NOT NULL, run TEXT NOT NULL, position INTEGER NOT NULL, member TEXT NOT NULL,
  cost INTEGER NOT NULL, ended INTEGER,
  PRIMARY KEY (scope, at, run, position, member)
) STRICT, WITHOUT ROWID;
INSERT INTO counted SELECT scope, at, run, position, '', cost, NULL FROM spent;
DROP TABLE spent;
ALTER TABLE counted RENAME TO spent;
CREATE INDEX spent_of_run ON spent (run);
CREATE INDEX spent_at ON spent (at);
";

/// What an event says of how grave it is, and of how far its incident has come.
const LEVELS: &str = "
ALTER TABLE events ADD COLUMN level TEXT;
ALTER TABLE events ADD COLUMN transition TEXT;
";

/// Whether an event's sender was proved. Of older events that is known of the host's own alone.
const TRUST: &str = "
ALTER TABLE events ADD COLUMN proved INTEGER NOT NULL DEFAULT 0;
UPDATE events SET proved = 1 WHERE source IN ('schedule', 'manual');
";

/// How far the host has read what it fetches itself: by source, and by what of the source, such as a shard or a file.
const CURSORS: &str = "
CREATE TABLE cursors (
  source TEXT NOT NULL, key TEXT NOT NULL, cursor TEXT NOT NULL,
  PRIMARY KEY (source, key)
) STRICT, WITHOUT ROWID;
";

/// The runs of a policy in their order: a list of the latest of one that is seldom woken would read all the others' runs. Its rows are
/// written once and at the end of their policy's.
const RUNS_OF_POLICY: &str = "
CREATE INDEX runs_of_policy ON runs (policy, seq);
";

/// Has a row in a file that `opsward db backup` made, until a host opens it. Apart from the steps, since a copy of a file of an
/// earlier format is marked too.
pub(super) const COPY: &str =
    "CREATE TABLE IF NOT EXISTS copy (backup_of TEXT NOT NULL, taken_at INTEGER NOT NULL) STRICT";

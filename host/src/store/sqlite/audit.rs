//! The audit chain in the store: a row for each record of an effect and each change by a person, written in the transaction of what
//! it tells of. Leaves what a row says to `opsward_core::audit`, the transaction to `apply`, checkpoints to `checkpoints`, and
//! going through the chain to `audit_check`. Tested in `tests/tests/it/audit.rs`.

use super::checkpoints::{Checkpoints, Head};
use super::ledger::Lines;
use crate::failpoint::wrong;
use crate::store::StoreError;
use opsward_core::audit::{self, Entry, Kind};
use opsward_core::id::{AccountName, Digest, PolicyName};
use opsward_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Statement, params};
use std::path::Path;

/// `entry` is a text of JSON that is never written anew; `hash` is over it and the row before.
pub(super) const STEP: &str = "
CREATE TABLE audit (seq INTEGER PRIMARY KEY, entry TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
";

/// The end of the chain, and what this transaction adds to it.
pub(super) struct Chain {
    head: Head,
    /// `head` as of the last commit.
    kept: Head,
    added: Vec<Added>,
    /// Rows of a host that is wrong in writing them later.
    late: Vec<Added>,
    checkpoints: Checkpoints,
}

struct Added {
    entry: Entry,
    /// The key of its run.
    run: Option<i64>,
}

pub(super) struct Statements<'c> {
    insert: Statement<'c>,
    of_run: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            insert: conn.prepare(INSERT)?,
            of_run: conn.prepare("SELECT policy, digest FROM runs WHERE seq = ?1")?,
        })
    }
}

const INSERT: &str = "INSERT INTO audit (seq, entry, hash) VALUES (?1, ?2, ?3)";

impl Chain {
    /// Goes on where the file's chain ends.
    pub(super) fn open(conn: &Connection, path: &Path) -> Result<Self, StoreError> {
        let head = head(conn)?;
        let checkpoints = Checkpoints::start(path, head)
            .map_err(|source| StoreError::Open { path: path.display().to_string(), source })?;
        Ok(Self { head, kept: head, added: Vec::new(), late: Vec::new(), checkpoints })
    }

    /// Adds what is to be said of records of a run; `account` is the one that its calls go to.
    pub(super) fn add_records(&mut self, run: i64, lines: &Lines, account: Option<&AccountName>) {
        for entry in &lines.audit {
            let account = account.filter(|_| entry.kind == Kind::Intent).cloned();
            self.added.push(Added { entry: Entry { account, ..entry.clone() }, run: Some(run) });
        }
    }

    /// Adds what a person changed.
    pub(super) fn add(&mut self, entry: Entry) {
        self.added.push(Added { entry, run: None });
    }

    /// Writes what this transaction adds.
    pub(super) fn write(&mut self, sql: &mut Statements<'_>) -> Result<(), rusqlite::Error> {
        let mut added = std::mem::take(&mut self.added);
        if wrong("audit-after") && !added.is_empty() {
            added = std::mem::replace(&mut self.late, added);
        }
        for Added { mut entry, run } in added {
            if let Some(run) = run {
                (entry.policy, entry.plugin) = of_run(sql, run)?;
            }
            self.head = append(&mut sql.insert, self.head, entry)?;
        }
        Ok(())
    }

    /// The transaction is on disk.
    pub(super) fn keep(&mut self) {
        if self.head.seq != self.kept.seq {
            self.kept = self.head;
            self.checkpoints.reached(self.kept);
        }
    }

    /// The transaction did not happen.
    pub(super) fn roll_back(&mut self) {
        self.added.clear();
        self.head = self.kept;
    }

    /// Has the end of the chain written as a checkpoint. Returns whether it is on disk.
    pub(super) fn close(&mut self) -> bool {
        self.checkpoints.close()
    }
}

/// Begins the chain where there is none, in the transaction that `conn` is in.
pub(super) fn begin(conn: &Connection, now: Timestamp) -> Result<(), rusqlite::Error> {
    if conn.query_row("SELECT EXISTS (SELECT 1 FROM audit)", [], |row| row.get::<_, bool>(0))? {
        return Ok(());
    }
    let ledger = conn.query_row("SELECT coalesce(max(seq), 0) FROM ledger", [], |row| row.get(0))?;
    let begun = Entry { ledger: Some(ledger), ..Entry::new(now, Kind::Begun) };
    append(&mut conn.prepare(INSERT)?, before_the_first(), begun)?;
    Ok(())
}

/// Notes that the store is a copy of `taken_at`, in the transaction that `conn` is in.
pub(super) fn note_restored(
    conn: &Connection,
    taken_at: Timestamp,
    now: Timestamp,
) -> Result<(), rusqlite::Error> {
    begin(conn, now)?;
    let target = Some(format!("copy of {taken_at}"));
    let restored = Entry { target, ..Entry::new(now, Kind::Restored) };
    append(&mut conn.prepare(INSERT)?, head(conn)?, restored)?;
    Ok(())
}

/// The last row. One whose hash is none any more is gone on from all the same, for `opsward audit verify` to name.
fn head(conn: &Connection) -> Result<Head, rusqlite::Error> {
    let last = conn.query_row("SELECT seq, entry, hash FROM audit ORDER BY seq DESC LIMIT 1", [], |row| {
        let entry =
            row.get_ref(1)?.as_bytes().ok().and_then(|text| serde_json::from_slice::<Entry>(text).ok());
        let hash: Option<[u8; 32]> = row.get_ref(2)?.as_bytes().ok().and_then(|hash| hash.try_into().ok());
        Ok(Head {
            seq: row.get(0)?,
            hash: hash.map_or_else(audit::root, Digest::from_bytes),
            restored: entry.is_some_and(|entry| entry.kind == Kind::Restored),
        })
    });
    Ok(last.optional()?.unwrap_or_else(before_the_first))
}

fn before_the_first() -> Head {
    Head { seq: 0, hash: audit::root(), restored: false }
}

/// What the row of a run says; nothing of one that cannot be read.
fn of_run(
    sql: &mut Statements<'_>,
    run: i64,
) -> Result<(Option<PolicyName>, Option<Digest>), rusqlite::Error> {
    let found = sql.of_run.query_row([run], |row| {
        let policy = row.get_ref(0)?.as_str().ok().and_then(|name| name.parse().ok());
        let digest = row.get_ref(1)?.as_bytes().ok().and_then(|bytes| bytes.try_into().ok());
        Ok((policy, digest.map(Digest::from_bytes)))
    });
    Ok(found.optional()?.unwrap_or_default())
}

/// Writes `entry` after `head`.
fn append(insert: &mut Statement<'_>, head: Head, mut entry: Entry) -> Result<Head, rusqlite::Error> {
    entry.seq = head.seq.saturating_add(1);
    let text = serde_json::to_string(&entry).expect("an entry is plain data");
    let before = if wrong("no-prev-hash") { audit::root() } else { head.hash };
    let hash = audit::link(&before, text.as_bytes());
    insert.execute(params![entry.seq, text, hash.as_bytes()])?;
    Ok(Head { seq: entry.seq, hash, restored: entry.kind == Kind::Restored })
}

//! The durable state of a policy: get, set, delete, compare-and-set within the bounds of `wit/policy.wit`. Leaves the
//! transaction and the ledger to `apply`. Tested by the conformance suite.

use super::ledger::Lines;
use super::schema::stored;
use crate::store::{STATE_KEY_BYTES_MAX, STATE_KEYS_MAX, STATE_VALUE_BYTES_MAX};
use opsward_core::id::{PolicyName, RunId};
use opsward_core::run::{Entry, Record, StateEntry, StateError, StateOp, StateReply};
use opsward_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params};

/// The row that keeps the highest version any deleted key had. A policy's own keys are never empty.
const DELETED: &str = "";

/// Does `op` and says what it gave.
pub(super) fn perform(
    sql: &mut Statements<'_>,
    policy: &PolicyName,
    op: &StateOp,
) -> Result<StateReply, rusqlite::Error> {
    let policy = policy.as_str();
    match op {
        StateOp::Get { key } if !is_key(key) => Ok(StateReply::Value(None)),
        StateOp::Get { key } => sql.get.query_row([policy, key], entry).optional().map(StateReply::Value),
        StateOp::Set { key, value } => sql.write(policy, key, value, None).map(StateReply::Written),
        StateOp::CompareAndSet { key, expected, value } => {
            sql.write(policy, key, value, Some(*expected)).map(StateReply::Written)
        }
        StateOp::Delete { key } => {
            if let Some(version) = sql.version(policy, key)?.filter(|_| is_key(key)) {
                sql.delete.execute([policy, key])?;
                sql.note_deleted.execute(params![policy, DELETED, version])?;
            }
            Ok(StateReply::Deleted)
        }
    }
}

/// What a policy's key has.
pub(super) fn peek(
    conn: &Connection,
    policy: &PolicyName,
    key: &str,
) -> Result<Option<StateEntry>, rusqlite::Error> {
    if !is_key(key) {
        return Ok(None);
    }
    let mut statement = conn.prepare_cached(GET)?;
    statement.query_row([policy.as_str(), key], entry).optional()
}

/// What `entry` reads.
const GET: &str = "SELECT version, value FROM policy_state WHERE policy = ?1 AND key = ?2";

fn entry(row: &Row<'_>) -> Result<StateEntry, rusqlite::Error> {
    Ok(StateEntry { version: row.get::<_, i64>(0)?.unsigned_abs(), value: row.get(1)? })
}

/// The ledger's line for it.
pub(super) fn record(run: &RunId, position: u32, op: &StateOp, reply: &StateReply, at: Timestamp) -> Lines {
    let entry = Entry::State { position, op: op.clone(), reply: reply.clone() };
    Lines::of(run, &[Record::new(at, entry)])
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= STATE_KEY_BYTES_MAX
}

pub(super) struct Statements<'c> {
    get: Statement<'c>,
    version: Statement<'c>,
    count: Statement<'c>,
    put: Statement<'c>,
    delete: Statement<'c>,
    note_deleted: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            get: conn.prepare(GET)?,
            version: conn.prepare("SELECT version FROM policy_state WHERE policy = ?1 AND key = ?2")?,
            count: conn.prepare("SELECT count(*) FROM policy_state WHERE policy = ?1 AND key <> ''")?,
            put: conn.prepare(
                "INSERT INTO policy_state (policy, key, version, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET version = excluded.version, value = excluded.value",
            )?,
            delete: conn.prepare("DELETE FROM policy_state WHERE policy = ?1 AND key = ?2")?,
            note_deleted: conn.prepare(
                "INSERT INTO policy_state (policy, key, version, value) VALUES (?1, ?2, ?3, x'')
                 ON CONFLICT DO UPDATE SET version = max(version, excluded.version)",
            )?,
        })
    }

    fn version(&mut self, policy: &str, key: &str) -> Result<Option<i64>, rusqlite::Error> {
        self.version.query_row([policy, key], |row| row.get(0)).optional()
    }

    /// Writes unless a bound is met or, where a version is `expected`, another is stored.
    fn write(
        &mut self,
        policy: &str,
        key: &str,
        value: &[u8],
        expected: Option<u64>,
    ) -> Result<Result<u64, StateError>, rusqlite::Error> {
        if !is_key(key) || value.len() > STATE_VALUE_BYTES_MAX {
            return Ok(Err(StateError::TooLarge));
        }
        let present = self.version(policy, key)?;
        if expected.is_some_and(|expected| expected != present.unwrap_or(0).unsigned_abs()) {
            return Ok(Err(StateError::Conflict));
        }
        let before = match present {
            Some(version) => version,
            None => {
                let keys: i64 = self.count.query_row([policy], |row| row.get(0))?;
                if keys >= stored(STATE_KEYS_MAX) {
                    return Ok(Err(StateError::TooLarge));
                }
                // So that a version seen before a deletion never matches a later value.
                self.version(policy, DELETED)?.unwrap_or(0)
            }
        };
        self.put.execute(params![policy, key, before + 1, value])?;
        Ok(Ok((before + 1).unsigned_abs()))
    }
}

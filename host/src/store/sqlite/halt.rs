//! The kill switch: which policies are halted. Leaves the transaction to `apply`, and obeying to the worker and the broker.
//! Tested by the conformance suite.

use super::budget;
use super::read::parsed;
use opsward_core::audit::Change;
use opsward_core::guardrail::Halt;
use opsward_core::id::PolicyName;
use opsward_core::time::Timestamp;
use rusqlite::{Connection, params};

/// Halts a policy, or all; the latest says who and why.
pub(super) fn halt(conn: &Connection, halt: &Halt) -> Result<(), rusqlite::Error> {
    let mut statement = conn.prepare_cached("INSERT OR REPLACE INTO halts VALUES (?1, ?2, ?3, ?4)")?;
    statement.execute(params![name(halt.policy.as_ref()), halt.by, halt.why, halt.at.ms()]).map(drop)
}

/// Ends a halt; a policy's ramp and circuit go on with it. Returns whether there was anything to end.
pub(super) fn resume(conn: &Connection, policy: Option<&PolicyName>) -> Result<bool, rusqlite::Error> {
    let ended = conn.prepare_cached("DELETE FROM halts WHERE policy = ?1")?.execute([name(policy)])?;
    let forgotten = match policy {
        Some(policy) => budget::forget_failures(conn, policy)?,
        None => false,
    };
    Ok(ended > 0 || forgotten)
}

/// What the audit chain says of it.
pub(super) fn change(halt: &Halt) -> Change {
    Change {
        actor: halt.by.clone(),
        what: "halt".to_owned(),
        target: target(halt.policy.as_ref()),
        at: halt.at,
    }
}

/// Whom a halt stops, for people.
pub(super) fn target(policy: Option<&PolicyName>) -> String {
    policy.map_or_else(|| "all policies".to_owned(), |policy| format!("policy {policy}"))
}

pub(super) fn list(conn: &Connection) -> Result<Vec<Halt>, rusqlite::Error> {
    let mut statement = conn.prepare_cached("SELECT policy, by, why, at FROM halts ORDER BY policy")?;
    let halts = statement.query_map([], |row| {
        let all = row.get_ref(0)?.as_str()?.is_empty();
        let policy = if all { None } else { Some(parsed(row, 0)?) };
        Ok(Halt { policy, by: row.get(1)?, why: row.get(2)?, at: Timestamp::from_ms(row.get(3)?) })
    })?;
    halts.collect()
}

/// The empty name is no policy's, and means all.
fn name(policy: Option<&PolicyName>) -> &str {
    policy.map_or("", PolicyName::as_str)
}

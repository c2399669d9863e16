//! What effects count against limits: in the transaction that records the intent, so that a restart makes no room. Leaves
//! whether one fits to `opsward_core::guardrail`, the transaction to `apply`. Tested by the conformance suite.

use crate::failpoint::wrong;
use opsward_core::guardrail::{Limit, Over, QUOTA_MAX, SPAN_MAX, fits};
use opsward_core::id::RunId;
use opsward_core::run::{Entry, Record};
use opsward_core::time::Timestamp;
use rusqlite::{Connection, Statement, params};

/// An intent and the limits it falls under.
pub(super) struct Spending {
    position: u32,
    at: Timestamp,
    limits: Vec<Limit>,
}

impl Spending {
    /// `None` where nothing is counted.
    pub(super) fn of(limits: Vec<Limit>, record: Option<&Record>) -> Option<Self> {
        match record {
            Some(Record { at, entry: Entry::Intent { position, .. }, .. }) if !limits.is_empty() => {
                Some(Self { position: *position, at: *at, limits })
            }
            _ => None,
        }
    }
}

pub(super) struct Statements<'c> {
    spent: Statement<'c>,
    spend: Statement<'c>,
    give_back: Statement<'c>,
    purge: Statement<'c>,
    /// Whether there may be any: most effects count against nothing, and need not look for what to give back.
    maybe_any: bool,
    intents: u32,
}

/// What was spent under `scope`, newest first.
pub(super) fn spent(conn: &Connection, scope: &str) -> Result<Vec<(Timestamp, u32)>, rusqlite::Error> {
    let mut spent = conn.prepare_cached(SPENT)?;
    rows(&mut spent, scope)
}

const SPENT: &str = "SELECT at, cost FROM spent WHERE scope = ?1 ORDER BY at DESC LIMIT ?2";

fn rows(spent: &mut Statement<'_>, scope: &str) -> Result<Vec<(Timestamp, u32)>, rusqlite::Error> {
    let rows = spent.query_map(params![scope, QUOTA_MAX], |row| {
        Ok((Timestamp::from_ms(row.get(0)?), row.get::<_, u32>(1)?))
    })?;
    rows.collect()
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        if wrong("budget-in-memory") {
            conn.execute("DELETE FROM spent", [])?;
        }
        Ok(Self {
            spent: conn.prepare(SPENT)?,
            spend: conn.prepare(
                "INSERT INTO spent (scope, at, run, position, cost) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            )?,
            // Of several tries that came to the position, the latest.
            give_back: conn.prepare(
                "DELETE FROM spent WHERE run = ?1 AND position = ?2
                   AND at = (SELECT max(at) FROM spent WHERE run = ?1 AND position = ?2)",
            )?,
            purge: conn.prepare(
                "DELETE FROM spent WHERE (scope, at, run, position) IN (
                   SELECT scope, at, run, position FROM spent INDEXED BY spent_at WHERE at < ?1 ORDER BY at LIMIT ?2)",
            )?,
            maybe_any: conn.query_row("SELECT EXISTS (SELECT 1 FROM spent)", [], |row| row.get(0))?,
            intents: 0,
        })
    }

    /// Counts an effect of `run` against all its limits, or names the one that has no room and counts nothing.
    pub(super) fn spend(
        &mut self,
        run: &RunId,
        spending: &Spending,
    ) -> Result<Option<Over>, rusqlite::Error> {
        let Spending { position, at, limits } = spending;
        for limit in limits.iter().filter(|limit| limit.quota.is_some()) {
            let spent = rows(&mut self.spent, &limit.scope.key())?;
            if let Err(over) = fits(limit, spent, *at) {
                return Ok(Some(over));
            }
        }
        for limit in limits {
            self.spend.execute(params![limit.scope.key(), at.ms(), run.as_str(), position, limit.cost])?;
        }
        self.maybe_any = true;
        self.purge_now_and_then(*at)?;
        Ok(None)
    }

    /// The effect changed nothing.
    pub(super) fn give_back(&mut self, run: &RunId, position: u32) -> Result<(), rusqlite::Error> {
        if self.maybe_any {
            self.give_back.execute(params![run.as_str(), position])?;
        }
        Ok(())
    }

    fn purge_now_and_then(&mut self, now: Timestamp) -> Result<(), rusqlite::Error> {
        if self.intents.is_multiple_of(PURGE_EVERY) {
            let kept_ms = i64::try_from(SPAN_MAX.as_millis()).unwrap_or(i64::MAX);
            self.purge.execute(params![now.ms().saturating_sub(kept_ms), PURGED_MAX])?;
        }
        self.intents = self.intents.wrapping_add(1);
        Ok(())
    }
}

/// Intents between two purges; the first after a start purges too.
const PURGE_EVERY: u32 = 64;
/// Rows removed by one purge, a few milliseconds: more than come between two, so that the table does not grow for ever.
const PURGED_MAX: u32 = 4096;

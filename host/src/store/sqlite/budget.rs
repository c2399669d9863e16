//! What effects count against limits: in the transaction that records the intent, so that a restart makes no room. Leaves
//! whether one fits to `opsward_core::guardrail`, the transaction to `apply`. Tested by the conformance suite.

use super::lock::{Ended, Outcome};
use crate::failpoint::wrong;
use opsward_core::guardrail::{Limit, Over, QUOTA_MAX, SPAN_MAX, Scope, Spent, fits};
use opsward_core::id::{PolicyName, RunId};
use opsward_core::run::{Entry, Record};
use opsward_core::time::Timestamp;
use rusqlite::{Connection, Statement, params};
use std::time::Duration;

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
    members: Statement<'c>,
    spend: Statement<'c>,
    took: Statement<'c>,
    failed: Statement<'c>,
    give_back: Statement<'c>,
    purge: Statement<'c>,
    /// Whether there may be any: most effects count against nothing, and need not look for what to give back.
    maybe_any: bool,
    intents: u32,
}

/// What was spent under `limit` as of `now`, newest first.
pub(super) fn spent(conn: &Connection, limit: &Limit, now: Timestamp) -> Result<Vec<Spent>, rusqlite::Error> {
    rows(&mut *conn.prepare_cached(spent_of(limit))?, limit, now)
}

/// The statement that finds what was spent under a limit.
fn spent_of(limit: &Limit) -> &'static str {
    if limit.scope.members().is_empty() { SPENT } else { MEMBERS }
}

const SPENT: &str = "SELECT at, cost, ended, '' FROM spent WHERE scope = ?1 AND at > ?2 AND (cost > 0 OR ?3)
  ORDER BY at DESC LIMIT ?4";
const MEMBERS: &str = "SELECT max(at), 1, NULL, member FROM spent WHERE scope = ?1 AND at > ?2 AND cost > ?3
  GROUP BY member ORDER BY 1 DESC LIMIT ?4";

fn rows(statement: &mut Statement<'_>, limit: &Limit, now: Timestamp) -> Result<Vec<Spent>, rusqlite::Error> {
    let since = now.ms().saturating_sub(ms(limit.span()));
    let failed_too = matches!(limit.scope, Scope::Ramp(_) | Scope::Circuit(_));
    let rows = statement.query_map(params![limit.scope.key(), since, failed_too, QUOTA_MAX], |row| {
        Ok(Spent {
            at: Timestamp::from_ms(row.get(0)?),
            cost: row.get(1)?,
            ended: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_ms),
            member: row.get(3)?,
        })
    })?;
    rows.collect()
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        if wrong("budget-in-memory") {
            conn.execute("DELETE FROM spent", [])?;
        }
        if wrong("ramp-in-memory") {
            conn.execute("DELETE FROM spent WHERE scope GLOB 'ramp *'", [])?;
        }
        Ok(Self {
            spent: conn.prepare(SPENT)?,
            members: conn.prepare(MEMBERS)?,
            spend: conn.prepare(
                "INSERT INTO spent (scope, at, run, position, member, cost) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET cost = excluded.cost, ended = NULL WHERE cost = 0",
            )?,
            took: conn
                .prepare("UPDATE spent SET ended = ?3 WHERE run = ?1 AND position = ?2 AND ended IS NULL")?,
            // Of several tries that came to the position, the latest.
            failed: conn.prepare(
                "UPDATE spent SET ended = ?3, cost = 0 WHERE run = ?1 AND position = ?2 AND ended IS NULL
                   AND at = (SELECT max(at) FROM spent WHERE run = ?1 AND position = ?2)",
            )?,
            give_back: conn.prepare(
                "DELETE FROM spent WHERE run = ?1 AND position = ?2 AND ended IS NULL
                   AND at = (SELECT max(at) FROM spent WHERE run = ?1 AND position = ?2)",
            )?,
            purge: conn.prepare(
                "DELETE FROM spent WHERE (scope, at, run, position, member) IN (
                   SELECT scope, at, run, position, member FROM spent INDEXED BY spent_at WHERE at < ?1 ORDER BY at LIMIT ?2)",
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
            let statement =
                if limit.scope.members().is_empty() { &mut self.spent } else { &mut self.members };
            let spent = rows(statement, limit, *at)?;
            if let Err(over) = fits(limit, spent, *at) {
                return Ok(Some(over));
            }
        }
        for limit in limits {
            for Spent { at, cost, member, .. } in limit.counts(*at) {
                let row = params![limit.scope.key(), at.ms(), run.as_str(), position, member, cost];
                self.spend.execute(row)?;
            }
        }
        self.maybe_any = true;
        self.purge_now_and_then(*at)?;
        Ok(None)
    }

    /// The effect's outcome is known. One that changed nothing counts no more; that it failed is kept, for ramps and circuits.
    pub(super) fn end(&mut self, run: &RunId, ended: Ended) -> Result<(), rusqlite::Error> {
        let Ended { position, at, outcome } = ended;
        if self.maybe_any {
            match outcome {
                Outcome::Took => self.took.execute(params![run.as_str(), position, at.ms()])?,
                Outcome::Failed => self.failed.execute(params![run.as_str(), position, at.ms()])?,
                Outcome::NotMade => self.give_back.execute(params![run.as_str(), position])?,
            };
        }
        Ok(())
    }

    fn purge_now_and_then(&mut self, now: Timestamp) -> Result<(), rusqlite::Error> {
        if self.intents.is_multiple_of(PURGE_EVERY) {
            self.purge.execute(params![now.ms().saturating_sub(ms(SPAN_MAX)), PURGED_MAX])?;
        }
        self.intents = self.intents.wrapping_add(1);
        Ok(())
    }
}

/// A policy of which effects failed under a guardrail that counts failures.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Failing {
    /// The policy.
    pub policy: String,
    /// `ramp` or `circuit`.
    pub guardrail: String,
    /// How many are not forgotten; those of a month at most.
    pub failures: u32,
    /// The last of them.
    pub last: Timestamp,
}

pub(super) fn failing(conn: &Connection) -> Result<Vec<Failing>, rusqlite::Error> {
    let mut statement = conn.prepare_cached(
        "SELECT scope, count(*), max(ended) FROM spent
         WHERE cost = 0 AND (scope GLOB 'circuit *' OR scope GLOB 'ramp *') GROUP BY scope ORDER BY scope",
    )?;
    let failing = statement.query_map([], |row| {
        let scope: String = row.get(0)?;
        let (guardrail, policy) = scope.split_once(' ').unwrap_or_default();
        Ok(Failing {
            policy: policy.to_owned(),
            guardrail: guardrail.to_owned(),
            failures: row.get(1)?,
            last: Timestamp::from_ms(row.get(2)?),
        })
    })?;
    failing.collect()
}

/// A person has a policy's ramp and circuit go on: its failures are forgotten, and what is unclear of runs that have ended. Returns
/// whether there were any.
pub(super) fn forget_failures(conn: &Connection, policy: &PolicyName) -> Result<bool, rusqlite::Error> {
    let scopes = [Scope::Ramp(policy.clone()), Scope::Circuit(policy.clone())].map(|scope| scope.key());
    let forgotten = conn
        .prepare_cached("DELETE FROM spent WHERE cost = 0 AND scope IN (?1, ?2)")?
        .execute([&scopes[0], &scopes[1]])?;
    let abandoned = conn
        .prepare_cached(
            "DELETE FROM spent WHERE scope = ?1 AND ended IS NULL
               AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = spent.run AND runs.state < 3)",
        )?
        .execute([&scopes[0]])?;
    Ok(forgotten + abandoned > 0)
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Intents between two purges; the first after a start purges too.
const PURGE_EVERY: u32 = 64;
/// Rows removed by one purge, a few milliseconds: more than come between two, so that the table does not grow for ever.
const PURGED_MAX: u32 = 4096;

//! Natural keys of effects: who asked first, and what the answer was. Leaves the transaction and the ledger to `apply`.
//! Tested by the conformance suite.

use crate::store::{ONCE_KEPT, OnceKey};
use opsward_core::id::RunId;
use opsward_core::run::{Entry, Record};
use opsward_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Statement, params};

/// What becomes of a key.
pub(super) enum Change {
    /// Nothing: somebody only asks.
    Look,
    /// An intent takes it.
    Take { position: u32, at: Timestamp },
    /// A result leaves its reply, as JSON text, with it.
    Answer { position: u32, at: Timestamp, reply: String },
    /// A result frees it: nothing took effect.
    Free { position: u32 },
}

impl Change {
    /// What `record` does to its effect's key.
    pub(super) fn of(record: Option<&Record>) -> Self {
        let Some(Record { at, entry, .. }) = record else { return Self::Look };
        match entry {
            Entry::Result { position, reply: Ok(response), .. } => {
                let reply = serde_json::to_string(response).expect("a response is plain data");
                Self::Answer { position: *position, at: *at, reply }
            }
            Entry::Result { position, reply: Err(_), .. } | Entry::NotExecuted { position, .. } => {
                Self::Free { position: *position }
            }
            Entry::Intent { position, .. } => Self::Take { position: *position, at: *at },
            _ => Self::Look,
        }
    }
}

/// The effect that has a key, and its answer as JSON text.
pub(super) struct First {
    pub(super) run: RunId,
    pub(super) reply: Option<String>,
}

pub(super) struct Statements<'c> {
    first: Statement<'c>,
    take: Statement<'c>,
    answer: Statement<'c>,
    free: Statement<'c>,
    purge: Statement<'c>,
    answers: u32,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            first: conn.prepare(
                "SELECT run, position, reply FROM once_keys WHERE policy = ?1 AND action = ?2 AND key = ?3",
            )?,
            take: conn.prepare(
                "INSERT INTO once_keys (policy, action, key, run, position, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO NOTHING",
            )?,
            answer: conn.prepare(
                "INSERT INTO once_keys (policy, action, key, run, position, at, reply) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET at = excluded.at, reply = excluded.reply
                 WHERE run = excluded.run AND position = excluded.position",
            )?,
            free: conn.prepare(
                "DELETE FROM once_keys WHERE policy = ?1 AND action = ?2 AND key = ?3 AND run = ?4 AND position = ?5",
            )?,
            purge: conn.prepare(
                "DELETE FROM once_keys WHERE (policy, action, key) IN (
                   SELECT policy, action, key FROM once_keys INDEXED BY once_keys_answered
                   WHERE reply IS NOT NULL AND at < ?1 ORDER BY at LIMIT ?2)",
            )?,
            answers: 0,
        })
    }

    /// Another effect that has the key, where that stands in the way of `change`.
    pub(super) fn other(
        &mut self,
        run: &RunId,
        key: &OnceKey,
        change: &Change,
    ) -> Result<Option<First>, rusqlite::Error> {
        let taking = match change {
            Change::Answer { .. } | Change::Free { .. } => return Ok(None),
            Change::Take { position, .. } => Some(*position),
            Change::Look => None,
        };
        let key = [key.policy.as_str(), &key.action, &key.key];
        let first = self.first.query_row(key, |row| {
            let first = First { run: RunId::from_text(row.get::<_, String>(0)?), reply: row.get(2)? };
            Ok((first, row.get::<_, u32>(1)?))
        });
        // What is answered has taken effect, be it of this run's: a new try may ask for it at the same position.
        let is_other =
            |first: &First, at: u32| first.run != *run || Some(at) != taking || first.reply.is_some();
        Ok(first.optional()?.filter(|(first, at)| is_other(first, *at)).map(|(first, _)| first))
    }

    pub(super) fn perform(
        &mut self,
        run: &RunId,
        key: &OnceKey,
        change: &Change,
    ) -> Result<(), rusqlite::Error> {
        let (policy, run) = (key.policy.as_str(), run.as_str());
        match change {
            Change::Look => {}
            Change::Take { position, at } => {
                self.take.execute(params![policy, key.action, key.key, run, position, at.ms()])?;
            }
            Change::Answer { position, at, reply } => {
                // An effect begun before there were keys has none yet.
                self.answer.execute(params![policy, key.action, key.key, run, position, at.ms(), reply])?;
                self.purge_now_and_then(*at)?;
            }
            Change::Free { position } => {
                self.free.execute(params![policy, key.action, key.key, run, position])?;
            }
        }
        Ok(())
    }

    fn purge_now_and_then(&mut self, now: Timestamp) -> Result<(), rusqlite::Error> {
        if self.answers.is_multiple_of(PURGE_EVERY) {
            let kept_ms = i64::try_from(ONCE_KEPT.as_millis()).unwrap_or(i64::MAX);
            self.purge.execute(params![now.ms().saturating_sub(kept_ms), PURGED_MAX])?;
        }
        self.answers = self.answers.wrapping_add(1);
        Ok(())
    }
}

/// Answers between two purges; the first answer after a start purges too.
const PURGE_EVERY: u32 = 256;
/// Keys removed by one purge, a few milliseconds: more than come between two, so that the table does not grow for ever.
const PURGED_MAX: u32 = 1024;

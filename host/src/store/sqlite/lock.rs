//! Locks on resources: one effect of class once at a time has a resource, and keeps it until its outcome is known. Leaves the
//! transaction, and whose turn it is to write, to `apply`. Tested by the conformance suite.

use crate::failpoint::wrong;
use opsward_core::id::{AccountName, RunId};
use opsward_core::run::{Entry, Record};
use opsward_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Statement, params};

/// An effect whose outcome is known.
#[derive(Clone, Copy)]
pub(super) struct Ended {
    pub(super) position: u32,
    pub(super) at: Timestamp,
    pub(super) outcome: Outcome,
}

/// What became of an effect.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    /// It took place, or counts for another reason.
    Took,
    /// The cloud refused it.
    Failed,
    /// It was not made after all, by this host or a person's word.
    NotMade,
}

/// Begins the codes of what this host refuses itself.
const OWN_CODES: &str = "opsward.";

/// The effect that ends with `records`: a result is known, it did not take place, or it is not made after all.
pub(super) fn ended_by(records: &[Record]) -> Option<Ended> {
    records.iter().rev().find_map(|record| {
        let (position, outcome) = match &record.entry {
            Entry::Result { position, reply: Ok(_), .. } => (*position, Outcome::Took),
            Entry::Result { position, reply: Err(error), .. } if error.code.starts_with(OWN_CODES) => {
                (*position, Outcome::NotMade)
            }
            Entry::Result { position, .. } => (*position, Outcome::Failed),
            Entry::NotExecuted { position, .. } => (*position, Outcome::NotMade),
            // Never begun, or an earlier try's answer, of an effect that counts.
            Entry::Call { position, .. } => (*position, Outcome::Took),
            _ => return None,
        };
        Some(Ended { position, at: record.at, outcome })
    })
}

pub(super) struct Statements<'c> {
    holder: Statement<'c>,
    take: Statement<'c>,
    end_one: Statement<'c>,
    end_all: Statement<'c>,
    /// Whether there may be any: most hosts make no effect of class once for weeks, and need not look for locks.
    maybe_any: bool,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        if wrong("locks-in-memory") {
            conn.execute("DELETE FROM locks", [])?;
        }
        Ok(Self {
            holder: conn.prepare(
                "SELECT run FROM locks WHERE account = ?1 AND resource = ?2 AND (run <> ?3 OR position <> ?4)",
            )?,
            take: conn.prepare(
                "INSERT INTO locks (account, resource, run, position) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )?,
            end_one: conn.prepare("DELETE FROM locks WHERE run = ?1 AND position = ?2")?,
            end_all: conn.prepare("DELETE FROM locks WHERE run = ?1")?,
            maybe_any: conn.query_row("SELECT EXISTS (SELECT 1 FROM locks)", [], |row| row.get(0))?,
        })
    }

    /// Takes `resources` for an effect of `run`; names the run that has one of them, and takes none then.
    pub(super) fn take(
        &mut self,
        run: &RunId,
        position: u32,
        resources: &[(AccountName, String)],
    ) -> Result<Option<RunId>, rusqlite::Error> {
        for (account, resource) in resources {
            let holder =
                self.holder.query_row(params![account.as_str(), resource, run.as_str(), position], |row| {
                    row.get::<_, String>(0)
                });
            if let Some(holder) = holder.optional()? {
                return Ok(Some(RunId::from_text(holder)));
            }
        }
        for (account, resource) in resources {
            self.take.execute(params![account.as_str(), resource, run.as_str(), position])?;
        }
        self.maybe_any |= !resources.is_empty();
        Ok(None)
    }

    /// The effect's outcome is known.
    pub(super) fn end_one(&mut self, run: &RunId, position: u32) -> Result<(), rusqlite::Error> {
        if self.maybe_any {
            self.end_one.execute(params![run.as_str(), position])?;
        }
        Ok(())
    }

    /// The run is over.
    pub(super) fn end_all(&mut self, run: &RunId) -> Result<(), rusqlite::Error> {
        if self.maybe_any {
            self.end_all.execute([run.as_str()])?;
        }
        Ok(())
    }
}

//! Which runs wait for an approval, so that they are found without reading every ledger. The ledger says what they ask and who has
//! approved; this follows it in the same transaction. Leaves where a run stands to `standing`. Tested by the conformance suite.

use crate::store::Standing;
use opsward_core::id::RunId;
use opsward_core::run::{Entry, Record};
use opsward_core::time::Timestamp;
use rusqlite::{Connection, Statement, params};

/// - `approvals` has a row for each run that waits for an approval.
pub(super) const TABLE: &str = "
CREATE TABLE approvals (run TEXT PRIMARY KEY, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX approvals_by_expiry ON approvals (expires);
";

/// What the last records of a claim, or a person's decision, say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// It asks, until then.
    Until(Timestamp),
    /// As before.
    AsBefore,
    /// It does not, or no longer.
    Not,
}

impl Waits {
    pub(super) fn of(records: &[Record], to: Standing) -> Self {
        let said = records.iter().rev().find_map(|record| match &record.entry {
            Entry::Asked { asked } => Some(Self::Until(asked.expires)),
            Entry::Approved { enough: true, .. } | Entry::Denied { .. } | Entry::Void { .. } => {
                Some(Self::Not)
            }
            _ => None,
        });
        match (said, to) {
            (Some(said), _) => said,
            (None, Standing::Wake { .. } | Standing::Crashed { .. }) => Self::AsBefore,
            (None, _) => Self::Not,
        }
    }
}

/// The runs that wait, those with the least time left first.
pub(super) fn list(conn: &Connection, limit: i64) -> Result<Vec<RunId>, rusqlite::Error> {
    // A file of an earlier format, which a command reads as it is, lacks the table.
    if !conn.table_exists(None, "approvals")? {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare_cached("SELECT run FROM approvals ORDER BY expires, run LIMIT ?1")?;
    let runs = statement.query_map([limit], |row| row.get::<_, String>(0).map(RunId::from_text))?;
    runs.collect()
}

pub(super) struct Statements<'c> {
    put: Statement<'c>,
    end: Statement<'c>,
    /// Whether any may wait: a run's end costs no statement where none does.
    maybe_any: bool,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            put: conn.prepare("INSERT OR REPLACE INTO approvals (run, expires) VALUES (?1, ?2)")?,
            end: conn.prepare("DELETE FROM approvals WHERE run = ?1")?,
            maybe_any: conn.query_row("SELECT EXISTS (SELECT 1 FROM approvals)", [], |row| row.get(0))?,
        })
    }

    pub(super) fn follow(&mut self, run: &RunId, waits: Waits) -> Result<(), rusqlite::Error> {
        match waits {
            Waits::Until(expires) => {
                self.maybe_any = true;
                self.put.execute(params![run.as_str(), expires.ms()]).map(drop)
            }
            Waits::Not if self.maybe_any => self.end.execute([run.as_str()]).map(drop),
            Waits::Not | Waits::AsBefore => Ok(()),
        }
    }
}

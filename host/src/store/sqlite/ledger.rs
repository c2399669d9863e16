//! Rows of the ledger: how they are summed when written and read back, and checked. A row that was changed behind the
//! writer's back, by a disk or by hand, is told from what was written. Leaves SQL to `statements` and `read`. Tested in
//! `tests/tests/it/store/damage.rs`.

use opsward_core::audit;
use opsward_core::id::{AccountName, RunId};
use opsward_core::run::{Entry, Record, effects};
use ring::digest::{Context, SHA256};
use rusqlite::Row;
use rusqlite::types::ValueRef;

/// What `LedgerRow::read` reads, of `ledger`.
pub(super) const LEDGER_COLUMNS: &str = "run, records, sum";
/// The same of a file whose format has no sums yet.
pub(super) const LEDGER_COLUMNS_UNSUMMED: &str = "run, records, NULL";

/// A row as the file has it, whatever that is.
pub(super) struct LedgerRow {
    run: i64,
    /// `None` where the file has something else than text.
    text: Option<Vec<u8>>,
    sum: Sum,
}

enum Sum {
    /// The row is from before there were sums.
    None,
    Some(i64),
    /// No sum was ever written like this.
    Unreadable,
}

/// The checksum of a row: the first 8 bytes of the SHA-256 of the run's key and the text. A damaged row passes once in
/// 2^64; with the key, a row that is attached to another run does not pass either.
pub(super) fn sum(run: i64, records: &[u8]) -> i64 {
    let mut context = Context::new(&SHA256);
    context.update(&run.to_le_bytes());
    context.update(records);
    let digest = context.finish();
    i64::from_le_bytes(std::array::from_fn(|at| digest.as_ref()[at]))
}

impl LedgerRow {
    /// Takes the columns `LEDGER_COLUMNS`, which begin at `at`.
    pub(super) fn read(row: &Row<'_>, at: usize) -> Result<Self, rusqlite::Error> {
        let text = match row.get_ref(at + 1)? {
            ValueRef::Text(bytes) => Some(bytes.to_vec()),
            _ => None,
        };
        let sum = match row.get_ref(at + 2)? {
            ValueRef::Null => Sum::None,
            ValueRef::Integer(sum) => Sum::Some(sum),
            _ => Sum::Unreadable,
        };
        Ok(Self { run: row.get(at)?, text, sum })
    }

    /// Whether it is from before there were sums.
    pub(super) fn is_unsummed(&self) -> bool {
        matches!(self.sum, Sum::None)
    }

    /// Its lines, whatever they say, where it holds any.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.as_deref().and_then(|text| std::str::from_utf8(text).ok()).into_iter().flat_map(str::lines)
    }

    /// Its records, or what is wrong with it.
    pub(super) fn records(&self) -> Result<Vec<Record>, String> {
        let text = self.text.as_deref().ok_or("the row holds no text")?;
        match self.sum {
            Sum::None => {}
            Sum::Some(stored) if stored == sum(self.run, text) => {}
            Sum::Some(_) | Sum::Unreadable => {
                return Err("its checksum is wrong: it is not what was written".to_owned());
            }
        }
        let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
        // One JSON text a line.
        text.lines().map(|line| serde_json::from_str(line).map_err(|e| e.to_string())).collect()
    }
}

/// Records as they are written: one JSON text a line, with what the audit chain says of them.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) text: String,
    pub(super) audit: Vec<audit::Entry>,
    /// Whose account the calls of this claim go to, where a record says so.
    pub(super) account: Option<AccountName>,
    /// What they add to the number of effects that the run has made or may have made.
    pub(super) effects: i64,
}

impl Lines {
    /// Records of `run`.
    pub(super) fn of(run: &RunId, records: &[Record]) -> Self {
        let mut lines = Self::default();
        for record in records {
            let text = serde_json::to_string(record).expect("a record is plain data");
            lines.audit.extend(audit::Entry::of(run, record, &text));
            if let Entry::Started { account, .. } = &record.entry {
                lines.account.clone_from(account);
            }
            lines.effects += effects(&record.entry);
            lines.text.push_str(if lines.text.is_empty() { "" } else { "\n" });
            lines.text.push_str(&text);
        }
        lines
    }
}

//! The rows of the audit chain, one after the other, for those who keep them elsewhere. Works beside a running host. Verifies
//! nothing; leaves printing to `opsward audit export`. Tested in `tests/tests/it/audit.rs`.

use super::damage;
use super::read::Reader;
use crate::store::StoreError;
use opsward_core::audit::Entry;
use opsward_core::id::{PolicyName, hex};
use opsward_core::time::Timestamp;
use std::io;
use std::path::Path;

/// Which rows.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Not before this.
    pub since: Option<Timestamp>,
    /// Before this.
    pub until: Option<Timestamp>,
    /// Only of this policy's runs.
    pub policy: Option<PolicyName>,
}

/// A row.
#[derive(Debug, Clone)]
pub struct AuditRow {
    /// Its key.
    pub seq: i64,
    /// What it says; `None` where it cannot be read.
    pub entry: Option<Entry>,
    /// Its hash, in hex.
    pub hash: String,
}

/// Why an export ended.
#[derive(Debug, thiserror::Error)]
pub enum ExportAuditError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is exported cannot be written.
    #[error("cannot write")]
    Write(#[from] io::Error),
}

/// Hands each row of the file at `path` that `filter` lets through to `take`, in order. A row that cannot be read passes every
/// filter.
pub fn export_audit(
    path: &Path,
    filter: &AuditFilter,
    mut take: impl FnMut(AuditRow) -> io::Result<()>,
) -> Result<(), ExportAuditError> {
    let reader = Reader::open(path)?;
    let sqlite = |error: rusqlite::Error| damage::named(error.into(), path);
    if !reader.conn.table_exists(None, "audit").map_err(sqlite)? {
        return Ok(());
    }
    let mut statement =
        reader.conn.prepare("SELECT seq, entry, hash FROM audit ORDER BY seq").map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    while let Some(row) = rows.next().map_err(sqlite)? {
        let bytes = |at| row.get_ref(at).ok().and_then(|value| value.as_bytes().ok());
        let entry = bytes(1).and_then(|text| serde_json::from_slice::<Entry>(text).ok());
        let hash = hex(bytes(2).unwrap_or_default());
        let row = AuditRow { seq: row.get(0).map_err(sqlite)?, entry, hash };
        if row.entry.as_ref().is_none_or(|entry| filter.lets_through(entry)) {
            take(row)?;
        }
    }
    Ok(())
}

impl AuditFilter {
    fn lets_through(&self, entry: &Entry) -> bool {
        self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
            && self.policy.as_ref().is_none_or(|policy| entry.policy.as_ref() == Some(policy))
    }
}

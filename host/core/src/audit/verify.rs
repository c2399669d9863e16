//! Goes through a chain row by row and names the first that is wrong, and what is wrong with it. Takes rows as a file has them,
//! whatever that is. Leaves reading them to the store, and comparing them with the ledger too.

use super::{Checkpoint, CheckpointKind, Entry, Kind, link, root};
use crate::id::Digest;
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// A row as the file has it; `None` where a column holds something of another type.
#[derive(Debug, Clone, Copy)]
pub struct Row<'r> {
    /// Its key.
    pub seq: i64,
    /// What it says.
    pub entry: Option<&'r [u8]>,
    /// Its hash.
    pub hash: Option<&'r [u8]>,
}

/// The first row that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {seq}: {wrong}")]
pub struct Bad {
    /// Its place in the chain.
    pub seq: i64,
    /// The time it gives, where it can be read.
    pub at: Option<Timestamp>,
    /// What is wrong.
    pub wrong: Wrong,
}

/// What can be wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The hash is not that of what it says after the row before.
    #[error("it is not what was written: its hash is another")]
    Changed,
    /// The next row there is has a higher number.
    #[error("it is missing: the next row is {next}")]
    Missing {
        /// The next there is.
        next: i64,
    },
    /// It is the row of another place, further on.
    #[error("it is out of order: row {says} stands in its place")]
    OutOfOrder {
        /// Which it says it is.
        says: i64,
    },
    /// It is a row that was there before.
    #[error("it is repeated: row {says} stands here again")]
    Repeated {
        /// Which it says it is.
        says: i64,
    },
    /// Its hash is right, and what it says is no entry of any known version.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// A checkpoint tells of more rows than there are.
    #[error("it is missing, with all after it: the checkpoint of row {checkpoint} tells of it")]
    CutOff {
        /// The row that the checkpoint is of.
        checkpoint: i64,
    },
    /// The hashes fit each other, and not the checkpoint: the rows since the one before were replaced.
    #[error(
        "it, or a row after it up to {checkpoint}, was replaced: the checkpoint of that row has another hash"
    )]
    Replaced {
        /// The row that the checkpoint is of.
        checkpoint: i64,
    },
    /// A store that was closed ends with a checkpoint.
    #[error("the host did not write it: the store was closed, and its last checkpoint is of row {last}")]
    AfterTheEnd {
        /// The row that the last checkpoint is of.
        last: i64,
    },
}

/// A chain as far as it has been gone through.
#[derive(Debug)]
pub struct Verifier {
    seq: i64,
    hash: Digest,
    /// By row.
    checkpoints: BTreeMap<i64, Vec<Checkpoint>>,
    /// The last row that a checkpoint has confirmed.
    confirmed: i64,
    sought: BTreeSet<Digest>,
    summary: Summary,
}

/// What there is to say of a chain in which nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many rows.
    pub entries: u64,
    /// The time of the first and the last.
    pub from: Option<Timestamp>,
    /// The time of the last.
    pub to: Option<Timestamp>,
    /// The last row.
    pub seq: i64,
    /// Its hash.
    pub hash: Digest,
    /// The last row that a checkpoint confirms; 0 where there is none.
    pub confirmed: i64,
    /// How many checkpoints do.
    pub checkpoints: u64,
    /// Rows that say the store was restored from a copy.
    pub restored: Vec<i64>,
    /// Hashes that were sought and are of no row.
    pub not_found: Vec<Digest>,
}

/// The checkpoints of one file, by row, without those of a branch that ended.
fn in_force(file: &[Checkpoint]) -> BTreeMap<i64, Vec<Checkpoint>> {
    let mut by_row: BTreeMap<i64, Vec<Checkpoint>> = BTreeMap::new();
    for checkpoint in file {
        if checkpoint.kind == CheckpointKind::Restored {
            // The branch is gone with the store that had it.
            by_row.split_off(&checkpoint.seq);
        }
        by_row.entry(checkpoint.seq).or_default().push(*checkpoint);
    }
    by_row
}

impl Verifier {
    /// Begins before the first row. Each of `files` holds the checkpoints of one file, in the order they were written; each of
    /// `sought` is to be the hash of a row.
    pub fn new<'c>(
        files: impl IntoIterator<Item = &'c [Checkpoint]>,
        sought: impl IntoIterator<Item = Digest>,
    ) -> Self {
        let mut by_row: BTreeMap<i64, Vec<Checkpoint>> = BTreeMap::new();
        for (row, of_row) in files.into_iter().flat_map(in_force) {
            by_row.entry(row).or_default().extend(of_row);
        }
        let (hash, sought) = (root(), sought.into_iter().collect());
        let summary = Summary {
            entries: 0,
            from: None,
            to: None,
            seq: 0,
            hash,
            confirmed: 0,
            checkpoints: 0,
            restored: Vec::new(),
            not_found: Vec::new(),
        };
        Self { seq: 0, hash, checkpoints: by_row, confirmed: 0, sought, summary }
    }

    /// Takes the next row there is, in the order of their keys.
    ///
    /// # Errors
    /// The first that is wrong; what follows it proves nothing any more.
    pub fn check(&mut self, row: Row<'_>) -> Result<Entry, Bad> {
        let expected = self.seq + 1;
        let entry = row.entry.map(|text| serde_json::from_slice::<Entry>(text).map_err(|e| e.to_string()));
        let at = entry.as_ref().and_then(|entry| entry.as_ref().ok()).map(|entry| entry.at);
        if row.seq > expected {
            return Err(Bad { seq: expected, at: None, wrong: Wrong::Missing { next: row.seq } });
        }
        let bad = |wrong| Bad { seq: row.seq, at, wrong };
        let says = entry.as_ref().and_then(|entry| entry.as_ref().ok()).map(|entry| entry.seq);
        match says {
            Some(says) if says > row.seq => return Err(bad(Wrong::OutOfOrder { says })),
            Some(says) if says < row.seq => return Err(bad(Wrong::Repeated { says })),
            _ => {}
        }
        let hash = link(&self.hash, row.entry.unwrap_or_default());
        if row.seq < expected || row.hash != Some(hash.as_bytes().as_slice()) {
            return Err(bad(Wrong::Changed));
        }
        let entry = entry.unwrap_or_else(|| Err("it holds no text".to_owned()));
        let entry = entry.map_err(|problem| bad(Wrong::Unreadable(problem)))?;
        (self.seq, self.hash) = (expected, hash);
        self.confirm()?;
        self.sought.remove(&hash);
        let Summary { entries, from, to, restored, .. } = &mut self.summary;
        *entries += 1;
        from.get_or_insert(entry.at);
        *to = Some(entry.at);
        if entry.kind == Kind::Restored {
            restored.push(entry.seq);
        }
        Ok(entry)
    }

    /// Holds the row just taken against its checkpoints.
    fn confirm(&mut self) -> Result<(), Bad> {
        for checkpoint in self.checkpoints.remove(&self.seq).unwrap_or_default() {
            if checkpoint.hash != self.hash {
                let wrong = Wrong::Replaced { checkpoint: self.seq };
                return Err(Bad { seq: self.confirmed + 1, at: None, wrong });
            }
            self.summary.checkpoints += 1;
            self.confirmed = self.seq;
        }
        Ok(())
    }

    /// No more rows. `closed` says that a host came to its end, and wrote a checkpoint then.
    ///
    /// # Errors
    /// What is missing at the end, or too much there.
    pub fn finish(self, closed: bool) -> Result<Summary, Bad> {
        let next = self.seq + 1;
        if let Some(checkpoint) = self.checkpoints.keys().find(|seq| **seq >= next) {
            let wrong = Wrong::CutOff { checkpoint: *checkpoint };
            return Err(Bad { seq: next, at: None, wrong });
        }
        if closed && self.confirmed < self.seq {
            let wrong = Wrong::AfterTheEnd { last: self.confirmed };
            return Err(Bad { seq: self.confirmed + 1, at: None, wrong });
        }
        let Self { seq, hash, confirmed, sought, summary, .. } = self;
        Ok(Summary { seq, hash, confirmed, not_found: sought.into_iter().collect(), ..summary })
    }
}

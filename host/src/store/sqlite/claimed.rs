//! What a claim hands out: taken as the file has it on the writer's thread, read on the caller's. One run that cannot be read
//! must not keep the others from being claimed. Leaves marking it to `apply`. Tested in `tests/tests/it/store/damage.rs`.

use super::ledger::{self, LedgerRow};
use super::read::{event_at, parsed};
use super::statements::CLAIMED_COLUMN_COUNT;
use crate::store::{Claim, Claimed, StoreError};
use opsward_core::event::Event;
use opsward_core::id::{Digest, PolicyName, RunId};
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use rusqlite::{Row, Rows};

/// A claimed run, its ledger unread.
pub(super) struct RawClaimed {
    pub(super) claim: Claim,
    pub(super) faults: u32,
    pub(super) crashes: u32,
    /// An error is this run's own.
    pub(super) woken: Result<Woken, rusqlite::Error>,
    pub(super) ledger: Vec<LedgerRow>,
}

impl RawClaimed {
    /// The run to work on; with the error, the claim of one that cannot be read.
    pub(super) fn read(self) -> Result<Claimed, (Claim, StoreError)> {
        let Self { claim, faults, crashes, woken, ledger } = self;
        let unreadable =
            |e: rusqlite::Error| StoreError::Unreadable { run: claim.run.clone(), problem: e.to_string() };
        let woken = woken.map_err(unreadable);
        let read = woken.and_then(|woken| Ok((woken, ledger::records(&claim.run, &ledger)?)));
        match read {
            Ok((Woken { policy, digest, event, received, trust }, ledger)) => {
                Ok(Claimed { claim, policy, digest, faults, crashes, event, received, trust, ledger })
            }
            Err(error) => Err((claim, error)),
        }
    }
}

/// What a claimed run is about.
pub(super) struct Woken {
    pub(super) policy: PolicyName,
    pub(super) digest: Digest,
    pub(super) event: Event,
    pub(super) received: Timestamp,
    pub(super) trust: Trust,
}

/// Runs as `CLAIMED_COLUMNS` and their events, each with its key.
pub(super) fn taken(rows: &mut Rows<'_>) -> Result<Vec<(i64, RawClaimed)>, rusqlite::Error> {
    let mut taken = Vec::new();
    while let Some(row) = rows.next()? {
        let epoch: i64 = row.get(4)?;
        // One that cannot be read must not keep the others from being claimed.
        let id = String::from_utf8_lossy(row.get_ref(1)?.as_bytes()?);
        let claim = Claim { run: RunId::from_text(id), epoch: epoch.unsigned_abs() + 1 };
        let (faults, crashes, woken) = (row.get(5)?, row.get(6)?, woken(row));
        taken.push((row.get(0)?, RawClaimed { claim, faults, crashes, woken, ledger: Vec::new() }));
    }
    Ok(taken)
}

/// What a claimed run is about, from the same row.
fn woken(row: &Row<'_>) -> Result<Woken, rusqlite::Error> {
    row.get_ref(1)?.as_str()?;
    let (event, received, trust) = event_at(row, CLAIMED_COLUMN_COUNT)?;
    Ok(Woken { policy: parsed(row, 2)?, digest: Digest::from_bytes(row.get(3)?), event, received, trust })
}

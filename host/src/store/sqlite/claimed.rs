//! What a claim hands out: taken as the file has it on the writer's thread, read on the caller's; its ledger is read when it is
//! taken up. One run that cannot be read must not keep the others from being claimed. Leaves marking it to `apply`. Tested in `tests/tests/it/store/damage.rs`.

use super::SqliteStore;
use super::approvals::Waits;
use super::ledger::Lines;
use super::note::one_line;
use super::read::{event_at, parsed};
use super::statements::CLAIMED_COLUMN_COUNT;
use super::writer::{Answer, Op, is_broken};
use crate::store::{Claim, Claimed, Standing, StoreError};
use opsward_core::event::Event;
use opsward_core::id::{Digest, PolicyName, RunId};
use opsward_core::run::Record;
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use rusqlite::{Row, Rows};

/// A claimed run.
pub(super) struct RawClaimed {
    pub(super) seq: i64,
    pub(super) claim: Claim,
    pub(super) faults: u32,
    pub(super) crashes: u32,
    /// An error is this run's own.
    pub(super) woken: Result<Woken, rusqlite::Error>,
}

impl RawClaimed {
    /// What is handed out; with the error, the claim of a run that cannot be read.
    pub(super) fn read(self) -> Result<Claimed, (Claim, StoreError)> {
        let Self { claim, faults, crashes, woken, .. } = self;
        match woken {
            Ok(Woken { policy, digest, event, received, trust }) => {
                Ok(Claimed { claim, policy, digest, faults, crashes, event, received, trust })
            }
            Err(error) => {
                let error = StoreError::Unreadable { run: claim.run.clone(), problem: error.to_string() };
                Err((claim, error))
            }
        }
    }
}

impl SqliteStore {
    /// The ledger of a claimed run; where it cannot be read, the run is held.
    pub(super) async fn ledger_of(&self, claim: &Claim) -> Result<Vec<Record>, StoreError> {
        // The answer comes once the claim is on disk, and all that was recorded before it: only then does a reader see that.
        let Answer::Holds(seq) = self.ask(Op::Holds(claim.clone())).await? else {
            unreachable!("{}", super::IN_KIND)
        };
        // One at a time: many retries at once are not to take the processors from runs that are new.
        let turn = self.taking_up.lock().await;
        let run = claim.run.clone();
        let ledger = self.read(move |reader| reader.whole_ledger(&run, seq)).await;
        drop(turn);
        match &ledger {
            Err(error @ StoreError::Unreadable { .. }) => self.hold_unreadable(claim.clone(), error).await?,
            // The file is damaged, or the disk is: nothing more may be written.
            Err(StoreError::Sqlite(error)) if is_broken(error) => {
                tracing::error!(error = error as &dyn std::error::Error, "store closed after a disk error");
                self.queue.fail(&error.to_string());
            }
            _ => {}
        }
        ledger
    }

    /// A run that cannot be read waits for a person, and the other runs go on.
    pub(super) async fn hold_unreadable(&self, claim: Claim, error: &StoreError) -> Result<(), StoreError> {
        tracing::error!(run = %claim.run, %error, "run held: it cannot be read");
        let note = Some(one_line(&error.to_string()));
        let (records, to, waits) = (Lines::default(), Standing::Held, Waits::Not);
        self.ask(Op::Finish { claim, records, to, note, waits, at: None }).await.map(drop)
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
pub(super) fn taken(rows: &mut Rows<'_>) -> Result<Vec<RawClaimed>, rusqlite::Error> {
    let mut taken = Vec::new();
    while let Some(row) = rows.next()? {
        let epoch: i64 = row.get(4)?;
        // One that cannot be read must not keep the others from being claimed.
        let id = String::from_utf8_lossy(row.get_ref(1)?.as_bytes()?);
        let claim = Claim { run: RunId::from_text(id), epoch: epoch.unsigned_abs() + 1 };
        let (faults, crashes, woken) = (row.get(5)?, row.get(6)?, woken(row));
        taken.push(RawClaimed { seq: row.get(0)?, claim, faults, crashes, woken });
    }
    Ok(taken)
}

/// What a claimed run is about, from the same row.
fn woken(row: &Row<'_>) -> Result<Woken, rusqlite::Error> {
    row.get_ref(1)?.as_str()?;
    let (event, received, trust) = event_at(row, CLAIMED_COLUMN_COUNT)?;
    Ok(Woken { policy: parsed(row, 2)?, digest: Digest::from_bytes(row.get(3)?), event, received, trust })
}

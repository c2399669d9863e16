//! Where a run stands: set by the end of a claim, by a person, or where a claim is over because it could not be written.
//! What a run held ends with it. Leaves claims and records to `apply`. Tested by the conformance suite.

use super::apply::Ledgers;
use super::approvals::Waits;
use super::effect::end_effect;
use super::ledger::Lines;
use super::schema::{code, stored};
use super::statements::Statements;
use super::writer::Intervention;
use crate::store::{Claim, Standing, StoreError};
use opsward_core::run::RunState;
use opsward_core::time::Timestamp;
use rusqlite::{OptionalExtension as _, params};

impl Ledgers {
    pub(super) fn finish(
        &mut self,
        sql: &mut Statements<'_>,
        claim: &Claim,
        records: &Lines,
        to: Standing,
        (note, waits): (Option<&str>, Waits),
        at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let live = self.append(sql, claim, records)?;
        self.stand(sql, claim, live.seq, (RunState::Running, to), (note, waits), at)?;
        self.change(&claim.run, None);
        Ok(())
    }

    /// As `finish`, by a person, for a run that no worker has.
    pub(super) fn intervene(
        &mut self,
        sql: &mut Statements<'_>,
        decided: &Intervention,
    ) -> Result<(), StoreError> {
        let Intervention { claim, from, key, ends, records, to, note, waits, at } = decided;
        let found = sql.standing.query_row([claim.run.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?.unsigned_abs()))
        });
        let stands =
            found.optional()?.filter(|(_, state, epoch)| (*state, *epoch) == (code(*from), claim.epoch));
        let Some((seq, ..)) = stands else { return Err(StoreError::Lost(claim.run.clone())) };
        self.add(sql, seq, records, None)?;
        sql.forgive.execute([seq])?;
        self.stand(sql, claim, seq, (*from, *to), (note.as_deref(), *waits), Some(*at))?;
        if let Some((key, change)) = key {
            sql.once.perform(&claim.run, key, change)?;
        }
        Ok(end_effect(sql, claim, *ends)?)
    }

    /// Sets where a run stands, and ends what it held where it is over.
    pub(super) fn stand(
        &mut self,
        sql: &mut Statements<'_>,
        claim: &Claim,
        seq: i64,
        (from, to): (RunState, Standing),
        (note, waits): (Option<&str>, Waits),
        at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        let (state, wake, faulted) = match to {
            Standing::Wake { at, faulted } => (RunState::Ready, Some(at.ms()), faulted),
            Standing::Crashed { at } => (RunState::Ready, Some(at.ms()), false),
            Standing::Held => (RunState::Held, None, false),
            Standing::Done => (RunState::Done, None, false),
            Standing::Failed => (RunState::Failed, None, false),
            Standing::Dead => (RunState::Dead, None, true),
        };
        let crashed = matches!(to, Standing::Crashed { .. });
        sql.finish.execute(params![seq, code(state), wake, faulted, at.map(Timestamp::ms), note, crashed])?;
        sql.approvals.follow(&claim.run, waits)?;
        if state.is_final() {
            sql.lock.end_all(&claim.run)?;
        }
        self.count(from, -1);
        self.count(state, 1);
        Ok(())
    }

    /// Makes runs whose claim is over ready, in a transaction of its own.
    pub(super) fn release(&mut self, sql: &mut Statements<'_>, runs: &[i64]) -> Result<(), rusqlite::Error> {
        sql.begin.execute([])?;
        let mut released = 0;
        for seq in runs {
            released += stored(sql.release.execute([seq])?);
        }
        self.count(RunState::Running, -released);
        self.count(RunState::Ready, released);
        self.write_rest(sql)?;
        sql.commit.execute([])?;
        self.keep();
        Ok(())
    }
}

//! An effect's intent or result with all that follows it in one transaction: natural key, limits, locks. Leaves each of these to
//! `once`, `budget` and `lock`, claims and ledgers to `apply`. Tested by the conformance suite.

use super::apply::Ledgers;
use super::budget::Spending;
use super::ledger::Lines;
use super::lock::Ended;
use super::once;
use super::statements::Statements;
use super::writer::Answer;
use crate::store::{Claim, OnceKey, StoreError};

/// The record of an effect, and what follows it.
pub(super) struct EffectRecord {
    pub(super) key: Option<(OnceKey, once::Change)>,
    pub(super) spending: Option<Spending>,
    pub(super) records: Lines,
    pub(super) ends: Option<Ended>,
}

impl Ledgers {
    pub(super) fn append_effect(
        &mut self,
        sql: &mut Statements<'_>,
        claim: &Claim,
        effect: &EffectRecord,
    ) -> Result<Answer, StoreError> {
        let EffectRecord { key, spending, records, ends } = effect;
        let live = self.check(claim)?;
        if let Some((key, change)) = key
            && let Some(first) = sql.once.other(&claim.run, key, change)?
        {
            return Ok(Answer::Later(first));
        }
        if let Some(spending) = spending
            && let Some(over) = sql.budget.spend(&claim.run, spending)?
        {
            return Ok(Answer::Over(over));
        }
        self.append(sql, claim, records)?;
        if let Some((key, change)) = key {
            sql.once.perform(&claim.run, key, change)?;
        }
        end_effect(sql, claim, *ends)?;
        if live.is_suspect && !records.text.is_empty() {
            self.clear(sql, claim, live)?;
        }
        Ok(Answer::Written)
    }
}

/// Frees what an effect held until its outcome was known.
pub(super) fn end_effect(
    sql: &mut Statements<'_>,
    claim: &Claim,
    ended: Option<Ended>,
) -> Result<(), rusqlite::Error> {
    let Some(ended) = ended else { return Ok(()) };
    sql.lock.end_one(&claim.run, ended.position)?;
    sql.budget.end(&claim.run, ended)
}

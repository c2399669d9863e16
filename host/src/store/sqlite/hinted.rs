//! Runs that hints have woken: which of them stands for the run that a proved notice of the same would start, and which gives way to
//! that. Nobody knows who sent a hint, so that it may be refused for that, name another resource, or come too early: a proved notice
//! wakes the policy as well, but for one thing. A hint's run that has made an effect has done what the proved notice asks for, and is not
//! done again; one that has made none ends before the proved notice's run begins, so that never both make it. Leaves where incidents
//! stand to `incidents`, and what is an effect to `opsward_core::run::has_acted`. Tested by the conformance suite.

use super::apply::Ledgers;
use super::approvals::Waits;
use super::incidents::Heard;
use super::late::EventKey;
use super::ledger::{LEDGER_COLUMNS, LedgerRow, Lines};
use super::note::note;
use super::statements::Statements as Sql;
use crate::failpoint::wrong;
use crate::store::{Claim, NewRun, Standing, StoreError};
use opsward_core::event::{Transition, Transitions};
use opsward_core::id::{PolicyName, RunId};
use opsward_core::run::{Entry, Record, RunState, has_acted};
use opsward_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Statement, params};

/// A row for each run that a hint has woken, the latest of its transition, with how grave the hint was and its time by the sender. An
/// incident's rows go with those of `incidents`.
pub(super) const TABLE: &str = "
CREATE TABLE hinted (
  incident BLOB NOT NULL, policy TEXT NOT NULL, transition INTEGER NOT NULL, run INTEGER NOT NULL,
  gravity INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (incident, policy, transition)
) STRICT, WITHOUT ROWID;
";

/// A run that a hint has woken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hinted {
    pub(super) run: i64,
    pub(super) gravity: u8,
    pub(super) at: Timestamp,
}

impl Ledgers {
    /// Settles for each of `runs`, of a proved notice received at `at`, what a hint has woken of the same.
    pub(super) fn settle_hinted(
        &mut self,
        sql: &mut Sql<'_>,
        heard: &mut Heard<'_>,
        runs: &[NewRun],
        at: Timestamp,
    ) -> Result<(), StoreError> {
        for (place, run) in runs.iter().enumerate() {
            if let Some(hinted) = heard.hinted(place)
                && self.stands_for(sql, &hinted, &run.id, at)?
            {
                heard.is_done(place);
            }
        }
        Ok(())
    }

    /// Whether what a hint has woken stands for the run `to`; where it does not, it is over from here on.
    fn stands_for(
        &mut self,
        sql: &mut Sql<'_>,
        hinted: &Hinted,
        to: &RunId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        if wrong("hint-for-proof") {
            return Ok(true);
        }
        let found = sql.incidents.hinted.run.query_row([hinted.run], |row| {
            let id = String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned();
            Ok((id, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        // One that is gone ended long ago.
        let Some((id, state, epoch)) = found.optional()? else { return Ok(false) };
        if self.acted(sql, hinted.run)? {
            return Ok(true);
        }
        let state = usize::try_from(state).ok().and_then(|at| RunState::ALL.get(at)).copied();
        if let Some(state) = state.filter(|state| !state.is_final()) {
            let claim = Claim { run: RunId::from_text(id), epoch: epoch.unsigned_abs() };
            self.give_way(sql, (&claim, hinted.run), state, to, at)?;
        }
        Ok(false)
    }

    /// Whether a run has made an effect, as far as its ledger says; one that cannot be read may have.
    fn acted(&self, sql: &mut Sql<'_>, run: i64) -> Result<bool, rusqlite::Error> {
        let mut ledger = Vec::new();
        let mut rows = sql.incidents.hinted.ledger.query([run])?;
        while let Some(row) = rows.next()? {
            match LedgerRow::read(row, 0)?.records() {
                Ok(records) => ledger.extend(records),
                Err(_) => return Ok(true),
            }
        }
        // What this transaction has for it is not in the table yet.
        let lines = self.rows_of(run).lines();
        ledger.extend(lines.filter_map(|line| serde_json::from_str::<Record>(line).ok()));
        Ok(has_acted(&ledger))
    }

    /// Ends a run that has made no effect. Its worker has lost the claim, and writes nothing more: no intent either.
    fn give_way(
        &mut self,
        sql: &mut Sql<'_>,
        (claim, seq): (&Claim, i64),
        from: RunState,
        to: &RunId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let record = Record::new(at, Entry::GaveWay { to: to.clone() });
        let told = note(&record);
        self.add(seq, &Lines::of(&claim.run, &[record]), None);
        self.change(&claim.run, None);
        self.stand(sql, claim, seq, (from, Standing::Done), (told.as_deref(), Waits::Not), Some(at))
    }
}

pub(super) struct Statements<'c> {
    put: Statement<'c>,
    find: Statement<'c>,
    forget: Statement<'c>,
    run: Statement<'c>,
    ledger: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            put: conn.prepare(
                "INSERT OR REPLACE INTO hinted (incident, policy, transition, run, gravity, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            find: conn.prepare(
                "SELECT run, gravity, at FROM hinted WHERE incident = ?1 AND policy = ?2 AND transition = ?3",
            )?,
            forget: conn.prepare("DELETE FROM hinted WHERE incident = ?1")?,
            run: conn.prepare("SELECT id, state, epoch FROM runs WHERE seq = ?1")?,
            ledger: conn
                .prepare(&format!("SELECT {LEDGER_COLUMNS} FROM ledger WHERE run = ?1 ORDER BY seq"))?,
        })
    }

    /// Notes down the run that a hint has woken.
    pub(super) fn put(
        &mut self,
        incident: &EventKey,
        policy: &PolicyName,
        transition: Transition,
        hinted: &Hinted,
    ) -> Result<(), rusqlite::Error> {
        let Hinted { run, gravity, at } = hinted;
        self.put.execute(params![incident, policy.as_str(), bit(transition), run, gravity, at.ms()])?;
        Ok(())
    }

    /// The latest run that a hint of this transition has woken.
    pub(super) fn find(
        &mut self,
        incident: &EventKey,
        policy: &PolicyName,
        transition: Transition,
    ) -> Result<Option<Hinted>, rusqlite::Error> {
        let found = self.find.query_row(params![incident, policy.as_str(), bit(transition)], |row| {
            let gravity = u8::try_from(row.get::<_, i64>(1)?).unwrap_or(u8::MAX);
            Ok(Hinted { run: row.get(0)?, gravity, at: Timestamp::from_ms(row.get(2)?) })
        });
        found.optional()
    }

    /// Forgets what hints of the incident have woken.
    pub(super) fn forget(&mut self, incident: &EventKey) -> Result<(), rusqlite::Error> {
        self.forget.execute([incident])?;
        Ok(())
    }
}

/// A transition as it is stored.
fn bit(transition: Transition) -> u16 {
    Transitions::default().with(transition).bits()
}

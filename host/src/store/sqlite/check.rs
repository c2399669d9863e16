//! Everything that can be said of a file: whether SQLite finds it whole, whether each record can be read and is what was
//! written, how much there is of what. Works beside a running host, on one moment of it. Changes nothing; leaves printing to
//! `opsward db check`. Tested in `tests/tests/it/db.rs`.

use super::copy::{self, Mark};
use super::damage;
use super::incidents;
use super::late::event_key;
use super::ledger::LedgerRow;
use super::read::{RUN_COLUMN_COUNT, RUN_COLUMNS, Reader, event_at, event_columns, firing_row, run_row};
use crate::store::{Restored, StoreError};
use opsward_core::call::CallResponse;
use opsward_core::line::one_line;
use opsward_core::run::RunState;
use rusqlite::{Connection, Row};
use serde::Serialize;
use std::path::Path;

/// What a check found of a file.
#[derive(Debug, Clone, Serialize)]
pub struct StoreReport {
    /// The file.
    pub path: String,
    /// Its format; absent where not even that can be read.
    pub format: Option<i64>,
    /// Its size.
    pub bytes: u64,
    /// How much of that is free and used again.
    pub free_bytes: u64,
    /// Rows by table.
    pub tables: Vec<TableRows>,
    /// Rows of the ledger from before there were checksums.
    pub unsummed: u64,
    /// Where it is a copy that no host has opened.
    pub copy: Option<Mark>,
    /// When a host last opened it as a restored copy.
    pub restored: Option<Restored>,
    /// Whether SQLite finds the file as a whole well.
    pub whole: bool,
    /// What is wrong, the first hundred.
    pub findings: Vec<String>,
    /// How many more there are.
    pub more_findings: u64,
}

/// How much is in a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableRows {
    /// The table.
    pub table: &'static str,
    /// Its rows; absent where they cannot be counted.
    pub rows: Option<u64>,
}

/// Findings that are told one by one: a few screens. A ruined page can make thousands.
const FINDINGS_MAX: usize = 100;

/// Longest finding, in characters: three lines of a wide terminal.
const FINDING_CHARS_MAX: usize = 400;

/// Checks the file at `path`. Damage is a finding; an error is what keeps the file from being looked at.
pub fn check(path: &Path) -> Result<StoreReport, StoreError> {
    let mut report = StoreReport {
        path: path.display().to_string(),
        format: None,
        bytes: 0,
        free_bytes: 0,
        tables: Vec::new(),
        unsummed: 0,
        copy: None,
        restored: None,
        whole: true,
        findings: Vec::new(),
        more_findings: 0,
    };
    let looked_at = Reader::open(path).and_then(|reader| {
        report.format = Some(reader.format);
        // One transaction, so that all is of one moment.
        let _tx = reader.conn.unchecked_transaction()?;
        look(&reader, &mut report).map_err(StoreError::from)
    });
    match looked_at.map_err(|error| damage::named(error, path)) {
        Ok(()) => {}
        Err(StoreError::Damaged { problem, .. }) => report.not_whole(problem),
        Err(other) => return Err(other),
    }
    report.bytes = path.metadata().map_or(0, |metadata| metadata.len());
    Ok(report)
}

impl StoreReport {
    fn find(&mut self, finding: String) {
        // It may repeat what a damaged file has in it.
        let finding: String = one_line(&finding).chars().take(FINDING_CHARS_MAX).collect();
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.more_findings += 1;
        }
    }

    fn not_whole(&mut self, finding: String) {
        self.whole = false;
        self.find(finding);
    }

    /// A part that cannot be gone through is a finding, and the other parts are looked at all the same.
    fn part(&mut self, what: &str, gone_through: Result<(), rusqlite::Error>) {
        if let Err(error) = gone_through {
            self.not_whole(format!("{what}: {error}"));
        }
    }
}

fn look(reader: &Reader, report: &mut StoreReport) -> Result<(), rusqlite::Error> {
    let conn = &reader.conn;
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let free = pragma("freelist_count")?.saturating_mul(pragma("page_size")?);
    report.free_bytes = free.unsigned_abs();
    let whole = whole(conn, report);
    report.part("file", whole);
    for table in TABLES {
        // A file of an earlier format may lack a table.
        if conn.table_exists(None, table)? {
            let rows =
                conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0));
            report.tables.push(TableRows { table, rows: rows.ok().map(i64::unsigned_abs) });
        }
    }
    let parts = [
        ("events", events(reader, report)),
        ("runs", runs(conn, report)),
        ("ids of runs", run_ids(conn, report)),
        ("ledger", ledger(reader, report)),
        ("firings", firings(conn, report)),
        ("counts of runs", tally(conn, report)),
    ];
    for (what, gone_through) in parts {
        report.part(what, gone_through);
    }
    if conn.table_exists(None, "once_keys")? {
        let keys = once_keys(conn, report);
        report.part("natural keys", keys);
    }
    if conn.table_exists(None, "locks")? {
        let locks = locks(conn, report);
        report.part("locks", locks);
    }
    if conn.table_exists(None, "incidents")? {
        let astray = incidents::astray(conn).map(|[rows, unreadable]| {
            if rows > 0 {
                report.find(format!("incidents: of {rows} the latest event is not there"));
            }
            if unreadable > 0 {
                let what = "rows cannot be read: policies may be woken once more by what has woken them";
                report.find(format!("incidents: {unreadable} {what}"));
            }
        });
        report.part("incidents", astray);
    }
    report.copy = copy::mark(conn)?;
    report.restored = copy::restored(conn)?;
    Ok(())
}

/// Tables whose rows are told.
const TABLES: [&str; 13] = [
    "events",
    "runs",
    "ledger",
    "firings",
    "once_keys",
    "locks",
    "spent",
    "halts",
    "pauses",
    "approvals",
    "policy_state",
    "incidents",
    "audit",
];

fn whole(conn: &Connection, report: &mut StoreReport) -> Result<(), rusqlite::Error> {
    let mut statement = conn.prepare(&format!("PRAGMA integrity_check({FINDINGS_MAX})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let said: String = row.get(0)?;
        if said != "ok" {
            damage::problems(&said).for_each(|problem| report.not_whole(problem.to_owned()));
        }
    }
    Ok(())
}

/// Events, and the keys that a later delivery is known by.
fn events(reader: &Reader, report: &mut StoreReport) -> Result<(), rusqlite::Error> {
    let (conn, events) = (&reader.conn, event_columns(reader.format));
    let indexed: i64 = conn.query_row("SELECT events FROM indexed", [], |row| row.get(0))?;
    let mut find_key = conn.prepare("SELECT 1 FROM event_keys WHERE key = ?1")?;
    let mut keys: i64 = conn.query_row("SELECT count(*) FROM event_keys", [], |row| row.get(0))?;
    each(conn, &format!("SELECT e.seq, {events} FROM events e"), |row| {
        let seq: i64 = row.get(0)?;
        match event_at(row, 1) {
            Err(error) => report.find(format!("event {seq}: {error}")),
            // Beyond the index a killed host may have written some.
            Ok((event, ..)) if find_key.exists([event_key(event.source.as_str(), &event.id)])? => keys -= 1,
            Ok(_) if seq <= indexed => {
                report.find(format!(
                    "event {seq}: its key is missing: a second delivery would be taken for new"
                ));
            }
            Ok(_) => {}
        }
        Ok(())
    })?;
    if keys > 0 {
        report.find(format!("{keys} keys belong to no event that can be read"));
    }
    Ok(())
}

/// The index that finds a run by its id.
fn run_ids(conn: &Connection, report: &mut StoreReport) -> Result<(), rusqlite::Error> {
    let lost = "SELECT i.id, i.run FROM run_ids i LEFT JOIN runs r ON r.seq = i.run AND r.id = i.id WHERE r.seq IS NULL";
    each(conn, lost, |row| {
        report.find(format!("run {}: the index of ids leads to another row or none", name(row, 0)?));
        Ok(())
    })?;
    let missing = "SELECT r.id FROM runs r LEFT JOIN run_ids i ON i.id = r.id
                   WHERE r.seq <= (SELECT runs FROM indexed) AND i.id IS NULL";
    each(conn, missing, |row| {
        report.find(format!("run {}: it is missing in the index of ids", name(row, 0)?));
        Ok(())
    })
}

fn runs(conn: &Connection, report: &mut StoreReport) -> Result<(), rusqlite::Error> {
    let sql = format!("SELECT {RUN_COLUMNS}, r.seq, e.seq FROM runs r LEFT JOIN events e ON e.seq = r.event");
    each(conn, &sql, |row| {
        if row.get::<_, Option<i64>>(RUN_COLUMN_COUNT + 1)?.is_none() {
            report.find(format!("run {}: its event is missing", name(row, 0)?));
        } else if let Err(error) = run_row(row) {
            report.find(format!("run {}: {error}", name(row, 0)?));
        }
        Ok(())
    })
}

fn ledger(reader: &Reader, report: &mut StoreReport) -> Result<(), rusqlite::Error> {
    let columns = reader.ledger_columns();
    let sql = format!(
        "SELECT l.seq, r.id, {columns} FROM ledger l LEFT JOIN runs r ON r.seq = l.run ORDER BY l.seq"
    );
    each(&reader.conn, &sql, |row| {
        let ledger_row = LedgerRow::read(row, 2)?;
        report.unsummed += u64::from(ledger_row.is_unsummed());
        let seq: i64 = row.get(0)?;
        match ledger_row.records() {
            _ if row.get_ref(1)? == rusqlite::types::ValueRef::Null => {
                report.find(format!("row {seq} of the ledger belongs to no run"));
            }
            Err(problem) => report.find(format!("run {}: row {seq} of its ledger: {problem}", name(row, 1)?)),
            Ok(_) => {}
        }
        Ok(())
    })
}

fn firings(conn: &Connection, report: &mut StoreReport) -> Result<(), rusqlite::Error> {
    each(conn, "SELECT policy, schedule, fire_at, decision, decided_at, seq FROM firings", |row| {
        if let Err(error) = firing_row(row) {
            report.find(format!("decision {} on a schedule: {error}", row.get::<_, i64>(5)?));
        }
        Ok(())
    })
}

fn tally(conn: &Connection, report: &mut StoreReport) -> Result<(), rusqlite::Error> {
    let sql = "SELECT t.state, t.runs, (SELECT count(*) FROM runs r WHERE r.state = t.state) FROM tally t";
    each(conn, sql, |row| {
        let [state, told, counted] = [row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?];
        if told != counted {
            let state = usize::try_from(state).ok().and_then(|at| RunState::ALL.get(at));
            let state = state.map_or("unknown", |state| state.as_str());
            report.find(format!("{counted} runs are {state}, and {told} are counted as such"));
        }
        Ok(())
    })
}

fn once_keys(conn: &Connection, report: &mut StoreReport) -> Result<(), rusqlite::Error> {
    each(conn, "SELECT key, policy, reply FROM once_keys WHERE reply IS NOT NULL", |row| {
        let reply = row.get_ref(2)?.as_bytes().unwrap_or_default();
        if let Err(error) = serde_json::from_slice::<CallResponse>(reply) {
            report.find(format!("natural key {} of {}: {error}", name(row, 0)?, name(row, 1)?));
        }
        Ok(())
    })
}

fn locks(conn: &Connection, report: &mut StoreReport) -> Result<(), rusqlite::Error> {
    let stale = "SELECT l.resource, l.run FROM locks l LEFT JOIN runs r ON r.id = l.run
                 WHERE r.seq IS NULL OR r.state >= 3";
    each(conn, stale, |row| {
        report.find(format!("lock on {}: run {} has ended or is gone", name(row, 0)?, name(row, 1)?));
        Ok(())
    })
}

fn each(
    conn: &Connection,
    sql: &str,
    mut look: impl FnMut(&Row<'_>) -> Result<(), rusqlite::Error>,
) -> Result<(), rusqlite::Error> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        look(row)?;
    }
    Ok(())
}

/// A text column for people, whatever it holds.
fn name(row: &Row<'_>, at: usize) -> Result<String, rusqlite::Error> {
    let bytes = row.get_ref(at)?.as_bytes().unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).chars().take(NAME_CHARS_MAX).collect())
}

/// Longest name in a finding, in characters: a run's id in full.
const NAME_CHARS_MAX: usize = 64;

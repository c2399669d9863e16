//! Whether the audit chain of a file is what a host wrote: each row by its hash, the chain by checkpoints, and the ledger by the
//! chain: no effect without its row, and no row of an effect that the ledger does not know. Works beside a running host, on one
//! moment of the file. Changes nothing; leaves printing to `opsward audit verify`. Tested in `tests/tests/it/audit.rs`.

use super::checkpoints::Files;
use super::ledger::LedgerRow;
use super::read::Reader;
use super::{copy, damage};
use crate::store::StoreError;
use opsward_core::audit::{self, Checkpoint, CheckpointLine, Key, Kind, Row, Summary, Verifier};
use opsward_core::id::{Digest, RunId};
use opsward_core::line::one_line;
use opsward_core::run::Record;
use opsward_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;

/// What a verification found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AuditReport {
    /// The file.
    pub path: String,
    /// Rows that are right.
    pub entries: u64,
    /// The time of the first row.
    pub from: Option<Timestamp>,
    /// The time of the last.
    pub to: Option<Timestamp>,
    /// The hash of the last row.
    pub head: Option<Digest>,
    /// Checkpoints that confirm rows.
    pub checkpoints: u64,
    /// The last row that is confirmed.
    pub confirmed: i64,
    /// Rows that say the store was restored from a copy.
    pub restored: Vec<i64>,
    /// Records of effects in the ledger that have their row.
    pub effects: u64,
    /// The first row that is wrong.
    pub first_bad: Option<FirstBad>,
    /// What else is wrong.
    pub findings: Vec<String>,
    /// How many more there are.
    pub more_findings: u64,
    /// What the verification could not see.
    pub unseen: Vec<String>,
}

/// The first row that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FirstBad {
    /// Its place in the chain.
    pub row: i64,
    /// The time it gives, where it can be read.
    pub at: Option<Timestamp>,
    /// What is wrong.
    pub wrong: String,
}

/// What somebody kept elsewhere of the chain.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Hashes of rows.
    pub hashes: Vec<Digest>,
    /// Checkpoints, each file's in the order they were written.
    pub checkpoints: Vec<Vec<Checkpoint>>,
}

/// Findings that are told one by one: a few screens.
const FINDINGS_MAX: usize = 100;
/// Longest finding, in characters: three lines of a wide terminal.
const FINDING_CHARS_MAX: usize = 400;

/// Verifies the chain of the file at `path`. What is wrong with it is a finding; an error is what keeps it from being looked at.
pub fn verify_audit(path: &Path, expected: &Expected) -> Result<AuditReport, StoreError> {
    let mut report = AuditReport { path: path.display().to_string(), ..AuditReport::default() };
    // Before the file is looked at: a host that is running goes on, and its checkpoints must not tell of later rows.
    let checkpoints = own_checkpoints(&Files::of(path), &mut report);
    let reader = Reader::open(path)?;
    let looked_at = look(&reader, checkpoints, expected, &mut report).map_err(StoreError::from);
    match looked_at.map_err(|error| damage::named(error, path)) {
        Ok(()) => {}
        Err(StoreError::Damaged { problem, .. }) => {
            report.find(format!("the file is damaged ({problem}): see `opsward db check`"));
        }
        Err(other) => return Err(other),
    }
    Ok(report)
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.first_bad.is_none() && self.findings.is_empty()
    }

    fn find(&mut self, finding: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(one_line(&finding).chars().take(FINDING_CHARS_MAX).collect());
        } else {
            self.more_findings += 1;
        }
    }
}

/// The checkpoints beside the store, up to the first that is wrong; `None` where there is no file of them.
fn own_checkpoints(files: &Files, report: &mut AuditReport) -> Option<Vec<Checkpoint>> {
    let text = match std::fs::read(&files.lines) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            report.find(format!("`{}` cannot be read: {error}", files.lines.display()));
            return None;
        }
    };
    let key = match files.existing_key() {
        Ok(Some(key)) => Some(key),
        Ok(None) => {
            report.find(format!(
                "`{}` is gone: nobody can tell whether the checkpoints are the host's",
                files.key.display()
            ));
            None
        }
        Err(error) => {
            report.unseen.push(format!("the checkpoints' HMACs: `{}`: {error}", files.key.display()));
            None
        }
    };
    let (checkpoints, problem) = read_checkpoints(&text, key.as_ref());
    if let Some((line, problem)) = problem {
        report.find(format!("line {line} of `{}`: {problem}", files.lines.display()));
    }
    Some(checkpoints)
}

/// The checkpoints in `text`, up to the first line that is none or not authentic; the number of that line, and what is wrong. An
/// unfinished last line is what a host was writing when it died.
pub fn read_checkpoints(
    text: &[u8],
    key: Option<&Key>,
) -> (Vec<Checkpoint>, Option<(usize, audit::InvalidCheckpoint)>) {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let (mut checkpoints, mut before) = (Vec::new(), None);
    for (at, line) in text[..whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let read = CheckpointLine::parse(&line[..line.len() - 1]).and_then(|line| {
            key.map_or(Ok(()), |key| line.authenticate(before.as_ref(), key)).map(|()| line)
        });
        match read {
            Ok(line) => {
                checkpoints.push(line.checkpoint);
                before = Some(line.mac);
            }
            Err(problem) => return (checkpoints, Some((at + 1, problem))),
        }
    }
    (checkpoints, None)
}

fn look(
    reader: &Reader,
    own: Option<Vec<Checkpoint>>,
    expected: &Expected,
    report: &mut AuditReport,
) -> Result<(), rusqlite::Error> {
    let conn = &reader.conn;
    // One transaction, so that all is of one moment.
    let _tx = conn.unchecked_transaction()?;
    if !conn.table_exists(None, "audit")? {
        report.find("the store is from before the audit chain, which begins when a host opens it".to_owned());
        return Ok(());
    }
    let is_copy = copy::mark(conn)?.is_some();
    match (&own, is_copy) {
        (Some(_), _) => {}
        (None, true) => report.unseen.push(
            "rows missing at the end: a copy has no checkpoints of its own; give those of the store, or a hash of \
             them, with --checkpoint"
                .to_owned(),
        ),
        (None, false) => report.find(
            "the file of checkpoints beside the store is gone: a host writes it as soon as it opens the store".to_owned(),
        ),
    }
    let closed = own.is_some() && !is_copy && damage::closed_cleanly(conn);
    let own = own.unwrap_or_default();
    let files = std::iter::once(own.as_slice()).chain(expected.checkpoints.iter().map(Vec::as_slice));
    let verifier = Verifier::new(files, expected.hashes.iter().copied());
    let mut effects = Effects::default();
    match chain(conn, verifier, closed, &mut effects, report)? {
        Ok(summary) => tell(&summary, report),
        Err(bad) => {
            report.first_bad = Some(FirstBad { row: bad.seq, at: bad.at, wrong: bad.wrong.to_string() });
            return Ok(());
        }
    }
    compare(reader, effects, report)
}

fn tell(summary: &Summary, report: &mut AuditReport) {
    let Summary { entries, from, to, hash, confirmed, checkpoints, restored, not_found, .. } = summary;
    (report.entries, report.from, report.to) = (*entries, *from, *to);
    (report.head, report.confirmed, report.checkpoints) = (Some(*hash), *confirmed, *checkpoints);
    report.restored.clone_from(restored);
    for hash in not_found {
        report.find(format!(
            "no row has the hash {hash}: rows are missing at the end, or the chain is another one than you saw"
        ));
    }
}

/// Rows of effects that the ledger must have the record of.
#[derive(Default)]
struct Effects {
    /// The first half of a record's fingerprint, and the row: nobody makes two records that agree in 128 bits.
    rows: HashMap<[u8; 16], i64>,
    /// Rows of the ledger up to this are from before the chain.
    before: i64,
}

fn half(fingerprint: &Digest) -> [u8; 16] {
    std::array::from_fn(|at| fingerprint.as_bytes()[at])
}

fn chain(
    conn: &Connection,
    mut verifier: Verifier,
    closed: bool,
    effects: &mut Effects,
    report: &mut AuditReport,
) -> Result<Result<Summary, audit::Bad>, rusqlite::Error> {
    let mut statement = conn.prepare("SELECT seq, entry, hash FROM audit ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let [entry, hash] = [row.get_ref(1)?.as_bytes().ok(), row.get_ref(2)?.as_bytes().ok()];
        let entry = match verifier.check(Row { seq: row.get(0)?, entry, hash }) {
            Ok(entry) => entry,
            Err(bad) => return Ok(Err(bad)),
        };
        if let Some(record) = entry.record {
            effects.rows.insert(half(&record), entry.seq);
        }
        match entry.kind {
            Kind::Begun if entry.seq == 1 => effects.before = entry.ledger.unwrap_or_default(),
            Kind::Begun => report.find(format!("row {}: the chain begins a second time", entry.seq)),
            _ => {}
        }
    }
    Ok(verifier.finish(closed))
}

/// Holds the ledger against the chain.
fn compare(reader: &Reader, mut effects: Effects, report: &mut AuditReport) -> Result<(), rusqlite::Error> {
    let columns = reader.ledger_columns();
    let mut ledger = reader.conn.prepare(&format!(
        "SELECT l.seq, r.id, {columns} FROM ledger l JOIN runs r ON r.seq = l.run ORDER BY l.seq"
    ))?;
    let mut rows = ledger.query([])?;
    while let Some(row) = rows.next()? {
        // Of a run whose id is no text any more no row tells, which is found below.
        let Ok(run) = row.get_ref(1)?.as_str().map(RunId::from_text) else { continue };
        for line in LedgerRow::read(row, 2)?.lines() {
            let Ok(record) = serde_json::from_str::<Record>(line) else { continue };
            let Some(wanted) = audit::Entry::of(&run, &record, line) else { continue };
            let fingerprint = wanted.record.unwrap_or_else(|| audit::fingerprint(&run, line));
            if effects.rows.remove(&half(&fingerprint)).is_some() {
                report.effects += 1;
                continue;
            }
            // From before the chain. Numbers of rows that are gone may come again, so that the number alone does not tell.
            if row.get::<_, i64>(0)? <= effects.before {
                continue;
            }
            let (kind, position) = (wanted.kind.as_str(), wanted.position.unwrap_or_default());
            report.find(format!(
                "run {run}, call {position}: the {kind} of {} is in the ledger and has no row in the chain",
                wanted.at
            ));
        }
    }
    let mut left: Vec<i64> = effects.rows.into_values().collect();
    left.sort_unstable();
    let mut entry = reader.conn.prepare("SELECT entry FROM audit WHERE seq = ?1")?;
    let mut created = reader.conn.prepare(
        "SELECT created FROM runs WHERE id = ?1 AND seq IN (
           SELECT run FROM run_ids WHERE id = ?1
           UNION ALL SELECT seq FROM runs WHERE id = ?1 AND seq > (SELECT runs FROM indexed))",
    )?;
    for row in left {
        let said =
            entry.query_row([row], |row| Ok(row.get_ref(0)?.as_bytes().ok().map(serde_json::from_slice)));
        let Some(Ok(audit::Entry { run: Some(run), at, kind, position, .. })) = said? else { continue };
        let created = created.query_row([run.as_str()], |row| row.get(0)).optional()?;
        // Deleted because it was kept long enough, or another run of the same event that came again after that.
        let Some(created) = created.map(Timestamp::from_ms).filter(|created| at >= *created) else {
            continue;
        };
        let (kind, position) = (kind.as_str(), position.unwrap_or_default());
        let wrong =
            format!("run {run} of {created} has not its {kind} of call {position}: the ledger was changed");
        if report.first_bad.is_none() {
            report.first_bad = Some(FirstBad { row, at: Some(at), wrong });
        } else {
            report.find(format!("row {row} of {at}: {wrong}"));
        }
    }
    Ok(())
}

//! The two indices whose keys come in no order: which events are known, and which run has which id. Writing such a key at
//! once costs a page of the file for each; so new keys are kept in memory and written later, many at a time, in the
//! order of the index, a slice with every transaction. The file says how far the indices reach: what lies beyond is read
//! back on opening, and searched row by row by readers. Tested by the conformance suite with a small `written_at`.

use opsward_core::id::Digest;
use rusqlite::{Connection, Statement, params};
use std::collections::HashSet;

/// Keys that are kept before they are written: a few MiB, some 30 ms to read back, and so many that a page of an index of
/// a million takes several of them.
pub(super) const WRITTEN_AT: usize = 32 * 1024;
/// Fewest keys written with one transaction, of each index.
const SLICE_MIN: usize = 256;

/// Names an event: half a SHA-256 of source and id, as good as both and of fixed size.
pub(super) type EventKey = [u8; 16];

pub(super) fn event_key(source: &str, id: &str) -> EventKey {
    let mut text = Vec::with_capacity(source.len() + 1 + id.len());
    text.extend_from_slice(source.as_bytes());
    // No source name holds it, so it tells where the name ends.
    text.push(b'\n');
    text.extend_from_slice(id.as_bytes());
    let digest = Digest::of(&text);
    std::array::from_fn(|at| digest.as_bytes()[at])
}

/// What is not in the indices yet.
pub(super) struct Late {
    /// Keys of the events beyond the index, those of this transaction and those being written included.
    events: HashSet<EventKey>,
    /// Runs beyond the index that are not being written, in the order of their `seq`.
    runs: Vec<(String, i64)>,
    /// What this transaction added, to be taken back if it does not commit.
    events_added: Vec<EventKey>,
    runs_added: usize,
    /// What this transaction deletes: forgotten once it commits.
    events_removed: Vec<EventKey>,
    runs_removed: HashSet<i64>,
    last_event: i64,
    writing: Option<Writing>,
    written_at: usize,
}

/// A share of the keys on its way into the indices.
struct Writing {
    events: Vec<EventKey>,
    runs: Vec<(String, i64)>,
    /// How far the indices reach once it is done.
    last_event: i64,
    last_run: i64,
    /// Keys written, and keys on disk.
    done: usize,
    kept: usize,
}

impl Late {
    /// Reads back what the indices do not reach.
    pub(super) fn open(conn: &Connection, written_at: usize) -> Result<Self, rusqlite::Error> {
        let mut events = HashSet::new();
        let mut last_event = 0;
        let mut statement =
            conn.prepare("SELECT seq, source, id FROM events WHERE seq > (SELECT events FROM indexed)")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            last_event = row.get(0)?;
            // One that was damaged cannot be known again; `opsward db check` tells of it.
            if let (Ok(source), Ok(id)) = (row.get_ref(1)?.as_str(), row.get_ref(2)?.as_str()) {
                events.insert(event_key(source, id));
            }
        }
        let mut statement =
            conn.prepare("SELECT id, seq FROM runs WHERE seq > (SELECT runs FROM indexed)")?;
        let mut rows = statement.query([])?;
        let mut runs = Vec::new();
        while let Some(row) = rows.next()? {
            if let Ok(id) = row.get_ref(0)?.as_str() {
                runs.push((id.to_owned(), row.get(1)?));
            }
        }
        Ok(Self {
            events,
            runs,
            events_added: Vec::new(),
            runs_added: 0,
            events_removed: Vec::new(),
            runs_removed: HashSet::new(),
            last_event,
            writing: None,
            written_at,
        })
    }

    /// Whether an event was accepted before.
    pub(super) fn is_known(&self, sql: &mut Statements<'_>, key: &EventKey) -> Result<bool, rusqlite::Error> {
        Ok(self.events.contains(key) || sql.find_event.exists([key])?)
    }

    pub(super) fn add_event(&mut self, key: EventKey, seq: i64) {
        self.events.insert(key);
        self.events_added.push(key);
        self.last_event = seq;
    }

    pub(super) fn add_run(&mut self, id: &str, seq: i64) {
        self.runs.push((id.to_owned(), seq));
        self.runs_added += 1;
    }

    /// Whether keys are on their way into the indices; none may be removed meanwhile.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// An event that is deleted. Until the transaction commits it counts as known.
    pub(super) fn remove_event(&mut self, key: EventKey) {
        if self.events.contains(&key) {
            self.events_removed.push(key);
        }
    }

    pub(super) fn remove_run(&mut self, seq: i64) {
        if self.runs.first().is_some_and(|(_, first)| *first <= seq) {
            self.runs_removed.insert(seq);
        }
    }

    /// Writes the next slice, if there is one: at least as much as this transaction added.
    pub(super) fn write_slice(&mut self, sql: &mut Statements<'_>) -> Result<(), rusqlite::Error> {
        let slice = self.written_at.min(SLICE_MIN).max(2 * self.events_added.len().max(self.runs_added));
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let from = writing.done;
        writing.done += slice;
        for key in writing.events.iter().skip(from).take(slice) {
            sql.index_event.execute([key])?;
        }
        for (id, seq) in writing.runs.iter().skip(from).take(slice) {
            sql.index_run.execute(params![id, seq])?;
        }
        if writing.is_done() {
            sql.reach.execute([writing.last_event, writing.last_run])?;
        }
        Ok(())
    }

    /// The transaction is on disk.
    pub(super) fn keep(&mut self) {
        self.events_added.clear();
        self.runs_added = 0;
        for key in self.events_removed.drain(..) {
            self.events.remove(&key);
        }
        if !self.runs_removed.is_empty() {
            self.runs.retain(|(_, seq)| !self.runs_removed.contains(seq));
            self.runs_removed.clear();
        }
        if let Some(writing) = &mut self.writing {
            writing.kept = writing.done;
            if writing.is_done() {
                for key in &writing.events {
                    self.events.remove(key);
                }
                self.writing = None;
            }
        } else if self.events.len() >= self.written_at || self.runs.len() >= self.written_at {
            self.writing = Some(self.begin_writing());
        }
    }

    /// The transaction did not happen.
    pub(super) fn roll_back(&mut self) {
        for key in self.events_added.drain(..) {
            self.events.remove(&key);
        }
        self.runs.truncate(self.runs.len() - self.runs_added);
        self.runs_added = 0;
        self.events_removed.clear();
        self.runs_removed.clear();
        if let Some(writing) = &mut self.writing {
            writing.done = writing.kept;
        }
    }

    fn begin_writing(&mut self) -> Writing {
        let mut events: Vec<EventKey> = self.events.iter().copied().collect();
        events.sort_unstable();
        let mut runs = std::mem::take(&mut self.runs);
        let last_run = runs.last().map_or(0, |(_, seq)| *seq);
        runs.sort_unstable();
        Writing { events, runs, last_event: self.last_event, last_run, done: 0, kept: 0 }
    }
}

impl Writing {
    fn is_done(&self) -> bool {
        self.done >= self.events.len().max(self.runs.len())
    }
}

pub(super) struct Statements<'c> {
    find_event: Statement<'c>,
    index_event: Statement<'c>,
    index_run: Statement<'c>,
    reach: Statement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(conn: &'c Connection) -> Result<Self, rusqlite::Error> {
        Ok(Self {
            find_event: conn.prepare("SELECT 1 FROM event_keys WHERE key = ?1")?,
            // A killed host may have written some of them.
            index_event: conn.prepare("INSERT INTO event_keys (key) VALUES (?1) ON CONFLICT DO NOTHING")?,
            index_run: conn
                .prepare("INSERT INTO run_ids (id, run) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?,
            reach: conn.prepare("UPDATE indexed SET events = max(events, ?1), runs = max(runs, ?2)")?,
        })
    }
}

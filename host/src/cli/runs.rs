//! `opsward run ls` and `opsward run show`: what the store holds of runs, for people or as JSON. Reads the store's file
//! beside a running host or without one. Leaves the steps of one run to `waterfall`. Tested below, letter by letter.

mod waterfall;

use super::text::{Align, aligned, cut, print_json, span, word};
use crate::store::sqlite::Reader;
use crate::store::{RunDetail, RunFilter, RunRow, StoreError};
use opsward_core::id::PolicyName;
use opsward_core::line::one_line;
use opsward_core::run::{Entry, RunState};
use opsward_core::time::Timestamp;
use std::io::{self, Write};

/// What `opsward run ls` was asked.
#[derive(Debug, Clone, clap::Args)]
pub struct ListArgs {
    /// Only this policy's runs
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<PolicyName>,
    /// Only runs that are ready, running, held, done, failed or dead
    #[arg(long, value_name = "STATE")]
    pub state: Option<RunState>,
    /// Only runs that wait for a person: the same as --state held
    #[arg(long, conflicts_with = "state")]
    pub held: bool,
    /// At most this many, newest first
    #[arg(short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What `opsward run show` was asked.
#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
    /// The run's id, or enough of its beginning to tell it from others
    pub id: String,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// One JSON object, the same as the admin listener's.
    Json,
}

/// Why runs could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowRunsError {
    /// No such run.
    #[error("no run begins with `{0}`; `opsward run ls` lists them")]
    NotFound(String),
    /// More than one run.
    #[error("`{prefix}` fits more than one run; type more of it:\n  {}", candidates.join("\n  "))]
    Ambiguous {
        /// What was typed.
        prefix: String,
        /// Whole ids, each with policy and state.
        candidates: Vec<String>,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer could not be printed.
    #[error("cannot print the answer")]
    Print(#[from] io::Error),
}

/// Prints the runs that `args` asks for.
pub fn list(
    store: &Reader,
    args: &ListArgs,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), ShowRunsError> {
    let state = args.state.or(args.held.then_some(RunState::Held));
    let filter = RunFilter { policy: args.policy.clone(), state, limit: args.limit as usize };
    let rows = store.list_runs(&filter)?;
    match args.output {
        Output::Json => print_json(&serde_json::json!({ "runs": rows }), out)?,
        Output::Table if rows.is_empty() => {
            let any = args.policy.is_some() || state.is_some();
            writeln!(out, "{}", if any { "no such runs" } else { "no runs yet" })?;
        }
        Output::Table => print_rows(&rows, now, out)?,
    }
    Ok(())
}

/// Prints the one run that `args` names.
pub fn show(
    store: &Reader,
    args: &ShowArgs,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), ShowRunsError> {
    let run = find_one(store.find_runs(&args.id, CANDIDATES_MAX)?, &args.id)?;
    Ok(print_one(&run, args.output, now, out)?)
}

/// Prints one run.
pub(super) fn print_one(
    run: &RunDetail,
    output: Output,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), io::Error> {
    match output {
        Output::Json => print_json(run, out),
        Output::Table => {
            print_head(run, now, out)?;
            if run.ledger.is_empty() { Ok(()) } else { waterfall::print(run, out) }
        }
    }
}

/// Runs named where a prefix fits several: a screen is not filled.
pub(super) const CANDIDATES_MAX: usize = 10;
/// Widest event type and note in a list, in characters: a line stays below 160.
const EVENT_CHARS_MAX: usize = 48;
const NOTE_CHARS_MAX: usize = 60;
/// Digits of a run's id that people are shown: tells a million runs apart, and fits a column.
const ID_CHARS: usize = 12;

/// The run that `prefix` means.
pub(super) fn find_one(mut found: Vec<RunDetail>, prefix: &str) -> Result<RunDetail, ShowRunsError> {
    let exact = found.iter().position(|run| run.row.id.as_str() == prefix);
    match (exact, found.len()) {
        (_, 0) => Err(ShowRunsError::NotFound(prefix.to_owned())),
        (Some(at), _) => Ok(found.swap_remove(at)),
        (None, 1) => Ok(found.swap_remove(0)),
        (None, _) => {
            let name =
                |run: &RunDetail| format!("{}  {}  {}", run.row.id, run.row.policy, run.row.state.as_str());
            let candidates = found.iter().map(name).collect();
            Err(ShowRunsError::Ambiguous { prefix: prefix.to_owned(), candidates })
        }
    }
}

fn print_rows(rows: &[RunRow], now: Timestamp, out: &mut dyn Write) -> Result<(), io::Error> {
    let head = ["RUN", "STATE", "POLICY", "EVENT", "AGE", "TOOK", "NOTE"].map(str::to_owned);
    let cells = rows.iter().map(|row| {
        let took = row.state.is_final().then(|| span(row.changed_at.since(row.created_at)));
        [
            cut(row.id.as_str(), ID_CHARS),
            row.state.as_str().to_owned(),
            row.policy.to_string(),
            cut(&row.event_type, EVENT_CHARS_MAX),
            span(now.since(row.created_at)),
            took.unwrap_or_default(),
            cut(&note(row, now), NOTE_CHARS_MAX),
        ]
    });
    let table: Vec<_> = std::iter::once(head).chain(cells).collect();
    use Align::{Left, Right};
    for line in aligned(&table, [Left, Left, Left, Left, Right, Right, Left]) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// What there is to say of a run in a line.
fn note(row: &RunRow, now: Timestamp) -> String {
    let wakes = row.wake_at.filter(|at| *at > now).map(|at| format!("wakes in {}", span(at.since(now))));
    [row.note.clone(), wakes].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn print_head(run: &RunDetail, now: Timestamp, out: &mut dyn Write) -> Result<(), io::Error> {
    let row = &run.row;
    let standing = match row.state {
        RunState::Ready => match row.wake_at.filter(|at| *at > now) {
            Some(at) => format!("sleeps until {}, {} from now", instant(at), span(at.since(now))),
            None => "ready to be worked on".to_owned(),
        },
        RunState::Running => format!("running for {}", span(now.since(row.changed_at))),
        RunState::Held => {
            let verb = format!("`opsward run resolve --epoch {}`", run.epoch);
            format!("held for {}: settle it with {verb}", span(now.since(row.changed_at)))
        }
        ended => format!("{} in {}", ended.as_str(), span(row.changed_at.since(row.created_at))),
    };
    let mode = run.ledger.iter().rev().find_map(|record| match record.entry {
        Entry::Started { mode, .. } => Some(mode),
        _ => None,
    });
    let mode = mode.map(|mode| format!(", {}", word(&mode))).unwrap_or_default();
    writeln!(out, "run {}  {standing}", row.id)?;
    writeln!(out, "  policy    {}, plugin {}{mode}", row.policy, row.digest.short())?;
    writeln!(out, "  event     {}", one_line(&run.event.kind))?;
    writeln!(out, "  from      {}, id {}", run.event.source, one_line(&run.event.id))?;
    if let Some(subject) = &run.event.subject {
        writeln!(out, "  subject   {}", one_line(subject))?;
    }
    writeln!(out, "  received  {}", instant(run.received))?;
    if let Some(note) = &row.note {
        writeln!(out, "  {:<8}  {}", note_title(row.state), one_line(note))?;
    }
    for problem in &run.damage {
        writeln!(out, "  damaged   {}", cut(problem, NOTE_CHARS_MAX * 2))?;
    }
    Ok(())
}

fn note_title(state: RunState) -> &'static str {
    match state {
        RunState::Done => "outcome",
        RunState::Failed => "failure",
        RunState::Held => "unknown",
        RunState::Dead | RunState::Ready | RunState::Running => "fault",
    }
}

/// `2025-11-23 13:14:02.123 UTC`.
fn instant(at: Timestamp) -> String {
    at.to_string().replacen('T', " ", 1).replacen('Z', " UTC", 1)
}

#[cfg(test)]
mod tests;

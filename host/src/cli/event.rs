//! `opsward event ls|show|explain`: what has arrived, what else came of the same happening, and why a policy is woken by an event or
//! is not. Reads the store's file beside a running host or without one. Leaves explaining to `explain`, and where an incident stood
//! at a notice to `history`. Tested in `event/tests.rs`, letter by letter, and in `tests/tests/it/events`.

mod explain;
mod history;

pub use explain::{Asked, explain_at};

use super::runs::Output;
use super::text::{Align, aligned, cut, print_json, span};
use super::{Config, EXIT_NO_INPUT, store_path};
use crate::clock::{Clock as _, SystemClock};
use crate::store::sqlite::{Reader, SqliteStore};
use crate::store::{EventFilter, EventRow, StoreError};
use history::History;
use opsward_core::event::Transition;
use opsward_core::id::SourceName;
use opsward_core::line::one_line;
use opsward_core::time::Timestamp;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::process::ExitCode;

/// What to do with events.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// List events, newest first
    Ls {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// Which, and how to print them
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show one event, and what else came of its incident
    Show {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// Which, and how to print it
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Say of each policy why it is woken by an event, or which condition does not hold
    Explain {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// Which, and how to print it
        #[command(flatten)]
        asked: Asked,
    },
}

/// What `opsward event ls` was asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ListArgs {
    /// Only notices of this incident
    #[arg(long, value_name = "KEY")]
    pub incident: Option<String>,
    /// Only events from this source
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<SourceName>,
    /// Only events of this type, with `*` for any run of characters
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: Option<String>,
    /// At most this many, newest first
    #[arg(short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// How to print them
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// What `opsward event show` was asked.
#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
    /// The event's id, or enough of its beginning to tell it from others
    pub id: String,
    /// The source it came from, where several have an event of this id
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<SourceName>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Why events could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowEventsError {
    /// No such event.
    #[error("no event's id begins with `{0}`; `opsward event ls` lists them")]
    NotFound(String),
    /// More than one event.
    #[error("`{prefix}` fits more than one event; type more of it, or name its --source:\n  {}", candidates.join("\n  "))]
    Ambiguous {
        /// What was typed.
        prefix: String,
        /// Whole ids, each with its source.
        candidates: Vec<String>,
    },
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The answer could not be printed.
    #[error("cannot print the answer")]
    Print(#[from] io::Error),
}

/// Carries out the command.
pub(super) async fn run(command: Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let shown = match command {
        Command::Ls { config, list } => {
            let store = SqliteStore::open_read_only(&store_path(&config.config)?)?;
            list_at(&store, &list, SystemClock.now(), out)
        }
        Command::Show { config, show } => {
            let store = SqliteStore::open_read_only(&store_path(&config.config)?)?;
            show_at(&store, &show, SystemClock.now(), out)
        }
        Command::Explain { config, asked } => return explain::run(&config.config, &asked, out).await,
    };
    match shown {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(problem @ (ShowEventsError::NotFound(_) | ShowEventsError::Ambiguous { .. })) => {
            writeln!(io::stderr(), "opsward: {problem}")?;
            Ok(ExitCode::from(EXIT_NO_INPUT))
        }
        Err(ShowEventsError::Print(error)) => Err(error.into()),
        Err(other) => Err(other.into()),
    }
}

/// Widest id, type and subject in a list, in characters: a UUID, and a line that stays below 160.
const ID_CHARS_MAX: usize = 36;
const TYPE_CHARS_MAX: usize = 48;
const SUBJECT_CHARS_MAX: usize = 32;
/// Notices of an incident that are shown, the latest: a screen.
const NOTICES_SHOWN: usize = 20;
/// Events named where an id fits several: a screen is not filled.
const CANDIDATES_MAX: usize = 10;

/// Prints the events that `args` asks for, as of `now`.
pub fn list_at(
    store: &Reader,
    args: &ListArgs,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), ShowEventsError> {
    let ListArgs { incident, source, kind, limit, output } = args.clone();
    let any = incident.is_some() || source.is_some() || kind.is_some();
    let rows = store.list_events(&EventFilter { incident, source, kind, id: None, limit: limit as usize })?;
    match output {
        Output::Json => print_json(&json!({ "events": rows }), out)?,
        Output::Table if rows.is_empty() => {
            writeln!(out, "{}", if any { "no such events" } else { "no events yet" })?;
        }
        Output::Table => {
            let head = ["ID", "SOURCE", "TYPE", "AT", "SUBJECT", "AGE", "RUNS"].map(str::to_owned);
            let table: Vec<_> = std::iter::once(head).chain(rows.iter().map(|row| cells(row, now))).collect();
            use Align::{Left, Right};
            for line in aligned(&table, [Left, Left, Left, Left, Left, Right, Right]) {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}

fn cells(row: &EventRow, now: Timestamp) -> [String; 7] {
    let event = &row.event;
    let subject = event.subject.as_deref().unwrap_or_default();
    // Of a resource's name the end says most.
    let subject = subject.rsplit_once(':').map_or(subject, |(_, end)| end);
    [
        cut(&event.id, ID_CHARS_MAX),
        event.source.to_string(),
        cut(&event.kind, TYPE_CHARS_MAX),
        event.transition.map(Transition::as_str).unwrap_or_default().to_owned(),
        cut(subject, SUBJECT_CHARS_MAX),
        span(now.since(row.received)),
        row.runs.len().to_string(),
    ]
}

/// Prints the one event that `args` names, as of `now`.
pub fn show_at(
    store: &Reader,
    args: &ShowArgs,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), ShowEventsError> {
    let row = find(store, &args.id, args.source.as_ref())?;
    let history = History::of(store, &row.event)?;
    if let Output::Json = args.output {
        print_json(&json!({ "event": row, "incident": history.rows }), out)?;
        return Ok(());
    }
    let event = &row.event;
    let told = [
        ("type", Some(event.kind.clone())),
        ("from", Some(event.source.to_string())),
        ("subject", event.subject.clone()),
        ("level", event.level.clone()),
        ("account", event.account.clone()),
        ("region", event.region.clone()),
        ("time", Some(instant(event.time))),
        ("received", Some(format!("{}, {} ago", instant(row.received), span(now.since(row.received))))),
        ("incident", event.incident.clone()),
        ("at", event.transition.map(|one| one.as_str().to_owned())),
    ];
    writeln!(out, "event {}", one_line(&event.id))?;
    for (title, text) in told.into_iter().filter_map(|(title, text)| Some((title, text?))) {
        writeln!(out, "  {title:<8}  {}", one_line(&text))?;
    }
    for run in &row.runs {
        let run = store.find_runs(run.as_str(), 1)?.pop();
        let told = run.map(|run| format!("{}  {}  {}", run.row.id, run.row.policy, run.row.state.as_str()));
        writeln!(out, "  run       {}", told.unwrap_or_default())?;
    }
    if history.rows.len() > 1 {
        writeln!(out)?;
        print_history(&history, event, out)?;
    }
    writeln!(out)?;
    match serde_json::from_str::<Value>(&event.data) {
        Ok(data) => print_json(&data, out)?,
        Err(_) => writeln!(out, "{}", one_line(&event.data))?,
    }
    Ok(())
}

/// What came of the incident, oldest first, and what each was to it; the event shown is marked.
fn print_history(
    history: &History,
    shown: &opsward_core::event::Event,
    out: &mut dyn Write,
) -> Result<(), io::Error> {
    let head = ["", "RECEIVED", "AT", "NEWS", "SOURCE", "ID", "RUNS"].map(str::to_owned);
    let skipped = history.rows.len().saturating_sub(NOTICES_SHOWN);
    let rows = history.rows.iter().zip(&history.news).skip(skipped).map(|(row, news)| {
        let is_shown = (&row.event.source, &row.event.id) == (&shown.source, &shown.id);
        [
            if is_shown { ">" } else { "" }.to_owned(),
            instant(row.received),
            row.event.transition.map(Transition::as_str).unwrap_or_default().to_owned(),
            news.map(history::word).unwrap_or_default().to_owned(),
            row.event.source.to_string(),
            cut(&row.event.id, ID_CHARS_MAX),
            row.runs.len().to_string(),
        ]
    });
    let table: Vec<_> = std::iter::once(head).chain(rows).collect();
    use Align::{Left, Right};
    for line in aligned(&table, [Left, Left, Left, Left, Left, Left, Right]) {
        writeln!(out, "{line}")?;
    }
    if skipped > 0 {
        writeln!(out, "and {skipped} before; `opsward event ls --incident` lists them")?;
    }
    Ok(())
}

/// The event that `prefix` means.
fn find(store: &Reader, prefix: &str, source: Option<&SourceName>) -> Result<EventRow, ShowEventsError> {
    // As `ls` cuts it.
    let prefix = prefix.trim_end_matches('…');
    let filter = EventFilter {
        id: Some(prefix.to_owned()),
        source: source.cloned(),
        limit: CANDIDATES_MAX,
        ..EventFilter::default()
    };
    let mut found = store.list_events(&filter)?;
    if found.iter().any(|row| row.event.id == prefix) {
        found.retain(|row| row.event.id == prefix);
    }
    match found.len() {
        0 => Err(ShowEventsError::NotFound(prefix.to_owned())),
        1 => Ok(found.swap_remove(0)),
        _ => {
            let name = |row: &EventRow| format!("{}  {}", one_line(&row.event.id), row.event.source);
            let candidates = found.iter().map(name).collect();
            Err(ShowEventsError::Ambiguous { prefix: prefix.to_owned(), candidates })
        }
    }
}

/// `2025-11-23 13:14:02.123 UTC`.
fn instant(at: Timestamp) -> String {
    at.to_string().replacen('T', " ", 1).replacen('Z', " UTC", 1)
}

#[cfg(test)]
mod tests;

//! `opsward source kinds|ls|status|setup|drill`: which sources of events there can be and are, what comes from them, and how a cloud is
//! pointed at them. Leaves reading what came to `status`, what to enter in a cloud to `setup`, having it done to `apply`, and test
//! events to `drill`. Tested in `tests/tests/it/sources.rs` and `setup.rs`.

mod apply;
mod ask;
mod drill;
mod setup;
mod status;
mod steps;

use super::Config;
use super::runs::Output;
use super::text::{Align, aligned, print_json};
use crate::service::read_settings;
use anyhow::Context as _;
use opsward_core::config::{Comes, HostSettings, SourceSettings};
use opsward_core::event::{Route, SourceKind};
use opsward_core::id::SourceName;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;

/// What to do with sources.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List the kinds of sources: how their events come, and what is believed of them
    Kinds {
        /// How to print them
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// List the sources of the configuration
    Ls {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// How to print them
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show what came from each source, and what was refused
    Status {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// Only this source
        name: Option<SourceName>,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print what points the cloud at this host, calls where there is an API and steps in the console; or have the calls made
    Setup(setup::SetupArgs),
    /// Have the cloud send a test event, or say how to, and wait until it has arrived
    Drill(drill::DrillArgs),
}

/// Does it.
pub(super) async fn run(command: Command, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Kinds { output } => kinds(output, out)?,
        Command::Ls { config, output } => list(&read_settings(&config.config)?, output, out)?,
        Command::Status { config, name, output } => {
            return status::status(&config.config, name.as_ref(), output, out).await;
        }
        Command::Setup(args) => return setup::setup(&args, out).await,
        Command::Drill(args) => return drill::drill(&args, out).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn kinds(output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    let kinds = SourceKind::ALL.iter().copied();
    match output {
        Output::Json => {
            let kind = |kind: SourceKind| json!({ "kind": kind, "comes": comes(kind.route()), "authenticity": kind.authenticity() });
            print_json(&json!({ "kinds": kinds.map(kind).collect::<Vec<_>>() }), out)?;
        }
        Output::Table => {
            let row = |kind: SourceKind| {
                [kind.as_str(), comes(kind.route()), kind.authenticity()].map(str::to_owned)
            };
            print_table(["KIND", "COMES", "AUTHENTICITY"], kinds.map(row).collect(), out)?;
        }
    }
    Ok(())
}

fn list(settings: &HostSettings, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    let sources = settings.sources.values();
    match output {
        Output::Json => {
            let source = |source: &SourceSettings| -> Value {
                json!({ "name": source.name, "kind": source.kind, "account": source.account,
                    "comes": comes(source.kind.route()), "where": place(source) })
            };
            print_json(&json!({ "sources": sources.map(source).collect::<Vec<_>>() }), out)?;
        }
        Output::Table if settings.sources.is_empty() => {
            writeln!(out, "no sources: docs/sources.md has examples")?
        }
        Output::Table => {
            let row = |source: &SourceSettings| {
                let account = source.account.as_ref().map_or("-".to_owned(), ToString::to_string);
                [source.name.to_string(), source.kind.to_string(), account, place(source)]
            };
            print_table(["NAME", "KIND", "ACCOUNT", "WHERE"], sources.map(row).collect(), out)?;
        }
    }
    Ok(())
}

/// How events come, in a word or two.
fn comes(route: Route) -> &'static str {
    match route {
        Route::Posted => "posted to us",
        Route::Queue => "read from a queue",
        Route::LogStore => "read from a log store",
        Route::File => "read from a file",
    }
}

/// Where a source's events are, or come to. The token of a path is for nobody to see.
fn place(source: &SourceSettings) -> String {
    match &source.comes {
        Comes::Posted(_) => format!("/hooks/{}/<token>", source.name),
        Comes::File(file) => file.path.display().to_string(),
        Comes::Queue(queue) => format!("{} at {}", queue.name, queue.endpoint),
        Comes::LogStore(store) => format!("{} at {}", store.name, store.endpoint),
    }
}

/// The source of that name.
fn find<'s>(settings: &'s HostSettings, name: &SourceName) -> anyhow::Result<&'s SourceSettings> {
    settings.sources.get(name).with_context(|| {
        let known: Vec<&str> = settings.sources.keys().map(SourceName::as_str).collect();
        match known.as_slice() {
            [] => format!("no source is called `{name}`: there are none"),
            _ => format!("no source is called `{name}`; there are {}", known.join(", ")),
        }
    })
}

fn print_table<const N: usize>(
    head: [&str; N],
    rows: Vec<[String; N]>,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    aligned(&rows, [Align::Left; N]).into_iter().try_for_each(|line| writeln!(out, "{line}"))
}

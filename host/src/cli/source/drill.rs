//! `opsward source drill`: says how to have a test event sent, and waits until it has come all the way: through the cloud, its rule, the
//! network, the host and into the store. Leaves how each kind is asked for one to `steps`.

use super::steps::{self, Lang};
use super::{find, setup};
use crate::cli::Config;
use crate::cli::host_admin::{self, Taker};
use crate::cli::runs::Output;
use crate::cli::text::{print_json, span};
use crate::clock::{Clock as _, SystemClock};
use crate::service::read_settings;
use crate::store::Store as _;
use crate::store::sqlite::SqliteStore;
use anyhow::bail;
use opsward_core::id::SourceName;
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What `opsward source drill` was told.
#[derive(clap::Args)]
pub struct DrillArgs {
    #[command(flatten)]
    config: Config,
    /// The source
    name: SourceName,
    /// How many seconds to wait for the event
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: u64,
    /// The language of what is printed, if not that of the terminal
    #[arg(long, value_enum)]
    lang: Option<Lang>,
    /// How to print what arrived
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Between two looks whether it has come.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Exit code 0: an event came; 1: none did.
pub(super) async fn drill(args: &DrillArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let settings = read_settings(&args.config.config)?;
    let source = find(&settings, &args.name)?;
    let path = host_admin::store_of(&args.config.config, &settings)?;
    if let Taker::Store(store) = Taker::of(&path)? {
        store.close().await?;
        bail!("no host runs that could receive it: start `opsward serve` first");
    }
    let store = SqliteStore::open_read_only(&path)?;
    let before = store.latest_event()?;
    if args.output == Output::Table {
        let lang = args.lang.unwrap_or_else(Lang::of_terminal);
        writeln!(out, "{}\n", steps::drill(source.kind, lang, &setup::hook_url(source, None)))?;
        writeln!(out, "waiting {} s for an event from {} ...", args.wait, source.name)?;
        out.flush()?;
    }
    let begun = Instant::now();
    let arrived = loop {
        let found = store.next_event(&args.name, before)?;
        if found.is_some() || begun.elapsed() >= Duration::from_secs(args.wait) {
            break found;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let Some((event, received)) = arrived else {
        writeln!(
            std::io::stderr(),
            "opsward: nothing came within {} s: `opsward source status {}` shows what was refused",
            args.wait,
            args.name
        )?;
        return Ok(ExitCode::from(1));
    };
    let took = begun.elapsed();
    match args.output {
        Output::Json => print_json(
            &json!({ "event": event, "received": received, "waited_ms": took.as_millis() as u64 }),
            out,
        )?,
        Output::Table => {
            let age = span(SystemClock.now().since(event.time));
            writeln!(out, "arrived after {}: {} {}", span(took), event.kind, event.id)?;
            writeln!(
                out,
                "  subject {}, of {} ({age} ago)",
                event.subject.as_deref().unwrap_or("-"),
                event.time
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `opsward run resolve` and `opsward run retry`: a person's decision on a run. Where a host has the store open, it is told
//! through its admin listener; else the decision is written here. Leaves deciding to `crate::resolve`.

use super::runs::{CANDIDATES_MAX, Output, find_one};
use crate::clock::{Clock as _, SystemClock};
use crate::resolve::{Decided, Decision, decide};
use crate::store::sqlite::{SqliteStore, in_use};
use crate::store::{Store as _, StoreError};
use anyhow::{Context as _, bail};
use opsward_core::config::StoreSettings;
use opsward_core::run::Settlement;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What `opsward run resolve` was told.
#[derive(Debug, Clone, clap::Args)]
pub struct ResolveArgs {
    /// The run's id, or enough of its beginning to tell it from others
    id: String,
    #[command(flatten)]
    answer: Answer,
    #[command(flatten)]
    who: Who,
}

/// Exactly one of these.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct Answer {
    /// The effect took place, by this request of the cloud's ("" if unknown): the policy goes on with it
    #[arg(long, value_name = "REQUEST_ID")]
    done: Option<String>,
    /// The effect did not take place: the run goes on and makes the call now
    #[arg(long)]
    not_done: bool,
    /// Nobody will know: the run is given up, and its natural key stays taken
    #[arg(long)]
    abandon: bool,
}

/// What `opsward run retry` was told.
#[derive(Debug, Clone, clap::Args)]
pub struct RetryArgs {
    /// The run's id, or enough of its beginning to tell it from others
    id: String,
    #[command(flatten)]
    who: Who,
}

/// Who decides, on what, and how the answer is printed.
#[derive(Debug, Clone, clap::Args)]
struct Who {
    /// The run's epoch as `opsward run show` printed it; refused where the run has moved on since then
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
    /// Who decides; kept with the run
    #[arg(long, value_name = "NAME", default_value_t = caller())]
    by: String,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Carries out `opsward run resolve`.
pub(super) async fn resolve(
    config: &Path,
    args: ResolveArgs,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let Answer { done, not_done, .. } = args.answer;
    let (settlement, told) = match (done, not_done) {
        (Some(request_id), _) => (Settlement::Done { request_id }, "goes on: the effect took place"),
        (None, true) => (Settlement::NotDone, "goes on, and makes the call now"),
        (None, false) => (Settlement::Abandon, "is given up"),
    };
    tell(config, &args.id, Decision::Resolve(settlement), args.who, told, out).await
}

/// Carries out `opsward run retry`.
pub(super) async fn retry(config: &Path, args: RetryArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    tell(
        config,
        &args.id,
        Decision::Retry,
        args.who,
        "is tried again: what it has made is not made twice",
        out,
    )
    .await
}

async fn tell(
    config: &Path,
    id: &str,
    decision: Decision,
    who: Who,
    told: &str,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    if !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        bail!("`{id}` is no run's id: `opsward run ls` lists them");
    }
    let settings = crate::service::read_settings(config)?;
    let StoreSettings::Sqlite { path } = &settings.store;
    let path = config.parent().unwrap_or(Path::new("")).join(path);
    path.metadata().with_context(|| format!("no store at `{}`", path.display()))?;
    let seen = find_one(SqliteStore::open_read_only(&path)?.find_runs(id, CANDIDATES_MAX)?, id)?;
    if let (Output::Table, Some(note)) = (who.output, &seen.row.note) {
        writeln!(out, "run {} is {}: {note}", seen.row.id, seen.row.state.as_str())?;
    }
    let decided = Decided { decision, by: who.by, epoch: who.epoch.unwrap_or(seen.epoch) };
    let run = seen.row.id.as_str();
    let by_whom = match SqliteStore::open(&path) {
        Ok(store) => {
            let written = decide(store.as_ref(), run, &decided, SystemClock.now()).await;
            store.close().await?;
            written?;
            "written; the host goes on with it at its next start"
        }
        Err(StoreError::InUse { .. }) => {
            ask_host(&path, run, &decided).await?;
            "the running host was told"
        }
        Err(other) => return Err(other.into()),
    };
    match who.output {
        Output::Table => writeln!(out, "run {run} {told} ({by_whom})")?,
        Output::Json => {
            let settled = serde_json::json!({ "run": run, "epoch": decided.epoch, "was": seen.row.note });
            writeln!(out, "{settled}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Has the host that has the store open write it.
async fn ask_host(store: &Path, id: &str, decided: &Decided) -> anyhow::Result<()> {
    let admin =
        in_use::admin_of(store).context("a host has the store open, but is not ready yet: try again")?;
    let url = format!("http://{admin}/api/v1/runs/{id}/decision");
    let client = reqwest::Client::builder().no_proxy().timeout(ADMIN_PATIENCE).build()?;
    let body = serde_json::to_string(decided)?;
    let request = client.post(url).header("content-type", "application/json").body(body);
    let answer = request.send().await;
    let answer =
        answer.with_context(|| format!("a host has the store open, but does not answer at {admin}"))?;
    let told: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
    match (told["run"].as_str(), told["error"].as_str()) {
        (Some(_), _) => Ok(()),
        (None, Some(problem)) => bail!("{problem}"),
        (None, None) => bail!("{admin} answered what no opsward host answers"),
    }
}

/// How long the host may take: it waits for its disk.
const ADMIN_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Who runs this command, as the system names them; behind sudo whoever called it.
fn caller() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| "somebody at the command line".to_owned())
}

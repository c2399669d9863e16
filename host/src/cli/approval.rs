//! `opsward approval ls|show|approve|deny|link`: what runs ask, and people's answers. Reads the store beside a running host; a
//! decision goes to that host, or is written here where none runs. Leaves who may decide to `opsward_core::approval`, writing to
//! `crate::approve`.

use super::host_admin::{self, Taker};
use super::runs::{CANDIDATES_MAX, Output};
use super::text::{Align, aligned, print_json, span};
use super::{Config, approval_show};
use crate::admin::approvals::shown;
use crate::approve::{self, ApprovalId, Said};
use crate::clock::{Clock as _, SystemClock};
use crate::store::sqlite::{Reader, SqliteStore};
use crate::store::{RunDetail, Store as _};
use anyhow::{Context as _, bail};
use opsward_core::approval::{Pending, Then, Verdict};
use opsward_core::id::ApproverName;
use opsward_core::time::Timestamp;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to do with approvals.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List what waits, the least time left first
    Ls {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// At most this many
        #[arg(short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// How to print them
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Show exactly what would be done, and the command that approves it
    Show {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// The id as `ls` prints it, or enough of its beginning
        id: ApprovalId,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Approve exactly what `show` has shown
    Approve(Decide),
    /// Deny it: the run fails, and nothing of it is done
    Deny(Decide),
    /// Print a link by which one person decides once, for a notification
    Link {
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// The id as `ls` prints it, or enough of its beginning
        id: ApprovalId,
        /// Whose link it is: one of the policy's approvers
        #[arg(long = "for", value_name = "NAME")]
        by: ApproverName,
        /// A link that denies instead
        #[arg(long)]
        deny: bool,
        /// How the admin listener is reached from where the link is opened, if not by its own address
        #[arg(long, value_name = "URL")]
        base: Option<String>,
    },
}

/// A decision.
#[derive(clap::Args)]
pub struct Decide {
    #[command(flatten)]
    config: Config,
    /// The id as `ls` prints it, or enough of its beginning
    id: ApprovalId,
    /// The hash that `show` has shown: what it stands for is decided on, and nothing else
    #[arg(long, value_name = "HASH")]
    hash: String,
    /// Who decides: one of the policy's approvers
    #[arg(long, value_name = "NAME", default_value_t = host_admin::caller())]
    by: String,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Carries out the command.
pub(super) async fn run(command: Command, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Ls { config, limit, output } => {
            let waiting = reader(&config.config)?.list_approvals(limit as usize)?;
            list(&waiting, SystemClock.now(), output, out)?;
        }
        Command::Show { config, id, output } => {
            let run = one(&reader(&config.config)?, &id)?;
            let pending = waits(&run, &id)?;
            match output {
                Output::Json => print_json(&shown(&run, &pending), out)?,
                Output::Table => approval_show::print(&run, &pending, SystemClock.now(), out)?,
            }
        }
        Command::Approve(args) => decide(args, Verdict::Approve, out).await?,
        Command::Deny(args) => decide(args, Verdict::Deny, out).await?,
        Command::Link { config, id, by, deny, base } => {
            let verdict = if deny { Verdict::Deny } else { Verdict::Approve };
            writeln!(out, "{}", link(&config.config, &id, &by, verdict, base)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(waiting: &[RunDetail], now: Timestamp, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    let asked: Vec<_> = waiting.iter().filter_map(|run| Some((run, approve::asks(run)?))).collect();
    if let Output::Json = output {
        let approvals: Vec<_> = asked.iter().map(|(run, pending)| shown(run, pending)).collect();
        print_json(&json!({ "approvals": approvals }), out)?;
        return Ok(());
    }
    if asked.is_empty() {
        writeln!(out, "nothing waits for an approval")?;
        return Ok(());
    }
    let row = |(run, pending): &(&RunDetail, Pending<'_>)| {
        let asked = pending.asked;
        [
            format!("{}-{}", run.row.id, asked.nth),
            run.row.policy.to_string(),
            asked.plan.effects().to_string(),
            format!("{} of {}", pending.by.len(), asked.minimum),
            span(now.since(pending.asked_at)),
            span(asked.expires.since(now)),
            if asked.changed.is_empty() { String::new() } else { format!("changed: {}", asked.changed) },
        ]
    };
    let head = ["ID", "POLICY", "EFFECTS", "APPROVED", "AGE", "LEFT", "NOTE"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(asked.iter().map(row)).collect();
    use Align::{Left, Right};
    for line in aligned(&rows, [Left, Left, Right, Left, Right, Right, Left]) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

async fn decide(args: Decide, verdict: Verdict, out: &mut dyn Write) -> anyhow::Result<()> {
    let Decide { config, id, hash, by, output } = args;
    let by: ApproverName = by.parse().context("name an approver with --by")?;
    let path = store_of(&config.config)?;
    let run = one(&SqliteStore::open_read_only(&path)?, &id)?;
    let nth = waits(&run, &id)?.asked.nth;
    let id = ApprovalId { run: run.row.id.to_string(), nth: Some(nth) };
    let said = Said { decision: verdict, hash, by: Some(by.clone()) };
    let told = match Taker::of(&path)? {
        Taker::Store(store) => {
            let decided = approve::decide(store.as_ref(), &id, by.clone(), &said, SystemClock.now()).await;
            store.close().await?;
            match decided? {
                Then::Waits(_) => "waits for others to approve (written; no host runs)".to_owned(),
                Then::GoesOn => "goes on at the next start of the host (written; no host runs)".to_owned(),
                Then::Ends => "has failed, and nothing of it was done (written; no host runs)".to_owned(),
            }
        }
        Taker::Host(admin) => {
            let page = format!("/api/v1/approvals/{}-{nth}/decision", run.row.id);
            let answer = host_admin::post(admin, &page, &said).await?;
            answer["run"].as_str().unwrap_or_default().to_owned()
        }
    };
    let done = match verdict {
        Verdict::Approve => "approved",
        Verdict::Deny => "denied",
    };
    match output {
        Output::Table => writeln!(out, "{done} by {by}: run {} {told}", run.row.id)?,
        Output::Json => {
            let id = format!("{}-{nth}", run.row.id);
            writeln!(out, "{}", json!({ "id": id, "decision": verdict, "by": by, "run": told }))?;
        }
    }
    Ok(())
}

fn link(
    config: &Path,
    id: &ApprovalId,
    by: &ApproverName,
    verdict: Verdict,
    base: Option<String>,
) -> anyhow::Result<String> {
    let settings = crate::service::read_settings(config)?;
    let path = host_admin::store_of(config, &settings)?;
    let run = one(&SqliteStore::open_read_only(&path)?, id)?;
    let asked = waits(&run, id)?.asked;
    if !asked.approvers.contains(by) {
        let names: Vec<&str> = asked.approvers.iter().map(ApproverName::as_str).collect();
        bail!("`{by}` is not an approver of this policy: `approvers` in its file names {}", names.join(", "));
    }
    let key = approve::key(&path).context("cannot read the key that links are signed with")?;
    let own = || settings.admin.listen.map(|address| format!("http://{address}"));
    let base = base
        .or_else(own)
        .context("a link needs an address: set `listen` under `[admin]`, or name one with --base")?;
    let token = approve::link(&run, asked, by, verdict).token(&key);
    Ok(format!("{}/approve/{token}", base.trim_end_matches('/')))
}

/// The run that `id` means.
fn one(store: &Reader, id: &ApprovalId) -> anyhow::Result<RunDetail> {
    Ok(approve::only(store.find_runs(&id.run, CANDIDATES_MAX)?, id)?)
}

/// What it asks, which must be what `id` names.
fn waits<'r>(run: &'r RunDetail, id: &ApprovalId) -> anyhow::Result<Pending<'r>> {
    let pending = approve::asks(run);
    let Some(pending) = pending else {
        let note = run.row.note.as_deref().unwrap_or_default();
        bail!("run {} waits for no approval: it is {} {note}", run.row.id, run.row.state.as_str());
    };
    match id.nth.filter(|nth| *nth != pending.asked.nth) {
        Some(_) => bail!("the run asks something else by now: `opsward approval show {}`", run.row.id),
        None => Ok(pending),
    }
}

fn reader(config: &Path) -> anyhow::Result<Reader> {
    Ok(SqliteStore::open_read_only(&store_of(config)?)?)
}

fn store_of(config: &Path) -> anyhow::Result<PathBuf> {
    host_admin::store_of(config, &crate::service::read_settings(config)?)
}

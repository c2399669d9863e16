//! `opsward halt` and `opsward resume`: the kill switch. Leaves keeping it to the store, obeying to every host on that, and
//! where a command's change goes to `host_admin`.

use super::host_admin::{self, Taker};
use super::runs::Output;
use super::text::{Align, aligned};
use crate::clock::{Clock as _, SystemClock};
use crate::store::Store as _;
use crate::store::sqlite::{Failing, SqliteStore};
use anyhow::bail;
use opsward_core::guardrail::Halt;
use opsward_core::id::PolicyName;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What `opsward halt` was told.
#[derive(Debug, Clone, clap::Args)]
pub struct HaltArgs {
    #[command(flatten)]
    whom: Whom,
    /// Why; shown wherever the halt is
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
    /// Only show what is halted
    #[arg(long, conflicts_with_all = ["policy", "why"])]
    list: bool,
}

/// What `opsward resume` was told.
#[derive(Debug, Clone, clap::Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    whom: Whom,
}

#[derive(Debug, Clone, clap::Args)]
struct Whom {
    /// Only this policy, instead of all
    #[arg(long, value_name = "NAME")]
    policy: Option<PolicyName>,
    /// Who says so
    #[arg(long, value_name = "NAME", default_value_t = host_admin::caller())]
    by: String,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Whom {
    fn named(&self) -> String {
        self.policy.as_ref().map_or("all policies".to_owned(), |policy| format!("policy {policy}"))
    }
}

/// Carries out `opsward halt`.
pub(super) async fn halt(config: &Path, args: HaltArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let settings = crate::service::read_settings(config)?;
    let store = host_admin::store_of(config, &settings)?;
    if args.list {
        return list(&store, args.whom.output, out);
    }
    let Whom { policy, by, output } = &args.whom;
    if let Some(policy) = policy {
        let plugins = config.parent().unwrap_or(Path::new("")).join(&settings.plugins.dir);
        if !plugins.join(format!("{policy}.toml")).exists() {
            bail!("no policy is called `{policy}` in `{}`: nothing was halted", plugins.display());
        }
    }
    let taken = match Taker::of(&store)? {
        Taker::Store(store) => {
            let (policy, by, why, at) = (policy.clone(), by.clone(), args.why.clone(), SystemClock.now());
            store.halt(Halt { policy, by, why, at }).await?;
            store.close().await?;
            "written; no host runs"
        }
        Taker::Host(admin) => {
            let body = json!({ "policy": policy, "by": by, "why": args.why });
            host_admin::post(admin, "/api/v1/halt", &body).await?;
            "the running host obeys within a second"
        }
    };
    match output {
        Output::Table => {
            let whom = args.whom.named();
            let resume = policy.as_ref().map(|policy| format!(" --policy {policy}")).unwrap_or_default();
            writeln!(out, "{whom}: nothing is sent until `opsward resume{resume}` ({taken})")?;
        }
        Output::Json => writeln!(out, "{}", json!({ "halted": policy, "by": by }))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Carries out `opsward resume`.
pub(super) async fn resume(config: &Path, args: ResumeArgs, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let settings = crate::service::read_settings(config)?;
    let store = host_admin::store_of(config, &settings)?;
    let Whom { policy, by, output } = &args.whom;
    let ended = match Taker::of(&store)? {
        Taker::Store(store) => {
            let ended = store.resume(policy.clone(), by.clone(), SystemClock.now()).await?;
            store.close().await?;
            ended
        }
        Taker::Host(admin) => {
            let body = json!({ "policy": policy, "by": by });
            host_admin::post(admin, "/api/v1/resume", &body).await?["resumed"] == true
        }
    };
    let whom = args.whom.named();
    match output {
        Output::Table if ended => writeln!(
            out,
            "{whom}: no longer halted, and no failure counts any more; runs go on within seconds"
        )?,
        Output::Table => writeln!(out, "{whom}: not halted; `opsward halt --list` shows what is")?,
        Output::Json => writeln!(out, "{}", json!({ "resumed": ended }))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(store: &Path, output: Output, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let store = SqliteStore::open_read_only(store)?;
    let (halts, failing) = (store.halts()?, store.failing()?);
    if let Output::Json = output {
        writeln!(out, "{}", json!({ "halts": halts, "failing": failing }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for Failing { policy, guardrail, failures, last } in &failing {
        writeln!(
            out,
            "policy {policy}: its {guardrail} counts failures: {failures}, the last at {last}; `opsward resume --policy \
             {policy}` forgets them"
        )?;
    }
    if halts.is_empty() {
        writeln!(out, "nothing is halted")?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |halt: &Halt| {
        let policy = halt.policy.as_ref().map_or("(all)".to_owned(), ToString::to_string);
        [policy, halt.at.to_string(), halt.by.clone(), halt.why.clone()]
    };
    let head = ["POLICY", "SINCE", "BY", "WHY"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(halts.iter().map(row)).collect();
    for line in aligned(&rows, [Align::Left; 4]) {
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

//! `opsward policy show`: what one policy may do: all that its plugin asks for beside all that the operator grants, with the plugin's
//! reasons. Leaves reading and judging the files to `check`. Tested in `tests/tests/it/check.rs`.

use super::Config;
use super::check::{Finding, PolicyReport, grant_cells, grant_head, guests, inspect, table};
use super::runs::Output;
use super::text::print_json;
use crate::clock::{Clock as _, SystemClock};
use crate::plugin::guests::Guests;
use anyhow::Context as _;
use opsward_core::grant::MatrixRow;
use opsward_core::time::Timestamp;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What to do with policies.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Show what one policy may do, and what its plugin asks for
    Show {
        /// Its name: that of its file
        name: String,
        /// Where the configuration is
        #[command(flatten)]
        config: Config,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// Does it.
pub async fn run(command: &Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let Command::Show { name, config, output } = command;
    // Thrown away afterwards, as `opsward check` does.
    let cache = tempfile::tempdir().context("cannot create a temporary directory")?;
    show_at(&config.config, name, SystemClock.now(), guests(cache.path())?, *output, out).await
}

/// `show`, as if it were `now`, with the plugins looked at by `guests`. Exit code 0: shown; 1: the policy cannot be used; 66: there
/// is none of this name.
pub async fn show_at(
    config: &Path,
    name: &str,
    now: Timestamp,
    guests: impl Into<Guests>,
    output: Output,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let text =
        std::fs::read_to_string(config).with_context(|| format!("cannot read {}", config.display()))?;
    let report = inspect(config, &text, now, guests).await?;
    if let Some(policy) = report.policies.iter().find(|policy| policy.name == name) {
        match output {
            Output::Json => print_json(policy, out)?,
            Output::Table => write!(out, "{}", show(policy))?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let file = format!("{name}.toml");
    let is_its = |finding: &&Finding| {
        finding.is_error() && Path::new(&finding.file).file_name().is_some_and(|known| known == file.as_str())
    };
    let findings: Vec<&Finding> = report.findings.iter().filter(is_its).collect();
    for finding in &findings {
        writeln!(std::io::stderr(), "{}", finding.text)?;
    }
    if !findings.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let known: Vec<&str> = report.policies.iter().map(|policy| policy.name.as_str()).collect();
    let known = if known.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are {}", known.join(", "))
    };
    writeln!(std::io::stderr(), "opsward: no policy is called `{name}`; {known}")?;
    Ok(ExitCode::from(super::EXIT_NO_INPUT))
}

/// The policy for people.
fn show(policy: &PolicyReport) -> String {
    let account = policy.account.as_deref().unwrap_or("none");
    let guardrails: Vec<String> =
        policy.guardrails.iter().map(|(key, value)| format!("{key} {value}")).collect();
    let about = format!(
        "{}: {}, plugin {}, account {account}\nguardrails: {}\n",
        policy.name,
        policy.mode,
        policy.plugin,
        guardrails.join(", ")
    );
    let all: Vec<&MatrixRow> = policy.grants.iter().collect();
    let [action, granted, class, regions, resources, window] = grant_head(&all);
    let rows = all.iter().map(|row| {
        let [action, granted, class, regions, resources, window] = grant_cells(row);
        [action, granted, class, regions, resources, window, reason(policy, row)]
    });
    let head = [action, granted, class, regions, resources, window, "ASKED FOR"];
    match table(head, rows.collect()) {
        Some(table) => format!("{about}\n{table}"),
        None => format!("{about}\nIts plugin asks for nothing, and nothing is granted.\n"),
    }
}

/// Why the plugin asks for it, in its own words.
fn reason(policy: &PolicyReport, row: &MatrixRow) -> String {
    let covers = |asked: &str| match asked.strip_suffix('*') {
        Some(prefix) => row.action.starts_with(prefix),
        None => asked == row.action,
    };
    let permission = policy.asks.iter().find(|permission| covers(&permission.action));
    permission.map(|permission| permission.reason.clone()).unwrap_or_default()
}

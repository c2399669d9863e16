//! `opsward check`: reads the configuration, the policy files and the plugins as `serve` would, and shows what each policy
//! may do, when its schedules fire next, and everything that is wrong, with its place and what to write instead. Changes
//! nothing and calls no cloud. `inspect` gathers, this file prints. Tested in `tests/tests/it/check.rs`.

mod inspect;

pub(super) use inspect::live_policies;
pub use inspect::{
    CheckReport, Finding, PluginReport, PolicyReport, ProtectedReport, ScheduleReport, guests, inspect,
};

use super::runs::Output;
use super::text::{Align, aligned, print_json};
use crate::clock::{Clock as _, SystemClock};
use crate::plugin::guests::Guests;
use anyhow::Context as _;
use opsward_core::grant::{MatrixRow, Standing};
use opsward_core::time::Timestamp;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What `opsward check` was asked.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Checks what `config` names and prints the result. Exit code 0: no errors; 1: errors; 2: `config` cannot be read.
/// Warnings are shown and change no exit code.
pub async fn run(config: &Path, args: &CheckArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Thrown away afterwards: a check must not leave files of another owner in the service's own cache.
    let cache = tempfile::tempdir().context("cannot create a temporary directory")?;
    run_at(config, SystemClock.now(), guests(cache.path())?, args.output, out).await
}

/// `run`, as if it were `now`, with the plugins looked at by `guests`.
pub async fn run_at(
    config: &Path,
    now: Timestamp,
    guests: impl Into<Guests>,
    output: Output,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    const EXIT_USAGE: u8 = 2;
    let text = match std::fs::read_to_string(config) {
        Ok(text) => text,
        Err(problem) => {
            writeln!(std::io::stderr(), "error: cannot read {}: {problem}", config.display())?;
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let report = inspect(config, &text, now, guests).await?;
    match output {
        Output::Json => print_json(&report, out)?,
        Output::Table => write!(out, "{}", show(&report))?,
    }
    Ok(if report.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The report for people.
fn show(report: &CheckReport) -> String {
    let mut sections = Vec::new();
    let plugins = report.plugins.iter().map(plugin_row).collect();
    sections.extend(table(["PLUGIN", "VERSION", "DIGEST", "STATE"], plugins));
    let all: Vec<&MatrixRow> = report.policies.iter().flat_map(|policy| &policy.grants).collect();
    let [action, granted, class, regions, resources, window] = grant_head(&all);
    let head = ["POLICY", "MODE", "ACCOUNT", action, granted, class, regions, resources, window];
    sections.extend(table(head, report.policies.iter().flat_map(policy_rows).collect()));
    let schedules = report.policies.iter().flat_map(schedule_rows).collect();
    sections.extend(table(["POLICY", "SCHEDULE", "FIRES NEXT"], schedules));
    let account = |protected: &ProtectedReport| protected.account.clone().unwrap_or_else(|| "any".to_owned());
    let protected = report.protected.iter().map(|one| [one.resources.clone(), account(one)]).collect();
    sections.extend(table(["PROTECTED", "ACCOUNT"], protected));
    sections.extend(report.findings.iter().map(|finding| format!("{}\n", finding.text)));
    sections.push(format!("{}\n", summary(report)));
    sections.join("\n")
}

/// The rows below a head; nothing where there are no rows.
pub(super) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> Option<String> {
    let lines: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let text = aligned(&lines, [Align::Left; N]).into_iter().map(|line| line + "\n").collect();
    (lines.len() > 1).then_some(text)
}

fn plugin_row(plugin: &PluginReport) -> [String; 4] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let state = match (&plugin.refused, plugin.policies.as_slice()) {
        (Some(_), _) => "refused, see below".to_owned(),
        (None, []) => "good, used by no policy".to_owned(),
        (None, policies) => format!("good, used by {}", policies.join(", ")),
    };
    [plugin.file.clone(), or_dash(&plugin.version), or_dash(&plugin.digest), state]
}

fn policy_rows(policy: &PolicyReport) -> Vec<[String; 9]> {
    let account = policy.account.clone().unwrap_or_else(|| "-".to_owned());
    let first = [policy.name.clone(), policy.mode.clone(), account];
    if policy.grants.is_empty() {
        let [name, mode, account] = first;
        let [nothing, dash] = ["nothing", "-"].map(str::to_owned);
        let window = String::new();
        return vec![[name, mode, account, nothing, dash.clone(), dash.clone(), dash.clone(), dash, window]];
    }
    let rows = policy.grants.iter().enumerate().map(|(at, row)| {
        let [name, mode, account] = if at == 0 { first.clone() } else { Default::default() };
        let [action, granted, class, regions, resources, window] = grant_cells(row);
        [name, mode, account, action, granted, class, regions, resources, window]
    });
    rows.collect()
}

/// Names of the columns of `grant_cells`; that for windows is left out where no grant has one.
pub(super) fn grant_head(rows: &[&MatrixRow]) -> [&'static str; 6] {
    let has_window = rows.iter().any(|row| row.grant.as_ref().is_some_and(|grant| grant.window.is_some()));
    ["ACTION", "GRANTED", "CLASS", "REGIONS", "RESOURCES", if has_window { "WINDOW" } else { "" }]
}

/// One line of what is asked for beside what is granted.
pub(super) fn grant_cells(row: &MatrixRow) -> [String; 6] {
    let dash = || "-".to_owned();
    let any =
        |list: &Option<Vec<String>>| list.as_ref().map_or_else(|| "any".to_owned(), |names| names.join(", "));
    let Some(grant) = &row.grant else {
        return [row.action.clone(), "no".to_owned(), dash(), dash(), dash(), String::new()];
    };
    let granted = match (row.standing, grant.implied_by.as_slice()) {
        (Standing::Unused, _) => "not asked for".to_owned(),
        (_, []) => grant.limit.as_ref().map_or_else(|| "yes".to_owned(), |limit| format!("yes, {limit}")),
        (_, effects) => format!("comes with {}", effects.join(", ")),
    };
    let class = grant.class.as_str().to_owned();
    let window = grant.window.clone().unwrap_or_default();
    [row.action.clone(), granted, class, any(&grant.regions), any(&grant.resources), window]
}

/// A schedule, what it says below it, and the next fire times beside.
fn schedule_rows(policy: &PolicyReport) -> Vec<[String; 3]> {
    let rows = |schedule: &ScheduleReport| {
        let next = |at: usize| schedule.upcoming.get(at).cloned();
        let first = next(0).unwrap_or_else(|| "never again".to_owned());
        [
            [policy.name.clone(), schedule.schedule.clone(), first],
            [String::new(), schedule.reads.en.clone(), next(1).unwrap_or_default()],
            [String::new(), schedule.reads.zh.clone(), next(2).unwrap_or_default()],
        ]
    };
    policy.schedules.iter().flat_map(rows).collect()
}

fn summary(report: &CheckReport) -> String {
    let count =
        |number: usize, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let errors = report.findings.iter().filter(|finding| finding.is_error()).count();
    let warnings = report.findings.len() - errors;
    format!(
        "{}: {}, {}, {}, {}",
        report.config,
        count(report.plugins.len(), "plugin", "plugins"),
        count(report.policies.len(), "policy", "policies"),
        count(errors, "error", "errors"),
        count(warnings, "warning", "warnings"),
    )
}

//! `opsward doctor`: asks each account's cloud who the credential is, and looks whether the service could start here. Changes
//! nothing. `examine` gathers, this file prints; what policies may do is `check`'s. Tested in `tests/tests/it/credentials.rs`.

mod examine;

pub use examine::{AccountReport, DoctorReport, PlaceReport};

use super::EXIT_CONFIG;
use super::runs::Output;
use super::text::{Align, aligned, print_json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What `opsward doctor` was asked.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Examines what `config` names and prints the result. Exit code 0: all is well; 1: findings; 78: `config` is wrong.
pub async fn run(config: &Path, args: &DoctorArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let settings = match crate::service::read_settings(config) {
        Ok(settings) => settings,
        Err(problem) => {
            writeln!(std::io::stderr(), "{problem:#}")?;
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let base = config.parent().unwrap_or(Path::new(""));
    let report = examine::examine(&config.display().to_string(), &settings, base).await?;
    match args.output {
        Output::Json => print_json(&report, out)?,
        Output::Table => write!(out, "{}", show(&report))?,
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The report for people.
fn show(report: &DoctorReport) -> String {
    let head = ["ACCOUNT", "PROVIDER", "CREDENTIAL", "WHO", "EXPIRES", "CLOCK", "ENDPOINT"];
    let accounts = report.accounts.iter().map(account_row).collect();
    let places = report.places.iter().map(|place| {
        let state = if place.is_fine { place.state.clone() } else { format!("{}, see below", place.state) };
        [place.what.clone(), place.at.clone(), state]
    });
    let mut sections = vec![table(head, accounts), table(["PART", "WHERE", "STATE"], places.collect())];
    sections.retain(|section| !section.is_empty());
    if !report.findings.is_empty() {
        sections.push(report.findings.iter().map(|finding| format!("error: {finding}\n")).collect());
    }
    let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    let (accounts, findings) =
        (count(report.accounts.len(), "account"), count(report.findings.len(), "finding"));
    sections.push(format!("{}: {accounts}, {findings}\n", report.config));
    sections.join("\n")
}

fn account_row(account: &AccountReport) -> [String; 7] {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let clock = match account.clock_ahead_ms {
        None => "-".to_owned(),
        Some(0) => "right".to_owned(),
        Some(ms) => format!("{:+} s", -ms / 1000),
    };
    let endpoint = match account.is_reachable {
        Some(true) => account.endpoint.clone(),
        Some(false) => format!("{} gives no answer", account.endpoint),
        None => format!("{} not asked", account.endpoint),
    };
    [
        account.account.clone(),
        account.provider.to_owned(),
        account.credential.clone(),
        or_dash(&account.arn),
        or_dash(&account.expires),
        clock,
        endpoint,
    ]
}

/// The rows below a head; empty where there are no rows.
fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let lines: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    aligned(&lines, [Align::Left; N]).into_iter().map(|line| line + "\n").collect()
}

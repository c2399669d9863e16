//! `opsward audit verify|export`: whether the audit chain is what the host wrote, and its rows for those who keep them elsewhere.
//! Both work beside a running host. Leaves the chain to `store::sqlite`; this file reads what was kept elsewhere, and prints.
//! Tested in `tests/tests/it/audit.rs`.

use super::runs::Output;
use super::text::print_json;
use super::{Config, text};
use crate::store::sqlite::{
    AuditFilter, AuditReport, AuditRow, Expected, ExportAuditError, export_audit, read_checkpoints,
    verify_audit,
};
use anyhow::{Context as _, bail};
use opsward_core::audit::Entry;
use opsward_core::id::{Digest, PolicyName};
use opsward_core::line::{json_line, one_line};
use opsward_core::time::Timestamp;
use serde_json::Value;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to do with the chain.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Go through all of it, and name the first row that is wrong
    Verify(VerifyArgs),
    /// Print its rows, one a line
    Export(ExportArgs),
}

/// What `opsward audit verify` was told.
#[derive(clap::Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    which: Which,
    /// What was kept elsewhere: the hash of a row, or a file of checkpoint lines; may be given again
    #[arg(long, value_name = "HASH|FILE")]
    checkpoint: Vec<String>,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What `opsward audit export` was told.
#[derive(clap::Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    which: Which,
    /// Not what is older: `2025-11-23`, or a time as in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only what is older
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only this policy's effects
    #[arg(long, value_name = "NAME")]
    policy: Option<PolicyName>,
    /// How to print each row
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
}

#[derive(clap::Args, Debug)]
struct Which {
    #[command(flatten)]
    config: Config,
    /// Another file than the configured store, such as a backup
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
}

/// How a row is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Form {
    /// A JSON object a line.
    #[default]
    Jsonl,
    /// Columns with a head, as in RFC 4180.
    Csv,
}

/// Does it. Exit code 0: all is well; 1: there are findings.
pub fn run(command: &Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Verify(args) => {
            let report = verify_audit(&args.which.path()?, &expected(&args.checkpoint)?)?;
            match args.output {
                Output::Json => print_json(&report, out)?,
                Output::Table => print(&report, out)?,
            }
            Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Export(args) => {
            let ExportArgs { since, until, policy, .. } = args;
            let filter = AuditFilter { since: *since, until: *until, policy: policy.clone() };
            let mut out = BufWriter::new(out);
            if args.output == Form::Csv {
                write!(out, "{}\r\n", COLUMNS.join(","))?;
            }
            let exported = export_audit(&args.which.path()?, &filter, |row| match args.output {
                Form::Jsonl => writeln!(out, "{}", json(&row)),
                Form::Csv => write!(out, "{}\r\n", csv(&row)),
            });
            match exported.map(|()| out.flush()) {
                Ok(Ok(())) => Ok(ExitCode::SUCCESS),
                Ok(Err(error)) | Err(ExportAuditError::Write(error)) => Err(error.into()),
                Err(ExportAuditError::Store(error)) => Err(error.into()),
            }
        }
    }
}

impl Which {
    fn path(&self) -> anyhow::Result<PathBuf> {
        self.store.clone().map_or_else(|| super::store_path(&self.config.config), Ok)
    }
}

/// A day begins at midnight, UTC.
fn moment(text: &str) -> Result<Timestamp, String> {
    let of_day = || Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z"));
    Timestamp::parse_rfc3339(text).or_else(of_day).ok_or_else(|| {
        format!("`{}` is no time: write `2025-11-23` or `2025-11-23T13:14:02+08:00`", one_line(text))
    })
}

/// What `--checkpoint` was given.
fn expected(given: &[String]) -> anyhow::Result<Expected> {
    let mut expected = Expected::default();
    for one in given {
        if let Ok(hash) = Digest::try_from(one.clone()) {
            expected.hashes.push(hash);
            continue;
        }
        let text = std::fs::read(Path::new(one)).with_context(|| {
            format!("`{one}` is neither a hash of 64 hex digits nor a file that can be read")
        })?;
        match read_checkpoints(&text, None) {
            (checkpoints, None) if !checkpoints.is_empty() => expected.checkpoints.push(checkpoints),
            (_, None) => bail!("`{one}` has no checkpoint in it"),
            (_, Some((line, problem))) => bail!("line {line} of `{one}`: {problem}"),
        }
    }
    Ok(expected)
}

fn print(report: &AuditReport, out: &mut impl Write) -> Result<(), io::Error> {
    writeln!(out, "audit chain of {}", one_line(&report.path))?;
    let time = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| at.to_string());
    if let Some(bad) = &report.first_bad {
        writeln!(
            out,
            "  first bad    row {}{}",
            bad.row,
            bad.at.map(|at| format!(" of {at}")).unwrap_or_default()
        )?;
        writeln!(out, "  wrong        {}", one_line(&bad.wrong))?;
    }
    if let Some(head) = &report.head {
        let restored: Vec<String> = report.restored.iter().map(i64::to_string).collect();
        let confirmed = match report.checkpoints {
            0 => "none".to_owned(),
            count => format!("{count}, the last of row {}", report.confirmed),
        };
        writeln!(out, "  entries      {}", report.entries)?;
        writeln!(out, "  from         {}", time(report.from))?;
        writeln!(out, "  to           {}", time(report.to))?;
        writeln!(out, "  checkpoints  {confirmed}")?;
        if !restored.is_empty() {
            writeln!(out, "  restored     from a copy, at row {}", restored.join(", "))?;
        }
        writeln!(out, "  effects      {} records of the ledger, each with its row", report.effects)?;
        writeln!(out, "  head         {head}")?;
    }
    for unseen in &report.unseen {
        writeln!(out, "not seen: {}", one_line(unseen))?;
    }
    for finding in &report.findings {
        writeln!(out, "finding: {finding}")?;
    }
    if report.more_findings > 0 {
        writeln!(out, "and {} more", report.more_findings)?;
    }
    match report.is_good() {
        true => writeln!(out, "no findings"),
        false => writeln!(
            out,
            "the store is not what a host wrote: keep the file and those beside it as they are, and hold them against a \
             backup (docs/audit.md)"
        ),
    }
}

/// The row as JSON, its time for people, on one line whatever it holds.
fn json(row: &AuditRow) -> String {
    let mut object = match row.entry.as_ref().map(serde_json::to_value) {
        Some(Ok(Value::Object(object))) => object,
        _ => serde_json::Map::from_iter([("unreadable".to_owned(), Value::from(true))]),
    };
    object.insert("seq".to_owned(), Value::from(row.seq));
    if let Some(entry) = &row.entry {
        object.insert("at".to_owned(), Value::from(entry.at.to_string()));
    }
    object.insert("hash".to_owned(), Value::from(row.hash.as_str()));
    json_line(&Value::Object(object).to_string()).into_owned()
}

/// Head of an export as CSV.
const COLUMNS: [&str; 20] = [
    "seq",
    "at",
    "kind",
    "run",
    "policy",
    "plugin",
    "position",
    "account",
    "action",
    "region",
    "resources",
    "class",
    "params",
    "outcome",
    "known_from",
    "request_id",
    "sends",
    "by",
    "target",
    "hash",
];

fn csv(row: &AuditRow) -> String {
    let Some(entry) = &row.entry else {
        let mut cells = [const { String::new() }; COLUMNS.len()];
        cells[0] = row.seq.to_string();
        cells[2] = "unreadable".to_owned();
        cells[COLUMNS.len() - 1].clone_from(&row.hash);
        return cells.join(",");
    };
    let Entry { at, kind, run, policy, plugin, position, account, action, region, resources, class, .. } =
        entry;
    let Entry { params, outcome, known_from, request_id, sends, by, target, .. } = entry;
    fn shown(value: Option<&impl ToString>) -> String {
        value.map(ToString::to_string).unwrap_or_default()
    }
    let cells = [
        row.seq.to_string(),
        at.to_string(),
        kind.as_str().to_owned(),
        shown(run.as_ref()),
        shown(policy.as_ref()),
        shown(plugin.as_ref()),
        shown(position.as_ref()),
        shown(account.as_ref()),
        shown(action.as_ref()),
        shown(region.as_ref()),
        resources.join(" "),
        class.as_ref().map(text::word).unwrap_or_default(),
        shown(params.as_ref()),
        shown(outcome.as_ref()),
        shown(known_from.as_ref()),
        shown(request_id.as_ref()),
        shown(sends.as_ref()),
        shown(by.as_ref()),
        shown(target.as_ref()),
        row.hash.clone(),
    ];
    cells.map(|cell| quoted(&cell)).join(",")
}

/// A cell on one line. One that a spreadsheet would take for a formula begins with an apostrophe.
fn quoted(cell: &str) -> String {
    let cell = one_line(cell);
    let guard = if cell.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if guard.is_empty() && !cell.contains([',', '"']) {
        return cell.into_owned();
    }
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

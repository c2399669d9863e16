//! `opsward db check|backup|compact`: looks after the file of the store. `check` and `backup` work beside a running host,
//! `compact` does not. Leaves the work to `store::sqlite`; this file prints. Tested in `tests/tests/it/db.rs`.

use super::runs::Output;
use super::text::{Align, aligned};
use super::{Config, EXIT_SOFTWARE};
use crate::clock::{Clock as _, SystemClock};
use crate::store::sqlite::{BackupError, StoreReport, backup, check, compact};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// What to do with the store's file.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Read all of it, and say what is damaged
    Check {
        /// Where the configuration is.
        #[command(flatten)]
        config: Config,
        /// Another file than the configured store, such as a backup
        file: Option<PathBuf>,
        /// How to print the result
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Copy it into a new file, beside a running host too, and read the copy back
    Backup {
        /// Where the configuration is.
        #[command(flatten)]
        config: Config,
        /// The file to make
        file: PathBuf,
    },
    /// Give its free space back to the file system; only while no host is running
    Compact {
        /// Where the configuration is.
        #[command(flatten)]
        config: Config,
    },
}

/// sysexits `EX_CANTCREAT`.
const EXIT_CANNOT_CREATE: u8 = 73;

/// Does it. Exit code 0: all is well; 1: there are findings.
pub fn run(command: &Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { config, file, output } => {
            let path = file.clone().map_or_else(|| super::store_path(&config.config), Ok)?;
            let report = check(&path)?;
            match output {
                Output::Json => {
                    serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
                    writeln!(out)?;
                }
                Output::Table => print(&report, out)?,
            }
            Ok(ended(&report))
        }
        Command::Backup { config, file } => {
            match backup(&super::store_path(&config.config)?, file, SystemClock.now()) {
                Ok(report) => {
                    print(&report, out)?;
                    Ok(ended(&report))
                }
                Err(problem @ (BackupError::Exists(_) | BackupError::Write { .. })) => {
                    eprintln!("opsward: {:#}", anyhow::Error::new(problem));
                    Ok(ExitCode::from(EXIT_CANNOT_CREATE))
                }
                Err(problem) => {
                    eprintln!("opsward: {:#}", anyhow::Error::new(problem));
                    Ok(ExitCode::from(EXIT_SOFTWARE))
                }
            }
        }
        Command::Compact { config } => {
            let path = super::store_path(&config.config)?;
            let sizes = compact(&path)?;
            let (before, after) = (size(sizes.before), size(sizes.after));
            writeln!(out, "{}  {before} before, {after} after", path.display())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn ended(report: &StoreReport) -> ExitCode {
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(report: &StoreReport, out: &mut impl Write) -> Result<(), io::Error> {
    let format = report.format.map_or("unknown".to_owned(), |format| format.to_string());
    let (bytes, free) = (size(report.bytes), size(report.free_bytes));
    writeln!(out, "{}  format {format}, {bytes}, {free} of it free", report.path)?;
    if let Some(copy) = &report.copy {
        writeln!(out, "  copied from {} at {}", copy.backup_of, copy.taken_at)?;
    }
    if let Some(restored) = &report.restored {
        writeln!(out, "  restored at {} from a copy of {}", restored.opened_at, restored.taken_at)?;
    }
    if report.unsummed > 0 {
        writeln!(out, "  {} rows of the ledger are older than checksums", report.unsummed)?;
    }
    let head = ["TABLE", "ROWS"].map(str::to_owned);
    let rows = report.tables.iter().map(|table| {
        [table.table.to_owned(), table.rows.map_or("unreadable".to_owned(), |rows| rows.to_string())]
    });
    for line in aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), [Align::Left, Align::Right]) {
        writeln!(out, "{line}")?;
    }
    for finding in &report.findings {
        writeln!(out, "finding: {finding}")?;
    }
    if report.more_findings > 0 {
        writeln!(out, "and {} more", report.more_findings)?;
    }
    let next = match (report.findings.is_empty(), report.whole) {
        (true, _) => "no findings",
        (false, true) => {
            "single records are damaged: their runs are held, the others go on (docs/operations.md)"
        }
        (false, false) => {
            "damaged: restore the latest backup, or rescue what can be read (docs/operations.md)"
        }
    };
    writeln!(out, "{next}")
}

/// A size as people read it: `812.0 KiB`, `4.2 GiB`.
fn size(bytes: u64) -> String {
    // Precise enough for three digits.
    let kib = bytes as f64 / 1024.0;
    match bytes {
        0..0x10_0000 => format!("{kib:.1} KiB"),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", kib / 1024.0),
        _ => format!("{:.1} GiB", kib / 1024.0 / 1024.0),
    }
}

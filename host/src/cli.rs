//! The commands of `opsward`, one file each. This file reads the command line and chooses; it leaves everything else to them.
//!
//! Exit codes: 0 ok, 1 findings, 2 usage, then those of sysexits: 66 no such thing, 70 our error, 73 cannot
//! create a file, 78 wrong configuration.

pub mod approval;
mod approval_show;
pub mod audit;
pub mod catalog;
pub mod check;
pub mod db;
pub mod demo;
pub mod doctor;
pub mod enable;
pub mod event;
pub mod halt;
mod host_admin;
pub mod invoke;
pub mod plugin;
pub mod policy;
pub mod resolve;
pub mod runs;
pub mod schedule;
mod schedule_change;
pub mod sim;
pub mod source;
mod text;
pub mod token;

use crate::clock::{Clock as _, SystemClock};
use crate::plugin::compiler;
use crate::store::sqlite::{Reader, SqliteStore};
use clap::{Parser, Subcommand};
use opsward_core::config::StoreSettings;
use opsward_core::time::Timestamp;
use runs::ShowRunsError;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// sysexits `EX_NOINPUT`.
const EXIT_NO_INPUT: u8 = 66;
/// sysexits `EX_SOFTWARE`.
pub(crate) const EXIT_SOFTWARE: u8 = 70;
/// sysexits `EX_CANTCREAT`.
const EXIT_CANT_CREATE: u8 = 73;
/// sysexits `EX_CONFIG`.
pub(crate) const EXIT_CONFIG: u8 = 78;
/// How long blocking work may go on after a command's end.
const BLOCKING_DRAIN: Duration = Duration::from_millis(500);

/// Runs small sandboxed policies that look after your cloud.
#[derive(Parser)]
#[command(name = "opsward", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service
    Serve {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        serve: ServeArgs,
    },
    /// Run guests for `serve`, which starts this
    #[command(hide = true)]
    Runner,
    /// Show what each policy may do and when it fires next, and what is wrong in any file
    Check {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        check: check::CheckArgs,
    },
    /// Ask each account who it is, and see whether the service could start: credentials, clock, store, listeners
    Doctor {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        doctor: doctor::DoctorArgs,
    },
    /// Make a policy of a plugin: show what it asks for and why, and write the least of it, in dry-run
    Enable(enable::EnableArgs),
    /// Look at one policy
    #[command(subcommand)]
    Policy(policy::Command),
    /// Stop everything that is sent, for one policy or all, until `resume`
    Halt {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        halt: halt::HaltArgs,
    },
    /// End a halt
    Resume {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        resume: halt::ResumeArgs,
    },
    /// Make, list and revoke the tokens of the admin listener
    #[command(subcommand)]
    Token(token::Command),
    /// Run one policy once on one event
    Invoke {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        invoke: invoke::InvokeArgs,
    },
    /// Look at the sources of events, and point clouds at them
    #[command(subcommand)]
    Source(source::Command),
    /// Look at events, and see why a policy is woken by one or not
    #[command(subcommand)]
    Event(event::Command),
    /// Look at runs, and decide on those that wait for a person
    #[command(subcommand)]
    Run(Run),
    /// Say what schedules mean and when they fire next; pause, resume and fire them
    #[command(subcommand)]
    Schedule(schedule::Command),
    /// Look at what runs ask to be approved, and decide
    #[command(subcommand)]
    Approval(approval::Command),
    /// Look after the store's file: check it, copy it, shrink it
    #[command(subcommand)]
    Db(db::Command),
    /// Verify or export the audit chain: every effect, and every change that a person made
    #[command(subcommand)]
    Audit(audit::Command),
    /// Look at the plugins this binary carries
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Look up what is known of cloud actions
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// Show the whole path against simulated clouds, offline
    Demo,
    /// Run the simulated clouds
    Sim(sim::SimArgs),
    /// Compile the plugin on standard input for the host that started this
    #[command(hide = true)]
    CompilePlugin(compiler::CompileArgs),
}

#[derive(Subcommand)]
enum Run {
    /// List runs, newest first
    Ls {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        list: runs::ListArgs,
    },
    /// Show one run's ledger, call by call
    Show {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        show: runs::ShowArgs,
    },
    /// Settle a held run: did its effect take place?
    Resolve {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        resolve: resolve::ResolveArgs,
    },
    /// Try a dead or failed run again, from the start; effects it has made are not made twice
    Retry {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        retry: resolve::RetryArgs,
    },
}

/// How the service is run.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct ServeArgs {
    /// Run plugins in the process that holds the keys, for development: a plugin that breaks out has them
    #[arg(long)]
    pub single_process: bool,
}

/// Where the configuration is.
#[derive(clap::Args, Debug, Clone)]
pub struct Config {
    /// The host's configuration; other paths are relative to its directory
    #[arg(long, short, default_value = "opsward.toml")]
    pub config: PathBuf,
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    crate::cloud::install_tls();
    match arguments.command {
        Command::Runner => crate::runner::main(),
        Command::Serve { config, serve } => crate::service::serve(&config.config, serve),
        Command::Check { config, check } => {
            finish(async_main(check::run(&config.config, &check, &mut std::io::stdout().lock())))
        }
        Command::Doctor { config, doctor } => {
            finish(async_main(doctor::run(&config.config, &doctor, &mut std::io::stdout())))
        }
        Command::Enable(args) => finish(async_main(enable::run(args, &mut std::io::stdout()))),
        Command::Policy(command) => finish(async_main(policy::run(&command, &mut std::io::stdout().lock()))),
        Command::Token(command) => finish(token::run(command, &mut std::io::stdout().lock())),
        Command::Run(Run::Ls { config, list }) => {
            finish(with_store(&config.config, |store, now, out| runs::list(store, &list, now, out)))
        }
        Command::Run(Run::Show { config, show }) => {
            finish(with_store(&config.config, |store, now, out| runs::show(store, &show, now, out)))
        }
        Command::Halt { config, halt } => {
            finish(async_main(halt::halt(&config.config, halt, &mut std::io::stdout())))
        }
        Command::Resume { config, resume } => {
            finish(async_main(halt::resume(&config.config, resume, &mut std::io::stdout())))
        }
        Command::Invoke { config, invoke } => {
            finish(async_main(invoke::run(&config.config, invoke, &mut std::io::stdout())))
        }
        Command::Run(Run::Resolve { config, resolve }) => {
            finish(async_main(resolve::resolve(&config.config, resolve, &mut std::io::stdout())))
        }
        Command::Run(Run::Retry { config, retry }) => {
            finish(async_main(resolve::retry(&config.config, retry, &mut std::io::stdout())))
        }
        Command::Schedule(command) => finish(async_main(schedule::run(command, &mut std::io::stdout()))),
        Command::Source(command) => finish(async_main(source::run(command, &mut std::io::stdout()))),
        Command::Event(command) => finish(async_main(event::run(command, &mut std::io::stdout()))),
        Command::Approval(command) => finish(async_main(approval::run(command, &mut std::io::stdout()))),
        Command::Db(command) => finish(db::run(&command, &mut std::io::stdout().lock())),
        Command::Audit(command) => finish(audit::run(&command, &mut std::io::stdout().lock())),
        Command::Plugin(command) => finish(plugin::run(command, &mut std::io::stdout())),
        Command::Catalog(command) => finish(catalog::run(command, &mut std::io::stdout())),
        Command::Demo => async_main(demo::run()),
        Command::Sim(args) => {
            crate::telemetry::start_logging();
            finish(async_main(sim::run(args)).map(|()| ExitCode::SUCCESS))
        }
        Command::CompilePlugin(args) => compiler::run(&args),
    }
}

/// Opens the configured store for reading, beside a running host or without one.
fn with_store(
    config: &Path,
    command: impl FnOnce(&Reader, Timestamp, &mut dyn Write) -> Result<(), ShowRunsError>,
) -> anyhow::Result<ExitCode> {
    let store = SqliteStore::open_read_only(&store_path(config)?)?;
    match command(&store, SystemClock.now(), &mut std::io::stdout().lock()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(problem @ (ShowRunsError::NotFound(_) | ShowRunsError::Ambiguous { .. })) => {
            eprintln!("opsward: {problem}");
            Ok(ExitCode::from(EXIT_NO_INPUT))
        }
        Err(ShowRunsError::Print(error)) => Err(error.into()),
        Err(other) => Err(other.into()),
    }
}

/// Where the configured store is.
fn store_path(config: &Path) -> anyhow::Result<PathBuf> {
    let settings = crate::service::read_settings(config)?;
    let StoreSettings::Sqlite { path } = &settings.store;
    Ok(config.parent().unwrap_or(Path::new("")).join(path))
}

/// Runs a command on a runtime of its own.
pub(crate) fn async_main<T>(command: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs only threads and descriptors");
    let ended = runtime.block_on(command);
    // Work on threads of its own, such as a plugin being compiled, could hold up the end for minutes.
    runtime.shutdown_timeout(BLOCKING_DRAIN);
    ended
}

fn finish(ended: anyhow::Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| {
        // A closed pipe, as of `opsward run ls | head`, is no error of ours.
        if error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
        {
            return ExitCode::SUCCESS;
        }
        // Nothing is left to tell if even this cannot be written.
        let told = writeln!(std::io::stderr(), "opsward: {error:#}");
        ExitCode::from(if told.is_ok() { EXIT_SOFTWARE } else { 1 })
    })
}

//! `opsward serve`: reads the configuration, starts the parts, says when it is ready, and drains them at SIGTERM. Leaves
//! secrets to `secrets`, and putting the parts together to `parts`.

mod hide;
mod parts;
mod retention;
mod secrets;

use crate::cli::{EXIT_CONFIG, EXIT_SOFTWARE, ServeArgs};
use crate::{notify, telemetry};
use anyhow::Context as _;
use opsward_core::config::{HostSettings, load_host};
use parts::Parts;
use secrets::Secrets;
pub(crate) use secrets::read_account;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs the service until it is told to end.
pub fn serve(config: &Path, args: ServeArgs) -> ExitCode {
    telemetry::start_logging();
    if let Err(problem) = hide::refuse_core_dumps() {
        tracing::warn!(%problem, "core dumps stay possible: they would hold secrets");
    }
    let base = config.parent().map(Path::to_owned).unwrap_or_default();
    let settings = match read_settings(config) {
        Ok(settings) => settings,
        Err(problem) => {
            eprintln!("{problem:#}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    // Secrets are read and taken out of the environment while there is one thread.
    let secrets = match Secrets::read(&settings, &base) {
        Ok(secrets) => secrets,
        Err(problem) => {
            eprintln!("error: {problem:#}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match crate::cli::async_main(run(settings, secrets, base, args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(EXIT_SOFTWARE)
        }
    }
}

/// Reads `opsward.toml`; the error is what the operator is shown.
pub(crate) fn read_settings(config: &Path) -> anyhow::Result<HostSettings> {
    let text = std::fs::read_to_string(config)
        .with_context(|| format!("error: cannot read {}", config.display()))?;
    load_host(&config.display().to_string(), &text).map_err(|findings| {
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", shown.join("\n"))
    })
}

async fn run(settings: HostSettings, secrets: Secrets, base: PathBuf, args: ServeArgs) -> anyhow::Result<()> {
    // Heard from the beginning: a host that is told to end as it becomes ready drains as well.
    let mut told = Told::listen()?;
    let mut parts = tokio::select! {
        parts = Parts::start(settings, secrets, base, args) => parts?,
        () = told.until_end() => return Ok(()),
    };
    let admin = parts.admin.map(|address| address.to_string());
    tracing::info!(listen = %parts.listen, admin, socket = %parts.socket.display(), "ready");
    notify::ready();
    let ended = tokio::select! {
        () = told.until_end() => Ok(()),
        failed = parts.failed() => Err(failed),
    };
    tracing::info!("draining");
    notify::stopping();
    parts.drain().await?;
    tracing::info!("drained");
    ended
}

/// What the system, or a person, tells the process.
struct Told {
    terminate: Signal,
    interrupt: Signal,
    /// Unhandled it would end the process at once, and systemd would take that for a clean end.
    hang_up: Signal,
}

impl Told {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until it is told to end.
    async fn until_end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => tracing::info!(
                    "told to reload: the plugins directory is in step by itself; opsward.toml is read at the next start"
                ),
            }
        }
    }
}

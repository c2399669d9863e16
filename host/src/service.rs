//! `opsward serve`: reads the configuration, starts the parts, says when it is ready, and drains them at SIGTERM. Leaves
//! secrets to `secrets`, and putting the parts together to `parts`.

mod hide;
mod parts;
mod retention;
mod secrets;

use crate::cli::{EXIT_CONFIG, EXIT_SOFTWARE};
use crate::{notify, telemetry};
use anyhow::Context as _;
use opsward_core::config::{HostSettings, load_host};
use parts::Parts;
use secrets::Secrets;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the service until it is told to end.
pub fn serve(config: &Path) -> ExitCode {
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
    match crate::cli::async_main(run(settings, secrets, base)) {
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

async fn run(settings: HostSettings, secrets: Secrets, base: PathBuf) -> anyhow::Result<()> {
    let mut parts = Parts::start(settings, secrets, base).await?;
    tracing::info!(listen = %parts.listen, admin = %parts.admin, "ready");
    notify::ready();
    let ended = tokio::select! {
        told = until_told_to_end() => told,
        failed = parts.failed() => Err(failed),
    };
    tracing::info!("draining");
    notify::stopping();
    parts.drain().await?;
    tracing::info!("drained");
    ended
}

async fn until_told_to_end() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Unhandled it would end the process at once, and systemd would take that for a clean end.
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => tracing::info!(
                "told to reload: the plugins directory is in step by itself; opsward.toml is read at the next start"
            ),
        }
    }
}

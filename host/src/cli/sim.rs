//! `opsward sim`: the simulated clouds in a process of their own. Prints one JSON line with address and keys when
//! ready, and serves until told to stop. Leaves everything else to the crate `opsward-sim`.

use anyhow::Context as _;
use opsward_sim::{Settle, Sim, SimOptions};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Arguments of `opsward sim`.
#[derive(Debug, clap::Args)]
pub struct SimArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Makes ids and keys repeat from start to start
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How long a snapshot takes
    #[arg(long, default_value_t = Settle::default().snapshot_ms, value_name = "MILLISECONDS")]
    pub snapshot_ms: u64,
    /// How long a reinstallation takes
    #[arg(long, default_value_t = Settle::default().reset_ms, value_name = "MILLISECONDS")]
    pub reset_ms: u64,
    /// How long a restart takes
    #[arg(long, default_value_t = Settle::default().reboot_ms, value_name = "MILLISECONDS")]
    pub reboot_ms: u64,
}

/// Serves the simulated clouds until SIGTERM or SIGINT.
///
/// # Errors
/// Where the address cannot be listened on.
pub async fn run(args: SimArgs) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    if !args.listen.ip().is_loopback() {
        tracing::warn!(listen = %args.listen, "the control interface has no password: anyone who reaches it may use it");
    }
    let settle = Settle {
        snapshot_ms: args.snapshot_ms,
        reset_ms: args.reset_ms,
        reboot_ms: args.reboot_ms,
        ..Settle::default()
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let sim = Sim::start(listener, SimOptions { seed: args.seed, settle, ..SimOptions::default() })?;
    println!("{}", sim.ready_line());
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    sim.shutdown().await;
    Ok(())
}

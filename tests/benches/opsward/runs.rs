//! Whole runs in one process: accept, claim, fresh guest, one read, one effect, finish. The real worker, broker and SQLite
//! store at full durability on the target folder's disk; the cloud is in memory. A run waits for the disk four times:
//! acceptance, the effect's intent, its result, and the end; its other records are written along with those.

use crate::cloud::Memory;
use crate::machine;
use crate::measure::{Report, Target, median};
use crate::scene::{self, Scene};
use anyhow::{Context as _, ensure};
use opsward::store::{Acceptance, Store};
use opsward::telemetry;
use opsward::trigger::accept::Accept;
use opsward_core::run::RunState;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Runs of one sample: about a second.
const RUNS: usize = 20_000;
const SAMPLES: usize = 7;
/// Runs in a guest at a time, and events accepted ahead of their effects.
const IN_FLIGHT: usize = 128;
const RATE_MIN: f64 = 15_000.0;
/// How long runs may take to end before the benchmark fails.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often the store is asked how many runs have ended.
const LOOK: Duration = Duration::from_millis(2);

pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let sync = machine::sync_time(scene::directory()?.path())?;
    report.figure("runs: one write of 4 KiB and its fdatasync", sync.as_secs_f64() * 1e6, "us");
    // Counting is part of the work.
    telemetry::start_metrics()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(report))
}

async fn measure(report: &mut Report) -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    let cloud = Arc::new(Memory::with_room(IN_FLIGHT));
    let store: Arc<dyn Store> = scene.store.clone();
    let (accept, worker) = scene::work(&scene, cloud.clone(), IN_FLIGHT);
    let (stop, stopping) = watch::channel(false);
    let working = tokio::spawn(worker.run(stopping));

    let (mut rates, mut times) = (Vec::new(), Vec::new());
    // The first sample warms up.
    for sample in 0..=SAMPLES {
        let (began, used) = (Instant::now(), machine::cpu_time(std::process::id())?);
        accept_all(&accept, &cloud, sample).await?;
        all_done(store.as_ref(), (sample + 1) * RUNS).await?;
        if sample > 0 {
            rates.push(RUNS as f64 / began.elapsed().as_secs_f64());
            let used = machine::cpu_time(std::process::id())? - used;
            times.push(used.as_secs_f64() * 1e6 / RUNS as f64);
        }
    }
    let effects = cloud.effects();
    ensure!(effects == ((SAMPLES + 1) * RUNS) as u64, "{effects} effects were made");
    stop.send_replace(true);
    working.await?;
    store.close().await?;
    report.against("runs: whole machine", median(&rates), "runs/s", Target::AtLeast(RATE_MIN));
    report.figure("runs: processor time", median(&times), "us/run");
    Ok(())
}

/// Accepts `RUNS` events, each once there is room for it.
async fn accept_all(accept: &Arc<Accept>, cloud: &Arc<Memory>, sample: usize) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (accept, cloud, next) = (accept.clone(), cloud.clone(), next.clone());
        senders.spawn(async move {
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= RUNS {
                    return anyhow::Ok(());
                }
                cloud.room().await?;
                let event = scene::event(&format!("{sample}-{nth}"));
                let accepted = accept.accept(vec![event], b"").await?;
                ensure!(accepted == [Acceptance::New { runs: 1 }], "an event was taken as {accepted:?}");
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    Ok(())
}

async fn all_done(store: &dyn Store, wanted: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counts = store.count_runs().await?;
        let (_, done) = counts.iter().find(|(state, _)| *state == RunState::Done).context("no count")?;
        if *done >= wanted as u64 {
            let all: u64 = counts.iter().map(|(_, runs)| runs).sum();
            ensure!(all == *done && all == wanted as u64, "not every run is done, and once: {counts:?}");
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "runs do not end: {counts:?}");
        tokio::time::sleep(LOOK).await;
    }
}

//! Whole runs: accept, claim, fresh guest, one read, one effect, finish; with guests in the runner, and in one process. The real worker, broker and SQLite
//! store at full durability on the target folder's disk; the cloud is in memory. A run waits for the disk four times:
//! acceptance, the effect's intent, its result, and the end; its other records are written along with those.

use crate::cloud::Memory;
use crate::machine;
use crate::measure::{Report, Target, median};
use crate::scene::{self, Scene};
use anyhow::{Context as _, ensure};
use opsward::plugin::guests::Guests;
use opsward::store::{Acceptance, Store};
use opsward::telemetry;
use opsward::trigger::accept::Accept;
use opsward_core::run::RunState;
use opsward_core::sender::Trust;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Runs of one sample: about a second.
const RUNS: usize = 20_000;
const SAMPLES: usize = 7;
/// Runs in a guest at a time, and events accepted ahead of their effects.
const IN_FLIGHT: usize = 128;
const RATE_MIN: f64 = 15_000.0;
/// What the second process may cost.
const RUNNER_SHARE_MIN: f64 = 0.8;
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
    let mut one = Side::start(Scene::new().await?);
    let mut two = Side::start(Scene::in_two_processes(&[]).await?);
    // The first sample warms up. In turns, so that both meet the same machine.
    for sample in 0..=SAMPLES {
        one.sample(sample).await?;
        two.sample(sample).await?;
    }
    let times = [&one, &two].map(|side| median(&side.times));
    let (one, two) = (one.end().await?, two.end().await?);
    report.against("runs: guests in the runner, whole machine", two, "runs/s", Target::AtLeast(RATE_MIN));
    report.figure("runs: guests in one process with the host, whole machine", one, "runs/s");
    report.against("runs: the runner against one process", two / one, "x", Target::AtLeast(RUNNER_SHARE_MIN));
    let [in_one, in_two] = times;
    report.figure("runs: processor time, host and runner together", in_two, "us/run");
    report.figure("runs: processor time in one process", in_one, "us/run");
    report.figure("runs: the same figures as runs/s, the runner against one process", in_one / in_two, "x");
    Ok(())
}

/// A host's parts at work.
struct Side {
    scene: Scene,
    cloud: Arc<Memory>,
    accept: Arc<Accept>,
    stop: watch::Sender<bool>,
    working: JoinHandle<()>,
    rates: Vec<f64>,
    times: Vec<f64>,
}

impl Side {
    fn start(scene: Scene) -> Self {
        let cloud = Arc::new(Memory::with_room(IN_FLIGHT));
        let (accept, worker) = scene::work(&scene, cloud.clone(), IN_FLIGHT);
        let (stop, stopping) = watch::channel(false);
        let working = tokio::spawn(worker.run(stopping));
        Self { scene, cloud, accept, stop, working, rates: Vec::new(), times: Vec::new() }
    }

    async fn sample(&mut self, sample: usize) -> anyhow::Result<()> {
        let (began, used) = (Instant::now(), self.cpu_time()?);
        accept_all(&self.accept, &self.cloud, sample).await?;
        all_done(self.scene.store.as_ref(), (sample + 1) * RUNS).await?;
        if sample > 0 {
            self.rates.push(RUNS as f64 / began.elapsed().as_secs_f64());
            let used = self.cpu_time()? - used;
            self.times.push(used.as_secs_f64() * 1e6 / RUNS as f64);
        }
        Ok(())
    }

    /// What this process has used, and the runner if there is one. The other side does nothing meanwhile.
    fn cpu_time(&self) -> anyhow::Result<Duration> {
        let here = machine::cpu_time(std::process::id())?;
        match &self.scene.guests {
            Guests::Apart(runner) => Ok(here + machine::cpu_time(runner.pid().context("no runner")?)?),
            Guests::Here(_) => Ok(here),
        }
    }

    /// Its rate, once it has stopped and every effect is accounted for.
    async fn end(self) -> anyhow::Result<f64> {
        let effects = self.cloud.effects();
        ensure!(effects == ((SAMPLES + 1) * RUNS) as u64, "{effects} effects were made");
        self.stop.send_replace(true);
        self.working.await?;
        self.scene.store.close().await?;
        Ok(median(&self.rates))
    }
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
                let accepted = accept.accept(vec![event], b"", Trust::Proved).await?;
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

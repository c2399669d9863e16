//! What hostile policies cost the good ones: how long an event of a good policy waits for its effect at a steady pace, alone and
//! with five hostile policies beside it, in turns. Each of the five has a run that is ready or in its guest at all times, and
//! its failed runs are tried again as always: one computes for ever, one fills its memory, one asks the cloud a thousand times,
//! one floods its log, and one asks a cloud that takes a second for each answer.

use crate::cloud::answer;
use crate::measure::{Report, Target, at_share, median};
use crate::scene::{self, Scene};
use anyhow::{Context as _, ensure};
use futures::future::BoxFuture;
use opsward::broker::{AccountFacts, Caller, Sender, Stamp};
use opsward::clock::{Clock as _, SystemClock};
use opsward::store::{RunFilter, Store};
use opsward::trigger::accept::Accept;
use opsward_core::answer::Verdict;
use opsward_core::call::CallRequest;
use opsward_core::catalog::Provider;
use opsward_core::id::AccountName;
use opsward_core::run::RunState;
use opsward_core::sender::Trust;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;

const HOSTILE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-hostile.wasm"));
/// The hostile policies: name, source of their events, and the type, which is what the guest does.
const POLICIES: [(&str, &str, &str); 5] = [
    ("spinner", "hostile", "endless-loop"),
    ("filler", "hostile", "memory-bomb"),
    ("caller", "hostile", "many-calls"),
    ("logger", "hostile", "log-flood"),
    ("blocker", "slow", "many-calls"),
];
/// Turns of each, and events of a turn, one each tick: two seconds. What else the machine does now and then makes one turn's p99
/// ten times another's, so that it takes many.
const TURNS: usize = 25;
const EVENTS: usize = 400;
const TICK: Duration = Duration::from_millis(5);
/// How long the slow cloud takes for an answer.
const SLOW: Duration = Duration::from_secs(1);
/// How often a hostile policy is looked at whether it has a run.
const LOOK: Duration = Duration::from_millis(20);
/// How many of its runs are looked at: the newest is the one that was begun last.
const RUNS_LOOKED_AT: usize = 4;
/// How long the last events of a turn may take before the benchmark fails.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most that hostile policies may cost.
const RATIO_MAX: f64 = 1.2;

pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(report))
}

async fn measure(report: &mut Report) -> anyhow::Result<()> {
    // Two hosts in turns: what is left of hostile runs must not be tried again while there are to be none.
    let (alone, beset) = (Scene::in_two_processes(&[]).await?, Scene::in_two_processes(&files()).await?);
    let (mut quiet, mut harried, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first turn warms up.
    for turn in 0..=TURNS {
        let without = waits(&alone, turn, false).await?;
        let with = waits(&beset, turn, true).await?;
        if turn > 0 {
            ratios.push(at_share(&with, 0.99) / at_share(&without, 0.99));
            quiet.extend(without);
            harried.extend(with);
        }
    }
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        report.figure(format!("hostile: event to effect without, {name}"), at_share(&quiet, share), "ms");
        report.figure(
            format!("hostile: event to effect beside five, {name}"),
            at_share(&harried, share),
            "ms",
        );
    }
    report.against(
        "hostile: p99 beside five against without",
        median(&ratios),
        "times",
        Target::AtMost(RATIO_MAX),
    );
    Ok(())
}

/// How long each event of a turn took from being offered to its effect, in milliseconds.
async fn waits(scene: &Scene, turn: usize, hostile: bool) -> anyhow::Result<Vec<f64>> {
    let cloud = Arc::new(Timed::default());
    let (accept, worker) = scene::work(scene, cloud.clone(), 128);
    let (stop, stopping) = watch::channel(false);
    let working = tokio::spawn(worker.run(stopping));
    let mut feeding = JoinSet::new();
    for (policy, source, kind) in POLICIES.into_iter().filter(|_| hostile) {
        feeding.spawn(feed(accept.clone(), scene.store.clone(), (policy, source, kind), turn));
    }
    let offered = offer(&accept, turn).await?;
    let deadline = Instant::now() + PATIENCE;
    while cloud.effects() < EVENTS {
        ensure!(Instant::now() < deadline, "{} of {EVENTS} events had their effect", cloud.effects());
        ensure!(feeding.try_join_next().is_none(), "a hostile policy is not fed any more");
        tokio::time::sleep(TICK).await;
    }
    feeding.shutdown().await;
    stop.send_replace(true);
    working.await?;
    for account in ["prod", "slow"].into_iter().filter(|_| hostile) {
        ensure!(cloud.was_flooded(account), "no hostile policy asks the cloud of {account}");
    }
    let made = std::mem::take(&mut *cloud.made.lock().unwrap_or_else(PoisonError::into_inner));
    let wait = |(disk, at): (String, Instant)| {
        let begun = offered.get(&disk).context("an effect that was not asked for")?;
        Ok((at - *begun).as_secs_f64() * 1e3)
    };
    made.into_iter().map(wait).collect()
}

/// Offers a turn's events to the good policy, one each tick. Gives the disk of each, and when it was offered.
async fn offer(accept: &Arc<Accept>, turn: usize) -> anyhow::Result<HashMap<String, Instant>> {
    let mut tick = tokio::time::interval(TICK);
    let mut accepting: JoinSet<anyhow::Result<(String, Instant)>> = JoinSet::new();
    for nth in 0..EVENTS {
        tick.tick().await;
        let accept = accept.clone();
        accepting.spawn(async move {
            let instance = format!("i-turn{turn:02}x{nth:04}");
            let mut event = scene::event(&instance);
            event.data = event.data.replace("i-bp18l0uopocfc98xxxx", &instance);
            let begun = Instant::now();
            accept.accept(vec![event], b"", Trust::Proved).await?;
            Ok((disk_of(&instance), begun))
        });
    }
    let mut offered = HashMap::new();
    while let Some(one) = accepting.join_next().await {
        let (disk, at) = one??;
        offered.insert(disk, at);
    }
    Ok(offered)
}

/// Sees to it that a hostile policy has a run that is ready or running.
async fn feed(
    accept: Arc<Accept>,
    store: Arc<impl Store + ?Sized>,
    (policy, source, kind): (&'static str, &'static str, &'static str),
    turn: usize,
) -> anyhow::Result<()> {
    for nth in 0.. {
        let mut event = scene::event(&format!("{policy}-{turn}-{nth}"));
        event.source = source.parse()?;
        event.kind = kind.to_owned();
        accept.accept(vec![event], b"", Trust::Proved).await?;
        while has_work(&*store, policy).await? {
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}

/// Whether the policy has a run in its guest, or one that may be claimed at once: one that waits to be tried again costs nobody
/// anything. Asks for runs that have not ended: those the store finds without looking through all it ever recorded.
async fn has_work(store: &(impl Store + ?Sized), policy: &str) -> anyhow::Result<bool> {
    for state in [RunState::Running, RunState::Ready] {
        let filter = RunFilter { policy: policy.parse().ok(), state: Some(state), limit: RUNS_LOOKED_AT };
        let runs = store.list_runs(filter).await?;
        let now = SystemClock.now();
        if runs.iter().any(|run| state == RunState::Running || run.wake_at.is_none_or(|at| at <= now)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn files() -> Vec<(String, &'static [u8])> {
    let mut files = vec![("hostile.wasm".to_owned(), HOSTILE)];
    for (policy, source, kind) in POLICIES {
        let account = if source == "slow" { "slow" } else { "prod" };
        let text = format!(
            "plugin = \"hostile.wasm\"\naccount = \"{account}\"\nmode = \"enforce\"\non = [{{ source = \"{source}\", type = \"{kind}\" }}]\n\
             [[allow]]\naction = \"ecs:DescribeDisks\"\n"
        );
        files.push((format!("{policy}.toml"), text.leak().as_bytes()));
    }
    files
}

fn disk_of(instance: &str) -> String {
    instance.replacen("i-", "d-", 1)
}

/// A cloud in memory that names the disk after its instance, notes when each effect is asked for, and is slow for one account.
#[derive(Default)]
struct Timed {
    made: Mutex<Vec<(String, Instant)>>,
    /// Accounts that were asked for all disks, which no good policy does.
    flooded: Mutex<HashSet<String>>,
}

impl Timed {
    fn effects(&self) -> usize {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn was_flooded(&self, account: &str) -> bool {
        self.flooded.lock().unwrap_or_else(PoisonError::into_inner).contains(account)
    }
}

impl Sender for Timed {
    fn account(&self, _: &AccountName) -> Option<AccountFacts> {
        Some(AccountFacts { provider: Provider::Alibaba, region: Some("cn-hangzhou".to_owned()) })
    }

    fn send<'a>(
        &'a self,
        caller: Caller<'a>,
        request: &'a CallRequest,
        stamp: Stamp<'a>,
    ) -> BoxFuture<'a, Verdict> {
        let params: serde_json::Value = serde_json::from_str(&request.params).unwrap_or_default();
        let named = |name: &str| params[name].as_str().unwrap_or_default().to_owned();
        if stamp.as_token().is_some() {
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push((named("DiskId"), Instant::now()));
        }
        if named("InstanceId").is_empty() && stamp.as_token().is_none() {
            let account = caller.account.as_str().to_owned();
            self.flooded.lock().unwrap_or_else(PoisonError::into_inner).insert(account);
        }
        let mut answer = answer(&request.action);
        answer.body = answer.body.replace("d-bp18l0uopocfc98x0001", &disk_of(&named("InstanceId")));
        let slow = caller.account.as_str() == "slow";
        Box::pin(async move {
            if slow {
                tokio::time::sleep(SLOW).await;
            }
            Verdict::Answered(Ok(answer))
        })
    }

    fn spread(&self) -> u8 {
        0
    }
}

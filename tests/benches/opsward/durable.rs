//! What durability costs: ledger records committed by many runs at once against one sync for each, how long an event waits for
//! its first call at a steady thousand a second, and how long a host takes to be ready with ten thousand unfinished runs.

use crate::cloud::Memory;
use crate::machine;
use crate::measure::{Report, Target, at_share, median};
use crate::processes::{Clouds, Host, lay_out};
use crate::scene::{self, Scene};
use anyhow::{Context as _, ensure};
use opsward::broker::{AccountFacts, Caller, Sender, Stamp};
use opsward::store::sqlite::SqliteStore;
use opsward::store::{Claim, NewEvent, NewRun, Store};
use opsward_core::answer::Verdict;
use opsward_core::call::CallRequest;
use opsward_core::event::Wants;
use opsward_core::id::{AccountName, Digest, RunId};
use opsward_core::run::{Entry, LogLevel, Record};
use opsward_core::sender::Trust;
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Runs that append at the same time.
const IN_FLIGHT: usize = 64;
/// Runs that one after the other take one of these places, in a sample.
const IN_TURN: usize = 100;
/// Records of a run, each committed before the next: as many as a run with four effects has.
const RECORDS: usize = 10;
const SAMPLES: usize = 5;
/// Syncs of one record each in a sample.
const SYNCS: usize = 2_000;
/// Events whose first call is timed, a thousand a second.
const PACED: usize = 5_000;
/// Ticks of the pace: a timer has no finer grain than a millisecond.
const TICK: Duration = Duration::from_millis(1);
/// Unfinished runs that a host is started with.
const UNFINISHED: usize = 10_000;

pub(crate) fn run(report: &mut Report) -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        commits(report).await?;
        first_calls(report).await?;
        recovery(report).await
    })
}

/// Records a second, with group commit and with a sync for each, in turns.
async fn commits(report: &mut Report) -> anyhow::Result<()> {
    let directory = scene::directory()?;
    let store = SqliteStore::open(&directory.path().join("opsward.db"))?;
    let (mut grouped, mut alone, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for sample in 0..SAMPLES {
        let claims = claims(store.as_ref(), sample).await?;
        let begun = Instant::now();
        append_all(&store, &claims).await?;
        let together = (claims.len() * RECORDS) as f64 / begun.elapsed().as_secs_f64();
        let (each, _) = synced(directory.path())?;
        grouped.push(together);
        alone.push(each);
        ratios.push(together / each);
    }
    store.close().await?;
    report.figure("durable: records/s, 64 runs at once", median(&grouped), "records/s");
    report.figure("durable: records/s, one sync for each", median(&alone), "records/s");
    report.against("durable: group commit against that", median(&ratios), "times", Target::AtLeast(10.0));
    Ok(())
}

async fn claims(store: &SqliteStore, sample: usize) -> anyhow::Result<Vec<Claim>> {
    let runs = IN_FLIGHT * IN_TURN;
    let event = |n| new_event(&format!("commit-{sample}-{n}"), Digest::of(b"bench"), "bench");
    store.accept((0..runs).map(event).collect()).await?;
    let claimed = store.claim(runs, scene::NOW).await?;
    ensure!(claimed.len() == runs, "{} runs were claimed", claimed.len());
    Ok(claimed.into_iter().map(|run| run.claim).collect())
}

async fn append_all(store: &Arc<SqliteStore>, claims: &[Claim]) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    for place in 0..IN_FLIGHT {
        let store = store.clone();
        let in_turn: Vec<Claim> = claims.iter().skip(place).step_by(IN_FLIGHT).cloned().collect();
        tasks.spawn(async move {
            for claim in in_turn {
                for _ in 0..RECORDS {
                    let entry = Entry::Log { level: LogLevel::Info, message: "r".repeat(200) };
                    store.append(&claim, vec![Record::new(scene::NOW, entry)]).await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

/// Records of 256 bytes a second where each is synced by itself, and how long each took, in milliseconds.
fn synced(directory: &std::path::Path) -> anyhow::Result<(f64, Vec<f64>)> {
    let mut file = std::fs::File::create(directory.join("alone"))?;
    let mut times = Vec::with_capacity(SYNCS);
    let begun = Instant::now();
    for _ in 0..SYNCS {
        let one = Instant::now();
        file.write_all(&[0x5a; 256])?;
        file.sync_data()?;
        times.push(one.elapsed().as_secs_f64() * 1e3);
    }
    Ok((SYNCS as f64 / begun.elapsed().as_secs_f64(), times))
}

/// The time from an event's acceptance to the first call of its run, at a thousand events a second.
async fn first_calls(report: &mut Report) -> anyhow::Result<()> {
    let scene = Scene::new().await?;
    let cloud = Arc::new(Timed { memory: Memory::with_room(0), called: Mutex::default() });
    let store: Arc<dyn Store> = scene.store.clone();
    let (accept, worker) = scene::work(&scene, cloud.clone(), 128);
    let (stop, stopping) = watch::channel(false);
    let working = tokio::spawn(worker.run(stopping));
    let mut tick = tokio::time::interval(TICK);
    let mut accepting: JoinSet<anyhow::Result<(String, Instant)>> = JoinSet::new();
    for nth in 0..PACED {
        tick.tick().await;
        let accept = accept.clone();
        accepting.spawn(async move {
            let instance = format!("i-paced{nth:05}");
            let mut event = scene::event(&instance);
            event.data = event.data.replace("i-bp18l0uopocfc98xxxx", &instance);
            accept.accept(vec![event], b"", Trust::Proved).await?;
            Ok((instance, Instant::now()))
        });
    }
    let mut accepted = HashMap::new();
    while let Some(one) = accepting.join_next().await {
        let (instance, at) = one??;
        accepted.insert(instance, at);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while (cloud.memory.effects() as usize) < PACED {
        ensure!(Instant::now() < deadline, "{} of {PACED} events had their effect", cloud.memory.effects());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send_replace(true);
    working.await?;
    let called = std::mem::take(&mut *cloud.called.lock().unwrap_or_else(PoisonError::into_inner));
    let waits = accepted.iter().filter_map(|(instance, accepted)| {
        Some(called.get(instance)?.saturating_duration_since(*accepted).as_secs_f64() * 1e3)
    });
    let mut waits: Vec<f64> = waits.collect();
    ensure!(waits.len() == PACED, "{} of {PACED} first calls", waits.len());
    waits.sort_by(f64::total_cmp);
    let (_, mut syncs) = synced(scene::directory()?.path())?;
    syncs.sort_by(f64::total_cmp);
    store.close().await?;
    let (wait, sync) = (at_share(&waits, 0.99), at_share(&syncs, 0.99));
    report.figure("durable: accepted to first call at 1,000 events/s, p50", median(&waits), "ms");
    report.figure("durable: accepted to first call at 1,000 events/s, p99", wait, "ms");
    report.figure("durable: one sync, p99", sync, "ms");
    report.against("durable: first call's p99 against a sync's", wait / sync, "times", Target::AtMost(3.0));
    Ok(())
}

/// A cloud in memory that knows when it was first asked about each instance.
struct Timed {
    memory: Memory,
    called: Mutex<HashMap<String, Instant>>,
}

impl Sender for Timed {
    fn account(&self, name: &AccountName) -> Option<AccountFacts> {
        self.memory.account(name)
    }

    fn send<'a>(
        &'a self,
        caller: Caller<'a>,
        request: &'a CallRequest,
        stamp: Stamp<'a>,
    ) -> futures::future::BoxFuture<'a, Verdict> {
        if let Some(at) = request.params.find("i-paced") {
            let instance = request.params[at..at + "i-paced00000".len()].to_owned();
            let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
            called.entry(instance).or_insert_with(Instant::now);
        }
        self.memory.send(caller, request, stamp)
    }

    fn spread(&self) -> u8 {
        0
    }
}

/// How long a host takes to be ready with many unfinished runs.
async fn recovery(report: &mut Report) -> anyhow::Result<()> {
    let directory = scene::directory()?;
    let clouds = Clouds::start().await?;
    let plugins = lay_out(directory.path(), &clouds)?;
    let plugin = opsward_bundle::plugin("snapshot-on-reboot").context("the bundle has no such plugin")?;
    std::fs::write(plugins.join("snapshot-on-reboot.wasm"), plugin.bytes)?;
    let policy = include_str!("snapshot-on-reboot.toml").replace("{plugin}", plugin.name);
    std::fs::write(plugins.join("snapshot-on-reboot.toml"), policy)?;
    // Compiled before, as it is at any start but the first.
    Host::start(directory.path(), &clouds).await?.stop().await?;
    let store = SqliteStore::open(&directory.path().join("opsward.db"))?;
    for many in (0..UNFINISHED).collect::<Vec<_>>().chunks(500) {
        let digest = Digest::of(plugin.bytes);
        let events = many
            .iter()
            .map(|n| new_event(&format!("unfinished-{n}"), digest, "snapshot-on-reboot"))
            .collect();
        store.accept(events).await?;
    }
    store.close().await?;
    drop(store);
    let host = Host::start(directory.path(), &clouds).await?;
    let ready = host.ready_after.as_secs_f64();
    report.against("durable: ready with 10,000 unfinished runs", ready, "s", Target::AtMost(5.0));
    host.stop().await?;
    report.figure(
        "durable: write and fdatasync of 4 KiB",
        machine::sync_time(directory.path())?.as_secs_f64() * 1e6,
        "us",
    );
    Ok(())
}

fn new_event(id: &str, digest: Digest, policy: &str) -> NewEvent {
    let event = scene::event(id);
    let policy = policy.parse().expect("a policy's name");
    let run = NewRun {
        id: RunId::derive(&event.source, &event.id, &policy),
        policy,
        digest,
        wants: Wants::Progress,
    };
    NewEvent { event, raw: Vec::new(), received: scene::NOW, trust: Trust::Hint, runs: vec![run] }
}

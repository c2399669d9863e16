//! Whole hosts in virtual time on one thread: accept, worker, broker, clouds, finish. A seed is a day with deliveries, a
//! schedule, crashes, and faults of store, clock and clouds; the same seed gives the same day. Faults are decided by `fate`
//! and `cloud`, and the day is judged by `judge`. `OPSWARD_SEED` begins with that seed; with `OPSWARD_SIMULATION_LOG` two
//! days that differ say where.

mod cloud;
mod fate;
mod judge;

use crate::harness::{compiler, seed, soak, times};
use crate::store::memory::{Disk, MemoryStore};
use cloud::{Clouds, Way};
use fate::{Fate, Life, Skewed};
use opsward::broker::Broker;
use opsward::plugin::engine::{Engine, Limits};
use opsward::plugin::registry::Registry;
use opsward::policy::Policies;
use opsward::store::{RunDetail, Store};
use opsward::trigger::accept::Accept;
use opsward::trigger::timer::Timer;
use opsward::worker::Worker;
use opsward_core::config::load_host;
use opsward_core::event::Event;
use opsward_core::run::RunState;
use opsward_core::sender::Trust;
use opsward_core::time::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// When runs must have ended: a run may rely on its token for half a day.
const DAY_END: Duration = Duration::from_secs(48 * 3600);
/// How often it is looked whether all is over.
const LOOK: Duration = Duration::from_secs(60);
/// A sender's patience with an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The days that a change is judged by are the same each time, so that a failure is the change's doing. `SOAK` draws others.
const FIRST_DAY: u64 = 5_778_926_988_960_974_042;

#[test]
fn a_day_with_faults_loses_nothing_doubles_nothing_and_is_the_same_each_time() {
    let base = match soak() || std::env::var_os("OPSWARD_SEED").is_some() {
        true => seed("simulation"),
        false => FIRST_DAY,
    };
    let days = times(5, 500, 20_000);
    let parts = Parts::new();
    let (mut effects, mut crashes, mut states) = (0, 0, BTreeMap::<&str, usize>::new());
    for n in 0..days {
        let seed = base.wrapping_add(n as u64);
        let [first, second] = [parts.live(seed), parts.live(seed)];
        let again = format!("run only this day with OPSWARD_SEED={seed}; it comes first");
        if first.hash != second.hash {
            let differs = first.log.iter().zip(&second.log).find(|(a, b)| a != b);
            panic!("two runs of one day differ, first at {differs:?}; {again}");
        }
        if let Err(problem) = &first.judged {
            panic!("{problem}; {again}");
        }
        effects += first.effects;
        crashes += first.crashes;
        for state in first.states {
            *states.entry(state.as_str()).or_default() += 1;
        }
    }
    println!("{days} days from seed {base}: {effects} effects, {crashes} crashes, runs {states:?}");
    assert!(effects >= days * EFFECTS_MIN, "only {effects} effects in {days} days");
}

/// Effects a day at the least, on average; a day that does nothing proves nothing.
const EFFECTS_MIN: usize = 10;

/// How a day went.
struct Lived {
    hash: u64,
    log: Vec<String>,
    judged: Result<(), String>,
    effects: usize,
    crashes: usize,
    states: Vec<RunState>,
}

/// What all days share, and no day changes.
struct Parts {
    engine: Engine,
    registry: Arc<Registry>,
    policies: Arc<Policies>,
    _dir: tempfile::TempDir,
}

impl Parts {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let plugins = dir.path().join("plugins.d");
        std::fs::create_dir(&plugins).expect("plugins.d");
        for plugin in opsward_bundle::PLUGINS {
            std::fs::write(plugins.join(format!("{}.wasm", plugin.name)), plugin.bytes).expect("written");
        }
        let snapshots = include_str!("harness/snapshot-on-reboot.toml");
        let resets = include_str!("harness/nightly-reset.toml").replace("{cron}", "0 0 * * * * *");
        std::fs::write(plugins.join("snapshot-on-reboot.toml"), snapshots).expect("written");
        std::fs::write(plugins.join("nightly-reset.toml"), resets).expect("written");
        // Days take no real time that a guest's bound could be about.
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-guests");
        let engine = Engine::without_ticks(Limits::default(), &cache, compiler()).expect("an engine");
        let settings = load_host("opsward.toml", include_str!("simulation/opsward.toml")).expect("settings");
        let policies = Arc::new(Policies::default());
        let opened = Registry::open(
            engine.clone(),
            dir.path().to_owned(),
            settings,
            policies.clone(),
            Arc::new(Notify::new()),
        );
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let registry = runtime.block_on(opened).expect("plugins are taken");
        assert_eq!(policies.load().policies.len(), 2, "{:?}", registry.status());
        Self { engine, registry, policies, _dir: dir }
    }

    fn live(&self, seed: u64) -> Lived {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(self.day(seed))
    }

    async fn day(&self, seed: u64) -> Lived {
        let fate = Fate::new(seed);
        let (begun, clouds) = (Instant::now(), Arc::new(Clouds::new(&fate)));
        let entrance = Arc::new(Entrance::default());
        let mut outside = JoinSet::new();
        for (at, event) in deliveries(&fate) {
            outside.spawn(deliver(entrance.clone(), begun + at, event));
        }
        for _ in 0..fate.below(6) {
            let (at, ms) = (begun + within_day(&fate), fate.below(60_000).cast_signed() - 30_000);
            let fate = fate.clone();
            outside.spawn(async move {
                tokio::time::sleep_until(at).await;
                fate.set_skew(ms);
            });
        }
        let (mut disk, mut crashes) = (Disk::default(), 0);
        let crashes_max = 3 + fate.below(8);
        loop {
            let steps = (crashes < crashes_max).then(|| fate.below(60));
            let life = fate.begin_life(steps);
            let (mut host, store) = self.start(&disk, &life, &clouds, &entrance);
            let over = async {
                loop {
                    tokio::time::sleep(LOOK).await;
                    let is_late = begun.elapsed() > DAY_END;
                    if is_late
                        || (begun.elapsed() > DAY && outside_done(&mut outside) && settled(&store).await)
                    {
                        break;
                    }
                }
            };
            let crashed = tokio::select! { () = fate.crashed.notified() => true, () = over => false };
            entrance.shut();
            host.shutdown().await;
            if !crashed {
                break;
            }
            crashes += 1;
            disk = disk.killed(usize::try_from(fate.below(4)).expect("small"));
            tokio::time::sleep(Duration::from_millis(fate.below(120_000))).await;
        }
        self.judged(&fate, &disk, &clouds, &entrance, usize::try_from(crashes).expect("few")).await
    }

    fn start(
        &self,
        disk: &Disk,
        life: &Arc<Life>,
        clouds: &Arc<Clouds>,
        entrance: &Entrance,
    ) -> (JoinSet<()>, Arc<MemoryStore>) {
        let opened = Arc::new(disk.open(Some(life.clone())));
        let store: Arc<dyn Store> = opened.clone();
        let clock = Arc::new(Skewed(life.fate.clone()));
        let (work, policies) = (Arc::new(Notify::new()), self.policies.clone());
        let cloud = Arc::new(Way { clouds: clouds.clone(), life: life.clone() });
        let worker = Arc::new(Worker {
            guests: self.engine.clone().into(),
            registry: self.registry.clone(),
            policies: policies.clone(),
            broker: Broker::new(store.clone(), cloud, clock.clone()),
            runs_max: 16,
            work: work.clone(),
            next_wake: AtomicI64::new(0),
        });
        let timer = Timer {
            store: store.clone(),
            clock: clock.clone(),
            policies: policies.clone(),
            policies_changed: Arc::new(Notify::new()),
            runs_ready: work.clone(),
        };
        entrance.open(Arc::new(Accept { store, policies, clock, work, seen: Arc::default() }));
        let mut host = JoinSet::new();
        // Kept by the tasks, since a host ends when its sender is gone.
        let (stop, stopping) = watch::channel(false);
        let stop = Arc::new(stop);
        let (of_worker, of_timer) = ((stop.clone(), stopping.clone()), (stop, stopping));
        host.spawn(async move {
            let (_stop, stopping) = of_worker;
            worker.run(stopping).await;
        });
        host.spawn(async move {
            let (_stop, stopping) = of_timer;
            timer.run(stopping).await;
        });
        (host, opened)
    }

    async fn judged(
        &self,
        fate: &Arc<Fate>,
        disk: &Disk,
        clouds: &Clouds,
        entrance: &Entrance,
        crashes: usize,
    ) -> Lived {
        let store = disk.killed(0).open(None);
        let runs: Vec<RunDetail> = store.find_runs("", 10_000).await.expect("found");
        let firings = store.list_firings(10_000).await.expect("listed");
        let effects = clouds.effects();
        let accepted = entrance.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let day = judge::Day { fate, accepted: &accepted, runs: &runs, firings: &firings, effects: &effects };
        let judged = judge::judge(&day);
        fate.note(&format!("{runs:?} {effects:?}"));
        let states = runs.iter().map(|run| run.row.state).collect();
        Lived { hash: fate.hash(), log: fate.log(), judged, effects: effects.len(), crashes, states }
    }
}

/// Where deliveries meet the host, if one is up.
#[derive(Default)]
struct Entrance {
    host: Mutex<Option<(Arc<Accept>, JoinSet<()>)>>,
    accepted: Mutex<BTreeSet<String>>,
}

impl Entrance {
    fn open(&self, accept: Arc<Accept>) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = Some((accept, JoinSet::new()));
    }

    fn shut(&self) {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Hands an event in; accepting goes on in the host when the sender has lost its patience.
    async fn hand_in(self: &Arc<Self>, event: Event) -> bool {
        let (told, answer) = tokio::sync::oneshot::channel();
        {
            let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((accept, tasks)) = host.as_mut() else { return false };
            let accept = accept.clone();
            tasks.spawn(async move {
                let accepted = accept.accept(vec![event], b"", Trust::Proved).await;
                // The sender may be gone.
                told.send(accepted.is_ok()).ok();
            });
        }
        matches!(tokio::time::timeout(PATIENCE, answer).await, Ok(Ok(true)))
    }
}

/// Delivers one event until it is accepted, as vendors do.
async fn deliver(entrance: Arc<Entrance>, at: Instant, event: Event) {
    tokio::time::sleep_until(at).await;
    while !entrance.hand_in(event.clone()).await {
        tokio::time::sleep(PATIENCE).await;
    }
    entrance.accepted.lock().unwrap_or_else(PoisonError::into_inner).insert(event.id);
}

/// The day's deliveries: some events come more than once, and some incidents have two events.
fn deliveries(fate: &Fate) -> Vec<(Duration, Event)> {
    let mut all = Vec::new();
    for n in 0..15 + fate.below(20) {
        let (at, instance) = (within_day(fate), format!("i-{}", 1 + fate.below(4)));
        for nth in 0..1 + fate.below(2) {
            for _ in 0..1 + fate.below(3) {
                let late = Duration::from_millis(fate.below(60_000));
                all.push((at + late, event(&format!("e-{n}"), nth, &instance)));
            }
        }
    }
    all
}

fn within_day(fate: &Fate) -> Duration {
    Duration::from_millis(fate.below(24 * 3600 * 1000))
}

fn event(incident: &str, nth: u64, instance: &str) -> Event {
    let content = json!({ "ecsInstanceId": instance, "eventId": incident });
    Event {
        source: "cloudmonitor".parse().expect("a name"),
        id: format!("{incident}-{nth}"),
        kind: "Instance:SystemFailure.Reboot:Executed".to_owned(),
        subject: Some(instance.to_owned()),
        time: Timestamp::from_seconds(1_767_225_600),
        data: json!({ "content": content, "status": "Executed", "regionId": "cn-hangzhou" }).to_string(),
        incident: Some(incident.to_owned()),
        level: None,
        transition: None,
        account: None,
        region: Some("cn-hangzhou".to_owned()),
    }
}

fn outside_done(outside: &mut JoinSet<()>) -> bool {
    while outside.try_join_next().is_some() {}
    outside.is_empty()
}

async fn settled(store: &MemoryStore) -> bool {
    let counts = store.count_runs().await.expect("counted");
    counts.iter().all(|(state, runs)| *runs == 0 || !matches!(state, RunState::Ready | RunState::Running))
}

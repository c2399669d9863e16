//! What the benchmarks inside this process share: the measured guest, an event for it, and a host's parts put together on a
//! store on disk. Leaves child processes to `processes`.

use anyhow::{Context as _, anyhow};
use opsward::broker::{Broker, Sender};
use opsward::clock::SystemClock;
use opsward::plugin::compiler::Compiler;
use opsward::plugin::engine::{Engine, Limits};
use opsward::plugin::guests::Guests;
use opsward::plugin::registry::Registry;
use opsward::policy::Policies;
use opsward::runner::Runner;
use opsward::store::Store;
use opsward::store::sqlite::SqliteStore;
use opsward::trigger::accept::Accept;
use opsward::worker::Worker;
use opsward_core::config::{HostSettings, load_host};
use opsward_core::event::Event;
use opsward_core::time::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// The component of `tests/guests/bench`.
pub(crate) const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/opsward-guest-bench.wasm"));
/// 2026-01-01T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// An event that the measured guest wants.
pub(crate) fn event(id: &str) -> Event {
    Event {
        source: "bench".parse().expect("a source's name"),
        id: id.to_owned(),
        kind: "bench.event.0".to_owned(),
        subject: Some("acs:ecs:cn-hangzhou:12345678:instance/i-bp18l0uopocfc98xxxx".to_owned()),
        time: NOW,
        data: concat!(
            r#"{"product":"ECS","level":"CRITICAL","instanceName":"timewarp","regionId":"cn-hangzhou","#,
            r#""content":{"instanceId":"i-bp18l0uopocfc98xxxx","eventId":"e-t4nhcpqcu8fqushpn3mm","#,
            r#""eventStatus":"Executed","eventType":"InstanceFailure.Reboot"}}"#,
        )
        .to_owned(),
        incident: Some("e-t4nhcpqcu8fqushpn3mm".to_owned()),
        level: None,
        transition: None,
        account: None,
        region: Some("cn-hangzhou".to_owned()),
    }
}

/// A runtime on the calling thread.
pub(crate) fn single_thread() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A directory on the disk of the target folder: what is measured is a disk, and the system's temporary directory may be
/// memory.
pub(crate) fn directory() -> anyhow::Result<tempfile::TempDir> {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(parent)?;
    tempfile::tempdir_in(parent).with_context(|| format!("cannot make a directory in {}", parent.display()))
}

/// `opsward` as the tests build it: this process is another program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_opsward-under-test");

/// What compiles plugins.
pub(crate) fn compiler() -> Compiler {
    Compiler::at(PROGRAM.into())
}

/// A host's parts but listeners, worker and cloud: one live policy, a store on disk.
pub(crate) struct Scene {
    pub(crate) guests: Guests,
    pub(crate) registry: Arc<Registry>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) store: Arc<SqliteStore>,
    /// Last, so that it is removed after the store is closed.
    _directory: tempfile::TempDir,
}

impl Scene {
    /// With guests in this process.
    pub(crate) async fn new() -> anyhow::Result<Self> {
        Self::with(&[], async |cache| Ok(Engine::new(Limits::default(), cache, compiler())?.into())).await
    }

    /// With guests in a runner, as `opsward serve` has them, and more files in the plugins directory.
    pub(crate) async fn in_two_processes(files: &[(String, &[u8])]) -> anyhow::Result<Self> {
        Self::with(files, async |cache| {
            let engine = Engine::without_ticks(Limits::default(), cache, compiler())?;
            Ok(Runner::start(engine, PROGRAM.into()).await?.into())
        })
        .await
    }

    async fn with(
        files: &[(String, &[u8])],
        guests: impl AsyncFnOnce(&Path) -> anyhow::Result<Guests>,
    ) -> anyhow::Result<Self> {
        let directory = directory()?;
        let base = directory.path();
        std::fs::create_dir(base.join("plugins.d"))?;
        std::fs::write(base.join("plugins.d/bench.wasm"), GUEST)?;
        std::fs::write(base.join("plugins.d/bench.toml"), include_str!("bench.toml"))?;
        for (name, bytes) in files {
            std::fs::write(base.join("plugins.d").join(name), bytes)?;
        }
        let guests = guests(&base.join("cache")).await?;
        let policies = Arc::new(Policies::default());
        let (settings, changed) = (settings()?, Arc::new(Notify::new()));
        let registry =
            Registry::open(guests.clone(), base.to_owned(), settings, policies.clone(), changed).await?;
        anyhow::ensure!(
            !registry.status().has_refusals(),
            "not every policy is live: {:?}",
            registry.status()
        );
        let store = SqliteStore::open(&base.join("opsward.db"))?;
        Ok(Self { guests, registry, policies, store, _directory: directory })
    }
}

/// The parts that take events and work on them, with `cloud` to call. Workers run until told to stop.
pub(crate) fn work(scene: &Scene, cloud: Arc<dyn Sender>, runs_max: usize) -> (Arc<Accept>, Arc<Worker>) {
    let work = Arc::new(Notify::new());
    let store: Arc<dyn Store> = scene.store.clone();
    let clock = Arc::new(SystemClock);
    let accept = Accept {
        store: store.clone(),
        policies: scene.policies.clone(),
        clock: clock.clone(),
        work: work.clone(),
        seen: Arc::default(),
    };
    let worker = Worker {
        guests: scene.guests.clone(),
        registry: scene.registry.clone(),
        policies: scene.policies.clone(),
        broker: Broker::new(store, cloud, clock),
        runs_max,
        work,
        next_wake: AtomicI64::new(0),
    };
    (Arc::new(accept), Arc::new(worker))
}

/// The host's settings.
pub(crate) fn settings() -> anyhow::Result<HostSettings> {
    load_host("opsward.toml", include_str!("opsward.toml")).map_err(|findings| {
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        anyhow!("{}", shown.join("\n"))
    })
}

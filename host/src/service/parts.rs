//! The parts of the running service: how they are put together, watched, and drained. Leaves signals to `service`.

use super::retention;
use super::secrets::Secrets;
use crate::admin::{self, Admin, Gate, Listeners};
use crate::approve;
use crate::broker::Broker;
use crate::cli::ServeArgs;
use crate::clock::{Clock, SystemClock};
use crate::cloud::{Certificates, CloudClient};
use crate::plugin::compiler::{Compiler, THIS_PROGRAM};
use crate::plugin::engine::{Engine, Limits};
use crate::plugin::guests::Guests;
use crate::plugin::registry::Registry;
use crate::policy::Policies;
use crate::runner::Runner;
use crate::store::Store;
use crate::store::sqlite::{SqliteStore, in_use};
use crate::telemetry;
use crate::trigger::accept::Accept;
use crate::trigger::catch_up::CatchUpSource;
use crate::trigger::http::{self, HookLimits, HookSource, Peer, Receiving};
use crate::trigger::log_file;
use crate::trigger::log_store::LogStoreSource;
use crate::trigger::queue::QueueSource;
use crate::trigger::seen::Seen;
use crate::trigger::timer::Timer;
use crate::worker::Worker;
use anyhow::Context as _;
use axum::extract::Extension;
use opsward_core::config::{Comes, HostSettings, SourceSettings, StoreSettings};
use opsward_core::sender::addresses::AddressRange;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

/// How long the parts may take to end once told: the longest is the worker's `DRAIN`. With the two below it stays within the
/// 20 s that a drain may take, and well within the 30 s after which the unit file has systemd kill.
const PARTS_DRAIN: Duration = Duration::from_secs(16);
/// How long admin requests under way may still take after that.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);
/// How long the store may take to write what is queued and to tidy up; what it has told anybody is on disk already.
const STORE_DRAIN: Duration = Duration::from_secs(2);
/// Connections from one address where the operator does not say: a cloud's senders share few addresses, and keep a handful open from
/// each.
const CONNECTIONS_PER_ADDRESS: usize = 256;
/// How often plugin revisions that nothing needs are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// Everything that runs.
pub(super) struct Parts {
    /// Where webhooks are received.
    pub(super) listen: SocketAddr,
    /// Where operators ask with a token, if anywhere.
    pub(super) admin: Option<SocketAddr>,
    /// Where commands on this machine ask.
    pub(super) socket: PathBuf,
    store: Arc<SqliteStore>,
    tasks: JoinSet<&'static str>,
    showing: JoinHandle<std::io::Result<()>>,
    ready: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
}

impl Parts {
    /// Opens the store, loads the plugins, binds both listeners, and starts everything.
    pub(super) async fn start(
        settings: HostSettings,
        secrets: Secrets,
        base: PathBuf,
        args: ServeArgs,
    ) -> anyhow::Result<Self> {
        let metrics = telemetry::start_metrics()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let StoreSettings::Sqlite { path } = &settings.store;
        let file = base.join(path);
        let store = SqliteStore::open(&file).context("cannot open the store")?;
        let keep = settings.store_keep;
        let pulled: Vec<SourceSettings> = settings.sources.values().cloned().collect();
        let cloud = CloudClient::new(secrets.accounts, secrets.named, clock.clone())?;
        let cloud = Arc::new(cloud.reaching(pulled.iter().filter_map(SourceSettings::endpoint))?);
        let guests = guests(&base.join(settings.cache_dir()), args).await?;
        let [work, changed] = [(); 2].map(|()| Arc::new(Notify::new()));
        let policies = Arc::new(Policies::default());
        let seen = Arc::new(Seen::of(&settings));
        let accept = Arc::new(Accept {
            store: store.clone(),
            policies: policies.clone(),
            clock: clock.clone(),
            work: work.clone(),
            seen: seen.clone(),
        });
        let logs = log_file::all(&settings, &base, &accept);
        let (server_listen, admin_settings) = (settings.server_listen, settings.admin.clone());
        let listening = Listening::of(&settings, &secrets.sources, &clock)?;
        let at = base.clone();
        let registry =
            Registry::open(guests.clone(), base, settings, policies.clone(), changed.clone()).await?;

        let broker = Broker::new(store.clone(), cloud.clone(), clock.clone()).after(store.restored());
        broker.halted.look(store.as_ref()).await;
        let halted = broker.halted.clone();
        let worker = Worker {
            runs_max: guests.limits().instances as usize,
            guests,
            registry: registry.clone(),
            policies: policies.clone(),
            broker,
            work: work.clone(),
            next_wake: AtomicI64::new(0),
        };
        let timer = Timer {
            store: store.clone(),
            clock: clock.clone(),
            policies: policies.clone(),
            policies_changed: changed,
            runs_ready: work.clone(),
        };
        let (ready, is_ready) = watch::channel(true);
        let of_registry = registry.clone();
        let refused = Arc::new(move || admin::refused_files(&of_registry.status()));
        let approval_key = approve::key(&file).context("cannot make links for approvals")?;
        let approval_key = Arc::new(approval_key);
        let gate = Gate::new(&admin_settings, &file, clock.clone())?;
        let front = Admin {
            gate: Arc::new(gate),
            store: store.clone(),
            policies,
            clock: clock.clone(),
            seen,
            refused,
            work,
            approval_key,
            metrics,
            ready: is_ready,
        };

        let hooks = bind(server_listen).await?;
        let admin_listeners = Listeners::bind(&admin_settings, &at, &file).await?;
        let (listen, admin) = (hooks.local_addr()?, admin_listeners.address());
        let socket = admin_listeners.path().to_owned();
        in_use::name_admin(&file, &socket).context("cannot write beside the store")?;
        let Listening { certificates, proxies, uncounted, limits } = listening;
        let receiving = Receiving { accept: accept.clone(), certificates, proxies, limits };
        let router = http::router(secrets.sources, receiving);
        let router_for = move |from| router.clone().layer(Extension(Peer(from)));
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(named("registry", registry.clone().watch(stopping.clone())));
        tasks.spawn(named("pruning", prune(registry, store.clone(), stopping.clone())));
        let retention = retention::run(store.clone(), clock, keep, stopping.clone());
        tasks.spawn(named("retention", retention));
        tasks.spawn(named("halts", halted.keep_in_step(store.clone(), stopping.clone())));
        for source in pulled {
            let is_mixed = source.is_mixed();
            let SourceSettings { name, kind, comes, catch_up, .. } = source;
            let (cloud, accept, stopping) = (cloud.clone(), accept.clone(), stopping.clone());
            if let Some(catch_up) = catch_up {
                let (name, cloud, accept) = (name.clone(), cloud.clone(), accept.clone());
                let source = CatchUpSource { name, catch_up, cloud, accept };
                tasks.spawn(named("catch-up", source.run(stopping.clone())));
            }
            match comes {
                Comes::Posted(_) | Comes::File(_) => {}
                Comes::Queue(queue) => {
                    let source = QueueSource { name, kind, queue, cloud, accept };
                    tasks.spawn(named("queue", source.run(stopping)));
                }
                Comes::LogStore(store) => {
                    let source = LogStoreSource { name, kind, store, cloud, accept, is_mixed };
                    tasks.spawn(named("log store", source.run(stopping)));
                }
            }
        }
        let (telling, told) = (stopping.clone(), accept.seen.clone());
        tasks.spawn(named("refusals", async move { told.tell(telling).await }));
        tasks.spawn(named("timer", timer.run(stopping.clone())));
        for log in logs {
            tasks.spawn(named("log", log.run(stopping.clone())));
        }
        tasks.spawn(named("worker", Arc::new(worker).run(stopping.clone())));
        let webhooks = http::serve(hooks, router_for, limits, uncounted, stopped(stopping));
        tasks.spawn(named("webhooks", webhooks));
        let (stop_admin, admin_stopping) = watch::channel(false);
        let showing = tokio::spawn(admin_listeners.serve(front, admin_stopping));
        Ok(Self { listen, admin, socket, store, tasks, showing, ready, stop, stop_admin })
    }

    /// Resolves when a part has failed. A host of which a part has died would look alive and do only half its work: it is
    /// to end, and to be started again.
    pub(super) async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            part = self.tasks.join_next() => anyhow::anyhow!("a part has ended by itself: {part:?}"),
            failed = self.store.ended() => anyhow::Error::new(failed).context("the store has failed"),
        }
    }

    /// Takes nothing new, lets what is under way end, within bounds, and closes the store.
    pub(super) async fn drain(self) -> anyhow::Result<()> {
        self.ready.send_replace(false);
        self.stop.send_replace(true);
        end(self.tasks).await;
        self.stop_admin.send_replace(true);
        if tokio::time::timeout(ADMIN_DRAIN, self.showing).await.is_err() {
            tracing::warn!("admin requests still under way are cut off");
        }
        match tokio::time::timeout(STORE_DRAIN, self.store.close()).await {
            Ok(closed) => closed.context("cannot close the store"),
            Err(_) => {
                tracing::warn!("the store takes long to close; the next start makes up for it");
                Ok(())
            }
        }
    }
}

/// How the public listener listens.
struct Listening {
    certificates: Option<Arc<Certificates>>,
    proxies: Vec<AddressRange>,
    uncounted: Vec<AddressRange>,
    limits: HookLimits,
}

impl Listening {
    fn of(settings: &HostSettings, sources: &[HookSource], clock: &Arc<dyn Clock>) -> anyhow::Result<Self> {
        let reaches: Vec<_> = sources.iter().filter_map(|source| source.proof.reach()).collect();
        let certificates = match reaches.is_empty() {
            true => None,
            false => Some(Arc::new(Certificates::new(reaches, clock.clone())?)),
        };
        let proxies = settings.server_proxies.clone();
        let of_operator = settings.server_connections_per_address;
        // Where the operator says nothing, whoever connects from this machine is taken for the proxy that is to stand in front.
        let this_machine = ["127.0.0.0/8", "::1"].map(|range| range.parse().expect("a range"));
        let this_machine = this_machine.into_iter().filter(|_| of_operator.is_none());
        let uncounted = proxies.iter().copied().chain(this_machine).collect();
        let connections_per_address = of_operator.unwrap_or(CONNECTIONS_PER_ADDRESS);
        let limits = HookLimits { connections_per_address, ..HookLimits::default() };
        Ok(Self { certificates, proxies, uncounted, limits })
    }
}

/// Where guests run: in a process that holds no key, unless the operator wants it otherwise.
pub(crate) async fn guests(cache: &Path, args: ServeArgs) -> anyhow::Result<Guests> {
    let (limits, compiler) = (Limits::default(), Compiler::in_this_program());
    if args.single_process {
        tracing::warn!(
            "plugins run in the process that holds the keys (--single-process): for development, with plugins you trust"
        );
        return Ok(Engine::new(limits, cache, compiler)?.into());
    }
    let engine = Engine::without_ticks(limits, cache, compiler)?;
    Ok(Runner::start(engine, PathBuf::from(THIS_PROGRAM)).await?.into())
}

/// A task that tells who ended.
async fn named(name: &'static str, part: impl Future<Output = ()>) -> &'static str {
    part.await;
    name
}

/// Waits for the tasks to end, and goes on without those that do not.
async fn end(mut parts: JoinSet<&'static str>) {
    let all_ended = async {
        while let Some(ended) = parts.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error = &error as &dyn std::error::Error, "a part failed");
            }
        }
    };
    if tokio::time::timeout(PARTS_DRAIN, all_ended).await.is_err() {
        tracing::warn!(parts = parts.len(), "drain timed out; what is under way is cut off");
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Forgets plugin revisions that nothing needs any more, now and then.
async fn prune(registry: Arc<Registry>, store: Arc<SqliteStore>, stopping: watch::Receiver<bool>) {
    let mut stopping = std::pin::pin!(stopped(stopping));
    loop {
        tokio::select! { () = &mut stopping => return, () = tokio::time::sleep(PRUNE_EVERY) => {} }
        let pruned = match store.pinned_digests().await {
            Ok(pinned) => registry.prune(&pinned).await.map_err(anyhow::Error::from),
            Err(error) => Err(error.into()),
        };
        match pruned {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "pruned the compile cache"),
            Err(error) => tracing::warn!("cannot prune the compile cache: {error:#}"),
        }
    }
}

pub(super) async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone has nothing more to serve either.
    if stopping.wait_for(|stop| *stop).await.is_err() {
        tracing::debug!("stopped without being told");
    }
}

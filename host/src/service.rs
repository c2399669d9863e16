//! `opsward serve`: puts the parts together, says when it is ready, and drains them at SIGTERM. Leaves every part's work to
//! the part.

mod hide;

use crate::admin::{self, Admin};
use crate::broker::Broker;
use crate::cli::{EXIT_CONFIG, EXIT_SOFTWARE};
use crate::clock::{Clock, SystemClock};
use crate::cloud::{self, Account, CloudClient};
use crate::plugin::engine::{Engine, Limits};
use crate::plugin::registry::Registry;
use crate::policy::Policies;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::trigger::accept::Accept;
use crate::trigger::http::{self, HookLimits, HookSource};
use crate::trigger::timer::Timer;
use crate::worker::Worker;
use crate::{notify, telemetry};
use anyhow::Context as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use opsward_core::config::{HostSettings, StoreSettings, load_host};
use opsward_core::secret::{Credential, Secret, SecretRef};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// How long the parts may take to end once told: the longest is the worker's `DRAIN`. With the two below it stays within the
/// 20 s that a drain may take, and well within the 30 s after which the unit file has systemd kill.
const PARTS_DRAIN: Duration = Duration::from_secs(16);
/// How long admin requests under way may still take after that.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);
/// How long the store may take to write what is queued and to tidy up; what it has told anybody is on disk already.
const STORE_DRAIN: Duration = Duration::from_secs(2);
/// How often plugin revisions that nothing needs are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

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

/// Everything secret that the configuration refers to.
struct Secrets {
    accounts: Vec<Account>,
    sources: Vec<HookSource>,
    named: HashMap<String, Secret>,
}

impl Secrets {
    fn read(settings: &HostSettings, base: &Path) -> anyhow::Result<Self> {
        let mut accounts = Vec::new();
        for (name, account) in &settings.accounts {
            let of = |reference| cloud::resolve(reference, base).with_context(|| format!("account {name}"));
            let refs = &account.credentials;
            let credential = Credential {
                key_id: of(&refs.key_id)?.expose().to_owned(),
                key_secret: of(&refs.key_secret)?,
                session_token: refs.session_token.as_ref().map(of).transpose()?,
            };
            accounts.push(Account {
                name: name.clone(),
                provider: account.provider,
                endpoint: account.endpoint.clone(),
                scheme: account.scheme,
                region: account.region.clone().unwrap_or_default(),
                credential,
            });
        }
        let mut sources = Vec::new();
        for (name, source) in &settings.sources {
            let token = cloud::resolve(&source.token, base).with_context(|| format!("source {name}"))?;
            sources.push(HookSource { name: name.clone(), kind: source.kind, token });
        }
        let mut named = HashMap::new();
        for (name, reference) in &settings.secrets {
            named.insert(
                name.clone(),
                cloud::resolve(reference, base).with_context(|| format!("secret {name}"))?,
            );
        }
        forget_variables(settings);
        Ok(Self { accounts, sources, named })
    }
}

/// Takes the variables that held secrets out of the environment, so that no child and no core dump of it shows them.
fn forget_variables(settings: &HostSettings) {
    let accounts = settings.accounts.values().flat_map(|account| {
        let refs = &account.credentials;
        [Some(&refs.key_id), Some(&refs.key_secret), refs.session_token.as_ref()].into_iter().flatten()
    });
    let tokens = settings.sources.values().map(|source| &source.token);
    for reference in accounts.chain(tokens).chain(settings.secrets.values()) {
        if let SecretRef::Env(name) = reference {
            // SAFETY: called from `serve` before the runtime and any other thread exists.
            unsafe { hide::forget_variable(name) };
        }
    }
}

async fn run(settings: HostSettings, secrets: Secrets, base: PathBuf) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let StoreSettings::Sqlite { path } = &settings.store;
    let store = SqliteStore::open(&base.join(path)).context("cannot open the store")?;
    let cloud = Arc::new(CloudClient::new(secrets.accounts, secrets.named, clock.clone())?);
    let cache = settings.plugins.cache_dir.clone().unwrap_or_else(|| path.with_extension("cache"));
    let engine = Engine::new(Limits::default(), &base.join(cache))?;
    let (policies, work, changed) =
        (Arc::new(Policies::default()), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let addresses = (settings.server_listen, settings.admin_listen);
    let registry = Registry::open(engine.clone(), base, settings, policies.clone(), changed.clone()).await?;

    let hooks = bind(addresses.0).await?;
    let admin_listener = bind(addresses.1).await?;
    let (listen, admin_listen) = (hooks.local_addr()?, admin_listener.local_addr()?);
    let (stop, stopping) = watch::channel(false);
    let (ready, is_ready) = watch::channel(true);

    let dyn_store: Arc<dyn Store> = store.clone();
    let broker = Broker { store: dyn_store.clone(), cloud, clock: clock.clone() };
    let accept = Accept {
        store: dyn_store.clone(),
        policies: policies.clone(),
        clock: clock.clone(),
        work: work.clone(),
    };
    let limits = HookLimits::default();
    let router = http::router(secrets.sources, Arc::new(accept), limits);
    let worker = Arc::new(Worker {
        runs_max: engine.limits().instances as usize,
        engine: Arc::new(engine),
        registry: registry.clone(),
        policies: policies.clone(),
        broker,
        work: work.clone(),
    });
    let timer = Timer {
        store: dyn_store.clone(),
        clock: clock.clone(),
        policies: policies.clone(),
        policies_changed: changed,
        runs_ready: work,
    };
    let refused = {
        let registry = registry.clone();
        move || admin::refused_files(&registry.status())
    };
    let front =
        Admin { store: dyn_store, policies, clock, refused: Arc::new(refused), metrics, ready: is_ready };

    let mut parts = JoinSet::new();
    let run_part = |parts: &mut JoinSet<&'static str>, name, part: BoxFuture<'static, ()>| {
        parts.spawn(async move {
            part.await;
            name
        });
    };
    run_part(&mut parts, "registry", registry.clone().watch(stopping.clone()).boxed());
    run_part(&mut parts, "pruning", prune(registry, store.clone(), stopping.clone()).boxed());
    run_part(&mut parts, "timer", timer.run(stopping.clone()).boxed());
    run_part(&mut parts, "worker", worker.run(stopping.clone()).boxed());
    run_part(&mut parts, "webhooks", http::serve(hooks, router, limits, stopped(stopping)).boxed());
    let (stop_admin, admin_stopping) = watch::channel(false);
    let showing = tokio::spawn(admin::serve(admin_listener, front, stopped(admin_stopping)));
    tracing::info!(listen = %listen, admin = %admin_listen, "ready");
    notify::ready();

    // A host of which a part has died would look alive and do only half its work: end, to be started again.
    let ended = tokio::select! {
        told = until_told_to_end() => told,
        part = parts.join_next() => Err(anyhow::anyhow!("a part has ended by itself: {part:?}")),
        failed = store.ended() => Err(failed).context("the store has failed"),
    };
    tracing::info!("draining");
    notify::stopping();
    ready.send_replace(false);
    stop.send_replace(true);
    drain(parts).await;
    stop_admin.send_replace(true);
    if tokio::time::timeout(ADMIN_DRAIN, showing).await.is_err() {
        tracing::warn!("admin requests still under way are cut off");
    }
    match tokio::time::timeout(STORE_DRAIN, store.close()).await {
        Ok(closed) => closed.context("cannot close the store")?,
        Err(_) => tracing::warn!("the store takes long to close; the next start makes up for it"),
    }
    tracing::info!("drained");
    ended
}

/// Waits for the parts to end, and goes on without those that do not.
async fn drain(mut parts: JoinSet<&'static str>) {
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

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone has nothing more to serve either.
    if stopping.wait_for(|stop| *stop).await.is_err() {
        tracing::debug!("stopped without being told");
    }
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

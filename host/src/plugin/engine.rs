//! Runs guests: a fresh store and instance for each run, out of a pool that is set up once, with every bound in place
//! before the first instruction. Leaves turning bytes into revisions to `compile`, what imports answer to `imports`, and
//! waiting for a free place to the worker's semaphore. Tested by the hostile guests in `tests/`.

pub(super) mod settings;

use super::bindings::opsward::policy::events;
use super::bindings::{Policy, PolicyPre};
use super::cache::{Cache, configuration};
use super::compiler::Compiler;
use super::guest::Guest;
use super::judge::RefusedPlugin;
use super::lane::{self, Kept, Pace, Paces, SlowLane};
use super::ticker::Ticker;
use super::{Ended, GuestCalls, RunContext, wasi};
use opsward_core::event::Event;
use opsward_core::id::Digest;
use opsward_core::run::{Failure, Fault, FaultKind, Outcome};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use wasmtime::Store;
use wasmtime::component::{HasSelf, Linker};

/// How long after the wall-clock budget a call under way may still take. Before that, the budget ends a guest only at its
/// next call, so that an effect under way is not cut off and left ambiguous: with all its repetitions and read-backs one
/// takes the broker up to a quarter of an hour.
const WALL_GRACE: Duration = Duration::from_secs(900);
/// Most component-model resource handles a guest may hold.
const HANDLES_MAX: usize = 1_000;

/// Bounds of guests.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limits {
    /// Runs at a time; the worker admits no more.
    pub instances: u32,
    /// Memory of one guest in bytes, all its linear memories together.
    pub memory_bytes: usize,
    /// Computing time of one run; time in which the host works for the guest does not count.
    pub cpu: Duration,
    /// Time of one claim of a run, waiting included.
    pub wall: Duration,
    /// Host calls of one run; each request of a `call-all` counts, log lines do not.
    pub calls: u32,
    /// Log of one run in bytes.
    pub log_bytes: usize,
    /// Arguments or results of one host call in bytes.
    pub transfer_bytes: usize,
    /// Size of a plugin's file in bytes: an interpreter with its library is up to 20 MB.
    pub plugin_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            instances: 128,
            memory_bytes: 64 << 20,
            cpu: Duration::from_secs(1),
            wall: Duration::from_secs(600),
            calls: 1_000,
            log_bytes: 256 << 10,
            transfer_bytes: 4 << 20,
            plugin_bytes: 32 << 20,
        }
    }
}

/// Has plugins compiled, and runs them. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    wasm: wasmtime::Engine,
    linker: Linker<Guest>,
    limits: Limits,
    /// What is reserved for a memory in bytes where there is no pool of them.
    reserved: Option<u64>,
    /// None in a process that only runs what others compiled.
    workshop: Option<Workshop>,
    /// None where nothing interrupts guests.
    slow_lane: OnceLock<SlowLane>,
}

/// What it takes to have plugins compiled.
struct Workshop {
    cache: Cache,
    compiler: Compiler,
    /// One plugin is compiled at a time, so that serving keeps its share of the processors.
    one_at_a_time: Semaphore,
}

/// Why the engine could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum StartEngineError {
    /// The compile cache's directory is unusable.
    #[error("cannot use `{path}` for compiled plugins")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// Threads could not be started.
    #[error("cannot start the threads that run and interrupt guests")]
    Threads(#[source] std::io::Error),
    /// wasmtime refuses the configuration on this machine.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Wasm(String),
}

impl Engine {
    /// Sets up the engine and its pool; `cache` is a directory of this program's own for compiled plugins. Where the kernel
    /// grants no address space for the pool (a limit on virtual memory), memory is mapped for each run instead: slower,
    /// with the same bounds.
    pub fn new(limits: Limits, cache: &Path, compiler: Compiler) -> Result<Self, StartEngineError> {
        let engine = Self::without_ticks(limits, cache, compiler)?;
        engine.start_ticking()?;
        Ok(engine)
    }

    /// An engine that interrupts no guest: for one that runs none, and for tests in which tasks take turns the same way each
    /// time.
    pub fn without_ticks(limits: Limits, cache: &Path, compiler: Compiler) -> Result<Self, StartEngineError> {
        let mut inner = Self::set_up(limits)?;
        let cache = Cache::open(cache, &inner.wasm)
            .map_err(|source| StartEngineError::Cache { path: cache.to_owned(), source })?;
        inner.workshop = Some(Workshop { cache, compiler, one_at_a_time: Semaphore::new(1) });
        Ok(Self(Arc::new(inner)))
    }

    /// An engine for code that is compiled already, and not ticking yet: no thread is started.
    pub(crate) fn for_running(limits: Limits) -> Result<Self, StartEngineError> {
        Self::set_up(limits).map(|inner| Self(Arc::new(inner)))
    }

    /// Has guests be interrupted from now on, and those that compute on give way. All threads have started when this is done.
    pub(crate) fn start_ticking(&self) -> Result<(), StartEngineError> {
        let ticker = Ticker::start(&self.0.wasm).map_err(StartEngineError::Threads)?;
        let slow_lane = SlowLane::start(ticker).map_err(StartEngineError::Threads)?;
        self.0.slow_lane.get_or_init(|| slow_lane);
        Ok(())
    }

    /// What code must have been compiled for to be run here: settings, version and processor, as a hash.
    pub(crate) fn configuration(&self) -> u64 {
        configuration(&self.0.wasm)
    }

    fn set_up(limits: Limits) -> Result<Inner, StartEngineError> {
        let pooled = wasmtime::Engine::new(&settings::pooled(&limits)).map(|wasm| (wasm, None));
        let started = pooled.or_else(|problem| {
            tracing::warn!(%problem, "no address space for the pool of guests; runs will start more slowly");
            let reserved = Some(limits.memory_bytes as u64);
            Ok((wasmtime::Engine::new(&settings::of_code(reserved))?, reserved))
        });
        let (wasm, reserved) =
            started.map_err(|e: wasmtime::Error| StartEngineError::Wasm(format!("{e:#}")))?;
        let linker = link(&wasm).map_err(|e| StartEngineError::Wasm(format!("{e:#}")))?;
        Ok(Inner { wasm, linker, limits, reserved, workshop: None, slow_lane: OnceLock::new() })
    }

    /// The bounds it was set up with.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Runs `handle(event)` of a plugin in a fresh instance until it ends. The caller sees to it that no more than
    /// `limits().instances` run at a time. `calls` comes back however the run ended.
    pub async fn run<C: GuestCalls>(
        &self,
        revision: &Revision,
        event: &Event,
        context: RunContext,
        calls: C,
    ) -> (Ended, C) {
        let Code::Mapped(plugin) = &revision.code else {
            let message = "the plugin's code is not mapped in this process".to_owned();
            return (Ended::Faulted(Fault { kind: FaultKind::Instantiate, message }), calls);
        };
        self.handle(plugin, event, context, calls).await
    }

    /// Runs `handle(event)` of a mapped plugin.
    pub(crate) async fn handle<C: GuestCalls>(
        &self,
        plugin: &Mapped,
        event: &Event,
        context: RunContext,
        calls: C,
    ) -> (Ended, C) {
        let pace = plugin.paces.of(&context.policy);
        let kept = Kept::default();
        let mut store = self.store(calls, context, kept.clone());
        let wall = self.0.limits.wall;
        let (pre, event) = (plugin.pre.clone(), event.clone());
        let guest = async move {
            let handled = tokio::time::timeout(wall + WALL_GRACE, handle(&mut store, &pre, &event)).await;
            let ended = handled.unwrap_or_else(|_| {
                let message = format!("a call was still under way {WALL_GRACE:?} after the run's {wall:?}");
                Ended::Faulted(Fault { kind: FaultKind::Timeout, message })
            });
            (ended, store.into_data())
        };
        let (ended, guest) = self.in_lane(guest, kept, &pace).await;
        if guest.log_lines_dropped > 0 {
            tracing::debug!(run = %guest.context.run, lines = guest.log_lines_dropped, "log lines dropped");
        }
        (ended, guest.into_calls())
    }

    /// Runs a guest to its end where it keeps nobody else from going on.
    pub(super) async fn in_lane<T: Send + 'static>(
        &self,
        guest: impl Future<Output = T> + Send + 'static,
        kept: Kept,
        pace: &Pace,
    ) -> T {
        lane::run(guest, kept, pace, self.0.slow_lane.get()).await
    }

    /// A store with every bound set; `kept` is what its guest's computing is counted in.
    pub(super) fn store<C: GuestCalls>(&self, calls: C, context: RunContext, kept: Kept) -> Store<Guest> {
        let Inner { wasm, limits, .. } = &*self.0;
        let mut store = Store::new(wasm, Guest::new(calls, context, limits, kept));
        store.limiter(Guest::limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut guest| guest.data_mut().on_tick());
        store.set_hostcall_fuel(limits.transfer_bytes);
        store.set_max_component_handles(HANDLES_MAX);
        store
    }

    pub(super) fn wasm(&self) -> &wasmtime::Engine {
        &self.0.wasm
    }

    pub(super) fn linker(&self) -> &Linker<Guest> {
        &self.0.linker
    }

    /// Where compiled code is kept.
    pub(super) fn cache(&self) -> Result<&Cache, RefusedPlugin> {
        self.workshop().map(|workshop| &workshop.cache)
    }

    /// The compiled code of a plugin, made by another process.
    pub(super) fn compile_code(&self, bytes: &[u8]) -> Result<Vec<u8>, RefusedPlugin> {
        self.workshop()?.compiler.compile(bytes, self.0.reserved)
    }

    /// The right to have a plugin compiled.
    pub(super) async fn turn_to_compile(&self) -> Result<SemaphorePermit<'_>, RefusedPlugin> {
        let turn = self.workshop()?.one_at_a_time.acquire().await;
        turn.map_err(|e| RefusedPlugin::Host { problem: e.to_string() })
    }

    fn workshop(&self) -> Result<&Workshop, RefusedPlugin> {
        let problem = || "this process compiles nothing".to_owned();
        self.0.workshop.as_ref().ok_or_else(|| RefusedPlugin::Host { problem: problem() })
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

async fn handle(store: &mut Store<Guest>, plugin: &PolicyPre<Guest>, event: &Event) -> Ended {
    let policy: Policy = match plugin.instantiate_async(&mut *store).await {
        Ok(policy) => policy,
        Err(error) => return store.data_mut().name_end(&error, FaultKind::Instantiate),
    };
    match policy.opsward_policy_handler().call_handle(&mut *store, to_guest(event)).await {
        Ok(Ok(outcome)) => Ended::Done(Outcome { summary: outcome.summary, details: outcome.details }),
        Ok(Err(failure)) => Ended::Failed(Failure {
            code: failure.code,
            message: failure.message,
            retryable: failure.retryable,
            details: failure.details,
        }),
        Err(error) => store.data_mut().name_end(&error, FaultKind::Trap),
    }
}

fn to_guest(event: &Event) -> events::Event<'_> {
    events::Event {
        id: &event.id,
        source: event.source.as_str(),
        type_: &event.kind,
        subject: event.subject.as_deref(),
        time_ms: u64::try_from(event.time.ms()).unwrap_or(0),
        data: &event.data,
        incident: event.incident.as_deref(),
        account: event.account.as_deref(),
        region: event.region.as_deref(),
    }
}

/// A plugin's compiled code, mapped and ready to instantiate.
pub(crate) struct Mapped {
    pub(super) pre: PolicyPre<Guest>,
    pub(super) paces: Paces,
}

/// Where a revision's compiled code is.
pub(crate) enum Code {
    /// In this process.
    Mapped(Mapped),
    /// In the cache, for another process.
    Kept,
    /// In memory, for another process, since the cache could not take it.
    Held(Arc<[u8]>),
}

/// A plugin's bytes, compiled.
pub struct Revision {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// What it says of itself.
    pub description: Description,
    /// Every interface it imports: an exact list of what it can do.
    pub imports: Vec<String>,
    pub(crate) code: Code,
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revision")
            .field("digest", &self.digest)
            .field("name", &self.description.name)
            .field("version", &self.description.version)
            .finish_non_exhaustive()
    }
}

/// What a plugin says of itself; field meanings in `wit/policy.wit`, `handler.description`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Description {
    /// The plugin's name.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One sentence.
    pub summary: String,
    /// Event types it handles where the operator names none, a list for each trigger; `*` stands for any run of characters.
    pub triggers: Vec<Vec<String>>,
    /// Everything it may call.
    pub permissions: Vec<Permission>,
    /// JSON Schema of its config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<String>,
}

impl Description {
    /// The actions of its permissions, `service:Action`.
    pub fn actions(&self) -> Vec<String> {
        self.permissions.iter().map(|permission| permission.action.clone()).collect()
    }
}

/// One thing a plugin asks to be allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// `service:Action`.
    pub action: String,
    /// Why, in one sentence.
    pub reason: String,
}

fn link(wasm: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(wasm);
    Policy::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    wasi::link(&mut linker)?;
    Ok(linker)
}

//! The measured guest driven by wasmtime alone: the same tuning as the host's engine, and none of its bounds on calls, log,
//! memory and time but what wasmtime has by itself. What a host that only runs guests would cost.

use crate::cloud;
use anyhow::{anyhow, ensure};
use bindings::opsward::policy::{clock, cloud as imports, context, events, log, state};
use bindings::{Policy, PolicyPre};
use opsward_core::event::Event;
use std::time::Duration;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

mod bindings {
    wasmtime::component::bindgen!({
        world: "policy",
        path: "../wit",
        imports: {
            "opsward:policy/context": trappable,
            "opsward:policy/clock.now": trappable,
            default: async | trappable,
        },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// wasmtime with the guest loaded.
pub(crate) struct Bare {
    engine: Engine,
    pre: PolicyPre<Data>,
}

impl Bare {
    pub(crate) fn new(component: &[u8]) -> anyhow::Result<Self> {
        let engine = Engine::new(&config()).map_err(plain)?;
        let component = Component::from_binary(&engine, component).map_err(plain)?;
        let mut linker = Linker::new(&engine);
        Policy::add_to_linker::<Data, HasSelf<Data>>(&mut linker, |data| data).map_err(plain)?;
        let pre = linker.instantiate_pre(&component).and_then(PolicyPre::new).map_err(plain)?;
        let ticked = engine.weak();
        std::thread::spawn(move || {
            while let Some(engine) = ticked.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        });
        Ok(Self { engine, pre })
    }

    /// Runs `handle` in a fresh instance.
    pub(crate) async fn run(&self, event: &Event) -> anyhow::Result<()> {
        let mut store = Store::new(&self.engine, Data { given: 0 });
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let policy = self.pre.instantiate_async(&mut store).await.map_err(plain)?;
        let handled = policy.opsward_policy_handler().call_handle(&mut store, to_guest(event)).await;
        let outcome = handled.map_err(plain)?.map_err(|failure| anyhow!("{}", failure.message))?;
        ensure!(store.data().given == 2, "{} after {} calls", outcome.summary, store.data().given);
        Ok(())
    }
}

/// As the host's.
const TICK: Duration = Duration::from_millis(10);
const PLACES: u32 = 128;
const MEMORY_RESIDENT_BYTES: usize = 256 * 1024;
const TABLE_RESIDENT_BYTES: usize = 64 * 1024;
const MEMORY_BYTES_MAX: usize = 64 << 20;

fn config() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(PLACES)
        .total_core_instances(PLACES * 4)
        .total_memories(PLACES)
        .total_tables(PLACES * 4)
        .total_stacks(PLACES)
        .max_unused_warm_slots(PLACES)
        .max_memory_size(MEMORY_BYTES_MAX)
        .linear_memory_keep_resident(MEMORY_RESIDENT_BYTES)
        .table_keep_resident(TABLE_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .memory_init_cow(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

fn plain(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
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

/// A store's data: answers every call at once.
struct Data {
    given: u32,
}

impl imports::Host for Data {
    async fn call(
        &mut self,
        request: imports::Request,
    ) -> wasmtime::Result<Result<imports::Response, imports::Error>> {
        self.given += 1;
        let answer = cloud::answer(&request.action);
        Ok(Ok(imports::Response {
            request_id: answer.request_id,
            body: answer.body,
            simulated: answer.simulated,
        }))
    }

    async fn call_all(
        &mut self,
        _: Vec<imports::Request>,
        _: u32,
    ) -> wasmtime::Result<Vec<Result<imports::Response, imports::Error>>> {
        unused()
    }
}

impl context::Host for Data {
    fn config(&mut self) -> wasmtime::Result<String> {
        Ok("{}".to_owned())
    }
    fn run_id(&mut self) -> wasmtime::Result<String> {
        unused()
    }
    fn policy_name(&mut self) -> wasmtime::Result<String> {
        unused()
    }
    fn attempt(&mut self) -> wasmtime::Result<u32> {
        unused()
    }
    fn mode(&mut self) -> wasmtime::Result<context::RunMode> {
        unused()
    }
}

impl clock::Host for Data {
    fn now(&mut self) -> wasmtime::Result<u64> {
        unused()
    }
    async fn sleep(&mut self, _: u64) -> wasmtime::Result<()> {
        unused()
    }
}

impl log::Host for Data {
    async fn write(&mut self, _: log::Level, _: String) -> wasmtime::Result<()> {
        unused()
    }
}

impl state::Host for Data {
    async fn get(&mut self, _: String) -> wasmtime::Result<Option<state::Entry>> {
        unused()
    }
    async fn set(&mut self, _: String, _: Vec<u8>) -> wasmtime::Result<Result<u64, state::StateError>> {
        unused()
    }
    async fn delete(&mut self, _: String) -> wasmtime::Result<()> {
        unused()
    }
    async fn compare_and_set(
        &mut self,
        _: String,
        _: u64,
        _: Vec<u8>,
    ) -> wasmtime::Result<Result<u64, state::StateError>> {
        unused()
    }
}

impl events::Host for Data {}

fn unused<T>() -> wasmtime::Result<T> {
    Err(wasmtime::Error::msg("the measured guest makes calls only"))
}

//! How wasmtime is set up: what the compiled code depends on, and the pool that guests come from. Leaves running them to
//! `engine`. Tested by the hostile guests in `tests/`.

use super::Limits;
use crate::plugin::guest::BACKTRACE_FRAMES_MAX;
use std::num::NonZeroUsize;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Places in the pool beside those of runs: for `describe` of plugins being loaded.
const SPARE_PLACES: u32 = 4;
/// What a component of another toolchain needs of each, at most: componentize-py links about 40 core instances, QuickJS and
/// Python share 20 tables. Only address space is set aside for them.
const CORE_INSTANCES_PER_PLACE: u32 = 48;
const TABLES_PER_PLACE: u32 = 20;
const MEMORIES_PER_PLACE: u32 = 4;
/// Kept resident of each memory between two runs, in bytes, instead of being given back to the kernel: more than a Rust
/// policy's whole memory. Without it each run pays for page faults and TLB shoot-downs, which grows with the cores.
const MEMORY_RESIDENT_BYTES: usize = 256 * 1024;
/// The same for tables.
const TABLE_RESIDENT_BYTES: usize = 64 * 1024;
/// Largest stack of the guest's machine code, in bytes; the rest of the fiber's 2 MiB is the host's.
const WASM_STACK_BYTES: usize = 512 * 1024;

/// Settings that the compiled code depends on. The pool does not change them; where there is none, what is `reserved` for a
/// memory in bytes does.
pub(in crate::plugin) fn of_code(reserved: Option<u64>) -> Config {
    let mut config = Config::new();
    if let Some(bytes) = reserved {
        // What a guest may use and not the 4 GiB that spare it bounds checks: address space is what is short.
        config.memory_reservation(bytes).memory_guard_size(64 << 10);
    }
    config
        .epoch_interruption(true)
        // Replay needs the same bits for the same input on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // Imports are synchronous; the machinery for the other kind costs 15 % of a short run.
        .concurrency_support(false)
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        // Only its depth is of use: plugins are stripped.
        .wasm_backtrace_max_frames(NonZeroUsize::new(BACKTRACE_FRAMES_MAX));
    config
}

/// With a pool of guests, which does not change the code.
pub(super) fn pooled(limits: &Limits) -> Config {
    let places = limits.instances.saturating_add(SPARE_PLACES);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(places)
        .total_core_instances(places.saturating_mul(CORE_INSTANCES_PER_PLACE))
        .total_memories(places.saturating_mul(MEMORIES_PER_PLACE))
        .total_tables(places.saturating_mul(TABLES_PER_PLACE))
        .total_stacks(places)
        .max_unused_warm_slots(places)
        .max_memory_size(limits.memory_bytes)
        .linear_memory_keep_resident(MEMORY_RESIDENT_BYTES)
        .table_keep_resident(TABLE_RESIDENT_BYTES)
        // Resets only the pages that were written; Linux 6.7 and later.
        .pagemap_scan(Enabled::Auto);
    let mut config = of_code(None);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

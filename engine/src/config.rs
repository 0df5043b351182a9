//! wasmtime's configuration. Pure.

use wasmtime::{Config, PoolingAllocationConfig};

use crate::limiter::{MAX_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use crate::options::{CodeOptions, EngineOptions};

/// The stack of a guest, in bytes. Beyond it, it traps.
const GUEST_STACK: usize = 512 << 10;
/// What instances keep of their memory for the next one, in bytes: the stack and the data that a guest from Rust begins with, and somewhat
/// more. Clearing that costs less than giving it back to the system and taking it anew. And what is given back beyond it is one mapping and no
/// longer two, which Linux since 6.17 does without locking the whole process's map: else all calls wait for milliseconds whenever a guest that
/// took much ends.
const KEPT_MEMORY: usize = 1280 << 10;
/// What all memories keep together at the most, in bytes: each that ever was in use at the same time as the others keeps its own.
const KEPT_IN_ALL: usize = 640 << 20;
/// The same of each table.
const KEPT_TABLE: usize = 16 << 10;

/// How guests are compiled, and how they are run as far as the compiler must know.
pub(crate) fn code(options: CodeOptions) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .consume_fuel(options.fuel)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(GUEST_STACK + (512 << 10))
        // Where a guest failed is the guest's own business: an answer says only that it did.
        .wasm_backtrace_max_frames(None)
        // 64-bit memories and memories of their own page size go around what the pool sets aside, and no toolchain for
        // components needs them or the rest of these. Threads, which would share memory, are not even compiled in.
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        // The same input gives the same answer on every machine.
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(false);
    config
}

fn kept_memory(calls: u32) -> usize {
    let memories = usize::try_from(calls.saturating_mul(MAX_MEMORIES)).unwrap_or(usize::MAX).max(1);
    KEPT_MEMORY.min(KEPT_IN_ALL / memories)
}

/// The same, with room set aside for as many instances as there may be calls.
pub(crate) fn pooled(options: &EngineOptions) -> Config {
    let calls = options.concurrency;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(calls)
        // As many of each as all calls together can take, or one tenant's components of many parts would take what others need.
        .total_core_instances(calls.saturating_mul(MAX_INSTANCES))
        .total_memories(calls.saturating_mul(MAX_MEMORIES))
        .total_tables(calls.saturating_mul(MAX_TABLES))
        .total_stacks(calls)
        .total_gc_heaps(calls)
        .max_core_instances_per_component(MAX_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_tables_per_module(4)
        .max_memory_size(options.memory_bytes)
        .table_elements(options.table_elements)
        .linear_memory_keep_resident(kept_memory(calls))
        .table_keep_resident(KEPT_TABLE)
        .max_unused_warm_slots(calls.min(64));
    let mut config = code(options.code);
    config.allocation_strategy(pool);
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_a_bound_however_many_calls_there_may_be() {
        assert_eq!(kept_memory(EngineOptions::default().concurrency), KEPT_MEMORY);
        for calls in [0, 1, 8, 256, 4096, u32::MAX] {
            let memories = (calls as usize).saturating_mul(MAX_MEMORIES as usize);
            assert!(kept_memory(calls).saturating_mul(memories) <= KEPT_IN_ALL, "{calls}");
        }
    }
}

//! What the pool's instances hold.

use wasmtime::PoolingAllocatorMetrics;

/// What calls hold of the room that an engine set aside. When none runs, all of it is 0 but what is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Instances of components.
    pub instances: u64,
    /// Instances of the modules in them.
    pub core_instances: u64,
    /// Linear memories.
    pub memories: usize,
    /// Tables.
    pub tables: usize,
    /// Stacks.
    pub stacks: usize,
    /// Bytes of real memory that are kept, cleared, for the next instances. At most 1280 KiB for each memory, and 16 for
    /// each table.
    pub kept_bytes: usize,
}

impl Held {
    pub(crate) fn of(engine: &wasmtime::Engine) -> Self {
        // There is always a pool: no engine is made without.
        engine.pooling_allocator_metrics().map(Self::from).unwrap_or_default()
    }
}

impl From<PoolingAllocatorMetrics> for Held {
    fn from(pool: PoolingAllocatorMetrics) -> Self {
        Self {
            instances: pool.component_instances(),
            core_instances: pool.core_instances(),
            memories: pool.memories(),
            tables: pool.tables(),
            stacks: pool.stacks(),
            kept_bytes: pool.unused_memory_bytes_resident() + pool.unused_table_bytes_resident(),
        }
    }
}

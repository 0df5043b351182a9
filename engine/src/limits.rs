//! What one call may use.

use std::time::Duration;

/// What one call may use. Whoever calls makes it of the manifest's limits and the tenant's quota, the lesser of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Until the call is ended, from its admission to the last byte of its answer.
    pub timeout: Duration,
    /// Linear memory, in bytes, over all memories of the instance. At most [`crate::EngineOptions::memory_bytes`].
    pub memory_bytes: usize,
    /// Elements, over all tables of the instance.
    pub table_elements: usize,
    /// Units of fuel, about one for each instruction. Only on an engine that counts ([`crate::CodeOptions::fuel`]).
    pub fuel: Option<u64>,
    /// Calls of the same install at one time. Absent: what the engine gives.
    pub concurrency: Option<u32>,
    /// Resources that are open at one time: requests, headers, streams, timers.
    pub resources: usize,
    /// The bytes that one call of the host may bring with it.
    pub hostcall_bytes: usize,
    /// The body of the answer, in bytes.
    pub body_bytes: usize,
    /// The lines of the answer's head.
    pub header_count: usize,
    /// The names and values of the answer's head together, in bytes. It also bounds each set of headers that a guest makes, in
    /// which a name counts for 32 bytes more and a value for 40.
    pub header_bytes: usize,
    /// Requests to the outside.
    pub egress_requests: u32,
    /// Keys and values that are read from and written to `storage.kv`, in bytes.
    pub kv_bytes: usize,
    /// What is written to the log, in bytes, standard streams included.
    pub log_bytes: usize,
    /// Metrics that are counted or observed.
    pub metrics: u32,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            memory_bytes: 64 << 20,
            table_elements: 20_000,
            fuel: None,
            concurrency: None,
            // Times `header_bytes`, the most that headers hold of the host's own memory: 32 MiB.
            resources: 1_024,
            hostcall_bytes: 1 << 20,
            body_bytes: 6 << 20,
            header_count: 64,
            header_bytes: 32 << 10,
            egress_requests: 32,
            kv_bytes: 4 << 20,
            log_bytes: 64 << 10,
            metrics: 256,
        }
    }
}

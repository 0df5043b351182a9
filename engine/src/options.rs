//! What whoever runs an engine decides.

use std::time::Duration;

/// How guests are compiled. Code that was compiled by other rules than an engine's is not loaded by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CodeOptions {
    /// Count what a guest executes, so that [`crate::CallLimits::fuel`] can end it at the same instruction each time. It costs
    /// about a tenth to a half of the speed, which is why it is a tier of its own.
    pub fuel: bool,
}

/// The size of an engine. One process has one.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How guests are compiled.
    pub code: CodeOptions,
    /// Calls at one time, over all tenants. Address space for that many instances is set aside at the start, 4 GiB for each
    /// memory; real memory is not.
    pub concurrency: u32,
    /// Calls at one time of one tenant.
    pub tenant_concurrency: u32,
    /// Calls at one time of one install, unless the call says less.
    pub install_concurrency: u32,
    /// The most linear memory that any call may have, in bytes. A call's own limit may be lower.
    pub memory_bytes: usize,
    /// The most elements of one table.
    pub table_elements: usize,
    /// The largest component, in bytes.
    pub component_bytes: usize,
    /// How many bytes of compiled code are kept ready in memory. What was used longest ago goes first.
    pub ready_code_bytes: u64,
    /// Components that are compiled at one time.
    pub compilations: usize,
    /// Who may wait at one time for a component that is not ready. It bounds the bytes that are held for the compiler.
    pub loads: usize,
    /// For how long it is remembered that a component cannot be loaded. Until then nobody can make it be compiled again.
    pub refusals_kept: Duration,
    /// How often a running guest is asked to let others run, and looked at whether its time is over.
    pub tick: Duration,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            code: CodeOptions::default(),
            concurrency: 256,
            tenant_concurrency: 64,
            install_concurrency: 32,
            memory_bytes: 256 << 20,
            table_elements: 100_000,
            component_bytes: 64 << 20,
            ready_code_bytes: 1 << 30,
            compilations: 1,
            loads: 64,
            refusals_kept: Duration::from_secs(30),
            tick: Duration::from_millis(2),
        }
    }
}

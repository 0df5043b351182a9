//! What stands behind the imports of `annex:host`: traits that a runner implements, and the quotas at this edge.

mod bindings;
mod budget;
mod context;
mod kv;
mod log;
mod memory;
mod metrics;
mod secrets;
mod stdio;
mod view;

use std::sync::Arc;

pub(crate) use bindings::annex::host as wit;
pub(crate) use stdio::Stdio;
pub(crate) use view::{HostState, HostView};

pub use log::{Level, Log, MAX_LINE_BYTES};
pub use memory::{KeptLog, KeptMetrics, MemoryKv, MemorySecrets};
pub use metrics::Metrics;
pub use secrets::{SecretError, Secrets};

use annex_core::Kv;

use crate::egress::{Egress, NoEgress};

/// What stands behind the imports of one call. Cheap to clone.
///
/// It comes with the call and not with the engine: a broker of secrets works with the grant of the call that asks.
#[derive(Clone)]
pub struct Host {
    /// Behind `storage.kv`.
    pub kv: Arc<dyn Kv>,
    /// Behind `secrets`.
    pub secrets: Arc<dyn Secrets>,
    /// Behind `log`, and the standard streams.
    pub log: Arc<dyn Log>,
    /// Behind `metrics`.
    pub metrics: Arc<dyn Metrics>,
    /// Behind `http.fetch`.
    pub egress: Arc<dyn Egress>,
}

impl Host {
    /// Everything in memory, nothing to the outside: for tests and for trying an extension out.
    pub fn in_memory() -> Self {
        Self {
            kv: Arc::new(MemoryKv::default()),
            secrets: Arc::new(MemorySecrets::default()),
            log: Arc::new(KeptLog::default()),
            metrics: Arc::new(KeptMetrics::default()),
            egress: Arc::new(NoEgress),
        }
    }
}

//! What a call has of `annex:host`.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::HasData;

use super::Host;
use super::budget::Budget;
use super::log::LineWriter;
use crate::call::CallContext;
use crate::limits::CallLimits;

/// What a call has of `annex:host`: who it is, what is behind it, and what is left of its budgets.
pub(crate) struct HostState {
    pub(super) context: Arc<CallContext>,
    pub(super) host: Host,
    pub(super) kv_bytes: Budget,
    pub(super) metrics: Budget,
    /// Shared with the standard streams, which wasmtime wants to own.
    pub(super) lines: Arc<Mutex<LineWriter>>,
}

impl HostState {
    pub(crate) fn new(context: Arc<CallContext>, host: Host, limits: &CallLimits) -> Self {
        let lines = LineWriter::new(Arc::clone(&context), Arc::clone(&host.log), limits.log_bytes);
        Self {
            context,
            host,
            kv_bytes: Budget::new(limits.kv_bytes),
            metrics: Budget::new(limits.metrics as usize),
            lines: Arc::new(Mutex::new(lines)),
        }
    }

    pub(crate) fn lines(&self) -> Arc<Mutex<LineWriter>> {
        Arc::clone(&self.lines)
    }

    pub(crate) fn log_bytes_dropped(&self) -> usize {
        self.lines.lock().dropped()
    }
}

/// For wasmtime: how the host functions see the state.
pub(crate) struct HostView;

impl HasData for HostView {
    type Data<'a> = &'a mut HostState;
}

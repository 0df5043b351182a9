//! The store of a call, and what it used.

use std::ops::{Deref, DerefMut};

use wasmtime::Store;

use crate::call::Usage;
use crate::state::CallState;

/// A store that says what was used when it goes, whichever way it goes: a guest that was ended or given up has used it all the
/// same, and its tenant pays for it.
pub(crate) struct Metered<'usage> {
    store: Store<CallState>,
    /// What the store began with.
    fuel: u64,
    usage: &'usage mut Usage,
}

impl<'usage> Metered<'usage> {
    pub(crate) fn new(store: Store<CallState>, fuel: u64, usage: &'usage mut Usage) -> Self {
        Self { store, fuel, usage }
    }
}

impl Deref for Metered<'_> {
    type Target = Store<CallState>;

    fn deref(&self) -> &Self::Target {
        &self.store
    }
}

impl DerefMut for Metered<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.store
    }
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        let state = self.store.data();
        let traffic = state.hooks.traffic();
        // The duration is for whoever waits for the end.
        *self.usage = Usage {
            duration: self.usage.duration,
            memory_bytes: state.limiter.memory_bytes(),
            fuel: self.store.get_fuel().ok().map(|left| self.fuel.saturating_sub(left)),
            egress_requests: state.hooks.sent(),
            egress_sent_bytes: traffic.sent(),
            egress_received_bytes: traffic.received(),
            log_bytes_dropped: state.host.log_bytes_dropped(),
        };
    }
}

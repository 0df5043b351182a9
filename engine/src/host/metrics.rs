//! `metrics`.

use super::view::HostState;
use super::wit::metrics;
use crate::call::CallContext;

/// Where a guest's metrics go. It does not wait, and it bounds how many names an extension has.
pub trait Metrics: Send + Sync {
    /// Adds to a counter.
    fn count(&self, context: &CallContext, name: &str, by: u64);
    /// Notes a measured value, which is finite.
    fn observe(&self, context: &CallContext, name: &str, value: f64);
}

fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

impl metrics::Host for HostState {
    fn count(&mut self, name: String, by: u64) -> wasmtime::Result<()> {
        if is_name(&name) && self.metrics.take(1) {
            self.host.metrics.count(&self.context, &name, by);
        }
        Ok(())
    }

    fn observe(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        if is_name(&name) && value.is_finite() && self.metrics.take(1) {
            self.host.metrics.observe(&self.context, &name, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_a_label() {
        assert!(is_name("notes_saved_2"));
        for name in ["", "2x", "_x", "Notes", "a-b", "a\n", "é", &"a".repeat(65)] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}

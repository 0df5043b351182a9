//! Says in the log that a database cannot be used, and that it can be again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::failure::Failure;

/// Between two lines about failures. Each operation fails while a database is away, and tenants decide how many those are.
const PAUSE: Duration = Duration::from_secs(10);

/// Writes about a database's state, not about each operation.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    warned: Option<Instant>,
    /// Since the last line about failures.
    failures: u64,
    /// Whether a line has said that it cannot be used, and none since then that it can.
    reported: bool,
}

impl Health {
    /// An operation was answered.
    pub(crate) fn works(&self) {
        let mut state = self.0.lock();
        if std::mem::take(&mut state.reported) {
            tracing::info!("the store's database can be used again");
        }
    }

    /// An operation failed.
    pub(crate) fn fails(&self, failure: &Failure) {
        let mut state = self.0.lock();
        state.failures += 1;
        if state.warned.is_some_and(|warned| warned.elapsed() < PAUSE) {
            return;
        }
        state.warned = Some(Instant::now());
        state.reported = true;
        let failures = std::mem::take(&mut state.failures);
        drop(state);
        tracing::warn!(%failure, failures, "the store's database cannot be used");
    }
}

//! Whether the runner can answer, and what it waits for.

use std::time::Duration;

use annex_service::Status;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::registry::{LookupError, Registry};

/// Ready means: the registry answered recently, and the runner is not stopping.
#[derive(Debug)]
pub(crate) struct Readiness {
    /// The registry's URL, for people.
    registry: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answered: Option<Instant>,
    /// What the last probe met; none while it is well or has not ended.
    failure: Option<&'static str>,
    stopping: bool,
}

const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// Several probes long, so that one lost answer or a restart of the registry does not take the runner out of service.
const RECENT: Duration = Duration::from_secs(10);

impl Readiness {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self { registry: registry.url().to_string(), state: Mutex::default() }
    }

    /// What the operator is told.
    pub(crate) fn status(&self) -> Status {
        Status { waiting_for: self.waits_for().into_iter().collect(), notes: Vec::new() }
    }

    /// What the runner waits for, or none if it is ready.
    fn waits_for(&self) -> Option<String> {
        let state = self.state.lock();
        if state.stopping {
            return Some("requests to end: stopping".to_owned());
        }
        if state.answered.is_some_and(|at| at.elapsed() <= RECENT) {
            return None;
        }
        let last = state.failure.unwrap_or("not asked yet");
        Some(format!("the registry at {} to answer (last: {last})", self.registry))
    }

    /// From now on not ready, for good.
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
    }

    /// Takes in what a probe met. True if it changed from well to failing or back.
    fn probed(&self, result: Result<(), &'static str>) -> bool {
        let mut state = self.state.lock();
        let failure = result.err();
        let first = state.answered.is_none() && state.failure.is_none();
        let changed = first || state.failure.is_some() != failure.is_some();
        state.failure = failure;
        if failure.is_none() {
            state.answered = Some(Instant::now());
        }
        changed
    }
}

/// Asks the registry every two seconds, for ever.
pub(crate) async fn keep_probing(registry: Registry, readiness: &Readiness) {
    let mut ticks = interval(PROBE_INTERVAL);
    // A registry that takes longer than the interval is not to be asked in bursts afterwards.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let result = registry.probe().await;
        if !readiness.probed(result.as_ref().copied().map_err(LookupError::category)) {
            continue;
        }
        let url = registry.url();
        match result {
            Ok(()) => tracing::info!(%url, "the registry answers"),
            Err(error) => {
                tracing::warn!(%url, error = format!("{:#}", anyhow::Error::from(error)), "the registry fails");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readiness() -> Readiness {
        Readiness { registry: "http://registry".into(), state: Mutex::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn ready_once_the_registry_answered() {
        let readiness = readiness();
        let waits = readiness.waits_for().unwrap();
        assert_eq!(waits, "the registry at http://registry to answer (last: not asked yet)");
        readiness.probed(Err("timeout"));
        assert!(readiness.waits_for().unwrap().ends_with("(last: timeout)"));
        readiness.probed(Ok(()));
        assert_eq!(readiness.waits_for(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn not_ready_when_the_last_answer_is_old() {
        let readiness = readiness();
        readiness.probed(Ok(()));
        tokio::time::advance(RECENT).await;
        readiness.probed(Err("unreachable"));
        assert_eq!(readiness.waits_for(), None, "one failure within the time does not matter");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(readiness.waits_for().unwrap().ends_with("(last: unreachable)"));
        readiness.probed(Ok(()));
        assert_eq!(readiness.waits_for(), None, "it heals");
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_told_once() {
        let readiness = readiness();
        let told =
            [Err("timeout"), Err("status"), Ok(()), Ok(()), Err("timeout")].map(|r| readiness.probed(r));
        assert_eq!(told, [true, false, true, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn not_ready_while_stopping() {
        let readiness = readiness();
        readiness.probed(Ok(()));
        readiness.stop();
        assert!(readiness.waits_for().unwrap().ends_with("stopping"));
    }
}

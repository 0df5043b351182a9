//! Which watches of a cluster fail, and whether that is to be believed.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// A watch that fails for this long is not on its way any more.
const PATIENCE: Duration = Duration::from_secs(20);
/// A watch that stays broken is tried again, and fails again, within 5 s. One that was not heard of for twice as long goes on: where
/// nothing changes it says so in no other way, because it begins again where it was and lists nothing.
const OVER: Duration = Duration::from_secs(10);

/// The watches that fail, by what they watch.
#[derive(Debug, Default)]
pub(super) struct Failing {
    watches: Mutex<BTreeMap<&'static str, Failure>>,
}

#[derive(Debug)]
struct Failure {
    since: Instant,
    /// None: it has ended for now, and does not pass without a new list.
    last: Option<Instant>,
    why: String,
}

impl Failure {
    fn is_over(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() > OVER)
    }
}

impl Failing {
    /// A watch was interrupted.
    pub(super) fn failed(&self, what: &'static str, why: String) {
        let mut watches = self.watches.lock();
        let before = watches.get(what).filter(|failure| !failure.is_over());
        let now = Instant::now();
        let since = before.map_or(now, |failure| failure.since);
        watches.insert(what, Failure { since, last: Some(now), why });
    }

    /// A watch has ended, and says why.
    pub(super) fn ended(&self, what: &'static str, why: String) {
        self.watches.lock().insert(what, Failure { since: Instant::now(), last: None, why });
    }

    /// A list of it has come to its end, or its watch has brought something.
    pub(super) fn heard(&self, what: &str) {
        self.watches.lock().remove(what);
    }

    /// The server has been away: that watches failed meanwhile says nothing about them.
    pub(super) fn forget(&self) {
        self.watches.lock().retain(|_, failure| failure.last.is_none());
    }

    /// What keeps failing, and why.
    pub(super) fn believed(&self) -> Option<String> {
        let mut watches = self.watches.lock();
        watches.retain(|_, failure| !failure.is_over());
        let mut failures = watches.iter();
        let found =
            failures.find(|(_, failure)| failure.last.is_none() || failure.since.elapsed() > PATIENCE)?;
        Some(format!("{}: {}", found.0, found.1.why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_believed_only_while_it_lasts() {
        let failing = Failing::default();
        for _ in 0..4 {
            failing.failed("Namespace", "reset".to_owned());
            assert_eq!(failing.believed(), None);
            after(5).await;
        }
        failing.failed("Namespace", "refused".to_owned());
        after(5).await;
        assert_eq!(failing.believed().as_deref(), Some("Namespace: refused"));
        // The watch goes on, and nothing in the namespace changes.
        after(6).await;
        assert_eq!(failing.believed(), None);
        // It is a new failure then, and not one that lasts since the first.
        failing.failed("Namespace", "reset".to_owned());
        after(1).await;
        assert_eq!(failing.believed(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_interruption_is_never_believed() {
        let failing = Failing::default();
        failing.failed("Namespace", "reset".to_owned());
        for _ in 0..120 {
            after(1).await;
            assert_eq!(failing.believed(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_fails_until_it_is_heard_of() {
        let failing = Failing::default();
        failing.ended("Service", "too many".to_owned());
        failing.failed("the domains' certificate", "reset".to_owned());
        failing.forget();
        after(3600).await;
        assert_eq!(failing.believed().as_deref(), Some("Service: too many"));
        failing.heard("the domains' certificate");
        assert!(failing.believed().is_some(), "another's list mends nothing");
        failing.heard("Service");
        assert_eq!(failing.believed(), None);
    }
}

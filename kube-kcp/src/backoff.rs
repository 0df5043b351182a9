use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

/// How long a key waits after each failure: `first`, doubled each time up to `most`, each shortened at random by up to a
/// half, so that what failed together does not come back together.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At the most.
    pub most: Duration,
}

impl Default for Backoff {
    /// 100 ms to 1 minute.
    fn default() -> Self {
        Self { first: Duration::from_millis(100), most: Duration::from_secs(60) }
    }
}

impl Backoff {
    pub(crate) fn after(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
        doubled.min(self.most).mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

/// How long a watch waits before it begins again: at most 5 s. There is one watch per shard and kind, so this is no load; and the
/// first binding of a schema is answered with 404 for seconds, after which nobody should wait half a minute.
#[derive(Debug, Default)]
pub struct WatchBackoff {
    failures: u32,
    last: Option<Instant>,
}

impl WatchBackoff {
    const DELAY: Backoff = Backoff { first: Duration::from_millis(200), most: Duration::from_secs(5) };
    /// A watch that has gone well for this long begins anew.
    const CALM: Duration = Duration::from_secs(30);
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        self.last = Some(Instant::now());
        Some(Self::DELAY.after(self.failures))
    }
}

impl kube::runtime::utils::Backoff for WatchBackoff {
    /// Called for each event, the one included that only says that a list begins: that is no success.
    fn reset(&mut self) {
        if self.last.is_none_or(|last| last.elapsed() > Self::CALM) {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::runtime::utils::Backoff as _;

    #[tokio::test(start_paused = true)]
    async fn a_watch_waits_longer_until_it_has_been_calm() {
        let mut backoff = WatchBackoff::default();
        let waits: Vec<Duration> = std::iter::from_fn(|| {
            backoff.reset();
            backoff.next()
        })
        .take(10)
        .collect();
        assert!(
            waits[0] <= Duration::from_millis(200) && waits[9] >= Duration::from_millis(2500),
            "{waits:?}"
        );
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(5)));
        tokio::time::advance(Duration::from_secs(31)).await;
        backoff.reset();
        assert!(backoff.next().unwrap() <= Duration::from_millis(200));
    }
}

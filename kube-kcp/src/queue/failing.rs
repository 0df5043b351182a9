use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

use super::later;
use crate::Backoff;

/// What a key whose last try failed waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failing {
    /// Tries in a row that failed and counted.
    count: u32,
    /// Its backoff has run out.
    until: Instant,
    /// No trigger brings it forward to before this. Without it, a key that fails and is triggered all the time, by its own
    /// failure perhaps, would be tried without a pause.
    not_before: Instant,
}

impl Failing {
    /// After one more failed try, which had begun when `before` had run out, or had not (`counts`), and whose server had
    /// `told` how long to wait.
    pub(super) fn again(
        before: Option<Self>,
        counts: bool,
        told: Option<Duration>,
        backoff: Backoff,
        now: Instant,
    ) -> Self {
        let told = told.map_or(Duration::ZERO, |told| spread(told.min(backoff.most)));
        let not_before = later(now, backoff.first.max(told));
        match before {
            Some(before) if !counts => Self { until: before.until.max(not_before), not_before, ..before },
            before => {
                let count = before.map_or(0, |before| before.count).saturating_add(1);
                Self { count, until: later(now, backoff.after(count).max(told)), not_before }
            }
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// When the key comes if nothing triggers it.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// When the key comes if something wants it at `wish`.
    pub(super) fn triggered(&self, wish: Instant) -> Instant {
        wish.max(self.not_before).min(self.until)
    }
}

/// Never sooner than the server said, and not all that it said it to at once.
fn spread(told: Duration) -> Duration {
    told.mul_f64(rand::rng().random_range(1.0..=1.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn failed_times(times: u32, now: Instant) -> Failing {
        let again = |before, _| Some(Failing::again(before, true, None, BACKOFF, now));
        (0..times).fold(None, again).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_counts_begins_a_longer_backoff() {
        let now = Instant::now();
        for (times, least, most) in
            [(1, 500, 1_000), (2, 1_000, 2_000), (6, 16_000, 32_000), (50, 30_000, 60_000)]
        {
            let failing = failed_times(times, now);
            let left = (failing.until - now).as_millis();
            assert!(failing.count == times && (least..=most).contains(&left), "{failing:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_does_not_count_leaves_what_is_left_of_the_backoff() {
        let now = Instant::now();
        let before = failed_times(5, now);
        let after = Failing::again(Some(before), false, None, BACKOFF, now + seconds(3));
        assert_eq!((after.count, after.until), (5, before.until));
        assert_eq!(after.triggered(now), now + seconds(4), "the pause begins with the last failure");
        // It took so long that nothing is left.
        let ended = before.until + seconds(9);
        let after = Failing::again(Some(before), false, None, BACKOFF, ended);
        assert_eq!((after.count, after.until), (5, ended + seconds(1)), "not at once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trigger_brings_forward_and_never_puts_off() {
        let now = Instant::now();
        let failing = failed_times(50, now);
        assert_eq!(failing.triggered(now), now + seconds(1));
        assert_eq!(failing.triggered(now + seconds(20)), now + seconds(20));
        assert_eq!(failing.triggered(now + seconds(90)), failing.until);
        let once = failed_times(1, now);
        assert_eq!(once.triggered(now), once.until, "the first backoff may be shorter than the pause");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_said_is_waited_for_within_bounds() {
        let now = Instant::now();
        for (told, least, most) in [(0, 1, 1), (10, 10, 15), (60, 60, 90), (1_000_000_000, 60, 90)] {
            let failing = Failing::again(None, true, Some(seconds(told)), BACKOFF, now);
            let (pause, left) = (failing.not_before - now, failing.until - now);
            assert!(pause >= seconds(least) && pause <= seconds(most), "{told}: {failing:?}");
            assert!(left >= seconds(told.min(60)) && left <= seconds(most), "{told}: {failing:?}");
        }
        // A backoff that is longer anyway is kept.
        let failing = Failing::again(Some(failed_times(49, now)), true, Some(seconds(2)), BACKOFF, now);
        assert!(
            failing.until >= now + seconds(30) && failing.triggered(now) <= now + seconds(3),
            "{failing:?}"
        );
        // A try that did not count is told as well.
        let failing = Failing::again(Some(failed_times(1, now)), false, Some(seconds(10)), BACKOFF, now);
        assert!(failing.count == 1 && failing.until >= now + seconds(10), "{failing:?}");
    }
}

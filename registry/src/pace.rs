//! How slow an upload may be. An upload holds one of few places, and a file on the disk.

use std::time::Duration;

use tokio::time::Instant;

/// How slow an upload may be.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long nothing may come.
    pub silence: Duration,
    /// In how long [`Self::least`] bytes must have come, again and again.
    pub window: Duration,
    /// Bytes.
    pub least: u64,
    /// How long all of it may take.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(30),
            window: Duration::from_secs(60),
            least: 60 * 16 * 1024,
            whole: Duration::from_secs(3600),
        }
    }
}

/// How an upload has gone so far.
#[derive(Debug)]
pub(crate) struct Pace {
    patience: Patience,
    begun: Instant,
    window: Instant,
    came: u64,
}

impl Pace {
    pub(crate) fn begin(patience: Patience, now: Instant) -> Self {
        Self { patience, begun: now, window: now, came: 0 }
    }

    /// Until when the next bytes must have come.
    pub(crate) fn until(&self, now: Instant) -> Instant {
        let window = if self.came < self.patience.least {
            self.window + self.patience.window
        } else {
            now + self.patience.silence
        };
        (now + self.patience.silence).min(self.begun + self.patience.whole).min(window)
    }

    /// So many bytes have come. False: too slowly.
    pub(crate) fn came(&mut self, bytes: usize, now: Instant) -> bool {
        self.came = self.came.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if now.duration_since(self.window) >= self.patience.window {
            if self.came < self.patience.least {
                return false;
            }
            (self.window, self.came) = (now, 0);
        }
        now.duration_since(self.begun) < self.patience.whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    /// After how many seconds an upload of so many bytes every so many seconds is given up.
    fn given_up_after(bytes: usize, every: u64) -> u64 {
        let begun = Instant::now();
        let mut pace = Pace::begin(Patience::default(), begun);
        let mut now = begun;
        loop {
            let next = now + Duration::from_secs(every);
            let until = pace.until(now);
            if until < next || !pace.came(bytes, next) {
                return until.min(next).duration_since(begun).as_secs();
            }
            now = next;
        }
    }

    #[test]
    fn slow_uploads_end_and_steady_ones_do_not() {
        assert_eq!(given_up_after(KIB, 31), 30, "silence");
        assert_eq!(given_up_after(1, 1), 60, "a byte a second");
        assert_eq!(given_up_after(15 * KIB, 1), 60, "a little too slow");
        assert_eq!(given_up_after(17 * KIB, 1), 3600, "fast enough, but for ever");
        assert_eq!(given_up_after(500 * KIB, 29), 3600, "in large pieces");
    }
}

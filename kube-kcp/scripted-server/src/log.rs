use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use crate::{changes::Changes, matching::Match, request::Request};

/// The requests that came, faulty answers or not.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Log>);

#[derive(Debug, Default)]
struct Log {
    seen: Mutex<Seen>,
    changes: Changes,
}

#[derive(Debug, Default)]
struct Seen {
    total: u64,
    latest: VecDeque<Request>,
}

impl Requests {
    /// How many requests are remembered. Older ones are counted in [`Requests::total`] only.
    pub const REMEMBERED: usize = 10_000;

    pub(crate) fn add(&self, request: Request) {
        let mut seen = self.0.seen.lock();
        seen.total += 1;
        seen.latest.push_back(request);
        if seen.latest.len() > Self::REMEMBERED {
            seen.latest.pop_front();
        }
        drop(seen);
        self.0.changes.wake();
    }

    /// How many have come since the server started, or since [`Requests::forget`].
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.seen.lock().total
    }

    /// How many of the remembered ones match.
    #[must_use]
    pub fn count(&self, matching: &Match) -> usize {
        self.0.seen.lock().latest.iter().filter(|request| matching.holds(request)).count()
    }

    /// Those of the remembered ones that match, oldest first.
    #[must_use]
    pub fn matching(&self, matching: &Match) -> Vec<Request> {
        self.0.seen.lock().latest.iter().filter(|request| matching.holds(request)).cloned().collect()
    }

    /// The newest of the remembered ones that match.
    #[must_use]
    pub fn last(&self, matching: &Match) -> Option<Request> {
        self.0.seen.lock().latest.iter().rev().find(|request| matching.holds(request)).cloned()
    }

    /// Waits until `count` matching ones have come, and gives the last of those. It does not time out.
    pub async fn reach(&self, count: usize, matching: &Match) -> Request {
        let nth = || {
            let seen = self.0.seen.lock();
            let mut found = seen.latest.iter().filter(|request| matching.holds(request));
            found.nth(count.saturating_sub(1)).cloned()
        };
        self.0.changes.until(nth).await
    }

    /// Forgets all that came so far.
    pub fn forget(&self) {
        *self.0.seen.lock() = Seen::default();
    }
}

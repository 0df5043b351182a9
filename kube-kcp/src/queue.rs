mod failing;
mod lanes;
mod state;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::Hash,
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::Instant};

use crate::{Backoff, ClusterName};
use state::State;

/// What a key's turn is counted against: usually the workspace. Lanes are served in turn, so that a workspace with ten
/// thousand keys does not hold back one with a single key. Keys that are equal are of the same lane.
pub trait Lane {
    /// The workspace.
    fn lane(&self) -> &ClusterName;
}

impl Lane for crate::ObjectKey {
    fn lane(&self) -> &ClusterName {
        &self.cluster
    }
}

/// How the work on a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; the key's backoff begins anew.
    Done,
    /// Done, and to be looked at again after this time; the key's backoff begins anew.
    Again(Duration),
    /// Failed; to be tried again after the key's backoff.
    Failed,
    /// Failed, and the server said how long to wait, as an API server does with status 429 (see [`Outcome::failed`]). The key waits
    /// that long or for its backoff, whichever is longer, and nothing brings it forward to before that time. The time is stretched at
    /// random by up to a half, so that what was told the same does not come back together. Of one that is longer than
    /// [`Backoff::most`], only that much is believed.
    FailedFor(Duration),
}

impl Outcome {
    /// Failed because of this: [`Outcome::FailedFor`] if it is an answer that says how long to wait, else [`Outcome::Failed`].
    #[must_use]
    pub fn failed(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Failed };
        match status.details.as_ref().map_or(0, |details| details.retry_after_seconds) {
            0 => Self::Failed,
            seconds => Self::FailedFor(Duration::from_secs(seconds.into())),
        }
    }
}

/// Keys to work on: each at most once at a time, and at most once in the queue.
///
/// A key that is added while it is worked on comes again afterwards. The queue is unbounded in keys, but holds each key once, so its
/// size is bounded by the objects watched. A key that is done is forgotten. No operation takes longer than the logarithm of the
/// number of keys and lanes.
///
/// # Turns
///
/// Lanes take turns. In its turn a lane hands out one key, or as many as it [weighs](WorkQueue::weighed), and then stands behind all
/// others that have a ready key. A lane with no ready key, or with as many at work as it may have, is passed over and loses the rest
/// of its turn. So a worker never waits while there is a key that it may have, and between two turns of a lane each other lane has at
/// most one. Within a lane the keys come in the order in which they became ready.
///
/// # Failures
///
/// A key that fails is tried for ever, never dropped: after fifty failures the fifty-first try may succeed.
///
/// - A failed try counts if it was the first, or if the key's backoff had run out when it began. With each that counts, the backoff
///   begins anew and is longer.
/// - Adding a key that waits for its backoff brings it forward: to now, but not to before [`Backoff::first`] (or what the server
///   [said](Outcome::FailedFor)) has passed since its last failure. Nor is it put off, if its backoff ends sooner.
/// - If such a try fails, it does not count. The key waits for what is left of the backoff that it was in, and at least for
///   [`Backoff::first`].
/// - A key that is added while it is worked on, and then fails, is as one that is added right after that.
/// - A success forgets all failures.
///
/// So triggers that have nothing to do with the failure neither make a key wait longer, nor have it tried without a pause.
pub struct WorkQueue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    backoff: Backoff,
    weigh: Option<Box<Weigh>>,
}

type Weigh = dyn Fn(&ClusterName) -> NonZeroU32 + Send + Sync;

/// A delay that is longer is as long as this. Whoever asks for more, a server perhaps, is not to make a sum overflow.
const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn later(now: Instant, delay: Duration) -> Instant {
    now + delay.min(FAR)
}

/// What the queue's metrics show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) ready: usize,
    pub(crate) oldest: Option<Duration>,
    pub(crate) delayed: usize,
    pub(crate) stuck: usize,
}

impl<K: Lane + Clone + Eq + Hash> WorkQueue<K> {
    /// An empty queue, of whose keys at most `per_lane` of one lane (at least one) are worked on at a time.
    #[must_use]
    pub fn new(backoff: Backoff, per_lane: usize) -> Self {
        let most = backoff.most.min(FAR);
        Self {
            state: Mutex::new(State::new(per_lane)),
            changed: Notify::new(),
            backoff: Backoff { first: backoff.first.min(most), most },
            weigh: None,
        }
    }

    /// How many keys a lane may hand out in one turn; without this, one. It is asked whenever the turn of a lane begins, so what it
    /// says may change, and outside of any lock, so it may ask the queue; it must not block. Where it panics, the lane weighs one.
    ///
    /// A weight is about whose key is next, not about how many are worked on: the limit per lane is the same for all.
    #[must_use]
    pub fn weighed(self, weigh: impl Fn(&ClusterName) -> NonZeroU32 + Send + Sync + 'static) -> Self {
        Self { weigh: Some(Box::new(weigh)), ..self }
    }

    /// The key is to be worked on now.
    pub fn add(&self, key: K) {
        self.add_after(key, Duration::ZERO);
    }

    /// The key is to be worked on after `delay`, unless it comes sooner for another reason.
    pub fn add_after(&self, key: K, delay: Duration) {
        let (mut state, now) = self.state();
        state.wish(key, later(now, delay), now);
        drop(state);
        self.changed.notify_one();
    }

    /// How many keys are ready and wait for a worker, or for their lane to have fewer at work.
    pub fn depth(&self) -> usize {
        self.state().0.lanes.ready()
    }

    /// How long the key that has been ready for the longest time is ready, also if nobody takes keys.
    pub fn oldest(&self) -> Option<Duration> {
        self.figures().oldest
    }

    /// How often the work on `key` has failed in a row. Not every failed try [counts](WorkQueue#failures).
    pub fn failures(&self, key: &K) -> u32 {
        self.state().0.failures(key)
    }

    /// The next key, in the turn of its lane. Each key that is given out must be handed back with [`WorkQueue::finish`] or
    /// [`WorkQueue::put_back`]. If this is dropped before it is ready, no key is lost.
    pub async fn next(&self) -> K {
        self.start().await.0
    }

    /// The next key, and how long it was ready.
    pub(crate) async fn start(&self) -> (K, Duration) {
        // However this ends, it may be the only one that was told of a change: another one that waits is to look as well.
        let _told = PassOn(&self.changed);
        loop {
            let changed = self.changed.notified();
            match self.try_start() {
                Ok(started) => return started,
                Err(None) => changed.await,
                Err(Some(due)) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    /// Without a ready key, when there will be one.
    fn try_start(&self) -> Result<(K, Duration), Option<Instant>> {
        loop {
            let (mut state, now) = self.state();
            if let (Some(weigh), Some(lane)) = (&self.weigh, state.lanes.unweighed()) {
                let lane = lane.clone();
                drop(state);
                let weight = catch_unwind(AssertUnwindSafe(|| weigh(&lane))).unwrap_or(NonZeroU32::MIN);
                self.state.lock().lanes.weigh(&lane, weight);
                continue;
            }
            let (since, key) = state.take(now).ok_or_else(|| state.due())?;
            drop(state);
            return Ok(((*key).clone(), now - since));
        }
    }

    /// The work on `key` has ended.
    pub fn finish(&self, key: &K, outcome: Outcome) {
        let (mut state, now) = self.state();
        state.finish(key, outcome, self.backoff, now);
        drop(state);
        self.changed.notify_one();
    }

    /// The work on `key` was broken off for a reason that is none of the key's: it is ready again, and its failures are as they were.
    pub fn put_back(&self, key: &K) {
        let (mut state, now) = self.state();
        state.put_back(key, now);
        drop(state);
        self.changed.notify_one();
    }

    pub(crate) fn figures(&self) -> Figures {
        let (state, now) = self.state();
        Figures {
            ready: state.lanes.ready(),
            oldest: state.lanes.oldest().map(|since| now - since),
            delayed: state.delayed(),
            stuck: state.stuck(),
        }
    }

    /// Whether nothing is held for any key.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().is_empty()
    }

    /// As it is now. The time is read under the lock, so it never goes back.
    fn state(&self) -> (MutexGuard<'_, State<K>>, Instant) {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.release_due(now);
        (state, now)
    }
}

struct PassOn<'a>(&'a Notify);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl<K> fmt::Debug for WorkQueue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueue").field("backoff", &self.backoff).finish_non_exhaustive()
    }
}

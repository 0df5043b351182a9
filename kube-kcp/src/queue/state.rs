use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::Arc,
};

use tokio::time::Instant;

use super::{Lane, Outcome, failing::Failing, lanes::Lanes, later};
use crate::Backoff;

/// A key that failed so often in a row does not mend by itself. With [`Backoff::default`] that is after about a minute.
const STUCK: u32 = 10;

/// What a [`WorkQueue`](super::WorkQueue) holds: every key that waits or is at work, and none that is neither.
///
/// Measured with 100,000 keys in 10,000 lanes: 280 bytes per ready key and 330 per key in backoff, the key's 80 included and its
/// names on the heap not.
#[derive(Debug)]
pub(super) struct State<K> {
    keys: HashMap<Arc<K>, KeyState>,
    delayed: BTreeMap<(Instant, u64), Arc<K>>,
    pub(super) lanes: Lanes<K>,
    /// Of the last key that was delayed: several may be due at the same time.
    sequence: u64,
    stuck: usize,
}

#[derive(Clone, Copy, Debug)]
struct KeyState {
    place: Place,
    failing: Option<Failing>,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ready,
    Delayed {
        due: Instant,
        sequence: u64,
    },
    Active {
        /// Whether the try, if it fails, counts.
        counts: bool,
        /// When the key was asked for meanwhile.
        wish: Option<Instant>,
    },
}

impl<K: Lane + Eq + Hash> State<K> {
    pub(super) fn new(per_lane: usize) -> Self {
        Self {
            keys: HashMap::new(),
            delayed: BTreeMap::new(),
            lanes: Lanes::new(per_lane),
            sequence: 0,
            stuck: 0,
        }
    }

    /// How many keys wait for a time.
    pub(super) fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// How many keys have failed so often in a row that they do not mend by themselves.
    pub(super) fn stuck(&self) -> usize {
        self.stuck
    }

    pub(super) fn failures(&self, key: &K) -> u32 {
        self.keys.get(key).and_then(|state| state.failing).map_or(0, |failing| failing.count())
    }

    /// When the next key is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((due, _), _)| *due)
    }

    /// What is due is ready, and has been since it was due. Done before anything else, so that keys become ready in the order
    /// of time.
    pub(super) fn release_due(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            let (due, _) = *entry.key();
            if due > now {
                return;
            }
            let key = entry.remove();
            if let Some(state) = self.keys.get_mut(&key) {
                state.place = Place::Ready;
            }
            self.lanes.push(key, due);
        }
    }

    /// The key is to be worked on at this time, or sooner.
    pub(super) fn wish(&mut self, key: K, at: Instant, now: Instant) {
        let Some(state) = self.keys.get_mut(&key) else {
            return self.put(Arc::new(key), None, at, now);
        };
        let failing = state.failing;
        match &mut state.place {
            Place::Ready => {}
            Place::Active { wish, .. } => *wish = Some(wish.map_or(at, |earlier| earlier.min(at))),
            Place::Delayed { due, sequence } => {
                let at = failing.map_or(at, |failing| failing.triggered(at));
                let (due, sequence) = (*due, *sequence);
                if at < due
                    && let Some(key) = self.delayed.remove(&(due, sequence))
                {
                    self.put(key, failing, at, now);
                }
            }
        }
    }

    /// The next key, which is at work from now on, and since when it was ready.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Instant, Arc<K>)> {
        let (since, key) = self.lanes.take()?;
        if let Some(state) = self.keys.get_mut(&key) {
            let counts = state.failing.is_none_or(|failing| failing.until() <= now);
            state.place = Place::Active { counts, wish: None };
        }
        Some((since, key))
    }

    /// The work on the key has ended. Of a key that is not at work nothing has.
    pub(super) fn finish(&mut self, key: &K, outcome: Outcome, backoff: Backoff, now: Instant) {
        let Some((key, state)) = self.keys.remove_entry(key) else { return };
        let Place::Active { counts, wish } = state.place else {
            self.keys.insert(key, state);
            return;
        };
        let failed = |told| Some(Failing::again(state.failing, counts, told, backoff, now));
        let (failing, again) = match outcome {
            Outcome::Done => (None, None),
            Outcome::Again(delay) => (None, Some(later(now, delay))),
            Outcome::Failed => (failed(None), None),
            Outcome::FailedFor(told) => (failed(Some(told)), None),
        };
        let is_stuck = |failing: Option<Failing>| usize::from(failing.is_some_and(|f| f.count() >= STUCK));
        self.stuck = self.stuck + is_stuck(failing) - is_stuck(state.failing);

        let wish = wish.map(|wish| failing.map_or(wish, |failing| failing.triggered(wish)));
        let next = [wish, again, failing.map(|failing| failing.until())].into_iter().flatten().min();
        if let Some(next) = next {
            self.put(key.clone(), failing, next, now);
        }
        self.lanes.leave(key.lane());
    }

    /// The key is ready again, as if nothing had been tried.
    pub(super) fn put_back(&mut self, key: &K, now: Instant) {
        let Some((key, state)) = self.keys.remove_entry(key) else { return };
        if matches!(state.place, Place::Active { .. }) {
            self.put(key.clone(), state.failing, now, now);
            self.lanes.leave(key.lane());
        } else {
            self.keys.insert(key, state);
        }
    }

    /// Puts a key that is nowhere where it waits until then.
    fn put(&mut self, key: Arc<K>, failing: Option<Failing>, at: Instant, now: Instant) {
        let place = if at <= now {
            self.lanes.push(key.clone(), now);
            Place::Ready
        } else {
            self.sequence += 1;
            self.delayed.insert((at, self.sequence), key.clone());
            Place::Delayed { due: at, sequence: self.sequence }
        };
        self.keys.insert(key, KeyState { place, failing });
    }

    /// What a test of the whole compares with its own account.
    #[cfg(test)]
    pub(super) fn failing(&self, key: &K) -> Option<Failing> {
        self.keys.get(key).and_then(|state| state.failing)
    }

    /// Whether nothing is held for any key.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.delayed.is_empty() && self.lanes.is_empty() && self.stuck == 0
    }
}

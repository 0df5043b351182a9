use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt::Debug,
    hash::Hash,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{Backoff, ClusterName};

/// What a key's turn is counted against: usually the workspace. Lanes are served in turn, so that a workspace with ten
/// thousand keys does not hold back one with a single key.
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
}

/// Keys to work on: each at most once at a time, and at most once in the queue.
///
/// A key that is added while it is worked on comes again afterwards. A key is failed for ever with backoff, never dropped: after
/// fifty failures the fifty-first try may succeed. Adding a key that waits for its backoff makes it ready at once but leaves its
/// count of failures. The queue is unbounded in keys, but holds each key once, so its size is bounded by the objects watched.
#[derive(Debug)]
pub struct WorkQueue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    backoff: Backoff,
    per_lane: usize,
}

#[derive(Debug)]
struct State<K> {
    lanes: HashMap<ClusterName, LaneState<K>>,
    /// The lanes that have a ready key and room for it, in their turn.
    turn: VecDeque<ClusterName>,
    delayed: BTreeMap<(Instant, u64), K>,
    keys: HashMap<K, KeyState>,
    sequence: u64,
    ready: usize,
}

#[derive(Debug)]
struct LaneState<K> {
    ready: VecDeque<K>,
    active: usize,
    in_turn: bool,
}

#[derive(Debug, Default)]
struct KeyState {
    queued: bool,
    active: bool,
    /// Added while active.
    dirty: bool,
    failures: u32,
    due: Option<(Instant, u64)>,
}

impl KeyState {
    fn forgettable(&self) -> bool {
        !self.queued && !self.active && self.failures == 0 && self.due.is_none()
    }
}

impl<K: Lane + Clone + Eq + Hash + Debug> WorkQueue<K> {
    /// An empty queue, of whose keys at most `per_lane` of one lane (at least one) are worked on at a time.
    #[must_use]
    pub fn new(backoff: Backoff, per_lane: usize) -> Self {
        Self {
            state: Mutex::new(State {
                lanes: HashMap::new(),
                turn: VecDeque::new(),
                delayed: BTreeMap::new(),
                keys: HashMap::new(),
                sequence: 0,
                ready: 0,
            }),
            changed: Notify::new(),
            backoff,
            per_lane: per_lane.max(1),
        }
    }

    /// The key is to be worked on now.
    pub fn add(&self, key: K) {
        self.state.lock().make_ready(key, self.per_lane);
        self.changed.notify_one();
    }

    /// The key is to be worked on after `delay`, unless it comes sooner for another reason.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.state.lock().delay(key, Instant::now() + delay);
        self.changed.notify_one();
    }

    /// How many keys are ready and wait for a worker.
    pub fn depth(&self) -> usize {
        self.state.lock().ready
    }

    /// How often the work on `key` has failed in a row.
    pub fn failures(&self, key: &K) -> u32 {
        self.state.lock().keys.get(key).map_or(0, |state| state.failures)
    }

    /// The next key, in the turn of its lane. Each key that is given out must be handed back with [`WorkQueue::finish`].
    pub async fn next(&self) -> K {
        loop {
            let changed = self.changed.notified();
            let (key, due) = {
                let mut state = self.state.lock();
                state.release_due(Instant::now(), self.per_lane);
                let key = state.take(self.per_lane);
                (key, state.delayed.keys().next().map(|(due, _)| *due))
            };
            if let Some(key) = key {
                // Another waiter may have been passed over for this one.
                self.changed.notify_one();
                return key;
            }
            match due {
                Some(due) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }

    /// The work on `key` has ended.
    pub fn finish(&self, key: &K, outcome: Outcome) {
        let mut state = self.state.lock();
        let Some(entry) = state.keys.get_mut(key) else { return };
        entry.active = false;
        let dirty = std::mem::take(&mut entry.dirty);
        let again = match outcome {
            Outcome::Done => {
                entry.failures = 0;
                None
            }
            Outcome::Again(delay) => {
                entry.failures = 0;
                Some(delay)
            }
            Outcome::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                Some(self.backoff.after(entry.failures))
            }
        };
        state.leave_lane(key.lane(), self.per_lane);
        if dirty {
            state.make_ready(key.clone(), self.per_lane);
        } else if let Some(delay) = again {
            state.delay(key.clone(), Instant::now() + delay);
        }
        if state.keys.get(key).is_some_and(KeyState::forgettable) {
            state.keys.remove(key);
        }
        drop(state);
        self.changed.notify_one();
    }
}

impl<K: Lane + Clone + Eq + Hash> State<K> {
    fn make_ready(&mut self, key: K, per_lane: usize) {
        let entry = self.keys.entry(key.clone()).or_default();
        if let Some(due) = entry.due.take() {
            self.delayed.remove(&due);
        }
        if entry.active {
            entry.dirty = true;
            return;
        }
        if std::mem::replace(&mut entry.queued, true) {
            return;
        }
        let name = key.lane().clone();
        let lane = self.lanes.entry(name.clone()).or_insert_with(|| LaneState {
            ready: VecDeque::new(),
            active: 0,
            in_turn: false,
        });
        lane.ready.push_back(key);
        self.ready += 1;
        if !lane.in_turn && lane.active < per_lane {
            lane.in_turn = true;
            self.turn.push_back(name);
        }
    }

    fn delay(&mut self, key: K, due: Instant) {
        let entry = self.keys.entry(key.clone()).or_default();
        if entry.queued || entry.due.is_some_and(|(earlier, _)| earlier <= due) {
            return;
        }
        if let Some(later) = entry.due.take() {
            self.delayed.remove(&later);
        }
        self.sequence += 1;
        entry.due = Some((due, self.sequence));
        self.delayed.insert((due, self.sequence), key);
    }

    fn release_due(&mut self, now: Instant, per_lane: usize) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let key = entry.remove();
            if let Some(state) = self.keys.get_mut(&key) {
                state.due = None;
            }
            self.make_ready(key, per_lane);
        }
    }

    fn take(&mut self, per_lane: usize) -> Option<K> {
        let name = self.turn.pop_front()?;
        let lane = self.lanes.get_mut(&name)?;
        lane.in_turn = false;
        let key = lane.ready.pop_front()?;
        lane.active += 1;
        self.ready -= 1;
        if !lane.ready.is_empty() && lane.active < per_lane {
            lane.in_turn = true;
            self.turn.push_back(name);
        }
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.queued = false;
            entry.active = true;
        }
        Some(key)
    }

    fn leave_lane(&mut self, name: &ClusterName, per_lane: usize) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        lane.active = lane.active.saturating_sub(1);
        if !lane.ready.is_empty() && !lane.in_turn && lane.active < per_lane {
            lane.in_turn = true;
            self.turn.push_back(name.clone());
        } else if lane.ready.is_empty() && lane.active == 0 {
            self.lanes.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Key(ClusterName, u32);

    impl Lane for Key {
        fn lane(&self) -> &ClusterName {
            &self.0
        }
    }

    fn key(lane: &str, number: u32) -> Key {
        Key(lane.parse().unwrap(), number)
    }

    fn queue(per_lane: usize) -> WorkQueue<Key> {
        WorkQueue::new(Backoff::default(), per_lane)
    }

    fn now<K>(next: impl Future<Output = K>) -> Option<K> {
        next.now_or_never()
    }

    #[tokio::test]
    async fn lanes_are_served_in_turn() {
        let queue = queue(10);
        for number in 0..3 {
            queue.add(key("noisy", number));
        }
        queue.add(key("quiet", 0));
        let order: Vec<_> = [queue.next().await, queue.next().await, queue.next().await].into();
        assert_eq!(order, [key("noisy", 0), key("quiet", 0), key("noisy", 1)]);
    }

    #[tokio::test]
    async fn a_lane_has_its_cap() {
        let queue = queue(1);
        queue.add(key("a", 1));
        queue.add(key("a", 2));
        let first = queue.next().await;
        assert_eq!(now(queue.next()), None);
        queue.finish(&first, Outcome::Done);
        assert_eq!(now(queue.next()), Some(key("a", 2)));
    }

    #[tokio::test]
    async fn a_key_is_queued_once_and_comes_again_when_added_at_work() {
        let queue = queue(10);
        queue.add(key("a", 1));
        queue.add(key("a", 1));
        let first = queue.next().await;
        assert_eq!(now(queue.next()), None);
        queue.add(key("a", 1));
        assert_eq!(now(queue.next()), None, "never twice at a time");
        queue.finish(&first, Outcome::Done);
        assert_eq!(now(queue.next()), Some(key("a", 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_grows_is_capped_and_begins_anew() {
        let queue = queue(1);
        queue.add(key("a", 1));
        let mut waits = Vec::new();
        for _ in 0..51 {
            let started = Instant::now();
            let taken = queue.next().await;
            waits.push(started.elapsed());
            queue.finish(&taken, Outcome::Failed);
        }
        assert!(waits[1] >= Duration::from_millis(50) && waits[1] <= Duration::from_millis(101), "{waits:?}");
        assert!(waits[50] >= Duration::from_secs(30) && waits[50] <= Duration::from_secs(61), "{waits:?}");
        assert_eq!(queue.failures(&key("a", 1)), 51);
        let taken = queue.next().await;
        queue.finish(&taken, Outcome::Done);
        assert_eq!(queue.failures(&key("a", 1)), 0);
        assert!(queue.state.lock().keys.is_empty(), "a key that is done is forgotten");
        assert!(queue.state.lock().lanes.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_unrelated_trigger_comes_at_once_and_leaves_the_count() {
        let queue = queue(1);
        queue.add(key("a", 1));
        let taken = queue.next().await;
        queue.finish(&taken, Outcome::Failed);
        queue.add(key("a", 1));
        assert_eq!(now(queue.next()), Some(key("a", 1)));
        assert_eq!(queue.failures(&key("a", 1)), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_delays_counts() {
        let queue = queue(1);
        queue.add_after(key("a", 1), Duration::from_secs(60));
        queue.add_after(key("a", 1), Duration::from_secs(5));
        queue.add_after(key("a", 1), Duration::from_secs(30));
        let started = Instant::now();
        let taken = queue.next().await;
        assert_eq!(started.elapsed().as_secs(), 5);
        queue.finish(&taken, Outcome::Done);
        assert!(queue.state.lock().delayed.is_empty());
    }

    proptest::proptest! {
        /// Whatever is added and however it ends: no key is lost, none is worked on twice at a time, no lane is over its cap.
        #[test]
        fn nothing_is_lost(steps in proptest::collection::vec((0u8..3, 0u32..3, 0u32..4), 1..200)) {
            let queue = queue(2);
            let mut wanted = std::collections::HashSet::new();
            let mut active: Vec<Key> = Vec::new();
            for (step, lane, number) in steps {
                match step {
                    0 => { let k = key(&format!("l{lane}"), number); queue.add(k.clone()); wanted.insert(k); }
                    1 => if let Some(k) = now(queue.next()) {
                        proptest::prop_assert!(!active.contains(&k));
                        wanted.remove(&k);
                        active.push(k);
                        proptest::prop_assert!(active.iter().filter(|other| other.0 == active.last().unwrap().0).count() <= 2);
                    },
                    _ => if !active.is_empty() {
                        let k = active.remove(number as usize % active.len());
                        queue.finish(&k, Outcome::Done);
                    },
                }
            }
            for k in active { queue.finish(&k, Outcome::Done); }
            while let Some(k) = now(queue.next()) { wanted.remove(&k); queue.finish(&k, Outcome::Done); }
            proptest::prop_assert!(wanted.is_empty());
            proptest::prop_assert!(queue.state.lock().keys.is_empty());
        }
    }
}

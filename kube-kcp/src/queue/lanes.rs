use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
};

use tokio::time::Instant;

use super::Lane;
use crate::ClusterName;

/// The keys that are ready, by lane, and whose turn it is.
///
/// Those lanes are in the turn order that have a ready key and room for it, and no others: finding the next key never looks at a
/// lane in vain.
#[derive(Debug)]
pub(super) struct Lanes<K> {
    lanes: HashMap<ClusterName, State<K>>,
    /// The first one has the turn.
    turn: VecDeque<ClusterName>,
    /// Since when the first ready key of each lane is ready. Keys become ready in the order of time, so that no key of a lane has
    /// waited longer than its first.
    oldest: BTreeSet<(Instant, ClusterName)>,
    ready: usize,
    per_lane: usize,
}

#[derive(Debug)]
struct State<K> {
    ready: VecDeque<(Instant, Arc<K>)>,
    active: usize,
    in_turn: bool,
    /// How many more keys it may hand out in this turn; zero before its turn has begun.
    left: u32,
}

impl<K> State<K> {
    const EMPTY: Self = Self { ready: VecDeque::new(), active: 0, in_turn: false, left: 0 };
}

impl<K: Lane> Lanes<K> {
    pub(super) fn new(per_lane: usize) -> Self {
        Self {
            lanes: HashMap::new(),
            turn: VecDeque::new(),
            oldest: BTreeSet::new(),
            ready: 0,
            per_lane: per_lane.max(1),
        }
    }

    /// How many keys are ready.
    pub(super) fn ready(&self) -> usize {
        self.ready
    }

    /// Since when the longest ready key is ready.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.oldest.first().map(|(since, _)| *since)
    }

    /// The key is ready. `since` is not before that of any key pushed earlier.
    pub(super) fn push(&mut self, key: Arc<K>, since: Instant) {
        let name = key.lane();
        if !self.lanes.contains_key(name) {
            self.lanes.insert(name.clone(), State::EMPTY);
        }
        let Some(lane) = self.lanes.get_mut(name) else { return };
        if lane.ready.is_empty() {
            self.oldest.insert((since, name.clone()));
        }
        if !lane.in_turn && lane.active < self.per_lane {
            lane.in_turn = true;
            self.turn.push_back(name.clone());
        }
        lane.ready.push_back((since, key));
        self.ready += 1;
    }

    /// The lane whose turn begins and whose weight was not told yet.
    pub(super) fn unweighed(&self) -> Option<&ClusterName> {
        let name = self.turn.front()?;
        (self.lanes.get(name)?.left == 0).then_some(name)
    }

    /// If the turn of this lane begins, it may hand out so many keys.
    pub(super) fn weigh(&mut self, name: &ClusterName, weight: NonZeroU32) {
        if self.unweighed() == Some(name)
            && let Some(lane) = self.lanes.get_mut(name)
        {
            lane.left = weight.get();
        }
    }

    /// The next key, which is at work from now on, and since when it was ready. A lane that nobody weighed weighs one.
    pub(super) fn take(&mut self) -> Option<(Instant, Arc<K>)> {
        let name = self.turn.front()?;
        let lane = self.lanes.get_mut(name)?;
        let (since, key) = lane.ready.pop_front()?;
        self.ready -= 1;
        lane.active += 1;
        lane.left = lane.left.saturating_sub(1);

        self.oldest.remove(&(since, name.clone()));
        if let Some((since, _)) = lane.ready.front() {
            self.oldest.insert((*since, name.clone()));
        }
        let stays = !lane.ready.is_empty() && lane.active < self.per_lane;
        if !stays {
            // What is left of its turn is lost: saved up, it would be a burst at the cost of others.
            (lane.in_turn, lane.left) = (false, 0);
            self.turn.pop_front();
        } else if lane.left == 0 {
            self.turn.rotate_left(1);
        }
        Some((since, key))
    }

    /// A key of this lane is at work no more.
    pub(super) fn leave(&mut self, name: &ClusterName) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        lane.active = lane.active.saturating_sub(1);
        if lane.ready.is_empty() {
            if lane.active == 0 {
                self.lanes.remove(name);
            }
        } else if !lane.in_turn && lane.active < self.per_lane {
            lane.in_turn = true;
            self.turn.push_back(name.clone());
        }
    }

    /// Whether nothing is held for any lane.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.turn.is_empty() && self.oldest.is_empty() && self.ready == 0
    }
}

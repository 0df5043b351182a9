use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use kube_kcp::ObjectKey;
use parking_lot::Mutex;

/// Who holds what only one can hold: a host name, or an extension in a workspace.
///
/// The first holder keeps it until it lets go; then the one with the lowest rank among those that wait gets it. A restart does
/// not shuffle holders, because a holder whose status records what it holds takes it from one whose status does not.
#[derive(Debug)]
pub(crate) struct Claims<R> {
    state: Mutex<State<R>>,
}

#[derive(Debug)]
struct State<R> {
    entries: HashMap<R, Entry>,
    claimed: HashMap<ObjectKey, R>,
}

#[derive(Debug)]
struct Entry {
    holder: ObjectKey,
    claimants: BTreeMap<ObjectKey, Rank>,
}

/// Who comes first: those whose status says that they hold it, then the oldest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// False sorts first.
    pub(crate) unrecorded: bool,
    /// `metadata.creationTimestamp`, in seconds.
    pub(crate) created: i64,
    /// Decides between two of the same second.
    pub(crate) uid: String,
}

/// What came of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Who holds it now.
    pub(crate) holder: ObjectKey,
    /// For whom something has changed by this, the claimant itself excepted.
    pub(crate) wake: Vec<ObjectKey>,
}

impl<R> Default for Claims<R> {
    fn default() -> Self {
        Self { state: Mutex::new(State { entries: HashMap::new(), claimed: HashMap::new() }) }
    }
}

impl<R: Clone + Eq + Hash> Claims<R> {
    /// `claimant` wants `resource`, and lets go of what it claimed before if that was another.
    pub(crate) fn claim(&self, resource: &R, claimant: &ObjectKey, rank: Rank) -> Verdict {
        let mut state = self.state.lock();
        let mut wake = match state.claimed.get(claimant) {
            Some(before) if before != resource => state.release(claimant),
            _ => Vec::new(),
        };
        state.claimed.insert(claimant.clone(), resource.clone());
        let entry = state
            .entries
            .entry(resource.clone())
            .or_insert_with(|| Entry { holder: claimant.clone(), claimants: BTreeMap::new() });
        entry.claimants.insert(claimant.clone(), rank.clone());
        let holder_unrecorded = entry.claimants.get(&entry.holder).is_none_or(|holder| holder.unrecorded);
        if entry.holder != *claimant && holder_unrecorded && !rank.unrecorded {
            wake.push(std::mem::replace(&mut entry.holder, claimant.clone()));
        }
        Verdict { holder: entry.holder.clone(), wake }
    }

    /// `claimant` lets go of whatever it claims. Returns whom to wake: all that wait for it.
    pub(crate) fn release(&self, claimant: &ObjectKey) -> Vec<ObjectKey> {
        self.state.lock().release(claimant)
    }
}

impl<R: Clone + Eq + Hash> State<R> {
    fn release(&mut self, claimant: &ObjectKey) -> Vec<ObjectKey> {
        let Some(resource) = self.claimed.remove(claimant) else { return Vec::new() };
        let Some(entry) = self.entries.get_mut(&resource) else { return Vec::new() };
        entry.claimants.remove(claimant);
        if entry.holder != *claimant {
            return Vec::new();
        }
        match entry.claimants.iter().min_by_key(|(_, rank)| *rank) {
            Some((next, _)) => {
                entry.holder = next.clone();
                entry.claimants.keys().cloned().collect()
            }
            None => {
                self.entries.remove(&resource);
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey {
            shard: "https://s".parse().unwrap(),
            cluster: "c".parse().unwrap(),
            namespace: "default".into(),
            name: name.into(),
        }
    }

    fn rank(unrecorded: bool, created: i64) -> Rank {
        Rank { unrecorded, created, uid: String::new() }
    }

    #[test]
    fn the_first_holder_keeps_it_even_from_an_older_one() {
        let claims = Claims::default();
        assert_eq!(claims.claim(&"h", &key("a"), rank(true, 5)).holder, key("a"));
        assert_eq!(claims.claim(&"h", &key("b"), rank(true, 1)).holder, key("a"));
        assert_eq!(claims.claim(&"h", &key("c"), rank(true, 3)).holder, key("a"));
        assert_eq!(claims.release(&key("a")), [key("b"), key("c")]);
        assert_eq!(claims.claim(&"h", &key("c"), rank(true, 3)).holder, key("b"), "the oldest is next");
    }

    #[test]
    fn after_a_restart_the_recorded_holder_has_it_in_whatever_order_they_come() {
        let claims = Claims::default();
        claims.claim(&"h", &key("late"), rank(true, 1));
        let verdict = claims.claim(&"h", &key("holder"), rank(false, 2));
        assert_eq!(verdict, Verdict { holder: key("holder"), wake: vec![key("late")] });
        assert_eq!(claims.claim(&"h", &key("late"), rank(true, 1)).holder, key("holder"));
    }

    #[test]
    fn a_changed_wish_lets_go_of_the_former() {
        let claims = Claims::default();
        claims.claim(&"h", &key("a"), rank(true, 1));
        claims.claim(&"h", &key("b"), rank(true, 2));
        assert_eq!(claims.claim(&"i", &key("a"), rank(true, 1)).wake, [key("b")]);
        assert_eq!(claims.claim(&"h", &key("b"), rank(true, 2)).holder, key("b"));
        assert!(claims.release(&key("a")).is_empty());
        assert!(claims.release(&key("b")).is_empty());
        assert!(claims.state.lock().entries.is_empty() && claims.state.lock().claimed.is_empty());
    }
}

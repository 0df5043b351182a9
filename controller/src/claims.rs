use std::{
    collections::{BTreeMap, HashMap, HashSet},
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
    claimed: HashMap<ObjectKey, HashSet<R>>,
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
    /// `claimant` wants `resource`. What it claimed before it keeps, until [`Claims::keep_only`]: who moves to another host must
    /// not lose the one it answers on before the other is won.
    pub(crate) fn claim(&self, resource: &R, claimant: &ObjectKey, rank: Rank) -> Verdict {
        let mut state = self.state.lock();
        state.claimed.entry(claimant.clone()).or_default().insert(resource.clone());
        let entry = state
            .entries
            .entry(resource.clone())
            .or_insert_with(|| Entry { holder: claimant.clone(), claimants: BTreeMap::new() });
        entry.claimants.insert(claimant.clone(), rank.clone());
        let holder_unrecorded = entry.claimants.get(&entry.holder).is_none_or(|holder| holder.unrecorded);
        let mut wake = Vec::new();
        if entry.holder != *claimant && holder_unrecorded && !rank.unrecorded {
            wake.push(std::mem::replace(&mut entry.holder, claimant.clone()));
        }
        Verdict { holder: entry.holder.clone(), wake }
    }

    /// Nobody holds or waits for anything.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.entries.clear();
        state.claimed.clear();
    }

    /// Everyone who holds `resource` or waits for it.
    pub(crate) fn claimants(&self, resource: &R) -> Vec<ObjectKey> {
        let state = self.state.lock();
        state.entries.get(resource).into_iter().flat_map(|entry| entry.claimants.keys().cloned()).collect()
    }

    /// Whether `claimant` holds `resource`.
    pub(crate) fn holds(&self, resource: &R, claimant: &ObjectKey) -> bool {
        self.state.lock().entries.get(resource).is_some_and(|entry| entry.holder == *claimant)
    }

    /// `claimant` lets go of everything but `resource`. Returns whom to wake.
    pub(crate) fn keep_only(&self, resource: &R, claimant: &ObjectKey) -> Vec<ObjectKey> {
        self.state.lock().release(claimant, |claimed| claimed != resource)
    }

    /// `claimant` lets go of everything. Returns whom to wake: all that wait for what it held.
    pub(crate) fn release(&self, claimant: &ObjectKey) -> Vec<ObjectKey> {
        self.state.lock().release(claimant, |_| true)
    }
}

impl<R: Clone + Eq + Hash> State<R> {
    fn release(&mut self, claimant: &ObjectKey, chosen: impl Fn(&R) -> bool) -> Vec<ObjectKey> {
        let Some(claimed) = self.claimed.get_mut(claimant) else { return Vec::new() };
        let released: Vec<R> = claimed.extract_if(|resource| chosen(resource)).collect();
        if claimed.is_empty() {
            self.claimed.remove(claimant);
        }
        released.iter().flat_map(|resource| self.leave(resource, claimant)).collect()
    }

    fn leave(&mut self, resource: &R, claimant: &ObjectKey) -> Vec<ObjectKey> {
        let Some(entry) = self.entries.get_mut(resource) else { return Vec::new() };
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
                self.entries.remove(resource);
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { cluster: "c".parse().unwrap(), namespace: "default".into(), name: name.into() }
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
    fn who_moves_keeps_the_former_until_the_other_is_won() {
        let claims = Claims::default();
        claims.claim(&"h", &key("a"), rank(true, 1));
        claims.claim(&"h", &key("b"), rank(true, 2));
        claims.claim(&"i", &key("c"), rank(true, 1));
        assert_eq!(claims.claim(&"i", &key("a"), rank(true, 1)).holder, key("c"));
        assert!(claims.holds(&"h", &key("a")), "not won, so the former is kept");
        assert_eq!(claims.release(&key("c")), [key("a")]);
        assert!(claims.holds(&"i", &key("a")));
        assert_eq!(claims.keep_only(&"i", &key("a")), [key("b")]);
        assert!(claims.holds(&"h", &key("b")) && claims.holds(&"i", &key("a")));
        claims.release(&key("a"));
        claims.release(&key("b"));
        assert!(claims.state.lock().entries.is_empty() && claims.state.lock().claimed.is_empty());
    }
}

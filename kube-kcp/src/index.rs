use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use parking_lot::RwLock;

use crate::{ClusterName, ObjectKey, ShardUrl};

/// The objects of one kind in all workspaces, by (shard, cluster, namespace, name).
///
/// kube-runtime's reflector keys by namespace and name: over a wildcard, two tenants' objects of the same name would be one.
/// Reading takes a lock for the time of a map lookup; no lock is held over an await.
#[derive(Debug)]
pub struct Index<T> {
    state: RwLock<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    objects: BTreeMap<ObjectKey, Arc<T>>,
    synced: BTreeSet<ShardUrl>,
}

/// What happened to one object.
#[derive(Debug)]
pub enum Change<T> {
    /// It is new or changed.
    Applied {
        /// Where it is.
        key: ObjectKey,
        /// As it is now.
        object: Arc<T>,
        /// As it was before, if it was known.
        previous: Option<Arc<T>>,
    },
    /// It is gone.
    Removed {
        /// Where it was.
        key: ObjectKey,
        /// As it was last seen.
        last: Arc<T>,
        /// How that was noticed.
        because: RemovedBecause,
    },
}

/// How a removal was noticed. The server said so only in the first case; a relist that is empty by a fault of the server
/// looks like the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovedBecause {
    /// The watch reported its deletion.
    Deleted,
    /// A relist did not hold it any more.
    Relist,
}

impl<T> Change<T> {
    /// Where the object is or was.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Applied { key, .. } | Self::Removed { key, .. } => key,
        }
    }

    /// The object as it is now, or as it was last seen.
    pub fn object(&self) -> &Arc<T> {
        match self {
            Self::Applied { object, .. } => object,
            Self::Removed { last, .. } => last,
        }
    }
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { state: RwLock::new(State { objects: BTreeMap::new(), synced: BTreeSet::new() }) }
    }
}

impl<T> Index<T> {
    /// The object at `key`.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.state.read().objects.get(key).cloned()
    }

    /// All objects of one workspace, in the order of namespace and name.
    pub fn in_cluster(&self, shard: &ShardUrl, cluster: &ClusterName) -> Vec<(ObjectKey, Arc<T>)> {
        let first = ObjectKey {
            shard: shard.clone(),
            cluster: cluster.clone(),
            namespace: String::new(),
            name: String::new(),
        };
        let state = self.state.read();
        state
            .objects
            .range((Bound::Included(&first), Bound::Unbounded))
            .take_while(|(key, _)| key.cluster == *cluster && key.shard == *shard)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect()
    }

    /// Every object, in the order of the keys.
    pub fn all(&self) -> Vec<(ObjectKey, Arc<T>)> {
        self.state.read().objects.iter().map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `shard` was listed to the end at least once: before, that an object is absent means nothing.
    pub fn is_synced(&self, shard: &ShardUrl) -> bool {
        self.state.read().synced.contains(shard)
    }

    /// The shards that were listed to the end.
    pub fn shards(&self) -> Vec<ShardUrl> {
        self.state.read().synced.iter().cloned().collect()
    }

    /// Takes in a new or changed object.
    pub fn apply(&self, key: ObjectKey, object: T) -> Change<T> {
        let object = Arc::new(object);
        let previous = self.state.write().objects.insert(key.clone(), object.clone());
        Change::Applied { key, object, previous }
    }

    /// Takes out an object that the server reported as deleted.
    pub fn delete(&self, key: &ObjectKey) -> Option<Change<T>> {
        let last = self.state.write().objects.remove(key)?;
        Some(Change::Removed { key: key.clone(), last, because: RemovedBecause::Deleted })
    }

    /// A list of `shard` has ended and held exactly `live`: everything else of that shard is gone, and is reported so that
    /// it can be acted on. The objects themselves were taken in one by one.
    pub fn finish_list(&self, shard: &ShardUrl, live: &BTreeSet<ObjectKey>) -> Vec<Change<T>> {
        let mut state = self.state.write();
        let gone: Vec<ObjectKey> =
            state.objects.keys().filter(|key| key.shard == *shard && !live.contains(*key)).cloned().collect();
        state.synced.insert(shard.clone());
        gone.into_iter()
            .filter_map(|key| {
                let last = state.objects.remove(&key)?;
                Some(Change::Removed { key, last, because: RemovedBecause::Relist })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(shard: &str, cluster: &str, name: &str) -> ObjectKey {
        ObjectKey {
            shard: format!("https://{shard}").parse().unwrap(),
            cluster: cluster.parse().unwrap(),
            namespace: "default".into(),
            name: name.into(),
        }
    }

    #[test]
    fn objects_of_the_same_name_do_not_meet() {
        let index = Index::default();
        index.apply(key("s", "a", "x"), 1);
        index.apply(key("s", "ab", "x"), 2);
        index.apply(key("t", "a", "x"), 3);
        assert_eq!(index.get(&key("s", "a", "x")).as_deref(), Some(&1));
        let found = index.in_cluster(&"https://s".parse().unwrap(), &"a".parse().unwrap());
        assert_eq!(found.iter().map(|(_, object)| **object).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_relist_reports_what_vanished_from_its_own_shard() {
        let index = Index::default();
        for name in ["x", "y"] {
            index.apply(key("s", "a", name), ());
            index.apply(key("t", "a", name), ());
        }
        let shard: ShardUrl = "https://s".parse().unwrap();
        assert!(!index.is_synced(&shard));
        let gone = index.finish_list(&shard, &BTreeSet::from([key("s", "a", "y")]));
        assert!(index.is_synced(&shard));
        assert_eq!(gone.iter().map(|change| change.key().clone()).collect::<Vec<_>>(), [key("s", "a", "x")]);
        assert_eq!(index.len(), 3);
    }

    proptest! {
        /// Against a map: whatever comes in which order, the index holds what the server holds.
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((0u8..3, 0u8..2, 0u8..3, 0u8..3, any::<u8>()), 0..60)) {
            let index = Index::default();
            let mut model = BTreeMap::new();
            for (step, shard, cluster, name, value) in steps {
                let at = key(&format!("s{shard}"), &format!("c{cluster}"), &format!("n{name}"));
                match step {
                    0 => { index.apply(at.clone(), value); model.insert(at, value); }
                    1 => { prop_assert_eq!(index.delete(&at).is_some(), model.remove(&at).is_some()); }
                    _ => {
                        let live: BTreeSet<_> = model.keys().filter(|k| k.shard == at.shard && k.name != at.name).cloned().collect();
                        let gone = index.finish_list(&at.shard, &live);
                        let before = model.len();
                        model.retain(|k, _| k.shard != at.shard || live.contains(k));
                        prop_assert_eq!(gone.len(), before - model.len());
                    }
                }
                let held: BTreeMap<_, _> = index.all().into_iter().map(|(k, v)| (k, *v)).collect();
                prop_assert_eq!(&held, &model);
            }
        }
    }
}

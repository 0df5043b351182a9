use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::{Brake, ClusterName, ObjectKey, ShardUrl};

/// The objects of one kind in all workspaces, by (cluster, namespace, name).
///
/// kube-runtime's reflector keys by namespace and name: over a wildcard, two tenants' objects of the same name would be one.
/// Reading takes a lock for the time of a map lookup; no lock is held over an await.
#[derive(Debug)]
pub struct Index<T> {
    state: RwLock<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    objects: BTreeMap<ObjectKey, Entry<T>>,
    synced: BTreeSet<ShardUrl>,
    held: BTreeMap<ObjectKey, Hold>,
}

#[derive(Debug)]
struct Entry<T> {
    object: Arc<T>,
    /// Whose list or watch brought it last. What another shard says of it does not count.
    shard: ShardUrl,
}

/// An object that has vanished and is held. See [`Brake`].
#[derive(Debug)]
struct Hold {
    shard: ShardUrl,
    since: Instant,
    /// The same for people, who compare it with their own clocks.
    at: Timestamp,
}

/// What happened to one object.
#[derive(Debug)]
pub enum Change<T> {
    /// It is new or changed.
    Applied {
        /// Which.
        key: ObjectKey,
        /// As it is now.
        object: Arc<T>,
        /// As it was before, if it was known.
        previous: Option<Arc<T>>,
    },
    /// It is gone.
    Removed {
        /// Which.
        key: ObjectKey,
        /// As it was last seen.
        last: Arc<T>,
        /// How that was noticed.
        because: RemovedBecause,
    },
}

/// How a removal was noticed. The server said so only in the first case; ask it before destroying anything for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovedBecause {
    /// The watch reported its deletion.
    Deleted,
    /// A relist did not hold it any more, or two did not; see [`Brake`].
    Relist,
    /// Its shard is not served any more.
    ShardGone,
    /// It was held, and an operator said that it is gone.
    LetGo,
}

/// How much is held of what has vanished from one shard. See [`Brake`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// How many objects.
    pub objects: usize,
    /// Since when the first of them is.
    pub since: Timestamp,
}

impl<T> Change<T> {
    /// Which object it is about.
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
        Self {
            state: RwLock::new(State {
                objects: BTreeMap::new(),
                synced: BTreeSet::new(),
                held: BTreeMap::new(),
            }),
        }
    }
}

impl<T> Index<T> {
    /// The object at `key`.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.state.read().objects.get(key).map(|entry| entry.object.clone())
    }

    /// All objects of one workspace, in the order of namespace and name.
    pub fn in_cluster(&self, cluster: &ClusterName) -> Vec<(ObjectKey, Arc<T>)> {
        let first = ObjectKey { cluster: cluster.clone(), namespace: String::new(), name: String::new() };
        let state = self.state.read();
        state
            .objects
            .range((Bound::Included(&first), Bound::Unbounded))
            .take_while(|(key, _)| key.cluster == *cluster)
            .map(|(key, entry)| (key.clone(), entry.object.clone()))
            .collect()
    }

    /// Every object, in the order of the keys.
    pub fn all(&self) -> Vec<(ObjectKey, Arc<T>)> {
        self.state.read().objects.iter().map(|(key, entry)| (key.clone(), entry.object.clone())).collect()
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

    /// Whether the object has vanished and is held; see [`Brake`].
    pub fn is_held(&self, key: &ObjectKey) -> bool {
        self.state.read().held.contains_key(key)
    }

    /// How much is held of what has vanished from `shard`. None: nothing.
    pub fn held(&self, shard: &ShardUrl) -> Option<Held> {
        let state = self.state.read();
        let since = state.held.values().filter(|hold| hold.shard == *shard).map(|hold| hold.at);
        let objects = since.clone().count();
        since.min().map(|since| Held { objects, since })
    }

    /// When `shard` is to be listed a second time, because something that its first list did not hold is held.
    pub(crate) fn second_list(&self, shard: &ShardUrl, brake: &Brake) -> Option<Instant> {
        let state = self.state.read();
        let since = state.held.values().filter(|hold| hold.shard == *shard).map(|hold| hold.since);
        since.min().map(|since| since + brake.second_list)
    }
}

impl<T: Resource> Index<T> {
    /// Takes in an object that `shard` says is new or changed. What another shard had of that key is superseded: the cluster has
    /// moved, or its shard got another URL.
    pub fn apply(&self, shard: &ShardUrl, key: ObjectKey, object: T) -> Change<T> {
        let object = Arc::new(object);
        let entry = Entry { object: object.clone(), shard: shard.clone() };
        let mut state = self.state.write();
        state.held.remove(&key);
        let previous = state.objects.insert(key.clone(), entry).map(|entry| entry.object);
        Change::Applied { key, object, previous }
    }

    /// Takes out an object that `shard` reported as deleted. A shard on which it was before has no say.
    pub fn delete(&self, shard: &ShardUrl, key: &ObjectKey) -> Option<Change<T>> {
        let mut state = self.state.write();
        state.objects.get(key).filter(|entry| entry.shard == *shard)?;
        state.take(key, RemovedBecause::Deleted)
    }

    /// A list of `shard` has ended and held exactly `live`: everything else of that shard has vanished, and is reported so that it
    /// can be acted on, or held. The objects themselves were taken in one by one.
    pub fn finish_list(&self, shard: &ShardUrl, live: &BTreeSet<ObjectKey>, brake: &Brake) -> Vec<Change<T>> {
        let mut state = self.state.write();
        state.synced.insert(shard.clone());
        state.vanish(shard, live, brake, RemovedBecause::Relist)
    }

    /// `shard` is not served any more: all that it had has vanished with it.
    pub fn shard_gone(&self, shard: &ShardUrl, brake: &Brake) -> Vec<Change<T>> {
        let mut state = self.state.write();
        state.synced.remove(shard);
        state.vanish(shard, &BTreeSet::new(), brake, RemovedBecause::ShardGone)
    }

    /// An operator says that what has vanished before that time is gone.
    pub fn let_go(&self, before: Timestamp) -> Vec<Change<T>> {
        let mut state = self.state.write();
        let gone: Vec<ObjectKey> =
            state.held.iter().filter(|(_, hold)| hold.at < before).map(|(key, _)| key.clone()).collect();
        gone.iter().filter_map(|key| state.take(key, RemovedBecause::LetGo)).collect()
    }
}

impl<T: Resource> State<T> {
    fn take(&mut self, key: &ObjectKey, because: RemovedBecause) -> Option<Change<T>> {
        self.held.remove(key);
        let last = self.objects.remove(key)?.object;
        Some(Change::Removed { key: key.clone(), last, because })
    }

    fn vanish(
        &mut self,
        shard: &ShardUrl,
        live: &BTreeSet<ObjectKey>,
        brake: &Brake,
        because: RemovedBecause,
    ) -> Vec<Change<T>> {
        let (now, at) = (Instant::now(), Timestamp::now());
        let owned = self.objects.iter().filter(|(_, entry)| entry.shard == *shard);
        let (mut of, mut gone, mut unexplained) = (0, Vec::new(), Vec::new());
        for (key, entry) in owned {
            of += 1;
            if live.contains(key) {
                continue;
            }
            let first_missed = self.held.get(key).map(|hold| hold.since);
            if entry.object.meta().deletion_timestamp.is_some() {
                gone.push(key.clone());
            } else if let Some(since) = first_missed {
                // That a shard is not served is no second list. And a faulty server that is listed twice in a row has had no time
                // to come to itself.
                if because == RemovedBecause::Relist && now.duration_since(since) >= brake.second_list {
                    gone.push(key.clone());
                }
            } else {
                unexplained.push(key.clone());
            }
        }
        if brake.holds(unexplained.len(), of) {
            let hold = |key| (key, Hold { shard: shard.clone(), since: now, at });
            self.held.extend(unexplained.into_iter().map(hold));
        } else {
            gone.append(&mut unexplained);
        }
        gone.iter().filter_map(|key| self.take(key, because)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::Time};
    use proptest::prelude::*;

    use super::*;

    const BRAKE: Brake = Brake { percent: 20, at_least: 10, second_list: Duration::from_secs(30) };

    fn shard(name: &str) -> ShardUrl {
        format!("https://{name}").parse().unwrap()
    }

    fn key(cluster: &str, name: &str) -> ObjectKey {
        ObjectKey { cluster: cluster.parse().unwrap(), namespace: "default".into(), name: name.into() }
    }

    fn object(value: &str) -> ConfigMap {
        ConfigMap { data: Some([("value".to_owned(), value.to_owned())].into()), ..ConfigMap::default() }
    }

    fn value(object: &ConfigMap) -> &str {
        object.data.as_ref().unwrap()["value"].as_str()
    }

    fn terminating() -> ConfigMap {
        let mut object = object("goes");
        object.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        object
    }

    fn keys(changes: &[Change<ConfigMap>]) -> Vec<ObjectKey> {
        changes.iter().map(|change| change.key().clone()).collect()
    }

    /// An index of a shard `s` with so many objects.
    fn filled(objects: usize) -> Index<ConfigMap> {
        let index = Index::default();
        let all: BTreeSet<_> = (0..objects).map(|number| key("a", &format!("x{number:03}"))).collect();
        for key in &all {
            index.apply(&shard("s"), key.clone(), object("1"));
        }
        assert!(index.finish_list(&shard("s"), &all, &BRAKE).is_empty());
        index
    }

    #[test]
    fn objects_of_the_same_name_do_not_meet() {
        let index = Index::default();
        index.apply(&shard("s"), key("a", "x"), object("1"));
        index.apply(&shard("s"), key("ab", "x"), object("2"));
        index.apply(&shard("t"), key("b", "x"), object("3"));
        assert_eq!(value(&index.get(&key("a", "x")).unwrap()), "1");
        let found = index.in_cluster(&"a".parse().unwrap());
        assert_eq!(found.iter().map(|(_, object)| value(object)).collect::<Vec<_>>(), ["1"]);
    }

    #[tokio::test]
    async fn a_relist_reports_what_vanished_from_its_own_shard() {
        let index = Index::default();
        for name in ["x", "y"] {
            index.apply(&shard("s"), key("a", name), object(""));
            index.apply(&shard("t"), key("b", name), object(""));
        }
        assert!(!index.is_synced(&shard("s")));
        let gone = index.finish_list(&shard("s"), &BTreeSet::from([key("a", "y")]), &BRAKE);
        assert!(index.is_synced(&shard("s")));
        assert_eq!(keys(&gone), [key("a", "x")]);
        assert_eq!(index.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_are_held_until_a_second_list_some_time_later() {
        let index = filled(20);
        let none = BTreeSet::new();
        assert!(index.finish_list(&shard("s"), &none, &BRAKE).is_empty());
        assert_eq!(index.held(&shard("s")).unwrap().objects, 20);
        assert_eq!(index.len(), 20, "they are there as they were last seen");
        let second = index.second_list(&shard("s"), &BRAKE).unwrap();
        assert_eq!(second.duration_since(Instant::now()), BRAKE.second_list);
        // Too soon.
        assert!(index.finish_list(&shard("s"), &none, &BRAKE).is_empty());
        tokio::time::advance(BRAKE.second_list).await;
        // Two are back.
        let live = BTreeSet::from([key("a", "x000"), key("a", "x001")]);
        for key in &live {
            index.apply(&shard("s"), key.clone(), object("2"));
        }
        assert_eq!(index.held(&shard("s")).unwrap().objects, 18);
        let gone = index.finish_list(&shard("s"), &live, &BRAKE);
        assert_eq!(gone.len(), 18);
        assert!(matches!(gone[0], Change::Removed { because: RemovedBecause::Relist, .. }));
        assert_eq!((index.len(), index.held(&shard("s"))), (2, None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_to_be_deleted_is_not_held() {
        let index = filled(20);
        for number in 0..20 {
            index.apply(&shard("s"), key("a", &format!("x{number:03}")), terminating());
        }
        assert_eq!(index.finish_list(&shard("s"), &BTreeSet::new(), &BRAKE).len(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_let_go_by_its_deletion_or_by_an_operator() {
        let index = filled(20);
        let before = Timestamp::now();
        index.finish_list(&shard("s"), &BTreeSet::new(), &BRAKE);
        assert!(index.delete(&shard("s"), &key("a", "x003")).is_some());
        assert!(!index.is_held(&key("a", "x003")) && index.is_held(&key("a", "x004")));
        assert!(index.let_go(before).is_empty(), "that was before they vanished");
        let gone = index.let_go(Timestamp::now() + Duration::from_secs(1));
        assert_eq!(gone.len(), 19);
        assert!(matches!(gone[0], Change::Removed { because: RemovedBecause::LetGo, .. }));
        assert!(index.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_is_gone_takes_few_along_and_many_wait_until_it_is_back() {
        let few = filled(9);
        assert_eq!(few.shard_gone(&shard("s"), &BRAKE).len(), 9);

        let index = filled(20);
        assert!(index.shard_gone(&shard("s"), &BRAKE).is_empty());
        assert!(!index.is_synced(&shard("s")));
        tokio::time::advance(BRAKE.second_list * 10).await;
        assert!(index.shard_gone(&shard("s"), &BRAKE).is_empty(), "that it is still gone says nothing new");
        // It is back, and its list does not hold them either.
        assert_eq!(index.finish_list(&shard("s"), &BTreeSet::new(), &BRAKE).len(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_under_another_url_takes_its_objects_over() {
        let index = filled(20);
        let all: BTreeSet<_> = index.all().into_iter().map(|(key, _)| key).collect();
        for key in &all {
            assert!(matches!(
                index.apply(&shard("t"), key.clone(), object("2")),
                Change::Applied { previous: Some(_), .. }
            ));
        }
        index.finish_list(&shard("t"), &all, &BRAKE);
        assert!(index.delete(&shard("s"), &key("a", "x001")).is_none(), "the former has no say any more");
        assert!(index.finish_list(&shard("s"), &BTreeSet::new(), &BRAKE).is_empty());
        assert!(index.shard_gone(&shard("s"), &BRAKE).is_empty());
        assert_eq!(index.len(), 20);
        assert!(index.delete(&shard("t"), &key("a", "x001")).is_some());
    }

    proptest! {
        /// Against maps: whatever two shards say in which order, the index holds what the last one said of each object, and
        /// what vanished is reported once, or held.
        #[test]
        fn behaves_like_a_map(
            steps in prop::collection::vec((0u8..6, 0u8..2, 0u8..3, 0u8..8, any::<u8>()), 0..120),
            percent in 0u8..=100,
            at_least in 1usize..6,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let brake = Brake { percent, at_least, second_list: Duration::from_secs(30) };
                let index = Index::default();
                let mut model: BTreeMap<ObjectKey, (u8, u8)> = BTreeMap::new();
                let mut held: BTreeMap<ObjectKey, Instant> = BTreeMap::new();
                for (step, owner, cluster, name, value) in steps {
                    let (at, owner_url) = (key(&format!("c{cluster}"), &format!("n{name}")), shard(&format!("s{owner}")));
                    match step {
                        0 | 1 => {
                            index.apply(&owner_url, at.clone(), object(&value.to_string()));
                            held.remove(&at);
                            model.insert(at, (owner, value));
                        }
                        2 => {
                            let ours = model.get(&at).is_some_and(|(has, _)| *has == owner);
                            prop_assert_eq!(index.delete(&owner_url, &at).is_some(), ours);
                            if ours { model.remove(&at); held.remove(&at); }
                        }
                        3 => tokio::time::advance(Duration::from_secs(value.into())).await,
                        _ => {
                            // A list that does not hold the objects of one name; at the last step, nothing at all.
                            let of = model.values().filter(|(has, _)| *has == owner).count();
                            let live: BTreeSet<_> = model
                                .iter()
                                .filter(|(k, (has, _))| step == 4 && *has == owner && k.name != at.name)
                                .map(|(k, _)| k.clone())
                                .collect();
                            let missing: Vec<_> = model
                                .iter()
                                .filter(|(k, (has, _))| *has == owner && !live.contains(*k))
                                .map(|(k, _)| k.clone())
                                .collect();
                            let (again, fresh): (Vec<_>, Vec<_>) = missing.into_iter().partition(|k| held.contains_key(k));
                            let mut expected: BTreeSet<_> =
                                again.into_iter().filter(|k| held[k].elapsed() >= brake.second_list).collect();
                            if fresh.len() >= at_least && fresh.len() * 100 > of * usize::from(percent) {
                                held.extend(fresh.into_iter().map(|k| (k, Instant::now())));
                            } else {
                                expected.extend(fresh);
                            }
                            // What was held and is live again is only known by its object, which comes first.
                            for k in &live {
                                index.apply(&owner_url, k.clone(), object(&model[k].1.to_string()));
                                held.remove(k);
                            }
                            let gone: BTreeSet<_> = keys(&index.finish_list(&owner_url, &live, &brake)).into_iter().collect();
                            prop_assert_eq!(&gone, &expected);
                            for k in gone { model.remove(&k); held.remove(&k); }
                        }
                    }
                    let has: BTreeMap<_, _> =
                        index.all().into_iter().map(|(k, v)| { let v = super::tests::value(&v).to_owned(); (k, v) }).collect();
                    let wants: BTreeMap<_, _> = model.iter().map(|(k, (_, v))| (k.clone(), v.to_string())).collect();
                    prop_assert_eq!(has, wants);
                    for k in model.keys() { prop_assert_eq!(index.is_held(k), held.contains_key(k)); }
                }
                Ok(())
            })?;
        }
    }
}

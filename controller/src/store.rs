use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{WatchStreamExt as _, watcher},
};
use kube_kcp::{Found, News, WatchBackoff};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;

/// Where an object is in its cluster. The namespace is empty where the kind has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Name {
    pub(crate) fn of(object: &impl ResourceExt) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }

    pub(crate) fn global(name: &str) -> Self {
        Self { namespace: String::new(), name: name.to_owned() }
    }

    pub(crate) fn within(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// The objects of one kind in one cluster, as a watch shows them.
#[derive(Debug)]
pub(crate) struct Store<K> {
    state: RwLock<State<K>>,
    synced: AtomicBool,
    limits: Option<Limits<K>>,
}

/// What a store takes in at the most, of a server that may send anything.
#[derive(Debug)]
pub(crate) struct Limits<K> {
    pub(crate) objects: usize,
    /// For the objects of this store, and of all others that share it.
    pub(crate) room: Arc<Room>,
    /// Takes away what need not be kept of an object.
    pub(crate) prune: fn(&mut K),
    /// How much room an object takes.
    pub(crate) weight: fn(&K) -> usize,
}

/// Bytes that several stores share.
#[derive(Debug)]
pub(crate) struct Room {
    taken: AtomicUsize,
    most: usize,
}

impl Room {
    pub(crate) fn of(most: usize) -> Self {
        Self { taken: AtomicUsize::new(0), most }
    }

    /// Takes `more` and gives `less` back. False: that is too much, and nothing has changed.
    fn change(&self, less: usize, more: usize) -> bool {
        let change = |taken: usize| {
            Some(taken.saturating_sub(less).saturating_add(more))
                .filter(|taken| *taken <= self.most || more == 0)
        };
        self.taken.try_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
    }
}

#[derive(Debug)]
struct State<K> {
    objects: BTreeMap<Name, Arc<K>>,
    news: News,
    /// Something was not taken in.
    full: bool,
}

/// How long a store that was full stays empty: whoever has too much has to remove some of it, and each look costs a list.
const FULL_FOR: Duration = Duration::from_secs(60);

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self::of(None)
    }
}

impl<K> Store<K> {
    /// A store that takes in so much and no more; see [`Told::Full`].
    pub(crate) fn within(limits: Limits<K>) -> Self {
        Self::of(Some(limits))
    }

    fn of(limits: Option<Limits<K>>) -> Self {
        let state = State { objects: BTreeMap::new(), news: News::default(), full: false };
        Self { state: RwLock::new(state), synced: AtomicBool::new(false), limits }
    }
}

/// What a watch has told.
#[derive(Debug)]
pub(crate) enum Told<'a, K> {
    /// An object is new, changed or gone; as it is, or was last seen.
    Changed(&'a K),
    /// Something has come of a watch, so that one works.
    Heard,
    /// A list has ended: from now on, what is not in the store is not there.
    Synced,
    /// The watch is interrupted, and begins again by itself.
    Failed(String),
    /// There is more than the store takes. It has let go of everything, and is followed anew after a while.
    Full,
}

impl<K: Resource> Store<K> {
    pub(crate) fn get(&self, name: &Name) -> Option<Arc<K>> {
        self.state.read().objects.get(name).cloned()
    }

    /// The object of a kind without namespaces.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<K>> {
        self.get(&Name::global(name))
    }

    pub(crate) fn filter(&self, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.state.read().objects.values().filter(|object| keep(object)).cloned().collect()
    }

    /// Whether the kind was listed to the end once: before, that an object is absent means nothing.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Takes in what a write has answered, so that the next reconcile does not write it again before the watch brings it.
    pub(crate) fn wrote(&self, object: K) {
        self.insert(object);
    }

    /// The object as the store has it now: an older version than the one that is known does not replace it. None: it is gone
    /// already, or there is no room.
    fn insert(&self, object: K) -> Option<Arc<K>> {
        let name = Name::of(&object);
        let mut state = self.state.write();
        let known = state.objects.get(&name);
        match state.news.judge(known.map(|known| &**known), &object) {
            Found::News => self.put(&mut state, name, object),
            Found::Older => known.cloned(),
            Found::Deleted => None,
        }
    }

    /// A relist is taken as it is: after a restore from a backup its versions are older than those known.
    fn replace(&self, object: K) -> Option<Arc<K>> {
        let mut state = self.state.write();
        state.news.listed(object.meta());
        self.put(&mut state, Name::of(&object), object)
    }

    fn put(&self, state: &mut State<K>, name: Name, mut object: K) -> Option<Arc<K>> {
        if let Some(limits) = &self.limits {
            (limits.prune)(&mut object);
            let known = state.objects.get(&name);
            let less = known.map_or(0, |known| (limits.weight)(known));
            if (known.is_none() && state.objects.len() >= limits.objects)
                || !limits.room.change(less, (limits.weight)(&object))
            {
                state.full = true;
                return None;
            }
        }
        let object = Arc::new(object);
        state.objects.insert(name, object.clone());
        Some(object)
    }

    fn give_back(&self, gone: &K) {
        if let Some(limits) = &self.limits {
            limits.room.change((limits.weight)(gone), 0);
        }
    }

    fn is_full(&self) -> bool {
        self.state.read().full
    }

    /// As if it had never been followed.
    fn clear(&self) {
        let mut state = self.state.write();
        self.synced.store(false, Ordering::Release);
        for object in std::mem::take(&mut state.objects).into_values() {
            self.give_back(&object);
        }
        state.full = false;
    }

    /// Takes out what was deleted.
    fn remove(&self, deleted: &ObjectMeta) -> Option<Arc<K>> {
        let name = Name {
            namespace: deleted.namespace.clone().unwrap_or_default(),
            name: deleted.name.clone().unwrap_or_default(),
        };
        let mut state = self.state.write();
        let State { objects, news, .. } = &mut *state;
        let goes = news.deleted(objects.get(&name).map(|known| &**known), deleted);
        goes.then(|| objects.remove(&name)).flatten().inspect(|gone| self.give_back(gone))
    }

    fn retain(&self, listed: &BTreeSet<Name>) -> Vec<Arc<K>> {
        let mut gone = Vec::new();
        self.state.write().objects.retain(|name, object| {
            let keep = listed.contains(name);
            if !keep {
                self.give_back(object);
                gone.push(object.clone());
            }
            keep
        });
        gone
    }
}

/// Keeps `store` equal to what `api` lists, for ever, and tells `told` of each change. What does not parse is skipped with a
/// warning, and is not taken for removed.
pub(crate) async fn follow<K>(
    api: Api<DeserializeGuard<K>>,
    config: watcher::Config,
    store: Arc<Store<K>>,
    what: &str,
    told: impl Fn(Told<'_, K>) + Send,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    loop {
        follow_until_full(&api, &config, &store, what, &told).await;
        tracing::warn!(what, "there is too much; all of it is let go, and listed anew after a while");
        store.clear();
        told(Told::Full);
        tokio::time::sleep(FULL_FOR).await;
    }
}

async fn follow_until_full<K>(
    api: &Api<DeserializeGuard<K>>,
    config: &watcher::Config,
    store: &Store<K>,
    what: &str,
    told: &(impl Fn(Told<'_, K>) + Send),
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let mut events = watcher(api.clone(), config.clone()).backoff(WatchBackoff::default()).boxed();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        if let Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_)) = &event {
            told(Told::Heard);
        }
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(Name::of(&object));
                if let Some(object) = parsed(object, what).and_then(|object| store.replace(object)) {
                    told(Told::Changed(&object));
                }
            }
            Ok(watcher::Event::InitDone) => {
                for object in store.retain(&listed) {
                    told(Told::Changed(&object));
                }
                store.synced.store(true, Ordering::Release);
                told(Told::Synced);
            }
            Ok(watcher::Event::Apply(object)) => {
                if let Some(object) = parsed(object, what).and_then(|object| store.insert(object)) {
                    told(Told::Changed(&object));
                }
            }
            Ok(watcher::Event::Delete(object)) => {
                if let Some(object) = store.remove(object.meta()) {
                    told(Told::Changed(&object));
                }
            }
            Err(error) => {
                let error = kube_kcp::Brief(&error).to_string();
                tracing::warn!(error, what, "a watch is interrupted");
                told(Told::Failed(error));
            }
        }
        if store.is_full() {
            return;
        }
    }
}

fn parsed<K: Resource>(DeserializeGuard(object): DeserializeGuard<K>, what: &str) -> Option<K> {
    object
        .map(|mut object| {
            object.managed_fields_mut().clear();
            object
        })
        .inspect_err(|invalid| {
            tracing::warn!(
                what,
                name = invalid.metadata.name,
                error = invalid.error,
                "skipped: does not parse"
            );
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(name: &str, uid: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.into());
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    fn version_of(store: &Store<ConfigMap>) -> Option<String> {
        store.get(&Name::global("a"))?.resource_version()
    }

    #[test]
    fn what_was_written_is_not_overtaken_by_what_the_watch_still_brings() {
        let store = Store::default();
        store.wrote(object("a", "1", "12"));
        store.insert(object("a", "1", "9"));
        assert_eq!(version_of(&store).as_deref(), Some("12"));
        store.remove(&object("a", "0", "10").metadata);
        store.insert(object("a", "0", "10"));
        assert_eq!(version_of(&store).as_deref(), Some("12"), "the one of the name before it");
        store.insert(object("a", "2", "14"));
        assert_eq!(version_of(&store).as_deref(), Some("14"), "the next one of the name");
        store.replace(object("a", "2", "3"));
        assert_eq!(version_of(&store).as_deref(), Some("3"), "a relist is taken as it is");
    }

    #[test]
    fn what_is_gone_does_not_come_back_with_a_late_answer() {
        let store = Store::default();
        store.wrote(object("a", "1", "1"));
        store.remove(&object("a", "1", "3").metadata);
        store.wrote(object("a", "1", "2"));
        assert_eq!(version_of(&store), None);
        store.insert(object("a", "1", "4"));
        assert_eq!(version_of(&store).as_deref(), Some("4"), "it had lost its label, and has it again");
        store.remove(&object("a", "1", "5").metadata);
        store.wrote(object("a", "2", "6"));
        assert_eq!(version_of(&store).as_deref(), Some("6"), "another one of the name");
    }

    fn limited(objects: usize, room: &Arc<Room>) -> Store<ConfigMap> {
        Store::within(Limits {
            objects,
            room: room.clone(),
            prune: |object| object.immutable = None,
            weight: |object| object.data.iter().flatten().map(|(_, value)| value.len()).sum(),
        })
    }

    fn heavy(name: &str, bytes: usize) -> ConfigMap {
        let data = [("a".to_owned(), "x".repeat(bytes))].into();
        ConfigMap { data: Some(data), immutable: Some(true), ..object(name, "1", "1") }
    }

    #[test]
    fn a_store_takes_no_more_objects_than_it_may() {
        let store = limited(1, &Arc::new(Room::of(usize::MAX)));
        store.wrote(object("a", "1", "1"));
        assert!(!store.is_full());
        store.wrote(object("b", "1", "1"));
        assert!(store.is_full() && store.named("b").is_none());
        store.wrote(object("a", "1", "2"));
        assert_eq!(version_of(&store).as_deref(), Some("2"));
    }

    #[test]
    fn stores_share_their_room_and_give_it_back() {
        let room = Arc::new(Room::of(100));
        let (first, second) = (limited(9, &room), limited(9, &room));
        first.wrote(heavy("a", 60));
        assert_eq!(first.named("a").unwrap().immutable, None, "it is kept pruned");
        second.wrote(heavy("a", 60));
        assert!(second.is_full() && second.named("a").is_none());
        second.clear();
        first.wrote(heavy("a", 10));
        second.wrote(heavy("a", 60));
        second.wrote(heavy("b", 30));
        assert!(!second.is_full() && !first.is_full());
        second.remove(&heavy("a", 60).metadata);
        first.retain(&BTreeSet::new());
        first.wrote(heavy("a", 70));
        assert!(!first.is_full());
        first.clear();
        second.clear();
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_a_relist_does_not_hold_is_gone() {
        let store = Store::default();
        store.wrote(object("a", "1", "1"));
        store.wrote(object("b", "1", "1"));
        let gone = store.retain(&BTreeSet::from([Name::global("b")]));
        assert_eq!(gone.iter().map(|object| object.name_any()).collect::<Vec<_>>(), ["a"]);
        assert!(store.get(&Name::global("b")).is_some());
    }
}

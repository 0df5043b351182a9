use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::StreamExt as _;
use kube::{
    Api, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{WatchStreamExt as _, watcher},
};
use kube_kcp::WatchBackoff;
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
    objects: RwLock<BTreeMap<Name, Arc<K>>>,
    synced: AtomicBool,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: RwLock::default(), synced: AtomicBool::new(false) }
    }
}

/// What a watch has told.
#[derive(Debug)]
pub(crate) enum Told<'a, K> {
    /// An object is new, changed or gone; as it is, or was last seen.
    Changed(&'a K),
    /// The first list has ended: from now on, what is not in the store is not there.
    Synced,
}

impl<K: Resource> Store<K> {
    pub(crate) fn get(&self, name: &Name) -> Option<Arc<K>> {
        self.objects.read().get(name).cloned()
    }

    /// The object of a kind without namespaces.
    pub(crate) fn named(&self, name: &str) -> Option<Arc<K>> {
        self.get(&Name::global(name))
    }

    pub(crate) fn filter(&self, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.objects.read().values().filter(|object| keep(object)).cloned().collect()
    }

    /// Whether the kind was listed to the end once: before, that an object is absent means nothing.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Takes in what a write has answered, so that the next reconcile does not write it again before the watch brings it.
    pub(crate) fn wrote(&self, object: K) {
        self.insert(object);
    }

    /// The object as the store has it now: an older version than the one that is known does not replace it.
    fn insert(&self, object: K) -> Arc<K> {
        let name = Name::of(&object);
        let mut objects = self.objects.write();
        if let Some(known) = objects.get(&name)
            && known.uid() == object.uid()
            && version(&**known) > version(&object)
        {
            return known.clone();
        }
        let object = Arc::new(object);
        objects.insert(name, object.clone());
        object
    }

    /// A relist is taken as it is: after a restore from a backup its versions are older than those known.
    fn replace(&self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        self.objects.write().insert(Name::of(&*object), object.clone());
        object
    }

    fn remove(&self, name: &Name) -> Option<Arc<K>> {
        self.objects.write().remove(name)
    }

    fn retain(&self, listed: &BTreeSet<Name>) -> Vec<Arc<K>> {
        let mut gone = Vec::new();
        self.objects.write().retain(|name, object| {
            let keep = listed.contains(name);
            if !keep {
                gone.push(object.clone());
            }
            keep
        });
        gone
    }
}

/// Versions of one object are ordered numbers (KEP-5504). One that is none is taken as the oldest, so that it is replaced.
fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or_default()
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
    let mut events = watcher(api, config).backoff(WatchBackoff::default()).boxed();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(Name::of(&object));
                if let Some(object) = parsed(object, what) {
                    told(Told::Changed(&store.replace(object)));
                }
            }
            Ok(watcher::Event::InitDone) => {
                for object in store.retain(&listed) {
                    told(Told::Changed(&object));
                }
                if !store.synced.swap(true, Ordering::AcqRel) {
                    told(Told::Synced);
                }
            }
            Ok(watcher::Event::Apply(object)) => {
                if let Some(object) = parsed(object, what) {
                    told(Told::Changed(&store.insert(object)));
                }
            }
            Ok(watcher::Event::Delete(object)) => {
                if let Some(object) = store.remove(&Name::of(&object)) {
                    told(Told::Changed(&object));
                }
            }
            Err(error) => {
                let error = kube_kcp::Brief(&error);
                tracing::warn!(%error, what, "a watch is interrupted");
            }
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
        store.insert(object("a", "2", "10"));
        assert_eq!(version_of(&store).as_deref(), Some("10"), "another object of the same name");
        store.replace(object("a", "2", "3"));
        assert_eq!(version_of(&store).as_deref(), Some("3"), "a relist is taken as it is");
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

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

use annex_apis::{Extension, ExtensionVersion, Tenant};
use futures::StreamExt as _;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{WatchStreamExt as _, watcher},
};
use kube_kcp::Gate;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;

/// The kinds of the provider's own workspace, by name.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) extensions: Store<Extension>,
    pub(crate) versions: Store<ExtensionVersion>,
    pub(crate) tenants: Store<Tenant>,
}

/// All objects of one cluster-scoped kind of one workspace.
#[derive(Debug)]
pub(crate) struct Store<K> {
    objects: RwLock<BTreeMap<String, Arc<K>>>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: RwLock::default() }
    }
}

impl<K> Store<K> {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<K>> {
        self.objects.read().get(name).cloned()
    }

    pub(crate) fn filter(&self, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.objects.read().values().filter(|object| keep(object)).cloned().collect()
    }

    fn insert(&self, object: K, name: String) -> Arc<K> {
        let object = Arc::new(object);
        self.objects.write().insert(name, object.clone());
        object
    }

    fn remove(&self, name: &str) -> Option<Arc<K>> {
        self.objects.write().remove(name)
    }
}

/// Keeps `catalog`'s store of a kind equal to all objects of the kind, and calls `on_change` with each that is new, changed or gone. `gate` opens
/// after the first list. An object that does not parse is skipped with a warning.
pub(crate) async fn follow<K>(
    client: Client,
    catalog: Arc<Catalog>,
    store: fn(&Catalog) -> &Store<K>,
    gate: Gate,
    on_change: impl Fn(&K) + Send,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let store = store(&catalog);
    let api: Api<DeserializeGuard<K>> = Api::all(client);
    let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                let name = object.name_any();
                listed.insert(name.clone());
                if let Some(object) = parsed(object) {
                    on_change(&store.insert(object, name));
                }
            }
            Ok(watcher::Event::InitDone) => {
                let gone: Vec<String> =
                    store.objects.read().keys().filter(|name| !listed.contains(*name)).cloned().collect();
                for name in gone {
                    if let Some(object) = store.remove(&name) {
                        on_change(&object);
                    }
                }
                gate.open();
            }
            Ok(watcher::Event::Apply(object)) => {
                let name = object.name_any();
                if let Some(object) = parsed(object) {
                    on_change(&store.insert(object, name));
                }
            }
            Ok(watcher::Event::Delete(object)) => {
                if let Some(object) = store.remove(&object.name_any()) {
                    on_change(&object);
                }
            }
            Err(error) => {
                let error = kube_kcp::Brief(&error);
                tracing::warn!(%error, kind = %K::kind(&()), "the catalog's watch is interrupted");
            }
        }
    }
}

fn parsed<K: Resource<DynamicType = ()>>(DeserializeGuard(object): DeserializeGuard<K>) -> Option<K> {
    object
        .map(|mut object| {
            object.managed_fields_mut().clear();
            object
        })
        .inspect_err(|invalid| {
            tracing::warn!(kind = %K::kind(&()), name = invalid.metadata.name, error = invalid.error, "skipped: does not parse");
        })
        .ok()
}

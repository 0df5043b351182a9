//! The kinds of the provider's own workspace, by name, as a watch shows them.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::StreamExt as _;
use kube::{
    Api, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{WatchStreamExt as _, watcher},
};
use kube_kcp::{Brief, Gate, WatchBackoff};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// All objects of a kind without namespaces in one workspace.
#[derive(Debug)]
pub struct Named<K> {
    objects: RwLock<HashMap<String, Arc<K>>>,
    synced: AtomicBool,
    changes: watch::Sender<u64>,
}

impl<K> Default for Named<K> {
    fn default() -> Self {
        Self { objects: RwLock::default(), synced: AtomicBool::new(false), changes: watch::Sender::new(0) }
    }
}

impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Named<K> {
    /// The object of this name.
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.objects.read().get(name).cloned()
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.objects.read().values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those for which `keep` holds, in no order.
    pub fn filter(&self, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.objects.read().values().filter(|object| keep(object)).cloned().collect()
    }

    /// Whether all were listed once: before, what is absent may only not have been seen.
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Tells when something changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Puts an object in, as a watch would.
    pub fn put(&self, object: K) {
        self.objects.write().insert(object.name_any(), Arc::new(object));
        self.changed();
    }

    fn remove(&self, name: &str) {
        self.objects.write().remove(name);
        self.changed();
    }

    /// What was listed is there, and nothing else is.
    pub fn finish_list(&self, listed: &HashSet<String>) {
        self.objects.write().retain(|name, _| listed.contains(name));
        self.synced.store(true, Ordering::Release);
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Keeps this equal to what `api` lists, for ever. What does not parse is skipped with a warning, and not taken for removed.
    pub async fn follow(&self, api: Api<DeserializeGuard<K>>, gate: Gate) {
        let mut events = watcher(api, watcher::Config::default()).backoff(WatchBackoff::default()).boxed();
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    listed.insert(object.name_any());
                    self.take(object);
                }
                Ok(watcher::Event::InitDone) => {
                    self.finish_list(&listed);
                    gate.open();
                }
                Ok(watcher::Event::Apply(object)) => self.take(object),
                Ok(watcher::Event::Delete(object)) => self.remove(&object.name_any()),
                Err(error) => {
                    tracing::warn!(error = %Brief(&error), kind = kind::<K>(), "a watch is interrupted")
                }
            }
        }
    }

    fn take(&self, DeserializeGuard(object): DeserializeGuard<K>) {
        match object {
            Ok(mut object) => {
                object.managed_fields_mut().clear();
                self.put(object);
            }
            Err(invalid) => {
                tracing::warn!(
                    kind = kind::<K>(),
                    name = invalid.metadata.name,
                    error = invalid.error,
                    "skipped: does not parse"
                );
            }
        }
    }
}

fn kind<K>() -> &'static str {
    std::any::type_name::<K>().rsplit("::").next().unwrap_or_default()
}

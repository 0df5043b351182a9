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
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource, ResourceExt as _,
    core::DeserializeGuard,
    runtime::{WatchStreamExt as _, watcher},
};
use kube_kcp::{Brief, Found, Gate, News, WatchBackoff};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// All objects of a kind without namespaces in one workspace.
#[derive(Debug)]
pub struct Named<K> {
    state: RwLock<State<K>>,
    synced: AtomicBool,
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State<K> {
    objects: HashMap<String, Arc<K>>,
    news: News,
}

impl<K> Default for Named<K> {
    fn default() -> Self {
        let state = State { objects: HashMap::new(), news: News::default() };
        Self { state: RwLock::new(state), synced: AtomicBool::new(false), changes: watch::Sender::new(0) }
    }
}

impl<K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Named<K> {
    /// The object of this name.
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.state.read().objects.get(name).cloned()
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.state.read().objects.values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those for which `keep` holds, in no order.
    pub fn filter(&self, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.state.read().objects.values().filter(|object| keep(object)).cloned().collect()
    }

    /// Whether all were listed once: before, what is absent may only not have been seen.
    pub fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Tells when something changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes in an object that the watch has brought, or that a write has answered so that it is known before the watch brings it.
    /// What is known to be newer stays, and what was deleted meanwhile does not come back.
    pub fn put(&self, object: K) {
        let name = object.name_any();
        let mut state = self.state.write();
        if state.news.judge(state.objects.get(&name).map(|known| &**known), &object) != Found::News {
            return;
        }
        state.objects.insert(name, Arc::new(object));
        drop(state);
        self.changed();
    }

    /// What a list has is taken as it is: after a restore from a backup it is older than what is known.
    fn replace(&self, object: K) {
        let mut state = self.state.write();
        state.news.listed(object.meta());
        state.objects.insert(object.name_any(), Arc::new(object));
        drop(state);
        self.changed();
    }

    fn remove(&self, deleted: &ObjectMeta) {
        let name = deleted.name.as_deref().unwrap_or_default();
        let mut state = self.state.write();
        let State { objects, news } = &mut *state;
        if news.deleted(objects.get(name).map(|known| &**known), deleted) {
            objects.remove(name);
        }
        drop(state);
        self.changed();
    }

    /// What was listed is there, and nothing else is.
    pub fn finish_list(&self, listed: &HashSet<String>) {
        self.state.write().objects.retain(|name, _| listed.contains(name));
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
                    parsed(object).into_iter().for_each(|object| self.replace(object));
                }
                Ok(watcher::Event::InitDone) => {
                    self.finish_list(&listed);
                    gate.open();
                }
                Ok(watcher::Event::Apply(object)) => {
                    parsed(object).into_iter().for_each(|object| self.put(object))
                }
                Ok(watcher::Event::Delete(object)) => self.remove(object.meta()),
                Err(error) => {
                    tracing::warn!(error = %Brief(&error), kind = kind::<K>(), "a watch is interrupted")
                }
            }
        }
    }
}

fn parsed<K: Resource>(DeserializeGuard(object): DeserializeGuard<K>) -> Option<K> {
    match object {
        Ok(mut object) => {
            object.managed_fields_mut().clear();
            Some(object)
        }
        Err(invalid) => {
            tracing::warn!(
                kind = kind::<K>(),
                name = invalid.metadata.name,
                error = invalid.error,
                "skipped: does not parse"
            );
            None
        }
    }
}

fn kind<K>() -> &'static str {
    std::any::type_name::<K>().rsplit("::").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use annex_apis::Extension;

    use super::*;

    fn object(uid: &str, version: &str) -> Extension {
        let mut object = Extension::new("a", Default::default());
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    fn version(of: &Named<Extension>) -> Option<String> {
        of.get("a")?.resource_version()
    }

    #[test]
    fn a_write_that_answers_after_the_watch_has_brought_more_changes_nothing() {
        let named = Named::default();
        named.put(object("1", "9"));
        named.put(object("1", "11"));
        let changes = named.subscribe();
        named.put(object("1", "10"));
        assert_eq!(version(&named).as_deref(), Some("11"));
        assert!(!changes.has_changed().unwrap(), "nobody is woken");
        named.remove(&object("0", "8").metadata);
        assert_eq!(version(&named).as_deref(), Some("11"), "that was the one of the name before it");
        named.remove(&object("1", "12").metadata);
        named.put(object("1", "11"));
        assert_eq!(version(&named), None, "what is gone does not come back");
        named.put(object("2", "13"));
        assert_eq!(version(&named).as_deref(), Some("13"), "another of its name does");
    }

    #[test]
    fn a_list_is_taken_as_it_is() {
        let named = Named::default();
        named.put(object("1", "9"));
        named.replace(object("1", "3"));
        named.finish_list(&["a".to_owned()].into());
        assert_eq!(version(&named).as_deref(), Some("3"));
        named.finish_list(&HashSet::new());
        assert_eq!(version(&named), None);
    }
}

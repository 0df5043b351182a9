use std::{
    collections::{BTreeMap, btree_map::Entry as Slot},
    ops::Bound,
    sync::Arc,
};

use super::{
    history::{Entry, History},
    key::Key,
    object::{EventType, Object},
    selector::Selection,
};
use crate::kind::Kind;

/// The objects of one kind, and what happened to them.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    pub(crate) objects: BTreeMap<Arc<Key>, Arc<Object>>,
    pub(crate) history: History,
}

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Object>>,
    /// The last key of this page, if more come after it.
    pub(crate) more_after: Option<Key>,
}

impl Resource {
    pub(crate) fn new(kind: Kind, most_history: usize) -> Self {
        Self { kind, objects: BTreeMap::new(), history: History::new(most_history) }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// Makes `object` the current version, or removes it if it is the deleted one.
    pub(crate) fn apply(&mut self, object: &Arc<Object>) {
        let previous = if object.event == EventType::Deleted {
            self.objects.remove(&object.key)
        } else {
            self.objects.insert(object.key.clone(), object.clone())
        };
        self.history.push(Entry::Change { object: object.clone(), previous });
    }

    /// The objects as they were at `revision`, in their order, after `after` and at most `limit`. The history must reach back to
    /// that revision.
    pub(crate) fn list(
        &self,
        selection: &Selection,
        revision: u64,
        after: Option<&Key>,
        limit: Option<usize>,
    ) -> Page {
        let start = match after {
            Some(key) => (Bound::Excluded(key.clone()), Bound::Unbounded),
            None => (Bound::Included(selection.scope.start()), Bound::Unbounded),
        };
        let then = self.changed_since(revision);
        // One more, to know whether there are more.
        let most = limit.map_or(usize::MAX, |limit| limit.saturating_add(1));
        let current = self.objects.range::<Key, _>(start);
        let current = current
            .map(|(_, object)| object)
            .take_while(|object| selection.scope.holds(&object.key))
            .filter(|object| !then.contains_key(&*object.key) && selection.matches(object))
            .take(most);
        let mut objects: Vec<_> = current.cloned().collect();
        let former = then.values().flatten().filter(|object| selection.matches(object));
        let former = former.filter(|object| after.is_none_or(|after| *object.key > *after));
        let listed = objects.len();
        objects.extend(former.map(|object| Arc::clone(object)));
        if objects.len() > listed {
            objects.sort_by(|a, b| a.key.cmp(&b.key));
        }
        let mut more_after = None;
        if let Some(limit) = limit.filter(|limit| *limit < objects.len()) {
            objects.truncate(limit);
            more_after = objects.last().map(|object| (*object.key).clone());
        }
        Page { objects, more_after }
    }

    /// What has changed since `revision`, as it was then.
    fn changed_since(&self, revision: u64) -> BTreeMap<&Key, Option<&Arc<Object>>> {
        let mut then = BTreeMap::new();
        for entry in self.history.from(self.history.after(revision)).into_iter().flatten() {
            if let Entry::Change { object, previous } = entry
                && let Slot::Vacant(slot) = then.entry(&*object.key)
            {
                slot.insert(previous.as_ref());
            }
        }
        then
    }
}

//! What the server knows and how it changes: objects, revisions, history. No network and no tasks; time only as the date of a
//! creation or a deletion.

mod cursor;
mod history;
mod key;
mod object;
mod resource;
mod selector;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use hyper::body::Bytes;
use serde_json::{Value, json};

pub(crate) use cursor::Cursor;
pub(crate) use key::{Key, Scope};
pub(crate) use object::{EventType, Fields, Object};
pub(crate) use resource::{Page, Resource};
pub(crate) use selector::{Selection, field_selector, label_selector};
pub(crate) use write::{Deletion, Patch, Preconditions};

use crate::{kind::Kind, status::Status};
use history::Entry;

/// The annotation by which kcp says which logical cluster an object is in.
const CLUSTER_ANNOTATION: &str = "kcp.io/cluster";

/// As many events of a kind as the watch cache of a real API server keeps at most.
const MOST_HISTORY: usize = 102_400;

/// Why an object cannot be put.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// It does not say what it is.
    #[error("an object needs apiVersion, kind and metadata.name as strings")]
    Nameless,
    /// [`Shard::serve`](crate::Shard::serve) says otherwise.
    #[error("{kind} {name} has a namespace although its kind has none, or the other way round")]
    Namespace {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

/// A shard's objects and its revisions: the last one is the resourceVersion of a list.
#[derive(Debug)]
pub(crate) struct Store {
    revision: u64,
    /// What is older is forgotten.
    compacted: u64,
    /// The cluster of objects that do not name one.
    home: String,
    /// Makes uids differ between shards.
    number: u32,
    /// How many events of each kind are kept.
    most_history: usize,
    resources: Vec<Resource>,
}

/// A list that was asked for.
#[derive(Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<Key>,
    /// The revision that it shows; otherwise the last.
    pub(crate) at: Option<u64>,
    /// What it shows must not be older than that.
    pub(crate) not_older_than: Option<u64>,
}

impl Store {
    pub(crate) fn new(home: &str, number: u32) -> Self {
        let new = |kind| Resource::new(kind, MOST_HISTORY);
        let resources = Kind::always_there().into_iter().map(new).collect();
        // A real server's revisions do not begin at 1 either: it has made objects of its own.
        Self {
            revision: 100,
            compacted: 0,
            home: home.to_owned(),
            number,
            most_history: MOST_HISTORY,
            resources,
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn home(&self) -> &str {
        &self.home
    }

    pub(crate) fn serve(&mut self, kind: Kind) {
        match self.position(&kind.group, &kind.plural) {
            Some(resource) => resource.kind = kind,
            None => self.resources.push(Resource::new(kind, self.most_history)),
        }
    }

    /// Forgets the kind and its objects.
    pub(crate) fn withdraw(&mut self, plural: &str) {
        self.resources.retain(|resource| resource.kind.plural != plural);
    }

    fn position(&mut self, group: &str, plural: &str) -> Option<&mut Resource> {
        let is_it = |resource: &&mut Resource| resource.kind.group == group && resource.kind.plural == plural;
        self.resources.iter_mut().find(is_it)
    }

    pub(crate) fn resource(&self, group: &str, plural: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.kind.group == group && resource.kind.plural == plural)
    }

    pub(crate) fn by_plural(&self, plural: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.kind.plural == plural)
    }

    /// Puts an object as it is: whatever its resourceVersion, finalizers and status.
    pub(crate) fn put(&mut self, object: Value) -> Result<u64, Invalid> {
        let Value::Object(mut fields) = object else { return Err(Invalid::Nameless) };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let api_version = text(fields.get("apiVersion")).ok_or(Invalid::Nameless)?;
        let name = text(fields.get("kind")).ok_or(Invalid::Nameless)?;
        let metadata = fields.get("metadata");
        let named = text(metadata.and_then(|metadata| metadata.get("name"))).ok_or(Invalid::Nameless)?;
        let namespace = text(metadata.and_then(|metadata| metadata.get("namespace"))).unwrap_or_default();
        let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
        let cluster = text(annotations.and_then(|annotations| annotations.get(CLUSTER_ANNOTATION)));
        let is_it = |resource: &Resource| resource.kind.is(&api_version, &name);
        if !self.resources.iter().any(is_it) {
            let kind = Kind::new(&api_version, &name);
            self.serve(if namespace.is_empty() { kind.cluster_scoped() } else { kind });
        }
        let place = self.resources.iter().position(is_it).ok_or(Invalid::Nameless)?;
        let key = Key::new(cluster.as_deref().unwrap_or(&self.home), &namespace, &named);
        let Some(resource) = self.resources.get(place) else { return Err(Invalid::Nameless) };
        if resource.kind.namespaced == namespace.is_empty() {
            return Err(Invalid::Namespace { kind: name, name: named });
        }
        let current = resource.get(&key).cloned();
        self.give_metadata(&mut fields, &key, current.as_deref());
        let event = if current.is_some() { EventType::Modified } else { EventType::Added };
        self.commit(place, key, fields, event);
        Ok(self.revision)
    }

    /// Removes an object whatever its finalizers. Whether it was there.
    pub(crate) fn remove(&mut self, plural: &str, key: &Key) -> bool {
        let place = self.resources.iter().position(|resource| resource.kind.plural == plural);
        let current = |place: &usize| self.resources.get(*place)?.get(key).cloned();
        let Some((place, current)) = place.and_then(|place| Some((place, current(&place)?))) else {
            return false;
        };
        self.commit(place, key.clone(), current.fields(), EventType::Deleted);
        true
    }

    /// Says a line to the watches that are open.
    pub(crate) fn say(&mut self, plural: &str, line: &Bytes) {
        let revision = self.revision;
        for resource in self.resources.iter_mut().filter(|resource| resource.kind.plural == plural) {
            resource.history.push(Entry::Line { revision, line: line.clone() });
        }
    }

    /// Forgets what was before now. Open watches still get what they have not read yet.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.revision;
    }

    pub(crate) fn keep_history(&mut self, most: usize) {
        self.most_history = most;
        for resource in &mut self.resources {
            resource.history.keep(most);
        }
    }

    /// Begins after `revision`, if all that happened since is known.
    pub(crate) fn watch_after(&self, resource: &Resource, revision: u64) -> Result<Cursor, Status> {
        let oldest = self.oldest(resource);
        if revision < oldest {
            return Err(Status::expired(format!("too old resource version: {revision} ({oldest})")));
        }
        Ok(Cursor::after(resource, revision))
    }

    /// The objects and the revision that they show.
    pub(crate) fn list(
        &self,
        resource: &Resource,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<(Page, u64), Status> {
        let revision = options.at.unwrap_or(self.revision);
        if revision < self.oldest(resource) {
            return Err(Status::expired(if options.after.is_some() {
                "The provided continue parameter is too old to display a consistent list result. You can start \
                 a new list without the continue parameter."
                    .to_owned()
            } else {
                format!("The resourceVersion for the provided list is too old: {revision}")
            }));
        }
        let wanted = options.not_older_than.unwrap_or(revision).max(revision);
        if wanted > self.revision {
            let message = format!("Too large resource version: {wanted}, current: {}", self.revision);
            return Err(Status::new(504, "Timeout", message).retry_after(1));
        }
        Ok((resource.list(selection, revision, options.after.as_ref(), options.limit), revision))
    }

    fn oldest(&self, resource: &Resource) -> u64 {
        self.compacted.max(resource.history.dropped())
    }

    /// What the server itself decides about an object's metadata.
    fn give_metadata(&self, fields: &mut Fields, key: &Key, current: Option<&Object>) {
        let former = current.map(Object::metadata_fields).unwrap_or_default();
        let former = |name: &str| former.get(name).cloned();
        let uid = || json!(format!("{:08x}-0000-4000-8000-{:012x}", self.number, self.revision + 1));
        let has_spec = fields.contains_key("spec");
        let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) else { return };
        if !metadata.contains_key("uid") {
            metadata.insert("uid".to_owned(), former("uid").unwrap_or_else(uid));
        }
        if !metadata.contains_key("creationTimestamp") {
            let at = former("creationTimestamp").unwrap_or_else(now);
            metadata.insert("creationTimestamp".to_owned(), at);
        }
        if has_spec && !metadata.contains_key("generation") {
            metadata.insert("generation".to_owned(), former("generation").unwrap_or(json!(1)));
        }
        set_cluster(metadata, &key.cluster);
    }

    /// Makes a new version, at a new revision.
    fn commit(
        &mut self,
        place: usize,
        key: Key,
        mut fields: Fields,
        event: EventType,
    ) -> Option<Arc<Object>> {
        let resource = self.resources.get_mut(place)?;
        self.revision += 1;
        set_revision(&mut fields, self.revision);
        let key = resource.get(&key).map_or_else(|| Arc::new(key), |current| current.key.clone());
        let object = Arc::new(Object::new(key, self.revision, event, &fields));
        resource.apply(&object);
        Some(object)
    }
}

fn set_revision(fields: &mut Fields, revision: u64) {
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), revision.to_string().into());
    }
}

pub(crate) fn set_cluster(metadata: &mut Fields, cluster: &str) {
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if !annotations.is_object() {
        *annotations = json!({});
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(CLUSTER_ANNOTATION.to_owned(), cluster.into());
    }
}

/// As Kubernetes writes it: to the second.
fn now() -> Value {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
}

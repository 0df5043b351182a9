use std::sync::Arc;

use serde_json::Value;

use super::{EventType, Fields, Key, Object, Store, now, set_cluster};
use crate::{kind::Kind, status::Status};

/// What a PATCH says.
#[derive(Debug)]
pub(crate) enum Patch {
    Merge(Value),
    Json(json_patch::Patch),
}

/// What has to hold for a deletion to be done.
#[derive(Debug, Default)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) revision: Option<String>,
}

/// How a deletion went.
#[derive(Debug)]
pub(crate) enum Deletion {
    Gone(Arc<Object>),
    /// It has finalizers: it is only marked.
    Marked(Arc<Object>),
}

impl Store {
    /// Creates what a client sent. `key` is from the path; its name is empty.
    pub(crate) fn create(
        &mut self,
        group: &str,
        plural: &str,
        key: Key,
        body: Value,
    ) -> Result<Arc<Object>, Status> {
        let (place, kind) = self.place(group, plural)?;
        let mut fields = object_of(&kind, body)?;
        let sent = metadata_of(&mut fields);
        check_namespace(sent, &key)?;
        if text(sent, "resourceVersion").is_some() {
            return Err(Status::internal_error("resourceVersion should not be set on objects to be created"));
        }
        let name = match (text(sent, "name"), text(sent, "generateName")) {
            (Some(name), _) => name.to_owned(),
            (None, Some(stem)) => format!("{stem}{:05x}", self.revision() + 1),
            (None, None) => {
                return Err(Status::invalid(
                    &kind,
                    "",
                    "metadata.name: Required value: name or generateName is required",
                ));
            }
        };
        let key = Key::new(&key.cluster, &key.namespace, &name);
        if self.resources.get(place).is_some_and(|resource| resource.get(&key).is_some()) {
            return Err(Status::already_exists(&kind, &name));
        }
        sent.insert("name".to_owned(), name.into());
        if kind.namespaced {
            sent.insert("namespace".to_owned(), (*key.namespace).into());
        }
        for given_by_server in ["uid", "creationTimestamp", "generation", "deletionTimestamp"] {
            sent.remove(given_by_server);
        }
        if kind.has_status() {
            fields.remove("status");
        }
        self.give_metadata(&mut fields, &key, None);
        self.commit(place, key, fields, EventType::Added).ok_or_else(Status::not_served)
    }

    /// Replaces an object, or its status only.
    pub(crate) fn replace(
        &mut self,
        group: &str,
        plural: &str,
        key: &Key,
        status_only: bool,
        body: Value,
    ) -> Result<Arc<Object>, Status> {
        let (place, kind, current) = self.current(group, plural, key)?;
        let mut fields = object_of(&kind, body)?;
        let sent = metadata_of(&mut fields);
        if text(sent, "resourceVersion").is_none() && !kind.allows_unconditional_update() {
            let because = "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update";
            return Err(Status::invalid(&kind, &key.name, because));
        }
        self.update(place, &kind, &current, status_only, fields)
    }

    /// Patches an object, or its status only.
    pub(crate) fn patch(
        &mut self,
        group: &str,
        plural: &str,
        key: &Key,
        status_only: bool,
        patch: &Patch,
    ) -> Result<Arc<Object>, Status> {
        let (place, kind, current) = self.current(group, plural, key)?;
        let mut value = Value::Object(current.fields());
        match patch {
            Patch::Merge(patch) => json_patch::merge(&mut value, patch),
            Patch::Json(patch) => json_patch::patch(&mut value, patch).map_err(|_| {
                let message = "the server rejected our request due to an error in our request";
                Status::new(422, "Invalid", message)
            })?,
        }
        let fields = object_of(&kind, value)?;
        self.update(place, &kind, &current, status_only, fields)
    }

    /// Deletes an object, or marks it as long as it has finalizers.
    pub(crate) fn delete(
        &mut self,
        group: &str,
        plural: &str,
        key: &Key,
        preconditions: &Preconditions,
    ) -> Result<Deletion, Status> {
        let (place, kind, current) = self.current(group, plural, key)?;
        let mut fields = current.fields();
        let metadata = metadata_of(&mut fields);
        for (what, field, wanted) in [
            ("UID", "uid", &preconditions.uid),
            ("ResourceVersion", "resourceVersion", &preconditions.revision),
        ] {
            let (Some(wanted), found) = (wanted, text(metadata, field).unwrap_or_default()) else { continue };
            if wanted != found {
                let because = format!(
                    "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
                );
                return Err(Status::conflict(&kind, &key.name, &because));
            }
        }
        if !has_finalizers(metadata) {
            let gone = self.commit(place, key.clone(), fields, EventType::Deleted);
            return gone.map(Deletion::Gone).ok_or_else(Status::not_served);
        }
        if metadata.contains_key("deletionTimestamp") {
            return Ok(Deletion::Marked(current));
        }
        metadata.insert("deletionTimestamp".to_owned(), now());
        metadata.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
        let marked = self.commit(place, key.clone(), fields, EventType::Modified);
        marked.map(Deletion::Marked).ok_or_else(Status::not_served)
    }

    fn update(
        &mut self,
        place: usize,
        kind: &Kind,
        current: &Arc<Object>,
        status_only: bool,
        mut new: Fields,
    ) -> Result<Arc<Object>, Status> {
        let key = (*current.key).clone();
        let mut former = current.fields();
        check_identity(kind, &key, metadata_of(&mut former), metadata_of(&mut new))?;
        if status_only {
            let status = new.remove("status");
            new = former.clone();
            set_or_remove(&mut new, "status", status);
        } else {
            if kind.has_status() {
                set_or_remove(&mut new, "status", former.get("status").cloned());
            }
            keep_metadata(&key, metadata_of(&mut former), metadata_of(&mut new));
            count_generation(&former, &mut new);
        }
        // A real server writes nothing either when nothing changes: a controller that repeats itself makes no events.
        if new == former {
            return Ok(current.clone());
        }
        let metadata = metadata_of(&mut new);
        let ends = metadata.contains_key("deletionTimestamp") && !has_finalizers(metadata);
        let event = if ends { EventType::Deleted } else { EventType::Modified };
        self.commit(place, key, new, event).ok_or_else(Status::not_served)
    }

    fn place(&self, group: &str, plural: &str) -> Result<(usize, Kind), Status> {
        let mut resources = self.resources.iter().enumerate();
        let found =
            resources.find(|(_, resource)| resource.kind.group == group && resource.kind.plural == plural);
        found.map(|(place, resource)| (place, resource.kind.clone())).ok_or_else(Status::not_served)
    }

    fn current(&self, group: &str, plural: &str, key: &Key) -> Result<(usize, Kind, Arc<Object>), Status> {
        let (place, kind) = self.place(group, plural)?;
        let current = self.resources.get(place).and_then(|resource| resource.get(key)).cloned();
        let current = current.ok_or_else(|| Status::not_found(&kind, &key.name))?;
        Ok((place, kind, current))
    }
}

fn object_of(kind: &Kind, body: Value) -> Result<Fields, Status> {
    let Value::Object(mut fields) = body else {
        return Err(Status::bad_request("the body of the request is not a JSON object"));
    };
    let sent = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let (name, api_version) = (sent("kind"), sent("apiVersion"));
    if (!name.is_empty() && name != kind.name)
        || (!api_version.is_empty() && api_version != kind.api_version())
    {
        return Err(Status::bad_request(format!(
            "the object provided is a {name} of {api_version}, not a {} of {}",
            kind.name,
            kind.api_version()
        )));
    }
    fields.insert("kind".to_owned(), kind.name.clone().into());
    fields.insert("apiVersion".to_owned(), kind.api_version().into());
    Ok(fields)
}

/// The metadata; made where it is missing.
#[expect(clippy::expect_used, reason = "what is no object was replaced by one on the line before")]
fn metadata_of(fields: &mut Fields) -> &mut Fields {
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Fields::new()));
    if !metadata.is_object() {
        *metadata = Value::Object(Fields::new());
    }
    metadata.as_object_mut().expect("an object")
}

fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn has_finalizers(metadata: &Fields) -> bool {
    metadata.get("finalizers").and_then(Value::as_array).is_some_and(|finalizers| !finalizers.is_empty())
}

fn set_or_remove(fields: &mut Fields, name: &str, value: Option<Value>) {
    match value {
        Some(value) => fields.insert(name.to_owned(), value),
        None => fields.remove(name),
    };
}

fn check_namespace(sent: &Fields, key: &Key) -> Result<(), Status> {
    match text(sent, "namespace") {
        Some(namespace) if namespace != &*key.namespace => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        _ => Ok(()),
    }
}

fn check_identity(kind: &Kind, key: &Key, former: &Fields, sent: &Fields) -> Result<(), Status> {
    check_namespace(sent, key)?;
    if text(sent, "name").is_some_and(|name| name != &*key.name) {
        return Err(Status::bad_request("the name of the object does not match the name on the URL"));
    }
    if let Some(uid) = text(sent, "uid")
        && Some(uid) != text(former, "uid")
    {
        let found = text(former, "uid").unwrap_or_default();
        let because = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}");
        return Err(Status::conflict(kind, &key.name, &because));
    }
    let revision = text(sent, "resourceVersion");
    if revision.is_some() && revision != text(former, "resourceVersion") {
        let because =
            "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Status::conflict(kind, &key.name, because));
    }
    Ok(())
}

/// What a client cannot change.
fn keep_metadata(key: &Key, former: &Fields, new: &mut Fields) {
    new.insert("name".to_owned(), (*key.name).into());
    for kept in [
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        set_or_remove(new, kept, former.get(kept).cloned());
    }
    set_cluster(new, &key.cluster);
}

/// A new wish is a new generation.
fn count_generation(former: &Fields, new: &mut Fields) {
    let wishes = |fields: &Fields| -> Vec<(String, Value)> {
        let is_wish = |name: &str| name != "metadata" && name != "status";
        fields
            .iter()
            .filter(|(name, _)| is_wish(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let changed = wishes(former) != wishes(new);
    let metadata = metadata_of(new);
    if changed && let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
        metadata.insert("generation".to_owned(), (generation + 1).into());
    }
}

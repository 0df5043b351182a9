use http::{Method, Response};
use hyper::body::Bytes;
use serde_json::{Value, json as value};

use super::{Body, json, query::Query};
use crate::{
    fault::Fault,
    kind::Kind,
    request::{Place, Request, Verb},
    shard::ShardState,
    status::Status,
    store::{Deletion, Key, Object, Patch, Preconditions},
};

pub(super) fn get(
    shard: &ShardState,
    place: &Place,
    request: &Request,
    fault: &Fault,
) -> Result<Response<Body>, Status> {
    let guarded = shard.guarded.lock();
    let resource = guarded.store.resource(&place.group, &place.plural).ok_or_else(Status::not_served)?;
    let key = key(place, &resource.kind, guarded.store.home())?;
    let object = resource.get(&key).ok_or_else(|| Status::not_found(&resource.kind, &key.name))?;
    let sent = request.form.object(object);
    drop(guarded);
    if !fault.concerns_objects() {
        return Ok(json(200, sent.into()));
    }
    let changed = fault.change_object(&sent).ok_or_else(Status::not_served)?;
    Ok(json(200, changed.into()))
}

pub(super) fn write(shard: &ShardState, place: &Place, request: &Request) -> Result<Response<Body>, Status> {
    if Query(request).text("dryRun").is_some() {
        return Err(Status::bad_request("this test double has no dry run"));
    }
    let parsed = Parsed::of(request)?;
    shard.change(|guarded| {
        let store = &mut guarded.store;
        let kind = store.resource(&place.group, &place.plural).ok_or_else(Status::not_served)?.kind.clone();
        let key = key(place, &kind, store.home())?;
        let status_only = place.subresource.is_some();
        let (group, plural) = (kind.group.as_str(), kind.plural.as_str());
        let whole = |object: &Object| request.form.object(object).into();
        match parsed {
            Parsed::Object(body) if request.method == Method::POST => {
                let created = store.create(group, plural, key, body)?;
                Ok(json(201, whole(&created)))
            }
            Parsed::Object(body) => {
                let replaced = store.replace(group, plural, &key, status_only, body)?;
                Ok(json(200, whole(&replaced)))
            }
            Parsed::Patch(patch) => {
                let patched = store.patch(group, plural, &key, status_only, &patch)?;
                Ok(json(200, whole(&patched)))
            }
            Parsed::Deletion(preconditions) => match store.delete(group, plural, &key, &preconditions)? {
                Deletion::Marked(marked) => Ok(json(200, whole(&marked))),
                Deletion::Gone(gone) => Ok(json(200, Bytes::from(deleted(&kind, &gone).to_string()).into())),
            },
        }
    })
}

enum Parsed {
    Object(Value),
    Patch(Patch),
    Deletion(Preconditions),
}

impl Parsed {
    fn of(request: &Request) -> Result<Self, Status> {
        let unreadable =
            |error: serde_json::Error| Status::bad_request(format!("the body is no JSON: {error}"));
        if request.verb == Verb::Delete {
            let options: Value = match request.body.is_empty() {
                true => Value::Null,
                false => serde_json::from_slice(&request.body).map_err(unreadable)?,
            };
            let text = |name: &str| {
                let found = options.get("preconditions").and_then(|preconditions| preconditions.get(name));
                found.and_then(Value::as_str).map(str::to_owned)
            };
            return Ok(Self::Deletion(Preconditions { uid: text("uid"), revision: text("resourceVersion") }));
        }
        if request.verb != Verb::Patch {
            return serde_json::from_slice(&request.body).map(Self::Object).map_err(unreadable);
        }
        let patch = match request.content_type.split(';').next().unwrap_or_default() {
            "application/merge-patch+json" => serde_json::from_slice(&request.body).map(Patch::Merge),
            "application/json-patch+json" => serde_json::from_slice(&request.body).map(Patch::Json),
            _ => {
                let message = "the body of the request was in an unknown format - accepted media types include: \
                               application/json-patch+json, application/merge-patch+json";
                return Err(Status::new(415, "UnsupportedMediaType", message));
            }
        };
        patch.map(Self::Patch).map_err(unreadable)
    }
}

/// What a deletion is answered with.
fn deleted(kind: &Kind, gone: &Object) -> Value {
    let uid = gone.metadata_fields().remove("uid");
    value!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": &*gone.key.name, "group": kind.group, "kind": kind.plural, "uid": uid},
    })
}

/// Where the object is that a path names; a new one has no name yet.
fn key(place: &Place, kind: &Kind, home: &str) -> Result<Key, Status> {
    let cluster = place.cluster.as_deref().unwrap_or(home);
    if cluster == "*" {
        return Err(Status::bad_request(
            "an object is in one cluster: it cannot be asked for in all of them",
        ));
    }
    if kind.version != place.version {
        return Err(Status::not_served());
    }
    if kind.namespaced != place.namespace.is_some() {
        // A collection over all namespaces exists, but nothing can be created in it.
        return Err(if place.name.is_some() { Status::not_served() } else { Status::method_not_allowed() });
    }
    if place.subresource.as_deref().is_some_and(|subresource| subresource != "status") {
        return Err(Status::not_served());
    }
    if place.subresource.is_some() && !kind.has_status() {
        return Err(Status::not_served());
    }
    Ok(Key::new(
        cluster,
        place.namespace.as_deref().unwrap_or_default(),
        place.name.as_deref().unwrap_or_default(),
    ))
}

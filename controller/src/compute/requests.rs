//! What is asked of a cluster and written there, each bounded in time and counted.

use std::{future::Future, sync::Arc, time::Duration};

use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::DynamicObject,
};
use serde_json::{Value, json};

use super::{desired::Desired, kind::Kind, place::Place};
use crate::{
    api_writes::{TIMEOUT, WriteError},
    store::Name,
};

/// What owns the fields that Annex sets on a cluster.
const FIELD_MANAGER: &str = "annex-controller";
/// How long one request to a tenant's own cluster may take: it keeps a worker busy.
const REQUEST_ELSEWHERE: Duration = Duration::from_secs(5);
/// How many objects are removed in one pass.
const REMOVED_AT_A_TIME: u32 = 20;

impl Place {
    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        let resource = kind.resource(self.mappings.read().unwrap_or("v1beta1"));
        if kind.is_namespaced() {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        }
    }

    fn body(&self, desired: &Desired) -> Value {
        let resource = desired.kind.resource(self.mappings.read().unwrap_or("v1beta1"));
        let mut body = desired.body.clone();
        if let Some(body) = body.as_object_mut() {
            body.insert("apiVersion".to_owned(), json!(resource.api_version));
        }
        body
    }

    fn wrote(&self, kind: Kind, object: DynamicObject) -> Arc<DynamicObject> {
        let name = Name::of(&object);
        match self.stores.get(&kind) {
            Some(store) => {
                store.wrote(object.clone());
                store.get(&name).unwrap_or_else(|| Arc::new(object))
            }
            None => Arc::new(object),
        }
    }

    async fn write<T>(
        &self,
        kind: Kind,
        write: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        let limit = if self.is_elsewhere() { REQUEST_ELSEWHERE } else { TIMEOUT };
        self.writes.count_within(limit, kind.name(), write).await
    }

    async fn read<T>(
        &self,
        kind: Kind,
        read: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        let limit = if self.is_elsewhere() { REQUEST_ELSEWHERE } else { TIMEOUT };
        tokio::time::timeout(limit, read)
            .await
            .map_err(|_| WriteError::Timeout(kind.name()))?
            .map_err(|error| WriteError::Unread { what: kind.name(), error: Box::new(error) })
    }

    /// The object as the cluster has it now, whatever the watch has brought.
    pub(super) async fn ask(&self, kind: Kind, name: &Name) -> Result<Option<DynamicObject>, WriteError> {
        self.read(kind, self.api(kind, &name.namespace).get_opt(&name.name)).await
    }

    /// The first objects with these labels that the cluster has now. None where the kind or the namespace is not there.
    pub(super) async fn list(
        &self,
        kind: Kind,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<DynamicObject>, WriteError> {
        let params = ListParams::default().labels(labels).limit(REMOVED_AT_A_TIME);
        let api = self.api(kind, namespace);
        match self.read(kind, async { api.list(&params).await }).await {
            Ok(list) => Ok(list.items),
            Err(error) if error.is_gone() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Makes what must not be taken from anybody. 409: it is there already.
    pub(super) async fn create(&self, desired: &Desired) -> Result<Arc<DynamicObject>, WriteError> {
        let object: DynamicObject = serde_json::from_value(self.body(desired))
            .map_err(|error| refused(desired.kind, kube::Error::SerdeError(error)))?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let api = self.api(desired.kind, &desired.name.namespace);
        let made = self.write(desired.kind, api.create(&params, &object)).await?;
        Ok(self.wrote(desired.kind, made))
    }

    /// Makes or repairs what can only be ours, in a namespace or by a name that is. What was seen is repaired only if it has not
    /// changed since: of two leaders, one that was stopped and goes on must not undo what the other has done.
    pub(super) async fn apply(
        &self,
        desired: &Desired,
        seen: Option<&DynamicObject>,
    ) -> Result<Arc<DynamicObject>, WriteError> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let mut body = self.body(desired);
        if let Some(seen) = seen {
            as_seen(&mut body, seen);
        }
        let patch = Patch::Apply(body);
        let api = self.api(desired.kind, &desired.name.namespace);
        let made = self.write(desired.kind, api.patch(&desired.name.name, &params, &patch)).await?;
        Ok(self.wrote(desired.kind, made))
    }

    /// Repairs what [`Place::create`] made, unless it has changed since it was seen.
    pub(super) async fn repair(
        &self,
        desired: &Desired,
        seen: &DynamicObject,
    ) -> Result<Arc<DynamicObject>, WriteError> {
        let mut body = self.body(desired);
        as_seen(&mut body, seen);
        // What is not asked for any more goes: a merge keeps what it is not told of.
        for (key, value) in seen.data.get("spec").and_then(Value::as_object).into_iter().flatten() {
            if let Some(Value::Object(spec)) = body.get_mut("spec")
                && !spec.contains_key(key)
                && !value.is_null()
            {
                spec.insert(key.clone(), Value::Null);
            }
        }
        let api = self.api(desired.kind, &desired.name.namespace);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let made =
            self.write(desired.kind, api.patch(&desired.name.name, &params, &Patch::Merge(body))).await?;
        Ok(self.wrote(desired.kind, made))
    }

    /// Asks for the deletion of an object as it was seen. That it is gone already is no error.
    pub(super) async fn delete(&self, kind: Kind, seen: &DynamicObject) -> Result<(), WriteError> {
        let name = Name::of(seen);
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: seen.uid(), resource_version: None }),
            ..DeleteParams::background()
        };
        let api = self.api(kind, &name.namespace);
        match self.write(kind, api.delete(&name.name, &params)).await {
            // Another of the same name is not ours to delete.
            Err(error) if error.is_gone() || error.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }
}

/// The write conflicts if the object has changed since it was seen.
fn as_seen(body: &mut Value, seen: &DynamicObject) {
    if let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), json!(seen.resource_version()));
    }
}

fn refused(kind: Kind, error: kube::Error) -> WriteError {
    WriteError::Refused { what: kind.name(), error: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        compute::{PlaceId, Setup, desired},
        scripted,
    };

    /// Each holds a worker.
    #[tokio::test(start_paused = true)]
    async fn no_write_to_a_tenants_cluster_takes_longer_than_it_may() {
        // The head of an answer to everything, and nothing after it.
        let setup = || scripted::platform(scripted::client(|_| scripted::quiet()));
        let id = PlaceId::Environment(kube_kcp::ObjectKey {
            cluster: "acme".parse().unwrap(),
            namespace: "default".to_owned(),
            name: "mine".to_owned(),
        });
        for (place, limit) in
            [(Place::new(Setup { id, ..setup() }), REQUEST_ELSEWHERE), (Place::new(setup()), TIMEOUT)]
        {
            let cluster = "acme".parse().unwrap();
            let desired = desired::namespace(desired::Owner { cluster: &cluster, place: "p" }, "annex-acme");
            let seen: DynamicObject = serde_json::from_value(desired.body.clone()).unwrap();
            let began = Instant::now();
            let lost =
                |result: Result<(), WriteError>| assert!(matches!(result, Err(WriteError::Timeout(_))));
            lost(place.create(&desired).await.map(drop));
            lost(place.apply(&desired, None).await.map(drop));
            lost(place.repair(&desired, &seen).await.map(drop));
            lost(place.delete(Kind::Namespace, &seen).await);
            lost(place.ask(Kind::Namespace, &desired.name).await.map(drop));
            lost(place.list(Kind::Namespace, "", "").await.map(drop));
            assert_eq!(began.elapsed().as_secs(), 6 * limit.as_secs());
        }
    }
}

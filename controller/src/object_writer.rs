use std::fmt::Debug;

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::PostParams,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::api_writes::{ApiWrites, WriteError};

const CONTROLLER: &str = "annex.sh/controller";

/// Writes what Annex says of a tenant's object: its status, and Events beside it.
pub(crate) struct ObjectWriter<'a> {
    pub(crate) client: Client,
    pub(crate) writes: &'a ApiWrites,
}

impl ObjectWriter<'_> {
    /// Replaces the status with that of `object`, whose resourceVersion makes one of two writers conflict. Not by server-side
    /// apply: through a virtual workspace that never removes a field. `what` is what the metric calls it.
    pub(crate) async fn status<K>(&self, what: &'static str, object: &K) -> Result<K, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let name = object.name_any();
        self.writes.count(what, api.replace_status(&name, &PostParams::default(), object)).await
    }

    /// Tells the tenant, beside the object, what its Ready turned to.
    pub(crate) async fn event<K: Resource<DynamicType = ()>>(&self, object: &K, ready: &Condition) {
        let type_ = if ready.status == "True" { EventType::Normal } else { EventType::Warning };
        self.tell(object, type_, &ready.reason, ready.message.clone()).await;
    }

    /// Tells the tenant something beside the object. An Event that cannot be written is not worth a retry: what it says can be
    /// seen elsewhere, too.
    pub(crate) async fn tell<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        type_: EventType,
        reason: &str,
        note: String,
    ) {
        let recorder = Recorder::new(self.client.clone(), Reporter::from(CONTROLLER));
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let published = async { recorder.publish(&event, &object.object_ref(&())).await };
        if let Err(error) = self.writes.count("Event", published).await {
            tracing::debug!(%error, object = object.name_any(), "an event is lost");
        }
    }
}

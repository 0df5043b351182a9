use annex_apis::{INSTALL_FINALIZER, Install, InstallStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::json;

use crate::api_writes::{ApiWrites, WriteError};

const CONTROLLER: &str = "annex.sh/controller";

/// Writes one Install. Each write carries the resourceVersion that was read, so that of two writers one conflicts.
pub(super) struct Writer<'a> {
    pub(super) client: Client,
    pub(super) writes: &'a ApiWrites,
}

impl Writer<'_> {
    /// The Install with our finalizer.
    pub(super) async fn hold(&self, install: &Install) -> Result<Install, WriteError> {
        let mut finalizers = install.finalizers().to_vec();
        finalizers.push(INSTALL_FINALIZER.to_owned());
        self.finalizers(install, &finalizers).await
    }

    /// The Install without our finalizer; where it was the last, the Install is gone afterwards.
    pub(super) async fn let_go(&self, install: &Install) -> Result<(), WriteError> {
        let mut finalizers = install.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != INSTALL_FINALIZER);
        self.finalizers(install, &finalizers).await.map(drop)
    }

    async fn finalizers(&self, install: &Install, finalizers: &[String]) -> Result<Install, WriteError> {
        let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": install.resource_version() } });
        let write = self.api(install);
        let name = install.name_any();
        self.writes
            .count("InstallFinalizer", write.patch(&name, &PatchParams::default(), &Patch::Merge(patch)))
            .await
    }

    /// Replaces the status. Not by server-side apply: through a virtual workspace that never removes a field.
    pub(super) async fn status(&self, install: &Install, status: InstallStatus) -> Result<(), WriteError> {
        let object = Install { status: Some(status), ..install.clone() };
        let api = self.api(install);
        let name = install.name_any();
        self.writes
            .count("InstallStatus", api.replace_status(&name, &PostParams::default(), &object))
            .await
            .map(drop)
    }

    /// Tells the tenant, beside the Install, what its Ready turned to. An Event that cannot be written is not worth a retry:
    /// the condition says the same.
    pub(super) async fn event(&self, install: &Install, ready: &Condition) {
        let recorder = Recorder::new(self.client.clone(), Reporter::from(CONTROLLER));
        let event = Event {
            type_: if ready.status == "True" { EventType::Normal } else { EventType::Warning },
            reason: ready.reason.clone(),
            note: Some(ready.message.clone()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let published = async { recorder.publish(&event, &install.object_ref(&())).await };
        if let Err(error) = self.writes.count("Event", published).await {
            tracing::debug!(%error, install = install.name_any(), "an event is lost");
        }
    }

    fn api(&self, install: &Install) -> Api<Install> {
        Api::namespaced(self.client.clone(), &install.namespace().unwrap_or_default())
    }
}

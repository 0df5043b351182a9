use annex_apis::{Flow, FlowAction, FlowRecord, INSTALL_FINALIZER, Install, InstallStatus, StageStatus};
use json_patch::{PatchOperation, ReplaceOperation, TestOperation, jsonptr::PointerBuf};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    runtime::events::EventType,
};
use serde_json::json;

use crate::{
    api_writes::{ApiWrites, WriteError},
    object_writer::ObjectWriter,
};

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

    /// Makes another Install in the workspace.
    pub(super) async fn create(&self, install: &Install) -> Result<(), WriteError> {
        let api = self.api(install);
        self.writes.count("Install", api.create(&PostParams::default(), install)).await.map(drop)
    }

    async fn finalizers(&self, install: &Install, finalizers: &[String]) -> Result<Install, WriteError> {
        let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": install.resource_version() } });
        let write = self.api(install);
        let name = install.name_any();
        self.writes
            .count("InstallFinalizer", write.patch(&name, &PatchParams::default(), &Patch::Merge(patch)))
            .await
    }

    /// Replaces the status, and returns the Install as it is then.
    pub(super) async fn status(
        &self,
        install: &Install,
        status: InstallStatus,
    ) -> Result<Install, WriteError> {
        let object = Install { status: Some(status), ..install.clone() };
        self.object().status("InstallStatus", &object).await
    }

    /// Replaces the flow alone, whatever else has changed of the Install, if the status has still the flow that `install` has.
    pub(super) async fn flow(&self, install: &Install, flow: &Flow) -> Result<(), WriteError> {
        let recorded = install.status.as_ref().and_then(|status| status.flow.as_ref());
        let path = || PointerBuf::from_tokens(["status", "flow"]);
        let patch = json_patch::Patch(vec![
            PatchOperation::Test(TestOperation { path: path(), value: json!(recorded) }),
            PatchOperation::Replace(ReplaceOperation { path: path(), value: json!(flow) }),
        ]);
        let (api, name) = (self.api(install), install.name_any());
        let (params, patch) = (PatchParams::default(), Patch::Json::<()>(patch));
        let write = api.patch_status(&name, &params, &patch);
        self.writes.count("InstallStatus", write).await.map(drop)
    }

    /// Tells the tenant, beside the Install, what its Ready turned to.
    pub(super) async fn event(&self, install: &Install, ready: &Condition) {
        self.object().event(install, ready).await;
    }

    /// Tells the tenant, beside the Install, how a flow has ended.
    pub(super) async fn told(&self, install: &Install, record: &FlowRecord) {
        let (reason, did) = match (record.status, record.action) {
            (StageStatus::Finished, FlowAction::Install) => ("Installed", "installed"),
            (StageStatus::Finished, FlowAction::Upgrade) => ("Upgraded", "upgraded"),
            (StageStatus::Finished, FlowAction::Reprovision) => ("Reprovisioned", "made again"),
            (StageStatus::Finished, FlowAction::Revoke) => ("Uninstalled", "uninstalled"),
            (StageStatus::Cancelled, _) if record.reason.as_deref() == Some("Superseded") => return,
            (StageStatus::Cancelled, _) => ("RolledBack", "rolled back"),
            (StageStatus::CancellationFailed, _) => ("RollbackFailed", "not all of it could be undone"),
            _ => ("FlowFailed", "failed"),
        };
        let versions = match (&record.from, &record.to) {
            (Some(from), Some(to)) if from != to => format!(" from {from} to {to}"),
            (_, Some(version)) | (Some(version), None) => format!(" {version}"),
            (None, None) => String::new(),
        };
        let why = record.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        let is_well = record.status == StageStatus::Finished && record.message.is_none();
        let type_ = if is_well { EventType::Normal } else { EventType::Warning };
        self.object()
            .tell(install, type_, reason, format!("{:?}{versions}: {did}{why}", record.action))
            .await;
    }

    fn object(&self) -> ObjectWriter<'_> {
        ObjectWriter { client: self.client.clone(), writes: self.writes }
    }

    fn api(&self, install: &Install) -> Api<Install> {
        Api::namespaced(self.client.clone(), &install.namespace().unwrap_or_default())
    }
}

use annex_apis::{INSTALL_FINALIZER, Install, InstallStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
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

    /// Tells the tenant, beside the Install, what its Ready turned to.
    pub(super) async fn event(&self, install: &Install, ready: &Condition) {
        self.object().event(install, ready).await;
    }

    fn object(&self) -> ObjectWriter<'_> {
        ObjectWriter { client: self.client.clone(), writes: self.writes }
    }

    fn api(&self, install: &Install) -> Api<Install> {
        Api::namespaced(self.client.clone(), &install.namespace().unwrap_or_default())
    }
}

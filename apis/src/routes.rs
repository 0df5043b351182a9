use annex_core::{ContentHash, HostName, InstallIdentity};
use kube_kcp::ClusterName;

use crate::{Install, Tenant};

/// Where the status of an Install says that it answers, and with what.
///
/// A status can be believed: the export's maximal permission policy lets nobody but Annex write it.
#[must_use]
pub fn routes_of_status(install: &Install) -> Vec<(HostName, ContentHash)> {
    let Some(status) = &install.status else { return Vec::new() };
    let route = |host: &str, hash: &str| Some((host.parse().ok()?, hash.parse().ok()?));
    if status.routes.is_empty() {
        // As a release that recorded no routes left it.
        let ready = status.conditions.iter().any(|ready| ready.type_ == "Ready" && ready.status == "True");
        let installed = status.host.as_ref().zip(status.content_hash.as_ref()).filter(|_| ready);
        return installed.and_then(|(host, hash)| route(host, hash)).into_iter().collect();
    }
    status.routes.iter().filter_map(|recorded| route(&recorded.host, &recorded.content_hash)).collect()
}

/// What an Install is to the outside while it has this content; `tenant` is that of its workspace, `cluster`. None: nothing, because it
/// is suspended or being deleted, or its names cannot be told.
#[must_use]
pub fn identity(
    tenant: &Tenant,
    cluster: &ClusterName,
    install: &Install,
    content_hash: ContentHash,
) -> Option<InstallIdentity> {
    if tenant.spec.suspended || is_going(install) {
        return None;
    }
    Some(InstallIdentity {
        tenant_id: tenant_id(tenant, cluster).parse().ok()?,
        extension_id: install.spec.extension.parse().ok()?,
        content_hash,
    })
}

/// Whether the Install is being deleted, and nothing holds that up: one that others need goes on until they are gone.
#[must_use]
pub fn is_going(install: &Install) -> bool {
    let is_needed = install.status.as_ref().is_some_and(|status| !status.dependents.is_empty());
    install.metadata.deletion_timestamp.is_some() && !is_needed
}

/// What the outside knows a tenant by.
#[must_use]
pub fn tenant_id<'a>(tenant: &'a Tenant, cluster: &'a ClusterName) -> &'a str {
    tenant.spec.id.as_deref().unwrap_or(cluster.as_str())
}

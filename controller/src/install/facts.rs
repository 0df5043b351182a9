use std::sync::Arc;

use annex_apis::{Extension, ExtensionVersion, Install, Tenant};
use annex_core::{HostName, InstallIdentity};
use kube_kcp::{ClusterName, ObjectKey};

use super::{
    conditions::READY,
    site::{Site, site},
};
use crate::{catalog::Catalog, compute::State, context::Context, triggers::rank};

/// Everything that deciding about an Install needs, read from the indexes in one go.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) key: ObjectKey,
    pub(super) install: Arc<Install>,
    pub(super) tenant: Arc<Tenant>,
    /// The claims that the workspace does not grant.
    pub(super) missing_claims: Vec<String>,
    pub(super) extension: Option<Arc<Extension>>,
    pub(super) versions: Vec<Arc<ExtensionVersion>>,
    /// The Install of the same workspace that has the extension, where it is another.
    pub(super) rival: Option<ObjectKey>,
    /// The Secrets that the Install names and that cannot be seen.
    pub(super) missing_secrets: Vec<String>,
    /// Where it is to run.
    pub(super) site: Site,
    pub(super) allow_unsigned: bool,
}

/// Why there is nothing to decide upon yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotYet {
    /// The workspace has no binding of ours: it is being unbound or deleted.
    Unbound,
    /// The Tenant is being made; it comes through its watch.
    NoTenant,
    /// The cluster where it is to run is still being looked at.
    Listing,
}

/// Needs no client. Claims the extension in the workspace.
pub(super) fn dereference(
    context: &Context,
    key: &ObjectKey,
    install: Arc<Install>,
) -> Result<Facts, NotYet> {
    let tenants = &context.tenants;
    let binding = context.binding(&key.cluster).ok_or(NotYet::Unbound)?;
    let tenant = context.catalog.tenants.named(key.cluster.as_str()).ok_or(NotYet::NoTenant)?;
    let spec = &install.spec;
    let site = site(context, key, &install);
    if matches!(&site, Site::Unknown | Site::Cluster(_, State::Listing)) {
        return Err(NotYet::Listing);
    }

    let installed = install.status.as_ref().is_some_and(|status| status.installed_version.is_some());
    let resource = (key.cluster.clone(), spec.extension.clone());
    let verdict = context.extension_claims.claim(&resource, key, rank(&install, !installed));
    context.wake(verdict.wake);

    let named = spec
        .secrets
        .iter()
        .map(|secret| &secret.name)
        .chain(spec.parameters_from.iter().map(|from| &from.name));
    let mut missing_secrets: Vec<String> =
        named.filter(|name| tenants.secrets.get(&sibling(key, name)).is_none()).cloned().collect();
    missing_secrets.sort();
    missing_secrets.dedup();

    Ok(Facts {
        missing_claims: annex_apis::provider::missing_claims(&binding.spec.permission_claims),
        extension: context.catalog.extensions.named(&spec.extension),
        versions: context.catalog.versions.filter(|version| version.spec.extension == spec.extension),
        rival: (verdict.holder != *key).then_some(verdict.holder),
        missing_secrets,
        site,
        allow_unsigned: context.allow_unsigned,
        key: key.clone(),
        install,
        tenant,
    })
}

fn sibling(key: &ObjectKey, name: &str) -> ObjectKey {
    ObjectKey { name: name.to_owned(), ..key.clone() }
}

/// What the outside knows a tenant by.
pub(super) fn tenant_id<'a>(tenant: &'a Tenant, cluster: &'a ClusterName) -> &'a str {
    tenant.spec.id.as_deref().unwrap_or(cluster.as_str())
}

/// The host that an Install's status records.
pub(crate) fn recorded_host(install: &Install) -> Option<HostName> {
    install.status.as_ref()?.host.as_ref()?.parse().ok()
}

/// The identity of what is installed, as the status records it.
pub(super) fn route_of_status(
    catalog: &Catalog,
    key: &ObjectKey,
    install: &Install,
) -> Option<InstallIdentity> {
    identity(catalog, key, install, install.status.as_ref()?.content_hash.as_ref()?)
}

/// Where the status says that the Install answers, and with what: for a replica that does not lead, and for one that begins to. A
/// status can be believed: the export's maximal permission policy lets nobody else write it.
pub(crate) fn routes_of_status(
    catalog: &Catalog,
    key: &ObjectKey,
    install: &Install,
) -> Vec<(HostName, InstallIdentity)> {
    let Some(status) = &install.status else { return Vec::new() };
    let route = |host: &str, hash: &str| Some((host.parse().ok()?, identity(catalog, key, install, hash)?));
    if status.routes.is_empty() {
        // As a release before this one left it, which recorded no routes.
        let ready = status.conditions.iter().any(|ready| ready.type_ == READY && ready.status == "True");
        let installed = status.host.as_ref().zip(status.content_hash.as_ref()).filter(|_| ready);
        return installed.and_then(|(host, hash)| route(host, hash)).into_iter().collect();
    }
    status.routes.iter().filter_map(|recorded| route(&recorded.host, &recorded.content_hash)).collect()
}

fn identity(catalog: &Catalog, key: &ObjectKey, install: &Install, hash: &str) -> Option<InstallIdentity> {
    let tenant = catalog.tenants.named(key.cluster.as_str())?;
    if tenant.spec.suspended || install.metadata.deletion_timestamp.is_some() {
        return None;
    }
    Some(InstallIdentity {
        tenant_id: tenant_id(&tenant, &key.cluster).parse().ok()?,
        extension_id: install.spec.extension.parse().ok()?,
        content_hash: hash.parse().ok()?,
    })
}

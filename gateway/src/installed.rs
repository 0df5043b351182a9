//! What of an Install a call needs. Pure.

use std::{collections::BTreeMap, sync::Arc};

use annex_answering::{Catalog, Refusal};
use annex_apis::{
    Endpoint, Install, RunnerReference, Tenant, config, identity, is_going, memory_mib, routes_of_status,
};
use annex_core::{ContentHash, ExtensionName, InstallId, InstallIdentity, version_object_name};
use annex_grant::Capabilities;
use kube::ResourceExt as _;
use kube_kcp::ObjectKey;

use crate::parameters::{Takes, accepted};
use crate::refusals::{not_ready, tenant_suspended};

/// An install that answers.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    pub(crate) identity: InstallIdentity,
    pub(crate) id: InstallId,
    pub(crate) version: String,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) public: Vec<String>,
    pub(crate) capabilities: Capabilities,
    /// Milliseconds. None: the version names no limit.
    pub(crate) timeout_ms: Option<u32>,
    /// MiB, within what the operator gives the tenant.
    pub(crate) memory_mb: u32,
    pub(crate) config: BTreeMap<String, serde_json::Value>,
    /// What is handed to it besides. None: nothing.
    pub(crate) takes: Option<Takes>,
    pub(crate) runner: Option<RunnerReference>,
}

impl Installed {
    /// `content` is what answers on the host that was asked, if one was; `dependency` finds the Install of an extension in the workspace.
    ///
    /// An Install that is suspended goes on answering, as its status says; what answers nowhere has no route there.
    ///
    /// # Errors
    /// The operator suspended the tenant, or it does not answer; then the reason is that of its condition Ready.
    pub(crate) fn of(
        catalog: &Catalog,
        key: &ObjectKey,
        install: &Install,
        content: Option<ContentHash>,
        default_memory_mb: u32,
        dependency: impl Fn(&str) -> Option<Arc<Install>>,
    ) -> Result<Self, Refusal> {
        let tenant: Arc<Tenant> =
            catalog.tenants.get(key.cluster.as_str()).ok_or_else(|| not_ready("TenantUnknown"))?;
        if tenant.spec.suspended {
            return Err(tenant_suspended());
        }
        if is_going(install) {
            return Err(not_ready("Uninstalling"));
        }
        let content = content.or_else(|| answering(install)).ok_or_else(|| not_ready(reason(install)))?;
        let malformed = || not_ready("Malformed");
        let identity = identity(&tenant, &key.cluster, install, content).ok_or_else(malformed)?;
        let id = install.uid().and_then(|uid| uid.parse().ok()).ok_or_else(malformed)?;
        let version = version(catalog, install, &content).ok_or_else(|| not_ready("VersionWithdrawn"))?;
        let granted = install.spec.granted_capabilities.as_deref();
        let capabilities =
            Capabilities::granted(&version.spec.capabilities, granted).map_err(|_| malformed())?;
        let limits = version.spec.limits.clone().unwrap_or_default();
        let positive =
            |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0);
        let memory_mb = memory_mib(&tenant, &version, default_memory_mb);
        Ok(Self {
            identity,
            id,
            version: version.spec.version.clone(),
            endpoints: version.spec.endpoints.clone(),
            public: install.spec.public.clone(),
            capabilities,
            timeout_ms: positive(limits.timeout_ms),
            memory_mb,
            config: config(install, &version, accepted(install, content), memory_mb, dependency),
            takes: Takes::of(key, install, content, version.spec.parameters_schema.as_ref()),
            runner: install.status.as_ref().and_then(|status| status.runner_ref.clone()),
        })
    }
}

/// What is installed, if that answers; else whatever does. While an install moves from one host to another, both do.
fn answering(install: &Install) -> Option<ContentHash> {
    let routes = routes_of_status(install);
    let installed: Option<ContentHash> =
        install.status.as_ref().and_then(|status| status.content_hash.as_ref()?.parse().ok());
    let is_installed = routes.iter().find(|(_, content)| Some(*content) == installed);
    is_installed.or(routes.first()).map(|(_, content)| *content)
}

fn version(
    catalog: &Catalog,
    install: &Install,
    content: &ContentHash,
) -> Option<Arc<annex_apis::ExtensionVersion>> {
    let (extension, content) = (&install.spec.extension, content.to_string());
    let is_it = |version: &annex_apis::ExtensionVersion| {
        version.spec.extension == *extension && version.spec.content_hash == content
    };
    let installed = install.status.as_ref().and_then(|status| status.installed_version.as_ref());
    let name = installed.and_then(|version| {
        let extension: ExtensionName = extension.parse().ok()?;
        version_object_name(&extension, &version.parse::<semver::Version>().ok()?).ok()
    });
    let by_name = name.and_then(|name| catalog.versions.get(&name)).filter(|version| is_it(version));
    // While it is on its way from one version to another.
    by_name.or_else(|| catalog.versions.filter(is_it).pop())
}

fn reason(install: &Install) -> &str {
    let conditions = install.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status != "True");
    ready.map_or("NotInstalled", |ready| &ready.reason)
}

use std::{collections::BTreeMap, sync::Arc};

use annex_apis::{DependencyStatus, Extension, ExtensionVersion, Install, Tenant, identity, tenant_id};
use annex_core::{ContentHash, HostName, InstallIdentity};
use jiff::{SignedDuration, Span, SpanRelativeTo};
use kube_kcp::ObjectKey;
use serde_json::Value;

use super::{
    flow::has_made,
    secret_parameters::{self, Parameters},
    site::{Site, site},
};
use crate::{
    api_writes::WriteError, bindings::is_provided_for, catalog::Catalog, compute::State, conditions::Because,
    context::Context, handlers::DEFAULT_MEMORY_MIB, triggers::rank,
};

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
    /// What is installed stays, or what is on its way, because it is not its turn to take another version by itself.
    pub(super) pinned: Option<Pinned>,
    /// The Installs of the workspace that this one's status names as what it needs.
    pub(super) dependencies: Vec<Arc<Install>>,
    /// What a flow is about to make true of the Install, which its handlers are told.
    pub(super) to_be: Option<ToBe>,
    /// What the extension is to be handed. The error is why there is something in a Secret that it cannot be.
    pub(super) parameters: Result<Parameters, Because>,
    /// As many Installs as the tenant may have come before this one: so many.
    pub(super) quota_full: Option<i32>,
}

/// The version that an Install gets for now, and why.
#[derive(Clone, Debug)]
pub(super) struct Pinned {
    pub(super) to: String,
    pub(super) because: Because,
}

/// Where an Install is about to answer, and what it needs. No status says so before it does.
#[derive(Clone, Debug)]
pub(super) struct ToBe {
    pub(super) host: HostName,
    pub(super) url: String,
    pub(super) needs: Vec<DependencyStatus>,
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
    let facts = gather(context, key, install)?;
    let installed = is_installed(&facts.install);
    let resource = (key.cluster.clone(), facts.install.spec.extension.clone());
    let verdict = context.extension_claims.claim(&resource, key, rank(&facts.install, !installed));
    context.wake(verdict.wake);
    Ok(Facts { rival: (verdict.holder != *key).then_some(verdict.holder), ..facts })
}

/// The same of an Install that claims nothing any more.
pub(super) fn gather(context: &Context, key: &ObjectKey, install: Arc<Install>) -> Result<Facts, NotYet> {
    let tenants = &context.tenants;
    let binding = context.binding(&key.cluster).ok_or(NotYet::Unbound)?;
    // Elsewhere nobody makes it again.
    let absent = if is_provided_for(&binding) { NotYet::NoTenant } else { NotYet::Unbound };
    let tenant = context.catalog.tenants.named(key.cluster.as_str()).ok_or(absent)?;
    let spec = &install.spec;
    let site = site(context, key, &install);
    if matches!(&site, Site::Unknown | Site::Cluster(_, State::Listing)) {
        return Err(NotYet::Listing);
    }

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
        rival: None,
        missing_secrets,
        site,
        allow_unsigned: context.allow_unsigned,
        pinned: None,
        to_be: None,
        dependencies: dependencies(
            context,
            key,
            install.status.as_ref().map_or(&[][..], |status| &status.dependencies),
        ),
        quota_full: quota_full(context, key, &install, &tenant),
        parameters: Ok(Parameters(spec.parameters.clone())),
        key: key.clone(),
        install,
        tenant,
    })
}

impl Facts {
    /// The version of the extension that has this content.
    pub(super) fn published(&self, content: &ContentHash) -> Option<Arc<ExtensionVersion>> {
        let content = content.to_string();
        self.versions.iter().find(|version| version.spec.content_hash == content).cloned()
    }

    /// What the Install is to the outside with this content, though it may be suspended or being deleted.
    pub(super) fn identity(&self, content_hash: ContentHash) -> Option<InstallIdentity> {
        Some(InstallIdentity {
            tenant_id: tenant_id(&self.tenant, &self.key.cluster).parse().ok()?,
            extension_id: self.install.spec.extension.parse().ok()?,
            content_hash,
        })
    }

    /// Reads what the Install takes out of Secrets.
    pub(super) async fn read_secrets(&mut self, context: &Context) -> Result<(), WriteError> {
        if !self.install.spec.parameters_from.is_empty() {
            self.parameters = secret_parameters::read(context, &self.key, &self.install.spec).await?;
        }
        Ok(())
    }

    /// What a lifecycle handler of this version is handed as its configuration.
    pub(super) fn config(&self, version: &ExtensionVersion) -> BTreeMap<String, Value> {
        let found =
            |extension: &str| self.dependencies.iter().find(|there| there.spec.extension == extension);
        // Who goes is called all the same, though the Secrets may have gone before.
        let parameters = match &self.parameters {
            Ok(parameters) => parameters.0.clone(),
            Err(_) => self.install.spec.parameters.clone(),
        };
        let mut install = Install::clone(&self.install);
        if let Some(to_be) = &self.to_be {
            let status = install.status.get_or_insert_default();
            (status.host, status.url) = (Some(to_be.host.to_string()), Some(to_be.url.clone()));
            status.dependencies.clone_from(&to_be.needs);
        }
        let memory = self.memory_mib(version);
        annex_apis::config(&install, version, parameters, memory, |extension| found(extension).cloned())
    }

    /// What a handler may use of memory.
    pub(super) fn memory_mib(&self, version: &ExtensionVersion) -> u32 {
        annex_apis::memory_mib(&self.tenant, version, DEFAULT_MEMORY_MIB)
    }

    /// The flow that is under way leads there.
    pub(super) fn is_to_be(&mut self, context: &Context, to_be: ToBe) {
        self.dependencies = dependencies(context, &self.key, &to_be.needs);
        self.to_be = Some(to_be);
    }

    /// How long a flow may take.
    pub(super) fn timeout(&self) -> SignedDuration {
        // The schema lets nothing else pass.
        let span: Result<Span, _> = self.install.spec.timeout.parse();
        let timeout = span.and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        timeout.unwrap_or(SignedDuration::from_mins(10)).max(SignedDuration::from_secs(1))
    }
}

fn dependencies(context: &Context, key: &ObjectKey, named: &[DependencyStatus]) -> Vec<Arc<Install>> {
    if named.is_empty() {
        return Vec::new();
    }
    let there = context.installs_of(&key.cluster).into_iter().map(|(_, install)| install);
    let is_named = |other: &Install| {
        let extension = &other.spec.extension;
        named
            .iter()
            .any(|needed| needed.extension == *extension || needed.provided_by.as_ref() == Some(extension))
    };
    there.filter(|other| is_named(other)).collect()
}

/// Those that are installed come first, and then those that have waited longest.
fn quota_full(context: &Context, key: &ObjectKey, install: &Install, tenant: &Tenant) -> Option<i32> {
    let most = tenant.spec.quota.installs?;
    if is_installed(install) {
        return None;
    }
    let own = rank(install, true);
    let before = context.installs_of(&key.cluster).into_iter().filter(|(other, there)| {
        other != key && !annex_apis::is_going(there) && (is_installed(there) || rank(there, true) < own)
    });
    (before.count() >= usize::try_from(most).unwrap_or_default()).then_some(most)
}

/// Whether some version of it is installed.
pub(super) fn is_installed(install: &Install) -> bool {
    install.status.as_ref().is_some_and(|status| status.installed_version.is_some())
}

fn sibling(key: &ObjectKey, name: &str) -> ObjectKey {
    ObjectKey { name: name.to_owned(), ..key.clone() }
}

/// The Install of the same workspace that has the extension by now, where this one has let it go: what is stored is that one's.
pub(super) fn successor(context: &Context, key: &ObjectKey, install: &Install) -> Option<ObjectKey> {
    let resource = (key.cluster.clone(), install.spec.extension.clone());
    if context.extension_claims.holds(&resource, key) {
        return None;
    }
    let has_it = |other: &Install| {
        let flow = other.status.as_ref().and_then(|status| status.flow.as_ref());
        other.spec.extension == install.spec.extension
            && !annex_apis::is_going(other)
            && (is_installed(other) || flow.is_some_and(has_made))
    };
    let others = context.installs_of(&key.cluster).into_iter();
    others.filter(|(other, _)| other != key).find(|(_, other)| has_it(other)).map(|(other, _)| other)
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
    let tenant = catalog.tenants.named(key.cluster.as_str())?;
    let content = install.status.as_ref()?.content_hash.as_ref()?.parse().ok()?;
    identity(&tenant, &key.cluster, install, content)
}

/// Where the status says that the Install answers, and with what: for a replica that begins to lead.
pub(crate) fn routes_of_status(
    catalog: &Catalog,
    key: &ObjectKey,
    install: &Install,
) -> Vec<(HostName, InstallIdentity)> {
    let Some(tenant) = catalog.tenants.named(key.cluster.as_str()) else { return Vec::new() };
    let recorded = annex_apis::routes_of_status(install).into_iter();
    recorded
        .filter_map(|(host, content)| Some((host, identity(&tenant, &key.cluster, install, content)?)))
        .collect()
}

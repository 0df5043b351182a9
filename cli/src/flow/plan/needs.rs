//! What the extensions of the workspace need of each other. Pure.

use std::sync::Arc;

use annex_apis::{ExtensionVersion, Install, routes_of_status};
use annex_core::dependencies::{Catalog, Installed, Need, Needed, Offer, Present};
use annex_core::parse_requirement;
use kube::ResourceExt as _;

/// What a version is, and needs. None: it has something that cannot be read, which no version that was published has.
pub(super) fn installed(version: &ExtensionVersion, is_ready: bool) -> Option<Installed> {
    let spec = &version.spec;
    let needed = spec.dependencies.iter().filter_map(|dependency| {
        Some(Need {
            of: Needed::Extension(dependency.extension.parse().ok()?),
            version: parse_requirement(&dependency.version).ok()?,
            is_optional: dependency.optional,
        })
    });
    let required = spec.requires.iter().filter_map(|required| {
        Some(Need {
            of: Needed::Interface(required.interface.clone()),
            version: parse_requirement(&required.version).ok()?,
            is_optional: required.optional,
        })
    });
    let provided = spec.provides.iter();
    Some(Installed {
        needs: needed.chain(required).collect(),
        present: Present {
            extension: spec.extension.parse().ok()?,
            version: spec.version.parse().ok()?,
            provides: provided
                .filter_map(|provided| Some((provided.interface.clone(), provided.version.parse().ok()?)))
                .collect(),
            is_ready,
        },
    })
}

/// That version of an extension.
pub(super) fn published<'a>(
    versions: &'a [Arc<ExtensionVersion>],
    extension: &str,
    version: &str,
) -> Option<&'a ExtensionVersion> {
    let is_it = |one: &&Arc<ExtensionVersion>| one.spec.extension == extension && one.spec.version == version;
    versions.iter().find(is_it).map(Arc::as_ref)
}

/// The other extensions of the workspace: those that are installed, and those that are on their way.
pub(super) fn neighbours(
    own: &Install,
    all: &[Install],
    versions: &[Arc<ExtensionVersion>],
) -> Vec<Installed> {
    let is_other =
        |other: &&Install| (other.name_any(), other.namespace()) != (own.name_any(), own.namespace());
    all.iter()
        .filter(is_other)
        .filter_map(|other| {
            let status = other.status.as_ref()?;
            let there = |version: &str| published(versions, &other.spec.extension, version);
            if let Some(version) = status.installed_version.as_deref().and_then(there) {
                // Not whether it is Ready: an upgrade of it may have failed, and it goes on.
                return installed(version, !routes_of_status(other).is_empty());
            }
            let flow = status.flow.as_ref().filter(|_| other.metadata.deletion_timestamp.is_none())?;
            installed(there(flow.to.as_deref()?)?, false)
        })
        .collect()
}

/// What may be installed along: nothing that is yanked, and nothing that somebody looked at and did not find good.
pub(super) fn catalog(versions: &[Arc<ExtensionVersion>]) -> Catalog {
    let mut catalog = Catalog::new();
    let offered = versions.iter().filter(|version| !version.spec.yanked && !is_refused(version));
    for Installed { present, needs } in offered.filter_map(|version| installed(version, true)) {
        let offer = Offer { version: present.version, provides: present.provides, needs };
        catalog.entry(present.extension).or_default().push(offer);
    }
    catalog
}

/// Whether its signature was looked at and is not good. Nothing waives that.
pub(super) fn is_refused(version: &ExtensionVersion) -> bool {
    verified(version) == Some("False")
}

/// What the condition Verified says, if there is one.
pub(super) fn verified(version: &ExtensionVersion) -> Option<&str> {
    let mut conditions = version.status.iter().flat_map(|status| &status.conditions);
    conditions.find(|condition| condition.type_ == "Verified").map(|condition| condition.status.as_str())
}

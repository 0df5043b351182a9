//! What the extensions of the workspace need of each other. Pure.

use std::sync::Arc;

use annex_apis::{ExtensionVersion, Install, in_its_workspace, offered};
use annex_core::dependencies::{Catalog, Installed};
use kube::ResourceExt as _;

/// That version of an extension.
pub(super) fn published<'a>(
    versions: &'a [Arc<ExtensionVersion>],
    extension: &str,
    version: &str,
) -> Option<&'a ExtensionVersion> {
    versions.iter().find(|one| is(one, extension, version)).map(Arc::as_ref)
}

fn is(one: &ExtensionVersion, extension: &str, version: &str) -> bool {
    one.spec.extension == extension && one.spec.version == version
}

/// The other extensions of the workspace: those that are installed, and those that are on their way.
pub(super) fn neighbours(
    own: &Install,
    all: &[Install],
    versions: &[Arc<ExtensionVersion>],
) -> Vec<Installed> {
    let is_other =
        |other: &&Install| (other.name_any(), other.namespace()) != (own.name_any(), own.namespace());
    let others = all.iter().filter(is_other);
    others
        .filter_map(|other| {
            let published = |version: &str| {
                let is_it = |one: &&Arc<ExtensionVersion>| is(one, &other.spec.extension, version);
                versions.iter().find(is_it).cloned()
            };
            in_its_workspace(other, published)
        })
        .collect()
}

/// What may be installed along: nothing that is yanked, and nothing that somebody looked at and did not find good.
pub(super) fn catalog(versions: &[Arc<ExtensionVersion>]) -> Catalog {
    offered(versions.iter().filter(|version| !is_refused(version)).cloned())
}

/// Whether its signature was looked at and is not good. Nothing waives that.
pub(super) fn is_refused(version: &ExtensionVersion) -> bool {
    verified(version) == Some("False")
}

/// The same for who chooses. Whether the platform installs what nobody has signed is not known here.
pub(super) fn may_be_installed(version: &ExtensionVersion) -> Option<bool> {
    match verified(version) {
        Some("True") => Some(true),
        Some("False") => Some(false),
        _ => version.spec.signature.is_none().then_some(true),
    }
}

/// What the condition Verified says, if there is one.
pub(super) fn verified(version: &ExtensionVersion) -> Option<&str> {
    let mut conditions = version.status.iter().flat_map(|status| &status.conditions);
    conditions.find(|condition| condition.type_ == "Verified").map(|condition| condition.status.as_str())
}

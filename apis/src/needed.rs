//! Versions and Installs, as [`annex_core::dependencies`] sees them. Pure.

use annex_core::{
    dependencies::{Catalog, Installed, Need, Needed, Offer, Present},
    parse_requirement,
};

use crate::{ExtensionVersion, Install, is_going, routes_of_status};

/// What a version is, and needs. None: it has something that cannot be read, which no version that was published has.
#[must_use]
pub fn as_installed(version: &ExtensionVersion, is_ready: bool) -> Option<Installed> {
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
            is_leaving: false,
        },
    })
}

/// What an Install is to the others of its workspace: the version that is installed, or else the one that a flow is to reach. `published`
/// finds a version of its extension in the catalog. None: neither is there.
pub fn in_its_workspace<V: AsRef<ExtensionVersion>>(
    install: &Install,
    published: impl Fn(&str) -> Option<V>,
) -> Option<Installed> {
    let status = install.status.as_ref()?;
    if let Some(version) = status.installed_version.as_deref().and_then(&published) {
        // Not whether it is Ready: an upgrade of it may have failed, and it goes on.
        let answers = !is_going(install) && !routes_of_status(install).is_empty();
        let mut there = as_installed(version.as_ref(), answers)?;
        there.present.is_leaving = install.metadata.deletion_timestamp.is_some();
        return Some(there);
    }
    let flow = status.flow.as_ref().filter(|_| install.metadata.deletion_timestamp.is_none())?;
    as_installed(published(flow.to.as_deref()?)?.as_ref(), false)
}

/// What can be installed along, of these versions: none that is yanked.
pub fn offered<V: AsRef<ExtensionVersion>>(versions: impl IntoIterator<Item = V>) -> Catalog {
    let mut catalog = Catalog::new();
    for version in versions {
        let version = version.as_ref();
        if let Some(Installed { present, needs }) =
            as_installed(version, true).filter(|_| !version.spec.yanked)
        {
            let offer = Offer { version: present.version, provides: present.provides, needs };
            catalog.entry(present.extension).or_default().push(offer);
        }
    }
    catalog
}

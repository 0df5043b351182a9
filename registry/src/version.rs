//! What the catalog says of a bundle. Pure.

use annex_apis::{
    Archive, Dependency, Endpoint, Extension, ExtensionSpec, ExtensionVersion, ExtensionVersionSpec,
    Lifecycle, Limits, Module, ProvidedInterface, RequiredInterface, Signature,
};
use annex_bundle::{Manifest, Statement};
use annex_core::{ExtensionName, VersionNameError, version_object_name};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The ExtensionVersion of a bundle that was verified; `statement` and `signature` are those of the archive that is kept.
///
/// # Errors
/// Kubernetes takes no such name, which no manifest that was read has.
pub(crate) fn extension_version(
    manifest: &Manifest,
    has_sbom: bool,
    statement: &Statement,
    signature: &[u8],
) -> Result<ExtensionVersion, VersionNameError> {
    let name = version_object_name(&manifest.name, &manifest.version)?;
    let spec = ExtensionVersionSpec {
        extension: manifest.name.to_string(),
        version: manifest.version.to_string(),
        content_hash: statement.content_hash.to_string(),
        archive: Some(Archive {
            digest: statement.archive.digest.to_string(),
            size: i64::try_from(statement.archive.size).unwrap_or(i64::MAX),
        }),
        signature: Some(Signature {
            envelope: String::from_utf8_lossy(signature).into_owned(),
            certificates: None,
            signed_at: Some(Time(statement.signed_at)),
        }),
        publisher: manifest.publisher.to_string(),
        sbom: has_sbom.then(|| "sbom.json".to_owned()),
        capabilities: manifest.capabilities.iter().map(ToString::to_string).collect(),
        egress: manifest.egress.iter().map(ToString::to_string).collect(),
        endpoints: manifest
            .endpoints
            .iter()
            .map(|endpoint| Endpoint {
                method: endpoint.method.as_str().to_owned(),
                path: endpoint.path.to_string(),
                handler: endpoint.handler.to_string(),
            })
            .collect(),
        modules: manifest
            .modules
            .iter()
            .map(|module| Module {
                name: module.name.to_string(),
                version: module.version.to_string(),
                digest: module.digest.to_string(),
                deprecated: module.deprecated,
            })
            .collect(),
        dependencies: manifest
            .dependencies
            .iter()
            .map(|dependency| Dependency {
                extension: dependency.extension.to_string(),
                version: dependency.version.clone(),
                optional: dependency.optional,
            })
            .collect(),
        provides: manifest
            .provides
            .iter()
            .map(|provided| ProvidedInterface {
                interface: provided.interface.to_string(),
                version: provided.version.to_string(),
            })
            .collect(),
        requires: manifest
            .requires
            .iter()
            .map(|required| RequiredInterface {
                interface: required.interface.to_string(),
                version: required.version.clone(),
                optional: required.optional,
            })
            .collect(),
        parameters_schema: manifest.parameters_schema.clone().map(serde_json::Value::Object),
        limits: limits(manifest),
        lifecycle: lifecycle(manifest),
        deprecated: false,
        yanked: false,
    };
    Ok(ExtensionVersion::new(&name, spec))
}

fn lifecycle(manifest: &Manifest) -> Option<Lifecycle> {
    let named = &manifest.lifecycle;
    let lifecycle = Lifecycle {
        install: named.install.as_ref().map(ToString::to_string),
        upgrade: named.upgrade.as_ref().map(ToString::to_string),
        uninstall: named.uninstall.as_ref().map(ToString::to_string),
    };
    (lifecycle != Lifecycle::default()).then_some(lifecycle)
}

fn limits(manifest: &Manifest) -> Option<Limits> {
    let number = |number: Option<u32>| number.map(|number| i32::try_from(number).unwrap_or(i32::MAX));
    let limits = Limits {
        timeout_ms: number(manifest.limits.timeout_ms),
        memory_mib: number(manifest.limits.memory_mib),
        concurrency: number(manifest.limits.concurrency),
    };
    (limits != Limits::default()).then_some(limits)
}

/// The Extension that a first version brings along.
pub(crate) fn extension(manifest: &Manifest) -> Extension {
    let spec = ExtensionSpec {
        display_name: manifest.display_name.clone().unwrap_or_else(|| shortened(manifest.name.as_str(), 128)),
        publisher: manifest.publisher.to_string(),
        slug: None,
        deprecated: false,
    };
    Extension::new(manifest.name.as_str(), spec)
}

fn shortened(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// What an Extension has in host names. None: its name is none that has one.
pub(crate) fn slug(extension: &Extension) -> Option<String> {
    if let Some(slug) = &extension.spec.slug {
        return Some(slug.clone());
    }
    let name: ExtensionName = extension.metadata.name.as_deref()?.parse().ok()?;
    name.default_slug().ok().map(|slug| slug.to_string())
}

//! What kcp would hold of an extension that is installed. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use annex_apis::{ExtensionVersion, ExtensionVersionSpec, Install};
use annex_bundle::{Manifest, Unpacked};
use annex_core::version_object_name;
use anyhow::{Context as _, Result};
use kube_kcp::{ClusterName, ObjectKey};
use serde_json::{Map, Value, json};

/// The workspace, and so the tenant.
pub(crate) const WORKSPACE: &str = "dev";
/// The Install, in namespace `default`.
const NAME: &str = "dev";
/// Of the one Install that there ever is here.
const UID: &str = "00000000-0000-4000-8000-000000000000";

/// A value of a Secret that the extension may read, in a file: `NAME/KEY=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// The Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
    /// Where the value is. It is read when the extension asks.
    pub file: PathBuf,
}

impl FromStr for SecretFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (name, file) = text.split_once('=')?;
            let (name, key) = name.split_once('/')?;
            let is_word = |word: &str| {
                !word.is_empty()
                    && word
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
            };
            let whole = is_word(name) && is_word(key) && !file.is_empty();
            whole.then(|| Self { name: name.to_owned(), key: key.to_owned(), file: file.into() })
        };
        read().ok_or_else(|| "a secret is NAME/KEY=FILE, such as smtp/password=password.txt".to_owned())
    }
}

/// What the author says of the Install.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wishes {
    pub(crate) denied: Vec<String>,
    pub(crate) parameters: Map<String, Value>,
    pub(crate) secrets: Vec<SecretFile>,
}

pub(crate) fn workspace() -> Result<ClusterName> {
    WORKSPACE.parse().context("the workspace's name")
}

pub(crate) fn key() -> Result<ObjectKey> {
    Ok(ObjectKey { cluster: workspace()?, namespace: "default".into(), name: NAME.into() })
}

/// The capabilities that are granted, in the manifest's order.
pub(crate) fn granted(manifest: &Manifest, denied: &[String]) -> Vec<String> {
    let names = manifest.capabilities.iter().map(ToString::to_string);
    names.filter(|name| !denied.contains(name)).collect()
}

/// The version as the catalog would have it.
pub(crate) fn version(unpacked: &Unpacked) -> Result<ExtensionVersion> {
    let manifest = &unpacked.manifest;
    let name = version_object_name(&manifest.name, &manifest.version)?;
    // Manifest and catalog have the same fields, but for these.
    let mut spec = serde_json::to_value(manifest)?;
    let fields = spec.as_object_mut().context("a manifest is an object")?;
    fields.insert("extension".to_owned(), manifest.name.to_string().into());
    fields.insert("contentHash".to_owned(), unpacked.content_hash.to_string().into());
    let spec: ExtensionVersionSpec =
        serde_json::from_value(spec).context("the manifest in the catalog's form")?;
    Ok(ExtensionVersion::new(&name, spec))
}

/// An Install that answers on `hosts`, and whose endpoints everybody may call.
pub(crate) fn install(unpacked: &Unpacked, wishes: &Wishes, hosts: &[String]) -> Result<Install> {
    let manifest = &unpacked.manifest;
    let content = unpacked.content_hash.to_string();
    let public: Vec<_> = manifest
        .endpoints
        .iter()
        .map(|endpoint| format!("{} {}", endpoint.method.as_str(), endpoint.path))
        .collect();
    let secrets: BTreeMap<&str, Value> =
        wishes.secrets.iter().map(|secret| (secret.name.as_str(), json!({ "name": secret.name }))).collect();
    let routes: Vec<_> = hosts.iter().map(|host| json!({ "host": host, "contentHash": content })).collect();
    let install = json!({
        "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
        "metadata": { "name": NAME, "namespace": "default", "uid": UID },
        "spec": {
            "extension": manifest.name.as_str(),
            "parameters": wishes.parameters,
            "secrets": secrets.into_values().collect::<Vec<_>>(),
            "grantedCapabilities": granted(manifest, &wishes.denied),
            "public": public,
        },
        "status": {
            "installedVersion": manifest.version.to_string(), "contentHash": content, "host": hosts.first(),
            "runnerRef": { "mode": "direct" }, "routes": routes,
        },
    });
    serde_json::from_value(install).context("the Install that is made up")
}

#[cfg(test)]
mod tests {
    use annex_apis::routes_of_status;
    use annex_bundle::{Limits, pack_files};

    use super::*;

    fn unpacked() -> Unpacked {
        let manifest = json!({
            "name": "com.example.notes", "publisher": "example.com", "version": "1.2.3",
            "capabilities": ["storage.kv", "log"], "egress": ["api.example.com"],
            "endpoints": [{ "method": "GET", "path": "/notes/{id}", "handler": "one" }],
            "limits": { "timeoutMs": 5000, "memoryMiB": 32 },
        });
        let files = [
            ("manifest.json", manifest.to_string().into_bytes()),
            ("main.wasm", b"\0asm\x0d\0\x01\0".to_vec()),
        ];
        let files = files.iter().map(|(path, bytes)| (*path, &bytes[..]));
        pack_files(files, &Limits::default(), std::io::sink()).unwrap()
    }

    #[test]
    fn the_catalog_has_what_the_manifest_says() {
        let version = version(&unpacked()).unwrap();
        assert_eq!(version.metadata.name.as_deref(), Some("com.example.notes-1.2.3"));
        let spec = version.spec;
        assert_eq!(
            (spec.capabilities, spec.egress),
            (vec!["storage.kv".into(), "log".into()], vec!["api.example.com".to_owned()])
        );
        assert_eq!(spec.endpoints[0].path, "/notes/{id}");
        let limits = spec.limits.unwrap();
        assert_eq!((limits.timeout_ms, limits.memory_mib), (Some(5000), Some(32)));
    }

    #[test]
    fn the_install_grants_all_that_is_not_denied_and_every_endpoint_is_public() {
        let wishes = Wishes {
            denied: vec!["log".into()],
            parameters: Map::from_iter([("colour".to_owned(), "blue".into())]),
            secrets: vec!["smtp/user=u".parse().unwrap(), "smtp/password=p".parse().unwrap()],
        };
        let install = install(&unpacked(), &wishes, &["localhost".into(), "notes.localhost".into()]).unwrap();
        assert_eq!(install.spec.granted_capabilities, Some(vec!["storage.kv".to_owned()]));
        assert_eq!(install.spec.public, ["GET /notes/{id}"]);
        assert_eq!(install.spec.secrets.len(), 1);
        assert_eq!(install.spec.parameters["colour"], "blue");
        assert_eq!(routes_of_status(&install).len(), 2);
    }

    #[test]
    fn a_secret_is_name_key_and_file() {
        let secret: SecretFile = "smtp/password=a=b".parse().unwrap();
        assert_eq!(
            (secret.name.as_str(), secret.key.as_str(), secret.file.to_str()),
            ("smtp", "password", Some("a=b"))
        );
        for wrong in ["", "smtp", "smtp=f", "smtp/=f", "/k=f", "smtp/k=", "s m/k=f", "s/k/l=f"] {
            assert!(wrong.parse::<SecretFile>().is_err(), "{wrong}");
        }
    }
}

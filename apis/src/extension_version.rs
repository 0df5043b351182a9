use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::install::free_form_object;

/// One published version of an extension. Its name is `<extension>-<version>`, with `+` written as `-`. What was
/// published never changes; only `deprecated` and `yanked` do.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[kube(
    group = "annex.sh",
    version = "v1alpha1",
    kind = "ExtensionVersion",
    status = "ExtensionVersionStatus",
    derive = "PartialEq",
    shortname = "extver",
    category = "annex",
    printcolumn(name = "Extension", type_ = "string", json_path = ".spec.extension"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(name = "Verified", type_ = "string", json_path = r#".status.conditions[?(@.type=="Verified")].status"#),
    printcolumn(name = "Yanked", type_ = "boolean", json_path = ".spec.yanked"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name == self.spec.extension + '-' + self.spec.version.replace('+', '-')").message("an ExtensionVersion's name must be <spec.extension>-<spec.version>, with + written as -")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.extension == oldSelf.extension && self.version == oldSelf.version && self.contentHash == oldSelf.contentHash").message("extension, version and contentHash cannot change: publish another version")
)]
pub struct ExtensionVersionSpec {
    /// The Extension's name.
    #[schemars(length(min = 3, max = 200))]
    pub extension: String,
    /// The version, by semver 2.0.
    #[schemars(
        length(min = 5, max = 50),
        regex(
            pattern = r"^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})(-[0-9a-z.-]+)?(\+[0-9a-z.-]+)?$"
        )
    )]
    pub version: String,
    /// SHA-256 over the bundle's canonical listing: `sha256:` and 64 hex digits.
    #[schemars(length(max = 71), regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub content_hash: String,
    /// The archive as it was uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Archive>,
    /// The detached signature that it was published with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Who published it.
    #[schemars(length(min = 1, max = 253))]
    pub publisher: String,
    /// Where its software bill of materials is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub sbom: Option<String>,
    /// The host capabilities that it asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub capabilities: Vec<String>,
    /// The hosts that it asks to reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub egress: Vec<String>,
    /// What can be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub endpoints: Vec<Endpoint>,
    /// Its parts, each upgraded by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub modules: Vec<Module>,
    /// What it needs in the same workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["extension".into()]))]
    pub dependencies: Vec<Dependency>,
    /// The interfaces that it has for the other extensions of the workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["interface".into()]))]
    pub provides: Vec<ProvidedInterface>,
    /// The interfaces that it needs in the same workspace, whichever extension provides them. One that it provides itself, in a version
    /// that will do, is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["interface".into()]))]
    pub requires: Vec<RequiredInterface>,
    /// The handlers that are called when it is installed, upgraded and uninstalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// The JSON Schema that an Install's parameters must satisfy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form_object")]
    pub parameters_schema: Option<serde_json::Value>,
    /// What one call may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// True: still installable, but it should not be chosen any more.
    #[serde(default)]
    pub deprecated: bool,
    /// True: no new install chooses it; where it is installed it stays.
    #[serde(default)]
    pub yanked: bool,
}

/// The uploaded archive.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct Archive {
    /// SHA-256 of its bytes: `sha256:` and 64 hex digits.
    #[schemars(length(max = 71), regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// Its size in bytes.
    #[schemars(range(min = 0))]
    pub size: i64,
}

/// A detached DSSE signature.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signature {
    /// The DSSE envelope, as JSON text.
    #[schemars(length(max = 65536))]
    pub envelope: String,
    /// The leaf certificate and its intermediates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub certificates: Option<String>,
    /// When it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<Time>,
}

/// A call that the extension answers.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct Endpoint {
    /// The HTTP method.
    #[schemars(length(min = 1, max = 16))]
    pub method: String,
    /// The path, from `/`.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// The handler in the component.
    #[schemars(length(min = 1, max = 253))]
    pub handler: String,
}

/// A part of an extension.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct Module {
    /// Its name in the extension.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its version.
    #[schemars(length(min = 5, max = 64))]
    pub version: String,
    /// Its digest: the same digest is the same module.
    #[schemars(length(max = 71), regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// True: disabled last in an upgrade, without being called.
    #[serde(default)]
    pub deprecated: bool,
}

/// Another extension that must be installed in the workspace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct Dependency {
    /// The other extension.
    #[schemars(length(min = 3, max = 200))]
    pub extension: String,
    /// The versions that will do, as a semver requirement.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// True: only checked where it is installed.
    #[serde(default)]
    pub optional: bool,
}

/// An interface that an extension has for others.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct ProvidedInterface {
    /// Its name.
    #[schemars(length(min = 1, max = 64))]
    pub interface: String,
    /// The version of the interface, which is not the extension's.
    #[schemars(length(min = 5, max = 64))]
    pub version: String,
}

/// An interface that some extension of the workspace must provide.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct RequiredInterface {
    /// Its name.
    #[schemars(length(min = 1, max = 64))]
    pub interface: String,
    /// The versions of the interface that will do, as a semver requirement.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// True: only checked where somebody provides it.
    #[serde(default)]
    pub optional: bool,
}

/// The handlers of an extension's own life. Annex alone calls them, each once for every module that changes by its digest, in the order of
/// the list; an extension without modules is one, `main`. docs/guest-guide.md says what they are told, and what their answers mean.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct Lifecycle {
    /// Called when a module is there that was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub install: Option<String>,
    /// Called when a module is there in another version; also on the way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub upgrade: Option<String>,
    /// Called when a module goes with its extension, or with a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub uninstall: Option<String>,
}

/// What one call may use.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Milliseconds until a call is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub timeout_ms: Option<i32>,
    /// Memory of a call, in MiB.
    #[serde(default, rename = "memoryMiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub memory_mib: Option<i32>,
    /// Calls at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub concurrency: Option<i32>,
}

/// What the registry found. Only Annex writes it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionVersionStatus {
    /// The `metadata.generation` that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Verified`: whether a trusted publisher signed the bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

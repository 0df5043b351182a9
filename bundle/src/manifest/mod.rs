//! What an extension says of itself: `manifest.json`.

mod endpoint;
mod read;
mod schema;
mod words;

use annex_core::{ContentHash, ExtensionName};
use schemars::JsonSchema;
use semver::Version;
use serde::Serialize;

pub use endpoint::{EndpointPath, EndpointPathError, Method};
pub use schema::manifest_schema;
pub use words::{Capability, EgressRule, EgressRuleError, Handler, InterfaceName, ModuleName, WordError};

use crate::path::BundlePath;
use crate::publisher::Publisher;

/// The largest manifest. What the catalog keeps of it must fit into an object of Kubernetes.
pub const MAX_MANIFEST: usize = 256 << 10;

/// The manifest of a bundle, `manifest.json`. Unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// The name of the extension: reverse DNS, lower case, such as com.example.hello.
    #[schemars(
        with = "String",
        length(min = 3, max = 200),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$")
    )]
    pub name: ExtensionName,
    /// Who publishes it; whoever signs must be trusted to speak for them.
    pub publisher: Publisher,
    /// The version, by semver 2.0, in lower case.
    #[schemars(
        with = "String",
        length(min = 5, max = 50),
        regex(
            pattern = r"^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})(-[0-9a-z.-]+)?(\+[0-9a-z.-]+)?$"
        )
    )]
    pub version: Version,
    /// The name that people see. Absent: that of the extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub display_name: Option<String>,
    /// The host capabilities that it asks for, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("uniqueItems" = true))]
    pub capabilities: Vec<Capability>,
    /// The hosts that it asks to reach, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("uniqueItems" = true))]
    pub egress: Vec<EgressRule>,
    /// What can be called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub endpoints: Vec<Endpoint>,
    /// Its pages. Absent: it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ui: Option<Ui>,
    /// Its parts, each upgraded by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub modules: Vec<Module>,
    /// The extensions that it needs in the same workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub dependencies: Vec<Dependency>,
    /// The interfaces that it has for the other extensions of the workspace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub provides: Vec<ProvidedInterface>,
    /// The interfaces that it needs in the same workspace, whichever extension provides them. One that it provides itself, in a version
    /// that will do, is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub requires: Vec<RequiredInterface>,
    /// What is called when it is installed, upgraded and uninstalled.
    #[serde(default, skip_serializing_if = "Lifecycle::is_empty")]
    pub lifecycle: Lifecycle,
    /// What one call may use.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// The JSON Schema that an Install's parameters must satisfy. It refers to nothing outside itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters_schema: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A call that the extension answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Endpoint {
    /// The HTTP method.
    pub method: Method,
    /// The path. Two endpoints of a method differ in more than the names of parameters. What begins with /.annex/ is Annex's.
    pub path: EndpointPath,
    /// The handler in the component.
    pub handler: Handler,
}

/// The pages of an extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Ui {
    /// The page that is opened first, by its path in the bundle.
    #[schemars(with = "String", length(max = 255), regex(pattern = "^ui/.+$"))]
    pub entry: BundlePath,
}

/// A part of an extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Module {
    /// Its name, once in the extension.
    pub name: ModuleName,
    /// Its version, by semver 2.0.
    #[schemars(with = "String", length(min = 5, max = 64))]
    pub version: Version,
    /// Its digest: the same digest is the same module.
    #[schemars(with = "String", length(max = 71), regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: ContentHash,
    /// True: disabled last in an upgrade, without being called.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deprecated: bool,
}

/// Another extension that must be installed in the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Dependency {
    /// The other extension, once in the list.
    #[schemars(with = "String", length(min = 3, max = 200))]
    pub extension: ExtensionName,
    /// The versions that will do, as a semver requirement.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// True: only checked where it is installed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

/// An interface that an extension has for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProvidedInterface {
    /// Its name, once in the list.
    pub interface: InterfaceName,
    /// The version of the interface and not of the extension, by semver 2.0.
    #[schemars(with = "String", length(min = 5, max = 64))]
    pub version: Version,
}

/// An interface that some extension of the workspace must provide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RequiredInterface {
    /// Its name, once in the list.
    pub interface: InterfaceName,
    /// The versions of the interface that will do, as a semver requirement.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// True: only checked where somebody provides it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

/// The handlers of an extension's own life. Annex calls them itself and lets nobody else call them: before an install or an upgrade is
/// published, and before an uninstall, once for each module that changed (by digest), in the order of the manifest; on the way back and at an
/// uninstall in reverse. An extension that names no modules is one module, `main`. What is not named is not called.
///
/// The call is `POST /.annex/lifecycle/<handler>`, the handler percent-encoded as one segment, with
/// `{"action":"install|upgrade|uninstall","module":"notes","from":"1.0.0"|null,"to":"1.1.0"|null,"purge":false}`. 2xx is success; anything else is
/// tried again as often as the Install says, but a status 4xx other than 408, 425 and 429 is not. Then the flow fails and is rolled back, by
/// the handlers of the new version: `upgrade` with `from` and `to` exchanged, `uninstall` for what was not there before. After a crash a
/// handler may be called twice with the same body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Lifecycle {
    /// Called when a module is there that was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install: Option<Handler>,
    /// Called when a module is there in another version; also on the way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Handler>,
    /// Called when a module goes with its extension, or with a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uninstall: Option<Handler>,
}

/// What one call may use. Absent: what the platform gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Milliseconds until a call is ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 3_600_000))]
    pub timeout_ms: Option<u32>,
    /// Memory of a call, in MiB.
    #[serde(rename = "memoryMiB", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 4096))]
    pub memory_mib: Option<u32>,
    /// Calls at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<i64>", range(min = 1, max = 10_000))]
    pub concurrency: Option<u32>,
}

impl Lifecycle {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Limits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

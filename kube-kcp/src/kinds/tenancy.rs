use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{Condition, LogicalClusterPhase};

/// A workspace, as its parent sees it.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default)]
#[kube(
    group = "tenancy.kcp.io",
    version = "v1alpha1",
    kind = "Workspace",
    status = "WorkspaceStatus",
    schema = "disabled"
)]
pub struct WorkspaceSpec {
    /// What kind of workspace it is; kcp fills in the parent's default.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<WorkspaceTypeReference>,
    /// The logical cluster's name, once it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Where it is served.
    #[serde(default, rename = "URL", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Names a [`WorkspaceType`].
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceTypeReference {
    /// The type's name.
    pub name: String,
    /// The path of the workspace that holds the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The state of a [`Workspace`].
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub struct WorkspaceStatus {
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<LogicalClusterPhase>,
    /// kcp's conditions.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A kind of workspace.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default)]
#[kube(
    group = "tenancy.kcp.io",
    version = "v1alpha1",
    kind = "WorkspaceType",
    status = "WorkspaceTypeStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceTypeSpec {
    /// Whether workspaces of this type wait for an initializer named after it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub initializer: bool,
    /// The types that this one adds to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extend: Option<WorkspaceTypeExtension>,
    /// Exports bound in each new workspace, every claim accepted with matchAll.
    #[serde(default, rename = "defaultAPIBindings", skip_serializing_if = "Vec::is_empty")]
    pub default_api_bindings: Vec<DefaultAPIBinding>,
}

/// An export that new workspaces bind.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultAPIBinding {
    /// The path of the export's workspace.
    #[serde(default)]
    pub path: String,
    /// The export's name.
    pub export: String,
}

/// The types that a type adds to.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceTypeExtension {
    /// Their names.
    #[serde(default)]
    pub with: Vec<WorkspaceTypeReference>,
}

/// The state of a [`WorkspaceType`].
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceTypeStatus {
    /// Where the shards serve the workspaces under initialization or termination, in no order.
    #[serde(default)]
    pub virtual_workspaces: Vec<VirtualWorkspace>,
}

/// One shard's endpoint for a type.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct VirtualWorkspace {
    /// What it shows.
    #[serde(rename = "type")]
    pub type_: VirtualWorkspaceType,
    /// Its base, without `/clusters/…`.
    pub url: String,
}

/// What a type's virtual workspace shows.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum VirtualWorkspaceType {
    /// Workspaces that the type's initializer has not finished.
    Initializing,
    /// Workspaces that the type's terminator has not finished.
    Terminating,
    /// One that this release does not know.
    #[serde(other)]
    Other,
}

//! kcp's own kinds, as far as a controller needs them. Fields that are not named here are dropped on reading: write these
//! objects by patch or by create, not by replace.

mod apis;
mod core;
mod tenancy;

pub use apis::{
    APIBinding, APIBindingSpec, APIBindingStatus, APIExport, APIExportEndpointSlice,
    APIExportEndpointSliceSpec, APIExportEndpointSliceStatus, APIExportReference, APIExportSpec,
    APIExportStatus, APIResourceSchema, APIResourceSchemaSpec, APIResourceVersion, AcceptablePermissionClaim,
    BindingPhase, BindingReference, ClaimSelector, ClaimState, CrdStorage, Endpoint, ExportReference,
    LocalPolicy, MaximalPermissionPolicy, PermissionClaim, ResourceSchema, Storage,
};
pub use core::{LogicalCluster, LogicalClusterPhase, LogicalClusterSpec, LogicalClusterStatus};
pub use tenancy::{
    DefaultAPIBinding, VirtualWorkspace, VirtualWorkspaceType, Workspace, WorkspaceSpec, WorkspaceStatus,
    WorkspaceType, WorkspaceTypeExtension, WorkspaceTypeReference, WorkspaceTypeSpec, WorkspaceTypeStatus,
};

use serde::{Deserialize, Serialize};

/// A condition in kcp's older form: reason and message may be absent, and there is no `observedGeneration`.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// `Error`, `Warning` or `Info`; only on conditions that are not true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Why, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

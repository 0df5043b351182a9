use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinitionNames, CustomResourceSubresources,
};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::Condition;

/// An immutable schema of one resource. A changed schema is a new object; see [`crate::resource_schema`].
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug)]
#[kube(group = "apis.kcp.io", version = "v1alpha1", kind = "APIResourceSchema", schema = "disabled")]
pub struct APIResourceSchemaSpec {
    /// The API group.
    pub group: String,
    /// Kind, plural and the rest.
    pub names: CustomResourceDefinitionNames,
    /// `Namespaced` or `Cluster`.
    pub scope: String,
    /// The versions, each with its schema.
    pub versions: Vec<APIResourceVersion>,
}

/// One version of an [`APIResourceSchema`].
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct APIResourceVersion {
    /// Such as `v1alpha1`.
    pub name: String,
    /// Whether the API server answers for it.
    pub served: bool,
    /// Whether objects are stored in it.
    pub storage: bool,
    /// The OpenAPI v3 schema itself (a CustomResourceDefinition has it one level deeper).
    pub schema: serde_json::Value,
    /// `status`, `scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subresources: Option<CustomResourceSubresources>,
    /// What `kubectl get` shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_printer_columns: Vec<CustomResourceColumnDefinition>,
}

/// What a provider offers.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default)]
#[kube(
    group = "apis.kcp.io",
    version = "v1alpha2",
    kind = "APIExport",
    status = "APIExportStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct APIExportSpec {
    /// The resources offered.
    #[serde(default)]
    pub resources: Vec<ResourceSchema>,
    /// What the provider asks to see and to write in the workspaces that bind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permission_claims: Vec<PermissionClaim>,
    /// The most that a workspace's own RBAC can allow on the resources. Without it, a workspace's owner may write
    /// everything, status included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximal_permission_policy: Option<MaximalPermissionPolicy>,
}

/// One resource of an [`APIExport`].
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ResourceSchema {
    /// The plural name.
    pub name: String,
    /// The API group.
    pub group: String,
    /// The name of the [`APIResourceSchema`].
    pub schema: String,
    /// Where objects are kept.
    pub storage: Storage,
}

/// Where a resource's objects are kept.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// In the workspace, as of a CustomResourceDefinition.
    pub crd: CrdStorage,
}

/// Has no settings.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct CrdStorage {}

/// A limit on the RBAC of the workspaces that bind.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct MaximalPermissionPolicy {
    /// The limit is RBAC in the provider's workspace, for users and groups prefixed `apis.kcp.io:binding:`.
    pub local: LocalPolicy,
}

/// Has no settings.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalPolicy {}

/// The state of an [`APIExport`].
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct APIExportStatus {
    /// The hash that claims of other exports name this one by.
    #[serde(default)]
    pub identity_hash: String,
    /// kcp's conditions.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A resource that is not the export's own and that it asks for.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PermissionClaim {
    /// The API group; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// The plural name.
    pub resource: String,
    /// The verbs asked for.
    pub verbs: Vec<String>,
    /// The identity of the export that the resource comes from; empty for Kubernetes' own. Always written: kcp fills in the
    /// empty one, and an apply would find a difference each time.
    #[serde(default)]
    pub identity_hash: String,
}

/// A [`PermissionClaim`] with the answer of the workspace.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct AcceptablePermissionClaim {
    /// What was asked.
    #[serde(flatten)]
    pub claim: PermissionClaim,
    /// Which objects the answer is about.
    #[serde(default)]
    pub selector: ClaimSelector,
    /// The answer.
    pub state: ClaimState,
}

/// Which objects a claim covers.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClaimSelector {
    /// All of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub match_all: bool,
    /// Those that carry these labels. What the provider writes gets them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Selected by expressions; kept as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<serde_json::Value>,
}

/// The workspace's answer to a claim.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// Granted.
    Accepted,
    /// Refused.
    Rejected,
}

/// A workspace's use of an [`APIExport`].
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default)]
#[kube(
    group = "apis.kcp.io",
    version = "v1alpha2",
    kind = "APIBinding",
    status = "APIBindingStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct APIBindingSpec {
    /// What is bound.
    pub reference: BindingReference,
    /// The answers to the export's claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permission_claims: Vec<AcceptablePermissionClaim>,
}

/// What an [`APIBinding`] binds.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct BindingReference {
    /// The export.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<ExportReference>,
}

/// Names an export by its workspace's path.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportReference {
    /// The workspace's path, or its logical cluster's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The export's name.
    pub name: String,
}

/// The state of an [`APIBinding`].
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct APIBindingStatus {
    /// How far the binding is; absent until kcp has looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BindingPhase>,
    /// The logical cluster that the export lives in: unlike the reference's path, it cannot be moved to another export.
    #[serde(default)]
    pub api_export_cluster_name: String,
    /// kcp's conditions.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// How far an [`APIBinding`] is.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingPhase {
    /// kcp is at work.
    Binding,
    /// The API is served.
    Bound,
}

/// Where a shard serves an export; kcp makes one named like the export.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default)]
#[kube(
    group = "apis.kcp.io",
    version = "v1alpha1",
    kind = "APIExportEndpointSlice",
    status = "APIExportEndpointSliceStatus",
    schema = "disabled"
)]
pub struct APIExportEndpointSliceSpec {
    /// The export.
    #[serde(rename = "export")]
    pub export: APIExportReference,
}

/// Names an export.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct APIExportReference {
    /// The workspace's path.
    #[serde(default)]
    pub path: String,
    /// The export's name.
    pub name: String,
}

/// The endpoints of an export.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub struct APIExportEndpointSliceStatus {
    /// One per shard that holds at least one binding; empty is normal.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// One shard's endpoint.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The base of the virtual workspace, without `/clusters/…`.
    pub url: String,
}

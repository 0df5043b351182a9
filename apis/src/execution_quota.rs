use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::QuotaDefaults;

/// The name of the one [`ExecutionQuota`] of a workspace.
pub const QUOTA_NAME: &str = "default";

/// How much this workspace's extensions may use. Written by the platform; the workspace can only read it.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[kube(
    group = "annex.sh",
    version = "v1alpha1",
    kind = "ExecutionQuota",
    status = "ExecutionQuotaStatus",
    derive = "PartialEq",
    category = "annex",
    printcolumn(name = "Installs", type_ = "integer", json_path = ".spec.limits.installs"),
    printcolumn(
        name = "Requests per minute",
        type_ = "integer",
        json_path = ".spec.limits.requestsPerMinute"
    ),
    printcolumn(name = "Concurrency", type_ = "integer", json_path = ".spec.limits.concurrency"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
pub struct ExecutionQuotaSpec {
    /// The limits in force.
    #[serde(default)]
    pub limits: QuotaDefaults,
}

/// What was used.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionQuotaStatus {
    /// Requests in the present minute.
    #[serde(default)]
    pub requests: i64,
    /// Bytes in the key-value storage.
    #[serde(default)]
    pub storage_bytes: i64,
    /// When this was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,
}

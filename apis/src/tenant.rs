use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What the platform knows of a workspace that uses Annex. Its name is the workspace's logical cluster name; the
/// controller makes it when it is missing. Identity lives here because a workspace's owner can edit everything that is in
/// the workspace itself.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[kube(
    group = "annex.sh",
    version = "v1alpha1",
    kind = "Tenant",
    status = "TenantStatus",
    derive = "PartialEq",
    derive = "Default",
    category = "annex",
    printcolumn(name = "Id", type_ = "string", json_path = ".spec.id"),
    printcolumn(name = "Slug", type_ = "string", json_path = ".spec.slug"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspended"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct TenantSpec {
    /// What the outside knows the tenant by. Absent: the logical cluster's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub id: Option<String>,
    /// The tenant's part of host names. Absent: made from `id`. Give one to resolve a DomainConflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 12), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    #[x_kube(validation = Rule::new("self != 'xn'").message("spec.slug cannot be xn: browsers read xn-- as another alphabet"))]
    pub slug: Option<String>,
    /// True: none of the tenant's extensions answers, and none is installed.
    #[serde(default)]
    pub suspended: bool,
    /// The extensions that the tenant may install. Absent: every one in the catalog. What is installed already goes on
    /// answering, but is neither changed nor installed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allowed_extensions: Option<Vec<String>>,
    /// The limits that the workspace's ExecutionQuota gets.
    #[serde(default)]
    pub quota: QuotaDefaults,
}

/// What the controller noted of it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
pub struct TenantStatus {
    /// What Installs left behind because somebody did not want to wait for it any longer, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub abandoned: Vec<Abandoned>,
}

/// What an Install left behind that is gone.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Abandoned {
    /// What is left: `compute`, `storage` or `handlers`.
    #[schemars(length(max = 32))]
    pub what: String,
    /// The extension.
    #[schemars(length(max = 200))]
    pub extension: String,
    /// The uid of the Install.
    #[schemars(length(max = 64))]
    pub install: String,
    /// Where it is, and what it was waited for.
    #[schemars(length(max = 512))]
    pub message: String,
    /// When it was given up.
    pub at: Time,
}

/// Limits for all extensions of a workspace together. An absent one is the platform's default.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaDefaults {
    /// How many Installs there may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub installs: Option<i32>,
    /// Requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub requests_per_minute: Option<i32>,
    /// Requests at one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub concurrency: Option<i32>,
    /// Memory of one call, in MiB.
    #[serde(default, rename = "memoryMiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub memory_mib: Option<i32>,
    /// Key-value storage, in MiB.
    #[serde(default, rename = "storageMiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub storage_mib: Option<i32>,
}

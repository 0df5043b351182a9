use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::NameReference;

/// The type of a Secret that holds a kubeconfig for a [`ManagedEnvironment`].
pub const MANAGED_ENVIRONMENT_SECRET_TYPE: &str = "annex.sh/managed-environment";
/// The key of such a Secret.
pub const KUBECONFIG_KEY: &str = "kubeconfig";

/// A place that a kubeconfig opens, and where installs may run: the seeded one, `workspace`, is this workspace itself;
/// others are the tenant's own clusters.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[kube(
    group = "annex.sh",
    version = "v1alpha1",
    kind = "ManagedEnvironment",
    namespaced,
    status = "ManagedEnvironmentStatus",
    derive = "PartialEq",
    shortname = "menv",
    category = "annex",
    printcolumn(name = "API URL", type_ = "string", json_path = ".spec.apiURL"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ManagedEnvironmentSpec {
    /// The API server, an https URL without query. The kubeconfig must hold a cluster with exactly this server.
    #[serde(rename = "apiURL")]
    #[schemars(length(min = 9, max = 2048))]
    #[x_kube(validation = Rule::new("self.startsWith('https://')").message("spec.apiURL must begin with https://"),
             validation = Rule::new("!self.contains('?') && !self.contains('#') && !self.contains('@')").message("spec.apiURL must have no query, fragment or user information"))]
    pub api_url: String,
    /// A Secret in this namespace, of type `annex.sh/managed-environment`, labelled `annex.sh/managed=true`, whose key
    /// `kubeconfig` opens the API server.
    pub credentials_secret_ref: NameReference,
    /// The context of the kubeconfig to use. Absent: its current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub context_name: Option<String>,
    /// The namespaces there that may be used. Absent: every one that the credentials allow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Vec<String>,
    /// Whether objects without a namespace may be written there.
    #[serde(default)]
    pub cluster_resources: bool,
    /// True: a kubeconfig may say `insecure-skip-tls-verify`, and then the server's certificate is not checked. Refused unless the
    /// platform allows it.
    #[serde(default, rename = "allowInsecureSkipTLSVerify")]
    pub allow_insecure_skip_tls_verify: bool,
}

/// Whether the environment can be used. Only Annex writes it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedEnvironmentStatus {
    /// The `metadata.generation` that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state of the environment. `Ready`: the credentials open the API server, asked for the namespaces. `KnativeAvailable`:
    /// it serves `serving.knative.dev/v1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// An entry of the platform's catalog. Its name is a reverse DNS name such as `com.example.notes`.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[kube(
    group = "annex.sh",
    version = "v1alpha1",
    kind = "Extension",
    derive = "PartialEq",
    category = "annex",
    printcolumn(name = "Display name", type_ = "string", json_path = ".spec.displayName"),
    printcolumn(name = "Publisher", type_ = "string", json_path = ".spec.publisher"),
    printcolumn(name = "Deprecated", type_ = "boolean", json_path = ".spec.deprecated"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)+$')").message("an Extension's name must be a reverse DNS name such as com.example.notes"),
    validation = Rule::new("size(self.metadata.name) <= 200").message("an Extension's name has at most 200 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.slug) || (has(self.slug) && self.slug == oldSelf.slug)").message("spec.slug cannot change: host names are made from it"))]
pub struct ExtensionSpec {
    /// The name that people see.
    #[schemars(length(min = 1, max = 128))]
    pub display_name: String,
    /// Who signs its versions.
    #[schemars(length(min = 1, max = 253))]
    pub publisher: String,
    /// The extension's part of host names, unique in the catalog. Absent: made from the last label of the name; one can
    /// be given later, where two extensions meet in that. It cannot be changed any more then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 12), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub slug: Option<String>,
    /// True: still installable, but it should not be chosen any more.
    #[serde(default)]
    pub deprecated: bool,
}

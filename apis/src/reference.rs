use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Names one object in the namespace of the object that holds this reference.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct NameReference {
    /// The object's `metadata.name`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Names one key of a Secret in the namespace of the object that holds this reference.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct KeyReference {
    /// The Secret's `metadata.name`. The Secret must carry the label `annex.sh/managed=true`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in the Secret's `data`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

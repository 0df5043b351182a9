use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::Condition;

/// A workspace's own object, inside it, always named `cluster`.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default)]
#[kube(
    group = "core.kcp.io",
    version = "v1alpha1",
    kind = "LogicalCluster",
    status = "LogicalClusterStatus",
    schema = "disabled"
)]
#[serde(rename_all = "camelCase")]
pub struct LogicalClusterSpec {
    /// Whether the object may be deleted by hand.
    #[serde(default)]
    pub directly_deletable: bool,
    /// The initializers that the workspace was created with.
    #[serde(default)]
    pub initializers: Vec<String>,
}

/// The state of a [`LogicalCluster`].
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct LogicalClusterStatus {
    /// How far the workspace is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<LogicalClusterPhase>,
    /// The initializers that have not finished.
    #[serde(default)]
    pub initializers: Vec<String>,
    /// kcp's conditions.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// How far a workspace is. Phases of newer releases read as `Other`.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogicalClusterPhase {
    /// A shard is sought.
    Scheduling,
    /// Initializers are at work.
    Initializing,
    /// It can be used.
    Ready,
    /// It is not reachable for the moment.
    Unavailable,
    /// Terminators are at work.
    Terminating,
    /// It is being deleted.
    Deleting,
    /// A phase that this release does not know.
    #[serde(other)]
    Other,
}

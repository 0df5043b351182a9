use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{KeyReference, NameReference};

/// An extension that this workspace wants to have, and what became of it.
///
/// There can be one Install of an extension in a workspace; a second one gets the reason `AlreadyInstalled`. Its id, which
/// the outside knows it by, is `metadata.uid`.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[kube(
    group = "annex.sh",
    version = "v1alpha1",
    kind = "Install",
    namespaced,
    status = "InstallStatus",
    derive = "Default",
    derive = "PartialEq",
    category = "annex",
    printcolumn(name = "Extension", type_ = "string", json_path = ".spec.extension"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.installedVersion"),
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
    printcolumn(name = "Host", type_ = "string", json_path = ".status.host"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.extension == oldSelf.extension").message("spec.extension cannot change: delete this Install and apply one for the other extension").field_path(".extension")
)]
pub struct InstallSpec {
    /// The extension to install: the name of an Extension in the platform's catalog, a reverse DNS name such as
    /// `com.example.notes`. It cannot be changed later.
    #[schemars(length(min = 3, max = 200))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)+$')").message("spec.extension must be a reverse DNS name such as com.example.notes"))]
    pub extension: String,
    /// Which versions are acceptable, as a semver requirement: `1.2.3` (compatible with it), `=1.2.3` (exactly it),
    /// `~1.2`, `>=1.0, <2.0`, or `*` for any release.
    #[serde(default = "any_version")]
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// Manual: the installed version stays until `version` changes. Automatic: follows the catalog inside `version`.
    #[serde(default)]
    pub upgrade_policy: UpgradePolicy,
    /// The ManagedEnvironment in this namespace to run in. Absent: the platform's compute cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_ref: Option<NameReference>,
    /// Parameters for the extension, checked against the version's `parametersSchema`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "free_form_object")]
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// More parameters, each a JSON object in a key of a labelled Secret; later entries win, and all win over `parameters`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub parameters_from: Vec<KeyReference>,
    /// Secrets in this namespace that the extension may read by name. Each must carry the label `annex.sh/managed=true`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub secrets: Vec<NameReference>,
    /// The capabilities that the extension is given, a subset of those that it asks for. Absent: all that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub granted_capabilities: Option<Vec<String>>,
    /// Endpoints, as `METHOD /path`, that may be called without an identity. Absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub public: Vec<String>,
    /// Manual: what this extension depends on must be installed already. Auto: it is installed along.
    #[serde(default)]
    pub dependencies: DependencyPolicy,
    /// Rollback: a failed flow undoes its stages in reverse. Continue: they stay as they are and the flow can be repeated.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// How often a lifecycle handler of the extension is tried again before the flow counts as failed.
    #[serde(default = "default_retries")]
    #[schemars(range(min = 0, max = 100))]
    pub retries: i32,
    /// How long a flow may take once it has begun to change something, as a duration such as `10m` (units h, m, s). After that it
    /// has failed, `onFailure` says what becomes of it, and it begins again by itself after some minutes.
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self != '' && self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$')").message("spec.timeout must be a duration such as 10m or 1h30m"))]
    pub timeout: String,
    /// What a deletion does with the extension's data. Retain: it stays. Purge: it is removed for good.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// True: leave everything as it is until this is false again. A deletion still happens.
    #[serde(default)]
    pub suspend: bool,
    /// How many ended flows `status.history` keeps. One at least: by it a flow that failed waits longer each time, and events are told.
    #[serde(default = "default_history_limit")]
    #[schemars(range(min = 1, max = 20))]
    pub history_limit: i32,
}

fn any_version() -> String {
    "*".to_owned()
}
fn default_retries() -> i32 {
    3
}
fn default_timeout() -> String {
    "10m".to_owned()
}
fn default_history_limit() -> i32 {
    5
}

pub(crate) fn free_form_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident),+ $(,)? }) => {
        #[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
        $(#[$doc])*
        pub enum $name { $($(#[$vdoc])* $variant),+ }
    };
}

choice! {
    /// Whether new versions are taken by themselves.
    UpgradePolicy { #[default] #[doc = "The installed version stays."] Manual, #[doc = "The highest version inside the range is taken."] Automatic }
}
choice! {
    /// What happens to dependencies that are missing.
    DependencyPolicy { #[default] #[doc = "The install waits for them."] Manual, #[doc = "They are installed along."] Auto }
}
choice! {
    /// What a failed flow does with the stages that were done.
    OnFailure { #[default] #[doc = "They are undone in reverse."] Rollback, #[doc = "They stay."] Continue }
}
choice! {
    /// What a deletion does with data.
    DeletionPolicy { #[default] #[doc = "Data stays."] Retain, #[doc = "Data is removed."] Purge }
}
choice! {
    /// What a flow does.
    FlowAction { #[default] #[doc = "A first install."] Install, #[doc = "To another version."] Upgrade, #[doc = "An uninstall."] Revoke, #[doc = "The same version once more."] Reprovision }
}
choice! {
    /// How far a stage is.
    #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
    StageStatus {
        #[default] #[doc = "Not begun."] Queued, #[doc = "Begun."] InProgress, #[doc = "Done."] Finished, #[doc = "Failed."] Failed,
        #[doc = "Undone after a later stage failed."] Cancelled, #[doc = "Could not be undone."] CancellationFailed
    }
}

/// What the controller observed and did. Only Annex writes it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallStatus {
    /// The `metadata.generation` that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The version that is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_version: Option<String>,
    /// The `spec.version` that `installedVersion` was chosen for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_for: Option<String>,
    /// The `spec.parameters` that were accepted last, which is what the extension is handed. What `parametersFrom` adds is read where it is
    /// needed, and never here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form_object")]
    pub parameters: Option<BTreeMap<String, serde_json::Value>>,
    /// The content hash of the installed bundle, `sha256:` and 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<String>,
    /// The host name that this install holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Where the extension opens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What answers on which host: every lookup is answered by this, and it is written before the host is asked whether it
    /// answers. One entry; two while the install moves from one host to another; none where it is to answer nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub routes: Vec<Route>,
    /// What serves the extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_ref: Option<RunnerReference>,
    /// Where something was made for this install and has not been removed yet. Written before anything is made there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub places: Vec<PlaceReference>,
    /// The last value of the annotation `annex.sh/reprovision` that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reprovisioned: Option<String>,
    /// The modules of the installed version that are enabled, in the order in which they were called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub modules: Vec<EnabledModule>,
    /// The flow under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow>,
    /// Ended flows, the newest first, at most `spec.historyLimit`, and no more than 4 KiB of them. Of all but the newest five only the reason
    /// is kept, and not the message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub history: Vec<FlowRecord>,
    /// What this install depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["extension".into()]))]
    pub dependencies: Vec<DependencyStatus>,
    /// The names of the Installs in this workspace that depend on this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub dependents: Vec<String>,
    /// Resolved, Verified, EnvironmentReady, RunnerReady, DomainReady, Installed, Remediated, and Ready as their summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What answers on a host.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The host name, which the install holds.
    pub host: String,
    /// The content hash of the bundle that answers, `sha256:` and 64 hex digits.
    pub content_hash: String,
}

/// A namespace on a cluster.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct PlaceReference {
    /// The ManagedEnvironment that opens the cluster. Absent: it is the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The namespace there.
    pub namespace: String,
}

/// What serves an extension.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct RunnerReference {
    /// How domains reach it: `direct` or `knative`.
    pub mode: String,
    /// Its namespace on the compute cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its Knative Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The ManagedEnvironment on whose cluster it is. Absent: it is on the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

/// A part of an extension that is enabled.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
pub struct EnabledModule {
    /// Its name in the extension.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its version.
    #[schemars(length(max = 64))]
    pub version: String,
    /// Its digest: the same digest is the same module.
    #[schemars(length(max = 71))]
    pub digest: String,
}

/// One run through the stages of an install, an upgrade or a revoke.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Names the flow in events and logs.
    pub id: String,
    /// What the flow does.
    pub action: FlowAction,
    /// How far it is. `FAILED` without `finishedAt`: it has failed, and what it did is being undone.
    #[serde(default)]
    pub status: StageStatus,
    /// The version before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub from: Option<String>,
    /// The version that it is to end with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub to: Option<String>,
    /// The content of that version, on which host and where. Another one is another flow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<FlowTarget>,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// The `metadata.generation` that it began for. A flow that failed is not begun again for the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The value of the annotation `annex.sh/retry` that it began for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub retry: Option<String>,
    /// When a flow that failed is begun again by itself. Absent: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_at: Option<Time>,
    /// Its stages, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 160))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub stages: Vec<FlowStage>,
    /// The modules that are enabled, where that is not what `status.modules` says: some were called, and others are still to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub modules: Option<Vec<EnabledModule>>,
}

/// What a flow is to reach.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowTarget {
    /// The content hash of the bundle that is to answer, `sha256:` and 64 hex digits.
    #[schemars(length(max = 71))]
    pub content_hash: String,
    /// The host name.
    #[schemars(length(max = 253))]
    pub host: String,
    /// The cluster and the namespace, as `platform/annex-1s8uv2zt5c3nc1hy`; `direct` where one runner answers for all.
    #[schemars(length(max = 512))]
    pub place: String,
}

/// One stage of a flow.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowStage {
    /// The stage's name, such as `Resolve` or `DomainMapping`.
    pub name: String,
    /// How far it is.
    pub status: StageStatus,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// How often a lifecycle handler was called again because it had failed.
    #[serde(default)]
    pub retries: i32,
    /// When it is tried again: not before, whatever happens. While what it did is undone, when its handler was called back last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Time>,
    /// Why it is as it is, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// A flow that has ended.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlowRecord {
    /// The flow's id.
    pub id: String,
    /// What it did.
    pub action: FlowAction,
    /// How it ended.
    pub status: StageStatus,
    /// The version before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The version after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Why it failed, in one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// How a dependency stands.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DependencyStatus {
    /// The extension depended on; `interface NAME` where any will do that provides it.
    pub extension: String,
    /// The versions that will do.
    pub version: String,
    /// The extension that provides the interface, if another does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provided_by: Option<String>,
    /// The version that is there, if any: of an interface its own, not that of who provides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_version: Option<String>,
    /// Whether it will do.
    pub satisfied: bool,
}

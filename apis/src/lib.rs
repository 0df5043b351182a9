//! The kinds of the API group `annex.sh`, and the manifests that are rendered from them.
//!
//! Tenants write [`Install`] and [`ManagedEnvironment`] and read [`ExecutionQuota`] in their own workspace, through the
//! APIExport `annex.sh`. [`Extension`], [`ExtensionVersion`] and [`Tenant`] are the provider's, in its own workspace.
//! The field docs are what `kubectl explain` shows.

#![allow(
    clippy::duplicated_attributes,
    reason = "each print column has the same keys; clippy takes them for one attribute"
)]

mod config;
mod execution_quota;
mod extension;
mod extension_version;
mod install;
mod managed_environment;
mod needed;
mod planned;
pub mod provider;
mod reference;
mod routes;
mod secret_parameters;
mod tenant;

pub use config::{INTERFACE_PREFIX, PLATFORM_CONFIG, config, memory_mib};
pub use execution_quota::{ExecutionQuota, ExecutionQuotaSpec, ExecutionQuotaStatus, QUOTA_NAME};
pub use extension::{Extension, ExtensionSpec};
pub use extension_version::{
    Archive, Dependency, Endpoint, ExtensionVersion, ExtensionVersionSpec, ExtensionVersionStatus, Lifecycle,
    Limits, Module, ProvidedInterface, RequiredInterface, Signature,
};
pub use install::{
    DeletionPolicy, DependencyPolicy, DependencyStatus, EnabledModule, Flow, FlowAction, FlowRecord,
    FlowStage, FlowTarget, Install, InstallSpec, InstallStatus, OnFailure, PlaceReference, Route,
    RunnerReference, StageStatus, UpgradePolicy,
};
pub use managed_environment::{
    KUBECONFIG_KEY, MANAGED_ENVIRONMENT_SECRET_TYPE, ManagedEnvironment, ManagedEnvironmentSpec,
    ManagedEnvironmentStatus,
};
pub use needed::{as_installed, in_its_workspace, offered};
pub use planned::{
    DIRECT, NoChoice, asked_again, choose, enabled, held, modules_of, place_of_reference, place_of_runner,
};
pub use reference::{KeyReference, NameReference};
pub use routes::{identity, is_going, routes_of_status, tenant_id};
pub use secret_parameters::{CREDENTIALS_OF_KCP, NoParameters, parameters_in};
pub use tenant::{Abandoned, QuotaDefaults, Tenant, TenantSpec, TenantStatus};

/// The API group of every kind in this crate.
pub const GROUP: &str = "annex.sh";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
/// A tenant's object that Annex may see, and every object that Annex makes, carries this label with the value `"true"`.
/// The permission claims select by it.
pub const MANAGED_LABEL: &str = "annex.sh/managed";
/// Held by an Install until what was made for it is gone.
pub const INSTALL_FINALIZER: &str = "annex.sh/install";
/// On an Install, by whoever may update it or by the registry for them: a value that `status.reprovisioned` does not have yet asks for
/// everything to be made again.
pub const REPROVISION_ANNOTATION: &str = "annex.sh/reprovision";
/// On an Install, by whoever may update it: another value than that of the last flow has a flow that failed begun again.
pub const RETRY_ANNOTATION: &str = "annex.sh/retry";
/// On an ExtensionVersion, by the operator: `continue` has Installs go on taking it by themselves, though many of those that did have failed.
pub const ROLLOUT_ANNOTATION: &str = "annex.sh/rollout";
/// On an Install that Annex made because another needs it: the name of that one.
pub const INSTALLED_FOR_ANNOTATION: &str = "annex.sh/installed-for";
/// On an Install that is being deleted, by whoever may update it: what is not waited for any longer, as words with commas between them.
/// `dependents`: other extensions that need it; `compute`: what was made on a cluster; `storage`: what it stored; `handlers`: its own
/// handlers.
pub const ABANDON_ANNOTATION: &str = "annex.sh/abandon";
/// On the seeded kubeconfig Secret, by the tenant: a value that was not handled yet asks for a new token.
pub const ROTATE_ANNOTATION: &str = "annex.sh/rotate";
/// On the seeded kubeconfig Secret, by Annex: the last value of [`ROTATE_ANNOTATION`] that was handled.
pub const ROTATED_ANNOTATION: &str = "annex.sh/rotated";
/// On the seeded kubeconfig Secret, by Annex: when its token last changed in a rotation, whoever asked for it.
pub const ROTATED_AT_ANNOTATION: &str = "annex.sh/rotated-at";
/// On the seeded kubeconfig Secret, by Annex: the Secret that its token lives as long as.
pub const SEED_TOKEN_ANNOTATION: &str = "annex.sh/token";

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use annex_apis::{ExecutionQuota, Install, ManagedEnvironment, PlaceReference};
use annex_core::HostName;
use annex_initializer::{Seed, SeedConfig};
use k8s_openapi::api::{
    core::v1::{Namespace, Secret, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{Client, core::PartialObjectMeta};
use kube_kcp::{
    ClusterName, Index, Lane, ObjectKey, ShardUrl, VirtualWorkspace, WorkQueue, kinds::APIBinding,
};
use parking_lot::Mutex;

use crate::{
    announce::Announcer,
    api_writes::ApiWrites,
    args::DomainArgs,
    catalog::Catalog,
    claims::Claims,
    compute::{Elsewhere, Places},
    environment::Environments,
    handlers::Handlers,
    rollout::Rollout,
    routes::Routes,
    runner::Runner,
    verify::Bundles,
    workspace::SeedMemory,
};

/// What there is to work on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// One Install.
    Install(ObjectKey),
    /// A workspace that binds the API, or did.
    Workspace(ClusterName),
}

impl Lane for Key {
    fn lane(&self) -> &ClusterName {
        match self {
            Self::Install(key) => &key.cluster,
            Self::Workspace(cluster) => cluster,
        }
    }
}

/// Everything that a reconcile reads and writes through.
pub(crate) struct Context {
    /// Whether this replica decides and writes. The others only follow.
    pub(crate) leads: AtomicBool,
    /// The provider's own workspace.
    pub(crate) provider: Client,
    /// Those that bind the API.
    pub(crate) workspaces: VirtualWorkspace,
    pub(crate) queue: Arc<WorkQueue<Key>>,
    pub(crate) tenants: TenantSide,
    pub(crate) catalog: Arc<Catalog>,
    /// The ways into the environments that Installs name.
    pub(crate) environments: Arc<Environments>,
    /// One Install of an extension in a workspace.
    pub(crate) extension_claims: Claims<(ClusterName, String)>,
    /// One Install on a host name.
    pub(crate) host_claims: Claims<HostName>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) rollout: Rollout,
    pub(crate) announcer: Announcer,
    /// Installs that a relist no longer held, as they were last seen. Nobody said that they were deleted.
    pub(crate) vanished: Mutex<HashMap<ObjectKey, Arc<Install>>>,
    /// Installs of which the server said that they were deleted, and that are not let go of yet.
    pub(crate) deleted: Mutex<HashSet<ObjectKey>>,
    /// Who is asked whether a host answers. None: nobody.
    pub(crate) runner: Option<Runner>,
    /// What calls extensions' lifecycle handlers. None: they cannot be called.
    pub(crate) handlers: Option<Handlers>,
    pub(crate) places: Places,
    /// The Installs that are worked on apart from the others.
    pub(crate) elsewhere: Elsewhere,
    /// The uids of Installs whose undo has ended and that are about to go.
    pub(crate) undone: Mutex<HashSet<String>>,
    /// Installs that were taken away with our finalizer still on them: what was made for them is still to be removed.
    pub(crate) orphans: Mutex<HashMap<ObjectKey, Arc<Install>>>,
    /// Where Installs, by their uid, have left runners to others. Their statuses may not say so yet.
    pub(crate) left: Mutex<HashMap<String, Vec<PlaceReference>>>,
    pub(crate) writes: ApiWrites,
    pub(crate) domain: DomainArgs,
    pub(crate) allow_unsigned: bool,
    /// Bundles, from the registry, verified from the bytes. None: only what nobody verified is installed.
    pub(crate) bundles: Option<Bundles>,
    pub(crate) seed_config: SeedConfig,
    pub(crate) seed: Seed,
    /// What of the seeds need not be looked at or told again.
    pub(crate) seeds: SeedMemory,
    /// How old a workspace's token gets before it is replaced.
    pub(crate) token_max_age: Duration,
}

/// What is watched in all workspaces. Of what Annex only needs to know that it is there, the metadata; no Secret's content
/// is ever held.
#[derive(Debug, Default)]
pub(crate) struct TenantSide {
    pub(crate) bindings: Arc<Index<APIBinding>>,
    pub(crate) installs: Arc<Index<Install>>,
    pub(crate) environments: Arc<Index<ManagedEnvironment>>,
    pub(crate) quotas: Arc<Index<ExecutionQuota>>,
    pub(crate) namespaces: Arc<Index<PartialObjectMeta<Namespace>>>,
    pub(crate) secrets: Arc<Index<PartialObjectMeta<Secret>>>,
    pub(crate) service_accounts: Arc<Index<PartialObjectMeta<ServiceAccount>>>,
    pub(crate) roles: Arc<Index<Role>>,
    pub(crate) role_bindings: Arc<Index<RoleBinding>>,
    pub(crate) cluster_roles: Arc<Index<ClusterRole>>,
    pub(crate) cluster_role_bindings: Arc<Index<ClusterRoleBinding>>,
}

impl Context {
    /// Whether everything in a workspace was listed once: before, what is absent may only not have been seen.
    pub(crate) fn is_synced(&self, cluster: &ClusterName) -> bool {
        match self.workspaces.shard_of(cluster) {
            Some(shard) => self.tenants.is_synced(&shard),
            None => self.all_is_synced(),
        }
    }

    /// Whether everything on every shard that kcp lists was listed once.
    pub(crate) fn all_is_synced(&self) -> bool {
        let shards = self.workspaces.shards();
        shards.is_some_and(|shards| shards.iter().all(|shard| self.tenants.is_synced(shard)))
    }

    /// The workspace's binding of our export.
    pub(crate) fn binding(&self, cluster: &ClusterName) -> Option<Arc<APIBinding>> {
        let shard = self.workspaces.shard_of(cluster)?;
        let bindings = self.tenants.bindings.in_cluster(cluster).into_iter().map(|(_, binding)| binding);
        bindings.into_iter().find(|binding| crate::bindings::binds(binding, &shard))
    }

    /// The Installs of a workspace, those included that a list did not hold and that may be there all the same.
    pub(crate) fn installs_of(&self, cluster: &ClusterName) -> Vec<(ObjectKey, Arc<Install>)> {
        let mut installs = self.tenants.installs.in_cluster(cluster);
        let vanished = self.vanished.lock();
        let theirs = vanished.iter().filter(|(key, _)| key.cluster == *cluster);
        installs.extend(theirs.map(|(key, install)| (key.clone(), install.clone())));
        installs
    }
}

impl TenantSide {
    /// Whether everything on `shard` was listed once: before, what is absent may only not have been seen.
    pub(crate) fn is_synced(&self, shard: &ShardUrl) -> bool {
        self.bindings.is_synced(shard)
            && self.installs.is_synced(shard)
            && self.environments.is_synced(shard)
            && self.quotas.is_synced(shard)
            && self.namespaces.is_synced(shard)
            && self.secrets.is_synced(shard)
            && self.service_accounts.is_synced(shard)
            && self.roles.is_synced(shard)
            && self.role_bindings.is_synced(shard)
            && self.cluster_roles.is_synced(shard)
            && self.cluster_role_bindings.is_synced(shard)
    }
}

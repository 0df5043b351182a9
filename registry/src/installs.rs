//! The Installs of all workspaces, as they are watched: which of them a host is.

use std::{collections::HashMap, sync::Arc};

use annex_apis::{Install, InstallSpec, InstallStatus, Tenant, identity, routes_of_status, tenant_id};
use annex_core::{ContentHash, ExtensionId, HostName, InstallIdentity, TenantId};
use kube::ResourceExt as _;
use kube_kcp::{Change, ClusterName, Index, ObjectKey, RemovedBecause};
use parking_lot::RwLock;

use crate::{app::Catalog, routes::Routes};

/// Installs, by host and by id.
pub struct Installs {
    /// What is watched.
    pub index: Arc<Index<Install>>,
    routes: Routes,
    /// As each was last seen, those included that a list did not hold and that nobody has said to be deleted.
    last: RwLock<Last>,
    synced: Box<dyn Fn() -> bool + Send + Sync>,
}

#[derive(Default)]
struct Last {
    installs: HashMap<ObjectKey, Arc<Install>>,
    by_uid: HashMap<String, ObjectKey>,
}

impl Installs {
    /// None yet. `synced` says whether all that is watched was listed once.
    pub fn new(index: Arc<Index<Install>>, synced: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { index, routes: Routes::default(), last: RwLock::default(), synced: Box::new(synced) }
    }

    /// Whether what is unknown does not exist.
    pub fn is_synced(&self) -> bool {
        (self.synced)()
    }

    /// How many hosts there are.
    pub fn hosts(&self) -> usize {
        self.routes.len()
    }

    /// An Install came, changed or went. True: it is in no list any more, but nobody has said that it was deleted. It goes on answering
    /// until its workspace has been asked: a list that is empty by a fault must not make a host unknown.
    pub fn changed(&self, change: &Change<Install>) -> bool {
        match change {
            Change::Applied { key, object, .. } => {
                self.routes.follow(key, routes_of_status(object));
                let mut last = self.last.write();
                let uid = object.uid().unwrap_or_default();
                let former = last.installs.insert(key.clone(), object.clone());
                if let Some(former) = former.and_then(|former| former.uid()).filter(|former| *former != uid) {
                    last.by_uid.remove(&former);
                }
                last.by_uid.insert(uid, key.clone());
                false
            }
            Change::Removed { key, because: RemovedBecause::Deleted, .. } => {
                self.gone(key);
                false
            }
            Change::Removed { .. } => true,
        }
    }

    /// An Install is known to be gone.
    pub fn gone(&self, key: &ObjectKey) {
        self.routes.follow(key, Vec::new());
        let mut last = self.last.write();
        if let Some(uid) = last.installs.remove(key).and_then(|install| install.uid()) {
            last.by_uid.remove(&uid);
        }
    }

    /// What answers on a host, and in which workspace.
    pub fn lookup(&self, catalog: &Catalog, host: &HostName) -> Option<(ClusterName, InstallIdentity)> {
        let (key, content) = self.routes.get(host)?;
        let install = self.last.read().installs.get(&key).cloned()?;
        let tenant = catalog.tenants.get(key.cluster.as_str())?;
        let identity = identity(&tenant, &key.cluster, &install, content)?;
        Some((key.cluster, identity))
    }

    /// Whether an Install of that tenant answers with that content, in a workspace that `covers` says yes to. There may be several tenants by
    /// that id: the operator gives them.
    pub fn validate(
        &self,
        catalog: &Catalog,
        (tenant, extension, content): (&TenantId, &ExtensionId, &ContentHash),
        covers: impl Fn(&ClusterName) -> bool,
    ) -> bool {
        let id = tenant.as_str();
        let answers = |known: &Tenant| {
            let Ok(cluster) = known.name_any().parse::<ClusterName>() else { return false };
            tenant_id(known, &cluster) == id && !known.spec.suspended && covers(&cluster) && {
                self.index.in_cluster(&cluster).iter().any(|(_, install)| {
                    install.spec.extension == extension.as_str()
                        && install.metadata.deletion_timestamp.is_none()
                        && routes_of_status(install).iter().any(|(_, answers)| answers == content)
                })
            }
        };
        // Most ids are the workspace's own name, which is found at once.
        if catalog.tenants.get(id).is_some_and(|known| answers(&known)) {
            return true;
        }
        let named = catalog.tenants.filter(|known| known.spec.id.as_deref() == Some(id));
        named.iter().any(|known| answers(known))
    }

    /// The Install with this id.
    pub fn by_uid(&self, uid: &str) -> Option<(ObjectKey, Arc<Install>)> {
        let last = self.last.read();
        let key = last.by_uid.get(uid)?;
        last.installs.get(key).map(|install| (key.clone(), install.clone()))
    }
}

/// Takes away what is not read here, of every Install of every tenant.
pub fn prune(install: &mut Install) {
    let extension = std::mem::take(&mut install.spec.extension);
    install.spec = InstallSpec { extension, ..InstallSpec::default() };
    install.metadata.labels = None;
    install.metadata.finalizers = None;
    install.metadata.owner_references = None;
    install.annotations_mut().retain(|name, _| name.starts_with("kcp.io/"));
    if let Some(status) = &mut install.status {
        let kept = InstallStatus {
            routes: std::mem::take(&mut status.routes),
            host: status.host.take(),
            content_hash: status.content_hash.take(),
            conditions: status.conditions.drain(..).filter(|condition| condition.type_ == "Ready").collect(),
            ..InstallStatus::default()
        };
        *status = kept;
    }
}

//! The Installs of all workspaces, as they are watched: which of them a host is.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use annex_apis::{Install, Tenant, identity, is_going, routes_of_status, tenant_id};
use annex_core::{ContentHash, ExtensionId, HostName, InstallIdentity, TenantId};
use kube::ResourceExt as _;
use kube_kcp::{Change, ClusterName, Index, ObjectKey, RemovedBecause};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::{catalog::Catalog, routes::Routes};

/// Installs, by host and by id.
pub struct Installs {
    /// What is watched.
    pub index: Arc<Index<Install>>,
    routes: Routes,
    /// As each was last seen, those included that a list did not hold and that nobody has said to be deleted.
    last: RwLock<Last>,
    synced: Box<dyn Fn() -> bool + Send + Sync>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Last {
    installs: HashMap<ObjectKey, Arc<Install>>,
    by_uid: HashMap<String, ObjectKey>,
    /// There can be several of one extension in a workspace, of which one at most is installed.
    by_extension: HashMap<(ClusterName, String), BTreeSet<ObjectKey>>,
}

impl Last {
    fn insert(&mut self, key: &ObjectKey, install: &Arc<Install>) {
        self.remove(key);
        self.by_uid.insert(install.uid().unwrap_or_default(), key.clone());
        let of = (key.cluster.clone(), install.spec.extension.clone());
        self.by_extension.entry(of).or_default().insert(key.clone());
        self.installs.insert(key.clone(), install.clone());
    }

    fn remove(&mut self, key: &ObjectKey) {
        let Some(former) = self.installs.remove(key) else { return };
        if let Some(uid) = former.uid() {
            self.by_uid.remove(&uid);
        }
        let of = (key.cluster.clone(), former.spec.extension.clone());
        if let Some(keys) = self.by_extension.get_mut(&of) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_extension.remove(&of);
            }
        }
    }
}

impl Installs {
    /// None yet. `synced` says whether all that is watched was listed once.
    pub fn new(index: Arc<Index<Install>>, synced: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            index,
            routes: Routes::default(),
            last: RwLock::default(),
            synced: Box::new(synced),
            changes: watch::Sender::new(0),
        }
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
        let has_vanished = match change {
            Change::Applied { key, object, .. } => {
                let routes = routes_of_status(object);
                if is_going(object) {
                    self.routes.follow_going(key, routes);
                } else {
                    self.routes.follow(key, routes);
                }
                self.last.write().insert(key, object);
                false
            }
            Change::Removed { key, because: RemovedBecause::Deleted, .. } => {
                self.gone(key);
                false
            }
            Change::Removed { .. } => true,
        };
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        has_vanished
    }

    /// Tells when one comes, changes or goes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// An Install is known to be gone.
    pub fn gone(&self, key: &ObjectKey) {
        self.routes.follow(key, Vec::new());
        self.last.write().remove(key);
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
                        && !is_going(install)
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

    /// The Install that answers on a host, and with which content.
    pub fn on_host(&self, host: &HostName) -> Option<(ObjectKey, Arc<Install>, ContentHash)> {
        let (key, content) = self.routes.get(host)?;
        let install = self.last.read().installs.get(&key).cloned()?;
        Some((key, install, content))
    }

    /// The Installs of an extension in a workspace, by name. Of several, one at most is installed.
    pub fn of_extension(&self, cluster: &ClusterName, extension: &str) -> Vec<(ObjectKey, Arc<Install>)> {
        let last = self.last.read();
        let keys = last.by_extension.get(&(cluster.clone(), extension.to_owned()));
        let keys = keys.into_iter().flatten();
        keys.filter_map(|key| Some((key.clone(), last.installs.get(key)?.clone()))).collect()
    }
}

mod endpoints;
mod health;
mod locations;

use std::{collections::BTreeSet, fmt::Debug, sync::Arc, time::Duration};

use kube::{Client, Resource, core::PartialObjectMeta};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use crate::{
    Brake, Change, ClusterName, ConnectError, Connection, Gate, Index, Metrics, ShardUrl, WatchOptions,
    watch::{self, Following},
};

pub(crate) use endpoints::{Endpoints, Listed};
pub use endpoints::{LET_GO_ANNOTATION, ShardHost, ShardHostError};
pub use health::{Health, ShardHealth};
pub(crate) use locations::Locations;

/// A virtual workspace of kcp: all workspaces that bind an APIExport, or that wait for an initializer, over all shards.
///
/// kcp serves it at a URL per shard, where `/clusters/*` shows the objects of all workspaces of that shard, and
/// `/clusters/<name>` is one workspace. Shards come and go, and may get another URL, while this is used.
///
/// Clones are one and the same.
#[derive(Clone, Debug)]
pub struct VirtualWorkspace {
    connection: Connection,
    endpoints: Endpoints,
    options: VirtualWorkspaceOptions,
    metrics: Metrics,
    locations: Arc<Locations>,
    health: Health,
}

/// How a virtual workspace is looked at.
#[derive(Clone, Debug)]
pub struct VirtualWorkspaceOptions {
    /// Where shards are reached, if not at the hosts that kcp lists. The first that is about a shard counts.
    pub hosts: Vec<ShardHost>,
    /// How kinds are watched.
    pub watch: WatchOptions,
    /// When what has vanished is let go of only after a second look.
    pub brake: Brake,
    /// For how long a shard has to be missing from the list before it is gone: kcp delists a shard with its last binding, perhaps
    /// before the last deletions were seen.
    pub shard_gone_after: Duration,
    /// For how long a gate waits for a shard that cannot be listed, if others can. None: for ever. A controller that may act
    /// while it does not know all workspaces sets it, so that a shard that is down does not stop the others' tenants.
    pub patience: Option<Duration>,
}

impl Default for VirtualWorkspaceOptions {
    /// The hosts that kcp lists; a shard is gone after a minute; gates wait for ever.
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            watch: WatchOptions::default(),
            brake: Brake::default(),
            shard_gone_after: Duration::from_secs(60),
            patience: None,
        }
    }
}

/// Why there is no client of a workspace.
#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    /// None of its objects was seen on any shard.
    #[error("it is not known which shard the workspace {0} is on")]
    UnknownWorkspace(ClusterName),
    /// The URL cannot be asked.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl VirtualWorkspace {
    /// That of an APIExport. `connection`'s own workspace ([`Connection::home`]) is the export's. `gate` opens once the shards
    /// were read.
    #[must_use]
    pub fn of_export(
        connection: &Connection,
        export: &str,
        options: VirtualWorkspaceOptions,
        metrics: Metrics,
        gate: Gate,
    ) -> Self {
        let endpoints = endpoints::of_export(connection.home(), export, options.hosts.clone(), gate);
        Self::new(connection, endpoints, options, metrics)
    }

    /// That of a WorkspaceType's initializer: the workspaces that wait for it. `connection`'s own workspace is the type's.
    #[must_use]
    pub fn initializing(
        connection: &Connection,
        workspace_type: &str,
        options: VirtualWorkspaceOptions,
        metrics: Metrics,
        gate: Gate,
    ) -> Self {
        let endpoints =
            endpoints::initializing(connection.home(), workspace_type, options.hosts.clone(), gate);
        Self::new(connection, endpoints, options, metrics)
    }

    /// One whose shards are known and do not change: for tests, and for a kcp that lists none.
    #[must_use]
    pub fn fixed(
        connection: &Connection,
        shards: BTreeSet<ShardUrl>,
        options: VirtualWorkspaceOptions,
        metrics: Metrics,
    ) -> Self {
        let listed = Listed { shards, let_go: None };
        // Nobody sends any more, and what was sent stays.
        let (_, endpoints) = tokio::sync::watch::channel(Some(listed));
        Self::new(connection, endpoints, options, metrics)
    }

    fn new(
        connection: &Connection,
        endpoints: Endpoints,
        options: VirtualWorkspaceOptions,
        metrics: Metrics,
    ) -> Self {
        Self {
            connection: connection.clone(),
            endpoints,
            options,
            metrics,
            locations: Arc::default(),
            health: Health::default(),
        }
    }

    /// Keeps `index` equal to all objects of kind `K` in all workspaces, and calls `on_change` after each change, in order per
    /// shard. `on_change` must not block; it usually puts keys into a [`WorkQueue`](crate::WorkQueue).
    ///
    /// Managed fields are dropped. An object that does not parse, or does not say which cluster it lives in, is skipped with a
    /// warning and counted: one tenant's object must not stop the others'. `gate` opens when every shard was listed once; see
    /// [`VirtualWorkspaceOptions::patience`].
    ///
    /// A shard that leaves the list keeps its watch and its objects for a while. What vanishes in a relist or with a shard is
    /// subject to [`Brake`]; what is held is shown in [`VirtualWorkspace::health`], and let go of when an operator writes the time
    /// into [`LET_GO_ANNOTATION`].
    pub fn objects<K>(
        &self,
        index: &Arc<Index<K>>,
        gate: Gate,
        on_change: impl Fn(&Change<K>) + Send + Sync + 'static,
    ) -> JoinHandle<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.pruned_objects(index, gate, |_| (), on_change)
    }

    /// Like [`VirtualWorkspace::objects`], and each object goes through `prune` before it is kept: what a controller does not read
    /// need not be held for every object of every tenant. Whoever replaces such an object replaces it without what was pruned.
    pub fn pruned_objects<K>(
        &self,
        index: &Arc<Index<K>>,
        gate: Gate,
        prune: impl Fn(&mut K) + Send + Sync + 'static,
        on_change: impl Fn(&Change<K>) + Send + Sync + 'static,
    ) -> JoinHandle<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.follow::<K, K>(false, index, gate, prune, on_change)
    }

    /// Like [`VirtualWorkspace::objects`], with the objects' metadata only: what a controller does not read, Secrets above all, it
    /// should not hold. Of the annotations only kcp's own are kept, because `kubectl apply` writes the whole object, a Secret's
    /// data included, into one.
    pub fn metadata<K>(
        &self,
        index: &Arc<Index<PartialObjectMeta<K>>>,
        gate: Gate,
        on_change: impl Fn(&Change<PartialObjectMeta<K>>) + Send + Sync + 'static,
    ) -> JoinHandle<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.follow::<K, PartialObjectMeta<K>>(true, index, gate, without_content, on_change)
    }

    fn follow<K, T>(
        &self,
        metadata: bool,
        index: &Arc<Index<T>>,
        gate: Gate,
        prune: impl Fn(&mut T) + Send + Sync + 'static,
        on_change: impl Fn(&Change<T>) + Send + Sync + 'static,
    ) -> JoinHandle<()>
    where
        K: Resource<DynamicType = ()>,
        T: Resource + DeserializeOwned + Send + Sync + 'static,
    {
        let following = Following {
            kind: K::kind(&()).into_owned(),
            path: K::url_path(&(), None),
            metadata,
            workspace: self.clone(),
            index: index.clone(),
            gate,
            prune: Box::new(prune),
            on_change: Box::new(on_change),
        };
        tokio::spawn(watch::follow_shards(Arc::new(following)))
    }

    /// The client of one workspace, on whichever shard it is.
    ///
    /// # Errors
    /// See [`NoClient`].
    pub fn client(&self, cluster: &ClusterName) -> Result<Client, NoClient> {
        let shard = self.shard_of(cluster).ok_or_else(|| NoClient::UnknownWorkspace(cluster.clone()))?;
        Ok(self.connection.workspace(&shard, cluster)?)
    }

    /// The shard that a workspace is on, by the objects that were seen of it. A workspace of which nothing is seen any more is
    /// remembered for an hour; one of which nothing was seen at all is on the only shard, if there is but one.
    #[must_use]
    pub fn shard_of(&self, cluster: &ClusterName) -> Option<ShardUrl> {
        self.locations.of(cluster).or_else(|| {
            let endpoints = self.endpoints.borrow();
            let shards = &endpoints.as_ref()?.shards;
            shards.first().filter(|_| shards.len() == 1).cloned()
        })
    }

    /// Clients of a workspace on every shard where it may be: one, if it is known where it is. Whoever wants to know whether something
    /// is gone has to ask them all.
    ///
    /// # Errors
    /// See [`NoClient`]: no shard is known.
    pub fn clients(&self, cluster: &ClusterName) -> Result<Vec<(ShardUrl, Client)>, NoClient> {
        let shards = match self.shard_of(cluster) {
            Some(shard) => BTreeSet::from([shard]),
            None => self.shards().unwrap_or_default(),
        };
        if shards.is_empty() {
            return Err(NoClient::UnknownWorkspace(cluster.clone()));
        }
        let client = |shard: ShardUrl| Ok((shard.clone(), self.connection.workspace(&shard, cluster)?));
        shards.into_iter().map(client).collect()
    }

    /// The shards that kcp lists now. None: they were not read yet.
    #[must_use]
    pub fn shards(&self) -> Option<BTreeSet<ShardUrl>> {
        self.endpoints.borrow().as_ref().map(|listed| listed.shards.clone())
    }

    /// How the shards are doing.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn endpoints(&self) -> Endpoints {
        self.endpoints.clone()
    }

    pub(crate) fn options(&self) -> &VirtualWorkspaceOptions {
        &self.options
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn locations(&self) -> &Locations {
        &self.locations
    }
}

fn without_content<K>(object: &mut PartialObjectMeta<K>) {
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.retain(|name, _| name.starts_with("kcp.io/"));
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use super::*;

    #[test]
    fn of_a_secret_that_was_applied_nothing_is_held() {
        let annotations = [crate::CLUSTER_ANNOTATION, "kubectl.kubernetes.io/last-applied-configuration"];
        let annotations = annotations.map(|name| (name.to_owned(), "{}".to_owned()));
        let metadata = ObjectMeta { annotations: Some(annotations.into()), ..ObjectMeta::default() };
        let mut object = PartialObjectMeta::<Secret> { metadata, ..PartialObjectMeta::default() };
        without_content(&mut object);
        let kept = object.metadata.annotations.unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), [crate::CLUSTER_ANNOTATION]);
    }
}

//! A virtual workspace on a scripted server, and what a watch of it has told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Config;
use kube_kcp::{
    Brake, Change, Connection, Index, Metrics, ObjectKey, Readiness, RemovedBecause, ShardHealth, Timeouts,
    VirtualWorkspace, VirtualWorkspaceOptions, WatchOptions,
};
use kube_kcp_scripted_server::{Kind, Match, ScriptedServer, Shard};
use parking_lot::Mutex;
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};

/// Long enough for a machine that is busy. Nothing waits for it where all is well.
const PATIENCE: Duration = Duration::from_secs(60);
const EXPORT: &str = "greetings.example.com";

pub(crate) struct Rig {
    pub(crate) server: ScriptedServer,
    pub(crate) home: Shard,
    pub(crate) shard: Shard,
    pub(crate) workspaces: VirtualWorkspace,
    pub(crate) index: Arc<Index<ConfigMap>>,
    pub(crate) readiness: Readiness,
    said: Arc<Mutex<Vec<String>>>,
    changed: watch::Receiver<u64>,
    registry: Registry,
    _watch: JoinHandle<()>,
}

/// Impatient, so that nobody waits for a minute to see what happens then.
pub(crate) fn options() -> VirtualWorkspaceOptions {
    VirtualWorkspaceOptions {
        watch: WatchOptions {
            silence: Duration::from_millis(1500),
            list_silence: Duration::from_millis(1500),
            ..WatchOptions::default()
        },
        brake: Brake { second_list: Duration::from_millis(300), ..Brake::default() },
        shard_gone_after: Duration::from_millis(300),
        ..VirtualWorkspaceOptions::default()
    }
}

pub(crate) fn timeouts() -> Timeouts {
    Timeouts {
        answer: Duration::from_secs(3),
        ping_after: Duration::from_millis(500),
        ping: Duration::from_millis(1500),
        ..Timeouts::default()
    }
}

pub(crate) fn config(server: &ScriptedServer, home: &Shard) -> Config {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::new(home.url().parse().unwrap());
    config.root_cert = Some(vec![server.ca_der().to_vec()]);
    config
}

/// A server with a home workspace and one shard, on which ConfigMaps are served.
pub(crate) async fn server() -> (ScriptedServer, Shard, Shard) {
    let server = ScriptedServer::start().await.unwrap();
    let home = server.shard("/home");
    home.serve(Kind::new("apis.kcp.io/v1alpha1", "APIExportEndpointSlice").cluster_scoped());
    let shard = new_shard(&server, "/one");
    (server, home, shard)
}

pub(crate) fn new_shard(server: &ScriptedServer, prefix: &str) -> Shard {
    let shard = server.shard(prefix);
    shard.serve(Kind::new("v1", "ConfigMap"));
    shard
}

/// What kcp writes, and an operator beside it.
pub(crate) fn list_shards(home: &Shard, urls: &[String], let_go: Option<&str>) {
    let endpoints: Vec<_> = urls.iter().map(|url| json!({ "url": url })).collect();
    let annotations = let_go.map(|time| json!({ kube_kcp::LET_GO_ANNOTATION: time }));
    home.put(json!({ "apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIExportEndpointSlice",
        "metadata": { "name": EXPORT, "annotations": annotations },
        "spec": { "export": { "path": "root:provider", "name": EXPORT } },
        "status": { "endpoints": endpoints } }))
        .unwrap();
}

pub(crate) fn put(shard: &Shard, cluster: &str, name: &str, value: &str) {
    shard
        .put_in(
            cluster,
            json!({ "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "namespace": "default", "name": name }, "data": { "value": value } }),
        )
        .unwrap();
}

pub(crate) fn delete(shard: &Shard, cluster: &str, name: &str) {
    assert!(shard.delete("configmaps", cluster, "default", name), "{name} was there");
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(options()).await
    }

    pub(crate) async fn with(options: VirtualWorkspaceOptions) -> Self {
        let (server, home, shard) = server().await;
        list_shards(&home, &[shard.url()], None);
        let connection = Connection::with(config(&server, &home), timeouts()).unwrap();
        Self::on(server, home, shard, connection, options)
    }

    pub(crate) fn on(
        server: ScriptedServer,
        home: Shard,
        shard: Shard,
        connection: Connection,
        options: VirtualWorkspaceOptions,
    ) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let readiness = Readiness::default();
        let workspaces =
            VirtualWorkspace::of_export(&connection, EXPORT, options, metrics, readiness.gate("shards"));
        workspaces.health().register(&mut registry);
        let index: Arc<Index<ConfigMap>> = Arc::default();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let (bell, changed) = watch::channel(0);
        let told = said.clone();
        let on_change = move |change: &Change<ConfigMap>| {
            let what = match change {
                Change::Applied { previous: None, .. } => "new",
                Change::Applied { .. } => "changed",
                Change::Removed { because: RemovedBecause::Deleted, .. } => "deleted",
                Change::Removed { because: RemovedBecause::Relist, .. } => "vanished",
                Change::Removed { because: RemovedBecause::ShardGone, .. } => "gone with its shard",
                Change::Removed { because: RemovedBecause::LetGo, .. } => "let go",
            };
            told.lock().push(format!("{what} {}", change.key()));
            bell.send_modify(|count| *count += 1);
        };
        let watch = workspaces.objects(&index, readiness.gate("list"), on_change);
        Self { server, home, shard, workspaces, index, readiness, said, changed, registry, _watch: watch }
    }

    /// Returns once everything was listed and is watched.
    pub(crate) async fn watching(self) -> Self {
        patient("everything is listed", self.readiness.wait()).await;
        patient("it is watched", self.shard.watches(1)).await;
        self
    }

    /// Returns once the index holds what it should.
    pub(crate) async fn holds(&self, what: &str, holds: impl Fn(&Index<ConfigMap>) -> bool) {
        let mut changed = self.changed.clone();
        patient(what, async {
            while !holds(&self.index) {
                changed.changed().await.unwrap();
            }
        })
        .await;
    }

    /// Returns once the object has that value.
    pub(crate) async fn value(&self, cluster: &str, name: &str, value: &str) {
        let key = key(cluster, name);
        self.holds(&format!("{key} is {value}"), |index| {
            index.get(&key).is_some_and(|object| {
                object.data.as_ref().and_then(|data| data.get("value")).is_some_and(|has| has == value)
            })
        })
        .await;
    }

    /// Returns once the object is not there any more.
    pub(crate) async fn gone(&self, cluster: &str, name: &str) {
        let key = key(cluster, name);
        self.holds(&format!("{key} is gone"), |index| index.get(&key).is_none()).await;
    }

    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().clone()
    }

    /// How often ConfigMaps were listed, pages aside, and watched.
    pub(crate) fn lists_and_watches(&self) -> (usize, usize) {
        let first = Match::list("configmaps").when(|request| request.query("continue").is_none());
        let requests = self.server.requests();
        (requests.count(&first), requests.count(&Match::watch("configmaps")))
    }

    pub(crate) fn metric(&self, series: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    pub(crate) fn health(&self) -> BTreeMap<String, ShardHealth> {
        let shards = self.workspaces.health().shards().into_iter();
        shards.map(|health| (health.shard.to_string(), health)).collect()
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.index.all().into_iter().map(|(key, _)| key.name).collect()
    }
}

pub(crate) fn key(cluster: &str, name: &str) -> ObjectKey {
    ObjectKey { cluster: cluster.parse().unwrap(), namespace: "default".into(), name: name.into() }
}

/// What comes of waiting for it, or a panic that names it.
pub(crate) async fn patient<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, awaited).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

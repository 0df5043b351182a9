use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::{
    Api, Resource, ResourceExt as _,
    core::{DeserializeGuard, PartialObjectMeta, error_boundary::InvalidObject},
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use crate::{
    Change, Connection, Endpoints, Gate, Index, Metrics, ObjectKey, ShardUrl, backoff::WatchBackoff,
};

/// Keeps `index` equal to all objects of kind `K` in all workspaces of all shards, and calls `on_change` after each change,
/// in order per shard. `on_change` must not block; it usually puts keys into a [`WorkQueue`](crate::WorkQueue).
///
/// One list-watch per shard. Managed fields are dropped. An object that does not parse, or does not say which cluster it lives
/// in, is skipped with a warning and counted: one tenant's object must not stop the others'. `gate` opens when every shard that
/// is known was listed once.
///
/// A shard that leaves the endpoints keeps its watch and its objects: kcp delists a shard with its last binding, perhaps before
/// the last deletions were seen, and a slice that is empty by a fault must not look like a mass deletion. Its watch goes on
/// reporting what the shard itself says.
pub fn spawn_object_watch<K>(
    connection: &Connection,
    endpoints: Endpoints,
    index: Arc<Index<K>>,
    metrics: Metrics,
    gate: Gate,
    on_change: impl Fn(&Change<K>) + Send + Sync + 'static,
) -> JoinHandle<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let connection = connection.clone();
    let open = move |shard: &ShardUrl| {
        let api: Api<DeserializeGuard<K>> = Api::all(connection.wildcard(shard).map_err(Box::new)?);
        Ok(watcher(api, watcher::Config::default())
            .map_ok(|event| map_event(event, |guard| guard.0.map_err(Box::new)))
            .boxed())
    };
    tokio::spawn(follow_shards(endpoints, index, metrics, gate, K::kind(&()).to_string(), open, on_change))
}

/// Like [`spawn_object_watch`], with the objects' metadata only: what a controller does not read, Secrets above all, it
/// should not hold. Of the annotations only kcp's own are kept, because `kubectl apply` writes the whole object, a Secret's
/// data included, into one.
pub fn spawn_metadata_watch<K>(
    connection: &Connection,
    endpoints: Endpoints,
    index: Arc<Index<PartialObjectMeta<K>>>,
    metrics: Metrics,
    gate: Gate,
    on_change: impl Fn(&Change<PartialObjectMeta<K>>) + Send + Sync + 'static,
) -> JoinHandle<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let connection = connection.clone();
    let open = move |shard: &ShardUrl| {
        let api: Api<PartialObjectMeta<K>> = Api::all(connection.wildcard(shard).map_err(Box::new)?);
        Ok(watcher(api, watcher::Config::default())
            .map_ok(|event| map_event(event, |object| Ok(without_content(object))))
            .boxed())
    };
    tokio::spawn(follow_shards(endpoints, index, metrics, gate, K::kind(&()).to_string(), open, on_change))
}

/// Boxed, because the error is as large as an API server's whole answer.
type OpenError = Box<crate::ConnectError>;
type Events<T> =
    futures::stream::BoxStream<'static, watcher::Result<watcher::Event<Result<T, Box<InvalidObject>>>>>;

async fn follow_shards<T>(
    mut endpoints: Endpoints,
    index: Arc<Index<T>>,
    metrics: Metrics,
    gate: Gate,
    kind: String,
    open: impl Fn(&ShardUrl) -> Result<Events<T>, OpenError>,
    on_change: impl Fn(&Change<T>) + Send + Sync + 'static,
) where
    T: Resource + Send + Sync + 'static,
{
    let on_change = Arc::new(on_change);
    let mut running: BTreeMap<ShardUrl, AbortOnDrop> = BTreeMap::new();
    let mut delisted: BTreeSet<ShardUrl> = BTreeSet::new();
    loop {
        let shards = endpoints.borrow_and_update().clone();
        for shard in shards.iter().flatten() {
            // A delisted shard answers 404, and its watch backs off. When it is back, that wait must not be sat out.
            if delisted.remove(shard) {
                running.remove(shard);
            }
            if running.contains_key(shard) {
                continue;
            }
            match open(shard) {
                Ok(events) => {
                    let (shard, index, metrics) = (shard.clone(), index.clone(), metrics.clone());
                    let (gate, kind, on_change) = (gate.clone(), kind.clone(), on_change.clone());
                    let endpoints = endpoints.clone();
                    running.insert(
                        shard.clone(),
                        AbortOnDrop(tokio::spawn(async move {
                            follow_shard(&shard, events, &index, &metrics, &kind, &*on_change, || {
                                set(&gate, all_listed(&endpoints, &index));
                            })
                            .await;
                        })),
                    );
                }
                Err(error) => tracing::error!(%error, %shard, kind, "a shard cannot be watched"),
            }
        }
        if let Some(shards) = &shards {
            delisted.extend(running.keys().filter(|shard| !shards.contains(*shard)).cloned());
        }
        set(&gate, all_listed(&endpoints, &index));
        if endpoints.changed().await.is_err() {
            return;
        }
    }
}

/// Whether the endpoints are known and every one of them was listed to the end.
fn all_listed<T>(endpoints: &Endpoints, index: &Index<T>) -> bool {
    endpoints.borrow().as_ref().is_some_and(|shards| shards.iter().all(|shard| index.is_synced(shard)))
}

fn set(gate: &Gate, open: bool) {
    if open { gate.open() } else { gate.close() }
}

async fn follow_shard<T: Resource>(
    shard: &ShardUrl,
    events: Events<T>,
    index: &Index<T>,
    metrics: &Metrics,
    kind: &str,
    on_change: &(impl Fn(&Change<T>) + ?Sized),
    listed: impl Fn(),
) {
    let mut events = std::pin::pin!(errors_counted(events, shard, metrics, kind));
    let mut live = BTreeSet::new();
    while let Some(event) = events.next().await {
        metrics.watch_event(kind);
        match event {
            watcher::Event::Init => {
                metrics.relist(kind);
                live.clear();
            }
            watcher::Event::InitApply(object) => {
                if let Some(key) = take(shard, object, index, metrics, kind, on_change) {
                    live.insert(key);
                }
            }
            watcher::Event::InitDone => {
                for change in index.finish_list(shard, &live) {
                    on_change(&change);
                }
                live.clear();
                listed();
            }
            watcher::Event::Apply(object) => {
                take(shard, object, index, metrics, kind, on_change);
            }
            watcher::Event::Delete(object) => {
                let key = match &object {
                    Ok(object) => ObjectKey::of(shard, object.meta()),
                    Err(invalid) => ObjectKey::of(shard, &invalid.metadata),
                };
                if let Some(change) = key.ok().and_then(|key| index.delete(&key)) {
                    on_change(&change);
                }
            }
        }
        metrics.indexed(kind, index.len());
    }
}

fn errors_counted<T: Resource>(
    events: Events<T>,
    shard: &ShardUrl,
    metrics: &Metrics,
    kind: &str,
) -> impl Stream<Item = watcher::Event<Result<T, Box<InvalidObject>>>> {
    let (shard, metrics, kind) = (shard.clone(), metrics.clone(), kind.to_owned());
    events.backoff(WatchBackoff::default()).filter_map(move |event| {
        let event = event
            .inspect_err(|error| {
                metrics.watch_error(&kind);
                let error = crate::Brief(error);
                tracing::warn!(%error, %shard, kind, "the watch is interrupted and begins again");
            })
            .ok();
        std::future::ready(event)
    })
}

fn is_unchanged<T: Resource>(change: &Change<T>) -> bool {
    match change {
        Change::Applied { object, previous: Some(previous), .. } => {
            object.meta().resource_version.is_some()
                && object.meta().resource_version == previous.meta().resource_version
        }
        Change::Applied { .. } | Change::Removed { .. } => false,
    }
}

fn without_content<K>(mut object: PartialObjectMeta<K>) -> PartialObjectMeta<K> {
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.retain(|name, _| name.starts_with("kcp.io/"));
    }
    object
}

/// Takes an object in. One that cannot be used keeps its key alive in a relist: it is there, so what was known of it before
/// is not reported as removed.
fn take<T: Resource>(
    shard: &ShardUrl,
    object: Result<T, Box<InvalidObject>>,
    index: &Index<T>,
    metrics: &Metrics,
    kind: &str,
    on_change: &(impl Fn(&Change<T>) + ?Sized),
) -> Option<ObjectKey> {
    match object {
        Ok(mut object) => match ObjectKey::of(shard, object.meta()) {
            Ok(key) => {
                object.managed_fields_mut().clear();
                let change = index.apply(key.clone(), object);
                // A relist brings every object again; most have not changed.
                if !is_unchanged(&change) {
                    on_change(&change);
                }
                Some(key)
            }
            Err(error) => {
                metrics.skipped(kind);
                tracing::error!(%error, %shard, kind, "an object is skipped");
                None
            }
        },
        Err(invalid) => {
            metrics.skipped(kind);
            let key = ObjectKey::of(shard, &invalid.metadata).ok()?;
            tracing::warn!(error = invalid.error, object = %key, kind, "an object does not parse and is skipped");
            Some(key)
        }
    }
}

fn map_event<A, B>(event: watcher::Event<A>, map: impl Fn(A) -> B) -> watcher::Event<B> {
    match event {
        watcher::Event::Apply(object) => watcher::Event::Apply(map(object)),
        watcher::Event::Delete(object) => watcher::Event::Delete(map(object)),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitApply(object) => watcher::Event::InitApply(map(object)),
        watcher::Event::InitDone => watcher::Event::InitDone,
    }
}

/// A watch ends with the task that started it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
    use parking_lot::Mutex;
    use prometheus_client::{encoding::text::encode, registry::Registry};

    fn meta(cluster: Option<&str>, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some("default".into()),
            annotations: cluster
                .map(|cluster| [(crate::CLUSTER_ANNOTATION.to_owned(), cluster.to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    fn object(cluster: &str, name: &str) -> Result<ConfigMap, Box<InvalidObject>> {
        Ok(ConfigMap { metadata: meta(Some(cluster), name), ..ConfigMap::default() })
    }

    fn invalid(cluster: Option<&str>, name: &str) -> Result<ConfigMap, Box<InvalidObject>> {
        Err(Box::new(InvalidObject {
            error: "a string where a map should be".into(),
            metadata: meta(cluster, name),
        }))
    }

    /// What the changes say, in their order, and the metrics. The events are scripted: a real server's schema lets no
    /// such object in.
    async fn follow(
        events: Vec<watcher::Event<Result<ConfigMap, Box<InvalidObject>>>>,
    ) -> (Vec<String>, String) {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let said = Mutex::new(Vec::new());
        let shard = "https://s".parse().unwrap();
        let events = futures::stream::iter(events.into_iter().map(Ok)).boxed();
        let on_change = |change: &Change<ConfigMap>| {
            let what = match change {
                Change::Applied { previous: None, .. } => "new",
                Change::Applied { .. } => "changed",
                Change::Removed { .. } => "removed",
            };
            said.lock().push(format!("{what} {}", change.key()));
        };
        follow_shard(&shard, events, &Index::default(), &metrics, "ConfigMap", &on_change, || {
            said.lock().push("listed".into());
        })
        .await;
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        (said.into_inner(), text)
    }

    #[tokio::test]
    async fn one_that_does_not_parse_is_skipped_counted_and_not_taken_for_removed() {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let (said, metrics) = follow(vec![
            Init,
            InitApply(object("a", "good")),
            InitApply(object("a", "turns-bad")),
            InitApply(invalid(Some("b"), "bad")),
            InitApply(invalid(None, "from-nowhere")),
            InitDone,
            Apply(invalid(Some("a"), "turns-bad")),
            Init,
            InitApply(object("a", "good")),
            InitApply(invalid(Some("a"), "turns-bad")),
            InitDone,
            Delete(invalid(Some("a"), "turns-bad")),
            Delete(object("a", "never-seen")),
        ])
        .await;
        assert_eq!(
            said,
            [
                "new a|default/good",
                "new a|default/turns-bad",
                "listed",
                "changed a|default/good",
                "listed",
                "removed a|default/turns-bad",
            ]
        );
        assert!(metrics.contains("kube_kcp_objects_skipped_total{kind=\"ConfigMap\"} 4"), "{metrics}");
    }

    #[test]
    fn of_a_secret_that_was_applied_nothing_is_held() {
        let mut metadata = meta(Some("a"), "x");
        metadata
            .annotations
            .as_mut()
            .unwrap()
            .insert("kubectl.kubernetes.io/last-applied-configuration".into(), "{}".into());
        let object = PartialObjectMeta::<ConfigMap> { metadata, ..PartialObjectMeta::default() };
        let kept = without_content(object).metadata.annotations.unwrap();
        assert_eq!(kept.keys().collect::<Vec<_>>(), [crate::CLUSTER_ANNOTATION]);
    }

    #[tokio::test]
    async fn an_object_that_a_relist_brings_again_is_no_change() {
        use watcher::Event::{Init, InitApply, InitDone};
        let versioned = |version: &str| {
            let mut object = object("a", "x").unwrap();
            object.metadata.resource_version = Some(version.to_owned());
            InitApply(Ok(object))
        };
        let relists = vec![
            Init,
            versioned("1"),
            InitDone,
            Init,
            versioned("1"),
            InitDone,
            Init,
            versioned("2"),
            InitDone,
        ];
        let (said, _) = follow(relists).await;
        assert_eq!(said, ["new a|default/x", "listed", "listed", "changed a|default/x", "listed"]);
    }

    #[tokio::test]
    async fn what_a_relist_no_longer_holds_is_removed() {
        use watcher::Event::{Init, InitApply, InitDone};
        let (said, _) = follow(vec![
            Init,
            InitApply(object("a", "x")),
            InitApply(object("b", "x")),
            InitDone,
            Init,
            InitApply(object("b", "x")),
            InitDone,
        ])
        .await;
        assert_eq!(said.last().unwrap(), "listed");
        assert!(
            said.contains(&"removed a|default/x".to_owned())
                && !said.contains(&"removed b|default/x".to_owned())
        );
    }
}

use std::collections::BTreeSet;

use kube::{Resource, ResourceExt as _, core::error_boundary::InvalidObject};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc::UnboundedSender, time::Instant};

use super::{
    list_watch::{Event, Item, Sink},
    shards::Following,
};
use crate::{Change, ObjectKey, ShardUrl};

/// Brings what a shard tells of one kind into the index.
pub(super) struct IndexSink<'a, T> {
    following: &'a Following<T>,
    shard: ShardUrl,
    /// What the list that is under way has held so far.
    live: BTreeSet<ObjectKey>,
    listed: UnboundedSender<()>,
    list_again: Option<Instant>,
}

impl<'a, T> IndexSink<'a, T>
where
    T: Resource + DeserializeOwned + Send + Sync + 'static,
{
    pub(super) fn new(following: &'a Following<T>, shard: ShardUrl, listed: UnboundedSender<()>) -> Self {
        Self { following, shard, live: BTreeSet::new(), listed, list_again: None }
    }

    /// Takes an object in. One that cannot be used keeps its key alive in a list: it is there, so what was known of it before
    /// is not reported as removed.
    fn take(&mut self, item: Item<T>) -> Option<ObjectKey> {
        let Following { kind, workspace, index, prune, on_change, .. } = self.following;
        let shard = &self.shard;
        match item {
            Ok(mut object) => match ObjectKey::of(object.meta()) {
                Ok(key) => {
                    object.managed_fields_mut().clear();
                    prune(&mut object);
                    let change = index.apply(shard, key.clone(), object);
                    let new = matches!(change, Change::Applied { previous: None, .. });
                    workspace.locations().seen(&key.cluster, shard, new);
                    // A relist brings every object again; most have not changed.
                    if !is_unchanged(&change) {
                        on_change(&change);
                    }
                    Some(key)
                }
                Err(error) => {
                    workspace.metrics().skipped(kind);
                    tracing::error!(%error, %shard, kind, "an object is skipped");
                    None
                }
            },
            Err(invalid) => {
                workspace.metrics().skipped(kind);
                let key = key_of(&invalid)?;
                tracing::warn!(error = invalid.error, object = %key, kind, "an object does not parse and is skipped");
                Some(key)
            }
        }
    }

    fn delete(&mut self, item: &Item<T>) {
        let Following { index, .. } = self.following;
        let key = match item {
            Ok(object) => ObjectKey::of(object.meta()).ok(),
            Err(invalid) => key_of(invalid),
        };
        let Some(key) = key else { return };
        self.live.remove(&key);
        if let Some(change) = index.delete(&self.shard, &key) {
            self.following.removed(&[change]);
        }
    }

    fn list_ended(&mut self) {
        let Following { kind, workspace, index, .. } = self.following;
        let (shard, brake) = (&self.shard, &workspace.options().brake);
        let gone = index.finish_list(shard, &self.live, brake);
        self.live = BTreeSet::new();
        self.following.removed(&gone);
        let held = index.held(shard);
        if let Some(held) = held {
            tracing::error!(
                %shard,
                kind,
                objects = held.objects,
                since = %held.since,
                "so many objects have vanished at once that they are held until a second list"
            );
        }
        workspace.health().listed(shard, kind, held);
        self.list_again = index.second_list(shard, brake);
        // Who listens has ended only when this does.
        let _ = self.listed.send(());
    }
}

impl<T> Sink<T> for IndexSink<'_, T>
where
    T: Resource + DeserializeOwned + Send + Sync + 'static,
{
    fn tell(&mut self, event: Event<T>) {
        let Following { kind, workspace, index, .. } = self.following;
        if let Event::Failed(error) = event {
            workspace.metrics().watch_error(kind, error.category());
            workspace.health().failed(&self.shard, kind, error.to_string());
            tracing::warn!(%error, shard = %self.shard, kind, "the watch is interrupted and begins again");
            return;
        }
        workspace.metrics().watch_event(kind);
        workspace.health().event(&self.shard, kind);
        match event {
            Event::ListBegins => {
                workspace.metrics().relist(kind);
                self.live = BTreeSet::new();
            }
            Event::Listed(item) => {
                if let Some(key) = self.take(item) {
                    self.live.insert(key);
                }
            }
            Event::ListEnded => self.list_ended(),
            Event::Applied(item) => {
                self.take(item);
                // The last of what was held may have come back.
                if self.list_again.is_some() && index.held(&self.shard).is_none() {
                    self.list_again = None;
                    workspace.health().let_go(&self.shard, kind);
                }
            }
            Event::Deleted(item) => self.delete(&item),
            Event::Bookmark | Event::Failed(_) => {}
        }
        workspace.metrics().indexed(kind, index.len());
    }

    fn list_again(&self) -> Option<Instant> {
        self.list_again
    }
}

fn key_of(invalid: &InvalidObject) -> Option<ObjectKey> {
    ObjectKey::of(&invalid.metadata).ok()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
    use kube::Config;
    use parking_lot::Mutex;
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;
    use crate::{CLUSTER_ANNOTATION, Connection, Index, Metrics, Readiness, VirtualWorkspace};

    fn meta(cluster: Option<&str>, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some("default".into()),
            annotations: cluster.map(|cluster| [(CLUSTER_ANNOTATION.to_owned(), cluster.to_owned())].into()),
            ..ObjectMeta::default()
        }
    }

    fn object(cluster: &str, name: &str) -> Item<ConfigMap> {
        Ok(ConfigMap { metadata: meta(Some(cluster), name), ..ConfigMap::default() })
    }

    fn invalid(cluster: Option<&str>, name: &str) -> Item<ConfigMap> {
        Err(Box::new(InvalidObject {
            error: "a string where a map should be".into(),
            metadata: meta(cluster, name),
        }))
    }

    /// What the changes say, in their order, and the metrics. The events are scripted: a real server's schema lets no
    /// such object in.
    async fn follow(events: Vec<Event<ConfigMap>>) -> (Vec<String>, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let said = Arc::new(Mutex::new(Vec::new()));
        let on_change = {
            let said = said.clone();
            move |change: &Change<ConfigMap>| {
                let what = match change {
                    Change::Applied { previous: None, .. } => "new",
                    Change::Applied { .. } => "changed",
                    Change::Removed { .. } => "removed",
                };
                said.lock().push(format!("{what} {}", change.key()));
            }
        };
        let connection = Connection::new(Config::new("https://s.invalid".parse().unwrap())).unwrap();
        let gate = Readiness::default().gate("shards");
        let following = Following {
            kind: "ConfigMap".into(),
            path: "/api/v1/configmaps".into(),
            metadata: false,
            workspace: VirtualWorkspace::of_export(&connection, "x", Default::default(), metrics, gate),
            index: Arc::new(Index::default()),
            gate: Readiness::default().gate("list"),
            prune: Box::new(|_| ()),
            on_change: Box::new(on_change),
        };
        let (listed, mut lists) = tokio::sync::mpsc::unbounded_channel();
        let mut sink = IndexSink::new(&following, "https://s".parse().unwrap(), listed);
        for event in events {
            sink.tell(event);
            if lists.try_recv().is_ok() {
                said.lock().push("listed".into());
            }
        }
        drop(sink);
        drop(following);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        (Arc::into_inner(said).unwrap().into_inner(), text)
    }

    #[tokio::test]
    async fn one_that_does_not_parse_is_skipped_counted_and_not_taken_for_removed() {
        use Event::{Applied, Deleted, ListBegins, ListEnded, Listed};
        let (said, metrics) = follow(vec![
            ListBegins,
            Listed(object("a", "good")),
            Listed(object("a", "turns-bad")),
            Listed(invalid(Some("b"), "bad")),
            Listed(invalid(None, "from-nowhere")),
            ListEnded,
            Applied(invalid(Some("a"), "turns-bad")),
            ListBegins,
            Listed(object("a", "good")),
            Listed(invalid(Some("a"), "turns-bad")),
            ListEnded,
            Deleted(invalid(Some("a"), "turns-bad")),
            Deleted(object("a", "never-seen")),
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

    #[tokio::test]
    async fn an_object_that_a_relist_brings_again_is_no_change() {
        use Event::{ListBegins, ListEnded, Listed};
        let versioned = |version: &str| {
            let mut object = object("a", "x").unwrap();
            object.metadata.resource_version = Some(version.to_owned());
            Listed(Ok(object))
        };
        let list = |version| [ListBegins, versioned(version), ListEnded];
        let (said, _) = follow([list("1"), list("1"), list("2")].into_iter().flatten().collect()).await;
        assert_eq!(said, ["new a|default/x", "listed", "listed", "changed a|default/x", "listed"]);
    }

    #[tokio::test]
    async fn what_a_relist_no_longer_holds_is_removed_and_what_is_deleted_meanwhile_too() {
        use Event::{Deleted, ListBegins, ListEnded, Listed};
        let (said, _) = follow(vec![
            ListBegins,
            Listed(object("a", "x")),
            Listed(object("b", "x")),
            ListEnded,
            ListBegins,
            Listed(object("b", "x")),
            Deleted(object("b", "x")),
            ListEnded,
        ])
        .await;
        let last: Vec<&str> = said.iter().rev().take(4).rev().map(String::as_str).collect();
        assert_eq!(last, ["changed b|default/x", "removed b|default/x", "removed a|default/x", "listed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_counted_and_a_second_list_is_asked_for_until_it_is_back() {
        let many = || (0..12).map(|number| Event::Listed(object("a", &format!("x{number}"))));
        let first = || {
            let mut events = vec![Event::ListBegins];
            events.extend(many());
            events.extend([Event::ListEnded, Event::ListBegins, Event::ListEnded]);
            events
        };
        let (said, _) = follow(first()).await;
        assert_eq!(said.iter().filter(|said| said.starts_with("removed")).count(), 0);
        let mut back = first();
        back.extend((0..12).map(|number| Event::Applied(object("a", &format!("x{number}")))));
        let (said, _) = follow(back).await;
        assert_eq!(said.iter().filter(|said| said.starts_with("changed")).count(), 12);
    }
}

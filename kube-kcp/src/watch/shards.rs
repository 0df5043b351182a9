use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use serde::de::DeserializeOwned;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{list_watch::list_watch, sink::IndexSink, wire::Source};
use crate::{Change, Gate, Index, ShardUrl, VirtualWorkspace};

type OnChange<T> = Box<dyn Fn(&Change<T>) + Send + Sync>;

/// One kind that is followed on all shards.
pub(crate) struct Following<T> {
    pub(crate) kind: String,
    pub(crate) path: String,
    pub(crate) metadata: bool,
    pub(crate) workspace: VirtualWorkspace,
    pub(crate) index: Arc<Index<T>>,
    pub(crate) gate: Gate,
    pub(crate) prune: Box<dyn Fn(&mut T) + Send + Sync>,
    pub(crate) on_change: OnChange<T>,
}

/// A shard as its watch sees it.
struct Shard {
    _watch: AbortOnDrop,
    /// Since when it is listed.
    since: Instant,
    /// Since when it is not listed any more.
    delisted: Option<Instant>,
}

/// One list-watch per shard, as shards come and go.
pub(crate) async fn follow_shards<T>(following: Arc<Following<T>>)
where
    T: Resource + DeserializeOwned + Send + Sync + 'static,
{
    let mut endpoints = following.workspace.endpoints();
    let mut shards: BTreeMap<ShardUrl, Shard> = BTreeMap::new();
    let mut let_go = None;
    // A list has ended somewhere.
    let (listed, mut lists) = tokio::sync::mpsc::unbounded_channel();
    loop {
        let now = Instant::now();
        let current = endpoints.borrow_and_update().clone();
        if let Some(current) = &current {
            if current.let_go != let_go {
                let_go = current.let_go;
                following.let_go(let_go.into_iter());
            }
            following.arrange(&mut shards, &current.shards, now, &listed);
        }
        let patience = following.set_gate(current.as_ref().map(|current| &current.shards), &shards, now);
        let gone_after = following.workspace.options().shard_gone_after;
        let gone = shards.values().filter_map(|shard| Some(shard.delisted? + gone_after)).min();
        tokio::select! {
            // Where nobody follows the shards any more, those that are known stay.
            () = changed(&mut endpoints) => {}
            // It never closes: `listed` is held here.
            _ = lists.recv() => {}
            () = until(gone) => {}
            () = until(patience) => {}
        }
    }
}

async fn changed(endpoints: &mut crate::virtual_workspace::Endpoints) {
    if endpoints.changed().await.is_err() {
        std::future::pending().await
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl<T> Following<T>
where
    T: Resource + DeserializeOwned + Send + Sync + 'static,
{
    fn arrange(
        self: &Arc<Self>,
        shards: &mut BTreeMap<ShardUrl, Shard>,
        current: &BTreeSet<ShardUrl>,
        now: Instant,
        listed: &tokio::sync::mpsc::UnboundedSender<()>,
    ) {
        for url in current {
            // One that is back answered 404 meanwhile, and its watch backs off. That wait must not be sat out.
            if shards.get(url).is_some_and(|shard| shard.delisted.is_none()) {
                continue;
            }
            match self.open(url, listed.clone()) {
                Ok(watch) => {
                    let shard = Shard { _watch: AbortOnDrop(watch), since: now, delisted: None };
                    shards.insert(url.clone(), shard);
                }
                Err(error) => {
                    tracing::error!(%error, shard = %url, kind = self.kind, "a shard cannot be watched");
                }
            }
        }
        for (url, shard) in shards.iter_mut() {
            if !current.contains(url) {
                shard.delisted.get_or_insert(now);
            }
        }
        let gone_after = self.workspace.options().shard_gone_after;
        let gone = shards.extract_if(.., |_, shard| {
            shard.delisted.is_some_and(|since| now.duration_since(since) >= gone_after)
        });
        for (url, shard) in gone {
            // Its watch ends first: a late answer must not bring back what is taken out.
            drop(shard);
            let removed = self.index.shard_gone(&url, &self.workspace.options().brake);
            self.removed(&removed);
            self.workspace.health().gone(&url, &self.kind, self.index.held(&url));
        }
    }

    fn open(
        self: &Arc<Self>,
        shard: &ShardUrl,
        listed: tokio::sync::mpsc::UnboundedSender<()>,
    ) -> Result<JoinHandle<()>, crate::ConnectError> {
        let client = self.workspace.connection().wildcard(shard)?;
        let source = Source { client, path: self.path.clone(), metadata: self.metadata };
        let (following, shard) = (self.clone(), shard.clone());
        Ok(tokio::spawn(async move {
            let options = following.workspace.options().watch.clone();
            let mut sink = IndexSink::new(&following, shard, listed);
            list_watch(&source, &options, &mut sink).await;
        }))
    }

    fn let_go(&self, before: impl Iterator<Item = Timestamp>) {
        for before in before {
            let removed = self.index.let_go(before);
            if removed.is_empty() {
                continue;
            }
            tracing::warn!(kind = self.kind, objects = removed.len(), %before, "what has vanished is let go of");
            self.removed(&removed);
            // Of every shard something may have been held, also of those that are gone.
            for shard in self.workspace.health().shards() {
                let held = self.index.held(&shard.shard);
                if shard.held.contains_key(&self.kind) && held.is_none() {
                    self.workspace.health().let_go(&shard.shard, &self.kind);
                }
            }
        }
    }

    /// Tells what is gone.
    pub(super) fn removed(&self, changes: &[Change<T>]) {
        for change in changes {
            self.workspace.locations().unseen(&change.key().cluster);
            (self.on_change)(change);
        }
        self.workspace.metrics().indexed(&self.kind, self.index.len());
    }

    /// Opens the gate if every shard that is waited for was listed to the end. Returns when that is to be looked at again.
    fn set_gate(
        &self,
        current: Option<&BTreeSet<ShardUrl>>,
        shards: &BTreeMap<ShardUrl, Shard>,
        now: Instant,
    ) -> Option<Instant> {
        let Some(current) = current else {
            self.gate.close();
            return None;
        };
        let unlisted: Vec<&ShardUrl> = current.iter().filter(|url| !self.index.is_synced(url)).collect();
        if unlisted.is_empty() {
            self.gate.open();
            return None;
        }
        let waits_until = |url: &ShardUrl| {
            let patience = self.workspace.options().patience?;
            shards.get(url).map(|shard| shard.since + patience)
        };
        let some_listed = unlisted.len() < current.len();
        let waited_for: Vec<Option<Instant>> = unlisted
            .into_iter()
            .map(waits_until)
            .filter(|until| !some_listed || until.is_none_or(|until| until > now))
            .collect();
        if waited_for.is_empty() {
            self.gate.open()
        } else {
            self.gate.close()
        }
        waited_for.into_iter().flatten().filter(|until| *until > now).min()
    }
}

/// A watch ends with the task that started it.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::sync::watch;

use crate::{
    Gate, ShardUrl,
    backoff::WatchBackoff,
    kinds::{APIExportEndpointSlice, VirtualWorkspaceType, WorkspaceType},
};

/// The shards that serve a virtual workspace, as they are now; `None` until they were read for the first time. An empty set is
/// a normal state: a shard is listed while it holds at least one binding.
pub type Endpoints = watch::Receiver<Option<BTreeSet<ShardUrl>>>;

/// Follows the endpoints of an APIExport: the slice that kcp makes with the export's name. `provider` is a client of the
/// export's workspace. `gate` opens once the slice was read. The task ends when every receiver is dropped.
#[must_use]
pub fn export_endpoints(provider: Client, export: &str, gate: Gate) -> Endpoints {
    let api: Api<APIExportEndpointSlice> = Api::all(provider);
    follow(api, export, gate, |slice: &APIExportEndpointSlice| {
        slice
            .status
            .iter()
            .flat_map(|status| &status.endpoints)
            .map(|endpoint| endpoint.url.clone())
            .collect()
    })
}

/// Follows the endpoints of a WorkspaceType's initializer. `provider` is a client of the type's workspace. `gate` opens once
/// the type was read.
#[must_use]
pub fn initializing_endpoints(provider: Client, workspace_type: &str, gate: Gate) -> Endpoints {
    let api: Api<WorkspaceType> = Api::all(provider);
    follow(api, workspace_type, gate, |workspace_type: &WorkspaceType| {
        workspace_type
            .status
            .iter()
            .flat_map(|status| &status.virtual_workspaces)
            .filter(|endpoint| endpoint.type_ == VirtualWorkspaceType::Initializing)
            .map(|endpoint| endpoint.url.clone())
            .collect()
    })
}

fn follow<K>(api: Api<K>, name: &str, gate: Gate, urls: fn(&K) -> Vec<String>) -> Endpoints
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let (sender, receiver) = watch::channel(None);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let name = name.to_owned();
    tokio::spawn(async move {
        let mut objects = watcher(api, config)
            .backoff(WatchBackoff::default())
            .inspect_err(|error| tracing::warn!(error = %crate::Brief(error), "endpoints cannot be watched"))
            .applied_objects()
            .boxed();
        while let Some(next) = tokio::select! {
            next = objects.next() => next,
            () = sender.closed() => None,
        } {
            let Ok(object) = next else { continue };
            let mut shards = BTreeSet::new();
            for url in urls(&object) {
                match url.parse::<ShardUrl>() {
                    Ok(shard) => {
                        shards.insert(shard);
                    }
                    Err(error) => {
                        tracing::warn!(%error, object = object.name_any(), "an endpoint is ignored")
                    }
                }
            }
            sender.send_if_modified(|current| {
                let changed = current.as_ref() != Some(&shards);
                if changed {
                    let shards: Vec<&str> = shards.iter().map(ShardUrl::as_str).collect();
                    tracing::info!(object = name, ?shards, "endpoints changed");
                }
                *current = Some(shards);
                changed
            });
            // After the send: whoever waits for this gate must not see the endpoints as unknown.
            gate.open();
        }
    });
    receiver
}

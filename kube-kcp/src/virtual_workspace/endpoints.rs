use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use futures::{StreamExt as _, TryStreamExt as _};
use http::uri::{Authority, Uri};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
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

/// On the APIExportEndpointSlice or the WorkspaceType, by an operator: what has vanished before this time (RFC 3339) and is held, is
/// gone. A time and no switch, so that it cannot let go of what vanishes later.
pub const LET_GO_ANNOTATION: &str = "kube-kcp/let-go-before";
/// A clock may be so much ahead of ours.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// The shards that serve a virtual workspace, as they are now; `None` until they were read for the first time. An empty set is
/// a normal state: a shard is listed while it holds at least one binding.
pub(crate) type Endpoints = watch::Receiver<Option<Listed>>;

/// What the object that lists the shards says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) shards: BTreeSet<ShardUrl>,
    /// See [`LET_GO_ANNOTATION`].
    pub(crate) let_go: Option<Timestamp>,
}

/// Where shards are reached, if not at the host that kcp lists: its own may be known inside of its network only.
///
/// Parses from `LISTED=REACHED`, each `HOST` or `HOST:PORT`, or from just `REACHED`, for every shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardHost {
    listed: Option<Authority>,
    reached: Authority,
}

/// What is no [`ShardHost`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither HOST[:PORT] nor LISTED=REACHED")]
pub struct ShardHostError(String);

impl FromStr for ShardHost {
    type Err = ShardHostError;

    fn from_str(text: &str) -> Result<Self, ShardHostError> {
        let refused = || ShardHostError(text.to_owned());
        let authority = |text: &str| {
            let authority: Authority = text.parse().map_err(|_| refused())?;
            let plain = !authority.host().is_empty() && !authority.as_str().contains('@');
            plain.then_some(authority).ok_or_else(refused)
        };
        match text.split_once('=') {
            Some((listed, reached)) => {
                Ok(Self { listed: Some(authority(listed)?), reached: authority(reached)? })
            }
            None => Ok(Self { listed: None, reached: authority(text)? }),
        }
    }
}

impl ShardHost {
    /// The listed URL with the host at which it is reached. The first of `hosts` that is about it counts.
    fn applied(hosts: &[Self], url: &str) -> String {
        let Ok(uri) = url.parse::<Uri>() else { return url.to_owned() };
        let Some(listed) = uri.authority() else { return url.to_owned() };
        let about = |host: &&Self| host.listed.as_ref().is_none_or(|of| of == listed);
        let Some(host) = hosts.iter().find(about) else { return url.to_owned() };
        let mut parts = uri.into_parts();
        parts.authority = Some(host.reached.clone());
        Uri::from_parts(parts).map_or_else(|_| url.to_owned(), |uri| uri.to_string())
    }
}

/// Follows the endpoints of an APIExport: the slice that kcp makes with the export's name. `gate` opens once it was read. The task
/// ends when every receiver is dropped.
pub(super) fn of_export(provider: Client, export: &str, hosts: Vec<ShardHost>, gate: Gate) -> Endpoints {
    let api: Api<APIExportEndpointSlice> = Api::all(provider);
    follow(api, export, hosts, gate, |slice: &APIExportEndpointSlice| {
        let endpoints = slice.status.iter().flat_map(|status| &status.endpoints);
        endpoints.map(|endpoint| endpoint.url.clone()).collect()
    })
}

/// Follows the endpoints of a WorkspaceType's initializer.
pub(super) fn initializing(
    provider: Client,
    workspace_type: &str,
    hosts: Vec<ShardHost>,
    gate: Gate,
) -> Endpoints {
    let api: Api<WorkspaceType> = Api::all(provider);
    follow(api, workspace_type, hosts, gate, |workspace_type: &WorkspaceType| {
        let endpoints = workspace_type.status.iter().flat_map(|status| &status.virtual_workspaces);
        endpoints
            .filter(|endpoint| endpoint.type_ == VirtualWorkspaceType::Initializing)
            .map(|endpoint| endpoint.url.clone())
            .collect()
    })
}

fn follow<K>(
    api: Api<K>,
    name: &str,
    hosts: Vec<ShardHost>,
    gate: Gate,
    urls: fn(&K) -> Vec<String>,
) -> Endpoints
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
            let shards = shards(&urls(&object), &hosts);
            let let_go = object.annotations().get(LET_GO_ANNOTATION).and_then(|text| time(text));
            let listed = Listed { shards, let_go };
            sender.send_if_modified(|current| {
                let changed = current.as_ref() != Some(&listed);
                if changed {
                    let shards: Vec<&str> = listed.shards.iter().map(ShardUrl::as_str).collect();
                    tracing::info!(object = name, ?shards, "endpoints changed");
                }
                *current = Some(listed);
                changed
            });
            // After the send: whoever waits for this gate must not see the endpoints as unknown.
            gate.open();
        }
    });
    receiver
}

fn shards(urls: &[String], hosts: &[ShardHost]) -> BTreeSet<ShardUrl> {
    let mut of: BTreeMap<ShardUrl, &str> = BTreeMap::new();
    for url in urls {
        match ShardHost::applied(hosts, url).parse::<ShardUrl>() {
            // Two that are reached at one place would be one shard with the objects of both.
            Ok(shard) if of.get(&shard).is_some_and(|other| other != url) => {
                tracing::error!(%shard, url, "two shards are reached at one address; name each one's host apart");
            }
            Ok(shard) => {
                of.insert(shard, url);
            }
            Err(error) => tracing::warn!(%error, "an endpoint is ignored"),
        }
    }
    of.into_keys().collect()
}

fn time(text: &str) -> Option<Timestamp> {
    let time = text.parse::<Timestamp>().inspect_err(
        |error| tracing::warn!(%error, annotation = LET_GO_ANNOTATION, "it is no time in the form of RFC 3339"),
    );
    // One far ahead, mistyped, would turn the brake off for years.
    time.ok().filter(|time| {
        let sane = *time <= Timestamp::now() + AHEAD;
        if !sane {
            tracing::warn!(%time, annotation = LET_GO_ANNOTATION, "a time that is still to come is ignored");
        }
        sane
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(texts: &[&str]) -> Vec<ShardHost> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_shard_is_reached_where_the_operator_says() {
        let url = "https://shard-1.kcp.svc:6443/services/apiexport/x/y";
        for (overrides, reached) in [
            (&[][..], "https://shard-1.kcp.svc:6443/services/apiexport/x/y"),
            (&["10.0.0.1:443"], "https://10.0.0.1:443/services/apiexport/x/y"),
            (&["other:1=a:1", "shard-1.kcp.svc:6443=b:2", "c"], "https://b:2/services/apiexport/x/y"),
            (&["other:1=a:1"], url),
            (&["[fd00::1]:6443"], "https://[fd00::1]:6443/services/apiexport/x/y"),
        ] {
            assert_eq!(ShardHost::applied(&hosts(overrides), url), reached, "{overrides:?}");
        }
        for bad in ["", "=", "a=", "=a", "a b", "https://a", "a/b", "me@host"] {
            assert!(bad.parse::<ShardHost>().is_err(), "{bad}");
        }
    }

    #[test]
    fn of_two_shards_at_one_address_the_first_counts() {
        let urls = ["https://a:1/x".to_owned(), "https://b:2/x".to_owned()];
        assert_eq!(shards(&urls, &[]).len(), 2);
        assert_eq!(shards(&urls, &hosts(&["front:443"])).len(), 1);
        assert!(shards(&["/x".to_owned()], &[]).is_empty());
    }

    #[test]
    fn a_time_that_is_none_or_far_ahead_lets_nothing_go() {
        assert_eq!(time("2026-01-01T00:00:00Z"), Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(time("true"), None);
        assert_eq!(time("9999-01-01T00:00:00Z"), None);
    }
}

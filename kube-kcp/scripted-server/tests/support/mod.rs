//! Clients as they are in earnest, and objects for them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{fmt::Debug, future::Future, time::Duration};

use futures::{Stream, StreamExt as _};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config, ResourceExt as _,
    client::{Body, ConfigExt as _, middleware::BaseUriLayer},
    core::DynamicObject,
    discovery::ApiResource,
    runtime::watcher::{self, Event},
};
use kube_kcp_scripted_server::{ScriptedServer, Shard};
use serde_json::{Value, json};
use tower::Layer as _;

/// The shard's path, as kcp has it.
pub const PREFIX: &str = "/services/apiexport/root:annex/annex.sh";

/// A server with one shard.
pub async fn start() -> (ScriptedServer, Shard) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = ScriptedServer::start().await.unwrap();
    let shard = server.shard(PREFIX);
    (server, shard)
}

fn config(server: &ScriptedServer, base: &str) -> Config {
    let mut config = Config::new(base.parse().unwrap());
    config.root_cert = Some(vec![server.ca_der().to_vec()]);
    config.default_retry = false;
    config
}

/// kube's own client: HTTP/1.1.
pub fn http1(server: &ScriptedServer, base: &str) -> Client {
    Client::try_from(config(server, base)).unwrap()
}

/// kube's client with a token.
pub fn with_token(server: &ScriptedServer, base: &str, token: &str) -> Client {
    let mut config = config(server, base);
    config.auth_info.token = Some(token.to_owned().into());
    Client::try_from(config).unwrap()
}

/// A client that speaks HTTP/2, on one connection.
pub fn http2(server: &ScriptedServer, base: &str) -> Client {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config(server, base).rustls_client_config().unwrap())
        .https_only()
        .enable_http2()
        .wrap_connector(connector);
    let client: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new()).build(https);
    Client::new(BaseUriLayer::new(base.parse().unwrap()).layer(client), "default")
}

/// Both, by their names.
pub fn both(server: &ScriptedServer, base: &str) -> [(&'static str, Client); 2] {
    [("http/1.1", http1(server, base)), ("http/2", http2(server, base))]
}

pub fn wildcard(shard: &Shard) -> String {
    format!("{}/clusters/*", shard.url())
}

pub fn workspace(shard: &Shard, cluster: &str) -> String {
    format!("{}/clusters/{cluster}", shard.url())
}

pub fn config_map(cluster: &str, name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": "default", "name": name, "annotations": {"kcp.io/cluster": cluster}},
        "data": {"value": value},
    })
}

/// A ConfigMap's API in the namespace `default` of a workspace.
pub fn config_maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, "default")
}

/// Installs, a kind with a spec and a status.
pub fn installs(client: Client) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "annex.sh".into(),
        version: "v1".into(),
        api_version: "annex.sh/v1".into(),
        kind: "Install".into(),
        plural: "installs".into(),
    };
    Api::namespaced_with(client, "default", &resource)
}

pub fn install(name: &str) -> Value {
    json!({"apiVersion": "annex.sh/v1", "kind": "Install", "metadata": {"name": name, "namespace": "default"},
        "spec": {"n": 1}})
}

/// What a kube watcher says, in short.
pub fn said<K: kube::Resource + Debug>(event: &watcher::Result<Event<K>>) -> String {
    let at = |object: &K| {
        let cluster = object.annotations().get("kcp.io/cluster").cloned().unwrap_or("?".into());
        format!("{cluster}/{}", object.name_any())
    };
    match event {
        Ok(Event::Init) => "init".into(),
        Ok(Event::InitApply(object)) => format!("init {}", at(object)),
        Ok(Event::InitDone) => "listed".into(),
        Ok(Event::Apply(object)) => format!("apply {}", at(object)),
        Ok(Event::Delete(object)) => format!("delete {}", at(object)),
        Err(watcher::Error::InitialListFailed(_)) => "list failed".into(),
        Err(watcher::Error::WatchStartFailed(_)) => "watch not started".into(),
        Err(watcher::Error::WatchError(status)) => format!("error {}", status.code),
        Err(watcher::Error::WatchFailed(_)) => "watch failed".into(),
        Err(watcher::Error::NoResourceVersion) => "no resourceVersion".into(),
    }
}

/// The next so many things that a watcher says.
pub async fn next<K, S>(events: &mut S, count: usize) -> Vec<String>
where
    K: kube::Resource + Debug,
    S: Stream<Item = watcher::Result<Event<K>>> + Unpin,
{
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.push(said(&soon(events.next()).await.unwrap()));
    }
    seen
}

/// A test that waits in vain is to fail, not to hang. Nothing here takes more than a moment.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes too long")
}

/// The code and the reason of an API error.
pub fn refusal<T: Debug>(result: kube::Result<T>) -> (u16, String) {
    match result.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason),
        other => panic!("no status, but {other:?}"),
    }
}

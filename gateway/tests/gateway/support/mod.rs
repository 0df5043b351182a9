//! What the tests are made of.

pub mod kcp;
pub mod runner;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use annex_answering::{Callers, Catalog, Installs, Workspaces};
use annex_apis::{ExtensionVersion, Install, Tenant};
use annex_gateway::{
    App, Bodies, Metrics, Parameters, Rights, RunnerSettings, Runners, Settings, Storage, broker_router,
    router,
};
use annex_grant::{KeyRing, ReplayGuard};
use annex_service::{Followed, Tls, serve_until};
use annex_storage::Store;
use axum::{
    body::Body,
    http::{HeaderMap, Request, request::Builder},
};
use http_body_util::BodyExt as _;
use kube_kcp::{Index, ObjectKey, ShardUrl};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use kcp::Kcp;
use runner::Runner;

pub const EXTENSION: &str = "com.example.hello";
pub const HASH: &str = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
pub const HOST: &str = "acme--hello.apps.test";
/// The gateway's own.
pub const GATEWAY: &str = "gateway.test";
pub const UID: &str = "6f1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c11";
pub const ACCOUNT: &str = "system:serviceaccount:annex:annex";
/// For so long in these tests holds what kcp says.
pub const REMEMBERED: Duration = Duration::from_secs(5);

pub struct World {
    pub app: Arc<App>,
    pub kcp: Kcp,
    pub runner: Runner,
    index: Arc<Index<Install>>,
    registry: Registry,
}

/// Where a world is reached over a network.
pub struct Listening {
    pub api: SocketAddr,
    pub broker: SocketAddr,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The status and the code of a refusal, which has a message, too.
    pub fn refusal(&self) -> (u16, String) {
        let body = self.json();
        let fields = body.as_object().unwrap_or_else(|| panic!("no JSON: {self:?}"));
        assert!(fields.len() == 2 && !body["message"].as_str().unwrap().is_empty(), "{body}");
        (self.status, body["code"].as_str().unwrap().to_owned())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub struct Options {
    pub timeout: Duration,
    pub bodies_mib: u32,
    pub synced: bool,
    pub knative: bool,
    pub storage: Option<Store>,
}

impl Default for Options {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(20), bodies_mib: 64, synced: true, knative: false, storage: None }
    }
}

fn ring(files: &[(String, Vec<u8>)]) -> KeyRing {
    KeyRing::parse(files).unwrap()
}

impl World {
    /// Workspace `acme` has `com.example.hello`, and alice and the workspace's own account may call it. `globex` has nothing.
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        annex_service::install_tls_provider();
        let audience = if options.knative { "annex-acme/exec" } else { "direct" };
        let files = vec![("k1".to_owned(), b"a secret of the gateway that signs grants".to_vec())];
        let derived = ring(&files).derived(&audience.parse().unwrap());
        let derived: Vec<_> =
            derived.into_iter().map(|(id, text)| (id.to_string(), text.into_bytes())).collect();
        let runner = Runner::start(ring(&derived), audience).await;
        let kcp = Kcp::default();
        let workspaces: Workspaces = {
            let kcp = kcp.clone();
            Arc::new(move |cluster| Ok(kcp.client(cluster.as_str())))
        };
        let catalog = Catalog::default();
        if options.synced {
            catalog.versions.finish_list(&Default::default());
            catalog.tenants.finish_list(&Default::default());
        }
        let index: Arc<Index<Install>> = Arc::default();
        let runners = RunnerSettings {
            direct: (!options.knative).then(|| runner.url.clone()),
            // Every namespace's is the one double, which listens at an address: a fragment is not sent.
            exec: format!("{}/#{{namespace}}", runner.url),
            ..RunnerSettings::default()
        };
        let runners = Runners::new(&runners).unwrap();
        let mut registry = Registry::default();
        let app = App {
            workspaces: workspaces.clone(),
            callers: Callers::remembering(kcp.client("provider"), REMEMBERED),
            rights: Rights::new(workspaces.clone(), REMEMBERED),
            parameters: Parameters::new(workspaces),
            early: annex_gateway::Early::default(),
            orders: ReplayGuard::new(100),
            keys: Followed::load("the keys", Vec::new(), move |_| Ok(ring(&files))).unwrap(),
            catalog,
            installs: Arc::new(Installs::new(index.clone(), move || options.synced)),
            runners,
            storage: options.storage.map(Storage::new),
            bodies: Bodies::new(options.bodies_mib),
            settings: Settings {
                timeout: options.timeout,
                upload: Duration::from_secs(20),
                default_memory_mb: 64,
                skew: Duration::from_secs(5),
            },
            metrics: Metrics::register(&mut registry),
        };
        let world = Self { app: Arc::new(app), kcp, runner, index, registry };
        for tenant in ["acme", "globex"] {
            world.app.catalog.tenants.put(Tenant::new(tenant, Default::default()));
        }
        world.publish(|_| {});
        world.install("acme", |_| {});
        world.kcp.allow("acme", "alice", "hello");
        world.kcp.allow("acme", ACCOUNT, "hello");
        world
    }

    pub fn publish(&self, change: impl FnOnce(&mut Value)) {
        let mut version = json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "ExtensionVersion",
            "metadata": { "name": format!("{EXTENSION}-1.2.3") },
            "spec": {
                "extension": EXTENSION, "version": "1.2.3", "contentHash": HASH, "publisher": "example.com",
                "capabilities": ["log", "secrets", "storage.kv"],
                "endpoints": [
                    { "method": "GET", "path": "/notes", "handler": "h" },
                    { "method": "GET", "path": "/notes/{id}", "handler": "h" },
                    { "method": "POST", "path": "/notes", "handler": "h" },
                    { "method": "HEAD", "path": "/notes", "handler": "h" },
                ],
            },
        });
        change(&mut version);
        let version: ExtensionVersion = serde_json::from_value(version).unwrap();
        self.app.catalog.versions.put(version);
    }

    /// The Install `default/hello` of a workspace, as its status was left.
    pub fn install(&self, cluster: &str, change: impl FnOnce(&mut Value)) -> ObjectKey {
        let mut install = json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": "hello", "namespace": "default", "uid": UID },
            "spec": {
                "extension": EXTENSION, "secrets": [{ "name": "smtp" }], "parameters": { "greeting": "hi" },
            },
            "status": {
                "installedVersion": "1.2.3", "contentHash": HASH, "host": HOST, "runnerRef": { "mode": "direct" },
                "routes": [{ "host": HOST, "contentHash": HASH }],
            },
        });
        change(&mut install);
        let key = ObjectKey {
            cluster: cluster.parse().unwrap(),
            namespace: "default".into(),
            name: install["metadata"]["name"].as_str().unwrap().to_owned(),
        };
        let mut install: Install = serde_json::from_value(install).unwrap();
        annex_gateway::prune(&mut install);
        let shard: ShardUrl = "https://shard.test:6443/services/apiexport/x/annex.sh".parse().unwrap();
        self.app.installs.changed(&self.index.apply(&shard, key.clone(), install));
        key
    }

    /// How often a counter has counted: `calls_total{code="Answered"}`.
    pub fn counted(&self, counter: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let values = text.lines().filter_map(|line| line.strip_prefix(counter)?.strip_prefix(' '));
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    }

    /// Serves the API, and what runners ask, on addresses of this machine.
    pub async fn listen(&self) -> Listening {
        let serve = async |router: axum::Router| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(serve_until(listener, Tls::default(), router, std::future::pending()));
            address
        };
        Listening {
            api: serve(router(self.app.clone())).await,
            broker: serve(broker_router(self.app.clone())).await,
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let answer = read(router(self.app.clone()).oneshot(request).await.unwrap()).await;
        assert!(!answer.header("content-security-policy").is_empty());
        answer
    }

    pub async fn send_to_broker(&self, request: Request<Body>) -> Answer {
        read(broker_router(self.app.clone()).oneshot(request).await.unwrap()).await
    }

    /// `GET` of the extension's `path`, at its own host.
    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(to("GET", path, HOST, token).body(Body::empty()).unwrap()).await
    }
}

async fn read(response: axum::response::Response) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    assert_eq!(parts.headers.get_all("x-request-id").iter().count(), 1);
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// A request for the extension's `path`; an empty token is none.
pub fn to(method: &str, path: &str, host: &str, token: &str) -> Builder {
    let request =
        Request::builder().method(method).uri(format!("/api/ext/{EXTENSION}{path}")).header("host", host);
    if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) }
}

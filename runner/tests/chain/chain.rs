//! A gateway, a runner, and two workspaces that have the hostile extension.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annex_answering::{Callers, Catalog, Installs, Workspaces};
use annex_apis::{ExtensionVersion, Install, Tenant};
use annex_gateway::{
    App, Bodies, Metrics, Parameters, Rights, RunnerSettings, Runners, Settings, broker_router, router,
};
use annex_grant::{KeyRing, ReplayGuard};
use annex_service::{Followed, Tls, serve_until};
use axum::Router;
use kube_kcp::{Index, ObjectKey, ShardUrl};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::components;
use crate::kcp::Kcp;
use crate::process::Process;
use crate::support::{Answer, eventually, say};
use crate::tap::Tap;
use crate::wat_guest;
use crate::world::World;

pub const EXTENSION: &str = "com.example.hello";
/// Its guest does nothing but grow its table.
pub const TABLES: &str = "com.example.tables";
/// Of the workspace `acme`; alice may call what is there.
pub const HOST: &str = "acme--hello.apps.test";
/// The same install, by a name that is not ASCII where people read it.
pub const IDN: &str = "xn--bcher-kva--hello.apps.test";
/// Of the workspace `globex`; bob may call what is there.
pub const OTHER: &str = "globex--hello.apps.test";
/// What the Secret `smtp` of `acme` holds.
pub const SECRET: &str = "hunter2-of-acme";

/// Longer than a call takes on a busy machine, also the first one, which waits until its component is compiled.
pub const PATIENCE: Duration = Duration::from_secs(180);

const SIGNING_KEY: &str = "a secret of the gateway that signs grants";
/// Few: a call that leaves an instance behind takes a place of the next.
const CALLS_AT_A_TIME: &str = "16";

pub struct Chain {
    pub tap: Tap,
    pub runner: Process,
    /// Where callers reach the gateway.
    pub gateway: SocketAddr,
    /// A server that is not public, which both lists name and nobody may reach.
    pub private: TcpListener,
    app: Arc<App>,
    hashes: HashMap<&'static str, String>,
    _world: World,
}

impl Chain {
    pub async fn new() -> Self {
        annex_service::install_tls_provider();
        let world = World::new().await;
        let manifest = |name: &str| json!({ "name": name, "publisher": "example.com", "version": "1.0.0" });
        let tables = wat_guest::component(
            r#"(table $t 1 funcref)
            (func (export "handle") (param i32 i32)
              (loop $more (br_if $more (i32.ne (i32.const -1) (table.grow $t (ref.null func) (i32.const 1000)))))
              unreachable)"#,
        );
        let page = [("ui/index.html", b"a page".to_vec())];
        let mut hello = manifest(EXTENSION);
        hello["ui"] = json!({ "entry": "ui/index.html" });
        let private = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inside = format!("localhost:{}", private.local_addr().unwrap().port());
        hello["egress"] = json!([inside]);
        let hashes = HashMap::from([
            (EXTENSION, world.publish_as(&hello, components::hostile(), &page)),
            (TABLES, world.publish_as(&manifest(TABLES), &tables, &[])),
        ]);
        world.install(HOST, EXTENSION, &hashes[EXTENSION]);

        let kcp = Kcp::default();
        for (cluster, user) in [("acme", "alice"), ("globex", "bob")] {
            kcp.allow(cluster, user, "");
        }
        kcp.keep_secret("acme", "smtp", secret(SECRET));
        kcp.keep_secret("acme", "other", secret("not named by the install"));
        let tap = Tap::start().await;
        let keys = vec![("k1".to_owned(), SIGNING_KEY.as_bytes().to_vec())];
        let derived = KeyRing::parse(&keys).unwrap().derived(&"direct".parse().unwrap()).remove(0);
        let app = Arc::new(app(&kcp, keys, &tap, installs(&hashes)));
        for tenant in ["acme", "globex"] {
            app.catalog.tenants.put(Tenant::new(tenant, Default::default()));
        }

        let gateway = serve(router(app.clone())).await;
        let broker = serve(broker_router(app.clone())).await;
        let at = |name: &str| world.at(name).display().to_string();
        let args = [
            ["--trust-bundle", &at("trust.pem")],
            ["--denylist", &at("denylist")],
            ["--registry-keys", &at("keys.json")],
            ["--cache-dir", &at("cache")],
            ["--code-cache-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/chain-code")],
            ["--storage-url", &format!("sqlite://{}", at("kv.db"))],
            ["--grant-keys", &format!("{}={}", derived.0, derived.1)],
            ["--broker-url", &format!("http://{broker}")],
            ["--gateway-url", &format!("http://{gateway}")],
            // No list opens what is not public.
            ["--egress-allowlist", &format!("http://{inside}")],
            ["--concurrency", CALLS_AT_A_TIME],
        ];
        let runner = Process::start(&world.registry.url, args.as_flattened()).await;
        tap.leads_to(runner.internal);
        let chain = Self { tap, runner, gateway, private, app, hashes, _world: world };
        chain.within(PATIENCE);
        chain.is_well("the start").await;
        chain
    }

    /// The guest whose table grows.
    pub async fn tables(&self) -> Answer {
        let headers = ["host: gateway.test", "x-annex-workspace: acme"];
        self.say(&request(&format!("/api/ext/{TABLES}/tables"), &headers, "alice")).await
    }

    /// From now on, calls may take so long.
    pub fn within(&self, timeout: Duration) {
        let milliseconds = u32::try_from(timeout.as_millis()).unwrap();
        for (extension, hash) in &self.hashes {
            self.app.catalog.versions.put(version(extension, hash, milliseconds));
        }
    }

    /// The content of the hostile extension, whose pages are on [`HOST`].
    pub fn hash(&self) -> &str {
        &self.hashes[EXTENSION]
    }

    /// Exactly these bytes, to the gateway.
    pub async fn say(&self, request: &str) -> Answer {
        say(self.gateway, request.as_bytes()).await
    }

    /// What alice gets of the extension's `path`.
    pub async fn get(&self, path: &str) -> Answer {
        self.get_as("alice", HOST, path).await
    }

    pub async fn get_as(&self, token: &str, host: &str, path: &str) -> Answer {
        self.say(&request(&format!("/api/ext/{EXTENSION}{path}"), &[&format!("host: {host}")], token)).await
    }

    /// What must be so after each attack: nothing runs any more, and whoever means well is served.
    pub async fn is_well(&self, after: &str) {
        eventually(&format!("the call ends: {after}"), async || {
            self.runner.measures("annex_runner_calls_running 0").await
        })
        .await;
        let answer = self.get("/hello").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "hello"), "after {after}");
        self.tap.calls();
    }
}

/// `GET` of a target, with header lines. An empty token is none.
pub fn request(target: &str, headers: &[&str], token: &str) -> String {
    let mut text = format!("GET {target} HTTP/1.1\r\n");
    for line in headers {
        text.push_str(&format!("{line}\r\n"));
    }
    if !token.is_empty() {
        text.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    text + "connection: close\r\n\r\n"
}

/// The status and the code of a refusal of the gateway's, after a look at what all its answers have.
pub fn refusal(answer: &Answer) -> (u16, String) {
    answer.check_common_headers();
    assert!(answer.header("content-security-policy").is_some());
    let body = answer.json();
    let fields = body.as_object().unwrap_or_else(|| panic!("no JSON: {answer:?}"));
    assert!(fields.len() == 2 && !body["message"].as_str().unwrap().is_empty(), "{body}");
    (answer.status, body["code"].as_str().unwrap().to_owned())
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve_until(listener, Tls::default(), router, std::future::pending()));
    address
}

fn app(kcp: &Kcp, keys: Vec<(String, Vec<u8>)>, tap: &Tap, installs: Vec<(ObjectKey, Install)>) -> App {
    let of = kcp.clone();
    let workspaces: Workspaces = Arc::new(move |cluster| Ok(of.client(cluster.as_str())));
    let catalog = Catalog::default();
    catalog.versions.finish_list(&Default::default());
    catalog.tenants.finish_list(&Default::default());
    let runners = RunnerSettings {
        direct: Some(tap.url.clone()),
        exec: "http://exec.{namespace}.invalid".to_owned(),
        ..RunnerSettings::default()
    };
    let shard: ShardUrl = "https://shard.test:6443/services/apiexport/x/annex.sh".parse().unwrap();
    let index: Arc<Index<Install>> = Arc::default();
    let known = Installs::new(index.clone(), || true);
    for (key, install) in installs {
        known.changed(&index.apply(&shard, key, install));
    }
    App {
        workspaces: workspaces.clone(),
        callers: Callers::remembering(kcp.client("provider"), Duration::from_secs(5)),
        rights: Rights::new(workspaces.clone(), Duration::from_secs(5)),
        parameters: Parameters::new(workspaces),
        early: annex_gateway::Early::default(),
        orders: ReplayGuard::new(100),
        keys: Followed::load("the keys", Vec::new(), move |_| Ok(KeyRing::parse(&keys).unwrap())).unwrap(),
        catalog,
        installs: Arc::new(known),
        runners: Runners::new(&runners).unwrap(),
        storage: None,
        bodies: Bodies::new(64),
        settings: Settings {
            timeout: PATIENCE,
            upload: Duration::from_secs(1),
            default_memory_mb: 64,
            skew: Duration::from_secs(5),
        },
        metrics: Metrics::default(),
    }
}

/// The hostile extension in both workspaces, and the other one in the first.
fn installs(hashes: &HashMap<&'static str, String>) -> Vec<(ObjectKey, Install)> {
    let install = |cluster: &str, extension: &str, uid: &str, hosts: &[&str]| {
        let hash = &hashes[extension];
        let routes: Vec<_> = hosts.iter().map(|host| json!({ "host": host, "contentHash": hash })).collect();
        let name = extension.rsplit('.').next().unwrap();
        let mut install: Install = serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": name, "namespace": "default", "uid": uid },
            "spec": {
                "extension": extension, "secrets": [{ "name": "smtp" }], "public": ["GET /public/{*path}"],
            },
            "status": {
                "installedVersion": "1.0.0", "contentHash": hash, "host": hosts[0],
                "runnerRef": { "mode": "direct" }, "routes": routes,
            },
        }))
        .unwrap();
        annex_gateway::prune(&mut install);
        let key = ObjectKey {
            cluster: cluster.parse().unwrap(),
            namespace: "default".into(),
            name: name.to_owned(),
        };
        (key, install)
    };
    vec![
        install("acme", EXTENSION, "6f1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c11", &[HOST, IDN]),
        install("acme", TABLES, "6f1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c12", &["acme--tables.apps.test"]),
        install("globex", EXTENSION, "6f1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c13", &[OTHER]),
    ]
}

fn version(extension: &str, hash: &str, milliseconds: u32) -> ExtensionVersion {
    let capabilities: &[&str] = match extension {
        TABLES => &[],
        _ => &["storage.kv", "secrets", "log", "metrics", "context", "http.fetch"],
    };
    serde_json::from_value(json!({
        "apiVersion": "annex.sh/v1alpha1", "kind": "ExtensionVersion",
        "metadata": { "name": format!("{extension}-1.0.0") },
        "spec": {
            "extension": extension, "version": "1.0.0", "contentHash": hash, "publisher": "example.com",
            "capabilities": capabilities, "limits": { "timeoutMs": milliseconds, "memoryMiB": 64 },
            "endpoints": [
                { "method": "GET", "path": "/{*path}", "handler": "h" },
                { "method": "GET", "path": "/public/{*path}", "handler": "h" },
                { "method": "POST", "path": "/echo", "handler": "h" },
            ],
        },
    }))
    .unwrap()
}

fn secret(token: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": "smtp", "namespace": "default", "labels": { "annex.sh/managed": "true" } },
        "data": { "token": annex_grant::Base64Bytes(token.as_bytes().to_vec()) },
    })
}

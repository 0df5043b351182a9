//! What guests store where the runner has no database: by the gateway's real broker, over a real store. The calls are granted by the double
//! as always. kcp is not there, and nobody asks it: what the broker knows of it is put into its index.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use annex_answering::{Callers, Catalog, Installs, Workspaces};
use annex_apis::{Install, Tenant};
use annex_gateway::{
    App, Bodies, Metrics, Parameters, Rights, RunnerSettings, Runners, Settings, Storage, broker_router,
};
use annex_grant::{BROKER_AUDIENCE, Grant, LONGEST_LIFE, Order, ReplayGuard};
use annex_service::{Followed, Tls, serve_until};
use annex_storage::{Store, StoreOptions};
use kube_kcp::{Index, ObjectKey};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    gateway::{AUDIENCE, Gateway, audience, keys},
    guests,
    support::Runner,
    world::{HELLO, World, end},
};

/// The gateway's listener for runners.
struct Broker {
    app: Arc<App>,
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Broker {
    async fn start(folder: &Path, options: StoreOptions) -> Self {
        let url = format!("sqlite://{}", folder.join("broker.db").display());
        let app = Arc::new(app(Store::open(&url, options).unwrap()));
        let (address, stop, serving) = serve(&app, "127.0.0.1:0".parse().unwrap()).await;
        Self { app, address, stop, serving }
    }

    /// Closes the listener and all connections.
    async fn go_away(&mut self) {
        self.stop.cancel();
        (&mut self.serving).await.unwrap();
    }

    async fn come_back(&mut self) {
        (self.address, self.stop, self.serving) = serve(&self.app, self.address).await;
    }
}

async fn serve(app: &Arc<App>, address: SocketAddr) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let (router, stopped) = (broker_router(Arc::clone(app)), stop.clone().cancelled_owned());
    let serving = tokio::spawn(serve_until(listener, Tls::default(), router, stopped));
    (address, stop, serving)
}

/// A gateway that knows the Install of the double's calls.
fn app(store: Store) -> App {
    annex_service::install_tls_provider();
    let nobody = || {
        let refuse =
            |_| async { Err::<axum::http::Response<axum::body::Body>, _>(std::io::Error::other("no kcp")) };
        kube::Client::new(tower::service_fn(refuse), "default")
    };
    let client = nobody();
    let workspaces: Workspaces = Arc::new(move |_| Ok(client.clone()));
    let catalog = Catalog::default();
    catalog.versions.finish_list(&Default::default());
    catalog.tenants.finish_list(&Default::default());
    catalog.tenants.put(Tenant::new("acme", Default::default()));
    let index: Arc<Index<Install>> = Arc::default();
    let installs = Arc::new(Installs::new(Arc::clone(&index), || true));
    let install: Install = serde_json::from_value(json!({
        "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
        "metadata": { "name": "hello", "namespace": "default", "uid": "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a11" },
        "spec": { "extension": HELLO },
    }))
    .unwrap();
    let key = ObjectKey {
        cluster: "acme".parse().unwrap(),
        namespace: "default".to_owned(),
        name: "hello".to_owned(),
    };
    let shard = "https://shard.test:6443/services/apiexport/x/annex.sh".parse().unwrap();
    installs.changed(&index.apply(&shard, key, install));
    let runners = RunnerSettings { exec: "http://exec.{namespace}".to_owned(), ..RunnerSettings::default() };
    App {
        workspaces: Arc::clone(&workspaces),
        callers: Callers::remembering(nobody(), Duration::ZERO),
        rights: Rights::new(workspaces.clone(), Duration::ZERO),
        parameters: Parameters::new(workspaces),
        early: annex_gateway::Early::default(),
        orders: ReplayGuard::new(100),
        keys: Followed::load("the keys", Vec::new(), |_| Ok(keys())).unwrap(),
        catalog,
        installs,
        runners: Runners::new(&runners).unwrap(),
        storage: Some(Storage::new(store)),
        bodies: Bodies::new(64),
        settings: Settings {
            timeout: Duration::from_secs(20),
            upload: Duration::from_secs(20),
            default_memory_mb: 64,
            skew: Duration::from_secs(5),
        },
        metrics: Metrics::default(),
    }
}

/// A runner that has a broker and no database.
async fn executing(world: &World, broker: SocketAddr) -> Runner {
    let (id, derived) = keys().derived(&audience()).remove(0);
    let given = format!("{}={derived}", id.as_str());
    let (code, broker) = (world.at("code").display().to_string(), format!("http://{broker}"));
    let compiler = env!("CARGO_BIN_EXE_annex-runner");
    let args = ["--grant-keys", &given, "--audience", AUDIENCE, "--broker-url", &broker];
    let more = ["--code-cache-dir", &code, "--compiler", compiler, "--concurrency", "16"];
    world.runner(&[&args[..], &more[..]].concat()).await
}

/// The engine's guest, and calls of it with what the gateway gives them for its broker.
async fn called(options: StoreOptions) -> (World, Gateway, Broker) {
    let world = World::new().await;
    let manifest = json!({ "name": HELLO, "publisher": "example.com", "version": "1.0.0" });
    let hash = world.publish_as(&manifest, guests::hostile(), &[]);
    let broker = Broker::start(&world.at(""), options).await;
    let mut gateway = Gateway::new(HELLO, &hash, ALL);
    let grant = gateway.grant(&gateway.request("GET", "/", ""), b"");
    // One for all calls of a test, which may be slow.
    let expires = grant.issued.after(LONGEST_LIFE);
    let audience = BROKER_AUDIENCE.parse().unwrap();
    gateway.for_broker = Some(gateway.sign(&Grant { audience, expires, ..grant }));
    (world, gateway, broker)
}

const ALL: &[&str] = &["storage.kv", "secrets", "log", "metrics", "context", "http.fetch"];

async fn told(gateway: &Gateway, runner: &Runner, path: &str) -> String {
    let (status, body) = gateway.told(runner, "GET", path, "").await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_stores_by_the_broker_as_it_does_in_a_database() {
    let (world, gateway, mut broker) = called(StoreOptions::default()).await;
    let runner = executing(&world, broker.address).await;
    assert_eq!(told(&gateway, &runner, "/kv-get?a").await, "none");
    assert_eq!(told(&gateway, &runner, "/kv").await, r#"true false true ["a", "c"] ["c"] 3"#);
    let limits = told(&gateway, &runner, "/kv-limits").await;
    assert_eq!(limits, "bad-key bad-key true true value-too-large");
    assert_eq!(told(&gateway, &runner, "/kv-budget").await, "call-budget-spent");
    end(runner).await;

    // It is there for the next runner, which has nothing of the first.
    let runner = executing(&world, broker.address).await;
    assert_eq!(told(&gateway, &runner, "/kv-get?a").await, "3");
    end(runner).await;
    broker.go_away().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_storage_is_unavailable_and_then_it_is_back() {
    let (world, gateway, mut broker) = called(StoreOptions::default()).await;
    let runner = executing(&world, broker.address).await;
    told(&gateway, &runner, "/kv").await;
    broker.go_away().await;
    for _ in 0..3 {
        assert_eq!(told(&gateway, &runner, "/kv-get?a").await, "unavailable");
    }
    assert_eq!(told(&gateway, &runner, "/hello").await, "hello", "who stores nothing goes on");
    broker.come_back().await;
    assert_eq!(told(&gateway, &runner, "/kv-get?a").await, "3");
    end(runner).await;
    broker.go_away().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_says_is_what_the_guest_hears() {
    let (world, mut gateway, mut broker) =
        called(StoreOptions { quota_bytes: 10_000, ..StoreOptions::default() }).await;
    let runner = executing(&world, broker.address).await;
    assert_eq!(told(&gateway, &runner, "/kv-budget").await, "quota-exceeded");
    // A call that has brought nothing for the broker, or what is not good.
    let good = gateway.for_broker.take();
    assert_eq!(told(&gateway, &runner, "/kv-get?a").await, "unavailable");
    gateway.for_broker = Some("rubbish".to_owned());
    assert_eq!(told(&gateway, &runner, "/kv-get?a").await, "unavailable");
    gateway.for_broker = good;
    assert_eq!(told(&gateway, &runner, "/kv-get?a").await, "none");
    end(runner).await;
    broker.go_away().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_go_goes_by_the_broker_with_a_grant_for_just_that() {
    let (world, mut gateway, mut broker) = called(StoreOptions::default()).await;
    let runner = executing(&world, broker.address).await;
    told(&gateway, &runner, "/kv").await;
    let of_call = gateway.for_broker.take();
    let body = gateway.order_body(Order::Purge);
    let audience = BROKER_AUDIENCE.parse().unwrap();
    let of_order = Some(gateway.sign(&Grant { audience, ..gateway.order_grant(&body) }));
    for insufficient in [None, of_call.clone()] {
        gateway.for_broker = insufficient;
        let (status, error) = gateway.order(&runner, Order::Purge).await.unwrap_err();
        assert_eq!((status.as_u16(), error.code.as_str()), (500, "Internal"));
    }
    broker.go_away().await;
    gateway.for_broker = of_order;
    let (status, error) = gateway.order(&runner, Order::Purge).await.unwrap_err();
    assert_eq!((status.as_u16(), error.code.as_str()), (500, "Internal"));
    assert!(!error.message.contains(&broker.address.port().to_string()), "{}", error.message);
    broker.come_back().await;

    let of_order = std::mem::replace(&mut gateway.for_broker, of_call);
    assert_eq!(told(&gateway, &runner, "/kv-get?a").await, "3", "nothing was removed");
    let of_call = std::mem::replace(&mut gateway.for_broker, of_order);
    gateway.order(&runner, Order::Purge).await.unwrap();
    gateway.for_broker = of_call;
    assert_eq!(told(&gateway, &runner, "/kv-get?a").await, "none");
    end(runner).await;
    broker.go_away().await;
}

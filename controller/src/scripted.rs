//! API servers that are functions, for tests.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use annex_apis::Install;
use annex_initializer::{Seed, SeedConfig};
use axum::{Router, body::Body};
use futures::StreamExt as _;
use http::{Request, Response};
use kube::Client;
use kube_kcp::{
    Backoff, Brake, Connection, Fence, Index, Metrics, ObjectKey, ShardUrl, VirtualWorkspace,
    VirtualWorkspaceOptions, WorkQueue,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tower::service_fn;

use crate::{
    announce::{AnnounceArgs, Announcer},
    api_writes::ApiWrites,
    args::{DomainArgs, EnvironmentArgs},
    compute::{Elsewhere, Layout, Notice, PlaceId, Places, Setup, State},
    context::{Context, TenantSide},
    environment::Environments,
    rollout::Rollout,
    workspace::SeedMemory,
};

/// What a server is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method and path, such as `GET /api/v1/namespaces`.
    pub(crate) what: String,
    pub(crate) query: String,
}

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }
}

pub(crate) type Answer = Response<Body>;

/// A client of a server that answers so. No connection is made, so time may be paused.
pub(crate) fn client(answer: impl Fn(Asked) -> Answer + Send + Sync + 'static) -> Client {
    let answer = Arc::new(answer);
    let service = service_fn(move |request: Request<kube::client::Body>| {
        let answer = answer.clone();
        async move {
            let (parts, _) = request.into_parts();
            Ok::<_, kube::Error>(answer(Asked {
                what: format!("{} {}", parts.method, parts.uri.path()),
                query: parts.uri.query().unwrap_or_default().to_owned(),
            }))
        }
    });
    Client::new(service, "default")
}

pub(crate) fn answer(code: u16, body: impl Into<Body>) -> Answer {
    Response::builder().status(code).body(body.into()).unwrap()
}

pub(crate) fn object(object: Value) -> Answer {
    answer(200, object.to_string())
}

pub(crate) fn list(items: Value) -> Answer {
    object(
        json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": items }),
    )
}

pub(crate) fn refusal(code: u16, message: &str) -> Answer {
    let reason = if code == 404 { "NotFound" } else { "" };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    answer(code, status.to_string())
}

/// A watch of which nothing comes.
pub(crate) fn quiet() -> Answer {
    answer(200, Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>()))
}

/// A watch whose connection breaks after a while.
pub(crate) fn breaks_after(wait: Duration) -> Answer {
    watch_that_breaks(String::new(), wait)
}

/// The same, after something came.
pub(crate) fn breaks_after_saying(event: &Value, wait: Duration) -> Answer {
    watch_that_breaks(format!("{event}\n"), wait)
}

fn watch_that_breaks(said: String, wait: Duration) -> Answer {
    let error = async move {
        tokio::time::sleep(wait).await;
        Err(std::io::Error::other("connection reset"))
    };
    let said = futures::future::ready(Ok(said));
    answer(200, Body::from_stream(futures::stream::once(said).chain(futures::stream::once(error))))
}

/// A client of a cluster with Knative that is empty, as far as `answer` says nothing else.
pub(crate) fn cluster(answer: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static) -> Client {
    let served = json!({ "kind": "APIResourceList", "groupVersion": "serving.knative.dev/v1beta1", "resources": [
        { "name": "domainmappings", "singularName": "", "namespaced": true, "kind": "DomainMapping", "verbs": [] },
    ] });
    client(move |asked| match asked.what.as_str() {
        _ if let Some(answer) = answer(&asked) => answer,
        "GET /apis/serving.knative.dev/v1" => refusal(404, "not found"),
        "GET /apis/serving.knative.dev/v1beta1" => object(served.clone()),
        _ if asked.is_watch() => quiet(),
        _ => list(json!([])),
    })
}

/// The platform's cluster, with a namespace for each workspace.
pub(crate) fn platform(client: Client) -> Setup {
    Setup {
        id: PlaceId::Platform,
        label: "platform".to_owned(),
        client,
        layout: Layout::NamespacePerWorkspace,
        claims: true,
        tls_secret: None,
        options: None,
        writes: ApiWrites::default(),
    }
}

/// What was asked of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, asked: &Asked) {
        self.0.lock().push(asked.what.clone());
    }

    /// What was asked with this method.
    pub(crate) fn with(&self, method: &str) -> Vec<String> {
        self.0.lock().iter().filter(|asked| asked.starts_with(method)).cloned().collect()
    }
}

/// The controller, with all kinds listed on one shard, on which nothing is.
pub(crate) struct Controller {
    pub(crate) context: Arc<Context>,
    pub(crate) shard: ShardUrl,
    notices: mpsc::UnboundedReceiver<Notice>,
}

impl Controller {
    /// `kcp` answers everything that is asked of kcp.
    pub(crate) async fn start(
        kcp: impl Fn(Asked) -> Answer + Send + Sync + 'static,
        platform: Option<Setup>,
    ) -> Self {
        annex_service::install_tls_provider();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let kcp = Arc::new(kcp);
        let routes = Router::new().fallback(move |request: Request<Body>| {
            let asked = Asked {
                what: format!("{} {}", request.method(), request.uri().path()),
                query: request.uri().query().unwrap_or_default().to_owned(),
            };
            futures::future::ready(kcp(asked))
        });
        tokio::spawn(async move { axum::serve(listener, routes).await });

        let shard: ShardUrl = format!("{server}/services/apiexport/provider/annex.sh").parse().unwrap();
        let (send, notices) = mpsc::unbounded_channel();
        let seed_config = SeedConfig {
            tenant_server: "https://kcp.test".to_owned(),
            tenant_ca: None,
            export_path: "root:annex".to_owned(),
            export_name: "annex.sh".to_owned(),
        };
        let mut config = kube::Config::new(format!("{server}/clusters/root:annex").parse().unwrap());
        config.root_cert = Some(Vec::new());
        let connection = Connection::new(config).unwrap();
        let context = Context {
            leads: AtomicBool::new(true),
            provider: connection.home(),
            workspaces: VirtualWorkspace::fixed(
                &connection,
                [shard.clone()].into(),
                VirtualWorkspaceOptions::default(),
                Metrics::register(&mut Registry::default()),
            ),
            queue: Arc::new(WorkQueue::new(Backoff::default(), 4)),
            tenants: listed(&shard),
            catalog: Arc::default(),
            environments: Arc::new(Environments::new(
                &EnvironmentArgs { allowed_networks: Vec::new(), allow_insecure_tls: false },
                &Fence::default(),
            )),
            extension_claims: Default::default(),
            host_claims: Default::default(),
            routes: Arc::default(),
            rollout: Rollout::new(60),
            announcer: Announcer::new(&AnnounceArgs::default()).unwrap(),
            vanished: Mutex::default(),
            deleted: Mutex::default(),
            runner: None,
            handlers: None,
            places: Places::new(platform, None, ApiWrites::default(), send),
            elsewhere: Elsewhere::default(),
            undone: Mutex::default(),
            orphans: Mutex::default(),
            left: Mutex::default(),
            writes: ApiWrites::default(),
            domain: DomainArgs { root: "apps.test".parse().unwrap(), scheme: None, port: None },
            allow_unsigned: true,
            bundles: None,
            seed: Seed::of(&seed_config),
            seed_config,
            seeds: SeedMemory::default(),
            token_max_age: Duration::from_secs(86_400),
        };
        Self { context: Arc::new(context), shard, notices }
    }

    /// Follows the platform's cluster, and returns once everything of it is known.
    pub(crate) async fn knows_the_cluster(&mut self) {
        let context = self.context.clone();
        tokio::spawn(async move { context.places.follow_platform().await });
        while self.context.places.platform().unwrap().state() != State::Known {
            self.notices.recv().await.unwrap();
        }
    }

    pub(crate) fn key(&self, cluster: &str, name: &str) -> ObjectKey {
        ObjectKey {
            cluster: cluster.parse().unwrap(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    /// The watch of Installs shows it.
    pub(crate) fn applied(&self, key: &ObjectKey, install: &Install) {
        let change = self.context.tenants.installs.apply(&self.shard, key.clone(), install.clone());
        self.context.install_changed(&change);
    }

    /// A list of Installs ends that holds only these.
    pub(crate) fn relisted(&self, live: &[&ObjectKey]) {
        let live = live.iter().map(|key| (*key).clone()).collect();
        for change in self.context.tenants.installs.finish_list(&self.shard, &live, &Brake::default()) {
            self.context.install_changed(&change);
        }
    }
}

fn listed(shard: &ShardUrl) -> TenantSide {
    fn all<T: kube::Resource>(index: &Index<T>, shard: &ShardUrl) {
        index.finish_list(shard, &BTreeSet::new(), &Brake::default());
    }
    let side = TenantSide::default();
    all(&side.bindings, shard);
    all(&side.installs, shard);
    all(&side.environments, shard);
    all(&side.quotas, shard);
    all(&side.namespaces, shard);
    all(&side.secrets, shard);
    all(&side.service_accounts, shard);
    all(&side.roles, shard);
    all(&side.role_bindings, shard);
    all(&side.cluster_roles, shard);
    all(&side.cluster_role_bindings, shard);
    side
}

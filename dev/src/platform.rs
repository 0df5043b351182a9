//! The platform of one extension: the real runner and the real gateway, and doubles of what stands around them.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annex_answering::{Callers, Catalog, Installs, Workspaces};
use annex_apis::{Install, Tenant};
use annex_bundle::Unpacked;
use annex_core::{ContentHash, InstallIdentity};
use annex_egress::OperatorList;
use annex_gateway::{
    App, Bodies, DIRECT_AUDIENCE, Metrics, Parameters, Rights, RunnerSettings, Runners,
    Settings as GatewaySettings, broker_router,
};
use annex_grant::{KeyRing, ReplayGuard};
use annex_service::{Followed, Tls, serve_until};
use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use axum::extract::Request;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use kube_kcp::{Index, ShardUrl};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::front::{self, Current};
use crate::install::{self, SecretFile, WORKSPACE, Wishes};
use crate::registry::{self, Registry};
use crate::signing::Keys;
use crate::state::State;
use crate::{kcp, parameters, runner};

/// For so long calls under way may go on when the platform is to end.
const DRAIN: Duration = Duration::from_secs(2);

/// As annex-gateway's, where its operator says nothing else.
const GATEWAY: GatewaySettings = GatewaySettings {
    timeout: Duration::from_secs(30),
    upload: Duration::from_secs(30),
    default_memory_mb: 128,
    skew: Duration::from_secs(5),
};
const BODIES_MIB: u32 = 256;

/// What the author says.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The port of the extension's address; 0 is any.
    pub port: u16,
    /// The hosts that it may reach, as far as its manifest asks for them.
    pub egress: OperatorList,
    /// Capabilities that are not granted.
    pub denied: Vec<String>,
    /// What it may read of secrets.
    pub secrets: Vec<SecretFile>,
}

/// The platform, which answers until it is [stopped](Self::stop).
pub struct Platform {
    state: State,
    address: SocketAddr,
    keys: Keys,
    registry: Arc<Registry>,
    index: Arc<Index<Install>>,
    current: Current,
    wishes: Wishes,
    /// What is installed one after the other.
    turn: Mutex<()>,
    stop: CancellationToken,
    serving: TaskTracker,
}

/// What answers now.
#[derive(Debug, Clone)]
pub struct Installed {
    /// The content.
    pub content: ContentHash,
    /// Capabilities that are granted.
    pub granted: Vec<String>,
    /// Capabilities that the manifest asks for and that are not.
    pub denied: Vec<String>,
    /// A host of the extension's own, beside `localhost`.
    pub host: Option<String>,
}

impl Platform {
    /// Starts it, with nothing installed.
    ///
    /// # Errors
    /// The port is taken, a folder cannot be used, or the machine has not the room for the sandbox.
    pub async fn start(state: State, settings: Settings) -> Result<Self> {
        annex_service::install_tls_provider();
        let keys = Keys::generate()?;
        keys.write_public(&state.folder().join("trust"))?;
        let catalog = Catalog::default();
        catalog.tenants.put(Tenant::new(WORKSPACE, annex_apis::TenantSpec::default()));
        catalog.tenants.finish_list(&HashSet::from([WORKSPACE.to_owned()]));
        catalog.versions.finish_list(&HashSet::new());
        let index: Arc<Index<Install>> = Arc::default();
        let installs = Arc::new(Installs::new(index.clone(), || true));
        let registry = Arc::new(Registry::new(catalog.clone(), installs.clone()));

        let (of_registry, of_gateway, of_broker) = (any_port().await?, any_port().await?, any_port().await?);
        let url =
            |listener: &TcpListener| Ok::<_, anyhow::Error>(format!("http://{}", listener.local_addr()?));
        let grants = grant_keys()?;
        let audience = DIRECT_AUDIENCE.parse().map_err(|error| anyhow!("{error}"))?;
        let derived = ring(&grants)?.derived(&audience);
        let derived: Vec<_> = derived.iter().map(|(id, key)| format!("{}={key}", id.as_str())).collect();
        is_free(settings.port).await?;
        let around = runner::Around {
            registry: &url(&of_registry)?,
            gateway: &url(&of_gateway)?,
            broker: &url(&of_broker)?,
            grant_keys: &derived.join(" "),
            egress: &settings.egress,
        };
        let current = Current::default();
        let runner = runner::bind(settings.port, &state, &around).await?;
        let runner = runner.with_front({
            let current = current.clone();
            move |router| front::before(router, current)
        });
        let address = runner.public_address()?;
        let secrets = Arc::new(settings.secrets.clone());
        let app = Arc::new(gateway(catalog, installs, grants, secrets, runner.internal_address()?)?);

        let stop = CancellationToken::new();
        let serving = TaskTracker::new();
        serving.spawn(runner.serve(stop.clone()));
        let services = [
            (of_registry, registry::router(registry.clone())),
            (of_gateway, without_tokens(annex_gateway::router(app.clone()))),
            (of_broker, broker_router(app)),
        ];
        for (listener, router) in services {
            serving.spawn(serve_until(listener, Tls::default(), router, stop.clone().cancelled_owned()));
        }
        let wishes = Wishes { denied: settings.denied, parameters: Map::new(), secrets: settings.secrets };
        Ok(Self {
            state,
            address,
            keys,
            registry,
            index,
            current,
            wishes,
            turn: Mutex::default(),
            stop,
            serving,
        })
    }

    /// Where the extension answers, as `http://localhost:PORT/`.
    pub fn url(&self) -> String {
        format!("http://localhost:{}/", self.address.port())
    }

    /// The port of that.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The folder of what outlives it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Publishes and installs a bundle, in place of the one before. It blocks.
    ///
    /// # Errors
    /// It would not be published, or its schema refuses the parameters. What was installed before goes on answering.
    pub fn install(
        &self,
        unpacked: &Unpacked,
        archive: Vec<u8>,
        parameters: Map<String, Value>,
    ) -> Result<Installed> {
        let manifest = &unpacked.manifest;
        parameters::check(manifest, &parameters).map_err(|error| anyhow!("{error}"))?;
        let published = self.keys.publish(unpacked, archive)?;
        // Two versions of one number are two objects here: calls under way still find theirs.
        let mut version = install::version(unpacked)?;
        let name = unpacked.content_hash.hex();
        version.metadata.name = Some(name.clone());
        let own = manifest.name.default_slug().ok().map(|slug| format!("{slug}.localhost"));
        let hosts: Vec<_> =
            ["localhost".to_owned(), "127.0.0.1".to_owned()].into_iter().chain(own.clone()).collect();
        let wishes = Wishes { parameters, ..self.wishes.clone() };
        let install = install::install(unpacked, &wishes, &hosts)?;
        let shard: ShardUrl =
            "https://kcp.invalid/services/apiexport/dev/annex.sh".parse().context("the shard's URL")?;
        let identity = InstallIdentity {
            tenant_id: WORKSPACE.parse().context("the tenant's id")?,
            extension_id: manifest.name.as_str().parse().context("the extension's id")?,
            content_hash: unpacked.content_hash,
        };

        let _turn = self.turn.lock();
        self.registry.keep(unpacked.content_hash, published);
        let versions = &self.registry.catalog.versions;
        versions.put(version);
        self.registry.installs.changed(&self.index.apply(&shard, install::key()?, install));
        versions.finish_list(&HashSet::from([name]));
        *self.current.write() = Some(identity);
        let granted = install::granted(manifest, &wishes.denied);
        let asked = manifest.capabilities.iter().map(ToString::to_string);
        let denied = asked.filter(|name| !granted.contains(name)).collect();
        Ok(Installed { content: unpacked.content_hash, granted, denied, host: own })
    }

    /// Ends it. Calls under way have two seconds; what does not end in them ends with the runtime.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.serving.close();
        let _ = tokio::time::timeout(DRAIN, self.serving.wait()).await;
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn any_port() -> Result<TcpListener> {
    TcpListener::bind("127.0.0.1:0").await.context("listening on 127.0.0.1")
}

/// Said here, where it is known what the port is called.
async fn is_free(port: u16) -> Result<()> {
    let taken = || format!("port {port} of 127.0.0.1 cannot be had; give another with --port, or 0 for any");
    TcpListener::bind(("127.0.0.1", port)).await.with_context(taken).map(drop)
}

/// One key, which nobody but this process has.
fn grant_keys() -> Result<Vec<(String, Vec<u8>)>> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("making a key")?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(vec![("dev".to_owned(), hex.into_bytes())])
}

fn ring(files: &[(String, Vec<u8>)]) -> Result<KeyRing> {
    KeyRing::parse(files).map_err(|error| anyhow!("{error}"))
}

fn gateway(
    catalog: Catalog,
    installs: Arc<Installs>,
    keys: Vec<(String, Vec<u8>)>,
    secrets: Arc<Vec<SecretFile>>,
    runner: SocketAddr,
) -> Result<App> {
    let kcp = kcp::client(secrets);
    let workspaces: Workspaces = {
        let kcp = kcp.clone();
        Arc::new(move |_| Ok(kcp.clone()))
    };
    let runners = RunnerSettings {
        direct: Some(format!("http://{runner}")),
        // There is no such Install.
        exec: "http://{namespace}.invalid".to_owned(),
        ..RunnerSettings::default()
    };
    Ok(App {
        workspaces: workspaces.clone(),
        callers: Callers::remembering(kcp, Duration::ZERO),
        rights: Rights::new(workspaces.clone(), Duration::ZERO),
        parameters: Parameters::new(workspaces),
        early: annex_gateway::Early::default(),
        orders: ReplayGuard::new(100),
        keys: Followed::load("the grant keys", Vec::new(), move |_| {
            KeyRing::parse(&keys).map_err(|error| error.to_string())
        })?,
        catalog,
        installs,
        runners: Runners::new(&runners)?,
        // The runner has its own.
        storage: None,
        bodies: Bodies::new(BODIES_MIB),
        settings: GATEWAY,
        metrics: Metrics::default(),
    })
}

/// A page may send the token that the platform gave it. Nobody here knows it, and nobody needs one.
fn without_tokens(gateway: Router) -> Router {
    gateway.layer(middleware::from_fn(async |mut request: Request, next: Next| {
        request.headers_mut().remove(AUTHORIZATION);
        next.run(request).await
    }))
}

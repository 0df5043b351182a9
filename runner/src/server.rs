//! The parts, wired.

use std::net::SocketAddr;
use std::sync::Arc;

use annex_service::{Certificates, Operations, Tls, serve_until};
use anyhow::{Context, Result, ensure};
use axum::Router;
use reqwest::Certificate;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::authorities::authorities;
use crate::cache::Cache;
use crate::config::Config;
use crate::execute::{self, Executor, Keys, executor};
use crate::forward::Gateway;
use crate::metrics::Metrics;
use crate::public::Public;
use crate::readiness::{Readiness, keep_probing};
use crate::registry::Registry;
use crate::registry_token::registry_token;
use crate::ui::{Remembered, SecurityHeaders, Site};

/// A runner that holds its two ports and does not answer yet.
#[derive(Debug)]
pub struct Server {
    public: TcpListener,
    public_tls: Tls,
    internal: TcpListener,
    internal_tls: Tls,
    certificates: Certificates,
    site: Site,
    metrics: Arc<Metrics>,
    measured: prometheus_client::registry::Registry,
    execute: Option<(Arc<Executor>, Keys)>,
    /// When it is cancelled, no more is executed.
    ending: CancellationToken,
    front: Front,
}

/// What stands before the public listener's router, if anything does.
#[derive(Default)]
struct Front(Option<Box<dyn FnOnce(Router) -> Router + Send>>);

impl std::fmt::Debug for Front {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_some() { "Front" } else { "none" })
    }
}

impl Server {
    /// Takes the ports. Port 0 means any free one.
    ///
    /// # Errors
    /// When both listeners have one port, a port is taken, a certificate cannot be served, a file of the policy or the cache cannot be used, or TLS to the registry cannot be
    /// set up.
    pub async fn bind(config: &Config) -> Result<Self> {
        let (public, internal) = (config.listen, config.internal_listen);
        ensure!(
            public.port() == 0 || public.port() != internal.port(),
            "--listen and --internal-listen both have port {}: what is internal must not share the public port",
            public.port()
        );
        let mut measured = prometheus_client::registry::Registry::with_prefix("annex_runner");
        let metrics = Arc::new(Metrics::register(&mut measured));
        let authorities = registry_authorities(config)?;
        let registry = Registry::new(
            config.registry_base_url.clone(),
            authorities,
            config.lookup_timeout(),
            config.lookup_kept_for(),
            registry_token(config)?,
            Arc::clone(&metrics),
        )
        .context("setting up the client of the registry (an https one needs --registry-ca-file or the system's certificates)")?;
        let cache = cache(config, &registry, &metrics)?;
        let ending = CancellationToken::new();
        let execute = match &cache {
            Some(cache) => {
                let cache = Arc::clone(cache);
                executor(&config.execute, cache, &config.cache_folder(), &mut measured, ending.clone())?
            }
            None => None,
        };
        let gateway = gateway(config)?;
        let site = Site {
            registry,
            cache,
            strict: config.static_strict_validation,
            gateway,
            security: SecurityHeaders::new(&config.frame_ancestors),
            remembered: Remembered::default(),
        };
        let certificates = Certificates::register(&mut measured);
        let public_tls = certificates.listener("public", config.tls.files())?;
        let internal_tls = certificates.listener("operations", config.operations_tls.files())?;
        let public =
            TcpListener::bind(public).await.with_context(|| format!("listening on {public} (--listen)"))?;
        let internal = TcpListener::bind(internal)
            .await
            .with_context(|| format!("listening on {internal} (--internal-listen)"))?;
        Ok(Self {
            public,
            public_tls,
            internal,
            internal_tls,
            certificates,
            site,
            metrics,
            measured,
            execute,
            ending,
            front: Front::default(),
        })
    }

    /// Puts something before all that the public listener answers: for a program that has the runner in it, and no ingress before it.
    #[must_use]
    pub fn with_front(mut self, front: impl FnOnce(Router) -> Router + Send + 'static) -> Self {
        self.front = Front(Some(Box::new(front)));
        self
    }

    /// The address of the public listener.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn public_address(&self) -> Result<SocketAddr> {
        self.public.local_addr().context("asking for the public address")
    }

    /// The address of the internal listener.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn internal_address(&self) -> Result<SocketAddr> {
        self.internal.local_addr().context("asking for the internal address")
    }

    /// Answers until `stop`, then finishes the requests under way and returns, however long that takes.
    ///
    /// While it finishes them, the internal listener still answers, not ready.
    pub async fn serve(self, stop: CancellationToken) {
        let Site { registry, cache, .. } = self.site.clone();
        let readiness = Arc::new(Readiness::new(&registry));
        let executes = self.execute.is_some();
        let status = {
            let (readiness, cache) = (Arc::clone(&readiness), cache.clone());
            Box::new(move || {
                let mut status = readiness.status();
                status
                    .notes
                    .extend(cache.as_ref().map_or_else(|| vec![NO_PAGES.to_owned()], |cache| cache.notes()));
                status.notes.extend((!executes).then(|| NOT_EXECUTING.to_owned()));
                status
            })
        };
        let follow_policy = async {
            match &cache {
                Some(cache) => cache.follow().await,
                None => std::future::pending().await,
            }
        };
        let (executor, keys) = self.execute.unzip();
        let follow_keys = async {
            match &keys {
                Some(keys) => keys.follow().await,
                None => std::future::pending().await,
            }
        };
        let public = Public::new(self.site, self.metrics);
        let operations =
            Operations { status, registry: self.measured, certificates: self.certificates }.router();
        let internal = match executor {
            Some(executor) => operations.merge(execute::router(executor)),
            None => operations,
        };
        let public_ended = CancellationToken::new();

        let serve_public = async {
            match self.front.0 {
                Some(front) => {
                    let public = front(Router::new().fallback_service(public));
                    serve_until(self.public, self.public_tls, public, stop.cancelled()).await;
                }
                None => serve_until(self.public, self.public_tls, public, stop.cancelled()).await,
            }
            public_ended.cancel();
        };
        let announce_stop = async {
            stop.cancelled().await;
            self.ending.cancel();
            readiness.stop();
        };
        tokio::join!(
            serve_public,
            announce_stop,
            serve_until(self.internal, self.internal_tls, internal, public_ended.cancelled()),
            stop.run_until_cancelled(registry.clone().follow_token()),
            stop.run_until_cancelled(follow_policy),
            stop.run_until_cancelled(follow_keys),
            stop.run_until_cancelled(keep_probing(registry, &readiness)),
        );
    }
}

const NO_PAGES: &str = "no pages are served: --trust-bundle and --registry-keys are not both given, so that nothing can be verified";

const NOT_EXECUTING: &str = "nothing is executed: there are no keys of grants, or nothing can be verified";

/// The bundles; none where nothing could be verified.
fn cache(config: &Config, registry: &Registry, metrics: &Arc<Metrics>) -> Result<Option<Arc<Cache>>> {
    if !config.policy.is_complete() {
        tracing::warn!("{NO_PAGES}");
        return Ok(None);
    }
    let folder = config.cache_folder();
    let (policy, metrics) = (&config.policy, Arc::clone(metrics));
    let cache = Cache::open(&folder, config.cache_max_bytes, policy, registry.bundles(), metrics)?;
    Ok(Some(Arc::new(cache)))
}

fn gateway(config: &Config) -> Result<Option<Gateway>> {
    let Some(url) = &config.gateway_url else { return Ok(None) };
    let file = config.gateway_ca_file.as_deref();
    let authorities = authorities("--gateway-ca-file", file, config.gateway_ca.as_deref())?;
    Ok(Some(Gateway::new(url.clone(), authorities).context("--gateway-url")?))
}

/// What an https registry is checked by; none means the system's.
fn registry_authorities(config: &Config) -> Result<Option<Vec<Certificate>>> {
    let file = config.registry_ca_file.as_deref();
    let authorities = authorities("--registry-ca-file", file, config.registry_ca.as_deref())?;
    ensure!(
        authorities.is_none() || config.registry_base_url.is_https(),
        "--registry-ca-file or --registry-ca is given, but the registry at {} is not asked over https",
        config.registry_base_url
    );
    Ok(authorities)
}

//! The parts, wired.

use std::net::SocketAddr;
use std::sync::Arc;

use annex_service::{Certificates, Operations, Tls, serve_until};
use anyhow::{Context, Result, ensure};
use reqwest::Certificate;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::public;
use crate::readiness::{Readiness, keep_probing};
use crate::registry::Registry;
use crate::registry_token::authorization;

/// A runner that holds its two ports and does not answer yet.
#[derive(Debug)]
pub struct Server {
    public: TcpListener,
    public_tls: Tls,
    internal: TcpListener,
    internal_tls: Tls,
    certificates: Certificates,
    registry: Registry,
    metrics: Arc<Metrics>,
    measured: prometheus_client::registry::Registry,
}

impl Server {
    /// Takes the ports. Port 0 means any free one.
    ///
    /// # Errors
    /// When both listeners have one port, a port is taken, a certificate cannot be served, or TLS to the registry cannot be
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
        let authorities = authorities(config)?;
        let registry = Registry::new(
            config.registry_base_url.clone(),
            authorities,
            config.lookup_timeout(),
            authorization(config)?,
            Arc::clone(&metrics),
        )
        .context("setting up the client of the registry (an https one needs --registry-ca-file or the system's certificates)")?;
        let certificates = Certificates::register(&mut measured);
        let public_tls = certificates.listener("public", config.tls.files())?;
        let internal_tls = certificates.listener("operations", config.operations_tls.files())?;
        let public =
            TcpListener::bind(public).await.with_context(|| format!("listening on {public} (--listen)"))?;
        let internal = TcpListener::bind(internal)
            .await
            .with_context(|| format!("listening on {internal} (--internal-listen)"))?;
        Ok(Self { public, public_tls, internal, internal_tls, certificates, registry, metrics, measured })
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
        let readiness = Arc::new(Readiness::new(&self.registry));
        let status = {
            let readiness = Arc::clone(&readiness);
            Box::new(move || readiness.status())
        };
        let public = public::router(self.registry.clone(), self.metrics);
        let internal =
            Operations { status, registry: self.measured, certificates: self.certificates }.router();
        let public_ended = CancellationToken::new();

        let serve_public = async {
            serve_until(self.public, self.public_tls, public, stop.cancelled()).await;
            public_ended.cancel();
        };
        let announce_stop = async {
            stop.cancelled().await;
            readiness.stop();
        };
        tokio::join!(
            serve_public,
            announce_stop,
            serve_until(self.internal, self.internal_tls, internal, public_ended.cancelled()),
            stop.run_until_cancelled(self.registry.clone().follow_token()),
            stop.run_until_cancelled(keep_probing(self.registry, &readiness)),
        );
    }
}

/// What an https registry is checked by; none means the system's.
fn authorities(config: &Config) -> Result<Option<Vec<Certificate>>> {
    let (name, pem) = match (&config.registry_ca_file, &config.registry_ca) {
        (Some(path), _) => {
            let name = format!("--registry-ca-file {}", path.display());
            let pem = std::fs::read(path).with_context(|| format!("{name} cannot be read"))?;
            (name, pem)
        }
        (None, Some(pem)) => ("--registry-ca".to_owned(), pem.as_bytes().to_vec()),
        (None, None) => return Ok(None),
    };
    ensure!(
        config.registry_base_url.is_https(),
        "{name} is given, but the registry at {} is not asked over https",
        config.registry_base_url
    );
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    ensure!(!certificates.is_empty(), "{name} holds no PEM certificate");
    Ok(Some(certificates))
}

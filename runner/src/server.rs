//! The parts, wired.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::readiness::{Readiness, keep_probing};
use crate::registry::Registry;
use crate::{internal, listener, public};

/// A runner that holds its two ports and does not answer yet.
#[derive(Debug)]
pub struct Server {
    public: TcpListener,
    internal: TcpListener,
    registry: Registry,
    metrics: Arc<Metrics>,
}

impl Server {
    /// Takes the ports. Port 0 means any free one.
    ///
    /// # Errors
    /// When both listeners have one port, a port is taken, or TLS to the registry cannot be set up.
    pub async fn bind(config: &Config) -> Result<Self> {
        let (public, internal) = (config.listen, config.internal_listen);
        ensure!(
            public.port() == 0 || public.port() != internal.port(),
            "--listen and --internal-listen both have port {}: what is internal must not share the public port",
            public.port()
        );
        let metrics = Arc::new(Metrics::new());
        let registry =
            Registry::new(config.registry_base_url.clone(), config.lookup_timeout(), Arc::clone(&metrics))
                .context("setting up the client of the registry")?;
        let public =
            TcpListener::bind(public).await.with_context(|| format!("listening on {public} (--listen)"))?;
        let internal = TcpListener::bind(internal)
            .await
            .with_context(|| format!("listening on {internal} (--internal-listen)"))?;
        Ok(Self { public, internal, registry, metrics })
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
        let public = public::router(self.registry.clone(), Arc::clone(&self.metrics));
        let internal = internal::router(Arc::clone(&readiness), self.metrics);
        let public_ended = CancellationToken::new();

        let serve_public = async {
            listener::serve(self.public, public, stop.clone()).await;
            public_ended.cancel();
        };
        let announce_stop = async {
            stop.cancelled().await;
            readiness.stop();
        };
        tokio::join!(
            serve_public,
            announce_stop,
            listener::serve(self.internal, internal, public_ended.clone()),
            stop.run_until_cancelled(keep_probing(self.registry, &readiness)),
        );
    }
}

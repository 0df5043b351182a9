//! The life of the process: start, signals, end.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::server::Server;

/// How long requests under way may take after the first signal. Kubernetes kills 30 seconds after it by default.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT: the first lets requests under way end (at most ten seconds), the second does not.
///
/// # Errors
/// When the runner cannot start, or stopped before every request was answered.
pub fn run(config: &Config) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let result = runtime.block_on(serve_until_signal(config));
    // Not waited for: a name that resolves slowly would hold the process beyond the drain.
    runtime.shutdown_background();
    result
}

async fn serve_until_signal(config: &Config) -> Result<()> {
    // Before the ports: a signal that comes while they are taken must not be lost.
    let mut signals = Signals::catch().context("catching signals")?;
    let server = Server::bind(config).await?;
    tracing::info!(
        public = %server.public_address()?,
        internal = %server.internal_address()?,
        registry = %config.registry_base_url,
        "listening"
    );

    let stop = CancellationToken::new();
    let mut serving = pin!(server.serve(stop.clone()));
    tokio::select! {
        () = &mut serving => bail!("the listeners ended"),
        name = signals.next() => tracing::info!(signal = name, "stopping: finishing requests"),
    }
    stop.cancel();
    tokio::select! {
        () = &mut serving => {
            tracing::info!("stopped");
            Ok(())
        }
        () = tokio::time::sleep(DRAIN) => bail!("requests did not end within {} s", DRAIN.as_secs()),
        name = signals.next() => bail!("aborted by a second signal, {name}"),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and names it.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

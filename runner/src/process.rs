//! The life of the process: start, signals, end.

use std::time::Duration;

use annex_service::Shutdown;
use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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
    open_many_files();
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let result = runtime.block_on(serve_until_signal(config));
    // Not waited for: a name that resolves slowly would hold the process beyond the drain.
    runtime.shutdown_background();
    result
}

/// Each component that is ready holds a file, and so does each connection; the usual 1024 are for programs that ask with `select`.
fn open_many_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "no more than the usual number of files can be open");
    }
}

async fn serve_until_signal(config: &Config) -> Result<()> {
    // Before the ports: a signal that comes while they are taken must not be lost.
    let shutdown = Shutdown::on_signals().context("catching signals")?;
    let server = Server::bind(config).await?;
    tracing::info!(
        public = %server.public_address()?,
        internal = %server.internal_address()?,
        registry = %config.registry_base_url,
        "listening"
    );

    let stop = CancellationToken::new();
    let drained_too_long = async {
        shutdown.requested().await;
        stop.cancel();
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = server.serve(stop.clone()) => {
            tracing::info!("stopped");
            Ok(())
        }
        () = drained_too_long => bail!("requests did not end within {} s", DRAIN.as_secs()),
    }
}

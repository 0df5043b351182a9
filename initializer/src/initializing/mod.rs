//! The service: watches workspaces that wait for our initializer, and works on them in parallel.

mod finish;
mod progress;
mod steps;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use annex_apis::provider::WORKSPACE_TYPE;
use annex_initializer::{KcpArgs, Seed, SeedArgs, SeedConfig};
use annex_service::{Certificates, LogFormat, Operations, OperationsTlsArgs, Shutdown, Status, serve};
use kube_kcp::{
    Backoff, Brake, Change, Connection, Index, Limits, Metrics, ObjectKey, Outcome, Readiness, ShardUrl,
    Stop, VirtualWorkspace, VirtualWorkspaceOptions, WorkMetrics, WorkQueue, kinds::LogicalCluster,
    run_workers,
};
use prometheus_client::registry::Registry;

use progress::{Progress, Stage};
use steps::{Seeding, StepError};

/// How many workspaces are worked on at a time. Most of that time is waiting for kcp, so the number is generous: workspaces that
/// are stuck must not keep others from their turn. Each has at most [`REQUESTS`] requests under way, its watches included, and
/// more than the connection has streams would only wait for each other.
const CONCURRENCY: usize = Connection::STREAMS / REQUESTS;
const REQUESTS: usize = 6;

/// Gives each new workspace of type annex-tenant its seed: a namespace, a ServiceAccount with the least rights, a kubeconfig,
/// the bound API; then lets it become Ready.
#[derive(clap::Parser, Clone, Debug)]
#[command(version)]
pub(crate) struct Args {
    #[command(flatten)]
    kcp: KcpArgs,
    /// Where `/healthz`, `/readyz` and `/metrics` are served.
    #[arg(long, env = "ANNEX_LISTEN", default_value = "127.0.0.1:8092")]
    listen: SocketAddr,
    /// The WorkspaceType in the provider's workspace.
    #[arg(long, env = "ANNEX_WORKSPACE_TYPE", default_value = WORKSPACE_TYPE)]
    workspace_type: String,
    /// How long a workspace may wait for kcp (its token, the bound API) before it gives up its place and backs off.
    #[arg(long, default_value_t = 20)]
    patience_seconds: u64,
    /// How log lines look.
    #[arg(long, env = "ANNEX_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    operations_tls: OperationsTlsArgs,
    #[command(flatten)]
    seed: SeedArgs,
}

struct Context {
    workspaces: VirtualWorkspace,
    waiting: Arc<Index<LogicalCluster>>,
    config: SeedConfig,
    seed: Seed,
    progress: Progress,
    patience: Duration,
}

pub(crate) async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let config = args.seed.load()?;
    let mut registry = Registry::with_prefix("annex_initializer");
    let metrics = Metrics::register(&mut registry);
    let work_metrics = WorkMetrics::register(&mut registry);
    let certificates = Certificates::register(&mut registry);
    let operations_tls = certificates.listener("operations", args.operations_tls.files())?;
    let readiness = Readiness::default();
    let connection = args.kcp.connection().await?;
    let options = VirtualWorkspaceOptions {
        hosts: args.kcp.shard_hosts.clone(),
        // A workspace that was given what it waits for leaves this list: however many do at once, that is no fault.
        brake: Brake { percent: 100, ..Brake::default() },
        ..VirtualWorkspaceOptions::default()
    };
    let workspaces = VirtualWorkspace::initializing(
        &connection,
        &args.workspace_type,
        options,
        metrics.clone(),
        readiness.gate(format!("WorkspaceType {} in the provider's workspace", args.workspace_type)),
    );
    workspaces.health().register(&mut registry);

    let context = Arc::new(Context {
        workspaces: workspaces.clone(),
        waiting: Arc::default(),
        seed: Seed::of(&config),
        config,
        progress: Progress::register(&mut registry),
        patience: Duration::from_secs(args.patience_seconds),
    });
    let queue = Arc::new(WorkQueue::<ObjectKey>::new(Backoff::default(), 1));
    let queued = queue.clone();
    let seen = context.clone();
    let _watch = workspaces.objects(
        &context.waiting,
        readiness.gate("the list of workspaces under initialization"),
        move |change: &Change<LogicalCluster>| match change {
            Change::Applied { key, .. } => queued.add(key.clone()),
            // It left the initializers, or was deleted.
            Change::Removed { key, .. } => seen.progress.forget(&key.cluster),
        },
    );

    let status = {
        let (readiness, context) = (readiness.clone(), context.clone());
        let (queue, metrics) = (queue.clone(), work_metrics.clone());
        Box::new(move || {
            metrics.refresh(&queue);
            let shards = context.workspaces.health().shards();
            let notes = context.progress.notes().into_iter().chain(shards.iter().map(ToString::to_string));
            Status { waiting_for: readiness.waiting_for(), notes: notes.collect() }
        })
    };
    let operations = Operations { status, registry, certificates }.router();
    let stop = shutdown.clone();
    let workers = run_workers(
        queue,
        Limits { concurrency: CONCURRENCY, timeout: 3 * context.patience + Duration::from_secs(30) },
        work_metrics,
        async move {
            stop.requested().await;
            Stop::Drain
        },
        move |key| initialize(context.clone(), key),
    );
    tokio::try_join!(
        serve("operations", args.listen, operations_tls, operations, shutdown.requested()),
        async {
            workers.await;
            Ok(())
        }
    )?;
    Ok(())
}

/// One try on one workspace.
async fn initialize(context: Arc<Context>, key: ObjectKey) -> Outcome {
    let found = context.waiting.get(&key).zip(context.workspaces.shard_of(&key.cluster));
    let Some((workspace, shard)) = found else {
        context.progress.forget(&key.cluster);
        return Outcome::Done;
    };
    let initializer = initializer_of(&shard);
    let listed =
        workspace.status.iter().flat_map(|status| &status.initializers).any(|name| name == initializer);
    if !listed || workspace.metadata.deletion_timestamp.is_some() {
        context.progress.forget(&key.cluster);
        return Outcome::Done;
    }
    let started = context.progress.since(&key.cluster);
    match seed(&context, &key, initializer).await {
        Ok(()) => {
            context.progress.finished(&key.cluster, started);
            Outcome::Done
        }
        // What fails because the workspace has gone in the meantime has not failed.
        Err(_) if context.waiting.get(&key).is_none() => {
            context.progress.forget(&key.cluster);
            Outcome::Done
        }
        Err(error) => {
            context.progress.failed(&key.cluster, error.category(), &error.to_string());
            tracing::warn!(cluster = %key.cluster, %error, "the workspace is not seeded yet and is tried again");
            Outcome::Failed
        }
    }
}

async fn seed(context: &Context, key: &ObjectKey, initializer: &str) -> Result<(), StepError> {
    let client = context.workspaces.client(&key.cluster)?;
    let seeding = Seeding {
        client: client.clone(),
        cluster: &key.cluster,
        config: &context.config,
        seed: &context.seed,
        progress: &context.progress,
        patience: context.patience,
    };
    seeding.run().await?;
    let _leaving = context.progress.enter(&key.cluster, Stage::Finish);
    finish::leave(client, initializer).await
}

/// The name that a workspace lists us by is the last part of the virtual workspace's URL: kcp makes the one from the other.
fn initializer_of(shard: &ShardUrl) -> &str {
    shard.as_str().rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initializer_is_named_in_the_url() {
        let shard =
            "https://127.0.0.1:6443/services/initializingworkspaces/k1idhe16:annex-tenant".parse().unwrap();
        assert_eq!(initializer_of(&shard), "k1idhe16:annex-tenant");
    }
}

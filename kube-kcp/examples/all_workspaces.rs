//! Prints which workspaces bind an APIExport, and how far each binding is, as it changes.
//!
//! `KUBECONFIG=provider.kubeconfig cargo run -p kube-kcp --example all_workspaces -- EXPORT`
//!
//! The kubeconfig's current context is the workspace of the export. APIBindings are visible in every export's virtual workspace,
//! so no claim is needed. For a controller that also writes see the README.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use kube::Config;
use kube_kcp::{
    Backoff, Connection, Index, Limits, Metrics, ObjectKey, Outcome, PATH_ANNOTATION, Readiness, Stop,
    VirtualWorkspace, WorkMetrics, WorkQueue, kinds::APIBinding, run_workers,
};
use prometheus_client::registry::Registry;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let export = std::env::args().nth(1).context("give the APIExport's name")?;
    let connection = Connection::new(Config::infer().await?)?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let work_metrics = WorkMetrics::register(&mut registry);
    let readiness = Readiness::default();

    let workspaces = VirtualWorkspace::of_export(
        &connection,
        &export,
        Default::default(),
        metrics.clone(),
        readiness.gate("the endpoint slice"),
    );
    let bindings: Arc<Index<APIBinding>> = Arc::default();
    let queue = Arc::new(WorkQueue::new(Backoff::default(), 1));
    let changed = queue.clone();
    let listed = readiness.gate("the list of bindings");
    let _watch = workspaces.objects(&bindings, listed, move |change| changed.add(change.key().clone()));
    readiness.wait().await;
    println!("{} bindings; ctrl-c ends this", bindings.len());

    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
        Stop::Drain
    };
    let limits = Limits { concurrency: 8, timeout: Duration::from_secs(10) };
    run_workers(queue, limits, work_metrics, stop, move |key| {
        let bindings = bindings.clone();
        async move { describe(&bindings, &key) }
    })
    .await;
    Ok(())
}

fn describe(bindings: &Index<APIBinding>, key: &ObjectKey) -> Outcome {
    let Some(binding) = bindings.get(key) else {
        println!("{}: {} is gone", key.cluster, key.name);
        return Outcome::Done;
    };
    let path = binding.metadata.annotations.iter().find_map(|annotations| annotations.get(PATH_ANNOTATION));
    let phase = binding.status.as_ref().and_then(|status| status.phase);
    println!("{} ({}): {} is {phase:?}", key.cluster, path.map_or("?", String::as_str), key.name);
    Outcome::Done
}

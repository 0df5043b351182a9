//! The controller of the README, to run: it greets in every workspace that binds `greetings.example.com`.
//!
//! `KUBECONFIG=provider.kubeconfig cargo run -p kube-kcp --example greetings`
//!
//! The kubeconfig's current context is the workspace of the export, which claims ConfigMaps with get, list, watch and update.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Config, api::PostParams};
use kube_kcp::{
    Backoff, Connection, Index, Limits, Metrics, ObjectKey, Outcome, Readiness, Stop, VirtualWorkspace,
    WorkMetrics, WorkQueue, run_workers,
};
use prometheus_client::registry::Registry;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The kubeconfig's current context is the workspace that holds the APIExport.
    let connection = Connection::new(Config::infer().await?)?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let work_metrics = WorkMetrics::register(&mut registry);
    let readiness = Readiness::default();

    let workspaces = VirtualWorkspace::of_export(
        &connection,
        "greetings.example.com",
        Default::default(),
        metrics.clone(),
        readiness.gate("the endpoint slice"),
    );
    let index: Arc<Index<ConfigMap>> = Arc::default();
    // At most four ConfigMaps of one workspace are worked on at a time.
    let queue = Arc::new(WorkQueue::new(Backoff::default(), 4));
    let changed = queue.clone();
    let listed = readiness.gate("the list of ConfigMaps");
    let _watch = workspaces.objects(&index, listed, move |change| changed.add(change.key().clone()));
    // Before everything was listed, that an object is absent means nothing.
    readiness.wait().await;

    let limits = Limits { concurrency: 32, timeout: Duration::from_secs(60) };
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
        Stop::Drain
    };
    run_workers(queue, limits, work_metrics, stop, move |key| {
        let (workspaces, index) = (workspaces.clone(), index.clone());
        async move {
            match greet(&workspaces, &index, &key).await {
                Ok(()) => Outcome::Done,
                Err(error) => {
                    eprintln!("{key} is tried again: {error}");
                    Outcome::Failed
                }
            }
        }
    })
    .await;
    Ok(())
}

async fn greet(
    workspaces: &VirtualWorkspace,
    index: &Index<ConfigMap>,
    key: &ObjectKey,
) -> anyhow::Result<()> {
    // It may be gone since the key was queued.
    let Some(seen) = index.get(key) else { return Ok(()) };
    let data = seen.data.clone().unwrap_or_default();
    let Some(name) = data.get("name") else { return Ok(()) };
    let greeting = format!("Hello, {name}!");
    if data.get("greeting") == Some(&greeting) {
        return Ok(());
    }
    let mut wanted = (*seen).clone();
    wanted.data.get_or_insert_default().insert("greeting".to_owned(), greeting);
    // Replaced with the resourceVersion that was read: through a virtual workspace, server-side apply never removes a
    // field, and of two writers one is to conflict.
    let workspace = workspaces.client(&key.cluster)?;
    let config_maps: Api<ConfigMap> = Api::namespaced(workspace, &key.namespace);
    config_maps.replace(&key.name, &PostParams::default(), &wanted).await?;
    Ok(())
}

//! The parts, wired.

use std::{sync::Arc, time::Duration};

use annex_answering::{Callers, Catalog, Installs, clients};
use annex_apis::provider::EXPORT_NAME;
use annex_grant::{KeyRing, ReplayGuard};
use annex_runner_client::{RunnerSettings, Runners};
use annex_service::{Certificates, Followed, Operations, Shutdown, Status, serve};
use annex_storage::{Store, StoreOptions, StoreUrl};
use anyhow::{Context as _, anyhow};
use kube::Api;
use kube_kcp::{Metrics as KcpMetrics, Readiness, VirtualWorkspace, VirtualWorkspaceOptions};
use prometheus_client::registry::Registry;
use tokio::sync::Notify;

use crate::{
    app::{App, Settings},
    args::Args,
    bodies::Bodies,
    heard::Early,
    http::{broker_router, router},
    metrics::Metrics,
    parameters::Parameters,
    prune::prune,
    rights::Rights,
    storage::Storage,
};

/// A shard that cannot be listed is waited for so long; then the others are served. What is unknown stays a 503.
const SHARD_PATIENCE: Duration = Duration::from_secs(60);
/// Clocks that differ by more are out of order.
const SKEW: Duration = Duration::from_secs(5);
/// 10 MiB over 3 Mbit/s.
const UPLOAD: Duration = Duration::from_secs(30);
/// Orders of which it is remembered that they were carried out, for as long as their grants live: half a minute.
const ORDERS: usize = 100_000;

/// Runs until the process is asked to end.
///
/// # Errors
/// It cannot start.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut registry = Registry::with_prefix("annex_gateway");
    let kcp_metrics = KcpMetrics::register(&mut registry);
    let metrics = Metrics::register(&mut registry);
    let certificates = Certificates::register(&mut registry);
    let operations_tls = certificates.listener("operations", args.operations_tls.files())?;
    let api_tls = certificates.listener("api", args.tls.files())?;
    let broker_tls = certificates.listener("broker", args.broker_tls.files())?;
    let keys = Followed::load_folder("the grant keys", args.grant_keys.clone(), ring)?;
    let runners = Runners::new(&runner_settings(&args)?)?;
    let storage = storage(&args)?;
    let connection = args.kcp.connection().await?;
    let readiness = Readiness::default();
    let virtual_workspace = VirtualWorkspace::of_export(
        &connection,
        EXPORT_NAME,
        VirtualWorkspaceOptions {
            hosts: args.kcp.shard_hosts.clone(),
            patience: Some(SHARD_PATIENCE),
            ..VirtualWorkspaceOptions::default()
        },
        kcp_metrics,
        readiness.gate("the APIExport's endpoint slice"),
    );
    virtual_workspace.health().register(&mut registry);
    let workspaces = clients(&virtual_workspace);
    let remembered = Duration::from_secs(args.decision_seconds);
    let timeout = Duration::from_millis(u64::from(args.timeout_ms));
    let app = Arc::new(App {
        workspaces: workspaces.clone(),
        callers: Callers::remembering(connection.home(), remembered),
        rights: Rights::new(workspaces.clone(), remembered),
        parameters: Parameters::new(workspaces),
        early: Early::default(),
        orders: ReplayGuard::new(ORDERS),
        keys,
        catalog: Catalog::default(),
        installs: Installs::of(&virtual_workspace),
        runners,
        storage,
        bodies: Bodies::new(args.max_bodies_mib),
        settings: Settings {
            timeout,
            upload: UPLOAD,
            default_memory_mb: args.default_memory_mib,
            skew: SKEW,
        },
        metrics,
    });
    let status = {
        let (app, readiness, workspaces) = (app.clone(), readiness.clone(), virtual_workspace.clone());
        Box::new(move || {
            app.metrics.refresh(&app);
            let counts = format!("hosts: {}, versions: {}", app.installs.hosts(), app.catalog.versions.len());
            let notes = [counts].into_iter().chain(app.keys.note());
            let storage = app.storage.as_ref().map_or_else(no_storage, Storage::note);
            let notes = notes.chain([storage]);
            let notes = notes.chain(workspaces.health().shards().into_iter().map(|shard| shard.to_string()));
            Status { waiting_for: readiness.waiting_for(), notes: notes.collect() }
        })
    };
    let operations = Operations { status, registry, certificates }.router();

    let mut followers = vec![
        tokio::spawn({
            let (versions, api) = (app.catalog.versions.clone(), Api::all(connection.home()));
            let gate = readiness.gate("the list of extension versions");
            async move { versions.follow(api, gate).await }
        }),
        tokio::spawn({
            let (tenants, api) = (app.catalog.tenants.clone(), Api::all(connection.home()));
            let gate = readiness.gate("the list of tenants");
            async move { tenants.follow(api, gate).await }
        }),
        tokio::spawn({
            let app = app.clone();
            async move { app.keys.follow().await }
        }),
        tokio::spawn({
            let storage = app.storage.clone();
            async move {
                if let Some(storage) = storage {
                    storage.keep_checking().await;
                }
            }
        }),
    ];
    let gate = readiness.gate("the list of installs in all workspaces");
    followers.extend(app.installs.follow(&virtual_workspace, gate, prune));
    let answered = Notify::new();
    let serving = async {
        tokio::try_join!(
            serve("operations", args.operations_listen, operations_tls, operations, shutdown.requested()),
            async {
                let served =
                    serve("api", args.listen, api_tls, router(app.clone()), shutdown.requested()).await;
                answered.notify_one();
                served
            },
            // Calls under way may ask for secrets until the last of them has ended.
            serve("broker", args.broker_listen, broker_tls, broker_router(app.clone()), answered.notified()),
        )
    };
    let drain = UPLOAD + timeout + SKEW;
    let drained_too_long = async {
        shutdown.requested().await;
        tokio::time::sleep(drain).await;
    };
    let ended = tokio::select! {
        served = serving => served.map(drop),
        () = drained_too_long => Err(anyhow!("calls did not end within {} s", drain.as_secs())),
    };
    for follower in followers {
        follower.abort();
    }
    if let Some(storage) = &app.storage {
        storage.store().close().await;
    }
    ended
}

/// A ring of which none signs is of no use here.
fn ring(files: &[(String, Vec<u8>)]) -> Result<KeyRing, String> {
    let ring = KeyRing::parse(files).map_err(|error| error.to_string())?;
    if ring.can_sign() {
        Ok(ring)
    } else {
        Err("there are several keys, and no file current names one".to_owned())
    }
}

/// The tables are made, and the database is connected to, when that is needed first.
fn storage(args: &Args) -> anyhow::Result<Option<Storage>> {
    let open = |url: &StoreUrl| {
        // The error names no part of the URL.
        Store::open(url.expose(), StoreOptions::default()).context("--storage-url")
    };
    Ok(args.storage_url.as_ref().map(open).transpose()?.map(Storage::new))
}

fn no_storage() -> String {
    "storage: none, so that runners without a database of their own store nothing".to_owned()
}

fn runner_settings(args: &Args) -> anyhow::Result<RunnerSettings> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).with_context(|| format!("--runner-ca-file {} cannot be read", path.display()))
    };
    let authorities = args.runner_ca_file.as_ref().map(read).transpose()?;
    Ok(RunnerSettings {
        direct: args.runner_url.clone(),
        exec: args.exec_url.clone(),
        exec_connect: args.exec_connect.clone(),
        broker: None,
        authorities,
    })
}

//! The parts, wired.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use annex_answering::{Callers, Catalog, Installs, clients};
use annex_apis::provider::EXPORT_NAME;
use annex_service::{Certificates, Followed, Operations, RunnerTokens, Shutdown, Status, serve};
use anyhow::anyhow;
use kube::Api;
use kube_kcp::{
    Fence, Lease, LeaseMetrics, Metrics as KcpMetrics, Readiness, VirtualWorkspace, VirtualWorkspaceOptions,
};
use prometheus_client::registry::Registry;
use tokio::time::MissedTickBehavior;

use crate::{
    app::App, args::Args, http::router, lead::lead, metrics::Metrics, pace::Patience, places::Places,
    policy::Policy, prune::prune, scratch::Scratch,
};

/// A shard that cannot be listed is waited for so long; then the others are served. What is unknown stays a 503.
const SHARD_PATIENCE: Duration = Duration::from_secs(60);
/// How long uploads under way may take after the process was asked to end. An upload that is cut off leaves nothing, and is sent again.
const DRAIN: Duration = Duration::from_secs(60);
const PROBE_STORE_EVERY: Duration = Duration::from_secs(5);
const PROBE_STORE_WITHIN: Duration = Duration::from_secs(10);

/// Runs until the process is asked to end.
///
/// # Errors
/// It cannot start.
pub async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut registry = Registry::with_prefix("annex_registry");
    let kcp_metrics = KcpMetrics::register(&mut registry);
    let lease_metrics = LeaseMetrics::register(&mut registry);
    let metrics = Metrics::register(&mut registry);
    let certificates = Certificates::register(&mut registry);
    let operations_tls = certificates.listener("operations", args.operations_tls.files())?;
    let api_tls = certificates.listener("api", args.tls.files())?;
    let policy = Policy::load(&args.trust)?;
    let runners = Followed::load("the runners' tokens", vec![args.runner_tokens.clone()], |contents| {
        RunnerTokens::parse(contents.first().map_or(&[][..], Vec::as_slice))
    })?;
    let store = args.store.open()?;
    let connection = args.kcp.connection().await?;
    let lease = Lease::new(
        connection.home(),
        &args.lease.lease_namespace,
        args.lease.name("annex-registry"),
        args.lease.options(),
        lease_metrics,
    )?;
    let (identity, leader) = (lease.identity().to_owned(), lease.holder());
    let fence = Fence::default();
    let fenced = connection.fenced(&fence).home();
    let readiness = Readiness::default();
    let workspaces = VirtualWorkspace::of_export(
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
    workspaces.health().register(&mut registry);
    let app = Arc::new(App {
        provider: connection.home(),
        workspaces: clients(&workspaces),
        callers: Callers::new(connection.home()),
        runners,
        policy,
        store,
        scratch: Scratch::in_folder(args.upload_folder.clone().unwrap_or_else(std::env::temp_dir)),
        patience: Patience::default(),
        places: Places::new(usize::from(args.max_uploads)),
        making: tokio::sync::Mutex::default(),
        mended: tokio::sync::Notify::new(),
        catalog: Catalog::default(),
        installs: Installs::of(&workspaces),
        metrics,
    });
    let store_reachable = Arc::new(AtomicBool::new(false));
    let status = {
        let (app, readiness, workspaces, reachable) =
            (app.clone(), readiness.clone(), workspaces.clone(), store_reachable.clone());
        Box::new(move || {
            let reachable = reachable.load(Ordering::Relaxed);
            app.metrics.refresh(&app, reachable);
            let mut waiting_for = readiness.waiting_for();
            if !reachable {
                waiting_for.push("the content store to answer".to_owned());
            }
            let leads = match &*leader.borrow() {
                Some(holder) if *holder == identity => "leads".to_owned(),
                Some(holder) => format!("stands by; {holder} leads"),
                None => "stands by; nobody is known to lead".to_owned(),
            };
            let counts = format!(
                "hosts: {}, versions: {}, uploads: {}",
                app.installs.hosts(),
                app.catalog.versions.len(),
                app.places.taken()
            );
            let notes = [counts, leads].into_iter();
            let notes = notes.chain(app.policy.notes()).chain(app.runners.note());
            let notes = notes.chain(workspaces.health().shards().into_iter().map(|shard| shard.to_string()));
            Status { waiting_for, notes: notes.collect() }
        })
    };
    let operations = Operations { status, registry, certificates }.router();

    let mut followers = vec![
        tokio::spawn({
            let (app, api) = (app.clone(), Api::all(connection.home()));
            let gate = readiness.gate("the list of extensions");
            async move { app.catalog.extensions.follow(api, gate).await }
        }),
        tokio::spawn({
            let (app, api) = (app.clone(), Api::all(connection.home()));
            let gate = readiness.gate("the list of extension versions");
            async move { app.catalog.versions.follow(api, gate).await }
        }),
        tokio::spawn({
            let (app, api) = (app.clone(), Api::all(connection.home()));
            let gate = readiness.gate("the list of tenants");
            async move { app.catalog.tenants.follow(api, gate).await }
        }),
        tokio::spawn({
            let app = app.clone();
            async move {
                tokio::join!(app.policy.follow(), app.runners.follow());
            }
        }),
        tokio::spawn(probe_store(app.clone(), store_reachable)),
    ];
    let gate = readiness.gate("the list of installs in all workspaces");
    followers.extend(app.installs.follow(&workspaces, gate, prune));
    let leading = async {
        tokio::select! {
            () = readiness.wait() => {}
            () = shutdown.requested() => return Ok(()),
        }
        tracing::info!(hosts = app.installs.hosts(), versions = app.catalog.versions.len(), "synced");
        lead(&app, lease, &fence, &fenced, &shutdown).await;
        Ok(())
    };
    let serving = async {
        tokio::try_join!(
            serve("operations", args.operations_listen, operations_tls, operations, shutdown.requested()),
            serve("api", args.listen, api_tls, router(app.clone()), shutdown.requested()),
            leading,
        )
    };
    let drained_too_long = async {
        shutdown.requested().await;
        tokio::time::sleep(DRAIN).await;
    };
    let ended = tokio::select! {
        served = serving => served.map(drop),
        () = drained_too_long => Err(anyhow!("uploads did not end within {} s", DRAIN.as_secs())),
    };
    for follower in followers {
        follower.abort();
    }
    ended
}

async fn probe_store(app: Arc<App>, reachable: Arc<AtomicBool>) {
    let mut ticks = tokio::time::interval(PROBE_STORE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answers = matches!(tokio::time::timeout(PROBE_STORE_WITHIN, app.store.probe()).await, Ok(Ok(())));
        if reachable.swap(answers, Ordering::Relaxed) != answers {
            tracing::info!(answers, "the content store");
        }
    }
}

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use annex_apis::provider::EXPORT_NAME;
use annex_initializer::Seed;
use annex_service::{Operations, Shutdown, Status, serve};
use anyhow::Context as _;
use kube::{
    Resource,
    config::{KubeConfigOptions, Kubeconfig},
    core::PartialObjectMeta,
};
use kube_kcp::{
    Backoff, Change, Connection, Endpoints, Gate, Index, Limits, Metrics, Outcome, Readiness, WorkQueue,
    export_endpoints, run_workers, spawn_metadata_watch, spawn_object_watch,
};
use parking_lot::Mutex;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use crate::{
    api_writes::ApiWrites,
    args::Args,
    catalog::{self, Catalog},
    claims::Claims,
    context::{Context, Key, TenantSide},
    install, lookup,
    routes::Routes,
    runner::Runner,
    triggers,
    workspace::{self, SeedMemory},
};

/// A reconcile makes a handful of requests, each bounded by itself; this is the last resort.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let seed_config = args.seed.load()?;
    let kubeconfig = Kubeconfig::read_from(&args.kubeconfig)
        .with_context(|| format!("--kubeconfig {} cannot be used", args.kubeconfig.display()))?;
    let client_config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;

    let mut registry = Registry::with_prefix("annex_controller");
    let metrics = Metrics::register(&mut registry);
    let readiness = Readiness::default();
    let connection = Connection::new(client_config)?;
    let context = Arc::new(Context {
        queue: Arc::new(WorkQueue::new(Backoff::default(), args.concurrency_per_workspace)),
        tenants: TenantSide::default(),
        catalog: Arc::new(Catalog::default()),
        extension_claims: Claims::default(),
        host_claims: Claims::default(),
        routes: Arc::new(Routes::default()),
        vanished: Mutex::default(),
        runner: Runner::new(args.runner_url.clone())?,
        writes: ApiWrites::register(&mut registry),
        domain: args.domain.clone(),
        allow_unsigned: args.allow_unsigned,
        seed: Seed::of(&seed_config),
        seed_config,
        seeds: SeedMemory::default(),
        token_max_age: args.token_max_age,
        connection: connection.clone(),
    });
    if args.allow_unsigned {
        tracing::warn!("--allow-unsigned: versions that nobody verified are installed");
    }
    let routes_gauge = Gauge::<i64>::default();
    registry.register("routes", "Hosts that the lookup answers for", routes_gauge.clone());

    let status = {
        let (readiness, context) = (readiness.clone(), context.clone());
        Box::new(move || {
            let routes = context.routes.len();
            routes_gauge.set(i64::try_from(routes).unwrap_or(i64::MAX));
            Status {
                waiting_for: readiness.waiting_for(),
                notes: vec![
                    format!(
                        "installs: {}, hosts: {routes}, queued: {}",
                        context.tenants.installs.len(),
                        context.queue.depth()
                    ),
                    format!(
                        "runner: {}",
                        if *context.runner.reachable().borrow() { "answers" } else { "does not answer" }
                    ),
                ],
            }
        })
    };
    let operations = Operations { status, registry }.router();
    let routes_restored = Arc::new(AtomicBool::new(false));
    let lookup = {
        let (readiness, restored) = (readiness.clone(), routes_restored.clone());
        let complete = move || restored.load(Ordering::Acquire) && readiness.waiting_for().is_empty();
        lookup::router(context.routes.clone(), complete)
    };

    let endpoints =
        export_endpoints(connection.home(), EXPORT_NAME, readiness.gate("the APIExport's endpoint slice"));
    let followers = follow(&context, &endpoints, &metrics, &readiness);
    let ended = shutdown.clone();
    // The lookup goes on until the work has ended: whether an install at work answers is asked through it.
    let (at_work, work_ended) = tokio::sync::oneshot::channel::<()>();
    let workers = async {
        let _at_work = at_work;
        tokio::select! {
            () = readiness.wait() => {}
            () = ended.requested() => return Ok(()),
        }
        context.restore_routes();
        context.sweep_tenants();
        routes_restored.store(true, Ordering::Release);
        tracing::info!(installs = context.tenants.installs.len(), "synced; work begins");
        run_workers(
            context.queue.clone(),
            Limits { concurrency: args.concurrency, timeout: RECONCILE_TIMEOUT },
            metrics.clone(),
            async move { ended.requested().await },
            |key| reconcile(context.clone(), key),
        )
        .await;
        Ok(())
    };
    let served = tokio::try_join!(
        serve("operations", args.listen, operations, shutdown.requested()),
        serve("lookup", args.lookup_listen, lookup, async {
            let _ = work_ended.await;
        }),
        workers,
    );
    for follower in followers {
        follower.abort();
    }
    served.map(drop)
}

async fn reconcile(context: Arc<Context>, key: Key) -> Outcome {
    match key {
        Key::Install(key) => install::reconcile(&context, &key).await,
        Key::Workspace(shard, cluster) => workspace::reconcile(&context, &shard, &cluster).await,
    }
}

/// Starts everything that is followed.
fn follow(
    context: &Arc<Context>,
    endpoints: &Endpoints,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Vec<JoinHandle<()>> {
    let watches = Watches { context, endpoints, metrics, readiness };
    let side = &context.tenants;
    let health = context.clone();
    vec![
        watches.catalog(
            "extensions",
            |catalog| &catalog.extensions,
            |context, extension| {
                context.extension_changed(extension.metadata.name.as_deref().unwrap_or_default());
            },
        ),
        watches.catalog(
            "extension versions",
            |catalog| &catalog.versions,
            |context, version| {
                context.extension_changed(&version.spec.extension);
            },
        ),
        watches.catalog(
            "tenants",
            |catalog| &catalog.tenants,
            |context, tenant| {
                context.tenant_changed(tenant.metadata.name.as_deref().unwrap_or_default());
            },
        ),
        watches.objects(&side.bindings, Context::binding_changed),
        watches.objects(&side.installs, Context::install_changed),
        watches.objects(&side.environments, Context::environment_changed),
        watches.objects(&side.quotas, Context::quota_changed),
        watches.metadata(&side.secrets, Context::secret_changed),
        watches.metadata(&side.namespaces, Context::seeded_changed),
        watches.metadata(&side.service_accounts, Context::seeded_changed),
        watches.objects(&side.roles, Context::seeded_changed),
        watches.objects(&side.role_bindings, Context::seeded_changed),
        watches.objects(&side.cluster_roles, Context::seeded_changed),
        watches.objects(&side.cluster_role_bindings, Context::seeded_changed),
        tokio::spawn(async move { health.runner.watch_health().await }),
        tokio::spawn(triggers::follow_runner(context.clone())),
    ]
}

struct Watches<'a> {
    context: &'a Arc<Context>,
    endpoints: &'a Endpoints,
    metrics: &'a Metrics,
    readiness: &'a Readiness,
}

impl Watches<'_> {
    fn objects<K>(&self, index: &Arc<Index<K>>, on_change: fn(&Context, &Change<K>)) -> JoinHandle<()>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let context = self.context.clone();
        spawn_object_watch(
            &self.context.connection,
            self.endpoints.clone(),
            index.clone(),
            self.metrics.clone(),
            self.gate::<K>(),
            move |change| on_change(&context, change),
        )
    }

    fn metadata<K>(
        &self,
        index: &Arc<Index<PartialObjectMeta<K>>>,
        on_change: fn(&Context, &Change<PartialObjectMeta<K>>),
    ) -> JoinHandle<()>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let context = self.context.clone();
        spawn_metadata_watch(
            &self.context.connection,
            self.endpoints.clone(),
            index.clone(),
            self.metrics.clone(),
            self.gate::<K>(),
            move |change| on_change(&context, change),
        )
    }

    fn catalog<K>(
        &self,
        what: &str,
        store: fn(&Catalog) -> &catalog::Store<K>,
        on_change: fn(&Context, &K),
    ) -> JoinHandle<()>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (context, catalog) = (self.context.clone(), self.context.catalog.clone());
        let (client, gate) =
            (self.context.connection.home(), self.readiness.gate(format!("the list of {what}")));
        tokio::spawn(catalog::follow(client, catalog, store, gate, move |object| on_change(&context, object)))
    }

    fn gate<K: Resource<DynamicType = ()>>(&self) -> Gate {
        self.readiness.gate(format!("the list of {} in all workspaces", K::plural(&())))
    }
}

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use annex_apis::provider::EXPORT_NAME;
use annex_initializer::Seed;
use annex_service::{Certificates, Operations, Shutdown, Status, serve};
use anyhow::Context as _;
use kube::{
    Api, Resource,
    config::{KubeConfigOptions, Kubeconfig},
    core::PartialObjectMeta,
    runtime::watcher,
};
use kube_kcp::{
    Backoff, Change, Connection, Endpoints, Gate, Index, Limits, Metrics, ObjectKey, Outcome, Readiness,
    WorkQueue, export_endpoints, run_workers, spawn_metadata_watch, spawn_object_watch,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    api_writes::ApiWrites,
    args::Args,
    catalog::Catalog,
    claims::Claims,
    compute::{ComputeArgs, DomainMode, Elsewhere, Layout, Options, PlaceId, Places, Setup, SharedRunner},
    context::{Context, Key, TenantSide},
    environment::{self, Environments},
    gauges::Gauges,
    install, lookup,
    routes::Routes,
    store::{self, Store, Told},
    triggers,
    workspace::{self, SeedMemory},
};

/// A reconcile makes a handful of requests, each bounded by itself; this is the last resort.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(120);
/// The same, where a tenant's own cluster has a part: others wait for the worker, and what was done until then stays done.
const ELSEWHERE_TIMEOUT: Duration = Duration::from_secs(60);
/// Environments that are looked at at a time. Most of that is waiting for servers that are not ours.
const ENVIRONMENTS: usize = 32;

pub(crate) async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let seed_config = args.seed.load()?;
    let kubeconfig = Kubeconfig::read_from(&args.kubeconfig)
        .with_context(|| format!("--kubeconfig {} cannot be used", args.kubeconfig.display()))?;
    let client_config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;

    let mut registry = Registry::with_prefix("annex_controller");
    let metrics = Metrics::register(&mut registry);
    let certificates = Certificates::register(&mut registry);
    let operations_tls = certificates.listener("operations", args.operations_tls.files())?;
    let lookup_tls = certificates.listener("lookup", args.tls.files())?;
    let environment_metrics = Metrics::register(registry.sub_registry_with_prefix("environments"));
    let elsewhere_metrics = Metrics::register(registry.sub_registry_with_prefix("own_clusters"));
    let readiness = Readiness::default();
    let connection = Connection::new(client_config)?;
    let writes = ApiWrites::register(&mut registry);
    let (notices, cluster_notices) = mpsc::unbounded_channel();
    let options = args.compute.options()?;
    let platform = platform(&args.compute, options.clone(), writes.clone()).await?;
    let context = Arc::new(Context {
        queue: Arc::new(WorkQueue::new(Backoff::default(), args.concurrency_per_workspace)),
        tenants: TenantSide::default(),
        catalog: Arc::new(Catalog::default()),
        environments: Arc::new(Environments::new(&args.environment)),
        extension_claims: Claims::default(),
        host_claims: Claims::default(),
        routes: Arc::new(Routes::default()),
        vanished: Mutex::default(),
        deleted: Mutex::default(),
        runner: args.runner()?,
        elsewhere: Elsewhere::default(),
        undone: Mutex::default(),
        orphans: Mutex::default(),
        left: Mutex::default(),
        places: Places::new(platform, options, writes.clone(), notices),
        writes,
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
    let gauges = Gauges::register(&mut registry, &context);

    let status = {
        let (readiness, context) = (readiness.clone(), context.clone());
        Box::new(move || {
            gauges.refresh(&context);
            let routes = context.routes.len();
            Status {
                waiting_for: readiness.waiting_for(),
                notes: vec![
                    format!(
                        "installs: {}, hosts: {routes}, queued: {}",
                        context.tenants.installs.len(),
                        context.queue.depth() + context.elsewhere.queue.depth()
                    ),
                    format!(
                        "environments: {}, open: {}, queued: {}",
                        context.tenants.environments.len(),
                        context.environments.open(),
                        context.environments.queue.depth()
                    ),
                ]
                .into_iter()
                .chain(context.runner.as_ref().map(|runner| {
                    let answers = *runner.reachable().borrow();
                    format!("runner: {}", if answers { "answers" } else { "does not answer" })
                }))
                .chain(
                    context
                        .places
                        .platform()
                        .map(|platform| format!("compute cluster: {}", platform.state().describe())),
                )
                .collect(),
            }
        })
    };
    let operations = Operations { status, registry, certificates }.router();
    let routes_restored = Arc::new(AtomicBool::new(false));
    let lookup = {
        let (readiness, restored) = (readiness.clone(), routes_restored.clone());
        let complete = move || restored.load(Ordering::Acquire) && readiness.waiting_for().is_empty();
        lookup::router(context.routes.clone(), complete)
    };

    let endpoints =
        export_endpoints(connection.home(), EXPORT_NAME, readiness.gate("the APIExport's endpoint slice"));
    let mut followers = follow(&context, &endpoints, &metrics, &readiness);
    followers.push(tokio::spawn(triggers::follow_clusters(context.clone(), cluster_notices)));
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
        let installs = run_workers(
            context.queue.clone(),
            Limits { concurrency: args.concurrency, timeout: RECONCILE_TIMEOUT },
            metrics.clone(),
            ended.requested(),
            |key| reconcile(context.clone(), key),
        );
        let environments = run_workers(
            context.environments.queue.clone(),
            Limits { concurrency: ENVIRONMENTS, timeout: RECONCILE_TIMEOUT },
            environment_metrics,
            ended.requested(),
            |key| reconcile_environment(context.clone(), key),
        );
        let elsewhere = run_workers(
            context.elsewhere.queue.clone(),
            Limits { concurrency: Elsewhere::AT_A_TIME, timeout: ELSEWHERE_TIMEOUT },
            elsewhere_metrics,
            ended.requested(),
            |key| reconcile_elsewhere(context.clone(), key),
        );
        tokio::join!(installs, environments, elsewhere);
        Ok(())
    };
    let served = tokio::try_join!(
        serve("operations", args.listen, operations_tls, operations, shutdown.requested()),
        serve("lookup", args.lookup_listen, lookup_tls, lookup, async {
            let _ = work_ended.await;
        }),
        workers,
    );
    for follower in followers {
        follower.abort();
    }
    served.map(drop)
}

/// The platform's own cluster, in Knative mode.
async fn platform(
    args: &ComputeArgs,
    options: Option<Options>,
    writes: ApiWrites,
) -> anyhow::Result<Option<Setup>> {
    if args.domain_mode == DomainMode::Direct {
        return Ok(None);
    }
    let config = match &args.compute_kubeconfig {
        Some(path) => {
            let failed = || format!("--compute-kubeconfig {} cannot be used", path.display());
            let kubeconfig = Kubeconfig::read_from(path).with_context(failed)?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(failed)?
        }
        None => kube::Config::incluster()
            .context("--compute-kubeconfig is not given, and this runs in no cluster")?,
    };
    let layout = match args.shared() {
        Some(SharedRunner { namespace, kservice }) => Layout::Shared { namespace, kservice },
        None => Layout::NamespacePerWorkspace,
    };
    Ok(Some(Setup {
        id: PlaceId::Platform,
        label: "platform".to_owned(),
        client: Connection::new(config)?.home(),
        layout,
        claims: args.auto_create_domain_claims,
        tls_secret: args.tls_secret()?,
        options,
        writes,
    }))
}

async fn reconcile(context: Arc<Context>, key: Key) -> Outcome {
    match key {
        Key::Install(key) => install::reconcile(&context, &key).await,
        Key::Workspace(shard, cluster) => workspace::reconcile(&context, &shard, &cluster).await,
    }
}

async fn reconcile_elsewhere(context: Arc<Context>, key: ObjectKey) -> Outcome {
    install::reconcile_elsewhere(&context, &key).await
}

async fn reconcile_environment(context: Arc<Context>, key: ObjectKey) -> Outcome {
    environment::reconcile(&context, &key).await
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
    let (health, platform) = (context.clone(), context.clone());
    vec![
        watches.catalog("extensions", &context.catalog.extensions, |context, extension| {
            context.extension_changed(extension.metadata.name.as_deref().unwrap_or_default());
        }),
        watches.catalog("extension versions", &context.catalog.versions, |context, version| {
            context.extension_changed(&version.spec.extension);
        }),
        watches.catalog("tenants", &context.catalog.tenants, |context, tenant| {
            context.tenant_changed(tenant.metadata.name.as_deref().unwrap_or_default());
        }),
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
        tokio::spawn(async move {
            if let Some(runner) = &health.runner {
                runner.watch_health().await;
            }
        }),
        tokio::spawn(async move { platform.places.follow_platform().await }),
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
        what: &'static str,
        store: &Arc<Store<K>>,
        on_change: fn(&Context, &K),
    ) -> JoinHandle<()>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (context, store) = (self.context.clone(), store.clone());
        let (api, gate) =
            (Api::all(self.context.connection.home()), self.readiness.gate(format!("the list of {what}")));
        tokio::spawn(async move {
            let told = |told: Told<'_, K>| match told {
                Told::Changed(object) => on_change(&context, object),
                Told::Synced => gate.open(),
                Told::Heard | Told::Failed(_) | Told::Full => {}
            };
            store::follow(api, watcher::Config::default(), store, what, told).await;
        })
    }

    fn gate<K: Resource<DynamicType = ()>>(&self) -> Gate {
        self.readiness.gate(format!("the list of {} in all workspaces", K::plural(&())))
    }
}

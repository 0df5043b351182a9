use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use annex_apis::provider::EXPORT_NAME;
use annex_initializer::Seed;
use annex_service::{Certificates, Operations, Shutdown, Status, serve};
use anyhow::Context as _;
use kube::{Api, Resource, core::PartialObjectMeta, runtime::watcher};
use kube_kcp::{
    Backoff, Change, Connection, Fence, Gate, Index, Lease, LeaseMetrics, Metrics, ObjectKey, Outcome,
    Readiness, VirtualWorkspace, VirtualWorkspaceOptions, WorkMetrics, WorkQueue,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    announce::Announcer,
    api_writes::ApiWrites,
    args::Args,
    catalog::Catalog,
    claims::Claims,
    compute::{ComputeArgs, DomainMode, Elsewhere, Layout, Options, PlaceId, Places, Setup, SharedRunner},
    context::{Context, Key, TenantSide},
    environment::{self, Environments},
    gauges::Gauges,
    handlers::Handlers,
    install,
    lead::{Counted, lead},
    rollout::Rollout,
    routes::Routes,
    store::{self, Store, Told},
    triggers, verify,
    workspace::{self, SeedMemory},
};

/// A shard that cannot be listed is waited for so long; then work begins on the others. What one of its Installs may hold, a host name
/// that nobody is known to have, is still given to nobody.
const SHARD_PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    let seed_config = args.seed.load()?;
    let mut registry = Registry::with_prefix("annex_controller");
    let metrics = Metrics::register(&mut registry);
    let work_metrics = WorkMetrics::register(&mut registry);
    let certificates = Certificates::register(&mut registry);
    let operations_tls = certificates.listener("operations", args.operations_tls.files())?;
    let counted = Counted {
        installs: work_metrics,
        environments: WorkMetrics::register(registry.sub_registry_with_prefix("environments")),
        elsewhere: WorkMetrics::register(registry.sub_registry_with_prefix("own_clusters")),
        events: WorkMetrics::register(registry.sub_registry_with_prefix("events")),
    };
    let lease_metrics = LeaseMetrics::register(&mut registry);
    let readiness = Readiness::default();
    let unfenced = args.kcp.connection().await?;
    let lease = Lease::new(
        unfenced.home(),
        &args.lease.lease_namespace,
        args.lease.name("annex-controller"),
        args.lease.options(),
        lease_metrics,
    )?;
    let (identity, leader) = (lease.identity().to_owned(), lease.holder());
    let fence = Fence::default();
    let connection = unfenced.fenced(&fence);
    let workspaces = VirtualWorkspace::of_export(
        &connection,
        EXPORT_NAME,
        VirtualWorkspaceOptions {
            hosts: args.kcp.shard_hosts.clone(),
            patience: Some(SHARD_PATIENCE),
            ..VirtualWorkspaceOptions::default()
        },
        metrics.clone(),
        readiness.gate("the APIExport's endpoint slice"),
    );
    workspaces.health().register(&mut registry);
    let writes = ApiWrites::register(&mut registry);
    let (notices, cluster_notices) = mpsc::unbounded_channel();
    let bundles = args.verify.bundles(args.allow_unsigned)?;
    let runner_tokens = args.verify.runner_tokens()?;
    let policy = bundles.as_ref().map(|bundles| bundles.policy());
    let calls = args.compute.calls.calls()?;
    let options = args.compute.options(runner_tokens.clone(), policy, calls.clone())?;
    let platform = platform(&args.compute, options.clone(), writes.clone(), &fence).await?;
    let announcer = Announcer::new(&args.announce)?;
    announcer.register(&mut registry);
    let context = Arc::new(Context {
        queue: Arc::new(WorkQueue::new(Backoff::default(), args.concurrency_per_workspace)),
        tenants: TenantSide::default(),
        catalog: Arc::new(Catalog::default()),
        environments: Arc::new(Environments::new(&args.environment, &fence)),
        extension_claims: Claims::default(),
        host_claims: Claims::default(),
        routes: Arc::new(Routes::default()),
        rollout: Rollout::new(args.rollout_per_minute),
        announcer,
        vanished: Mutex::default(),
        deleted: Mutex::default(),
        runner: args.runner()?,
        handlers: calls.keys().map(|keys| Handlers::new(&args.handlers, keys)).transpose()?,
        elsewhere: Elsewhere::default(),
        undone: Mutex::default(),
        orphans: Mutex::default(),
        left: Mutex::default(),
        places: Places::new(platform, options, writes.clone(), notices),
        writes,
        domain: args.domain.clone(),
        allow_unsigned: args.allow_unsigned,
        bundles,
        seed: Seed::of(&seed_config),
        seed_config,
        seeds: SeedMemory::default(),
        token_max_age: args.token_max_age,
        leads: AtomicBool::new(false),
        provider: connection.home(),
        workspaces,
    });
    if args.allow_unsigned {
        tracing::warn!("--allow-unsigned: versions that nobody verified are installed");
    }
    let gauges = Gauges::register(&mut registry, &context);

    let status = {
        let (readiness, context) = (readiness.clone(), context.clone());
        let (installs, environments) = (counted.installs.clone(), counted.environments.clone());
        let events = counted.events.clone();
        Box::new(move || {
            gauges.refresh(&context);
            installs.refresh(&context.queue);
            environments.refresh(&context.environments.queue);
            events.refresh(&context.announcer.queue);
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
                .chain([match &*leader.borrow() {
                    Some(holder) if *holder == identity => "leads".to_owned(),
                    Some(holder) => format!("stands by; {holder} leads"),
                    None => "stands by; nobody is known to lead".to_owned(),
                }])
                .chain(context.runner.as_ref().map(|runner| {
                    let answers = *runner.reachable().borrow();
                    format!("runner: {}", if answers { "answers" } else { "does not answer" })
                }))
                .chain(context.bundles.iter().flat_map(|bundles| bundles.notes()))
                .chain(context.workspaces.health().shards().iter().map(ToString::to_string))
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

    let mut followers = follow(&context, &readiness);
    if let Some(tokens) = runner_tokens {
        followers.push(tokio::spawn(async move { tokens.follow().await }));
    }
    followers.push(tokio::spawn(async move { calls.follow().await }));
    followers.push(tokio::spawn(triggers::follow_clusters(context.clone(), cluster_notices)));
    let workers = async {
        tokio::select! {
            () = readiness.wait() => {}
            () = shutdown.requested() => return Ok(()),
        }
        tracing::info!(installs = context.tenants.installs.len(), "synced");
        lead(context.clone(), lease, &fence, args.concurrency, &counted, &shutdown).await;
        Ok(())
    };
    let served = tokio::try_join!(
        serve("operations", args.listen, operations_tls, operations, shutdown.requested()),
        workers,
    );
    for follower in followers {
        follower.abort();
    }
    served.map(drop)
}

/// A process that is asked to end lets its reconciles end.
/// The platform's own cluster, in Knative mode.
async fn platform(
    args: &ComputeArgs,
    options: Option<Options>,
    writes: ApiWrites,
    fence: &Fence,
) -> anyhow::Result<Option<Setup>> {
    if args.domain_mode == DomainMode::Direct {
        return Ok(None);
    }
    let connection = match &args.compute_kubeconfig {
        Some(path) => Connection::from_kubeconfig(path, |_| ())
            .await
            .with_context(|| format!("--compute-kubeconfig {} cannot be used", path.display()))?,
        None => {
            let config = kube::Config::incluster()
                .context("--compute-kubeconfig is not given, and this runs in no cluster")?;
            Connection::new(config)?
        }
    };
    let layout = match args.shared() {
        Some(SharedRunner { namespace, kservice }) => Layout::Shared { namespace, kservice },
        None => Layout::NamespacePerWorkspace,
    };
    Ok(Some(Setup {
        id: PlaceId::Platform,
        label: "platform".to_owned(),
        client: connection.fenced(fence).home(),
        layout,
        claims: args.auto_create_domain_claims,
        tls_secret: args.tls_secret()?,
        options,
        writes,
    }))
}

pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> Outcome {
    match key {
        Key::Install(key) => install::reconcile(&context, &key).await,
        Key::Workspace(cluster) => workspace::reconcile(&context, &cluster).await,
    }
}

pub(crate) async fn reconcile_elsewhere(context: Arc<Context>, key: ObjectKey) -> Outcome {
    install::reconcile_elsewhere(&context, &key).await
}

pub(crate) async fn reconcile_environment(context: Arc<Context>, key: ObjectKey) -> Outcome {
    environment::reconcile(&context, &key).await
}

/// Starts everything that is followed.
fn follow(context: &Arc<Context>, readiness: &Readiness) -> Vec<JoinHandle<()>> {
    let watches = Watches { context, readiness };
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
        tokio::spawn(verify::follow(context.clone())),
    ]
}

struct Watches<'a> {
    context: &'a Arc<Context>,
    readiness: &'a Readiness,
}

impl Watches<'_> {
    fn objects<K>(&self, index: &Arc<Index<K>>, on_change: fn(&Context, &Change<K>)) -> JoinHandle<()>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let context = self.context.clone();
        let workspaces = &self.context.workspaces;
        workspaces.objects(index, self.gate::<K>(), move |change| on_change(&context, change))
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
        let workspaces = &self.context.workspaces;
        workspaces.metadata(index, self.gate::<K>(), move |change| on_change(&context, change))
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
            (Api::all(self.context.provider.clone()), self.readiness.gate(format!("the list of {what}")));
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

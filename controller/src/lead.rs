//! One replica leads. All of them watch, and answer lookups by what statuses say; only the one that leads decides and writes.

use std::{sync::Arc, time::Duration};

use annex_service::Shutdown;
use futures::FutureExt as _;
use kube_kcp::{Fence, Leadership, Lease, LeaseOptions, Limits, Stop, WorkMetrics, run_workers};

use crate::{
    compute::Elsewhere,
    context::Context,
    run::{reconcile, reconcile_elsewhere, reconcile_environment},
};

/// A reconcile makes a handful of requests, each bounded by itself; this is the last resort.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(120);
/// The same, where a tenant's own cluster has a part: others wait for the worker, and what was done until then stays done.
const ELSEWHERE_TIMEOUT: Duration = Duration::from_secs(60);
/// Environments that are looked at at a time. Most of that is waiting for servers that are not ours.
const ENVIRONMENTS: usize = 32;

/// How the Lease is held, as command line arguments.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct LeaseArgs {
    /// The namespace, in the provider's workspace, of the Lease that says which replica leads.
    #[arg(long, env = "ANNEX_LEASE_NAMESPACE", default_value = "annex-system")]
    pub(crate) lease_namespace: String,
    /// Its name.
    #[arg(long, env = "ANNEX_LEASE_NAME", default_value = "annex-controller")]
    pub(crate) lease_name: String,
    /// After how many seconds without a renewal another replica takes over. The one that leads stops writing after two thirds of that.
    #[arg(long, env = "ANNEX_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=300))]
    pub(crate) lease_seconds: u64,
    /// Who this replica is, for people: the name of its pod.
    #[arg(long, env = "POD_NAME", default_value_t = host_name())]
    pub(crate) identity: String,
}

impl LeaseArgs {
    pub(crate) fn options(&self) -> LeaseOptions {
        let duration = Duration::from_secs(self.lease_seconds);
        LeaseOptions {
            duration,
            renew_deadline: duration * 2 / 3,
            retry: duration * 2 / 15,
            ..LeaseOptions::new(self.identity.clone())
        }
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "annex-controller".to_owned() } else { name.to_owned() }
}

/// What is counted of each kind of work.
pub(crate) struct Counted {
    pub(crate) installs: WorkMetrics,
    pub(crate) environments: WorkMetrics,
    pub(crate) elsewhere: WorkMetrics,
}

/// Stands for the lease, and works while it is held, until the process is asked to end. `fence` is the one before every write.
pub(crate) async fn lead(
    context: Arc<Context>,
    mut lease: Lease,
    fence: &Fence,
    limit: usize,
    counted: &Counted,
    shutdown: &Shutdown,
) {
    loop {
        let leadership = tokio::select! {
            leadership = lease.acquire() => leadership,
            () = shutdown.requested() => return,
        };
        // Of a former leadership nothing is at work any more, so nothing of it can pass.
        fence.open(leadership.claim());
        context.begin();
        tracing::info!(installs = context.tenants.installs.len(), "work begins");
        work(&context, &leadership, limit, counted, shutdown).await;
        context.end();
        lease = leadership.release().await;
        if shutdown.requested().now_or_never().is_some() {
            return;
        }
    }
}

/// Returns when nothing is at work any more: what was begun has ended, or the claim is lost.
async fn work(
    context: &Arc<Context>,
    leadership: &Leadership,
    limit: usize,
    counted: &Counted,
    shutdown: &Shutdown,
) {
    let stop = || async {
        tokio::select! {
            biased;
            () = leadership.lost() => Stop::Abort,
            () = shutdown.requested() => Stop::Drain,
        }
    };
    let installs = run_workers(
        context.queue.clone(),
        Limits { concurrency: limit, timeout: RECONCILE_TIMEOUT },
        counted.installs.clone(),
        stop(),
        |key| reconcile(context.clone(), key),
    );
    let environments = run_workers(
        context.environments.queue.clone(),
        Limits { concurrency: ENVIRONMENTS, timeout: RECONCILE_TIMEOUT },
        counted.environments.clone(),
        stop(),
        |key| reconcile_environment(context.clone(), key),
    );
    let elsewhere = run_workers(
        context.elsewhere.queue.clone(),
        Limits { concurrency: Elsewhere::AT_A_TIME, timeout: ELSEWHERE_TIMEOUT },
        counted.elsewhere.clone(),
        stop(),
        |key| reconcile_elsewhere(context.clone(), key),
    );
    tokio::join!(installs, environments, elsewhere);
}

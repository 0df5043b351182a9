//! One replica leads. All of them watch; only the one that leads decides and writes.

use std::{sync::Arc, time::Duration};

use annex_service::Shutdown;
use futures::FutureExt as _;
use kube_kcp::{Fence, Leadership, Lease, Limits, Stop, WorkMetrics, run_workers};

use crate::{
    announce::announce,
    compute::Elsewhere,
    context::Context,
    run::{reconcile, reconcile_elsewhere, reconcile_environment},
};

/// A reconcile makes a handful of requests, each bounded by itself; this is the last resort.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(120);
/// The same, where a tenant's own cluster has a part: others wait for the worker, and what was done until then stays done. What was stored on
/// the platform is removed in it, which may take as long as `EXT_LIFECYCLE_TIMEOUT_MS` can be: a minute.
const ELSEWHERE_TIMEOUT: Duration = Duration::from_secs(90);
/// Environments that are looked at at a time. Most of that is waiting for servers that are not ours.
const ENVIRONMENTS: usize = 32;

/// Installs of which something is told at a time.
const EVENTS: usize = 8;

/// What is counted of each kind of work.
pub(crate) struct Counted {
    pub(crate) installs: WorkMetrics,
    pub(crate) environments: WorkMetrics,
    pub(crate) elsewhere: WorkMetrics,
    pub(crate) events: WorkMetrics,
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
    let events = run_workers(
        context.announcer.queue.clone(),
        Limits { concurrency: EVENTS, timeout: RECONCILE_TIMEOUT },
        counted.events.clone(),
        stop(),
        |key| announce(context.clone(), key),
    );
    tokio::join!(installs, environments, elsewhere, events);
}

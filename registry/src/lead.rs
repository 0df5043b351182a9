//! One replica leads: it alone judges what is published, and removes garbage. Everything else all of them do.

use std::{sync::Arc, time::Duration};

use annex_service::Shutdown;
use futures::FutureExt as _;
use kube::Client;
use kube_kcp::{Fence, Lease};

use crate::{app::App, reverify::judge};

/// How old what is no part of a bundle gets before it is removed: many times as long as an upload may take.
const GARBAGE_AGE: Duration = Duration::from_secs(24 * 3600);
const COLLECT_EVERY: Duration = Duration::from_secs(3600);

/// Stands for the lease, and works while it is held, until the process is asked to end. `fenced` writes only while `fence` lets it.
pub(crate) async fn lead(
    app: &Arc<App>,
    mut lease: Lease,
    fence: &Fence,
    fenced: &Client,
    shutdown: &Shutdown,
) {
    loop {
        let leadership = tokio::select! {
            leadership = lease.acquire() => leadership,
            () = shutdown.requested() => return,
        };
        fence.open(leadership.claim());
        app.metrics.set_leads(true);
        tokio::select! {
            () = judge(app, fenced) => {}
            () = collect(app) => {}
            () = leadership.lost() => {}
            () = shutdown.requested() => {}
        }
        app.metrics.set_leads(false);
        lease = leadership.release().await;
        if shutdown.requested().now_or_never().is_some() {
            return;
        }
    }
}

async fn collect(app: &App) {
    let mut ticks = tokio::time::interval(COLLECT_EVERY);
    loop {
        ticks.tick().await;
        match app.store.collect(GARBAGE_AGE).await {
            Ok(collected) => {
                app.metrics.collected(collected);
                if collected.files > 0 {
                    tracing::info!(
                        files = collected.files,
                        bytes = collected.bytes,
                        "what uploads had left is removed"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "what uploads have left is removed later"),
        }
    }
}

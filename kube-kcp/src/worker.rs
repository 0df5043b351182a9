use std::{fmt::Debug, future::Future, hash::Hash, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Duration, Instant},
};

use crate::{Lane, Metrics, Outcome, WorkQueue};

/// How much is done at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Keys at a time, over all workspaces.
    pub concurrency: usize,
    /// How long one reconcile may take before it counts as failed and is dropped.
    pub timeout: Duration,
}

/// Works on the queue's keys until `stop` is ready, then lets what is at work end.
///
/// A reconcile that panics or takes too long is a failed one: its key comes again after its backoff, and the others go on.
pub async fn run_workers<K, F>(
    queue: Arc<WorkQueue<K>>,
    limits: Limits,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
    reconcile: impl Fn(K) -> F,
) where
    K: Lane + Clone + Eq + Hash + Debug + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(limits.concurrency.max(1)));
    let mut running = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let permit = tokio::select! {
            biased;
            () = &mut stop => break,
            permit = room.clone().acquire_owned() => permit,
        };
        let key = tokio::select! {
            biased;
            () = &mut stop => break,
            key = queue.next() => key,
        };
        metrics.queued(queue.depth());
        while running.try_join_next().is_some() {}
        let work = AssertUnwindSafe(reconcile(key.clone())).catch_unwind();
        let (queue, metrics) = (queue.clone(), metrics.clone());
        running.spawn(async move {
            let _permit = permit;
            let started = Instant::now();
            let outcome = match tokio::time::timeout(limits.timeout, work).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => {
                    tracing::error!(?key, "a reconcile panicked");
                    Outcome::Failed
                }
                Err(_) => {
                    tracing::warn!(?key, "a reconcile took too long");
                    Outcome::Failed
                }
            };
            let label = match outcome {
                Outcome::Done | Outcome::Again(_) => "done",
                Outcome::Failed => "failed",
            };
            metrics.reconciled(label, started.elapsed());
            queue.finish(&key, outcome);
            metrics.queued(queue.depth());
        });
    }
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backoff, ClusterName};
    use parking_lot::Mutex;
    use prometheus_client::registry::Registry;

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Key(ClusterName);

    impl Lane for Key {
        fn lane(&self) -> &ClusterName {
            &self.0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_and_a_hang_are_failures_that_come_again() {
        let queue = Arc::new(WorkQueue::new(Backoff::default(), 1));
        for name in ["panics", "hangs", "works"] {
            queue.add(Key(name.parse().unwrap()));
        }
        let tries: Arc<Mutex<Vec<String>>> = Arc::default();
        let (done, stop) = tokio::sync::oneshot::channel::<()>();
        let done = Arc::new(Mutex::new(Some(done)));
        let limits = Limits { concurrency: 2, timeout: Duration::from_secs(5) };
        let metrics = Metrics::register(&mut Registry::default());
        let seen = tries.clone();
        let stop = async {
            let _ = stop.await;
        };
        run_workers(queue, limits, metrics, stop, move |Key(name)| {
            let (seen, done) = (seen.clone(), done.clone());
            async move {
                seen.lock().push(name.to_string());
                let before = seen.lock().iter().filter(|other| *other == name.as_str()).count();
                match name.as_str() {
                    "panics" if before == 1 => panic!("on purpose"),
                    "hangs" if before == 1 => std::future::pending().await,
                    "hangs" => {
                        done.lock().take().map(|done| done.send(()));
                    }
                    _ => {}
                }
                Outcome::Done
            }
        })
        .await;
        let tries = tries.lock();
        assert_eq!(tries.iter().filter(|name| *name == "panics").count(), 2);
        assert_eq!(tries.iter().filter(|name| *name == "works").count(), 1);
    }
}

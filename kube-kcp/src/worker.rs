use std::{fmt::Debug, future::Future, hash::Hash, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Duration, Instant},
};

use crate::{Lane, Outcome, WorkMetrics, WorkQueue};

/// How much is done at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Keys at a time, over all workspaces.
    pub concurrency: usize,
    /// How long one reconcile may take before it counts as failed and is dropped.
    pub timeout: Duration,
}

/// How work stops. Either way, what has not begun stays in the queue, and another [`run_workers`] on it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// What is at work ends first.
    Drain,
    /// What is at work is dropped, and its keys are ready again: for who may not write any more, as when a lease is lost. A
    /// reconcile is dropped where it awaits; one that blocks is waited for.
    Abort,
}

/// Works on the queue's keys until `stop` is ready. When this returns, none of its reconciles runs any more.
///
/// A reconcile that panics or takes too long is a failed one: its key comes again after its backoff, and the others go on. If this is
/// dropped, that is as [`Stop::Abort`], but nobody waits until the reconciles are dropped.
pub async fn run_workers<K, F>(
    queue: Arc<WorkQueue<K>>,
    limits: Limits,
    metrics: WorkMetrics,
    stop: impl Future<Output = Stop>,
    reconcile: impl Fn(K) -> F,
) where
    K: Lane + Clone + Eq + Hash + Debug + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(limits.concurrency.max(1)));
    let mut running = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    let how = loop {
        let permit = tokio::select! {
            biased;
            how = &mut stop => break how,
            permit = room.clone().acquire_owned() => permit,
        };
        let (key, waited) = tokio::select! {
            biased;
            how = &mut stop => break how,
            started = queue.start() => started,
        };
        while running.try_join_next().is_some() {}
        let at_work = AtWork::begin(queue.clone(), metrics.clone(), key, waited);
        // It may also panic before there is a future.
        match std::panic::catch_unwind(AssertUnwindSafe(|| reconcile(at_work.key.clone()))) {
            Ok(work) => {
                running.spawn(async move {
                    let _permit = permit;
                    at_work.run(work, limits.timeout).await;
                });
            }
            Err(_) => at_work.panicked(),
        }
    };
    if how == Stop::Abort {
        running.abort_all();
    }
    while running.join_next().await.is_some() {}
    metrics.refresh(&queue);
}

/// A key that was given out. However the work on it ends, the queue is told: a key that nobody hands back would be at work for ever.
struct AtWork<K: Lane + Clone + Eq + Hash + Debug> {
    queue: Arc<WorkQueue<K>>,
    metrics: WorkMetrics,
    key: K,
    started: Instant,
    ended: bool,
}

impl<K: Lane + Clone + Eq + Hash + Debug> AtWork<K> {
    fn begin(queue: Arc<WorkQueue<K>>, metrics: WorkMetrics, key: K, waited: Duration) -> Self {
        metrics.started(waited);
        metrics.refresh(&queue);
        Self { queue, metrics, key, started: Instant::now(), ended: false }
    }

    async fn run(self, work: impl Future<Output = Outcome>, timeout: Duration) {
        match tokio::time::timeout(timeout, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(outcome)) => self.end(outcome),
            Ok(Err(_)) => self.panicked(),
            Err(_) => {
                tracing::warn!(key = ?self.key, "a reconcile took too long");
                self.end(Outcome::Failed);
            }
        }
    }

    fn panicked(self) {
        tracing::error!(key = ?self.key, "a reconcile panicked");
        self.end(Outcome::Failed);
    }

    fn end(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        let label = match outcome {
            Outcome::Done | Outcome::Again(_) => "done",
            Outcome::Failed | Outcome::FailedFor(_) => "failed",
        };
        self.metrics.reconciled(label, self.started.elapsed());
        self.ended = true;
        self.queue.finish(&self.key, outcome);
        self.metrics.refresh(&self.queue);
    }
}

impl<K: Lane + Clone + Eq + Hash + Debug> Drop for AtWork<K> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if std::thread::panicking() {
            // A future that took too long panicked when it was dropped. Put back, it would come at once, again and again.
            self.finish(Outcome::Failed);
        } else {
            self.queue.put_back(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;

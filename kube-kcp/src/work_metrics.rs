use std::{hash::Hash, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::{Lane, WorkQueue};

/// The metrics of one queue and of the work on its keys. No label is a tenant: their number is bounded.
///
/// [`run_workers`](crate::run_workers) keeps them while keys come and go. Call [`WorkMetrics::refresh`] whenever the metrics are
/// read: a queue from which nobody takes has nothing else to say that it gets older.
#[derive(Clone, Debug)]
pub struct WorkMetrics {
    reconciles: Family<OutcomeLabel, Counter>,
    duration: Histogram,
    wait: Histogram,
    depth: Gauge,
    oldest: Gauge<f64, AtomicU64>,
    delayed: Gauge,
    stuck: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl WorkMetrics {
    /// Registers all of them. Call it once per queue, each time with a registry that has another prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reconciles: Family::default(),
            duration: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            // To more than four minutes: a key may wait for many that are slow.
            wait: Histogram::new(exponential_buckets(0.001, 4.0, 10)),
            depth: Gauge::default(),
            oldest: Gauge::default(),
            delayed: Gauge::default(),
            stuck: Gauge::default(),
        };
        let kcp = registry.sub_registry_with_prefix("kube_kcp");
        kcp.register("reconciles", "Ended reconciles", metrics.reconciles.clone());
        kcp.register("reconcile_duration_seconds", "How long a reconcile took", metrics.duration.clone());
        kcp.register(
            "queue_wait_seconds",
            "How long a key was ready before its reconcile began",
            metrics.wait.clone(),
        );
        kcp.register("queue_depth", "Keys that are ready and wait for a worker", metrics.depth.clone());
        kcp.register(
            "queue_oldest_seconds",
            "How long the longest ready key is ready",
            metrics.oldest.clone(),
        );
        kcp.register(
            "queue_delayed",
            "Keys that wait for a time, those in backoff included",
            metrics.delayed.clone(),
        );
        kcp.register("queue_stuck", "Keys that failed at least ten times in a row", metrics.stuck.clone());
        metrics
    }

    /// Brings up to date what is known of the queue now. It takes no longer than adding a key.
    pub fn refresh<K: Lane + Clone + Eq + Hash>(&self, queue: &WorkQueue<K>) {
        let figures = queue.figures();
        let gauge = |many: usize| i64::try_from(many).unwrap_or(i64::MAX);
        self.depth.set(gauge(figures.ready));
        self.oldest.set(figures.oldest.unwrap_or_default().as_secs_f64());
        self.delayed.set(gauge(figures.delayed));
        self.stuck.set(gauge(figures.stuck));
    }

    pub(crate) fn started(&self, waited: Duration) {
        self.wait.observe(waited.as_secs_f64());
    }

    pub(crate) fn reconciled(&self, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
pub(crate) fn encoded(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backoff, ObjectKey, Outcome};

    fn key(name: &str) -> ObjectKey {
        ObjectKey { cluster: "a".parse().unwrap(), namespace: String::new(), name: name.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_is_so_now() {
        let mut registry = Registry::default();
        let metrics = WorkMetrics::register(&mut registry);
        let queue = WorkQueue::new(Backoff::default(), 1);
        queue.add(key("fails"));
        for _ in 0..10 {
            let taken = queue.next().await;
            queue.finish(&taken, Outcome::Failed);
        }
        queue.add(key("ready"));
        tokio::time::advance(Duration::from_secs(7)).await;
        queue.add(key("new"));
        queue.add_after(key("later"), Duration::from_secs(1));

        metrics.refresh(&queue);
        let shown = encoded(&registry);
        for line in [
            "kube_kcp_queue_depth 2",
            "kube_kcp_queue_oldest_seconds 7.0",
            "kube_kcp_queue_delayed 2",
            "kube_kcp_queue_stuck 1",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
        }
        // Nobody took anything, and it is still right a minute later.
        tokio::time::advance(Duration::from_secs(60)).await;
        metrics.refresh(&queue);
        let shown = encoded(&registry);
        assert!(shown.contains("kube_kcp_queue_oldest_seconds 67.0\n"), "{shown}");
        assert!(shown.contains("kube_kcp_queue_depth 4\n"), "{shown}");
    }
}

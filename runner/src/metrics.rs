//! What is counted.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Metrics of one runner. Every label has a fixed few values: what a request brings is never one.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Family<Class, Counter>,
    again: Counter,
    lookups: Family<Outcome, Histogram>,
    loads: Family<Outcome, Counter>,
    evictions: Counter,
    cached_bundles: Gauge,
    cached_bytes: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Seconds. A lookup takes about a millisecond in one cluster, and two seconds is the default limit.
const LOOKUP_BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("requests", "Requests answered by the public listener", requests.clone());
        let again = Counter::default();
        registry.register(
            "requests_again",
            "Requests for files that were answered as they were a moment ago",
            again.clone(),
        );
        let lookups = Family::new_with_constructor((|| Histogram::new(LOOKUP_BUCKETS)) as fn() -> Histogram);
        registry.register_with_unit(
            "lookup_duration",
            "Time that the registry took to say which install a host is",
            Unit::Seconds,
            lookups.clone(),
        );
        let loads = Family::default();
        registry.register("bundle_loads", "Bundles asked of the registry, by how that ended", loads.clone());
        let evictions = Counter::default();
        registry.register("cache_evictions", "Bundles that made room for others", evictions.clone());
        let (cached_bundles, cached_bytes) = (Gauge::default(), Gauge::default());
        registry.register("cache_bundles", "Bundles in the cache", cached_bundles.clone());
        registry.register(
            "cache_bytes",
            "What the bundles in the cache take of the disk",
            cached_bytes.clone(),
        );
        Self { requests, again, lookups, loads, evictions, cached_bundles, cached_bytes }
    }

    /// Counts an answer of the public listener.
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = match status.as_u16() {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.requests.get_or_create(&Class { class }).inc();
    }

    /// Counts one of those that was answered again as a moment ago.
    pub(crate) fn answered_again(&self) {
        self.again.inc();
    }

    /// Counts a lookup. `outcome` must be one of a fixed few words.
    pub(crate) fn lookup_ended(&self, outcome: &'static str, took: Duration) {
        self.lookups.get_or_create(&Outcome { outcome }).observe(took.as_secs_f64());
    }

    /// Counts a load of a bundle. `outcome` must be one of a fixed few words.
    pub(crate) fn loaded(&self, outcome: &'static str) {
        self.loads.get_or_create(&Outcome { outcome }).inc();
    }

    /// Counts bundles that made room.
    pub(crate) fn evicted(&self, bundles: usize) {
        self.evictions.inc_by(bundles as u64);
    }

    /// Says how much the cache holds.
    pub(crate) fn cached(&self, bundles: usize, bytes: u64) {
        self.cached_bundles.set(bundles.try_into().unwrap_or(i64::MAX));
        self.cached_bytes.set(bytes.try_into().unwrap_or(i64::MAX));
    }
}

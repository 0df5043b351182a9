//! What is counted. Labels are codes, of which there are a fixed many.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tokio::time::Instant;

use crate::app::App;

/// From what a cached answer takes to what a call may.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

/// The gateway's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    calls: Family<Code, Counter>,
    seconds: Histogram,
    secrets: Family<Code, Counter>,
    storage: Family<Stored, Counter>,
    storage_seconds: Histogram,
    body_bytes: Gauge,
    hosts: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stored {
    operation: &'static str,
    code: &'static str,
}

/// What somebody asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    /// A call of an extension.
    Call,
    /// A Secret.
    Secret,
    /// An operation on what an extension stores. `none` until it is known: who is not let in has asked for nothing.
    Storage(&'static str),
}

/// Something under way. Dropped without an end, whoever asked has gone: the server then drops what answers.
pub(crate) struct Counted<'m> {
    metrics: &'m Metrics,
    pub(crate) asked: Asked,
    since: Instant,
    code: &'static str,
}

impl Counted<'_> {
    /// How it ended: a code of the API, or one word for what went well.
    pub(crate) fn end(mut self, code: &'static str) {
        self.code = code;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let (metrics, code, seconds) = (self.metrics, self.code, self.since.elapsed().as_secs_f64());
        match self.asked {
            Asked::Call => {
                metrics.calls.get_or_create(&Code { code }).inc();
                metrics.seconds.observe(seconds);
            }
            Asked::Secret => {
                metrics.secrets.get_or_create(&Code { code }).inc();
            }
            Asked::Storage(operation) => {
                metrics.storage.get_or_create(&Stored { operation, code }).inc();
                metrics.storage_seconds.observe(seconds);
            }
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            seconds: Histogram::new(SECONDS),
            secrets: Family::default(),
            storage: Family::default(),
            storage_seconds: Histogram::new(SECONDS),
            body_bytes: Gauge::default(),
            hosts: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Adds them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("calls", "Calls of extensions, by how they ended", metrics.calls.clone());
        registry.register(
            "call_duration_seconds",
            "How long calls took, refused ones included",
            metrics.seconds.clone(),
        );
        registry.register(
            "secrets",
            "Secrets that runners asked for, by the answer",
            metrics.secrets.clone(),
        );
        registry.register(
            "storage_operations",
            "What runners asked to store and read, by the answer",
            metrics.storage.clone(),
        );
        registry.register(
            "storage_duration_seconds",
            "How long that took, refused ones included",
            metrics.storage_seconds.clone(),
        );
        registry.register("body_bytes", "Memory that bodies of requests take", metrics.body_bytes.clone());
        registry.register("hosts", "Hosts that are known", metrics.hosts.clone());
        metrics
    }

    /// Counts something that begins.
    pub(crate) fn begin(&self, asked: Asked) -> Counted<'_> {
        Counted { metrics: self, asked, since: Instant::now(), code: "Abandoned" }
    }

    /// Brings those up to date that are read and not counted.
    pub(crate) fn refresh(&self, app: &App) {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.body_bytes.set(number(app.bodies.taken()));
        self.hosts.set(number(app.installs.hosts()));
    }
}

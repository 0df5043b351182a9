//! What is counted of calls.

use std::time::Instant;

use annex_engine::Usage;
use annex_grant::{Order, Refusal, RunnerErrorCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::order::word;

/// Metrics of calls. Every label has a fixed few values.
#[derive(Debug)]
pub(crate) struct Measured {
    calls: Family<Outcome, Counter>,
    durations: Histogram,
    running: Gauge,
    grants: Family<Code, Counter>,
    orders: Family<OrderOutcome, Counter>,
    memory: Histogram,
    fuel: Counter,
    log_dropped: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrderOutcome {
    order: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
const BYTES: [f64; 8] =
    [65536.0, 1048576.0, 4194304.0, 16777216.0, 33554432.0, 67108864.0, 134217728.0, 268435456.0];

impl Measured {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let calls = Family::default();
        registry.register("calls", "Calls, by how they ended", calls.clone());
        let durations = Histogram::new(SECONDS);
        registry.register_with_unit(
            "call_duration",
            "From a request to its answer",
            Unit::Seconds,
            durations.clone(),
        );
        let running = Gauge::default();
        registry.register("calls_running", "Calls under way", running.clone());
        let grants = Family::default();
        registry.register("grants_refused", "Grants that were not accepted, by why", grants.clone());
        let orders = Family::default();
        registry.register(
            "orders",
            "Contents prepared and storage removed, by how that ended",
            orders.clone(),
        );
        let memory = Histogram::new(BYTES);
        registry.register_with_unit("call_memory", "Linear memory of a call", Unit::Bytes, memory.clone());
        let fuel = Counter::default();
        registry.register("fuel_used", "Fuel that calls used, where it is counted", fuel.clone());
        let log_dropped = Counter::default();
        registry.register(
            "guest_log_dropped_bytes",
            "Bytes of guests' lines that were left out",
            log_dropped.clone(),
        );
        Self { calls, durations, running, grants, orders, memory, fuel, log_dropped }
    }

    /// Counts a call that begins.
    pub(super) fn begin(&self) -> Counted<'_> {
        self.running.inc();
        Counted { measured: self, since: Instant::now(), outcome: "Abandoned" }
    }

    pub(super) fn refused_grant(&self, refusal: Refusal) {
        self.grants.get_or_create(&Code { code: refusal.code() }).inc();
    }

    /// Counts an order that was carried out, or could not be.
    pub(super) fn ordered(&self, order: &Order, refused: Option<RunnerErrorCode>) {
        let outcome = refused.map_or("Done", RunnerErrorCode::as_str);
        self.orders.get_or_create(&OrderOutcome { order: word(order), outcome }).inc();
    }

    pub(super) fn used(&self, usage: &Usage) {
        // As far as a gauge of this kind goes: no histogram is exact there.
        #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
        self.memory.observe(usage.memory_bytes as f64);
        self.fuel.inc_by(usage.fuel.unwrap_or_default());
        self.log_dropped.inc_by(usage.log_bytes_dropped as u64);
    }
}

/// A call under way. Dropped without an end, its caller has gone.
pub(super) struct Counted<'a> {
    measured: &'a Measured,
    since: Instant,
    outcome: &'static str,
}

impl Counted<'_> {
    pub(super) fn end(mut self, refused: Option<RunnerErrorCode>) {
        self.outcome = refused.map_or("Answered", RunnerErrorCode::as_str);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.measured.running.dec();
        self.measured.durations.observe(self.since.elapsed().as_secs_f64());
        self.measured.calls.get_or_create(&Outcome { outcome: self.outcome }).inc();
    }
}

//! What guests say: lines for the platform's log, and measurements.

use std::collections::HashMap;

use annex_engine::{CallContext, Level, Log, Metrics};
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Writes guests' lines into this process's log, under a target of their own. What is hostile in them, the log's format escapes.
pub(super) struct GuestLog;

impl Log for GuestLog {
    fn write(&self, context: &CallContext, level: Level, message: &str) {
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(
                    target: "annex_runner::guest",
                    request_id = %context.request_id,
                    tenant = %context.tenant,
                    extension = %context.extension,
                    version = %context.version,
                    install = %context.install,
                    // Debug: with its line breaks and control characters escaped.
                    line = ?message,
                )
            };
        }
        match level {
            Level::Debug => say!(debug),
            Level::Info => say!(info),
            Level::Warn => say!(warn),
            Level::Error => say!(error),
        }
    }
}

/// The most names that an extension has, over all its tenants. A label without a bound fills the memory of whoever scrapes.
const NAMES_OF_AN_EXTENSION: usize = 32;
/// The most extensions that have any.
const EXTENSIONS: usize = 256;

/// Decades, because nobody said what is measured.
const BUCKETS: [f64; 10] = [0.001, 0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

/// Keeps guests' metrics, by extension and name.
pub(super) struct GuestMetrics {
    counters: Family<Series, Counter>,
    values: Family<Series, Histogram>,
    left_out: Counter,
    names: Mutex<HashMap<String, Vec<String>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Series {
    extension: String,
    name: String,
}

impl GuestMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let counters = Family::default();
        registry.register("guest_counts", "What extensions count, by their own names", counters.clone());
        let values = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        registry.register("guest_values", "What extensions measure, by their own names", values.clone());
        let left_out = Counter::default();
        registry.register(
            "guest_metrics_left_out",
            "What extensions counted or measured under a name too many",
            left_out.clone(),
        );
        Self { counters, values, left_out, names: Mutex::default() }
    }

    fn series(&self, context: &CallContext, name: &str) -> Option<Series> {
        let extension = context.extension.to_string();
        let mut names = self.names.lock();
        if !names.contains_key(&extension) && names.len() >= EXTENSIONS {
            self.left_out.inc();
            return None;
        }
        let known = names.entry(extension.clone()).or_default();
        if !known.iter().any(|known| known == name) {
            if known.len() >= NAMES_OF_AN_EXTENSION {
                self.left_out.inc();
                return None;
            }
            known.push(name.to_owned());
        }
        Some(Series { extension, name: name.to_owned() })
    }
}

impl Metrics for GuestMetrics {
    fn count(&self, context: &CallContext, name: &str, by: u64) {
        if let Some(series) = self.series(context, name) {
            self.counters.get_or_create(&series).inc_by(by);
        }
    }

    fn observe(&self, context: &CallContext, name: &str, value: f64) {
        if let Some(series) = self.series(context, name) {
            self.values.get_or_create(&series).observe(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(extension: &str) -> CallContext {
        CallContext {
            request_id: "r".into(),
            tenant: "acme".parse().unwrap(),
            extension: extension.parse().unwrap(),
            version: "1.0.0".into(),
            install: "i".into(),
            config: "{}".into(),
        }
    }

    #[test]
    fn an_extension_has_so_many_names_and_takes_no_others() {
        let mut registry = Registry::default();
        let metrics = GuestMetrics::register(&mut registry);
        let (greedy, modest) = (context("com.example.greedy"), context("com.example.modest"));
        for number in 0..1000 {
            metrics.count(&greedy, &format!("n{number}"), 1);
        }
        metrics.count(&greedy, "n0", 4);
        metrics.observe(&modest, "size", 2.0);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert_eq!(text.matches("guest_counts_total{").count(), NAMES_OF_AN_EXTENSION);
        assert!(
            text.contains("guest_counts_total{extension=\"com.example.greedy\",name=\"n0\"} 5"),
            "{text}"
        );
        assert!(text.contains("guest_metrics_left_out_total 968"), "{text}");
        assert!(
            text.contains("guest_values_sum{extension=\"com.example.modest\",name=\"size\"} 2.0"),
            "{text}"
        );
    }
}

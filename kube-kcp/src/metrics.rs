use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The metrics of watches. Labels are kinds, never tenants: their number is bounded.
#[derive(Clone, Debug)]
pub struct Metrics {
    events: Family<Kind, Counter>,
    relists: Family<Kind, Counter>,
    errors: Family<ErrorLabel, Counter>,
    skipped: Family<Kind, Counter>,
    objects: Family<Kind, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ErrorLabel {
    kind: String,
    error: &'static str,
}

impl Metrics {
    /// Registers all of them. Call it once per registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            events: Family::default(),
            relists: Family::default(),
            errors: Family::default(),
            skipped: Family::default(),
            objects: Family::default(),
        };
        let kcp = registry.sub_registry_with_prefix("kube_kcp");
        kcp.register("watch_events", "Events received from watches", metrics.events.clone());
        kcp.register(
            "watch_relists",
            "Lists begun, the first one of each shard included",
            metrics.relists.clone(),
        );
        kcp.register("watch_errors", "Interrupted watches, by why", metrics.errors.clone());
        kcp.register(
            "objects_skipped",
            "Objects that do not parse or name no cluster",
            metrics.skipped.clone(),
        );
        kcp.register("objects_indexed", "Objects in the index", metrics.objects.clone());
        metrics
    }

    pub(crate) fn watch_event(&self, kind: &str) {
        self.events.get_or_create(&Kind { kind: kind.to_owned() }).inc();
    }

    pub(crate) fn relist(&self, kind: &str) {
        self.relists.get_or_create(&Kind { kind: kind.to_owned() }).inc();
    }

    pub(crate) fn watch_error(&self, kind: &str, error: &'static str) {
        self.errors.get_or_create(&ErrorLabel { kind: kind.to_owned(), error }).inc();
    }

    pub(crate) fn skipped(&self, kind: &str) {
        self.skipped.get_or_create(&Kind { kind: kind.to_owned() }).inc();
    }

    pub(crate) fn indexed(&self, kind: &str, objects: usize) {
        self.objects
            .get_or_create(&Kind { kind: kind.to_owned() })
            .set(i64::try_from(objects).unwrap_or(i64::MAX));
    }
}

//! What is counted. Labels are codes, of which there are a fixed many.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{app::App, store::Collected};

/// The registry's metrics. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    publications: Family<Code, Counter>,
    lookups: Family<Code, Counter>,
    verdicts: Family<Code, Counter>,
    collected_files: Counter,
    collected_bytes: Counter,
    uploads: Gauge,
    hosts: Gauge,
    versions: Gauge,
    store_reachable: Gauge,
    leads: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

impl Metrics {
    /// Adds them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("publications", "Uploads, by how they ended", metrics.publications.clone());
        registry.register("lookups", "Lookups by host, by their answer", metrics.lookups.clone());
        registry.register(
            "verdicts",
            "Published versions that were judged, by the reason found",
            metrics.verdicts.clone(),
        );
        registry.register(
            "collected_files",
            "Files of uploads that did not end, removed",
            metrics.collected_files.clone(),
        );
        registry.register(
            "collected_bytes",
            "Bytes of uploads that did not end, removed",
            metrics.collected_bytes.clone(),
        );
        registry.register("uploads", "Uploads under way", metrics.uploads.clone());
        registry.register("hosts", "Hosts that lookups are answered for", metrics.hosts.clone());
        registry.register("versions", "Versions in the catalog", metrics.versions.clone());
        registry.register(
            "store_reachable",
            "Whether the content store answers",
            metrics.store_reachable.clone(),
        );
        registry.register("leads", "Whether this replica leads", metrics.leads.clone());
        metrics
    }

    pub(crate) fn published(&self, code: &'static str) {
        self.publications.get_or_create(&Code { code }).inc();
    }

    pub(crate) fn looked_up(&self, code: &'static str) {
        self.lookups.get_or_create(&Code { code }).inc();
    }

    pub(crate) fn judged(&self, code: &'static str) {
        self.verdicts.get_or_create(&Code { code }).inc();
    }

    pub(crate) fn collected(&self, collected: Collected) {
        self.collected_files.inc_by(collected.files);
        self.collected_bytes.inc_by(collected.bytes);
    }

    pub(crate) fn set_leads(&self, leads: bool) {
        self.leads.set(i64::from(leads));
    }

    /// Brings those up to date that are read and not counted.
    pub(crate) fn refresh(&self, app: &App, store_reachable: bool) {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.uploads.set(number(app.places.taken()));
        self.hosts.set(number(app.installs.hosts()));
        self.versions.set(number(app.catalog.versions.len()));
        self.store_reachable.set(i64::from(store_reachable));
    }
}

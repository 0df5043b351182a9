use std::{collections::BTreeMap, time::Instant};

use kube_kcp::ClusterName;
use parking_lot::Mutex;
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

/// What a workspace is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Its objects are being written.
    Seed,
    /// kcp is to fill in the ServiceAccount's token.
    Token,
    /// kcp is to bind the API.
    Binding,
    /// Our entry is to leave the initializers.
    Finish,
}

impl Stage {
    fn label(self) -> &'static str {
        match self {
            Self::Seed => "Seed",
            Self::Token => "Token",
            Self::Binding => "Binding",
            Self::Finish => "Finish",
        }
    }
}

/// Which workspaces are under way, since when, and what each waits for: kcp itself says nothing of a workspace that stays in
/// Initializing.
#[derive(Debug)]
pub(super) struct Progress {
    workspaces: Mutex<BTreeMap<ClusterName, Entry>>,
    gauge: Family<Label, Gauge>,
    finished: Counter,
    duration: Histogram,
    errors: Family<Category, Counter>,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    /// The chains that run beside each other, each with what it waits for.
    stages: Vec<Stage>,
    error: Option<String>,
    /// Counted while a try has failed and the next has not begun.
    retry: Option<Counted>,
}

/// One workspace in the gauge, until it is dropped.
#[derive(Debug)]
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Family<Label, Gauge>, stage: &'static str) -> Self {
        let gauge = gauge.get_or_create(&Label { stage }).clone();
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    stage: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Category {
    category: &'static str,
}

impl Progress {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let progress = Self {
            workspaces: Mutex::default(),
            gauge: Family::default(),
            finished: Counter::default(),
            duration: Histogram::new(exponential_buckets(0.05, 2.0, 14)),
            errors: Family::default(),
        };
        registry.register(
            "workspaces",
            "Workspaces under way, by what they wait for",
            progress.gauge.clone(),
        );
        registry.register("workspaces_finished", "Workspaces seeded", progress.finished.clone());
        registry.register("seed_duration_seconds", "From first sight to finished", progress.duration.clone());
        registry.register("errors", "Failed tries, by category", progress.errors.clone());
        progress
    }

    /// The workspace waits for `stage` until what is returned is dropped.
    pub(super) fn enter(&self, cluster: &ClusterName, stage: Stage) -> InStage<'_> {
        if let Some(entry) = self.workspaces.lock().get_mut(cluster) {
            entry.stages.push(stage);
        }
        let counted = Counted::new(&self.gauge, stage.label());
        InStage { progress: self, cluster: cluster.clone(), stage, _counted: counted }
    }

    pub(super) fn failed(&self, cluster: &ClusterName, category: &'static str, error: &str) {
        self.errors.get_or_create(&Category { category }).inc();
        if let Some(entry) = self.workspaces.lock().get_mut(cluster) {
            entry.error = Some(error.to_owned());
            // Nearly all the time of a workspace that is stuck passes between its tries.
            entry.retry = Some(Counted::new(&self.gauge, "Retry"));
        }
    }

    /// A try begins. Returns when the workspace was first seen: now, unless an earlier try failed.
    pub(super) fn since(&self, cluster: &ClusterName) -> Instant {
        let mut workspaces = self.workspaces.lock();
        let entry = workspaces.entry(cluster.clone()).or_insert_with(|| Entry {
            since: Instant::now(),
            stages: Vec::new(),
            error: None,
            retry: None,
        });
        entry.retry = None;
        entry.since
    }

    pub(super) fn finished(&self, cluster: &ClusterName, since: Instant) {
        self.workspaces.lock().remove(cluster);
        self.finished.inc();
        let took = since.elapsed();
        self.duration.observe(took.as_secs_f64());
        tracing::info!(%cluster, milliseconds = took.as_millis(), "the workspace is seeded");
    }

    /// The workspace is gone, or no longer ours.
    pub(super) fn forget(&self, cluster: &ClusterName) {
        self.workspaces.lock().remove(cluster);
    }

    /// A line for each workspace under way, the ten longest first.
    pub(super) fn notes(&self) -> Vec<String> {
        let workspaces = self.workspaces.lock();
        let mut entries: Vec<_> = workspaces.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.since);
        let mut notes = vec![format!("workspaces under way: {}", entries.len())];
        notes.extend(entries.into_iter().take(10).map(|(cluster, entry)| {
            let waits = match entry.stages.last() {
                Some(Stage::Seed) => "its objects are being written",
                Some(Stage::Token) => "waits for its ServiceAccount's token",
                Some(Stage::Binding) => "waits for the APIBinding to be Bound",
                Some(Stage::Finish) => "leaves the initializers",
                None => "waits to be tried again",
            };
            let error =
                entry.error.as_deref().map(|error| format!("; last error: {error}")).unwrap_or_default();
            format!("  {cluster}: {} s, {waits}{error}", entry.since.elapsed().as_secs())
        }));
        notes
    }
}

pub(super) struct InStage<'a> {
    progress: &'a Progress,
    cluster: ClusterName,
    stage: Stage,
    _counted: Counted,
}

impl Drop for InStage<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.progress.workspaces.lock().get_mut(&self.cluster)
            && let Some(at) = entry.stages.iter().position(|stage| *stage == self.stage)
        {
            entry.stages.remove(at);
        }
    }
}

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use tokio::time::Instant;

use crate::{Held, ShardUrl};

/// How the shards are doing, as the watches of all kinds see them.
#[derive(Clone, Debug, Default)]
pub struct Health {
    shards: Arc<Mutex<BTreeMap<ShardUrl, BTreeMap<String, KindHealth>>>>,
}

/// How the watch of one kind on one shard is doing.
#[derive(Clone, Debug, Default)]
struct KindHealth {
    listed: bool,
    last_event: Option<Instant>,
    relists: u64,
    errors: u64,
    /// Since when nothing but errors has come, and the last of them.
    failing: Option<(Instant, String)>,
    held: Option<Held>,
    /// It is not watched there any more.
    gone: bool,
}

/// How one shard is doing, over all kinds. Its `Display` is a line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardHealth {
    /// Which.
    pub shard: ShardUrl,
    /// How many kinds are watched on it.
    pub kinds: usize,
    /// The kinds that were not listed to the end yet.
    pub unlisted: Vec<String>,
    /// How long ago the last event came, a bookmark included. None: never.
    pub last_event: Option<Duration>,
    /// How often a kind was listed again.
    pub relists: u64,
    /// How often a watch was interrupted.
    pub errors: u64,
    /// The kind that has failed for the longest, for how long, and its last error.
    pub failing: Option<(String, Duration, String)>,
    /// What has vanished and is held, by kind.
    pub held: BTreeMap<String, Held>,
}

/// More shards than this have no series of their own: whoever lists shards without end must not fill the metrics.
const MOST_SERIES: usize = 64;

impl Health {
    /// Also shows it as metrics, one series a shard. Call it once per registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.sub_registry_with_prefix("kube_kcp").register_collector(Box::new(self.clone()));
    }

    /// How each shard is doing, in the order of their URLs.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardHealth> {
        let now = Instant::now();
        self.shards.lock().iter().map(|(shard, kinds)| ShardHealth::of(shard, kinds, now)).collect()
    }

    pub(crate) fn event(&self, shard: &ShardUrl, kind: &str) {
        self.with(shard, kind, |health| {
            health.last_event = Some(Instant::now());
            health.failing = None;
        });
    }

    pub(crate) fn listed(&self, shard: &ShardUrl, kind: &str, held: Option<Held>) {
        self.with(shard, kind, |health| {
            health.relists += u64::from(std::mem::replace(&mut health.listed, true));
            health.held = held;
        });
    }

    /// Nothing of the kind is held any more.
    pub(crate) fn let_go(&self, shard: &ShardUrl, kind: &str) {
        let mut shards = self.shards.lock();
        let Entry::Occupied(mut kinds) = shards.entry(shard.clone()) else { return };
        let gone = kinds.get_mut().get_mut(kind).is_some_and(|health| {
            health.held = None;
            health.gone
        });
        if gone {
            kinds.get_mut().remove(kind);
        }
        if kinds.get().is_empty() {
            kinds.remove();
        }
    }

    pub(crate) fn failed(&self, shard: &ShardUrl, kind: &str, error: String) {
        self.with(shard, kind, |health| {
            health.errors += 1;
            let since = health.failing.take().map_or_else(Instant::now, |(since, _)| since);
            health.failing = Some((since, error));
        });
    }

    /// The kind is not watched on the shard any more; what is held of it is still told.
    pub(crate) fn gone(&self, shard: &ShardUrl, kind: &str, held: Option<Held>) {
        let mut shards = self.shards.lock();
        let Entry::Occupied(mut kinds) = shards.entry(shard.clone()) else { return };
        if held.is_some() {
            kinds.get_mut().insert(
                kind.to_owned(),
                KindHealth { held, gone: true, listed: true, ..KindHealth::default() },
            );
            return;
        }
        kinds.get_mut().remove(kind);
        if kinds.get().is_empty() {
            kinds.remove();
        }
    }

    fn with(&self, shard: &ShardUrl, kind: &str, act: impl FnOnce(&mut KindHealth)) {
        let mut shards = self.shards.lock();
        if !shards.contains_key(shard) {
            shards.insert(shard.clone(), BTreeMap::new());
        }
        let Some(kinds) = shards.get_mut(shard) else { return };
        match kinds.get_mut(kind) {
            Some(health) => act(health),
            None => act(kinds.entry(kind.to_owned()).or_default()),
        }
    }
}

impl ShardHealth {
    fn of(shard: &ShardUrl, kinds: &BTreeMap<String, KindHealth>, now: Instant) -> Self {
        let failing = kinds.iter().filter_map(|(kind, health)| {
            let (since, error) = health.failing.as_ref()?;
            Some((kind.clone(), now.duration_since(*since), error.clone()))
        });
        Self {
            shard: shard.clone(),
            kinds: kinds.len(),
            unlisted: kinds
                .iter()
                .filter(|(_, health)| !health.listed)
                .map(|(kind, _)| kind.clone())
                .collect(),
            last_event: kinds
                .values()
                .filter_map(|health| health.last_event)
                .max()
                .map(|last| now.duration_since(last)),
            relists: kinds.values().map(|health| health.relists).sum(),
            errors: kinds.values().map(|health| health.errors).sum(),
            failing: failing.max_by_key(|(_, since, _)| *since),
            held: kinds.iter().filter_map(|(kind, health)| Some((kind.clone(), health.held?))).collect(),
        }
    }
}

impl fmt::Display for ShardHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}: {} kinds", self.shard, self.kinds)?;
        if !self.unlisted.is_empty() {
            write!(f, ", not listed yet: {}", self.unlisted.join(" "))?;
        }
        match self.last_event {
            Some(ago) => write!(f, ", last event {} s ago", ago.as_secs())?,
            None => f.write_str(", no event yet")?,
        }
        write!(f, ", {} relists, {} errors", self.relists, self.errors)?;
        if let Some((kind, since, error)) = &self.failing {
            write!(f, ", {kind} failing for {} s: {error}", since.as_secs())?;
        }
        for (kind, held) in &self.held {
            write!(f, ", {} {kind} vanished and held since {}", held.objects, held.since)?;
        }
        Ok(())
    }
}

fn labels(shard: &ShardHealth) -> [(&'static str, &str); 1] {
    [("shard", shard.shard.as_str())]
}

impl Collector for Health {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let shards = self.shards();
        let shards = shards.get(..MOST_SERIES).unwrap_or(&shards);
        let mut ages = encoder.encode_descriptor(
            "shard_last_event_age_seconds",
            "How long ago a shard's watches said anything, bookmarks included",
            None,
            MetricType::Gauge,
        )?;
        for shard in shards {
            if let Some(age) = shard.last_event {
                ConstGauge::new(age.as_secs_f64()).encode(ages.encode_family(&labels(shard))?)?;
            }
        }
        let mut relists = encoder.encode_descriptor(
            "shard_relists",
            "How often a kind was listed again",
            None,
            MetricType::Counter,
        )?;
        for shard in shards {
            ConstCounter::new(shard.relists).encode(relists.encode_family(&labels(shard))?)?;
        }
        let mut errors = encoder.encode_descriptor(
            "shard_errors",
            "How often a watch was interrupted",
            None,
            MetricType::Counter,
        )?;
        for shard in shards {
            ConstCounter::new(shard.errors).encode(errors.encode_family(&labels(shard))?)?;
        }
        let mut held = encoder.encode_descriptor(
            "shard_held_objects",
            "Objects that have vanished and are held",
            None,
            MetricType::Gauge,
        )?;
        for shard in shards {
            let objects: u64 = shard.held.values().map(|held| held.objects as u64).sum();
            ConstGauge::new(objects).encode(held.encode_family(&labels(shard))?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn says_what_is_wrong_with_which_shard_until_it_is_mended() {
        let health = Health::default();
        let shard: ShardUrl = "https://s/x".parse().unwrap();
        let mut registry = Registry::default();
        health.register(&mut registry);
        health.event(&shard, "Install");
        health.listed(&shard, "Install", None);
        health.failed(&shard, "APIBinding", "refused (503)".into());
        tokio::time::advance(Duration::from_secs(5)).await;
        health.failed(&shard, "APIBinding", "refused (500)".into());
        let told = health.shards()[0].to_string();
        assert_eq!(
            told,
            "shard https://s/x: 2 kinds, not listed yet: APIBinding, last event 5 s ago, 0 relists, 2 errors, APIBinding failing for 5 s: refused (500)"
        );
        let since = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
        health.event(&shard, "APIBinding");
        health.listed(&shard, "APIBinding", None);
        health.listed(&shard, "Install", Some(Held { objects: 12, since }));
        let told = health.shards()[0].to_string();
        assert_eq!(
            told,
            "shard https://s/x: 2 kinds, last event 0 s ago, 1 relists, 2 errors, 12 Install vanished and held since 1970-01-01T00:00:00Z"
        );
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("kube_kcp_shard_held_objects{shard=\"https://s/x\"} 12"), "{text}");
        assert!(text.contains("kube_kcp_shard_relists_total{shard=\"https://s/x\"} 1"), "{text}");

        health.gone(&shard, "APIBinding", None);
        health.gone(&shard, "Install", Some(Held { objects: 12, since }));
        assert_eq!(health.shards().len(), 1, "what is held is still told");
        health.let_go(&shard, "Install");
        assert!(health.shards().is_empty());
    }

    #[test]
    fn more_shards_than_fit_have_no_series() {
        let health = Health::default();
        for number in 0..MOST_SERIES + 10 {
            health.failed(&format!("https://s{number:03}").parse().unwrap(), "Install", String::new());
        }
        let mut registry = Registry::default();
        health.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert_eq!(text.matches("kube_kcp_shard_errors_total{").count(), MOST_SERIES);
    }
}

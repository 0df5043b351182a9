use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    time::Duration,
};

use parking_lot::RwLock;
use tokio::time::Instant;

use crate::{ClusterName, ShardUrl};

/// On which shard each logical cluster is, as the watches of all kinds see it.
///
/// A cluster of which nothing is seen any more is remembered for a while: whether its last object is really gone is asked there.
#[derive(Debug, Default)]
pub(crate) struct Locations {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    clusters: HashMap<ClusterName, Location>,
    left: VecDeque<(Instant, ClusterName)>,
}

#[derive(Debug)]
struct Location {
    shard: ShardUrl,
    /// How many objects are seen in it.
    objects: usize,
}

const REMEMBERED: Duration = Duration::from_secs(60 * 60);

impl Locations {
    pub(crate) fn of(&self, cluster: &ClusterName) -> Option<ShardUrl> {
        self.state.read().clusters.get(cluster).map(|location| location.shard.clone())
    }

    /// `shard` has an object of `cluster`; `new`, if it was not counted yet.
    pub(crate) fn seen(&self, cluster: &ClusterName, shard: &ShardUrl, new: bool) {
        // A burst of changes in known workspaces must not make readers wait.
        let known = |location: &Location| !new && location.shard == *shard;
        if self.state.read().clusters.get(cluster).is_some_and(known) {
            return;
        }
        let mut state = self.state.write();
        let location = state
            .clusters
            .entry(cluster.clone())
            .or_insert_with(|| Location { shard: shard.clone(), objects: 0 });
        location.objects += usize::from(new);
        if location.shard != *shard {
            location.shard = shard.clone();
        }
    }

    /// One object fewer is seen in `cluster`.
    pub(crate) fn unseen(&self, cluster: &ClusterName) {
        let now = Instant::now();
        let mut state = self.state.write();
        let Some(location) = state.clusters.get_mut(cluster) else { return };
        location.objects = location.objects.saturating_sub(1);
        if location.objects == 0 {
            state.left.push_back((now, cluster.clone()));
        }
        state.forget(now);
    }
}

impl State {
    fn forget(&mut self, now: Instant) {
        while let Some((since, _)) = self.left.front()
            && now.duration_since(*since) > REMEMBERED
            && let Some((_, cluster)) = self.left.pop_front()
        {
            if let Entry::Occupied(location) = self.clusters.entry(cluster)
                && location.get().objects == 0
            {
                location.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(name: &str) -> ShardUrl {
        format!("https://{name}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_cluster_is_where_it_was_seen_last_and_remembered_for_a_while() {
        let locations = Locations::default();
        let (a, b): (ClusterName, ClusterName) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_eq!(locations.of(&a), None);
        locations.seen(&a, &shard("s"), true);
        locations.seen(&a, &shard("s"), true);
        locations.seen(&a, &shard("t"), false);
        assert_eq!(locations.of(&a), Some(shard("t")));
        locations.unseen(&a);
        locations.unseen(&a);
        assert_eq!(locations.of(&a), Some(shard("t")), "its last object may be asked for there");
        tokio::time::advance(REMEMBERED * 2).await;
        locations.seen(&b, &shard("s"), true);
        locations.unseen(&b);
        assert_eq!(locations.of(&a), None);
        locations.seen(&b, &shard("s"), true);
        tokio::time::advance(REMEMBERED * 2).await;
        locations.unseen(&a);
        locations.seen(&a, &shard("s"), true);
        locations.unseen(&a);
        assert_eq!(locations.of(&b), Some(shard("s")), "something of it is seen again");
    }
}

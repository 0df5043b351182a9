//! What stands on the platform's cluster for Installs that are no more: somebody took the finalizer away while nobody watched, or a
//! backup was restored.

use std::collections::HashSet;

use kube::ResourceExt as _;
use kube_kcp::{ClusterName, ShardUrl};

use crate::{
    api_writes::WriteError,
    compute::{State, Tenancy, Undone},
    context::Context,
};

/// Removes it. False: something is still being removed.
pub(super) async fn sweep(
    context: &Context,
    shard: &ShardUrl,
    cluster: &ClusterName,
) -> Result<bool, WriteError> {
    let Some(place) = context.places.platform().filter(|place| place.state() == State::Known) else {
        return Ok(true);
    };
    let installs = context.tenants.installs.in_cluster(shard, cluster);
    let living: HashSet<String> = installs.iter().filter_map(|(_, install)| install.uid()).collect();
    let namespace = place.reference(cluster).namespace;
    for dead in place.installs_of(cluster).difference(&living) {
        tracing::info!(%cluster, install = dead, "what is left of an Install that is no more is removed");
        let whose = Tenancy { cluster, install: dead, others: &living };
        if place.remove_domains(whose, &namespace, None).await? != Undone::Done {
            return Ok(false);
        }
    }
    if !living.is_empty() || !place.has_runners(cluster) {
        return Ok(true);
    }
    let used = || !context.tenants.installs.in_cluster(shard, cluster).is_empty();
    Ok(place.remove_runners(cluster, &namespace, used).await? == Undone::Done)
}

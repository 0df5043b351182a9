//! A workspace that binds the API: it has a Tenant in the provider's workspace, an ExecutionQuota, and the seed.

mod keeper;
mod memory;
mod rotation;
mod seeding;
mod sweep;
mod tokens;

use std::time::Duration;

use annex_apis::{
    ExecutionQuota, ExecutionQuotaSpec, QUOTA_NAME, Tenant, TenantSpec, provider::missing_claims,
};
use annex_initializer::INITIALIZED_ANNOTATION;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams, Preconditions},
};
use kube_kcp::{ClusterName, ObjectKey, Outcome, ShardUrl, kinds::APIBinding};

use crate::{
    api_writes::WriteError,
    bindings::{binds, is_bound},
    certainty::ask,
    compute::State,
    context::Context,
    install::NOT_LISTED_YET,
};

pub(crate) use memory::SeedMemory;
pub(crate) use rotation::SHORTEST_AGE;

/// How long a new workspace is left to the initializer at the most, and how long kcp may take to show what was in a workspace
/// before it bound the API.
const SETTLES_IN: Duration = Duration::from_secs(60);
/// The initializer writes the ManagedEnvironment last. Some time after that what is missing is missing, and not just on its way
/// through the watches: without this, each new workspace would cost a dozen vain writes.
const HANDED_OVER_IN: Duration = Duration::from_secs(3);

/// The compute cluster cannot be looked at now; that it can is told.
const NOT_KNOWN_YET: Duration = Duration::from_secs(60);
/// What is left on the compute cluster goes within seconds.
const NOT_SWEPT_YET: Duration = Duration::from_secs(5);

pub(crate) async fn reconcile(context: &Context, shard: &ShardUrl, cluster: &ClusterName) -> Outcome {
    if !context.tenants.is_synced(shard) {
        return NOT_LISTED_YET;
    }
    let result = match context.tenants.binding(shard, cluster) {
        None => {
            context.seeds.forget(shard, cluster);
            forget(context, shard, cluster).await
        }
        Some(binding) if binding.metadata.deletion_timestamp.is_some() || !is_bound(&binding) => {
            Ok(Outcome::Done)
        }
        Some(binding) => provide(context, shard, cluster, &binding).await,
    };
    result.unwrap_or_else(|error| {
        tracing::warn!(%cluster, %error, "the workspace is tried again");
        Outcome::Failed
    })
}

async fn provide(
    context: &Context,
    shard: &ShardUrl,
    cluster: &ClusterName,
    binding: &APIBinding,
) -> Result<Outcome, WriteError> {
    let Some(tenant) = context.catalog.tenants.named(cluster.as_str()) else {
        ensure_tenant(context, cluster).await?;
        // The rest follows once the Tenant has come through the watch.
        return Ok(Outcome::Done);
    };
    ensure_quota(context, shard, cluster, &tenant).await?;
    let swept = match sweep::look(context, shard, cluster) {
        Some(leftovers) => leftovers.remove(context, shard, cluster).await?,
        None => true,
    };
    let outcome = seed(context, shard, cluster, binding).await?;
    Ok(if swept { outcome } else { Outcome::Again(NOT_SWEPT_YET) })
}

async fn seed(
    context: &Context,
    shard: &ShardUrl,
    cluster: &ClusterName,
    binding: &APIBinding,
) -> Result<Outcome, WriteError> {
    if !context.seeds.was_whole(shard, cluster) && seeding::is_whole(context, shard, cluster) {
        context.seeds.is_whole(shard, cluster);
    }
    let settling =
        left_of(SETTLES_IN, &binding.metadata).filter(|_| !context.seeds.was_whole(shard, cluster));
    if let Some(left) = settling
        && binding.annotations().contains_key(INITIALIZED_ANNOTATION)
    {
        let left = match seeding::environment_of(context, shard, cluster) {
            None => Some(left),
            Some(environment) => left_of(HANDED_OVER_IN, &environment.metadata),
        };
        if let Some(left) = left {
            return Ok(Outcome::Again(left));
        }
    }
    if !missing_claims(&binding.spec.permission_claims).is_empty() {
        // Each Install says which; a change of the binding comes back here.
        return Ok(Outcome::Done);
    }
    seeding::ensure(context, shard, cluster, settling.is_some()).await
}

/// What is left of a time that began when the object was made.
fn left_of(time: Duration, metadata: &ObjectMeta) -> Option<Duration> {
    let created = metadata.creation_timestamp.as_ref()?.0;
    let age = Duration::try_from(Timestamp::now().duration_since(created)).unwrap_or_default();
    time.checked_sub(age).filter(|left| !left.is_zero())
}

async fn ensure_tenant(context: &Context, cluster: &ClusterName) -> Result<(), WriteError> {
    let tenants: Api<Tenant> = Api::all(context.connection.home());
    let tenant = Tenant::new(cluster.as_str(), TenantSpec::default());
    match context.writes.count("Tenant", tenants.create(&PostParams::default(), &tenant)).await {
        Err(error) if error.is_conflict() => Ok(()),
        result => result.map(drop),
    }
}

async fn ensure_quota(
    context: &Context,
    shard: &ShardUrl,
    cluster: &ClusterName,
    tenant: &Tenant,
) -> Result<(), WriteError> {
    let key = ObjectKey {
        shard: shard.clone(),
        cluster: cluster.clone(),
        namespace: String::new(),
        name: QUOTA_NAME.to_owned(),
    };
    let quotas: Api<ExecutionQuota> = Api::all(context.connection.workspace(shard, cluster)?);
    let spec = ExecutionQuotaSpec { limits: tenant.spec.quota.clone() };
    let write = match context.tenants.quotas.get(&key) {
        Some(quota) if quota.spec == spec => return Ok(()),
        Some(quota) => {
            let mut changed = (*quota).clone();
            changed.spec = spec;
            context
                .writes
                .count("ExecutionQuota", quotas.replace(QUOTA_NAME, &PostParams::default(), &changed))
                .await
        }
        None => {
            let quota = ExecutionQuota::new(QUOTA_NAME, spec);
            context.writes.count("ExecutionQuota", quotas.create(&PostParams::default(), &quota)).await
        }
    };
    match write {
        // Another replica wrote it; what it wrote comes through the watch.
        Err(error) if error.is_conflict() => Ok(()),
        result => result.map(drop),
    }
}

/// The workspace has no binding of ours any more. What was made for it on the platform's cluster goes, if its Installs have not taken
/// all of that along. Its Tenant goes too, unless an operator wrote something into it: that would
/// be lost, and a tenant who unbinds and binds again must not shake off `suspended`.
async fn forget(context: &Context, shard: &ShardUrl, cluster: &ClusterName) -> Result<Outcome, WriteError> {
    if elsewhere(context, shard, cluster) {
        return Ok(Outcome::Done);
    }
    let tenant = context.catalog.tenants.named(cluster.as_str());
    let tenant = tenant.filter(|tenant| tenant.spec == TenantSpec::default());
    let leftovers = sweep::look(context, shard, cluster);
    if tenant.is_none() && leftovers.is_none() {
        return Ok(Outcome::Done);
    }
    if context.places.platform().is_some_and(|place| place.state() != State::Known) {
        // Nobody would come back for what is left there once the Tenant is gone.
        return Ok(Outcome::Again(NOT_KNOWN_YET));
    }
    if is_bound_all_the_same(context, cluster).await? {
        return Ok(Outcome::Failed);
    }
    if let Some(leftovers) = leftovers
        && !leftovers.remove_of_unbound(context, shard, cluster).await?
    {
        return Ok(Outcome::Again(NOT_SWEPT_YET));
    }
    let Some(tenant) = tenant else { return Ok(Outcome::Done) };
    let tenants: Api<Tenant> = Api::all(context.connection.home());
    // Not if an operator writes into it just now.
    let preconditions = Preconditions { uid: tenant.uid(), resource_version: tenant.resource_version() };
    let delete = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match context.writes.count("Tenant", tenants.delete(cluster.as_str(), &delete)).await {
        Err(error) if error.is_gone() => Ok(Outcome::Done),
        result => result.map(|_| {
            tracing::info!(%cluster, "the workspace is gone, and its Tenant with it");
            Outcome::Done
        }),
    }
}

/// A shard that relists empty by a fault must not look like a mass deletion: the workspace itself is asked. On every shard, because
/// which one it is on is known from such lists alone.
async fn is_bound_all_the_same(context: &Context, cluster: &ClusterName) -> Result<bool, WriteError> {
    for shard in context.tenants.bindings.shards() {
        let bindings: Api<APIBinding> = Api::all(context.connection.workspace(&shard, cluster)?);
        let everything = ListParams::default();
        let list = ask("APIBindings", bindings.list(&everything)).await?;
        if list.is_some_and(|list| list.items.iter().any(|binding| binds(binding, &shard))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether another shard has a binding in the cluster: a workspace that moved is not gone.
fn elsewhere(context: &Context, shard: &ShardUrl, cluster: &ClusterName) -> bool {
    let others = context.tenants.bindings.shards().into_iter().filter(|other| other != shard);
    others.into_iter().any(|other| context.tenants.binding(&other, cluster).is_some())
}

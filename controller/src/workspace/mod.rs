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
use kube_kcp::{ClusterName, ObjectKey, Outcome, kinds::APIBinding};

use crate::{
    api_writes::WriteError,
    bindings::{binds, is_provided_for},
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

pub(crate) async fn reconcile(context: &Context, cluster: &ClusterName) -> Outcome {
    if !context.is_synced(cluster) {
        return NOT_LISTED_YET;
    }
    let result = match context.binding(cluster) {
        None => {
            context.seeds.forget(cluster);
            forget(context, cluster).await
        }
        Some(binding) if is_provided_for(&binding) => provide(context, cluster, &binding).await,
        Some(_) => Ok(Outcome::Done),
    };
    result.unwrap_or_else(|error| {
        tracing::warn!(%cluster, %error, "the workspace is tried again");
        Outcome::Failed
    })
}

async fn provide(
    context: &Context,
    cluster: &ClusterName,
    binding: &APIBinding,
) -> Result<Outcome, WriteError> {
    let Some(tenant) = context.catalog.tenants.named(cluster.as_str()) else {
        ensure_tenant(context, cluster).await?;
        // The rest follows once the Tenant has come through the watch.
        return Ok(Outcome::Done);
    };
    ensure_quota(context, cluster, &tenant).await?;
    let swept = match sweep::look(context, cluster) {
        Some(leftovers) => leftovers.remove(context, cluster).await?,
        None => true,
    };
    let outcome = seed(context, cluster, binding).await?;
    Ok(if swept { outcome } else { Outcome::Again(NOT_SWEPT_YET) })
}

async fn seed(context: &Context, cluster: &ClusterName, binding: &APIBinding) -> Result<Outcome, WriteError> {
    if !context.seeds.was_whole(cluster) && seeding::is_whole(context, cluster) {
        context.seeds.is_whole(cluster);
    }
    let settling = left_of(SETTLES_IN, &binding.metadata).filter(|_| !context.seeds.was_whole(cluster));
    if let Some(left) = settling
        && binding.annotations().contains_key(INITIALIZED_ANNOTATION)
    {
        let left = match seeding::environment_of(context, cluster) {
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
    seeding::ensure(context, cluster, settling.is_some()).await
}

/// What is left of a time that began when the object was made.
fn left_of(time: Duration, metadata: &ObjectMeta) -> Option<Duration> {
    let created = metadata.creation_timestamp.as_ref()?.0;
    let age = Duration::try_from(Timestamp::now().duration_since(created)).unwrap_or_default();
    time.checked_sub(age).filter(|left| !left.is_zero())
}

async fn ensure_tenant(context: &Context, cluster: &ClusterName) -> Result<(), WriteError> {
    let tenants: Api<Tenant> = Api::all(context.provider.clone());
    let tenant = Tenant::new(cluster.as_str(), TenantSpec::default());
    match context.writes.count("Tenant", tenants.create(&PostParams::default(), &tenant)).await {
        Err(error) if error.is_conflict() => Ok(()),
        result => result.map(drop),
    }
}

async fn ensure_quota(context: &Context, cluster: &ClusterName, tenant: &Tenant) -> Result<(), WriteError> {
    let key = ObjectKey { cluster: cluster.clone(), namespace: String::new(), name: QUOTA_NAME.to_owned() };
    let quotas: Api<ExecutionQuota> = Api::all(context.workspaces.client(cluster)?);
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
async fn forget(context: &Context, cluster: &ClusterName) -> Result<Outcome, WriteError> {
    let tenant = context.catalog.tenants.named(cluster.as_str());
    let tenant = tenant.filter(|tenant| tenant.spec == TenantSpec::default());
    let leftovers = sweep::look(context, cluster);
    if tenant.is_none() && leftovers.is_none() {
        return Ok(Outcome::Done);
    }
    if context.places.platform().is_some_and(|place| place.state() != State::Known) {
        // Nobody would come back for what is left there once the Tenant is gone.
        return Ok(Outcome::Again(NOT_KNOWN_YET));
    }
    if context.workspaces.clients(cluster).is_err() {
        // No shard is listed, perhaps by a fault: there is nobody who could say that the workspace is gone.
        return Ok(Outcome::Again(NOT_KNOWN_YET));
    }
    if is_bound_all_the_same(context, cluster).await? {
        return Ok(Outcome::Failed);
    }
    if let Some(leftovers) = leftovers
        && !leftovers.remove_of_unbound(context, cluster).await?
    {
        return Ok(Outcome::Again(NOT_SWEPT_YET));
    }
    let Some(tenant) = tenant else { return Ok(Outcome::Done) };
    let tenants: Api<Tenant> = Api::all(context.provider.clone());
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

/// A shard that relists empty by a fault must not look like a mass deletion: the workspace itself is asked.
async fn is_bound_all_the_same(context: &Context, cluster: &ClusterName) -> Result<bool, WriteError> {
    for (shard, client) in context.workspaces.clients(cluster)? {
        let bindings: Api<APIBinding> = Api::all(client);
        let everything = ListParams::default();
        let list = ask("APIBindings", bindings.list(&everything)).await?;
        if list.is_some_and(|list| list.items.iter().any(|binding| binds(binding, &shard))) {
            return Ok(true);
        }
    }
    Ok(false)
}

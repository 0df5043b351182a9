use std::{sync::Arc, time::Duration};

use annex_apis::ManagedEnvironment;
use annex_initializer::{ENVIRONMENT, KUBECONFIG_SECRET, NAMESPACE, Seed, SeedObject};
use jiff::Timestamp;
use kube::Api;
use kube_kcp::{ClusterName, ObjectKey, Outcome};

use super::{
    keeper::Keeper,
    tokens::{self, Tokens},
};
use crate::{api_writes::WriteError, context::Context};

/// Level-triggered all the same: a change that no watch reported is noticed within the hour.
const AGAIN: Duration = Duration::from_secs(3600);
/// While the workspace settles, what could not be seen yet is looked for again.
const AGAIN_SETTLING: Duration = Duration::from_secs(15);

/// Keeps the workspace's seed, in the order that [`Seed`] tells.
pub(super) async fn ensure(
    context: &Context,
    cluster: &ClusterName,
    settling: bool,
) -> Result<Outcome, WriteError> {
    let client = context.workspaces.client(cluster)?;
    let keeper = Keeper { context, cluster, client, settling };
    let namespace = context.tenants.namespaces.get(&keeper.key("", NAMESPACE));
    if namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
        // Nothing can be made in it any more. When it has gone, the watch says so.
        return Ok(Outcome::Again(AGAIN));
    }
    // One object that cannot be written holds up no other.
    let mut failed = None;
    for object in context.seed.objects() {
        if let Err(error) = keep(&keeper, object).await {
            failed.get_or_insert(error);
        }
    }
    let due = match tokens::keep(&keeper).await {
        Ok(Tokens::Settled { due }) => {
            environment(&keeper).await?;
            due
        }
        // kcp fills a token in within a second, and the watch says so; one that is never filled backs off.
        Ok(Tokens::Waiting) => return failed.map_or(Ok(Outcome::Failed), Err),
        Err(error) => return Err(failed.unwrap_or(error)),
    };
    if let Some(error) = failed {
        return Err(error);
    }
    let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
    let most = if settling { AGAIN_SETTLING } else { AGAIN };
    Ok(Outcome::Again(left.clamp(Duration::from_secs(1), most)))
}

async fn keep(keeper: &Keeper<'_>, object: &SeedObject) -> Result<(), WriteError> {
    let (tenants, client) = (&keeper.context.tenants, || keeper.client.clone());
    match object {
        SeedObject::Namespace(it) => keeper.present(Api::all(client()), &tenants.namespaces, it).await,
        SeedObject::ClusterRole(it) => keeper.kept(Api::all(client()), &tenants.cluster_roles, it).await,
        SeedObject::ClusterRoleBinding(it) => {
            keeper.kept(Api::all(client()), &tenants.cluster_role_bindings, it).await
        }
        SeedObject::ServiceAccount(it) => {
            keeper.present(Api::namespaced(client(), NAMESPACE), &tenants.service_accounts, it).await
        }
        SeedObject::Role(it) => keeper.kept(Api::namespaced(client(), NAMESPACE), &tenants.roles, it).await,
        SeedObject::RoleBinding(it) => {
            keeper.kept(Api::namespaced(client(), NAMESPACE), &tenants.role_bindings, it).await
        }
    }
}

async fn environment(keeper: &Keeper<'_>) -> Result<(), WriteError> {
    let context = keeper.context;
    let seeded = Seed::environment(&context.seed_config, keeper.cluster);
    let api = Api::namespaced(keeper.client.clone(), NAMESPACE);
    // Annex's own kind: no claim and no label decides whether it can be seen.
    match environment_of(context, keeper.cluster) {
        Some(current) => keeper.repair(&api, "SeedRepair", &*current, &seeded).await.map(drop),
        None => keeper.create(&api, "Seed", &seeded).await.map(drop),
    }
}

/// The environment that stands for the workspace itself.
pub(super) fn environment_of(context: &Context, cluster: &ClusterName) -> Option<Arc<ManagedEnvironment>> {
    context.tenants.environments.get(&ObjectKey {
        cluster: cluster.clone(),
        namespace: NAMESPACE.to_owned(),
        name: ENVIRONMENT.to_owned(),
    })
}

/// Whether everything that the initializer writes can be seen.
pub(super) fn is_whole(context: &Context, cluster: &ClusterName) -> bool {
    let tenants = &context.tenants;
    let key = |namespace: &str, name: &str| ObjectKey {
        cluster: cluster.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let objects = context.seed.objects().all(|object| {
        let metadata = object.metadata();
        let key = key(
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        );
        match object {
            SeedObject::Namespace(_) => tenants.namespaces.get(&key).is_some(),
            SeedObject::ClusterRole(_) => tenants.cluster_roles.get(&key).is_some(),
            SeedObject::ClusterRoleBinding(_) => tenants.cluster_role_bindings.get(&key).is_some(),
            SeedObject::ServiceAccount(_) => tenants.service_accounts.get(&key).is_some(),
            SeedObject::Role(_) => tenants.roles.get(&key).is_some(),
            SeedObject::RoleBinding(_) => tenants.role_bindings.get(&key).is_some(),
        }
    });
    objects
        && tenants.secrets.get(&key(NAMESPACE, KUBECONFIG_SECRET)).is_some()
        && environment_of(context, cluster).is_some()
        && !tokens::seen(context, cluster).tokens.is_empty()
}

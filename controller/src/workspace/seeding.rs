use std::{fmt::Debug, time::Duration};

use annex_initializer::{ENVIRONMENT, KUBECONFIG_SECRET, NAMESPACE, Seed, TOKEN_SECRET, token_of};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope, api::core::v1::Secret};
use kube::{Api, Client, Resource, ResourceExt as _, api::PostParams};
use kube_kcp::{ClusterName, Index, ObjectKey, Outcome, ShardUrl};
use serde::{Serialize, de::DeserializeOwned};

use crate::{api_writes::WriteError, context::Context};

/// Writes what is missing of the seed. What is there is left as it is.
pub(super) async fn ensure(
    context: &Context,
    shard: &ShardUrl,
    cluster: &ClusterName,
) -> Result<Outcome, WriteError> {
    let missing = Missing { context, shard, cluster, client: context.connection.workspace(shard, cluster)? };
    let (seed, tenants) = (&context.seed, &context.tenants);
    let [own_rights, access] = &seed.cluster_role_bindings;
    missing.global(&tenants.namespaces, &seed.namespace).await?;
    missing.namespaced(&tenants.service_accounts, &seed.service_account).await?;
    missing.namespaced(&tenants.secrets, &seed.token_secret).await?;
    missing.namespaced(&tenants.roles, &seed.role).await?;
    missing.namespaced(&tenants.role_bindings, &seed.role_binding).await?;
    missing.global(&tenants.cluster_roles, &seed.cluster_role).await?;
    missing.global(&tenants.cluster_role_bindings, own_rights).await?;
    missing.global(&tenants.cluster_role_bindings, access).await?;
    if !missing.has(&tenants.secrets, NAMESPACE, KUBECONFIG_SECRET) {
        let secrets: Api<Secret> = Api::namespaced(missing.client.clone(), NAMESPACE);
        let token = secrets
            .get_opt(TOKEN_SECRET)
            .await
            .map_err(|error| WriteError::Refused { what: "kubeconfig", error: Box::new(error) })?
            .as_ref()
            .and_then(token_of);
        let Some(token) = token else {
            // kcp fills it in within a second; a Secret that is never filled backs off.
            return Ok(Outcome::Failed);
        };
        let secret = Seed::kubeconfig_secret(&context.seed_config, cluster, &token);
        missing.namespaced(&tenants.secrets, &secret).await?;
    }
    if !missing.has(&tenants.environments, NAMESPACE, ENVIRONMENT) {
        let environment = Seed::environment(&context.seed_config, cluster);
        missing.namespaced(&tenants.environments, &environment).await?;
    }
    // Level-triggered all the same: a change that no watch reported is noticed within the hour.
    Ok(Outcome::Again(Duration::from_secs(3600)))
}

struct Missing<'a> {
    context: &'a Context,
    shard: &'a ShardUrl,
    cluster: &'a ClusterName,
    client: Client,
}

impl Missing<'_> {
    fn has<T>(&self, index: &Index<T>, namespace: &str, name: &str) -> bool {
        let key = ObjectKey {
            shard: self.shard.clone(),
            cluster: self.cluster.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        index.get(&key).is_some()
    }

    async fn namespaced<T, K>(&self, index: &Index<T>, object: &K) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        if self.has(index, NAMESPACE, &object.name_any()) {
            return Ok(());
        }
        self.create(Api::namespaced(self.client.clone(), NAMESPACE), object).await
    }

    async fn global<T, K>(&self, index: &Index<T>, object: &K) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        if self.has(index, "", &object.name_any()) {
            return Ok(());
        }
        self.create(Api::all(self.client.clone()), object).await
    }

    async fn create<K>(&self, api: Api<K>, object: &K) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        match self.context.writes.count("Seed", api.create(&PostParams::default(), object)).await {
            // Already there, or there without the label that would show it to us: the tenant's, then, and not touched.
            Err(error) if error.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }
}

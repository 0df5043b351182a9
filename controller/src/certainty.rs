//! What a workspace itself says is there. A list that is empty by a fault of a server must not look like a mass deletion: before
//! anything is removed for what no list holds, its workspace is asked.

use std::{fmt::Debug, future::Future};

use annex_apis::Install;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource,
    api::ListParams,
    core::{DeserializeGuard, PartialObjectMeta},
};
use kube_kcp::{ClusterName, ObjectKey};
use serde::de::DeserializeOwned;

use crate::{
    api_writes::{TIMEOUT, WriteError},
    context::Context,
};

/// The object at `key`. None: it is gone, or its workspace is, or is no longer ours to see.
///
/// # Errors
/// Nobody has said so.
pub(crate) async fn object_at<K>(
    context: &Context,
    key: &ObjectKey,
) -> Result<Option<PartialObjectMeta<K>>, WriteError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    for (_, client) in context.workspaces.clients(&key.cluster)? {
        let objects = Api::<K>::namespaced(client, &key.namespace);
        let found = ask("object", objects.get_metadata(&key.name)).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The Installs of a workspace, those included that do not parse. None: it is gone, or no longer ours to see.
///
/// # Errors
/// Nobody has said so.
pub(crate) async fn installs_in(
    context: &Context,
    cluster: &ClusterName,
) -> Result<Option<Vec<DeserializeGuard<Install>>>, WriteError> {
    let everything = ListParams::default();
    for (_, client) in context.workspaces.clients(cluster)? {
        let installs = Api::<DeserializeGuard<Install>>::all(client);
        if let Some(list) = ask("Installs", installs.list(&everything)).await? {
            return Ok(Some(list.items));
        }
    }
    Ok(None)
}

/// What a workspace answers. None: it is gone, or no longer ours to see.
///
/// # Errors
/// Nobody has said so.
pub(crate) async fn ask<T>(
    what: &'static str,
    read: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Option<T>, WriteError> {
    match tokio::time::timeout(TIMEOUT, read).await {
        Ok(Ok(found)) => Ok(Some(found)),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404) => Ok(None),
        Ok(Err(error)) => Err(WriteError::Unread { what, error: Box::new(error) }),
        Err(_) => Err(WriteError::Timeout(what)),
    }
}

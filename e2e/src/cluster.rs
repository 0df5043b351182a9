use std::collections::BTreeMap;

use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
    discovery::{Discovery, Scope, verbs},
};
use serde_json::{Value, json};

use crate::{Everything, everything::lasting, until};

/// The compute cluster, as its administrator sees it.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

/// The kinds that tests look at there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the core.
    Namespace,
    /// Of the core.
    ResourceQuota,
    /// Of the core.
    Secret,
    /// Of the core.
    ConfigMap,
    /// Of the core.
    Pod,
    /// Of the core.
    ServiceAccount,
    /// `rbac.authorization.k8s.io`.
    Role,
    /// `rbac.authorization.k8s.io`.
    RoleBinding,
    /// `networking.k8s.io`.
    NetworkPolicy,
    /// `rbac.authorization.k8s.io`.
    ClusterRole,
    /// `rbac.authorization.k8s.io`.
    ClusterRoleBinding,
    /// `policy`.
    PodDisruptionBudget,
    /// `apiextensions.k8s.io`.
    CustomResourceDefinition,
    /// `apps`.
    Deployment,
    /// Knative's.
    Service,
    /// Knative's.
    DomainMapping,
    /// Knative's.
    ClusterDomainClaim,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (group, version, kind) = match self {
            Self::Namespace => ("", "v1", "Namespace"),
            Self::ResourceQuota => ("", "v1", "ResourceQuota"),
            Self::Secret => ("", "v1", "Secret"),
            Self::ConfigMap => ("", "v1", "ConfigMap"),
            Self::Pod => ("", "v1", "Pod"),
            Self::ServiceAccount => ("", "v1", "ServiceAccount"),
            Self::Role => ("rbac.authorization.k8s.io", "v1", "Role"),
            Self::RoleBinding => ("rbac.authorization.k8s.io", "v1", "RoleBinding"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy"),
            Self::ClusterRole => ("rbac.authorization.k8s.io", "v1", "ClusterRole"),
            Self::ClusterRoleBinding => ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding"),
            Self::PodDisruptionBudget => ("policy", "v1", "PodDisruptionBudget"),
            Self::CustomResourceDefinition => ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
            Self::Deployment => ("apps", "v1", "Deployment"),
            Self::Service => ("serving.knative.dev", "v1", "Service"),
            Self::DomainMapping => ("serving.knative.dev", "v1beta1", "DomainMapping"),
            Self::ClusterDomainClaim => ("networking.internal.knative.dev", "v1alpha1", "ClusterDomainClaim"),
        };
        let plural = match self {
            Self::NetworkPolicy => "networkpolicies".to_owned(),
            _ => format!("{}s", kind.to_lowercase()),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural)
    }
}

impl Cluster {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The objects of a kind, in a namespace or (an empty one) without.
    #[must_use]
    pub fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        match namespace {
            "" => Api::all_with(self.client.clone(), &kind.resource()),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &kind.resource()),
        }
    }

    /// One object, if it is there.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn get(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Option<DynamicObject>> {
        Ok(self.api(kind, namespace).get_opt(name).await?)
    }

    /// All of a kind in a namespace.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn list(&self, kind: Kind, namespace: &str) -> anyhow::Result<Vec<DynamicObject>> {
        Ok(self.api(kind, namespace).list(&ListParams::default()).await?.items)
    }

    /// Makes an object; `body` is everything but kind, name and namespace.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn create(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        body: Value,
    ) -> anyhow::Result<DynamicObject> {
        let resource = kind.resource();
        let mut object = json!({ "apiVersion": resource.api_version, "kind": resource.kind, "metadata": { "name": name } });
        if let (Some(object), Value::Object(body)) = (object.as_object_mut(), body) {
            object.extend(body);
        }
        if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            metadata.insert("name".to_owned(), json!(name));
        }
        let object = serde_json::from_value(object)?;
        Ok(self.api(kind, namespace).create(&PostParams::default(), &object).await?)
    }

    /// Merges `patch` into an object.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn patch(&self, kind: Kind, namespace: &str, name: &str, patch: Value) -> anyhow::Result<()> {
        self.api(kind, namespace).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Deletes an object, if it is there, and returns once that very object is gone.
    ///
    /// # Errors
    /// The cluster refuses, or it does not go.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api = self.api(kind, namespace);
        let Some(there) = api.get_opt(name).await? else { return Ok(()) };
        match api.delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(()),
            deleted => drop(deleted?),
        }
        until(&format!("{kind:?} {name} is gone"), || async {
            Ok(api.get_opt(name).await?.is_none_or(|now| now.uid() != there.uid()).then_some(()))
        })
        .await
    }

    /// The object once it satisfies `condition`; it may come to be only later.
    ///
    /// # Errors
    /// It does not within [`PATIENCE`](crate::PATIENCE).
    pub async fn when(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        what: &str,
        condition: impl Fn(&DynamicObject) -> bool,
    ) -> anyhow::Result<DynamicObject> {
        let api = self.api(kind, namespace);
        until(&format!("{kind:?} {namespace}/{name}: {what}"), || async {
            Ok(api.get_opt(name).await?.filter(|object| condition(object)))
        })
        .await
    }

    /// Returns once the object is gone.
    ///
    /// # Errors
    /// It is not within [`PATIENCE`](crate::PATIENCE).
    pub async fn gone(&self, kind: Kind, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api = self.api(kind, namespace);
        until(&format!("{kind:?} {namespace}/{name} is gone"), || async {
            Ok(api.get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }

    /// Sets how many pods a Deployment has, and returns once it has as many that are ready and no others: one that is being ended
    /// goes on answering for a while.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn scale(&self, namespace: &str, deployment: &str, replicas: i64) -> anyhow::Result<()> {
        self.patch(Kind::Deployment, namespace, deployment, json!({ "spec": { "replicas": replicas } }))
            .await?;
        self.when(Kind::Deployment, namespace, deployment, &format!("{replicas} replicas"), |object| {
            let status =
                |field: &str| object.data.pointer(&format!("/status/{field}")).and_then(Value::as_i64);
            status("observedGeneration") == object.metadata.generation
                && status("readyReplicas").unwrap_or(0) == replicas
                && status("replicas").unwrap_or(0) == replicas
        })
        .await?;
        let deployment = self.api(Kind::Deployment, namespace).get(deployment).await?;
        let labels = deployment.data.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        let labels = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
        let selector = ListParams::default().labels(&labels.collect::<Vec<_>>().join(","));
        let pods = self.api(Kind::Pod, namespace);
        if replicas == 0 {
            // Some of Knative's take minutes over their end, and answer until then.
            pods.delete_collection(&DeleteParams::default().grace_period(0), &selector).await?;
        }
        until(&format!("{namespace} has {replicas} pods of it"), || async {
            let found = pods.list(&selector).await?.items.len();
            Ok((i64::try_from(found)? == replicas).then_some(()))
        })
        .await?;
        Ok(())
    }

    /// Every object that is there, by `kind namespace/name`, with everything of it but what the cluster itself goes on writing.
    /// What the cluster makes and forgets by itself is left out: events, leases and whatever belongs to another object.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn everything(&self) -> anyhow::Result<Everything> {
        let discovery = Discovery::new(self.client.clone()).run().await?;
        let mut found = BTreeMap::new();
        for group in discovery.groups() {
            for (resource, capabilities) in group.recommended_resources() {
                let passing =
                    ["Event", "Lease", "EndpointSlice", "PodMetrics", "NodeMetrics", "ComponentStatus"];
                if !capabilities.supports_operation(verbs::LIST) || passing.contains(&resource.kind.as_str())
                {
                    continue;
                }
                let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
                for object in api.list(&ListParams::default()).await? {
                    if object.owner_references().is_empty() {
                        let namespace = match capabilities.scope {
                            Scope::Cluster => String::new(),
                            Scope::Namespaced => format!("{}/", object.namespace().unwrap_or_default()),
                        };
                        let name = format!("{} {namespace}{}", resource.kind, object.name_any());
                        found.insert(name, lasting(object)?);
                    }
                }
            }
        }
        Ok(Everything::of(found))
    }

    /// The uid of each object of the kind that was made for a workspace.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn made_for(&self, kind: Kind, cluster: &str) -> anyhow::Result<BTreeMap<String, String>> {
        let list = self
            .api(kind, "")
            .list(&ListParams::default().labels(&format!("annex.sh/cluster={cluster}")))
            .await?;
        Ok(list.into_iter().map(|object| (object.name_any(), object.uid().unwrap_or_default())).collect())
    }
}

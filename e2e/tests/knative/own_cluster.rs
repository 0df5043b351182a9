//! A tenant's own cluster: an environment that a kubeconfig opens which may do just what an install needs.

use annex_apis::{Install, ManagedEnvironment};
use annex_e2e::{Kind, Workspace, World, condition, when};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::environment::{Reconfigured, allow, alone, hello, identity, manifest_in, namespace, tenant_on};

pub(crate) fn secrets(workspace: &Workspace) -> Api<Secret> {
    Api::namespaced(workspace.client.clone(), "default")
}

pub(crate) async fn put_kubeconfig(workspace: &Workspace, kubeconfig: &Value) -> anyhow::Result<()> {
    let secret: Secret = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "annex.sh/managed-environment",
        "metadata": { "name": "own", "labels": { "annex.sh/managed": "true" } },
        "stringData": { "kubeconfig": kubeconfig.to_string() },
    }))?;
    secrets(workspace).create(&PostParams::default(), &secret).await?;
    Ok(())
}

/// Lets environments be where the cluster is.
pub(crate) fn allowed(world: &'static World) -> anyhow::Result<Reconfigured> {
    let node = world.stack.compute()?.ingress_http().0;
    Reconfigured::start(world, &["--environment-allowed-networks", &format!("{node}/32")], &[])
}

pub(crate) fn is_ready(install: &Install) -> bool {
    condition(install, "Ready").is_some_and(|ready| ready.status == "True")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_runs_on_the_tenants_own_cluster_with_their_credentials_alone() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let theirs = "tenants-own";
    cluster.create(Kind::Namespace, "", theirs, json!({})).await?;
    let kubeconfig = identity(world, &cluster, theirs, "extensions").await?;
    let all = ["get", "list", "watch", "create", "patch", "delete"];
    allow(&cluster, theirs, (theirs, "extensions"), json!([
        { "apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"] },
        { "apiGroups": ["serving.knative.dev"], "resources": ["services", "domainmappings"], "verbs": all },
    ]))
    .await?;
    let _allowed = allowed(world)?;

    let workspace = world.user("alice").await?.tenant("kn-own").await?;
    put_kubeconfig(&workspace, &kubeconfig).await?;
    let environments: Api<ManagedEnvironment> = Api::namespaced(workspace.client.clone(), "default");
    let environment: ManagedEnvironment = serde_json::from_value(json!({
        "apiVersion": "annex.sh/v1alpha1", "kind": "ManagedEnvironment", "metadata": { "name": "own" },
        "spec": { "apiURL": kubeconfig["clusters"][0]["cluster"]["server"], "credentialsSecretRef": { "name": "own" },
            "namespaces": [theirs] },
    }))?;
    workspace.install("hello", "com.example.hello", json!({ "environmentRef": { "name": "own" } })).await?;
    workspace.refused("hello", "EnvironmentNotFound").await?;
    environments.create(&PostParams::default(), &environment).await?;

    // Their identity may claim no domain. The operator of that cluster is told what to apply.
    let refused = workspace.refused("hello", "ClaimMissing").await?;
    let claim = manifest_in(&condition(&refused, "DomainReady").expect("DomainReady").message)?;
    let host = claim["metadata"]["name"].as_str().expect("a host").to_owned();
    cluster.create(Kind::ClusterDomainClaim, "", &host, json!({ "spec": claim["spec"] })).await?;
    let status = workspace.installed("hello").await?.status.expect("a status");
    let runner = status.runner_ref.expect("a runner");
    assert_eq!((runner.environment.as_deref(), runner.namespace.as_deref()), (Some("own"), Some(theirs)));
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    assert!(
        cluster.get(Kind::Namespace, "", &namespace(&workspace)).await?.is_none(),
        "nothing of it is on the platform's own part of the cluster"
    );
    let service = runner.name.expect("a name");
    let made = cluster.get(Kind::Service, theirs, &service).await?.expect("a runner");
    let author = made.annotations().get("serving.knative.dev/creator").cloned().unwrap_or_default();
    assert_eq!(author, format!("system:serviceaccount:{theirs}:extensions"), "with the tenant's credentials");

    // Drift is repaired there, too.
    cluster.delete(Kind::Service, theirs, &service).await?;
    cluster
        .when(Kind::Service, theirs, &service, "is made again", |object| object.uid() != made.uid())
        .await?;
    when(&workspace.installs(), "hello", "Ready again", is_ready).await?;

    // A Secret that is rotated to something that opens nothing is followed at once, and so is its mending.
    let mut garbage = kubeconfig.clone();
    garbage["users"][0]["user"]["token"] = json!("garbage");
    let rotate =
        |kubeconfig: &Value| Patch::Merge(json!({ "stringData": { "kubeconfig": kubeconfig.to_string() } }));
    secrets(&workspace).patch("own", &PatchParams::default(), &rotate(&garbage)).await?;
    workspace.refused("hello", "EnvironmentNotReady").await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string(), "what runs, runs on");
    secrets(&workspace).patch("own", &PatchParams::default(), &rotate(&kubeconfig)).await?;
    when(&workspace.installs(), "hello", "Ready again", is_ready).await?;

    // From the tenant's cluster to the platform's and back.
    workspace.change("hello", json!({ "environmentRef": null })).await?;
    let refused = workspace.refused("hello", "DomainConflict").await?;
    assert!(!is_ready(&refused), "the claim there still says that the host is the tenant's own cluster's");
    cluster.delete(Kind::ClusterDomainClaim, "", &host).await?;
    let moved = when(&workspace.installs(), "hello", "on the platform", |install: &Install| {
        let runner = install.status.as_ref().and_then(|status| status.runner_ref.as_ref());
        is_ready(install) && runner.is_some_and(|runner| runner.environment.is_none())
    })
    .await?;
    assert_eq!(moved.status.expect("a status").host, Some(host.clone()));
    cluster.gone(Kind::Service, theirs, &service).await?;
    cluster.gone(Kind::DomainMapping, theirs, &host).await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());

    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    workspace.gone("hello").await?;
    assert!(cluster.get(Kind::Namespace, "", theirs).await?.is_some(), "the namespace is the tenant's");
    cluster.delete(Kind::Namespace, "", theirs).await?;
    let (_, _) = hello(world, "alice", "kn-own-after").await?;
    Ok(())
}

//! Mappings and claims that Annex did not make are neither re-pointed nor deleted.

use annex_e2e::{Kind, condition};
use kube::ResourceExt as _;
use serde_json::json;

use crate::environment::{hello, namespace, shared, tenant_on};

/// The host that the sample extension gets in a workspace.
fn host_of(workspace: &annex_e2e::Workspace) -> String {
    let slug: String = workspace.cluster.as_str().chars().take(12).collect();
    format!("{slug}--hello.apps.localhost")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_another_namespace_is_respected() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let workspace = world.user("alice").await?.tenant("kn-claimed").await?;
    let host = host_of(&workspace);
    let claim = cluster
        .create(Kind::ClusterDomainClaim, "", &host, json!({ "spec": { "namespace": "default" } }))
        .await?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    let refused = workspace.refused("hello", "DomainConflict").await?;
    let message = &condition(&refused, "DomainReady").expect("DomainReady").message;
    assert!(message.contains(&host) && !message.contains("default"), "{message}");
    let now = cluster.get(Kind::ClusterDomainClaim, "", &host).await?.expect("the claim");
    assert_eq!((now.uid(), &now.data["spec"]), (claim.uid(), &claim.data["spec"]), "untouched");
    assert!(cluster.get(Kind::DomainMapping, &namespace(&workspace), &host).await?.is_none());
    let (status, _) = world.runner()?.lookup(&host).await?;
    assert_eq!(status.as_u16(), 404, "nobody is told that the host is this install's");
    // Nor is it written again and again that it is not, as long as it takes to make another Ready.
    let version = workspace.installs().get("hello").await?.resource_version();
    hello(world, "bob", "kn-claimed-beside").await?;
    assert_eq!(workspace.installs().get("hello").await?.resource_version(), version);

    cluster.delete(Kind::ClusterDomainClaim, "", &host).await?;
    workspace.installed("hello").await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_made_by_hand_before_is_respected() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    // The namespace is there already, from another install.
    let (workspace, first) = hello(world, "alice", "kn-mapped").await?;
    let namespace = namespace(&workspace);
    annex_e2e::publish(world, "com.example.knmapped", &["1.0.0"]).await?;
    let host = first.replace("--hello.", "--knmapped.");
    let elsewhere = json!({ "spec": { "ref": { "apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "exec" } } });
    let made = cluster.create(Kind::DomainMapping, &namespace, &host, elsewhere).await?;
    workspace.install("mapped", "com.example.knmapped", json!({})).await?;
    workspace.refused("mapped", "DomainConflict").await?;
    let now = cluster.get(Kind::DomainMapping, &namespace, &host).await?.expect("the mapping");
    assert_eq!((now.uid(), &now.data["spec"]["ref"]["name"]), (made.uid(), &json!("exec")), "untouched");

    // Who goes leaves it there, too.
    workspace.installs().delete("mapped", &Default::default()).await?;
    workspace.gone("mapped").await?;
    let now = cluster.get(Kind::DomainMapping, &namespace, &host).await?.expect("the mapping");
    assert_eq!(now.uid(), made.uid());

    workspace.install("mapped", "com.example.knmapped", json!({})).await?;
    workspace.refused("mapped", "DomainConflict").await?;
    cluster.delete(Kind::DomainMapping, &namespace, &host).await?;
    workspace.installed("mapped").await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapping_made_by_hand_afterwards_gets_nothing() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let (workspace, host) = hello(world, "alice", "kn-after").await?;
    let body = json!({ "spec": { "ref": { "apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "nobody" } } });
    cluster.create(Kind::DomainMapping, "default", &host, body).await?;
    cluster
        .when(Kind::DomainMapping, "default", &host, "Knative refuses it", |object| {
            let conditions = object.data.pointer("/status/conditions").and_then(serde_json::Value::as_array);
            conditions
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == "DomainClaimed" && condition["status"] == "False")
        })
        .await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    workspace.installed("hello").await?;
    // Uninstalling removes what is Annex's, and that alone.
    workspace.installs().delete("hello", &Default::default()).await?;
    cluster.gone(Kind::DomainMapping, &namespace(&workspace), &host).await?;
    cluster.gone(Kind::Namespace, "", &namespace(&workspace)).await?;
    assert!(cluster.get(Kind::DomainMapping, "default", &host).await?.is_some());
    cluster.delete(Kind::DomainMapping, "default", &host).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_an_operator_made_for_us_is_used_and_left() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let workspace = world.user("alice").await?.tenant("kn-preclaimed").await?;
    let host = host_of(&workspace);
    let body = json!({ "spec": { "namespace": namespace(&workspace) } });
    let claim = cluster.create(Kind::ClusterDomainClaim, "", &host, body).await?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    workspace.installed("hello").await?;
    workspace.installs().delete("hello", &Default::default()).await?;
    cluster.gone(Kind::Namespace, "", &namespace(&workspace)).await?;
    let left = cluster.get(Kind::ClusterDomainClaim, "", &host).await?.expect("the operator's claim");
    assert_eq!(left.uid(), claim.uid());
    cluster.delete(Kind::ClusterDomainClaim, "", &host).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_of_somebody_else_is_not_taken() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let workspace = world.user("alice").await?.tenant("kn-foreign-namespace").await?;
    let namespace = namespace(&workspace);
    cluster.create(Kind::Namespace, "", &namespace, json!({})).await?;
    workspace.install("hello", "com.example.hello", json!({})).await?;
    workspace.refused("hello", "NamespaceConflict").await?;
    assert_eq!(cluster.made_for(Kind::Service, workspace.cluster.as_str()).await?.len(), 0);
    workspace.installs().delete("hello", &Default::default()).await?;
    workspace.gone("hello").await?;
    let left = cluster.get(Kind::Namespace, "", &namespace).await?.expect("the namespace");
    assert!(left.metadata.deletion_timestamp.is_none());
    cluster.delete(Kind::Namespace, "", &namespace).await?;
    Ok(())
}

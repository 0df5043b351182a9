//! Whatever is changed or deleted on the cluster comes back, without anybody asking.

use annex_apis::MANAGED_LABEL;
use annex_e2e::{Kind, condition, when};
use kube::ResourceExt as _;
use serde_json::json;

use crate::environment::{hello, namespace, shared, tenant_on};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_by_hand_comes_back() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let (workspace, host) = hello(world, "alice", "kn-deleted").await?;
    let namespace = namespace(&workspace);
    for (kind, within, name) in [
        (Kind::DomainMapping, namespace.as_str(), host.as_str()),
        (Kind::ClusterDomainClaim, "", host.as_str()),
        (Kind::Service, namespace.as_str(), "runner"),
        (Kind::Service, namespace.as_str(), "exec"),
        (Kind::NetworkPolicy, namespace.as_str(), "annex"),
        (Kind::ResourceQuota, namespace.as_str(), "annex"),
    ] {
        let uid = cluster.get(kind, within, name).await?.expect("it is there").uid();
        cluster.delete(kind, within, name).await?;
        cluster.when(kind, within, name, "is made again", |object| object.uid() != uid).await?;
        workspace.installed("hello").await?;
    }
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_comes_back_though_a_change_of_it_is_refused() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let (workspace, host) = hello(world, "alice", "kn-refused").await?;
    let namespace = namespace(&workspace);
    workspace.change("hello", json!({ "version": "=99.0.0" })).await?;
    workspace.refused("hello", "NoMatchingVersion").await?;
    for (kind, name) in [(Kind::DomainMapping, host.as_str()), (Kind::Service, "runner")] {
        let uid = cluster.get(kind, &namespace, name).await?.expect("it is there").uid();
        cluster.delete(kind, &namespace, name).await?;
        cluster.when(kind, &namespace, name, "is made again", |object| object.uid() != uid).await?;
    }
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    workspace.refused("hello", "NoMatchingVersion").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_deleted_by_hand_comes_back_with_everything() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let (workspace, host) = hello(world, "alice", "kn-namespace").await?;
    let namespace = namespace(&workspace);
    let uid = cluster.get(Kind::Namespace, "", &namespace).await?.expect("a namespace").uid();
    cluster.delete(Kind::Namespace, "", &namespace).await?;
    cluster.when(Kind::Namespace, "", &namespace, "is made again", |object| object.uid() != uid).await?;
    let ready = |install: &annex_apis::Install| {
        condition(install, "Ready").is_some_and(|ready| ready.status == "True")
    };
    when(&workspace.installs(), "hello", "Ready again", ready).await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_by_hand_is_changed_back() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let (workspace, host) = hello(world, "alice", "kn-changed").await?;
    let namespace = namespace(&workspace);

    cluster
        .patch(
            Kind::Namespace,
            "",
            &namespace,
            json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "privileged" } } }),
        )
        .await?;
    cluster
        .when(Kind::Namespace, "", &namespace, "is restricted again", |object| {
            object
                .labels()
                .get("pod-security.kubernetes.io/enforce")
                .is_some_and(|level| level == "restricted")
        })
        .await?;

    cluster.patch(Kind::NetworkPolicy, &namespace, "annex", json!({ "spec": { "ingress": [{}] } })).await?;
    cluster
        .when(Kind::NetworkPolicy, &namespace, "annex", "lets only the ingress in again", |object| {
            object.data.pointer("/spec/ingress/0/from").is_some()
        })
        .await?;

    cluster
        .patch(Kind::ResourceQuota, &namespace, "annex", json!({ "spec": { "hard": { "pods": "1000" } } }))
        .await?;
    cluster
        .when(Kind::ResourceQuota, &namespace, "annex", "is as small as before", |object| {
            object.data.pointer("/spec/hard/pods").is_some_and(|pods| pods == "20")
        })
        .await?;

    let other = json!({ "spec": { "ref": { "apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "exec" } } });
    cluster.patch(Kind::DomainMapping, &namespace, &host, other).await?;
    cluster
        .when(Kind::DomainMapping, &namespace, &host, "leads to the runner again", |object| {
            object.data.pointer("/spec/ref/name").is_some_and(|name| name == "runner")
        })
        .await?;

    // To a watch that selects by it, whatever loses its label is deleted; it is watched again nevertheless.
    let lost = json!({ "metadata": { "labels": { MANAGED_LABEL: null } } });
    cluster.patch(Kind::Service, &namespace, "exec", lost).await?;
    cluster
        .when(Kind::Service, &namespace, "exec", "has its label again", |object| {
            object.labels().get(MANAGED_LABEL).is_some_and(|value| value == "true")
        })
        .await?;

    let visible = json!({ "metadata": { "labels": { "networking.knative.dev/visibility": null } } });
    cluster.patch(Kind::Service, &namespace, "exec", visible).await?;
    cluster
        .when(Kind::Service, &namespace, "exec", "has no address outside again", |object| {
            object
                .labels()
                .get("networking.knative.dev/visibility")
                .is_some_and(|value| value == "cluster-local")
        })
        .await?;
    workspace.installed("hello").await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    Ok(())
}

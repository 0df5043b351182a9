//! A Knative whose DomainMappings have come to be v1. The release that the tests run serves v1beta1 alone, so its own kind is made to
//! serve the same under v1 too, which is what such a step is to a client.

use annex_e2e::{Cluster, Kind, until};
use kube::{ResourceExt as _, core::DynamicObject};
use serde_json::{Value, json};

use crate::environment::{alone, hello, is_ready, namespace, tenant_on};

const KIND: &str = "domainmappings.serving.knative.dev";

/// Whether Annex has written the object under this version of its kind.
fn written_as(object: &DynamicObject, version: &str) -> bool {
    let version = format!("serving.knative.dev/{version}");
    object.managed_fields().iter().any(|write| {
        write.manager.as_deref() == Some("annex-controller") && write.api_version.as_deref() == Some(&version)
    })
}

async fn serve(cluster: &Cluster, versions: &[Value]) -> anyhow::Result<()> {
    cluster.patch(Kind::CustomResourceDefinition, "", KIND, json!({ "spec": { "versions": versions } })).await
}

/// Returns once a mapping that is deleted is made again under `version`.
async fn made_as(cluster: &Cluster, namespace: &str, host: &str, version: &str) -> anyhow::Result<()> {
    until(&format!("the mapping is made as {version}"), || async {
        let uid = cluster.get(Kind::DomainMapping, namespace, host).await?.and_then(|mapping| mapping.uid());
        cluster.delete(Kind::DomainMapping, namespace, host).await?;
        let made = cluster
            .when(Kind::DomainMapping, namespace, host, "is made again", |object| object.uid() != uid)
            .await?;
        Ok(written_as(&made, version).then_some(()))
    })
    .await?;
    cluster.when(Kind::DomainMapping, namespace, host, "is ready", is_ready).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mappings_are_of_version_one_where_it_is_served_and_as_before_where_it_is_no_more()
-> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let (workspace, host) = hello(world, "alice", "kn-versions").await?;
    let kind = cluster.get(Kind::CustomResourceDefinition, "", KIND).await?.expect("the kind");
    let served = kind.data["spec"]["versions"].as_array().expect("versions").clone();
    let [beta] = served.as_slice() else {
        panic!("more than one version: what is this test for? {served:?}")
    };
    let mut one = beta.clone();
    (one["name"], one["storage"]) = (json!("v1"), json!(false));

    serve(&cluster, &[beta.clone(), one]).await?;
    let of_one = async {
        made_as(&cluster, &namespace(&workspace), &host, "v1").await?;
        let (newcomer, new_host) = hello(world, "alice", "kn-versions-one").await?;
        let mapping =
            cluster.get(Kind::DomainMapping, &namespace(&newcomer), &new_host).await?.expect("a mapping");
        assert!(
            written_as(&mapping, "v1") && !written_as(&mapping, "v1beta1"),
            "{:?}",
            mapping.managed_fields()
        );
        assert_eq!(tenant_on(world, &new_host).await?, newcomer.cluster.to_string());
        assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
        newcomer.installs().delete("hello", &Default::default()).await?;
        cluster.gone(Kind::DomainMapping, &namespace(&newcomer), &new_host).await?;
        cluster.gone(Kind::Namespace, "", &namespace(&newcomer)).await
    }
    .await;
    // Whatever came of it, the tests that follow find Knative as they know it.
    serve(&cluster, &served).await?;
    of_one?;
    made_as(&cluster, &namespace(&workspace), &host, "v1beta1").await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    Ok(())
}

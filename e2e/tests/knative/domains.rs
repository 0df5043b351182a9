//! Each workspace's installs run on the cluster and answer through its ingress.

use annex_e2e::{Kind, condition, publish};
use serde_json::json;
use xtask::Part;

use crate::environment::{alone, hello, is_ready, namespace, shared, tenant_on};

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_answer_through_envoy_on_their_own_domains() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let (acme, acme_host) = hello(world, "alice", "kn-acme").await?;
    let (globex, globex_host) = hello(world, "bob", "kn-globex").await?;
    assert_ne!(acme_host, globex_host);
    assert_eq!(tenant_on(world, &acme_host).await?, acme.cluster.to_string());
    assert_eq!(tenant_on(world, &globex_host).await?, globex.cluster.to_string());

    for (workspace, host) in [(&acme, &acme_host), (&globex, &globex_host)] {
        let namespace = namespace(workspace);
        let runner = workspace.installs().get("hello").await?.status.expect("a status").runner_ref;
        let runner = runner.expect("a runner");
        assert_eq!(
            (runner.mode.as_str(), runner.namespace.as_deref()),
            ("knative", Some(namespace.as_str()))
        );
        for service in ["runner", "exec"] {
            let service = cluster.get(Kind::Service, &namespace, service).await?.expect("a Knative Service");
            assert!(is_ready(&service), "Ready is said only when Knative says it");
        }
        let mapping = cluster.get(Kind::DomainMapping, &namespace, host).await?.expect("a mapping");
        assert!(is_ready(&mapping));
        let claim = cluster.get(Kind::ClusterDomainClaim, "", host).await?.expect("a claim");
        assert_eq!(claim.data["spec"]["namespace"], json!(namespace));
        for (kind, name) in [(Kind::ResourceQuota, "annex"), (Kind::NetworkPolicy, "annex")] {
            assert!(cluster.get(kind, &namespace, name).await?.is_some(), "{kind:?}");
        }
    }
    // What executes answers on no domain, and the Knative Services have no address outside.
    let (status, _) = world.runner()?.get(&format!("exec.{}.svc.cluster.local", namespace(&acme))).await?;
    assert_eq!(status.as_u16(), 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_install_shares_the_runner_and_the_last_one_takes_it_along() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    publish(world, "com.example.knmore", &["1.0.0"]).await?;
    let (workspace, first) = hello(world, "alice", "kn-two").await?;
    workspace.install("more", "com.example.knmore", json!({})).await?;
    let second = workspace.installed("more").await?.status.expect("a status").host.expect("a host");
    assert_eq!(tenant_on(world, &second).await?, workspace.cluster.to_string());
    let services = cluster.made_for(Kind::Service, workspace.cluster.as_str()).await?;
    assert_eq!(services.keys().collect::<Vec<_>>(), ["exec", "runner"], "one pair for both");

    workspace.installs().delete("hello", &Default::default()).await?;
    cluster.gone(Kind::DomainMapping, &namespace(&workspace), &first).await?;
    cluster.gone(Kind::ClusterDomainClaim, "", &first).await?;
    assert_eq!(tenant_on(world, &second).await?, workspace.cluster.to_string(), "the other goes on");
    workspace.installs().delete("more", &Default::default()).await?;
    cluster.gone(Kind::Namespace, "", &namespace(&workspace)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_slug_moves_the_domain_and_leaves_nothing_behind() -> anyhow::Result<()> {
    let (world, cluster, _turn) = shared().await?;
    let (workspace, before) = hello(world, "alice", "kn-moves").await?;
    let tenants: kube::Api<annex_apis::Tenant> = kube::Api::all(world.admin().await?.at("root:annex")?);
    let patch = kube::api::Patch::Merge(json!({ "spec": { "slug": "kn-moved" } }));
    tenants.patch(workspace.cluster.as_str(), &kube::api::PatchParams::default(), &patch).await?;
    cluster.gone(Kind::DomainMapping, &namespace(&workspace), &before).await?;
    cluster.gone(Kind::ClusterDomainClaim, "", &before).await?;
    let after = workspace.installed("hello").await?.status.expect("a status").host.expect("a host");
    assert!(after.starts_with("kn-moved--"), "{after}");
    assert_eq!(tenant_on(world, &after).await?, workspace.cluster.to_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_controller_writes_nothing_and_knows_everything() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let (workspace, host) = hello(world, "alice", "kn-restart").await?;
    let before = workspace.installs().get("hello").await?;
    let mapping = cluster.get(Kind::DomainMapping, &namespace(&workspace), &host).await?.expect("a mapping");
    tokio::task::block_in_place(|| {
        world.stack.kill(Part::Controller)?;
        world.stack.start(Part::Controller)
    })?;
    // Something that comes after the restart has been worked on; what was there before has been, too.
    let (_, _) = hello(world, "alice", "kn-restart-after").await?;
    let after = workspace.installs().get("hello").await?;
    assert_eq!(before.metadata.resource_version, after.metadata.resource_version, "no status was written");
    assert_eq!(condition(&after, "Ready").expect("Ready").status, "True");
    let again = cluster.get(Kind::DomainMapping, &namespace(&workspace), &host).await?.expect("a mapping");
    assert_eq!(again.metadata.generation, mapping.metadata.generation);
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    Ok(())
}

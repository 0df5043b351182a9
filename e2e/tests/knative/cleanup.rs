//! Who goes leaves nothing.

use annex_apis::Install;
use annex_e2e::{Kind, condition, until, when};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use xtask::Part;

use crate::environment::{alone, hello, namespace, tenant_on};

#[tokio::test(flavor = "multi_thread")]
async fn uninstalling_everything_leaves_the_cluster_as_it_was() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let before = until("nothing of earlier tests is still going", || async {
        let namespaces = cluster.api(Kind::Namespace, "").list(&ListParams::default()).await?;
        let going = namespaces.iter().any(|namespace| namespace.metadata.deletion_timestamp.is_some());
        Ok(if going { None } else { Some(cluster.everything().await?) })
    })
    .await?;
    // A comparison that sees no difference would show nothing.
    let note = |text: &'static str| json!({ "metadata": { "annotations": { "example.com/note": text } } });
    cluster.patch(Kind::ConfigMap, "kube-system", "coredns", note("changed")).await?;
    let seen = cluster.everything().await?.since(&before);
    assert_eq!(seen, ["changed: ConfigMap kube-system/coredns, in metadata.annotations"]);
    let unnoted = json!({ "metadata": { "annotations": { "example.com/note": null } } });
    cluster.patch(Kind::ConfigMap, "kube-system", "coredns", unnoted).await?;
    assert_eq!(cluster.everything().await?.since(&before), Vec::<String>::new(), "it is as it was");

    let mut workspaces = Vec::new();
    for name in ["kn-leaves-a", "kn-leaves-b"] {
        workspaces.push(hello(world, "alice", name).await?);
    }
    let during = cluster.everything().await?.since(&before);
    let made = during.iter().filter(|difference| difference.starts_with("made: ")).count();
    assert!(made > 8, "there was something to remove: {during:#?}");
    // One is uninstalled, the other's workspace is deleted as it is: its Secrets go first.
    workspaces[0].0.installs().delete("hello", &DeleteParams::default()).await?;
    world.user("alice").await?.remove("kn-leaves-b").await?;
    let left = || async { anyhow::Ok(cluster.everything().await?.since(&before)) };
    let outcome = until("it is as it was", || async { Ok(left().await?.is_empty().then_some(())) }).await;
    assert!(outcome.is_ok(), "the cluster is another than before: {:#?}", left().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_while_the_controller_is_down_goes_when_it_is_back() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let (workspace, host) = hello(world, "alice", "kn-down").await?;
    tokio::task::block_in_place(|| world.stack.kill(Part::Controller))?;
    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    assert!(cluster.get(Kind::DomainMapping, &namespace(&workspace), &host).await?.is_some());
    tokio::task::block_in_place(|| world.stack.start(Part::Controller))?;
    cluster.gone(Kind::DomainMapping, &namespace(&workspace), &host).await?;
    cluster.gone(Kind::ClusterDomainClaim, "", &host).await?;
    cluster.gone(Kind::Namespace, "", &namespace(&workspace)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_the_finalizer_away_leaves_nothing_either() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let (workspace, host) = hello(world, "alice", "kn-forced").await?;
    let (down, down_host) = hello(world, "alice", "kn-forced-down").await?;
    let force = |workspace: &annex_e2e::Workspace| {
        let installs = workspace.installs();
        async move {
            let none = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
            installs.patch("hello", &PatchParams::default(), &none).await?;
            installs.delete("hello", &DeleteParams::default()).await?;
            anyhow::Ok(())
        }
    };
    // The controller may put its finalizer back in between; then it is an ordinary uninstall, and must end the same.
    force(&workspace).await?;
    cluster.gone(Kind::DomainMapping, &namespace(&workspace), &host).await?;
    cluster.gone(Kind::ClusterDomainClaim, "", &host).await?;
    cluster.gone(Kind::Namespace, "", &namespace(&workspace)).await?;

    tokio::task::block_in_place(|| world.stack.kill(Part::Controller))?;
    force(&down).await?;
    assert!(down.installs().get_opt("hello").await?.is_none(), "nobody held it");
    tokio::task::block_in_place(|| world.stack.start(Part::Controller))?;
    cluster.gone(Kind::DomainMapping, &namespace(&down), &down_host).await?;
    cluster.gone(Kind::ClusterDomainClaim, "", &down_host).await?;
    cluster.gone(Kind::Namespace, "", &namespace(&down)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_does_not_go_holds_up_no_uninstall_and_tells_the_next_install() -> anyhow::Result<()>
{
    let (world, cluster, _turn) = crate::environment::shared().await?;
    let (workspace, host) = hello(world, "alice", "kn-stuck").await?;
    let namespace = namespace(&workspace);
    let held = json!({ "metadata": { "finalizers": ["example.com/never"] } });
    cluster.create(Kind::ConfigMap, &namespace, "held", held).await?;
    workspace.installs().delete("hello", &DeleteParams::default()).await?;
    workspace.gone("hello").await?;
    let stuck = cluster.get(Kind::Namespace, "", &namespace).await?.expect("it cannot go");
    assert!(stuck.metadata.deletion_timestamp.is_some());

    workspace.install("hello", "com.example.hello", json!({})).await?;
    let refused = workspace.refused("hello", "NamespaceTerminating").await?;
    assert!(condition(&refused, "RunnerReady").expect("RunnerReady").message.contains(&namespace));
    cluster.patch(Kind::ConfigMap, &namespace, "held", json!({ "metadata": { "finalizers": null } })).await?;
    cluster
        .when(Kind::Namespace, "", &namespace, "is a new one", |object| object.uid() != stuck.uid())
        .await?;
    let ready = |install: &Install| condition(install, "Ready").is_some_and(|ready| ready.status == "True");
    when(&workspace.installs(), "hello", "Ready", ready).await?;
    assert_eq!(tenant_on(world, &host).await?, workspace.cluster.to_string());
    Ok(())
}

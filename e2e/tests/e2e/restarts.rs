//! Things that end in the middle. These tests have the environment alone.

use std::collections::BTreeSet;

use annex_apis::Tenant;
use annex_e2e::condition;
use futures::future::try_join_all;
use k8s_openapi::api::events::v1::Event;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::json;
use tokio::task::block_in_place;
use xtask::Part;

use crate::environment::{alone, publish};

#[tokio::test(flavor = "multi_thread")]
async fn kcp_and_the_controller_are_killed_in_the_middle_of_twenty_installs() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let names: Vec<String> = (0..5).map(|number| format!("com.example.kill{number}")).collect();
    for name in &names {
        publish(world, name, &["1.0.0"]).await?;
    }
    let alice = world.user("alice").await?;
    let workspaces = try_join_all((0..4).map(|number| {
        let alice = alice.clone();
        async move { alice.tenant(&format!("acme-kill-{number}")).await }
    }))
    .await?;
    let pairs = || workspaces.iter().flat_map(|workspace| names.iter().map(move |name| (workspace, name)));
    try_join_all(pairs().map(|(workspace, name)| workspace.install(name, name, json!({})))).await?;
    block_in_place(|| {
        world.stack.kill(Part::Controller)?;
        world.stack.kill(Part::Kcp)?;
        world.stack.start(Part::Kcp)?;
        world.stack.start(Part::Controller)
    })?;
    // The initializer was not restarted: it has to find kcp again by itself.
    let later = alice.tenant("acme-after-kill").await?;
    later.install("x", &names[0], json!({})).await?;
    later.installed("x").await?;

    let runner = world.runner()?;
    let mut hosts = BTreeSet::new();
    for (workspace, name) in pairs() {
        let install = workspace.installed(name).await?;
        assert_eq!(install.finalizers().len(), 1);
        let host = install.status.expect("a status").host.expect("a host");
        let (code, identity) = runner.get(&host).await?;
        assert_eq!((code.as_u16(), identity["tenant_id"].as_str()), (200, Some(workspace.cluster.as_str())));
        assert!(hosts.insert(host), "no host is given twice");
    }
    assert_eq!(hosts.len(), 20);
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let known: BTreeSet<_> =
        tenants.list(&ListParams::default()).await?.items.iter().map(ResourceExt::name_any).collect();
    for workspace in &workspaces {
        assert!(known.contains(workspace.cluster.as_str()));
        let installs = workspace.installs().list(&ListParams::default()).await?;
        assert_eq!(installs.items.len(), names.len());
        // Told once: a restart does not repeat what was said before it.
        let events: Api<Event> = Api::namespaced(workspace.client.clone(), "default");
        for install in &installs {
            let ready = events.list(&ListParams::default()).await?.items.into_iter().filter(|event| {
                event.reason.as_deref() == Some("Ready")
                    && event.regarding.as_ref().and_then(|object| object.uid.clone()) == install.uid()
            });
            assert!(ready.count() <= 1, "{}", install.name_any());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_initializer_is_killed_in_the_middle_of_ten_workspaces() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let alice = world.user("alice").await?;
    let names: Vec<String> = (0..10).map(|number| format!("acme-initializes-{number}")).collect();
    try_join_all(names.iter().map(|name| alice.order(name, "root:annex", "annex-tenant"))).await?;
    block_in_place(|| {
        world.stack.kill(Part::Initializer)?;
        world.stack.start(Part::Initializer)
    })?;
    for name in &names {
        alice.ready(name).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_controller_changes_nothing_and_no_host_is_unknown_meanwhile() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let workspace = world.user("alice").await?.tenant("acme-restart").await?;
    workspace.install("x", "com.example.hello", json!({})).await?;
    let before = workspace.installed("x").await?;
    let host = before.status.as_ref().and_then(|status| status.host.clone()).expect("a host");
    block_in_place(|| world.stack.stop(Part::Controller))?;
    block_in_place(|| world.stack.start(Part::Controller))?;
    // start returns with the first /readyz of 200: from then on a known host is known.
    assert_eq!(world.runner()?.lookup(&host).await?.0, 200);
    let other = world.user("alice").await?.tenant("acme-restart-next").await?;
    other.install("x", "com.example.hello", json!({})).await?;
    other.installed("x").await?;
    assert_eq!(workspace.installs().get("x").await?.resource_version(), before.resource_version());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_down_is_said_and_heals() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let workspace = world.user("alice").await?.tenant("acme-runner").await?;
    workspace.install("before", "com.example.hello", json!({})).await?;
    workspace.installed("before").await?;
    publish(world, "com.example.down", &["1.0.0"]).await?;
    block_in_place(|| world.stack.kill(Part::Runner))?;
    workspace.install("during", "com.example.down", json!({})).await?;
    let refused = workspace.refused("during", "RunnerUnreachable").await?;
    assert_eq!(condition(&refused, "DomainReady").expect("DomainReady").reason, "DomainHeld");
    // What was Ready is so no longer.
    workspace.refused("before", "RunnerUnreachable").await?;
    block_in_place(|| world.stack.start(Part::Runner))?;
    workspace.installed("during").await?;
    workspace.installed("before").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_deleted_while_the_controller_is_down_leaves_nothing() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let alice = world.user("alice").await?;
    let workspace = alice.tenant("acme-deleted-meanwhile").await?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    annex_e2e::when(&tenants, workspace.cluster.as_str(), "the Tenant is there", |_| true).await?;
    block_in_place(|| world.stack.stop(Part::Controller))?;
    alice.delete("acme-deleted-meanwhile").await?;
    let workspaces: Api<kube_kcp::kinds::Workspace> = Api::all(alice.at("root")?);
    let deleted =
        || async { Ok(workspaces.get_opt("acme-deleted-meanwhile").await?.is_none().then_some(())) };
    annex_e2e::until("the workspace is gone", deleted).await?;
    block_in_place(|| world.stack.start(Part::Controller))?;
    let gone = || async { Ok(tenants.get_opt(workspace.cluster.as_str()).await?.is_none().then_some(())) };
    annex_e2e::until("the Tenant is gone", gone).await
}

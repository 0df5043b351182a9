//! Things that end in the middle. These tests have the environment alone.

use std::{collections::BTreeSet, process::Command};

use annex_apis::{Install, Tenant};
use annex_e2e::{condition, until, when};
use anyhow::Context as _;
use futures::future::{select_ok, try_join_all};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::json;
use tokio::task::block_in_place;
use xtask::Part;

use crate::{
    environment::{alone, publish},
    events::{about, lasting, told},
};

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
    let restarted = block_in_place(|| {
        world.stack.kill(Part::Controller)?;
        world.stack.kill(Part::Kcp)?;
        world.stack.start(Part::Kcp)?;
        let restarted = Timestamp::now();
        world.stack.start(Part::Controller)?;
        anyhow::Ok(restarted)
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
        for install in &installs {
            let ready = condition(install, "Ready").expect("Ready").last_transition_time.0;
            if ready > restarted {
                assert_eq!(told(workspace, install, "Ready").await?.len(), 1, "{}", install.name_any());
            } else {
                // A restart does not repeat what was said before it. The kill may have come before it was said.
                let events = about(workspace, install).await?;
                let ready = events.iter().filter(|event| event.reason.as_deref() == Some("Ready"));
                assert!(ready.count() <= 1, "{}", install.name_any());
            }
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
    assert_eq!(told(&workspace, &before, "Ready").await?.len(), 1);
    let events = about(&workspace, &before).await?;
    block_in_place(|| world.stack.stop(Part::Controller))?;
    block_in_place(|| world.stack.start(Part::Controller))?;
    // start returns with the first /readyz of 200: from then on a known host is known.
    assert_eq!(world.runner()?.lookup(&host).await?.0, 200);
    let other = world.user("alice").await?.tenant("acme-restart-next").await?;
    other.install("x", "com.example.hello", json!({})).await?;
    other.installed("x").await?;
    assert_eq!(workspace.installs().get("x").await?.resource_version(), before.resource_version());
    assert_eq!(about(&workspace, &before).await?, events, "nor is it told again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_is_asked_to_stop_in_the_middle_of_five_installs_ends_by_itself()
-> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let names: Vec<String> = (0..5).map(|number| format!("com.example.stop{number}")).collect();
    for name in &names {
        publish(world, name, &["1.0.0"]).await?;
    }
    let workspace = world.user("alice").await?.tenant("acme-stop").await?;
    let pid = block_in_place(|| world.stack.pid(Part::Controller))?.context("the controller runs")?;
    let log = world.stack.paths().log(Part::Controller);
    let before = std::fs::metadata(&log)?.len();
    let installs = workspace.installs();
    let held = |install: &Install| !install.finalizers().is_empty();
    tokio::try_join!(
        try_join_all(names.iter().map(|name| workspace.install(name, name, json!({})))),
        select_ok(names.iter().map(|name| Box::pin(when(
            &installs,
            name,
            "the controller is at work on it",
            held
        )))),
    )?;

    // Not by Stack::stop, which would kill it in the end.
    let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status()?;
    assert!(status.success());
    let ended = until("the controller has ended", || async {
        Ok(world.stack.pid(Part::Controller)?.is_none().then_some(()))
    })
    .await;
    // Whatever came of it, the other tests need the environment as it was.
    let said = std::fs::read(&log)?;
    block_in_place(|| {
        world.stack.stop(Part::Controller)?;
        world.stack.start(Part::Controller)
    })?;
    ended?;
    let said = String::from_utf8_lossy(said.get(usize::try_from(before)?..).unwrap_or_default()).into_owned();
    assert!(said.contains("asked to stop; finishing what is at work"), "{said}");

    for name in &names {
        let install = workspace.installed(name).await?;
        // What was at work was finished, the Event included; and that the controller stopped is no fault of the Install.
        told(&workspace, &install, "Ready").await?;
        let events = lasting(&workspace, &install).await?;
        let reasons: Vec<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
        assert_eq!(reasons, ["Ready"], "{name}: {events:#?}");
        let host = install.status.expect("a status").host.expect("a host");
        assert_eq!(world.runner()?.get(&host).await?.1["extension_id"], name.as_str());
    }
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
    when(&tenants, workspace.cluster.as_str(), "the Tenant is there", |_| true).await?;
    block_in_place(|| world.stack.stop(Part::Controller))?;
    alice.remove("acme-deleted-meanwhile").await?;
    block_in_place(|| world.stack.start(Part::Controller))?;
    let gone = || async { Ok(tenants.get_opt(workspace.cluster.as_str()).await?.is_none().then_some(())) };
    until("the Tenant is gone", gone).await
}

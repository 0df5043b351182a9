//! Extensions that need each other.

use annex_apis::Install;
use annex_e2e::{Workspace, World, condition, publish_version, until, when};
use anyhow::Context as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

use crate::environment::{publish, shared};

/// An extension without code, in one version that needs these others.
async fn published(world: &World, name: &str, version: &str, needs: &[(&str, &str)]) -> anyhow::Result<()> {
    let needs: Vec<Value> = needs
        .iter()
        .map(|(extension, version)| json!({ "extension": extension, "version": version }))
        .collect();
    publish_version(world, name, version, json!({ "dependencies": needs })).await
}

fn message(install: &Install) -> &str {
    condition(install, "Ready").map(|ready| ready.message.as_str()).unwrap_or_default()
}

async fn without(workspace: &Workspace, names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        workspace.installs().delete(name, &DeleteParams::default()).await?;
    }
    until("they are gone", || async {
        Ok(workspace.installs().list(&Default::default()).await?.items.is_empty().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_that_need_each_other_are_applied_at_once_and_all_come() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let name = |number: usize| format!("com.example.chain{number}");
    // Each needs the next one and the last; the last needs nobody.
    for number in 0..10 {
        publish(world, &name(number), &[]).await?;
        let (next, last) = (name(number + 1), name(9));
        let needs: &[(&str, &str)] = match number {
            9 => &[],
            8 => &[(&last, "^1")],
            _ => &[(&next, "^1"), (&last, ">=1.0, <2")],
        };
        published(world, &name(number), "1.0.0", needs).await?;
    }
    let workspace = world.user("alice").await?.tenant("acme-chain").await?;
    let items: Vec<Value> = (0..10)
        .map(|number| {
            json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
                "metadata": { "name": format!("chain{number}"), "namespace": "default" }, "spec": { "extension": name(number) } })
        })
        .collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
    let server = format!("{}/clusters/{}", world.stack.ops_url(Part::Kcp), workspace.path);
    block_in_place(|| {
        world.stack.user("alice").run_with_input(&["--server", &server, "apply", "-f", "-"], &list)
    })?;
    for number in 0..10 {
        workspace.installed(&format!("chain{number}")).await?;
    }
    let last = when(&workspace.installs(), "chain9", "all that need it are named", |install| {
        install.status.as_ref().is_some_and(|status| status.dependents.len() == 9)
    })
    .await?;
    assert_eq!(last.status.context("a status")?.dependents[0], "chain0");
    let first = workspace.installs().get("chain0").await?.status.context("a status")?;
    let needs: Vec<_> =
        first.dependencies.iter().map(|need| (need.extension.as_str(), need.satisfied)).collect();
    assert_eq!(needs, [(name(1).as_str(), true), (name(9).as_str(), true)]);

    // Whoever is needed goes last, whatever the order in which they are deleted.
    let all: Vec<String> = (0..10).rev().map(|number| format!("chain{number}")).collect();
    without(&workspace, &all.iter().map(String::as_str).collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_needed_stays_and_answers_until_nobody_needs_it() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    publish(world, "com.example.base", &["1.0.0", "2.0.0"]).await?;
    publish(world, "com.example.above", &[]).await?;
    published(world, "com.example.above", "1.0.0", &[("com.example.base", "^1")]).await?;
    let workspace = world.user("alice").await?.tenant("acme-needed").await?;

    // What is missing is named, and comes.
    workspace.install("above", "com.example.above", json!({})).await?;
    let install = workspace.refused("above", "DependencyMissing").await?;
    assert!(message(&install).contains("com.example.base ^1"), "{}", message(&install));
    assert_eq!(
        condition(&install, "Resolved").map(|resolved| resolved.reason.as_str()),
        Some("DependencyMissing")
    );
    workspace.install("base", "com.example.base", json!({ "version": "=2.0.0" })).await?;
    workspace.installed("base").await?;
    workspace.refused("above", "DependencyMissing").await?;
    workspace.change("base", json!({ "version": "=1.0.0" })).await?;
    workspace.installed("base").await?;
    workspace.installed("above").await?;

    // An upgrade that would break it is refused, and what is there goes on.
    workspace.change("base", json!({ "version": "=2.0.0" })).await?;
    let base = workspace.refused("base", "BreaksDependents").await?;
    assert!(message(&base).contains("com.example.above needs com.example.base ^1"), "{}", message(&base));
    assert_eq!(base.status.context("a status")?.installed_version.as_deref(), Some("1.0.0"));
    workspace.change("base", json!({ "version": "=1.0.0" })).await?;
    workspace.installed("base").await?;

    let runner = world.runner()?;
    let host = workspace.installed("base").await?.status.context("a status")?.host.context("a host")?;
    workspace.installs().delete("base", &DeleteParams::default()).await?;
    let base = workspace.refused("base", "HasDependents").await?;
    assert!(message(&base).contains("above"), "{}", message(&base));
    assert_eq!(runner.lookup(&host).await?.0, 200, "it goes on answering");
    workspace.installs().delete("above", &DeleteParams::default()).await?;
    until("both are gone", || async {
        Ok(workspace.installs().list(&Default::default()).await?.items.is_empty().then_some(()))
    })
    .await?;
    until("nobody is there any more", || async { Ok((runner.lookup(&host).await?.0 == 404).then_some(())) })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_insists_takes_away_what_is_needed_and_what_needed_it_says_so() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    publish(world, "com.example.ground", &["1.0.0"]).await?;
    publish(world, "com.example.house", &[]).await?;
    published(world, "com.example.house", "1.0.0", &[("com.example.ground", "*")]).await?;
    let workspace = world.user("alice").await?.tenant("acme-ground").await?;
    workspace.install("ground", "com.example.ground", json!({})).await?;
    workspace.install("house", "com.example.house", json!({})).await?;
    workspace.installed("house").await?;
    workspace.installs().delete("ground", &DeleteParams::default()).await?;
    workspace.refused("ground", "HasDependents").await?;
    let abandon = json!({ "metadata": { "annotations": { "annex.sh/abandon": "dependents" } } });
    workspace.installs().patch("ground", &PatchParams::default(), &Patch::Merge(abandon)).await?;
    let house = workspace.refused("house", "DependencyMissing").await?;
    assert!(message(&house).contains("version 1.0.0 goes on"), "{}", message(&house));
    workspace.install("again", "com.example.ground", json!({})).await?;
    workspace.installed("house").await?;

    // By force, without a word to anybody.
    until("it is gone though the controller holds it", || async {
        let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        let freed = workspace.installs().patch("again", &PatchParams::default(), &free).await.err();
        workspace.installs().delete("again", &DeleteParams::default()).await.ok();
        let is_gone = workspace.installs().get_opt("again").await?.is_none();
        Ok((is_gone || freed.is_some()).then_some(()))
    })
    .await?;
    workspace.refused("house", "DependencyMissing").await?;
    workspace.install("again", "com.example.ground", json!({})).await?;
    workspace.installed("house").await?;
    without(&workspace, &["again", "house"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_needed_is_installed_along_and_a_circle_is_named() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    for (name, needs) in [
        ("com.example.top", &[("com.example.middle", "^1")][..]),
        ("com.example.middle", &[("com.example.bottom", "~1.0")]),
        ("com.example.bottom", &[]),
        ("com.example.hen", &[("com.example.egg", "*")]),
        ("com.example.egg", &[("com.example.hen", "*")]),
    ] {
        publish(world, name, &[]).await?;
        published(world, name, "1.0.0", needs).await?;
    }
    let workspace = world.user("alice").await?.tenant("acme-along").await?;
    workspace.install("top", "com.example.top", json!({ "dependencies": "Auto" })).await?;
    workspace.installed("top").await?;
    let bottom = workspace.installed("com.example.bottom").await?;
    assert_eq!(bottom.spec.version, "~1.0");
    assert_eq!(bottom.metadata.annotations.context("annotations")?["annex.sh/installed-for"], "top");
    workspace.installed("com.example.middle").await?;

    workspace.install("hen", "com.example.hen", json!({})).await?;
    workspace.install("egg", "com.example.egg", json!({})).await?;
    for name in ["hen", "egg"] {
        let install = workspace.refused(name, "DependencyCycle").await?;
        let named = message(&install);
        assert!(
            named.contains("com.example.egg") && named.contains(" → ") && named.contains("com.example.hen"),
            "{named}"
        );
    }
    without(&workspace, &["hen", "egg", "com.example.bottom", "com.example.middle", "top"]).await
}

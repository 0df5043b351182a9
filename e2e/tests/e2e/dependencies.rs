//! Extensions that need each other.

use annex_apis::{ExtensionVersion, Install, Tenant};
use annex_e2e::{Workspace, World, condition, publish_version, until, when};
use anyhow::Context as _;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
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

pub(crate) fn message(install: &Install) -> &str {
    condition(install, "Ready").map(|ready| ready.message.as_str()).unwrap_or_default()
}

pub(crate) async fn without(workspace: &Workspace, names: &[&str]) -> anyhow::Result<()> {
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
    // In no order: who is needed comes before and after who needs it.
    let items: Vec<Value> = (0..10)
        .map(|number| (number * 7 + 3) % 10)
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
async fn an_interface_is_met_by_whoever_provides_it() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let provides = |version: &str| json!({ "provides": [{ "interface": "users", "version": version }] });
    publish(world, "com.example.users", &[]).await?;
    publish_version(world, "com.example.users", "1.0.0", provides("15.1.0")).await?;
    publish_version(world, "com.example.users", "2.0.0", provides("16.0.0")).await?;
    publish(world, "com.example.loans", &[]).await?;
    let requires = json!({ "requires": [
        { "interface": "users", "version": "^16" }, { "interface": "mail", "version": "^1", "optional": true },
    ] });
    publish_version(world, "com.example.loans", "1.0.0", requires).await?;
    let workspace = world.user("alice").await?.tenant("acme-interface").await?;

    workspace.install("users", "com.example.users", json!({ "version": "=1.0.0" })).await?;
    workspace.installed("users").await?;
    workspace.install("loans", "com.example.loans", json!({})).await?;
    let loans = workspace.refused("loans", "DependencyMissing").await?;
    assert!(message(&loans).contains("interface users ^16"), "{}", message(&loans));
    assert!(!message(&loans).contains("mail"), "who is optional is not missed: {}", message(&loans));
    workspace.change("users", json!({ "version": "=2.0.0" })).await?;
    workspace.installed("users").await?;
    let loans = workspace.installed("loans").await?.status.context("a status")?;
    let met: Vec<_> =
        loans.dependencies.iter().map(|need| (need.extension.as_str(), need.satisfied)).collect();
    assert!(met.contains(&("interface users", true)), "{met:?}");

    // Whoever provides it is needed.
    workspace.change("users", json!({ "version": "=1.0.0" })).await?;
    let users = workspace.refused("users", "BreaksDependents").await?;
    assert!(message(&users).contains("com.example.loans"), "{}", message(&users));
    workspace.installs().delete("users", &DeleteParams::default()).await?;
    let users = workspace.refused("users", "HasDependents").await?;
    assert_eq!(users.status.context("a status")?.dependents, ["loans"]);
    without(&workspace, &["loans"]).await
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

/// They came one after the other, and an upgrade closed the circle.
#[tokio::test(flavor = "multi_thread")]
async fn who_need_each_other_go_together_and_not_alone() -> anyhow::Result<()> {
    const PAIR: [&str; 2] = ["com.example.ring-one", "com.example.ring-two"];
    let (world, _turn) = shared().await;
    for name in PAIR {
        publish(world, name, &[]).await?;
    }
    published(world, PAIR[0], "1.0.0", &[]).await?;
    published(world, PAIR[0], "1.1.0", &[(PAIR[1], "^1")]).await?;
    published(world, PAIR[1], "1.0.0", &[(PAIR[0], "^1")]).await?;
    let workspace = world.user("alice").await?.tenant("acme-ring").await?;
    workspace.install("one", PAIR[0], json!({ "version": "=1.0.0" })).await?;
    workspace.installed("one").await?;
    workspace.install("two", PAIR[1], json!({})).await?;
    workspace.installed("two").await?;
    workspace.change("one", json!({ "version": "=1.1.0" })).await?;
    workspace.installed("one").await?;

    workspace.installs().delete("two", &DeleteParams::default()).await?;
    let held = workspace.refused("two", "HasDependents").await?;
    assert!(message(&held).contains("one"), "{}", message(&held));
    assert_eq!(workspace.installed("one").await?.metadata.deletion_timestamp, None);
    without(&workspace, &["one"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_installed_along_beside_what_somebody_else_asked_for() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    publish(world, "com.example.basis", &["1.0.0"]).await?;
    publish(world, "com.example.upper", &[]).await?;
    published(world, "com.example.upper", "1.0.0", &[("com.example.basis", "^1")]).await?;
    let workspace = world.user("alice").await?.tenant("acme-beside").await?;

    // It is asked for already, and is not there for a reason of its own.
    workspace.install("mine", "com.example.basis", json!({ "secrets": [{ "name": "none" }] })).await?;
    workspace.refused("mine", "SecretNotFound").await?;
    workspace.install("upper", "com.example.upper", json!({ "dependencies": "Auto" })).await?;
    let upper = workspace.refused("upper", "DependencyNotReady").await?;
    assert!(message(&upper).contains("the Install default/mine asks for"), "{}", message(&upper));
    workspace.change("mine", json!({ "secrets": [] })).await?;
    workspace.installed("mine").await?;
    workspace.installed("upper").await?;
    let names = workspace.installs().list(&Default::default()).await?.items;
    assert_eq!(names.len(), 2, "{names:?}");
    without(&workspace, &["upper", "mine"]).await?;

    // Its name is another's.
    publish(world, "com.example.stranger", &["1.0.0"]).await?;
    workspace.install("com.example.basis", "com.example.stranger", json!({})).await?;
    workspace.installed("com.example.basis").await?;
    workspace.install("upper", "com.example.upper", json!({ "dependencies": "Auto" })).await?;
    let upper = workspace.refused("upper", "DependencyNotReady").await?;
    assert!(message(&upper).contains("is of com.example.stranger"), "{}", message(&upper));
    without(&workspace, &["upper", "com.example.basis"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_the_catalog_loses_stays_and_is_still_needed() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    publish(world, "com.example.lost", &["1.0.0"]).await?;
    publish(world, "com.example.keen", &[]).await?;
    published(world, "com.example.keen", "1.0.0", &[("com.example.lost", "^1")]).await?;
    let workspace = world.user("alice").await?.tenant("acme-lost").await?;
    workspace.install("lost", "com.example.lost", json!({ "version": "^1" })).await?;
    workspace.installed("lost").await?;
    workspace.install("keen", "com.example.keen", json!({})).await?;
    workspace.installed("keen").await?;
    when(&workspace.installs(), "lost", "who needs it is named", |install| {
        install.status.as_ref().is_some_and(|status| status.dependents == ["keen"])
    })
    .await?;

    // There is another that would do, which nobody has asked for.
    published(world, "com.example.lost", "1.1.0", &[]).await?;
    let versions: Api<ExtensionVersion> = Api::all(world.admin().await?.at("root:annex")?);
    versions.delete("com.example.lost-1.0.0", &DeleteParams::default()).await?;
    let lost = workspace.refused("lost", "VersionWithdrawn").await?;
    assert_eq!(lost.status.context("a status")?.installed_version.as_deref(), Some("1.0.0"));
    workspace.installs().delete("lost", &DeleteParams::default()).await?;
    workspace.refused("lost", "HasDependents").await?;

    // Who is held so answers, and counts.
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let quota = Patch::Merge(json!({ "spec": { "quota": { "installs": 2 } } }));
    tenants.patch(workspace.cluster.as_str(), &PatchParams::default(), &quota).await?;
    publish(world, "com.example.third", &["1.0.0"]).await?;
    workspace.may_have(2).await?;
    workspace.install("third", "com.example.third", json!({})).await?;
    workspace.refused("third", "QuotaExceeded").await?;
    without(&workspace, &["keen", "third"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_takes_away_what_somebody_could_use_is_refused() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    publish(world, "com.example.idp", &["1.0.0", "2.0.0"]).await?;
    publish(world, "com.example.guest", &[]).await?;
    let optional =
        json!({ "dependencies": [{ "extension": "com.example.idp", "version": "^1", "optional": true }] });
    publish_version(world, "com.example.guest", "1.0.0", optional).await?;
    let workspace = world.user("alice").await?.tenant("acme-optional").await?;
    workspace.install("idp", "com.example.idp", json!({ "version": "=1.0.0" })).await?;
    workspace.installed("idp").await?;
    workspace.install("guest", "com.example.guest", json!({})).await?;
    workspace.installed("guest").await?;
    workspace.change("idp", json!({ "version": "=2.0.0" })).await?;
    let idp = workspace.refused("idp", "BreaksDependents").await?;
    assert!(message(&idp).contains("com.example.guest"), "{}", message(&idp));
    // Who can do without holds up nobody who goes.
    without(&workspace, &["idp", "guest"]).await
}

/// While it is held it is what it was: also after a time in which it was not to answer.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_needed_answers_again_after_its_tenant_was_suspended() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let [base, needs] = ["com.example.heldbase", "com.example.heldneeds"];
    for (name, needed) in [(base, &[][..]), (needs, &[(base, "^1")])] {
        publish(world, name, &[]).await?;
        published(world, name, "1.0.0", needed).await?;
    }
    let workspace = world.user("alice").await?.tenant("acme-held").await?;
    workspace.install("base", base, json!({})).await?;
    workspace.install("needs", needs, json!({})).await?;
    workspace.installed("needs").await?;
    let host = workspace.installed("base").await?.status.context("a status")?.host.context("a host")?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let suspend = async |suspended: bool| {
        let patch = Patch::Merge(json!({ "spec": { "suspended": suspended } }));
        tenants.patch(workspace.cluster.as_str(), &PatchParams::default(), &patch).await
    };
    suspend(true).await?;
    workspace.refused("base", "TenantSuspended").await?;
    workspace.installs().delete("base", &DeleteParams::default()).await?;
    workspace.refused("base", "HasDependents").await?;
    let runner = world.runner()?;
    runner.is_nobodys(&host).await?;
    suspend(false).await?;
    until("it answers again", || async { Ok((runner.get(&host).await?.0 == 200).then_some(())) }).await?;
    without(&workspace, &["needs", "base"]).await
}

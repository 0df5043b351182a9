//! What the platform and a tenant say about how flows go: at what pace versions are taken, how many Installs there may be, and what is not
//! waited for.

use annex_apis::{
    ABANDON_ANNOTATION, ExtensionVersion, FlowAction, Install, REPROVISION_ANNOTATION, ROLLOUT_ANNOTATION,
    StageStatus, Tenant,
};
use annex_e2e::{GUEST_ENDPOINTS, Workspace, World, condition, guest_says, guest_was_told, until, when};
use anyhow::Context as _;
use futures::future::try_join_all;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

use crate::{
    environment::{alone, publish, shared},
    flows::{caller, has, published, status},
};

/// How many have this version, and what the others say of another one.
async fn taken(workspaces: &[Workspace], version: &str) -> anyhow::Result<(usize, Vec<String>)> {
    let installs = try_join_all(
        workspaces.iter().map(|workspace| async move { anyhow::Ok(workspace.installs().get("auto").await?) }),
    )
    .await?;
    let has = |install: &&Install| status(install).installed_version.as_deref() == Some(version);
    let reasons = installs.iter().filter(|install| !has(install)).map(|install| {
        condition(install, "Resolved").map(|resolved| resolved.reason.clone()).unwrap_or_default()
    });
    Ok((installs.iter().filter(has).count(), reasons.collect()))
}

/// How many have the version or are on their way to it, and what the others say.
async fn begun(workspaces: &[Workspace], version: &str) -> anyhow::Result<(usize, Vec<String>)> {
    let mut begun = 0;
    let mut reasons = Vec::new();
    for workspace in workspaces {
        let install = workspace.installs().get("auto").await?;
        let to = status(&install).flow.as_ref().and_then(|flow| flow.to.as_deref());
        if to == Some(version) || status(&install).installed_version.as_deref() == Some(version) {
            begun += 1;
        } else {
            reasons.extend(condition(&install, "Resolved").map(|resolved| resolved.reason.clone()));
        }
    }
    Ok((begun, reasons))
}

/// The version once so many have it, and the others all say this.
async fn comes_to(workspaces: &[Workspace], version: &str, count: usize, others: &str) -> anyhow::Result<()> {
    until(&format!("{count} have {version}, and the others say {others}"), || async {
        let (having, reasons) = taken(workspaces, version).await?;
        Ok((having == count && reasons.iter().all(|reason| reason == others)).then_some(()))
    })
    .await
}

/// Starts the controller with another pace, which forgets how many have begun.
fn at_a_pace_of(world: &World, per_minute: Option<&str>) -> anyhow::Result<()> {
    let pace = per_minute.map(|pace| ("ANNEX_ROLLOUT_PER_MINUTE", pace));
    world.stack.configure(Part::Controller, &[], pace.as_slice());
    block_in_place(|| world.stack.start(Part::Controller))
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_taken_by_themselves_at_a_pace_and_no_more_when_too_many_have_failed()
-> anyhow::Result<()> {
    const NAME: &str = "com.example.auto";
    let (world, _turn) = alone().await;
    published(world, NAME, "1.0.0", &[("a", "1.0.0")], "note").await?;
    let alice = world.user("alice").await?;
    let mut workspaces = Vec::new();
    for number in 0..6 {
        let workspace = alice.tenant(&format!("acme-auto-{number}")).await?;
        let spec = json!({ "version": "^1", "upgradePolicy": "Automatic", "public": GUEST_ENDPOINTS });
        workspace.install("auto", NAME, spec).await?;
        has(&workspace, "auto", "1.0.0").await?;
        workspaces.push(workspace);
    }

    at_a_pace_of(world, Some("3"))?;
    published(world, NAME, "1.1.0", &[("a", "1.1.0")], "note").await?;
    // Not that they have it: a minute after the first began there is room for another.
    until("three have begun, and three wait for their turn", || async {
        let (begun, reasons) = begun(&workspaces, "1.1.0").await?;
        Ok((begun == 3 && reasons.iter().all(|reason| reason == "RolloutPaced")).then_some(()))
    })
    .await?;
    at_a_pace_of(world, None)?;
    comes_to(&workspaces, "1.1.0", 6, "").await?;

    // Three fail, which is too many of three.
    at_a_pace_of(world, Some("3"))?;
    published(world, NAME, "1.2.0", &[("a", "1.2.0")], "refuse").await?;
    let failed = async || {
        let records = try_join_all(workspaces.iter().map(|workspace| async move {
            anyhow::Ok(status(&workspace.installs().get("auto").await?).history.first().cloned())
        }))
        .await?;
        let failed = records.iter().flatten().filter(|record| {
            record.to.as_deref() == Some("1.2.0") && record.status == StageStatus::Cancelled
        });
        anyhow::Ok(failed.count())
    };
    until("three have failed", || async { Ok((failed().await? >= 3).then_some(())) }).await?;
    at_a_pace_of(world, None)?;
    // On a slow machine a minute may be over, and a fourth have begun, before the third has failed.
    let having_failed = until("the others do not try", || async {
        let (_, reasons) = taken(&workspaces, "1.2.0").await?;
        let (failed, halted) =
            (failed().await?, reasons.iter().filter(|reason| *reason == "RolloutHalted").count());
        Ok((failed + halted == workspaces.len() && halted > 0).then_some(failed))
    })
    .await?;
    for workspace in &workspaces {
        let install = workspace.installs().get("auto").await?;
        assert_eq!(status(&install).installed_version.as_deref(), Some("1.1.0"));
        assert_eq!(guest_says(&caller(&install)?, NAME, "/version").await?, "1.1.0");
    }
    assert_eq!(failed().await?, having_failed);

    // Whoever operates the platform can insist.
    let versions: Api<ExtensionVersion> = Api::all(world.admin().await?.at("root:annex")?);
    let insist = json!({ "metadata": { "annotations": { ROLLOUT_ANNOTATION: "continue" } } });
    versions.patch(&format!("{NAME}-1.2.0"), &PatchParams::default(), &Patch::Merge(insist)).await?;
    until("all have failed", || async { Ok((failed().await? == 6).then_some(())) }).await?;

    // The next version is none of that one's fault.
    published(world, NAME, "1.3.0", &[("a", "1.3.0")], "note").await?;
    comes_to(&workspaces, "1.3.0", 6, "").await?;

    // What is on its way goes on, though a newer one comes for which it is nobody's turn.
    at_a_pace_of(world, Some("1"))?;
    block_in_place(|| world.stack.kill(Part::Runner))?;
    published(world, NAME, "1.4.0", &[("a", "1.4.0")], "note").await?;
    let on_its_way = async || {
        for workspace in &workspaces {
            let install = workspace.installs().get("auto").await?;
            let flow = status(&install).flow.clone().context("a flow")?;
            if flow.to.as_deref() == Some("1.4.0") && flow.finished_at.is_none() {
                return Ok(Some((workspace, flow.id)));
            }
        }
        Ok(None)
    };
    let (first, id) = until("one is on its way to 1.4.0", on_its_way).await?;
    at_a_pace_of(world, Some("0"))?;
    published(world, NAME, "1.5.0", &[("a", "1.5.0")], "note").await?;
    let waits = |install: &Install| {
        let said = condition(install, "Resolved").map(|resolved| resolved.message.as_str());
        said.is_some_and(|said| {
            said.starts_with("version 1.4.0") && said.contains("version 1.5.0 is taken when")
        })
    };
    let install = when(&first.installs(), "auto", "it goes on to 1.4.0", waits).await?;
    assert_eq!(
        status(&install).flow.as_ref().map(|flow| (&flow.id, flow.finished_at.is_none())),
        Some((&id, true))
    );
    block_in_place(|| world.stack.start(Part::Runner))?;
    let is_there = |install: &Install| status(install).installed_version.as_deref() == Some("1.4.0");
    let install = when(&first.installs(), "auto", "it gets there", is_there).await?;
    assert_eq!(status(&install).history[0].id, id);
    at_a_pace_of(world, None)?;
    comes_to(&workspaces, "1.5.0", 6, "").await?;
    for workspace in &workspaces {
        workspace.installs().delete("auto", &DeleteParams::default()).await?;
    }
    Ok(())
}

/// A wish is answered when a flow begins for it, once, and not by a pass that can do nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_made_again_is_made_again_once_it_can_be() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    publish(world, "com.example.anew", &["1.0.0"]).await?;
    let workspace = world.user("alice").await?.tenant("acme-anew").await?;
    workspace.install("anew", "com.example.anew", json!({})).await?;
    workspace.installed("anew").await?;
    workspace.change("anew", json!({ "suspend": true })).await?;
    workspace.install_with("anew", "Ready", "True", "Suspended").await?;
    // More of a wish than a status holds.
    let (wish, kept) = ("x".repeat(300), "x".repeat(256));
    let asks = Patch::Merge(json!({ "metadata": { "annotations": { REPROVISION_ANNOTATION: wish } } }));
    workspace.installs().patch("anew", &PatchParams::default(), &asks).await?;
    workspace.change("anew", json!({ "suspend": false })).await?;
    let answered = |install: &Install| status(install).reprovisioned.as_ref() == Some(&kept);
    when(&workspace.installs(), "anew", "the wish is answered", answered).await?;
    // Another generation, which the controller has looked at once this is Ready.
    workspace.change("anew", json!({ "historyLimit": 9 })).await?;
    let install = workspace.installed("anew").await?;
    let actions: Vec<FlowAction> = status(&install).history.iter().map(|record| record.action).collect();
    assert_eq!(actions, [FlowAction::Reprovision, FlowAction::Install]);
    workspace.installs().delete("anew", &DeleteParams::default()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_as_many_installs_as_its_quota_says() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let names = ["com.example.quota-one", "com.example.quota-two"];
    publish(world, names[0], &["1.0.0"]).await?;
    publish(world, names[1], &["1.0.0"]).await?;
    let workspace = world.user("alice").await?.tenant("acme-quota").await?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let quota = async |installs: Value| {
        let patch = Patch::Merge(json!({ "spec": { "quota": { "installs": installs } } }));
        tenants.patch(workspace.cluster.as_str(), &PatchParams::default(), &patch).await
    };
    workspace.install("one", names[0], json!({})).await?;
    workspace.installed("one").await?;
    quota(json!(1)).await?;
    workspace.may_have(1).await?;
    workspace.install("two", names[1], json!({})).await?;
    let refused = workspace.refused("two", "QuotaExceeded").await?;
    assert!(condition(&refused, "Ready").context("Ready")?.message.contains('1'));
    // There is room when the first goes, or when there is more.
    quota(json!(2)).await?;
    workspace.installed("two").await?;
    quota(json!(1)).await?;
    workspace.may_have(1).await?;
    // Of another generation, so that it is looked at again: what is installed stays.
    workspace.change("two", json!({ "historyLimit": 3 })).await?;
    workspace.installed("two").await?;
    for name in ["one", "two"] {
        workspace.installs().delete(name, &DeleteParams::default()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_install_goes_without_what_it_stored_where_its_owner_does_not_wait_for_that() -> anyhow::Result<()>
{
    const NAME: &str = "com.example.forsaken";
    let (world, _turn) = alone().await;
    published(world, NAME, "1.0.0", &[("a", "1.0.0")], "note").await?;
    let workspace = world.user("alice").await?.tenant("acme-forsaken").await?;
    let spec = json!({ "public": GUEST_ENDPOINTS, "deletionPolicy": "Purge" });
    workspace.install("forsaken", NAME, spec.clone()).await?;
    let install = has(&workspace, "forsaken", "1.0.0").await?;
    block_in_place(|| world.stack.kill(Part::Runner))?;
    workspace.installs().delete("forsaken", &DeleteParams::default()).await?;
    workspace.refused("forsaken", "Uninstalling").await?;
    let abandon = async |what: &str| {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { ABANDON_ANNOTATION: what } } }));
        workspace.installs().patch("forsaken", &PatchParams::default(), &patch).await
    };
    // Nobody is called any more, and yet what is stored is not given up by that.
    abandon("handlers").await?;
    let waits = |install: &Install| {
        let flow = &status(install).flow;
        let purge = flow.iter().flat_map(|flow| &flow.stages).find(|stage| stage.name == "Purge");
        purge.is_some_and(|stage| stage.status == StageStatus::InProgress)
    };
    when(&workspace.installs(), "forsaken", "it waits for what it stored", waits).await?;
    abandon("handlers, storage").await?;
    workspace.gone("forsaken").await?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let tenant = tenants.get(workspace.cluster.as_str()).await?;
    let left = tenant.status.context("a status")?.abandoned;
    let left: Vec<_> = left
        .iter()
        .map(|left| (left.what.as_str(), left.extension.as_str(), left.install.as_str()))
        .collect();
    let uid = install.uid().unwrap_or_default();
    assert_eq!(left, ["handlers", "storage"].map(|what| (what, NAME, uid.as_str())));
    block_in_place(|| world.stack.start(Part::Runner))?;

    // It is there, as was said, until somebody removes it.
    workspace.install("forsaken", NAME, spec).await?;
    let install = has(&workspace, "forsaken", "1.0.0").await?;
    assert_eq!(guest_was_told(&caller(&install)?, NAME).await?.len(), 2);
    workspace.installs().delete("forsaken", &DeleteParams::default()).await?;
    Ok(())
}

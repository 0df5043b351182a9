//! A flow fails, and the controller dies, in every stage that there is: what is left is what docs/architecture.md says.

use annex_apis::{Install, InstallStatus, RETRY_ANNOTATION, StageStatus};
use annex_e2e::{
    Caller, Load, Workspace,
    faults::{
        Case, FAULTS_ANNOTATION, Fate, Fault, Faults, Moment, NEW, OLD, each_case, publish_both, spec_of,
    },
    guest_was_told, until, when,
};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{environment::alone, registry::alice};

const WORKSPACES: usize = 10;

fn status(install: &Install) -> InstallStatus {
    install.status.clone().unwrap_or_default()
}

/// The names of the stages of the last flow.
fn stages(install: &Install) -> Vec<String> {
    status(install).flow.into_iter().flat_map(|flow| flow.stages).map(|stage| stage.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_fails_and_the_controller_dies_before_in_and_after_it() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let publisher = alice(world).await?;
    publish_both(&publisher, "com.example.fault0").await?;
    let alice = world.user("alice").await?;
    let workspaces: Vec<Workspace> = stream::iter(0..WORKSPACES)
        .map(|number| {
            let alice = alice.clone();
            async move { alice.tenant(&format!("acme-faults-{number}")).await }
        })
        .buffered(4)
        .try_collect()
        .await?;

    // Which stages there are, an Install says to which nothing happens.
    let probe = &workspaces[0];
    probe.install("fault0", "com.example.fault0", spec_of(OLD)).await?;
    let install_stages = stages(&probe.installed("fault0").await?);
    probe.change("fault0", spec_of(NEW)).await?;
    let upgrade_stages = stages(&probe.installed("fault0").await?);
    probe.installs().delete("fault0", &DeleteParams::default()).await?;
    until("the Install is gone", || async {
        Ok(probe.installs().get_opt("fault0").await?.is_none().then_some(()))
    })
    .await?;
    let cases = Case::all(Fault::all(&install_stages), &workspaces);
    assert!(cases.len() > 80, "{} cases of {install_stages:?}", cases.len());
    for name in Case::extensions(&cases) {
        publish_both(&publisher, &name).await?;
    }

    let faults = Faults::begin(world)?;
    let asked = each_case(&cases, async |case| case.asks_for(OLD).await).await?;
    faults.hold_all(&cases, asked).await?;
    faults.crash()?;
    each_case(&cases, async |case| case.ended(None, OLD).await).await?;
    let failed: Vec<Case> = cases.into_iter().filter(Case::fails).collect();
    each_case(&failed, async |case| case.tried_again(OLD).await).await?;

    let cases = Case::all(Fault::all(&upgrade_stages), &workspaces);
    assert!(cases.len() > 50, "{} cases of {upgrade_stages:?}", cases.len());
    let asked = each_case(&cases, async |case| case.asks_for(NEW).await).await?;
    faults.hold_all(&cases, asked).await?;
    // Nobody notices, whatever stage it is that the controller hangs in.
    each_case(&cases, async |case| {
        let caller = case.caller().await?.context("it answers")?;
        let version = case.says_its_version(&caller).await?;
        let after = case.fault.moment == Moment::After && case.fault.stage == "Publish";
        ensure!(version == OLD || after || case.fault.stage == "Disable", "{:?}: {version}", case.fault);
        Ok(())
    })
    .await?;
    faults.crash()?;
    each_case(&cases, async |case| case.ended(Some(OLD), NEW).await).await?;
    let failed: Vec<Case> = cases.into_iter().filter(Case::fails).collect();
    each_case(&failed, async |case| case.tried_again(NEW).await).await?;

    // A revoke: what fails in it is tried again until it is done.
    let revoke_stages = [
        "CheckDependents",
        "Withdraw",
        "Lifecycle/search",
        "Lifecycle/store",
        "Purge",
        "RemoveDomainMapping",
    ];
    let moments = [Moment::Before, Moment::In, Moment::After];
    let faults_of =
        |stage: &str| moments.map(|moment| Fault { stage: stage.to_owned(), moment, fate: Fate::Finishes });
    let cases = Case::all(revoke_stages.into_iter().flat_map(faults_of).collect(), &workspaces);
    let asked = each_case(&cases, async |case| {
        let annotations = json!({ FAULTS_ANNOTATION: case.fault.annotation() });
        case.patch(json!({ "metadata": { "annotations": annotations } })).await?;
        let deleted = case.workspace.installs().delete(&case.name(), &DeleteParams::default()).await?;
        deleted.left().context("it waits for its finalizer")
    })
    .await?;
    faults.hold_all(&cases, asked).await?;
    faults.crash()?;
    let all = workspaces.iter().map(|workspace| async move {
        // Nothing that was to happen in an earlier flow happens in this one.
        for install in workspace.installs().list(&Default::default()).await?.items {
            let none = json!({ "metadata": { "annotations": { FAULTS_ANNOTATION: null } } });
            let (params, patch) = (PatchParams::default(), Patch::Merge(none));
            match workspace.installs().patch(&install.name_any(), &params, &patch).await {
                // It has gone meanwhile.
                Err(kube::Error::Api(refused)) if refused.is_not_found() => {}
                patched => drop(patched?),
            }
        }
        workspace.installs().delete_collection(&DeleteParams::default(), &Default::default()).await?;
        until("all Installs are gone", || async {
            Ok(workspace.installs().list(&Default::default()).await?.items.is_empty().then_some(()))
        })
        .await
    });
    try_join_all(all).await?;
    drop(faults);
    // With what they have stored, whenever the controller died.
    each_case(&cases, async |case| {
        case.workspace.install(&case.name(), &case.extension(), spec_of(OLD)).await?;
        case.workspace.installed(&case.name()).await?;
        let caller = case.caller().await?.context("it answers")?;
        let told = guest_was_told(&caller, &case.extension()).await?;
        ensure!(told.len() == 3, "{:?}: {told:?}", case.fault);
        case.workspace.installs().delete(&case.name(), &DeleteParams::default()).await?;
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_flows_fail_one_after_the_other_and_then_one_does_not() -> anyhow::Result<()> {
    const NAME: &str = "com.example.fifty";
    let (world, _turn) = alone().await;
    publish_both(&alice(world).await?, NAME).await?;
    let workspace = world.user("alice").await?.tenant("acme-fifty").await?;
    workspace.install("fifty", NAME, spec_of(OLD)).await?;
    let install = workspace.installed("fifty").await?;
    let caller = Caller::of(&status(&install).url.context("a URL")?)?;
    let load = Load::on(&caller, NAME);
    let patch = async |annotations: Value, spec: Value| {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations }, "spec": spec }));
        workspace.installs().patch("fifty", &PatchParams::default(), &patch).await
    };
    let faults = Faults::begin(world)?;
    let mut last = status(&install).history[0].id.clone();
    for number in 1..=50 {
        // In turns where nothing has been called yet, and where everything is done.
        let fault = if number % 2 == 0 { "Runner:In:fail" } else { "Publish:In:fail" };
        let annotations = json!({ FAULTS_ANNOTATION: fault, RETRY_ANNOTATION: format!("{number}") });
        patch(annotations, json!({ "version": format!("={NEW}") })).await?;
        let another =
            |install: &Install| status(install).history.first().is_some_and(|record| record.id != last);
        let install = when(&workspace.installs(), "fifty", "another flow has ended", another).await?;
        let record = &status(&install).history[0];
        assert_eq!((record.status, record.reason.as_deref()), (StageStatus::Cancelled, Some("FlowFailed")));
        last = record.id.clone();
    }
    let install = workspace.installs().get("fifty").await?;
    assert_eq!(status(&install).installed_version.as_deref(), Some(OLD));
    assert_eq!(status(&install).history.len(), usize::try_from(install.spec.history_limit)?);
    let size = serde_json::to_vec(&install.status)?.len();
    assert!(size < 8192, "a status of {size} bytes");
    patch(json!({ FAULTS_ANNOTATION: null, RETRY_ANNOTATION: "at last" }), json!({})).await?;
    let install = workspace.installed("fifty").await?;
    assert_eq!(status(&install).installed_version.as_deref(), Some(NEW));
    drop(faults);
    assert_eq!(load.ends().await?, Vec::<String>::new(), "every call was answered");
    workspace.installs().delete("fifty", &DeleteParams::default()).await?;
    Ok(())
}

//! A flow fails, and the controller dies, in every stage that there is: what is left is what docs/architecture.md says.

use annex_apis::{Install, InstallStatus, REPROVISION_ANNOTATION, RETRY_ANNOTATION, StageStatus};
use annex_e2e::{
    Caller, Load, Workspace, condition,
    faults::{
        Case, FAULTS_ANNOTATION, Fate, Fault, Faults, Moment, NEW, OLD, each_case, is_check, publish_both,
        spec_of,
    },
    guest_says, guest_was_told, until, when,
};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use xtask::Part;

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
    let now = Patch::Merge(json!({ "metadata": { "annotations": { REPROVISION_ANNOTATION: "now" } } }));
    probe.installs().patch("fault0", &PatchParams::default(), &now).await?;
    let again = |install: &Install| status(install).reprovisioned.as_deref() == Some("now");
    when(&probe.installs(), "fault0", "it is made again", again).await?;
    let again_stages = stages(&probe.installed("fault0").await?);
    probe.installs().delete("fault0", &DeleteParams::default()).await?;
    probe.gone("fault0").await?;
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
    let upgraded = cases.len();
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

    // What is there is made again, and answers all the while.
    let changing = again_stages.iter().filter(|stage| !is_check(stage));
    let cases = Case::all(changing.flat_map(|stage| Fault::few(stage)).collect(), &workspaces);
    assert!((18..=upgraded).contains(&cases.len()), "{} cases of {again_stages:?}", cases.len());
    let asked = each_case(&cases, async |case| case.asks_again().await).await?;
    faults.hold_all(&cases, asked).await?;
    each_case(&cases, async |case| {
        let caller = case.caller().await?.context("it answers")?;
        ensure!(case.says_its_version(&caller).await? == NEW, "{:?}", case.fault);
        Ok(())
    })
    .await?;
    faults.crash()?;
    each_case(&cases, async |case| {
        case.ended(Some(NEW), NEW).await?;
        if case.fails() {
            case.tried_again(NEW).await?
        }
        case.is_made_again().await
    })
    .await?;

    // A revoke: what fails in it is tried again until it is done.
    let revoke_stages = [
        "CheckDependents",
        "Withdraw",
        "Lifecycle/search",
        "Lifecycle/store",
        "Purge",
        "RemoveDomainMapping",
    ];
    let faults_of = |stage: &str| {
        let fault = |(moment, fate)| Fault { stage: stage.to_owned(), moment, fate };
        [
            (Moment::Before, Fate::Finishes),
            (Moment::In, Fate::Finishes),
            (Moment::After, Fate::Finishes),
            (Moment::Before, Fate::RollsBack),
        ]
        .map(fault)
    };
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
    let failing: Vec<Case> = cases.iter().filter(|case| case.fails()).cloned().collect();
    assert_eq!(failing.len(), revoke_stages.len());
    each_case(&failing, async |case| {
        if case.fault.stage.starts_with("Lifecycle/") {
            // For good: whoever cannot go properly goes all the same.
            return case.workspace.gone(&case.name()).await;
        }
        let fails = |install: &Install| {
            let said = condition(install, "Ready").map(|ready| ready.message.as_str());
            said.is_some_and(|said| said.contains(&format!("fail at {}:In", case.fault.stage)))
        };
        when(&case.workspace.installs(), &case.name(), "it fails again and again", fails).await.map(drop)
    })
    .await?;
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
    let load = Load::on(&caller, NAME).await?;
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

/// An upgrade of what answers is over by the very status that the registry hears of it by: where it does not hear, that is said afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_the_registry_does_not_hear_of_is_not_ready() -> anyhow::Result<()> {
    const NAME: &str = "com.example.unheard";
    let (world, _turn) = alone().await;
    publish_both(&alice(world).await?, NAME).await?;
    let workspace = world.user("alice").await?.tenant("acme-unheard").await?;
    workspace.install("unheard", NAME, spec_of(OLD)).await?;
    let caller = Caller::of(&status(&workspace.installed("unheard").await?).url.context("a URL")?)?;

    let faults = Faults::begin(world)?;
    let point = "Publish:In";
    let wanted = json!({
        "metadata": { "annotations": { FAULTS_ANNOTATION: format!("{point}:hold") } }, "spec": spec_of(NEW),
    });
    let held = workspace.installs().patch("unheard", &PatchParams::default(), &Patch::Merge(wanted)).await?;
    let points = [(held, point.to_owned())];
    faults.hold(&points).await?;
    assert_eq!(guest_says(&caller, NAME, "/version").await?, OLD);
    block_in_place(|| world.stack.kill(Part::Registry))?;
    faults.let_go(&points[0].0, point)?;
    let is_told = |install: &Install| {
        let status = status(install);
        status.installed_version.as_deref() == Some(NEW)
            && condition(install, "Ready").is_some_and(|ready| ready.status == "False")
    };
    let install = when(&workspace.installs(), "unheard", "it does not answer", is_told).await?;
    assert_eq!(condition(&install, "Ready").context("Ready")?.reason, "DomainNotAnswering");

    block_in_place(|| world.stack.start(Part::Registry))?;
    let install = workspace.installed("unheard").await?;
    assert_eq!(status(&install).history.len(), 2, "nothing was to be done");
    until("the new version answers", || async {
        Ok(guest_says(&caller, NAME, "/version").await.ok().filter(|version| version == NEW).map(drop))
    })
    .await?;
    drop(faults);
    workspace.installs().delete("unheard", &DeleteParams::default()).await?;
    Ok(())
}

/// A handler that has run has run, also where the pass that called it could write nothing down because something else was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_called_is_called_back_when_the_install_changes_meanwhile() -> anyhow::Result<()> {
    const NAME: &str = "com.example.fickle";
    let (world, _turn) = alone().await;
    publish_both(&alice(world).await?, NAME).await?;
    let workspace = world.user("alice").await?.tenant("acme-fickle").await?;
    workspace.install("fickle", NAME, spec_of(OLD)).await?;
    let install = workspace.installed("fickle").await?;
    let caller = Caller::of(&status(&install).url.context("a URL")?)?;
    let row = |action: &str, from: &str, to: &str| [action, "search", from, to].map(str::to_owned);
    let mut expected = vec![row("install", "-", OLD)];
    let told = async || {
        let told = guest_was_told(&caller, NAME).await?.into_iter();
        anyhow::Ok(told.filter(|[_, module, ..]| module == "search").collect::<Vec<_>>())
    };
    assert_eq!(told().await?, expected);

    let faults = Faults::begin(world)?;
    let wants = async |version: &str, hold: Option<&str>| {
        let annotations = json!({ FAULTS_ANNOTATION: hold.map(|point| format!("{point}:hold")) });
        let patch =
            Patch::Merge(json!({ "metadata": { "annotations": annotations }, "spec": spec_of(version) }));
        workspace.installs().patch("fickle", &PatchParams::default(), &patch).await
    };
    // All is done but for the status, when the former version is asked for.
    let (publish, search) = ("Publish:After".to_owned(), "Lifecycle/search:In".to_owned());
    let held = [(wants(NEW, Some(&publish)).await?, publish)];
    faults.hold(&held).await?;
    let back = [(wants(OLD, Some(&search)).await?, search)];
    faults.let_go(&held[0].0, &held[0].1)?;
    faults.hold(&back).await?;
    // The next flow is about to call, and what was never written down is published by nobody.
    let install = workspace.installs().get("fickle").await?;
    assert_eq!(status(&install).content_hash.as_ref(), Some(&status(&install).routes[0].content_hash));
    assert_eq!(guest_says(&caller, NAME, "/version").await?, OLD);
    faults.let_go(&back[0].0, &back[0].1)?;
    let install = workspace.installed("fickle").await?;
    assert_eq!(status(&install).installed_version.as_deref(), Some(OLD));
    expected.extend([row("upgrade", OLD, NEW), row("upgrade", NEW, OLD)]);
    assert_eq!(told().await?, expected);

    // The same where the controller dies, and whoever comes next cannot know.
    let after = "Lifecycle/search:After".to_owned();
    let held = [(wants(NEW, Some(&after)).await?, after)];
    faults.hold(&held).await?;
    wants(OLD, None).await?;
    faults.crash()?;
    let install = workspace.installed("fickle").await?;
    assert_eq!(status(&install).installed_version.as_deref(), Some(OLD));
    expected.extend([row("upgrade", OLD, NEW), row("upgrade", NEW, OLD)]);
    assert_eq!(told().await?, expected);

    // What was called back by a rollback of which nobody knows how far it got is called once more where it is wanted after all.
    let (fails, back) = ("Publish:In:fail", "Lifecycle/search:CalledBack".to_owned());
    let wanted = json!({
        "metadata": { "annotations": { FAULTS_ANNOTATION: format!("{fails},{back}:hold") } },
        "spec": spec_of(NEW),
    });
    let held = workspace.installs().patch("fickle", &PatchParams::default(), &Patch::Merge(wanted)).await?;
    faults.hold(&[(held, back)]).await?;
    let annotations = json!({ FAULTS_ANNOTATION: null, RETRY_ANNOTATION: "after all" });
    let after_all = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    workspace.installs().patch("fickle", &PatchParams::default(), &after_all).await?;
    faults.crash()?;
    let install = workspace.installed("fickle").await?;
    assert_eq!(status(&install).installed_version.as_deref(), Some(NEW));
    expected.extend([row("upgrade", OLD, NEW), row("upgrade", NEW, OLD), row("upgrade", OLD, NEW)]);
    assert_eq!(told().await?, expected);

    // And where it is deleted while it is installed for the first time.
    let gone = async || workspace.gone("fickle").await;
    let retains = |hold: Option<&str>| {
        let mut install = json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": "fickle" }, "spec": { "extension": NAME },
        });
        json_patch::merge(&mut install, &json!({ "spec": spec_of(OLD) }));
        json_patch::merge(&mut install, &json!({ "spec": { "deletionPolicy": "Retain" } }));
        if let Some(point) = hold {
            let annotations = json!({ FAULTS_ANNOTATION: format!("{point}:hold") });
            json_patch::merge(&mut install, &json!({ "metadata": { "annotations": annotations } }));
        }
        serde_json::from_value::<Install>(install)
    };
    workspace.installs().delete("fickle", &DeleteParams::default()).await?;
    gone().await?;
    for dies in [false, true] {
        let point = "Lifecycle/search:After".to_owned();
        let held = workspace.installs().create(&Default::default(), &retains(Some(&point))?).await?;
        let held = [(held, point)];
        faults.hold(&held).await?;
        // Only there, and not when it is called to go.
        let no_more = Patch::Merge(json!({ "metadata": { "annotations": { FAULTS_ANNOTATION: null } } }));
        workspace.installs().patch("fickle", &PatchParams::default(), &no_more).await?;
        workspace.installs().delete("fickle", &DeleteParams::default()).await?;
        if dies {
            faults.crash()?;
        } else {
            faults.let_go(&held[0].0, &held[0].1)?;
        }
        gone().await?;
    }
    drop(faults);
    workspace.installs().create(&Default::default(), &retains(None)?).await?;
    let install = workspace.installed("fickle").await?;
    let caller = Caller::of(&status(&install).url.context("a URL")?)?;
    let told = guest_was_told(&caller, NAME).await?;
    // They go in the reverse of the order in which they came, the first one last. Whose turn it may have been goes, too.
    let gone =
        told.iter().filter(|[action, ..]| action == "uninstall").map(|[_, module, ..]| module.as_str());
    let last = gone.clone().position(|module| module == "store").context("it is called back")?;
    let mut went: Vec<&str> = gone.take(last + 1).collect();
    went.reverse();
    assert!(went.len() > 1 && ["store", "search", "old"].starts_with(&went), "{told:?}");
    let told = told.iter().filter(|[_, module, ..]| module == "search");
    let actions: Vec<&str> = told.map(|[action, ..]| action.as_str()).collect();
    assert_eq!(actions, ["install", "uninstall", "install", "uninstall", "install"]);
    workspace.installs().delete("fickle", &DeleteParams::default()).await?;
    Ok(())
}

/// After a new version answers nothing is undone any more: what has been there before is taken away, however often that fails.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_to_do_once_a_version_answers_is_tried_until_it_is_done() -> anyhow::Result<()> {
    const NAME: &str = "com.example.leftover";
    let (world, _turn) = alone().await;
    publish_both(&alice(world).await?, NAME).await?;
    let workspace = world.user("alice").await?.tenant("acme-leftover").await?;
    workspace.install("leftover", NAME, spec_of(OLD)).await?;
    let caller = Caller::of(&status(&workspace.installed("leftover").await?).url.context("a URL")?)?;
    let faults = Faults::begin(world)?;
    let patch = async |annotations: Value, spec: Value| {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations }, "spec": spec }));
        workspace.installs().patch("leftover", &PatchParams::default(), &patch).await
    };
    patch(json!({ FAULTS_ANNOTATION: "Disable:In:fail" }), spec_of(NEW)).await?;
    let fails = |install: &Install| {
        let stages = status(install).flow.into_iter().flat_map(|flow| flow.stages);
        let mut disables = stages.filter(|stage| stage.name == "Disable");
        disables.any(|stage| stage.reason.as_deref() == Some("FlowFailed"))
    };
    let install = when(&workspace.installs(), "leftover", "the stage fails", fails).await?;
    let now = status(&install);
    assert_eq!(now.installed_version.as_deref(), Some(NEW));
    assert_eq!(now.flow.context("a flow")?.status, StageStatus::InProgress);
    until("the new version answers", || async {
        Ok((guest_says(&caller, NAME, "/version").await? == NEW).then_some(()))
    })
    .await?;
    patch(json!({ FAULTS_ANNOTATION: null }), json!({})).await?;
    let ended = |install: &Install| status(install).history.len() == 2;
    let install = when(&workspace.installs(), "leftover", "it is done", ended).await?;
    assert_eq!(status(&install).history[0].status, StageStatus::Finished);
    drop(faults);
    workspace.installs().delete("leftover", &DeleteParams::default()).await?;
    Ok(())
}

/// A flow fails because of what was asked for after it began, which cannot be had: it is undone all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_undone_though_what_is_asked_for_by_then_cannot_be_had() -> anyhow::Result<()> {
    const NAME: &str = "com.example.regret";
    let (world, _turn) = alone().await;
    publish_both(&alice(world).await?, NAME).await?;
    let workspace = world.user("alice").await?.tenant("acme-regret").await?;
    workspace.install("regret", NAME, spec_of(OLD)).await?;
    let caller = Caller::of(&status(&workspace.installed("regret").await?).url.context("a URL")?)?;
    let faults = Faults::begin(world)?;
    let point = "Lifecycle/new:Before";
    let wanted = json!({
        "metadata": { "annotations": { FAULTS_ANNOTATION: format!("{point}:hold") } }, "spec": spec_of(NEW),
    });
    let held = workspace.installs().patch("regret", &PatchParams::default(), &Patch::Merge(wanted)).await?;
    faults.hold(&[(held.clone(), point.to_owned())]).await?;
    workspace.change("regret", json!({ "version": "=9.9.9" })).await?;
    faults.let_go(&held, point)?;
    let install = workspace.install_with("regret", "Remediated", "True", "RolledBack").await?;
    assert_eq!(status(&install).history[0].reason.as_deref(), Some("NoMatchingVersion"));
    assert_eq!(status(&install).installed_version.as_deref(), Some(OLD));
    workspace.refused("regret", "NoMatchingVersion").await?;
    let mut told = guest_was_told(&caller, NAME).await?.into_iter();
    let last = told.rfind(|[_, module, ..]| module == "search");
    let back = Some(["upgrade", "search", NEW, OLD].map(str::to_owned));
    assert_eq!(last, back);

    // And so where it is asked for while the flow is being undone.
    workspace.change("regret", spec_of(OLD)).await?;
    workspace.installed("regret").await?;
    let point = "Lifecycle/search:CalledBack";
    let wanted = json!({
        "metadata": { "annotations": { FAULTS_ANNOTATION: format!("Lifecycle/new:In:fail,{point}:hold") } },
        "spec": spec_of(NEW),
    });
    let held = workspace.installs().patch("regret", &PatchParams::default(), &Patch::Merge(wanted)).await?;
    faults.hold(&[(held.clone(), point.to_owned())]).await?;
    workspace.change("regret", json!({ "version": "=9.9.9" })).await?;
    faults.let_go(&held, point)?;
    let install = workspace.install_with("regret", "Remediated", "True", "RolledBack").await?;
    assert_eq!(status(&install).history[0].reason.as_deref(), Some("FlowFailed"));
    workspace.refused("regret", "NoMatchingVersion").await?;
    let mut told = guest_was_told(&caller, NAME).await?.into_iter();
    assert_eq!(told.rfind(|[_, module, ..]| module == "search"), back);
    drop(faults);
    workspace.installs().delete("regret", &DeleteParams::default()).await?;
    Ok(())
}

/// The modules of an Install that never came up are its own until it has gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_install_that_never_came_up_has_called_is_called_back_before_another_gets_it()
-> anyhow::Result<()> {
    const NAME: &str = "com.example.stillborn";
    let (world, _turn) = alone().await;
    publish_both(&alice(world).await?, NAME).await?;
    let workspace = world.user("alice").await?.tenant("acme-stillborn").await?;
    let faults = Faults::begin(world)?;
    // It has called one of its modules, and stays as it is.
    let half = async |name: &str, policy: &str| {
        let mut install = json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": name, "annotations": { FAULTS_ANNOTATION: "Lifecycle/search:In:fail" } },
            "spec": { "extension": NAME, "onFailure": "Continue" },
        });
        json_patch::merge(&mut install, &json!({ "spec": spec_of(OLD) }));
        json_patch::merge(&mut install, &json!({ "spec": { "deletionPolicy": policy } }));
        let install: Install = serde_json::from_value(install)?;
        workspace.installs().create(&Default::default(), &install).await?;
        workspace.refused(name, "FlowFailed").await.map(drop)
    };
    let told = async |install: &Install| {
        let caller = Caller::of(&status(install).url.context("a URL")?)?;
        let told = guest_was_told(&caller, NAME).await?.into_iter();
        anyhow::Ok(told.map(|[action, module, ..]| format!("{action} {module}")).collect::<Vec<_>>())
    };
    let all = ["install store", "install search", "install old"];

    // Its deletion takes several passes, because nobody can be called, and who wants the extension waits for it.
    for policy in ["Purge", "Retain"] {
        half("first", policy).await?;
        block_in_place(|| world.stack.kill(Part::Runner))?;
        workspace.installs().delete("first", &DeleteParams::default()).await?;
        workspace.refused("first", "Uninstalling").await?;
        workspace.install("second", NAME, spec_of(OLD)).await?;
        workspace.refused("second", "AlreadyInstalled").await?;
        block_in_place(|| world.stack.start(Part::Runner))?;
        workspace.gone("first").await?;
        let install = workspace.installed("second").await?;
        let mut expected = all.to_vec();
        if policy == "Retain" {
            expected.splice(0..0, ["install store", "uninstall store"]);
        }
        assert_eq!(told(&install).await?, expected, "{policy}");
        workspace.installs().delete("second", &DeleteParams::default()).await?;
        workspace.gone("second").await?;
    }
    drop(faults);
    Ok(())
}

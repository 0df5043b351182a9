//! A flow fails, and the controller dies, in every stage that there is: what is left is what docs/architecture.md says.

use std::collections::BTreeMap;

use annex_apis::{Install, InstallStatus, RETRY_ANNOTATION, StageStatus};
use annex_e2e::{
    Caller, FAULTS_ANNOTATION, Fate, Fault, Faults, GUEST_ENDPOINTS, Load, Moment, Workspace, World,
    condition, guest_capabilities, guest_says, guest_was_told, is_check, modules, publish_guest, until, when,
};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use kube::{
    ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{environment::alone, registry::alice};

const OLD: &str = "1.0.0";
const NEW: &str = "1.1.0";
/// As many as a stage has cases.
const WORKSPACES: usize = 10;
/// Requests to kcp that are under way at a time.
const AT_A_TIME: usize = 20;

fn status(install: &Install) -> InstallStatus {
    install.status.clone().unwrap_or_default()
}

/// The names of the stages of the last flow.
fn stages(install: &Install) -> Vec<String> {
    status(install).flow.into_iter().flat_map(|flow| flow.stages).map(|stage| stage.name).collect()
}

fn extension(number: usize) -> String {
    format!("com.example.fault{number}")
}

async fn published(world: &World, name: &str) -> anyhow::Result<()> {
    let manifest = |version: &str, parts: &[(&str, &str)]| {
        json!({
            "name": name, "publisher": "example.com", "version": version, "modules": modules(parts),
            "lifecycle": { "install": "note", "upgrade": "note", "uninstall": "note" },
            "capabilities": guest_capabilities(),
        })
    };
    let alice = alice(world).await?;
    publish_guest(&alice, manifest(OLD, &[("store", OLD), ("search", OLD), ("old", OLD)])).await?;
    publish_guest(&alice, manifest(NEW, &[("store", OLD), ("search", NEW), ("new", NEW)])).await
}

fn spec(version: &str) -> Value {
    json!({ "version": format!("={version}"), "public": GUEST_ENDPOINTS, "deletionPolicy": "Purge" })
}

/// A case, and the Install that it happens to.
struct Case {
    fault: Fault,
    workspace: Workspace,
    number: usize,
}

impl Case {
    /// Each in an Install of its own: a workspace has as many of them as there are stages.
    fn all(stages: &[String], workspaces: &[Workspace]) -> Vec<Self> {
        let mut of_stage: BTreeMap<String, usize> = BTreeMap::new();
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let case = |fault: Fault| {
            let next = numbers.len();
            let number = *numbers.entry(fault.stage.clone()).or_insert(next);
            let count = of_stage.entry(fault.stage.clone()).or_default();
            let workspace = workspaces[*count].clone();
            *count += 1;
            Self { fault, workspace, number }
        };
        Fault::all(stages).into_iter().map(case).collect()
    }

    fn name(&self) -> String {
        format!("fault{}", self.number)
    }

    fn fails(&self) -> bool {
        self.fault.fate != Fate::Finishes
    }

    async fn patch(&self, patch: Value) -> anyhow::Result<Install> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        Ok(self.workspace.installs().patch(&self.name(), &params, &patch).await?)
    }

    /// Asks for another version under which the fault happens.
    async fn asks_for(&self, version: &str) -> anyhow::Result<Install> {
        let on_failure = if self.fault.fate == Fate::Stays { "Continue" } else { "Rollback" };
        let mut spec = spec(version);
        spec["onFailure"] = on_failure.into();
        let annotations = json!({ FAULTS_ANNOTATION: self.fault.annotation() });
        if self.workspace.installs().get_opt(&self.name()).await?.is_some() {
            return self.patch(json!({ "metadata": { "annotations": annotations }, "spec": spec })).await;
        }
        spec["extension"] = extension(self.number).into();
        let install = json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": self.name(), "annotations": annotations }, "spec": spec,
        });
        Ok(self.workspace.installs().create(&Default::default(), &serde_json::from_value(install)?).await?)
    }

    async fn caller(&self) -> anyhow::Result<Option<Caller>> {
        let install = self.workspace.installs().get(&self.name()).await?;
        status(&install)
            .url
            .filter(|_| status(&install).host.is_some())
            .map(|url| Caller::of(&url))
            .transpose()
    }

    /// The Install once its flow has come to its end, and what holds then is shown to hold. `before` is the version that it had.
    async fn ended(&self, before: Option<&str>, wanted: &str) -> anyhow::Result<()> {
        let what = format!("{:?}", self.fault);
        if !self.fails() {
            return self.is_installed(wanted).await.context(what);
        }
        let ended = |install: &Install| {
            let (status, generation) = (status(install), install.metadata.generation);
            let ready = condition(install, "Ready")
                .is_some_and(|ready| ready.reason == "FlowFailed" && ready.observed_generation == generation);
            ready
                && status.flow.is_some_and(|flow| flow.finished_at.is_some() && flow.generation == generation)
        };
        let install = when(&self.workspace.installs(), &self.name(), &what, ended).await?;
        let (status, ready) = (status(&install), condition(&install, "Ready").context("Ready")?);
        let record = status.history.first().context("a record")?;
        let at =
            status.flow.iter().flat_map(|flow| &flow.stages).find(|stage| stage.name == self.fault.stage);
        ensure!(at.is_some_and(|stage| stage.status == StageStatus::Failed), "{what}: {at:?}");
        ensure!(ready.message.contains("a test lets it fail"), "{what}: {ready:?}");
        ensure!(record.reason.as_deref() == Some("FlowFailed"), "{what}: {record:?}");
        let end = if self.fault.fate == Fate::Stays { StageStatus::Failed } else { StageStatus::Cancelled };
        ensure!(record.status == end, "{what}: {record:?}");
        let remediated = condition(&install, "Remediated").map(|remediated| remediated.reason.clone());
        let undone = self.fault.fate == Fate::RollsBack && !is_check(&self.fault.stage);
        ensure!(!undone || remediated.as_deref() == Some("RolledBack"), "{what}: {remediated:?}");
        ensure!(status.installed_version.as_deref() == before, "{what}: {:?}", status.installed_version);
        match before {
            Some(before) => {
                let caller = self.caller().await?.context("it answers")?;
                ensure!(guest_says(&caller, &extension(self.number), "/version").await? == before, "{what}");
                if undone {
                    self.modules_were_told(before).await.context(what)?;
                }
            }
            None => {
                // What stays may hold its host, and does not answer there.
                let is_free = status.host.is_none() || self.fault.fate == Fate::Stays;
                ensure!(is_free && status.routes.is_empty(), "{what}: {:?} {:?}", status.host, status.routes);
            }
        }
        Ok(())
    }

    async fn is_installed(&self, version: &str) -> anyhow::Result<()> {
        let install = self.workspace.installed(&self.name()).await?;
        let status = status(&install);
        ensure!(status.installed_version.as_deref() == Some(version), "{:?}", status.installed_version);
        ensure!(status.history.first().is_some_and(|record| record.status == StageStatus::Finished));
        ensure!(condition(&install, "Remediated").is_none(), "nothing needs a remedy");
        let caller = self.caller().await?.context("it answers")?;
        until("its version answers", || async {
            Ok((guest_says(&caller, &extension(self.number), "/version").await? == version).then_some(()))
        })
        .await?;
        self.modules_were_told(version).await
    }

    /// The last that each module was told is the version that it has: nothing was done to it that was not undone, and nothing
    /// was undone twice.
    async fn modules_were_told(&self, version: &str) -> anyhow::Result<()> {
        let caller = self.caller().await?.context("it answers")?;
        let told = guest_was_told(&caller, &extension(self.number)).await?;
        let last: BTreeMap<_, _> =
            told.iter().map(|[_, module, _, to]| (module.as_str(), to.as_str())).collect();
        let expected = if version == OLD {
            [("store", OLD), ("search", OLD), ("old", OLD)]
        } else {
            [("store", OLD), ("search", NEW), ("new", NEW)]
        };
        for (module, to) in expected {
            ensure!(last.get(module) == Some(&to), "{module}: {told:?}");
        }
        let stays = told.iter().filter(|[action, module, ..]| module == "store" && action != "install");
        ensure!(version == OLD || stays.count() == 0, "what is the same is not called: {told:?}");
        Ok(())
    }

    /// What failed is asked for once more, and nothing fails.
    async fn tried_again(&self, wanted: &str) -> anyhow::Result<()> {
        let annotations = json!({ FAULTS_ANNOTATION: null, RETRY_ANNOTATION: wanted });
        self.patch(json!({ "metadata": { "annotations": annotations } })).await?;
        self.is_installed(wanted).await.with_context(|| format!("{:?}, tried again", self.fault))
    }
}

async fn each<T>(cases: &[Case], what: impl AsyncFn(&Case) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    stream::iter(cases).map(|case| what(case)).buffered(AT_A_TIME).try_collect().await
}

/// Where the controller is to die in each.
fn held(cases: &[Case], installs: Vec<Install>) -> Vec<(Install, String)> {
    installs.into_iter().zip(cases).map(|(install, case)| (install, case.fault.point())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stage_fails_and_the_controller_dies_before_in_and_after_it() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    published(world, &extension(0)).await?;
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
    probe.install("fault0", &extension(0), spec(OLD)).await?;
    let install_stages = stages(&probe.installed("fault0").await?);
    probe.change("fault0", spec(NEW)).await?;
    let upgrade_stages = stages(&probe.installed("fault0").await?);
    probe.installs().delete("fault0", &DeleteParams::default()).await?;
    until("the Install is gone", || async {
        Ok(probe.installs().get_opt("fault0").await?.is_none().then_some(()))
    })
    .await?;
    let cases = Case::all(&install_stages, &workspaces);
    let numbers = cases.iter().map(|case| case.number).max().unwrap_or_default();
    assert!(numbers > 8 && cases.len() > 80, "{} cases of {install_stages:?}", cases.len());
    try_join_all((1..=numbers).map(|number| async move { published(world, &extension(number)).await }))
        .await?;

    let faults = Faults::begin(world)?;
    let asked = each(&cases, async |case| case.asks_for(OLD).await).await?;
    faults.hold(&held(&cases, asked)).await?;
    faults.crash()?;
    each(&cases, async |case| case.ended(None, OLD).await).await?;
    let failed: Vec<Case> = cases.into_iter().filter(Case::fails).collect();
    each(&failed, async |case| case.tried_again(OLD).await).await?;

    let cases = Case::all(&upgrade_stages, &workspaces);
    assert!(cases.len() > 50, "{} cases of {upgrade_stages:?}", cases.len());
    let asked = each(&cases, async |case| case.asks_for(NEW).await).await?;
    faults.hold(&held(&cases, asked)).await?;
    // Nobody notices, whatever stage it is that the controller hangs in.
    each(&cases, async |case| {
        let caller = case.caller().await?.context("it answers")?;
        let version = guest_says(&caller, &extension(case.number), "/version").await?;
        let after = case.fault.moment == Moment::After && case.fault.stage == "Publish";
        ensure!(version == OLD || after || case.fault.stage == "Disable", "{:?}: {version}", case.fault);
        Ok(())
    })
    .await?;
    faults.crash()?;
    each(&cases, async |case| case.ended(Some(OLD), NEW).await).await?;
    let failed: Vec<Case> = cases.into_iter().filter(Case::fails).collect();
    each(&failed, async |case| case.tried_again(NEW).await).await?;

    // A revoke: what fails in it is tried again until it is done.
    let revoke_stages = [
        "CheckDependents",
        "Withdraw",
        "Lifecycle/search",
        "Lifecycle/store",
        "Purge",
        "RemoveDomainMapping",
    ];
    let mut cases = Vec::new();
    for (number, stage) in revoke_stages.into_iter().enumerate() {
        for (moment, workspace) in [Moment::Before, Moment::In, Moment::After].into_iter().zip(&workspaces) {
            let fault = Fault { stage: stage.to_owned(), moment, fate: Fate::Finishes };
            cases.push(Case { fault, workspace: workspace.clone(), number });
        }
    }
    let asked = each(&cases, async |case| {
        let annotations = json!({ FAULTS_ANNOTATION: case.fault.annotation() });
        case.patch(json!({ "metadata": { "annotations": annotations } })).await?;
        let deleted = case.workspace.installs().delete(&case.name(), &DeleteParams::default()).await?;
        deleted.left().context("it waits for its finalizer")
    })
    .await?;
    faults.hold(&held(&cases, asked)).await?;
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
    each(&cases, async |case| {
        case.workspace.install(&case.name(), &extension(case.number), spec(OLD)).await?;
        case.workspace.installed(&case.name()).await?;
        let caller = case.caller().await?.context("it answers")?;
        let told = guest_was_told(&caller, &extension(case.number)).await?;
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
    published(world, NAME).await?;
    let workspace = world.user("alice").await?.tenant("acme-fifty").await?;
    workspace.install("fifty", NAME, spec(OLD)).await?;
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

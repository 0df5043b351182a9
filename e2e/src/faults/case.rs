//! One case of a fault, and what holds when the flow that it happened to has come to its end.

use std::collections::{BTreeMap, BTreeSet};

use annex_apis::{FlowAction, Install, InstallStatus, REPROVISION_ANNOTATION, RETRY_ANNOTATION, StageStatus};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::{FAULTS_ANNOTATION, Fate, Fault, is_check};
use crate::{
    Caller, GUEST_ENDPOINTS, Publisher, Workspace, condition, guest_capabilities, guest_says, guest_was_told,
    modules, publish_guest, until, when,
};

/// The version that cases install.
pub const OLD: &str = "1.0.0";
/// The version that they are upgraded to.
pub const NEW: &str = "1.1.0";
/// Requests to kcp that are under way at a time.
const AT_A_TIME: usize = 20;

fn status(install: &Install) -> InstallStatus {
    install.status.clone().unwrap_or_default()
}

/// Publishes both versions of an extension with modules and lifecycle handlers.
///
/// # Errors
/// The registry refuses.
pub async fn publish_both(publisher: &Publisher, name: &str) -> anyhow::Result<()> {
    let manifest = |version: &str, parts: &[(&str, &str)]| {
        json!({
            "name": name, "publisher": "example.com", "version": version, "modules": modules(parts),
            "lifecycle": { "install": "note", "upgrade": "note", "uninstall": "note" },
            "capabilities": guest_capabilities(),
        })
    };
    publish_guest(publisher, manifest(OLD, &[("store", OLD), ("search", OLD), ("old", OLD)])).await?;
    publish_guest(publisher, manifest(NEW, &[("store", OLD), ("search", NEW), ("new", NEW)])).await
}

/// The spec of an Install of just this version, but for the extension's name.
#[must_use]
pub fn spec_of(version: &str) -> Value {
    json!({ "version": format!("={version}"), "public": GUEST_ENDPOINTS, "deletionPolicy": "Purge" })
}

/// A fault, and the Install that it happens to.
#[derive(Clone)]
pub struct Case {
    /// What happens.
    pub fault: Fault,
    /// Where.
    pub workspace: Workspace,
    number: usize,
}

impl Case {
    /// Each in an Install of its own, spread over these workspaces.
    #[must_use]
    pub fn all(faults: Vec<Fault>, workspaces: &[Workspace]) -> Vec<Self> {
        let numbers =
            (0..).flat_map(|number| workspaces.iter().map(move |workspace| (number, workspace.clone())));
        let case = |(fault, (number, workspace))| Self { fault, workspace, number };
        faults.into_iter().zip(numbers).map(case).collect()
    }

    /// The names of the extensions that these need.
    #[must_use]
    pub fn extensions(cases: &[Self]) -> BTreeSet<String> {
        cases.iter().map(Self::extension).collect()
    }

    /// The name of its Install.
    #[must_use]
    pub fn name(&self) -> String {
        format!("fault{}", self.number)
    }

    /// The name of its extension.
    #[must_use]
    pub fn extension(&self) -> String {
        format!("com.example.fault{}", self.number)
    }

    /// Whether its stage fails.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.fault.fate != Fate::Finishes
    }

    /// Changes its Install.
    ///
    /// # Errors
    /// kcp refuses.
    pub async fn patch(&self, patch: Value) -> anyhow::Result<Install> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        Ok(self.workspace.installs().patch(&self.name(), &params, &patch).await?)
    }

    /// What its Install says so that the fault happens.
    fn meets_its_fault(&self) -> Value {
        let on_failure = if self.fault.fate == Fate::Stays { "Continue" } else { "Rollback" };
        let annotations = json!({ FAULTS_ANNOTATION: self.fault.annotation() });
        json!({ "metadata": { "annotations": annotations }, "spec": { "onFailure": on_failure } })
    }

    /// Asks for what is there to be made again, on the way to which the fault happens.
    ///
    /// # Errors
    /// kcp refuses.
    pub async fn asks_again(&self) -> anyhow::Result<Install> {
        let mut wanted = self.meets_its_fault();
        // Another generation, as a fault happens once in each.
        let asked = json!({
            "metadata": { "annotations": { REPROVISION_ANNOTATION: "again" } }, "spec": { "historyLimit": 9 },
        });
        json_patch::merge(&mut wanted, &asked);
        self.patch(wanted).await
    }

    /// What was there is there, and has been made again.
    ///
    /// # Errors
    /// It is not.
    pub async fn is_made_again(&self) -> anyhow::Result<()> {
        let what = format!("{:?}", self.fault);
        let install = self.workspace.installed(&self.name()).await.with_context(|| what.clone())?;
        let record = status(&install).history.into_iter().next().context("a record")?;
        let (action, end) = (record.action, record.status);
        ensure!(
            (action, end) == (FlowAction::Reprovision, StageStatus::Finished),
            "{what}: {action:?} {end:?}"
        );
        ensure!(status(&install).reprovisioned.as_deref() == Some("again"), "{what}: the wish is answered");
        Ok(())
    }

    /// Asks for a version, on the way to which the fault happens.
    ///
    /// # Errors
    /// kcp refuses.
    pub async fn asks_for(&self, version: &str) -> anyhow::Result<Install> {
        let mut wanted = self.meets_its_fault();
        json_patch::merge(&mut wanted, &json!({ "spec": spec_of(version) }));
        if self.workspace.installs().get_opt(&self.name()).await?.is_some() {
            return self.patch(wanted).await;
        }
        let new = json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": self.name() }, "spec": { "extension": self.extension() },
        });
        json_patch::merge(&mut wanted, &new);
        let install = serde_json::from_value(wanted)?;
        Ok(self.workspace.installs().create(&PostParams::default(), &install).await?)
    }

    /// Who calls it. None: it has no host.
    ///
    /// # Errors
    /// kcp refuses.
    pub async fn caller(&self) -> anyhow::Result<Option<Caller>> {
        let install = self.workspace.installs().get(&self.name()).await?;
        status(&install)
            .url
            .filter(|_| status(&install).host.is_some())
            .map(|url| Caller::of(&url))
            .transpose()
    }

    /// The Install once its flow has come to its end, and what holds then is shown to hold. `before` is the version that it had.
    ///
    /// # Errors
    /// Something does not hold.
    pub async fn ended(&self, before: Option<&str>, wanted: &str) -> anyhow::Result<()> {
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
                ensure!(self.says_its_version(&caller).await? == before, "{what}");
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

    /// This version is there, answers, and is all that there is.
    ///
    /// # Errors
    /// It is not.
    pub async fn is_installed(&self, version: &str) -> anyhow::Result<()> {
        let install = self.workspace.installed(&self.name()).await?;
        let status = status(&install);
        ensure!(status.installed_version.as_deref() == Some(version), "{:?}", status.installed_version);
        ensure!(status.history.first().is_some_and(|record| record.status == StageStatus::Finished));
        ensure!(condition(&install, "Remediated").is_none(), "nothing needs a remedy");
        let caller = self.caller().await?.context("it answers")?;
        until("its version answers", || async {
            Ok((self.says_its_version(&caller).await? == version).then_some(()))
        })
        .await?;
        self.modules_were_told(version).await
    }

    /// The version that answers.
    ///
    /// # Errors
    /// None does.
    pub async fn says_its_version(&self, caller: &Caller) -> anyhow::Result<String> {
        // What executes may be asleep, and the gateway may hear of an Install a moment later than this.
        until("it is called", || async { Ok(guest_says(caller, &self.extension(), "/version").await.ok()) })
            .await
    }

    /// The last that each module was told is the version that it has: nothing was done to it that was not undone, and nothing
    /// was undone twice.
    async fn modules_were_told(&self, version: &str) -> anyhow::Result<()> {
        let caller = self.caller().await?.context("it answers")?;
        let told = guest_was_told(&caller, &self.extension()).await?;
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
    ///
    /// # Errors
    /// Something does.
    pub async fn tried_again(&self, wanted: &str) -> anyhow::Result<()> {
        let install = self.workspace.installs().get(&self.name()).await?;
        let another = format!("{:?}", install.metadata.generation);
        let annotations = json!({ FAULTS_ANNOTATION: null, RETRY_ANNOTATION: another });
        self.patch(json!({ "metadata": { "annotations": annotations } })).await?;
        self.is_installed(wanted).await.with_context(|| format!("{:?}, tried again", self.fault))
    }
}

/// Does something with each case.
///
/// # Errors
/// It fails with one of them.
pub async fn each_case<T>(
    cases: &[Case],
    what: impl AsyncFn(&Case) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    stream::iter(cases).map(|case| what(case)).buffered(AT_A_TIME).try_collect().await
}

//! The record of a flow: which stages it has, how far each is, and how it ends. Pure; whoever asks says what time it is.

use std::time::Duration;

use annex_apis::{
    EnabledModule, Flow, FlowAction, FlowRecord, FlowStage, FlowTarget, Install, InstallStatus, OnFailure,
    RETRY_ANNOTATION, StageStatus, enabled, held,
};
use annex_core::flow::{Action, Held, StageName, Wanted, action, plan};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;

use crate::conditions::Because;

/// As many modules as a flow's record holds: those of a version that was there before, and of one that is on its way.
const MOST_MODULES: usize = 128;
/// What a record says of why a flow failed: a status must stay small, with twenty of them too.
const LONGEST_MESSAGE: usize = 256;
/// A message of a stage.
const LONGEST_STAGE_MESSAGE: usize = 1024;
/// A flow that failed by no fault of the extension begins again after this, and after twice as long each time that it fails again.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(5);
const AGAIN_AT_MOST: SignedDuration = SignedDuration::from_hours(1);

/// A handler that failed is called again after this at the latest.
pub(super) const LAST_AGAIN: Duration = Duration::from_secs(60);

/// What a pass wants of the flow.
#[derive(Clone, Debug)]
pub(in crate::install) struct Wants {
    /// For the plan.
    pub(in crate::install) wanted: Wanted,
    /// To tell flows apart.
    pub(in crate::install) target: FlowTarget,
    /// The version that it is.
    pub(in crate::install) version: String,
    /// Everything is to be made once more.
    pub(in crate::install) again: bool,
}

/// What becomes of the pass.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::install) enum Course {
    /// There is no flow: all is as it is wanted, and what has drifted is repaired.
    Kept,
    /// A flow is under way.
    Runs,
    /// The last flow to this has failed, and is not begun again before this time; never by itself if there is none.
    Failed(Because, Option<Timestamp>),
}

/// The flow of an Install while a pass works on it, and those that ended in the pass.
#[derive(Clone, Debug)]
pub(in crate::install) struct Ledger {
    flow: Option<Flow>,
    history: Vec<FlowRecord>,
    limit: usize,
    generation: Option<i64>,
    retry: Option<String>,
    before: Option<String>,
    installed: Option<FlowTarget>,
    held: Held,
    /// Those that are enabled now.
    modules: Vec<EnabledModule>,
    /// Those of the version that is installed: at most as many as a version has, which is half of what a status holds.
    of_installed: Vec<EnabledModule>,
    /// Those of what is installed, where that is another now.
    installed_modules: Option<Vec<EnabledModule>>,
}

impl Ledger {
    /// As the status of the Install has it.
    pub(in crate::install) fn of(install: &Install) -> Self {
        let status = install.status.clone().unwrap_or_default();
        let asked = install.annotations().get(RETRY_ANNOTATION);
        Self {
            held: held(install),
            modules: enabled(&status).to_vec(),
            installed_modules: None,
            of_installed: status.modules.clone(),
            before: status.installed_version.clone(),
            flow: status.flow,
            history: status.history,
            limit: usize::try_from(install.spec.history_limit).unwrap_or_default(),
            generation: install.metadata.generation,
            retry: asked.map(|asked| asked.chars().take(256).collect()),
            installed: status.content_hash.zip(status.host).map(|(content_hash, host)| FlowTarget {
                content_hash,
                host,
                place: String::new(),
            }),
        }
    }

    /// As it can be now. A clock that went ahead has left times that are still to come: a flow that began then would never have taken too
    /// long, and what is to be tried again then would not be for as long as the clock was wrong.
    pub(in crate::install) fn seen_at(mut self, now: Timestamp) -> Self {
        let Some(flow) = &mut self.flow else { return self };
        let no_later = |time: &mut Time, than: Option<Timestamp>| {
            if let Some(than) = than.filter(|than| time.0 > *than) {
                time.0 = than;
            }
        };
        no_later(&mut flow.started_at, Some(now));
        for stage in &mut flow.stages {
            for time in [&mut stage.started_at, &mut stage.finished_at].into_iter().flatten() {
                no_later(time, Some(now));
            }
            if let Some(time) = &mut stage.next_try_at {
                no_later(time, now.checked_add(LAST_AGAIN).ok());
            }
        }
        if let Some(time) = &mut flow.again_at {
            no_later(time, now.checked_add(AGAIN_AT_MOST + AGAIN_AT_MOST / 4).ok());
        }
        self
    }

    /// What the status is to say of it.
    pub(in crate::install) fn write(&self, status: &mut InstallStatus) {
        status.flow.clone_from(&self.flow);
        status.history.clone_from(&self.history);
        status.history.truncate(self.limit);
        if let Some(modules) = &self.installed_modules {
            status.modules.clone_from(modules);
        }
    }

    /// The flow under way: begun, and neither ended nor failed.
    fn running(&mut self) -> Option<&mut Flow> {
        self.flow.as_mut().filter(|flow| is_under_way(flow))
    }

    pub(in crate::install) fn runs(&self) -> bool {
        self.flow.as_ref().is_some_and(is_under_way)
    }

    /// The flow that has failed and is being undone, as long as nobody asks for something else.
    pub(in crate::install) fn rolls_back(&self) -> Option<&Flow> {
        self.flow.as_ref().filter(|flow| {
            flow.finished_at.is_none()
                && flow.status == StageStatus::Failed
                && flow.action != FlowAction::Revoke
                && flow.generation == self.generation
                && flow.retry == self.retry
        })
    }

    /// The last flow, or the one under way.
    pub(in crate::install) fn flow(&self) -> Option<&Flow> {
        self.flow.as_ref()
    }

    /// The modules that are enabled now.
    pub(in crate::install) fn modules(&self) -> &[EnabledModule] {
        &self.modules
    }

    /// Goes on with the flow to what is wanted, or begins one if there has to be one. Another one that is under way ends here: what it did
    /// is where the next one begins.
    pub(in crate::install) fn course(&mut self, wants: &Wants, now: Timestamp) -> Course {
        let (generation, retry) = (self.generation, self.retry.clone());
        let is_wanted = |flow: &Flow| flow.target.as_ref() == Some(&wants.target);
        if let Some(flow) = self.running()
            && is_wanted(flow)
            && !wants.again
        {
            flow.generation = generation;
            if flow.retry != retry {
                flow.retry = retry;
                for stage in flow.stages.iter_mut().filter(|stage| stage.status == StageStatus::InProgress) {
                    (stage.retries, stage.next_try_at) = (0, None);
                }
            }
            return Course::Runs;
        }
        if let Some(failed) = self.failed(wants, now) {
            return failed;
        }
        self.supersede(now);
        let stages = plan(&self.held, &wants.wanted, wants.again);
        let Some(action) = action(&self.held, &wants.wanted, wants.again) else { return Course::Kept };
        self.begin(action, stages.iter().map(|stage| &stage.name), now);
        if let Some(flow) = &mut self.flow {
            flow.to = Some(wants.version.clone());
            flow.target = Some(wants.target.clone());
        }
        Course::Runs
    }

    /// Whether the same has failed, and nothing has changed since.
    fn failed(&self, wants: &Wants, now: Timestamp) -> Option<Course> {
        let flow = self.flow.as_ref().filter(|flow| {
            let is_the_same = flow.target.as_ref() == Some(&wants.target)
                && flow.generation == self.generation
                && flow.retry == self.retry
                && !wants.again;
            is_the_same
                && flow.finished_at.is_some()
                && flow.action != FlowAction::Revoke
                && flow.status != StageStatus::Finished
        })?;
        let again = flow.again_at.as_ref().map(|at| at.0);
        if again.is_some_and(|at| at <= now) {
            return None;
        }
        Some(Course::Failed(why(flow), again))
    }

    /// The flow under way is not gone on with.
    fn supersede(&mut self, now: Timestamp) {
        let installed = self.installed.clone();
        let Some(flow) = self.flow.as_mut().filter(|flow| flow.finished_at.is_none()) else { return };
        let reached = installed.zip(flow.target.as_ref()).is_some_and(|(installed, target)| {
            installed.content_hash == target.content_hash && installed.host == target.host
        });
        // Of one that has reached its end only what was there before is left, which the next one takes along.
        let failed = flow.status == StageStatus::Failed;
        let status = match (reached, failed) {
            (true, false) => StageStatus::Finished,
            (false, false) => StageStatus::Cancelled,
            (_, true) => StageStatus::Failed,
        };
        let reason = if failed {
            why(flow)
        } else {
            Because::new("Superseded", "something else was asked for meanwhile")
        };
        for stage in flow.stages.iter_mut().filter(|stage| stage.status == StageStatus::InProgress) {
            stage.status = StageStatus::Cancelled;
            stage.finished_at = Some(Time(now));
        }
        self.end(status, (status != StageStatus::Finished).then_some(reason), now);
    }

    /// Begins the flow that takes everything away, unless it is under way.
    pub(in crate::install) fn revoke(&mut self, purge: bool, now: Timestamp) {
        if self
            .flow
            .as_ref()
            .is_some_and(|flow| flow.action == FlowAction::Revoke && flow.finished_at.is_none())
        {
            return;
        }
        self.supersede(now);
        let stages = plan(&self.held, &Wanted::Gone { purge }, false);
        self.begin(Action::Revoke, stages.iter().map(|stage| &stage.name), now);
    }

    fn begin<'a>(&mut self, action: Action, stages: impl Iterator<Item = &'a StageName>, now: Timestamp) {
        let stages = stages.map(|name| FlowStage { name: name.to_string(), ..FlowStage::default() });
        self.flow = Some(Flow {
            id: uuid::Uuid::new_v4().to_string(),
            action: match action {
                Action::Install => FlowAction::Install,
                Action::Upgrade => FlowAction::Upgrade,
                Action::Reprovision => FlowAction::Reprovision,
                Action::Revoke => FlowAction::Revoke,
            },
            status: StageStatus::InProgress,
            from: self.before.clone(),
            to: None,
            target: None,
            started_at: Time(now),
            finished_at: None,
            generation: self.generation,
            retry: self.retry.clone(),
            again_at: None,
            stages: stages.collect(),
            // As an earlier flow left them that did not get to its end.
            modules: self.flow.take().and_then(|flow| flow.modules),
        });
    }

    /// The pass comes to this stage. What it was at before is done.
    pub(in crate::install) fn enter(&mut self, name: &StageName, now: Timestamp) {
        let name = name.to_string();
        let Some(flow) = self.running() else { return };
        let queued = |stage: &FlowStage| stage.name == name && stage.status == StageStatus::Queued;
        if !flow.stages.iter().any(queued) {
            return;
        }
        for stage in &mut flow.stages {
            match stage.status {
                StageStatus::InProgress => finished(stage, now),
                StageStatus::Queued if stage.name == name => {
                    stage.status = StageStatus::InProgress;
                    stage.started_at = Some(Time(now));
                }
                _ => {}
            }
        }
    }

    /// The stage that the flow is at is not done, and will be tried again.
    pub(in crate::install) fn waits(&mut self, because: &Because) {
        if let Some(stage) = self.running().and_then(at) {
            say(stage, because);
        }
    }

    /// A call of a stage's handler has failed, and is tried again after some time. Returns when.
    pub(in crate::install) fn tries_again(
        &mut self,
        name: &StageName,
        because: &Because,
        after: Duration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let at = now.checked_add(after).ok();
        if let Some(stage) = self.named(name) {
            stage.retries = stage.retries.saturating_add(1);
            stage.next_try_at = at.map(Time);
            say(stage, because);
        }
        at
    }

    fn named(&mut self, name: &StageName) -> Option<&mut FlowStage> {
        let name = name.to_string();
        self.flow.as_mut()?.stages.iter_mut().find(|stage| stage.name == name)
    }

    /// Whether the flow is at this stage, or will come to it.
    pub(in crate::install) fn is_at(&self, name: &StageName) -> bool {
        let is_due =
            |stage: &FlowStage| matches!(stage.status, StageStatus::Queued | StageStatus::InProgress);
        self.runs() && self.stage(name).is_some_and(is_due)
    }

    /// Whether the flow has yet to come to this stage.
    pub(in crate::install) fn has_before_it(&self, name: &StageName) -> bool {
        self.runs() && self.stage(name).is_some_and(|stage| stage.status == StageStatus::Queued)
    }

    /// Whether the flow is in the middle of this stage.
    pub(in crate::install) fn is_in(&self, name: &StageName) -> bool {
        self.runs() && self.stage(name).is_some_and(|stage| stage.status == StageStatus::InProgress)
    }

    /// The stage that the flow is in the middle of.
    pub(in crate::install) fn in_progress(&self) -> Option<&str> {
        let flow = self.flow.as_ref().filter(|flow| is_under_way(flow))?;
        flow.stages
            .iter()
            .find(|stage| stage.status == StageStatus::InProgress)
            .map(|stage| stage.name.as_str())
    }

    /// The stage in which the flow has failed.
    pub(in crate::install) fn failed_stage(&self) -> Option<&str> {
        let stages = &self.flow.as_ref()?.stages;
        stages.iter().find(|stage| stage.status == StageStatus::Failed).map(|stage| stage.name.as_str())
    }

    /// The stage with this name, if the flow is at it.
    pub(in crate::install) fn stage(&self, name: &StageName) -> Option<&FlowStage> {
        let name = name.to_string();
        self.flow.as_ref()?.stages.iter().find(|stage| stage.name == name)
    }

    /// A module is enabled in its new version, or no longer enabled.
    pub(in crate::install) fn called(&mut self, name: &str, to: Option<&EnabledModule>) {
        let at = self.modules.iter().position(|module| module.name == name);
        match (at, to) {
            (Some(at), Some(to)) => {
                if let Some(module) = self.modules.get_mut(at) {
                    module.clone_from(to);
                }
            }
            (None, Some(to)) => {
                // Flows that never got to their end leave their modules here, and a status holds no more: the first of those goes,
                // and is called by nobody any more.
                let is_left = |module: &EnabledModule| !self.of_installed.contains(module);
                if self.modules.len() >= MOST_MODULES
                    && let Some(left) = self.modules.iter().position(is_left)
                {
                    self.modules.remove(left);
                }
                self.modules.push(to.clone());
            }
            (Some(at), None) => drop(self.modules.remove(at)),
            (None, None) => {}
        }
        if let Some(flow) = &mut self.flow {
            flow.modules = Some(self.modules.clone());
        }
    }

    /// Since when the flow changes something. None: it has not begun to.
    pub(in crate::install) fn changing_since(&self) -> Option<Timestamp> {
        let flow = self.flow.as_ref().filter(|_| self.runs())?;
        let began = flow.stages.iter().filter(|stage| !is_check(&stage.name));
        began.filter_map(|stage| stage.started_at.as_ref()).map(|time| time.0).min()
    }

    /// Whether the flow under way began longer ago than that.
    pub(in crate::install) fn began_before(&self, now: Timestamp, ago: SignedDuration) -> bool {
        self.flow.as_ref().is_some_and(|flow| now.duration_since(flow.started_at.0) > ago)
    }

    /// The flow has failed in the stage that it is at. `again`: it is no fault of the extension's, and worth another flow.
    pub(in crate::install) fn fails(
        &mut self,
        because: &Because,
        on_failure: OnFailure,
        again: bool,
        now: Timestamp,
    ) {
        let failures = self.failures();
        let Some(flow) = self.running() else { return };
        if let Some(stage) = at(flow) {
            stage.status = StageStatus::Failed;
            stage.finished_at = Some(Time(now));
            say(stage, because);
            (stage.retries, stage.next_try_at) = (0, None);
        }
        flow.status = StageStatus::Failed;
        flow.again_at = again.then(|| now.checked_add(pause(failures, &flow.id)).ok().map(Time)).flatten();
        let changed = flow.stages.iter().any(|stage| {
            !is_check(&stage.name) && matches!(stage.status, StageStatus::Finished | StageStatus::Failed)
        });
        if on_failure == OnFailure::Continue {
            self.end(StageStatus::Failed, Some(because.clone()), now);
        } else if !changed {
            self.end(StageStatus::Cancelled, Some(because.clone()), now);
        }
    }

    /// How many flows in a row have failed.
    fn failures(&self) -> usize {
        self.history.iter().take_while(|record| record.status != StageStatus::Finished).count()
    }

    /// What a stage of a flow that failed, or that takes everything away, had to undo is undone, or cannot be.
    pub(in crate::install) fn undone(&mut self, name: &StageName, failed: Option<&Because>, now: Timestamp) {
        let revokes = self.flow.as_ref().is_some_and(|flow| flow.action == FlowAction::Revoke);
        let Some(stage) = self.named(name) else { return };
        match failed {
            None if revokes => finished(stage, now),
            None => stage.status = StageStatus::Cancelled,
            Some(because) => {
                stage.status = if revokes { StageStatus::Failed } else { StageStatus::CancellationFailed };
                say(stage, because);
            }
        }
        stage.finished_at = Some(Time(now));
        stage.next_try_at = None;
    }

    /// How long ago the flow failed.
    pub(in crate::install) fn failed_since(&self, now: Timestamp) -> Option<SignedDuration> {
        let stages = &self.flow.as_ref()?.stages;
        let failed = stages.iter().find(|stage| stage.status == StageStatus::Failed)?;
        Some(now.duration_since(failed.finished_at.as_ref()?.0))
    }

    /// The modules count as being what they were: there is nobody left who could be told.
    pub(in crate::install) fn forget_modules(&mut self, before: &[EnabledModule]) {
        self.modules = before.to_vec();
        if let Some(flow) = &mut self.flow {
            flow.modules = None;
        }
    }

    /// What the flow did is undone, as far as that can be.
    pub(in crate::install) fn rolled_back(&mut self, now: Timestamp) {
        let Some(flow) = self.flow.as_mut().filter(|flow| flow.finished_at.is_none()) else { return };
        let because = why(flow);
        for stage in &mut flow.stages {
            if stage.status == StageStatus::Finished && !is_check(&stage.name) {
                stage.status = StageStatus::Cancelled;
            }
        }
        let all = flow.stages.iter().all(|stage| stage.status != StageStatus::CancellationFailed);
        if all {
            flow.modules = None;
        }
        let status = if all { StageStatus::Cancelled } else { StageStatus::CancellationFailed };
        self.end(status, Some(because), now);
    }

    /// What is wanted answers. From here on nothing is undone: what is left is what was there before.
    pub(in crate::install) fn reached(&mut self, modules: Vec<EnabledModule>, now: Timestamp) {
        let Some(flow) = self.running() else { return };
        flow.modules = None;
        let last = flow.stages.iter().rposition(|stage| !comes_after(&stage.name)).map_or(0, |last| last + 1);
        for (index, stage) in flow.stages.iter_mut().enumerate() {
            if index < last && stage.status != StageStatus::Finished {
                finished(stage, now);
            } else if index == last && stage.status == StageStatus::Queued {
                stage.status = StageStatus::InProgress;
                stage.started_at = Some(Time(now));
            }
        }
        self.modules.clone_from(&modules);
        self.installed_modules = Some(modules);
    }

    /// Nothing is left to do.
    pub(in crate::install) fn finishes(&mut self, now: Timestamp) {
        let Some(flow) = self.running() else { return };
        for stage in flow.stages.iter_mut().filter(|stage| stage.status != StageStatus::Finished) {
            finished(stage, now);
        }
        self.end(StageStatus::Finished, None, now);
    }

    fn end(&mut self, status: StageStatus, because: Option<Because>, now: Timestamp) {
        let Some(flow) = &mut self.flow else { return };
        flow.status = status;
        flow.finished_at = Some(Time(now));
        self.history.insert(
            0,
            FlowRecord {
                id: flow.id.clone(),
                action: flow.action,
                status,
                from: flow.from.clone(),
                to: flow.to.clone(),
                started_at: flow.started_at.clone(),
                finished_at: flow.finished_at.clone(),
                reason: because.as_ref().map(|because| because.reason.to_string()),
                message: because.map(|because| cut(&because.message, LONGEST_MESSAGE)),
            },
        );
    }
}

fn is_under_way(flow: &Flow) -> bool {
    flow.finished_at.is_none() && flow.status == StageStatus::InProgress
}

/// The stage that the flow is at.
fn at(flow: &mut Flow) -> Option<&mut FlowStage> {
    flow.stages.iter_mut().find(|stage| stage.status == StageStatus::InProgress)
}

fn finished(stage: &mut FlowStage, now: Timestamp) {
    stage.status = StageStatus::Finished;
    stage.started_at.get_or_insert(Time(now));
    stage.finished_at = Some(Time(now));
    (stage.reason, stage.message, stage.next_try_at) = (None, None, None);
}

fn say(stage: &mut FlowStage, because: &Because) {
    stage.reason = Some(because.reason.to_string());
    stage.message = Some(cut(&because.message, LONGEST_STAGE_MESSAGE));
}

/// Why a flow has failed: what its failed stage says.
pub(in crate::install) fn why(flow: &Flow) -> Because {
    let failed = flow.stages.iter().find(|stage| stage.status == StageStatus::Failed);
    let (reason, message) =
        failed.map_or((None, None), |stage| (stage.reason.clone(), stage.message.clone()));
    Because {
        reason: reason.unwrap_or_else(|| "FlowFailed".to_owned()).into(),
        message: message.unwrap_or_else(|| "the flow has failed".to_owned()),
    }
}

/// Whether a stage only finds something out.
fn is_check(name: &str) -> bool {
    ["Resolve", "Verify", "CheckDependencies", "CheckDependents", "CheckQuota"].contains(&name)
}

/// Whether a stage only takes away what was there before.
fn comes_after(name: &str) -> bool {
    ["Disable", "Withdraw", "RemoveDomainMapping", "ReleaseDomainClaim", "RemoveRunner", "LeaveEnvironment"]
        .contains(&name)
}

/// How long until the next flow, after so many that failed in a row. Up to a quarter more, by the flow's id, which is random: many that
/// failed at once do not all begin again at once.
fn pause(failures: usize, id: &str) -> SignedDuration {
    let pause = AGAIN_AFTER.saturating_mul(1 << failures.min(8)).min(AGAIN_AT_MOST);
    let spread = id.bytes().fold(0_i32, |sum, byte| (sum * 31 + i32::from(byte)) % 1024);
    pause + pause * spread / 4096
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

#[cfg(test)]
mod tests;

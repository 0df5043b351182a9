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
/// As many stages as a flow's record holds.
const MOST_STAGES: usize = 160;
/// What a record says of why a flow failed: a status must stay small, with twenty of them too.
const LONGEST_MESSAGE: usize = 256;
/// Of older flows than these a record says only the reason.
const TELLING: usize = 5;
/// What all records may take together, as JSON, in bytes. The oldest give way.
const LONGEST_HISTORY: usize = 4 << 10;
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
    /// Everything is to be made once more, because of this wish.
    pub(in crate::install) again: Option<String>,
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
    /// Those that are enabled by what was called since the status was read, where something was.
    called: Option<Vec<EnabledModule>>,
    /// Those that the flow is to enable which the status records.
    wanted: Vec<EnabledModule>,
    /// The wish for everything to be made once more that a flow was begun for.
    answered: Option<String>,
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
            called: None,
            wanted: Vec::new(),
            answered: None,
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

    /// `wanted` is what the flow is to enable which the status records: where it is not known how a call ended, what it was to reach is what
    /// has to be undone.
    pub(in crate::install) fn on_the_way_to(mut self, wanted: Vec<EnabledModule>) -> Self {
        self.wanted = wanted;
        self
    }

    /// What the status is to say of it.
    pub(in crate::install) fn write(&self, status: &mut InstallStatus) {
        status.flow.clone_from(&self.flow);
        status.history = bounded(&self.history, self.limit);
        if let Some(modules) = &self.installed_modules {
            status.modules.clone_from(modules);
        }
        if self.answered.is_some() {
            status.reprovisioned.clone_from(&self.answered);
        }
    }

    /// Whether a flow was begun, just now, because everything is to be made once more.
    pub(in crate::install) fn begins_again(&self) -> bool {
        self.answered.is_some()
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
        self.flow
            .as_ref()
            .filter(|flow| is_undone(flow) && flow.generation == self.generation && flow.retry == self.retry)
    }

    /// What was asked for meanwhile cannot be had yet: what the flow that failed did is undone first, and it begins as soon as it can.
    /// Whether there is such a flow.
    pub(in crate::install) fn goes_on_undoing(&mut self, now: Timestamp) -> bool {
        let (generation, retry) = (self.generation, self.retry.clone());
        let Some(flow) = self.flow.as_mut().filter(|flow| is_undone(flow)) else { return false };
        (flow.generation, flow.retry, flow.again_at) = (generation, retry, Some(Time(now)));
        true
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
            && wants.again.is_none()
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
        let again = wants.again.is_some() || self.has_failed_to_make_again(wants);
        self.supposes_called_back(&wants.wanted);
        self.supersede(&wants.wanted, now);
        let stages = plan(&self.held, &wants.wanted, again);
        let Some(action) = action(&self.held, &wants.wanted, again) else { return Course::Kept };
        self.begin(action, stages.iter().map(|stage| &stage.name), now);
        self.answered.clone_from(&wants.again);
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
                && wants.again.is_none();
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

    /// Whether this is what was to be made once more, in vain. Nothing else tells: all that there is is as it is wanted.
    fn has_failed_to_make_again(&self, wants: &Wants) -> bool {
        let failed = [StageStatus::Failed, StageStatus::Cancelled, StageStatus::CancellationFailed];
        self.flow.as_ref().is_some_and(|flow| {
            flow.action == FlowAction::Reprovision
                && flow.target.as_ref() == Some(&wants.target)
                && failed.contains(&flow.status)
        })
    }

    /// The flow under way is not gone on with.
    fn supersede(&mut self, wanted: &Wanted, now: Timestamp) {
        self.supposes_called(wanted);
        let installed = self.installed.clone();
        let Some(flow) = self.flow.as_mut().filter(|flow| flow.finished_at.is_none()) else { return };
        // What answers may have been there before, where it was to be made once more.
        let is_made = is_reached(flow);
        let reached = installed.zip(flow.target.as_ref()).is_some_and(|(installed, target)| {
            is_made && installed.content_hash == target.content_hash && installed.host == target.host
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

    /// Whoever calls handlers writes it down before, and how they ended afterwards. Where that is missing they may have been called, and what
    /// was done and not undone is worse than what is undone once too often: those count as called that are not wanted any more, or as they
    /// were before. Of the others each is called for what is wanted, and one that was never called is not taken for one that was.
    fn supposes_called(&mut self, wanted: &Wanted) {
        let Some(flow) = self.flow.as_ref().filter(|flow| is_under_way(flow)) else { return };
        if flow.action == FlowAction::Revoke || !flow.stages.iter().any(is_unheard_of) {
            return;
        }
        let names: Vec<&str> =
            flow.stages.iter().filter(|stage| is_open(stage)).filter_map(module_of).collect();
        let goes_back = |name: &str| match wanted {
            Wanted::Gone { .. } => true,
            Wanted::Installed { modules, .. } => {
                let wanted = modules.iter().find(|(module, _)| module == name).map(|(_, module)| module);
                wanted.is_none() || wanted == self.held.modules.get(name)
            }
        };
        let called = self.wanted.iter().filter(|module| names.contains(&module.name.as_str()));
        let called: Vec<EnabledModule> = called.filter(|module| goes_back(&module.name)).cloned().collect();
        for module in called {
            self.held.modules.extend(module.parsed().map(|parsed| (module.name.clone(), parsed)));
            self.called(&module.name, Some(&module));
        }
    }

    /// The flow is about to fail, and is undone then: so is what may have been called.
    pub(in crate::install) fn undoes_what_is_unheard_of(&mut self) {
        self.supposes_called(&Wanted::Gone { purge: false });
    }

    /// The same in a flow that is being undone, where what it enabled is wanted after all: whose turn it was counts as called back, and is
    /// called once more. Where anything else is wanted, it is called for that in any case.
    fn supposes_called_back(&mut self, wanted: &Wanted) {
        let Wanted::Installed { modules: wanted, .. } = wanted else { return };
        let Some(flow) = self.flow.as_ref().filter(|flow| is_undone(flow)) else { return };
        let in_turn = flow.stages.iter().filter(|stage| stage.next_try_at.is_some()).filter_map(module_of);
        let is_wanted = |name: &&str| {
            let enabled = self.held.modules.get(*name);
            enabled.is_some() && wanted.iter().any(|(one, module)| one == name && Some(module) == enabled)
        };
        let names: Vec<String> = in_turn.filter(is_wanted).map(str::to_owned).collect();
        for name in names {
            let former = self.of_installed.iter().find(|module| module.name == name).cloned();
            match former.as_ref().and_then(EnabledModule::parsed) {
                Some(parsed) => drop(self.held.modules.insert(name.clone(), parsed)),
                None => drop(self.held.modules.remove(&name)),
            }
            self.called(&name, former.as_ref());
        }
    }

    /// A handler of this stage is about to be called: how that ends is not known until it is written down.
    pub(in crate::install) fn calls(&mut self, name: &StageName, now: Timestamp) {
        let undoes = self.undoes();
        let Some(stage) = self.named(name) else { return };
        if undoes {
            stage.next_try_at = Some(Time(now));
        } else if stage.status == StageStatus::InProgress {
            (stage.reason, stage.message, stage.next_try_at) = (None, None, None);
        }
    }

    /// It could not be called, and has not been.
    pub(in crate::install) fn was_not_called(&mut self, name: &StageName, because: &Because) {
        let Some(stage) = self.named(name) else { return };
        stage.next_try_at = None;
        if stage.status == StageStatus::InProgress {
            say(stage, because);
        }
    }

    /// Whether the flow leads to this content, or did, and is not begun again by itself just now.
    pub(in crate::install) fn has_begun(&self, content_hash: &str, now: Timestamp) -> bool {
        self.flow.as_ref().is_some_and(|flow| {
            // What it left has begun, and is gone on with.
            let by_itself = flow.finished_at.is_some()
                && flow.modules.is_none()
                && flow.generation == self.generation
                && flow.retry == self.retry
                && flow.again_at.as_ref().is_some_and(|at| at.0 <= now);
            flow.target.as_ref().is_some_and(|target| target.content_hash == content_hash) && !by_itself
        })
    }

    /// Time in which nothing was to be done counts for no flow.
    pub(in crate::install) fn goes_on_after_a_pause(&mut self, now: Timestamp) {
        let undoes = self.undoes();
        let Some(flow) = self.flow.as_mut().filter(|flow| flow.finished_at.is_none()) else { return };
        for stage in flow.stages.iter_mut().filter(|stage| !is_check(&stage.name)) {
            if let Some(at) = &mut stage.started_at
                && !undoes
            {
                at.0 = now;
            }
            if let Some(at) = &mut stage.finished_at
                && undoes == (stage.status == StageStatus::Failed)
            {
                at.0 = now;
            }
        }
    }

    /// Whether the flow has failed, and what it did is being undone.
    pub(in crate::install) fn undoes(&self) -> bool {
        self.flow.as_ref().is_some_and(is_undone)
    }

    /// The flow as this status records it, but with the modules that were called since: for when nothing else of the pass could be written
    /// down. None: none was, or it is another flow.
    pub(in crate::install) fn calls_of(&self, status: &InstallStatus) -> Option<Flow> {
        let called = self.called.as_ref().filter(|called| *called != enabled(status))?;
        let recorded = status.flow.as_ref().filter(|flow| flow.finished_at.is_none())?;
        let mut flow = self.flow.as_ref().filter(|flow| flow.id == recorded.id).map(|_| recorded.clone())?;
        flow.modules = Some(called.clone());
        let because = Because::new("Interrupted", "the Install has changed while handlers were called");
        for stage in flow.stages.iter_mut().filter(|stage| module_of(stage).is_some()) {
            if stage.status == StageStatus::InProgress && stage.reason.is_none() {
                say(stage, &because);
            }
        }
        Some(flow)
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
        let gone = Wanted::Gone { purge };
        self.supersede(&gone, now);
        let stages = plan(&self.held, &gone, false);
        // Whose handlers know of what was called: of a flow that never got to its end its own, and where nothing is installed nobody else's.
        let knows = |flow: &&Flow| flow.modules.is_some() || self.installed.is_none();
        let target = self.flow.as_ref().filter(knows).and_then(|flow| flow.target.clone());
        self.begin(Action::Revoke, stages.iter().map(|stage| &stage.name), now);
        if let Some(flow) = &mut self.flow {
            flow.target = target;
        }
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

    /// The stage that the flow is at is not done, and will be tried again. Of a call that nobody has heard the end of nothing else is said:
    /// it may have been made.
    pub(in crate::install) fn waits(&mut self, because: &Because) {
        if let Some(stage) = self.running().and_then(at).filter(|stage| !is_unheard_of(stage)) {
            say(stage, because);
        }
    }

    /// Whether the flow under way has reached what is wanted: only what was there before is left to be taken away.
    pub(in crate::install) fn is_settled(&self) -> bool {
        self.flow.as_ref().is_some_and(|flow| is_under_way(flow) && is_reached(flow))
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
            // Where the flow failed, that has to be known of it, and not how its undoing goes.
            if stage.status != StageStatus::Failed {
                say(stage, because);
            }
        }
        at
    }

    fn named(&mut self, name: &StageName) -> Option<&mut FlowStage> {
        let name = name.to_string();
        self.flow.as_mut()?.stages.iter_mut().find(|stage| stage.name == name)
    }

    /// A module is about to be called back. Where another flow has called it than the one that is undone, it gets a stage of its own in this
    /// one: without, nobody would count how often it was called.
    pub(in crate::install) fn will_call_back(&mut self, name: &StageName, now: Timestamp) {
        if self.named(name).is_some() {
            return;
        }
        if let Some(flow) = self.flow.as_mut().filter(|flow| flow.stages.len() < MOST_STAGES) {
            let mut stage = FlowStage { name: name.to_string(), ..FlowStage::default() };
            finished(&mut stage, now);
            // Before the stage in which this one failed.
            flow.stages.insert(0, stage);
        }
    }

    /// Whether the flow is at this stage, or will come to it.
    pub(in crate::install) fn is_at(&self, name: &StageName) -> bool {
        self.runs() && self.stage(name).is_some_and(is_open)
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
        self.called = Some(self.modules.clone());
    }

    /// Since when the flow under way changes something. None: it has not begun to.
    pub(in crate::install) fn changing_since(&self) -> Option<Timestamp> {
        changing_since(self.flow.as_ref()?)
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
        let (generation, retry) = (self.generation, self.retry.clone());
        let Some(flow) = self.running() else { return };
        if let Some(stage) = at(flow) {
            stage.status = StageStatus::Failed;
            stage.finished_at = Some(Time(now));
            say(stage, because);
            (stage.retries, stage.next_try_at) = (0, None);
        }
        if on_failure == OnFailure::Rollback {
            // How often a module was called says nothing of how often it is called back.
            flow.stages
                .iter_mut()
                .filter(|stage| module_of(stage).is_some())
                .for_each(|stage| stage.retries = 0);
        }
        flow.status = StageStatus::Failed;
        // Whatever was asked for since it began, this is what failed: it is undone for that.
        (flow.generation, flow.retry) = (generation, retry);
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
        stage.next_try_at = None;
        match failed {
            None if revokes => finished(stage, now),
            // In this one the flow failed, which is what has to be known of it.
            None if stage.status == StageStatus::Failed => return,
            None => stage.status = StageStatus::Cancelled,
            Some(because) if revokes => {
                stage.status = StageStatus::Failed;
                say(stage, because);
            }
            Some(because) => {
                if stage.status == StageStatus::Failed {
                    say_too(stage, because);
                } else {
                    say(stage, because);
                }
                stage.status = StageStatus::CancellationFailed;
            }
        }
        stage.finished_at = Some(Time(now));
    }

    /// How long ago the flow failed.
    pub(in crate::install) fn failed_since(&self, now: Timestamp) -> Option<SignedDuration> {
        let failed = failed_in(self.flow.as_ref()?)?;
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

    /// Of a flow that takes everything away: nobody is called, and what is stored stays.
    pub(in crate::install) fn leaves_modules(&mut self, because: &Because, now: Timestamp) {
        self.modules.clear();
        let Some(flow) = self.running() else { return };
        flow.modules = Some(Vec::new());
        let is_left = |stage: &&mut FlowStage| {
            is_open(stage) && (module_of(stage).is_some() || stage.name == StageName::Purge.to_string())
        };
        for stage in flow.stages.iter_mut().filter(is_left) {
            stage.status = StageStatus::Cancelled;
            stage.finished_at = Some(Time(now));
            say(stage, because);
        }
    }

    /// Nothing is left to do.
    pub(in crate::install) fn finishes(&mut self, now: Timestamp) {
        let Some(flow) = self.running() else { return };
        for stage in flow.stages.iter_mut().filter(|stage| is_open(stage)) {
            finished(stage, now);
        }
        // Who could not be called properly has gone all the same, and that is to be told.
        let because = failed_in(flow).map(|_| why(flow));
        self.end(StageStatus::Finished, because, now);
    }

    /// How the last flow that has ended did so.
    pub(in crate::install) fn last_record(&self) -> Option<&FlowRecord> {
        self.history.first()
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

/// As much of the history as a status holds.
fn bounded(history: &[FlowRecord], limit: usize) -> Vec<FlowRecord> {
    let mut bytes = 0;
    let told = history.iter().take(limit).enumerate().map(|(age, record)| FlowRecord {
        message: record.message.clone().filter(|_| age < TELLING),
        ..record.clone()
    });
    let fits = |record: &FlowRecord| {
        bytes += serde_json::to_vec(record).map_or(LONGEST_HISTORY, |json| json.len());
        bytes <= LONGEST_HISTORY
    };
    told.take_while(fits).collect()
}

fn is_under_way(flow: &Flow) -> bool {
    flow.finished_at.is_none() && flow.status == StageStatus::InProgress
}

/// See [`Ledger::changing_since`].
fn changing_since(flow: &Flow) -> Option<Timestamp> {
    let stages = flow.stages.iter().filter(|stage| is_under_way(flow) && !is_check(&stage.name));
    stages.filter_map(|stage| stage.started_at.as_ref()).map(|time| time.0).min()
}

/// Whether the flow under way has made something, and not only asked for a host, which another may have.
pub(in crate::install) fn has_made(flow: &Flow) -> bool {
    let makes = |stage: &FlowStage| {
        !is_check(&stage.name) && stage.name != "DomainClaim" && stage.started_at.is_some()
    };
    is_under_way(flow) && flow.stages.iter().any(makes)
}

/// It has failed, and what it did is being undone.
fn is_undone(flow: &Flow) -> bool {
    flow.finished_at.is_none() && flow.status == StageStatus::Failed && flow.action != FlowAction::Revoke
}

/// The module whose handler the stage calls.
fn module_of(stage: &FlowStage) -> Option<&str> {
    stage.name.strip_prefix("Lifecycle/")
}

/// The stage that the flow is at.
fn at(flow: &mut Flow) -> Option<&mut FlowStage> {
    flow.stages.iter_mut().find(|stage| stage.status == StageStatus::InProgress)
}

/// Whether it is written down of this stage that its handler is about to be called, and not how that ended.
fn is_unheard_of(stage: &FlowStage) -> bool {
    stage.status == StageStatus::InProgress && stage.reason.is_none() && module_of(stage).is_some()
}

/// Whether there is something left to do in this stage.
pub(in crate::install) fn is_open(stage: &FlowStage) -> bool {
    matches!(stage.status, StageStatus::Queued | StageStatus::InProgress)
}

/// Whether all is done but to take away what was there before.
fn is_reached(flow: &Flow) -> bool {
    let mut making = flow.stages.iter().filter(|stage| !comes_after(&stage.name));
    making.all(|stage| stage.status == StageStatus::Finished)
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

/// Beside why the flow failed in this stage, that it could not be undone.
fn say_too(stage: &mut FlowStage, because: &Because) {
    let failed = stage.message.take().unwrap_or_default();
    // Neither takes the other's room.
    let half = LONGEST_STAGE_MESSAGE / 2;
    stage.message = Some(format!("{}; and {}", cut(&failed, half - 6), cut(&because.message, half)));
}

/// The stage in which a flow has failed: also where what it did could not be undone. Of several that could not be it is the last one: no
/// flow gets beyond the stage in which it fails.
pub(in crate::install) fn failed_in(flow: &Flow) -> Option<&FlowStage> {
    let is = |status: StageStatus| flow.stages.iter().rfind(move |stage| stage.status == status);
    is(StageStatus::Failed).or_else(|| is(StageStatus::CancellationFailed))
}

/// Why a flow has failed: what its failed stage says.
pub(in crate::install) fn why(flow: &Flow) -> Because {
    let failed = failed_in(flow);
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

use annex_apis::{
    FlowAction, FlowRecord, Install, InstallStatus, PlaceReference, RunnerReference, StageStatus,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{
    conditions::{Because, Findings, READY},
    flow::{failed_in, why},
    needs::Needs,
    resolve::Resolved,
};
use crate::conditions::condition;

const REMEDIATED: &str = "Remediated";

/// What has become true outside. Only what was done reaches a status.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    /// The install holds its host.
    pub(super) host: Option<Held>,
    /// The host leads to the new content: what answered there before does so no more.
    pub(super) published: bool,
    /// What answered for it, once that did.
    pub(super) answers: Option<RunnerReference>,
    /// Where something is left, once that was looked at.
    pub(super) places: Option<Vec<PlaceReference>>,
    /// What it needs and who needs it, once that was looked at.
    pub(super) needs: Option<Needs>,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) resolved: Resolved,
    pub(super) url: String,
}

/// What became of the host that a status records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    /// The installed version goes on answering there.
    Answers,
    /// It is still this Install's, but nothing answers.
    Silent,
    /// It is another's, or there is none.
    Lost,
}

/// The status that says what was found and done. Pure. What an earlier pass recorded stays where this one did not get as far:
/// an upgrade that is refused does not make the installed version forgotten.
///
/// `recorded` says what became of the host that the status records, where nothing new was done.
pub(super) fn status(
    install: &Install,
    findings: &Findings,
    done: &Done,
    recorded: Recorded,
    now: Timestamp,
) -> InstallStatus {
    let before = install.status.clone().unwrap_or_default();
    let mut status = before.clone();
    status.observed_generation = install.metadata.generation;
    if let Some(Held { resolved, url }) = &done.host {
        // Who moves is where it was until it answers where it will be.
        let moves = done.answers.is_none() && before.installed_version.is_some() && before.host.is_some();
        if !moves {
            status.host = Some(resolved.host.to_string());
            status.url = Some(url.clone());
        }
        if let Some(runner) = &done.answers {
            status.installed_version = Some(resolved.version.clone());
            status.installed_for = Some(install.spec.version.clone());
            status.parameters = Some(install.spec.parameters.clone());
            status.content_hash = Some(resolved.identity.content_hash.to_string());
            status.runner_ref = Some(runner.clone());
        }
    }
    if let Some(places) = &done.places {
        status.places.clone_from(places);
    }
    if let Some(needs) = &done.needs {
        status.dependencies.clone_from(&needs.dependencies);
        status.dependents.clone_from(&needs.dependents);
    }
    if done.host.is_none() && recorded == Recorded::Lost {
        status.host = None;
        status.url = None;
    }
    let ready = match &status.url {
        Some(url) => Because::new("Ready", format!("answers at {url}")),
        None => Because::new("Ready", "installed"),
    };
    let running = before.installed_version.as_deref().filter(|_| recorded == Recorded::Answers);
    status.conditions =
        findings.conditions(&before.conditions, install.metadata.generation, now, &ready, running);
    status
}

/// Sets the condition Remediated: what has become of what a flow did that failed. It is there only while that flow is the last one, and what
/// it was for is still wanted.
pub(super) fn remediate(status: &mut InstallStatus, before: &[Condition], now: Timestamp) {
    status.conditions.retain(|condition| condition.type_ != REMEDIATED);
    let Some(flow) = status.flow.as_ref().filter(|flow| flow.action != FlowAction::Revoke) else { return };
    let is_ready = status.conditions.iter().any(|ready| ready.type_ == READY && ready.status == "True");
    if is_ready || failed_in(flow).is_none() {
        return;
    }
    let Because { reason, message } = why(flow);
    let (is, because) = match (flow.status, &flow.finished_at) {
        (StageStatus::Cancelled, Some(_)) => (
            "True",
            Because::new(
                "RolledBack",
                format!("what the flow did is undone; it failed with {reason}: {message}"),
            ),
        ),
        (StageStatus::CancellationFailed, Some(_)) => (
            "False",
            Because::new(
                "RollbackFailed",
                format!("not all of what the flow did could be undone; it failed with {reason}: {message}"),
            ),
        ),
        (StageStatus::Failed, Some(_)) => {
            ("False", Because::new("NotRolledBack", "spec.onFailure is Continue: what was done stays"))
        }
        (StageStatus::Failed, None) => {
            ("False", Because::new("RollingBack", "what the flow did is being undone"))
        }
        _ => return,
    };
    let generation = status.observed_generation;
    status.conditions.push(condition(before, REMEDIATED, is, &because, generation, now));
}

/// The status of an Install that was installed and is suspended: as it was, with a Ready that says so. Ready stays true only
/// if it was and the install still answers.
pub(super) fn suspended(install: &Install, recorded: Recorded, now: Timestamp) -> InstallStatus {
    const REASON: &str = "Suspended";
    let mut status = install.status.clone().unwrap_or_default();
    let generation = install.metadata.generation;
    status.observed_generation = generation;
    if let Some(ready) = status.conditions.iter_mut().find(|condition| condition.type_ == READY) {
        ready.observed_generation = generation;
        if ready.status == "True" && recorded != Recorded::Answers {
            "False".clone_into(&mut ready.status);
            ready.last_transition_time = Time(now);
        }
        if ready.reason != REASON {
            let was =
                if ready.status == "True" { String::new() } else { format!("; before: {}", ready.message) };
            REASON.clone_into(&mut ready.reason);
            ready.message = format!("nothing is changed while spec.suspend is true{was}");
        }
    }
    status
}

/// The status of an Install that is being deleted and waits for something to be removed first.
pub(super) fn going(install: &Install, because: &Because, now: Timestamp) -> InstallStatus {
    let mut status = install.status.clone().unwrap_or_default();
    let ready = Condition {
        type_: READY.to_owned(),
        status: "False".to_owned(),
        reason: because.reason.to_string(),
        message: because.message.clone(),
        observed_generation: install.metadata.generation,
        last_transition_time: Time(now),
    };
    match status.conditions.iter_mut().find(|condition| condition.type_ == READY) {
        Some(before) => {
            let since = (before.status == ready.status).then(|| before.last_transition_time.clone());
            *before = Condition { last_transition_time: since.unwrap_or(Time(now)), ..ready };
        }
        None => status.conditions.push(ready),
    }
    status
}

/// The Ready condition of `now`, if it says something else than that of `before`: what is worth an Event.
pub(super) fn turned<'a>(before: Option<&InstallStatus>, now: &'a InstallStatus) -> Option<&'a Condition> {
    let before = before.map_or(&[][..], |status| &status.conditions);
    crate::conditions::turned(before, &now.conditions)
}

/// The flow that has ended between them.
pub(super) fn ended<'a>(before: Option<&InstallStatus>, now: &'a InstallStatus) -> Option<&'a FlowRecord> {
    let former = before.and_then(|status| status.history.first()).map(|record| &record.id);
    now.history.first().filter(|record| Some(&record.id) != former)
}

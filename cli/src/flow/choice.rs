//! What `retry` and `rollback` decide by. Pure.

use std::collections::BTreeMap;

use annex_apis::{Flow, FlowAction, FlowRecord, Install, StageStatus};
use semver::Version;
use serde_json::{Value, json};

use super::merge::merged;
use super::words::told;

/// The condition that is true where all that is asked for is there.
const READY: &str = "Ready";

/// The last flow of an Install, if it has failed.
pub(super) fn failed(install: &Install) -> Option<&Flow> {
    let has_failed = [StageStatus::Failed, StageStatus::Cancelled, StageStatus::CancellationFailed];
    install.status.as_ref()?.flow.as_ref().filter(|flow| has_failed.contains(&flow.status))
}

/// The flow of an Install that a retry has begun again: one that has failed, or that waits until a handler is called once more. None: nothing
/// has failed, or something else was asked for since, which is there.
pub(super) fn to_begin_again(install: &Install) -> Option<&Flow> {
    let status = install.status.as_ref()?;
    let waits = |flow: &Flow| {
        flow.finished_at.is_none() && flow.stages.iter().any(|stage| stage.next_try_at.is_some())
    };
    let is_ready =
        status.conditions.iter().any(|condition| condition.type_ == READY && condition.status == "True");
    failed(install)
        .or_else(|| status.flow.as_ref().filter(|flow| waits(flow)))
        .filter(|flow| flow.finished_at.is_none() || !is_ready)
}

/// What a rollback goes back to: what was asked for; or what is installed, where something else is wanted in its place; or what was there
/// before the last upgrade.
pub(super) fn former(install: &Install, asked: Option<&Version>) -> Result<Version, String> {
    let status = install.status.as_ref();
    let installed: Option<Version> =
        status.and_then(|status| status.installed_version.as_ref()?.parse().ok());
    let is_another = wants_another(install);
    let version = match (asked, &installed) {
        (Some(asked), _) => asked.clone(),
        (None, Some(installed)) if is_another => installed.clone(),
        (None, _) => before_the_last(install)?,
    };
    if installed.as_ref() == Some(&version) && !is_another {
        return Err(format!("{version} is what is installed; name another version with --to"));
    }
    Ok(version)
}

/// The merge patch of `spec.parameters` to those that the extension is handed, where this version is what is installed and other
/// parameters are asked for.
pub(super) fn parameters_back(install: &Install, version: &Version) -> Option<Value> {
    let installed = install.status.as_ref()?.installed_version.as_deref()?;
    let accepted = accepted(install).filter(|_| installed == version.to_string())?;
    Some(merged(&json!(install.spec.parameters), &json!(accepted)))
}

/// The parameters that the extension is handed, where others are asked for.
fn accepted(install: &Install) -> Option<&BTreeMap<String, Value>> {
    let accepted = install.status.as_ref()?.parameters.as_ref()?;
    (*accepted != install.spec.parameters).then_some(accepted)
}

/// Whether something else is wanted than what is installed: it has failed, or is on its way, or has not been begun, such as a version that
/// the catalog does not have, or parameters that it does not take.
fn wants_another(install: &Install) -> bool {
    let Some(status) = &install.status else { return false };
    let is_asked_for = status.installed_for.as_ref().is_none_or(|version| *version == install.spec.version);
    let is_on_its_way = |flow: &Flow| flow.to.is_some() && flow.to != status.installed_version;
    !is_asked_for
        || accepted(install).is_some()
        || to_begin_again(install).is_some()
        || under_way(install).is_some_and(is_on_its_way)
}

/// The upgrade that is under way.
fn under_way(install: &Install) -> Option<&Flow> {
    let flow = install.status.as_ref()?.flow.as_ref()?;
    (flow.action == FlowAction::Upgrade && flow.finished_at.is_none()).then_some(flow)
}

/// The last upgrade got to its end, or as far as that its version answers and only something of the former one is still to be removed.
fn before_the_last(install: &Install) -> Result<Version, String> {
    let history = install.status.as_ref().map(|status| status.history.as_slice()).unwrap_or_default();
    let ended =
        |record: &&FlowRecord| record.action == FlowAction::Upgrade && record.status == StageStatus::Finished;
    let from = match under_way(install) {
        Some(flow) => &flow.from,
        None => match history.iter().find(ended) {
            Some(record) => &record.from,
            None => {
                return Err(
                    "its history has no upgrade that got to its end; name a version with --to".to_owned()
                );
            }
        },
    };
    let from = told(from.as_deref()).ok_or("its last upgrade does not say from which version; use --to")?;
    from.parse()
        .map_err(|_| format!("its last upgrade says that it came from {from}, which is no version; use --to"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One with version 2.0.0, with this in its status.
    pub(in crate::flow) fn install(status: &Value) -> Install {
        let mut object = json!({
            "apiVersion": "annex.sh/v1alpha1",
            "kind": "Install",
            "metadata": {"name": "hello", "namespace": "team", "resourceVersion": "7"},
            "spec": {"extension": "com.example.hello", "version": "^2"},
            "status": {"installedVersion": "2.0.0", "installedFor": "^2"},
        });
        for (name, value) in status.as_object().unwrap() {
            object["status"][name] = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn record(action: &str, status: &str, from: &str) -> Value {
        json!({"id": "1", "action": action, "status": status, "from": from, "startedAt": "2026-11-23T12:00:00Z"})
    }

    fn flow(status: &str, finished: Option<&str>) -> Value {
        json!({"flow": {
            "id": "1", "action": "Upgrade", "status": status, "to": "3.0.0",
            "startedAt": "2026-11-23T12:00:00Z", "finishedAt": finished,
        }})
    }

    #[test]
    fn goes_back_to_what_was_before_the_last_upgrade_that_ended_well() {
        let history = json!({"history": [
            record("Upgrade", "CANCELLED", "2.0.0"),
            record("Reprovision", "FINISHED", "2.0.0"),
            record("Upgrade", "FINISHED", "1.5.0"),
            record("Upgrade", "FINISHED", "1.0.0"),
        ]});
        assert_eq!(former(&install(&history), None).unwrap().to_string(), "1.5.0");
        let asked = Version::new(1, 0, 0);
        assert_eq!(former(&install(&history), Some(&asked)).unwrap(), asked);
        assert_eq!(former(&install(&json!({})), Some(&asked)).unwrap(), asked, "whatever the history has");
    }

    #[test]
    fn after_an_upgrade_that_failed_it_is_what_is_installed() {
        let flow = json!({ "id": "f", "action": "Upgrade", "status": "CANCELLED", "startedAt": "2026-01-01T00:00:00Z" });
        let status = json!({ "flow": flow, "history": [record("Upgrade", "FINISHED", "1.0.0")] });
        let installed = Version::new(2, 0, 0);
        assert_eq!(former(&install(&status), None), Ok(installed.clone()));
        assert_eq!(former(&install(&status), Some(&installed)), Ok(installed));
    }

    #[test]
    fn with_what_is_installed_come_the_parameters_that_it_is_handed() {
        let status = json!({
            "parameters": {"colour": "red", "deep": {"a": 1}}, "history": [record("Upgrade", "FINISHED", "1.0.0")],
        });
        let mut refused = install(&status);
        let asked = json!({"colour": 7, "deep": {"a": 1, "b": 2}, "more": true});
        refused.spec.parameters = serde_json::from_value(asked).unwrap();
        let (installed, other) = (Version::new(2, 0, 0), Version::new(1, 0, 0));
        assert_eq!(former(&refused, None), Ok(installed.clone()));
        let back = json!({"colour": "red", "deep": {"a": 1, "b": null}, "more": null});
        assert_eq!(parameters_back(&refused, &installed), Some(back));
        assert_eq!(parameters_back(&refused, &other), None, "what another version takes is not known");

        let mut same = install(&status);
        same.spec.parameters = serde_json::from_value(status["parameters"].clone()).unwrap();
        assert_eq!((former(&same, None), parameters_back(&same, &installed)), (Ok(other), None));
        assert_eq!(parameters_back(&install(&json!({})), &installed), None, "nothing was accepted yet");
    }

    #[test]
    fn there_may_be_nothing_to_go_back_to() {
        let says =
            |status: Value, asked: Option<Version>| former(&install(&status), asked.as_ref()).unwrap_err();
        assert!(says(json!({}), None).contains("no upgrade"));
        let failed =
            json!({"history": [record("Upgrade", "FAILED", "1.0.0"), record("Install", "FINISHED", "")]});
        assert!(says(failed, None).contains("no upgrade"));
        assert!(says(json!({}), Some(Version::new(2, 0, 0))).starts_with("2.0.0 is what is installed"));
        let same = json!({"history": [record("Upgrade", "FINISHED", "2.0.0")]});
        assert!(says(same, None).starts_with("2.0.0 is what is installed"));
        let hostile = json!({"history": [record("Upgrade", "FINISHED", "1\u{1b}[2J")]});
        let said = says(hostile, None);
        assert!(said.contains("1 [2J, which is no version"), "{said}");
    }

    #[test]
    fn only_what_failed_or_waits_to_be_called_again_is_begun_again() {
        let ended = Some("2026-11-23T12:01:00Z");
        for (status, finished, expected) in [
            ("FAILED", ended, true),
            ("FAILED", None, true),
            ("CANCELLED", ended, true),
            ("CANCELLATION_FAILED", ended, true),
            ("FINISHED", ended, false),
            ("IN_PROGRESS", None, false),
        ] {
            assert_eq!(to_begin_again(&install(&flow(status, finished))).is_some(), expected, "{status}");
        }
        assert_eq!(to_begin_again(&install(&json!({}))), None);
        let mut waits = flow("IN_PROGRESS", None);
        waits["flow"]["stages"] =
            json!([{"name": "Lifecycle/main", "status": "IN_PROGRESS", "nextTryAt": "2026-11-23T12:09:00Z"}]);
        assert!(to_begin_again(&install(&waits)).is_some());
    }

    #[test]
    fn a_failure_is_over_once_what_is_asked_for_is_there() {
        let mut status = flow("CANCELLED", Some("2026-11-23T12:01:00Z"));
        status["history"] =
            json!([record("Upgrade", "CANCELLED", "2.0.0"), record("Upgrade", "FINISHED", "1.0.0")]);
        let mut ready = json!({
            "type": "Ready", "status": "False", "reason": "LifecycleFailed", "message": "",
            "lastTransitionTime": "2026-11-23T12:01:00Z",
        });
        status["conditions"] = json!([ready]);
        let installed = Version::new(2, 0, 0);
        assert!(to_begin_again(&install(&status)).is_some());
        assert_eq!(former(&install(&status), None), Ok(installed.clone()));
        ready["status"] = json!("True");
        status["conditions"] = json!([ready]);
        assert_eq!(to_begin_again(&install(&status)), None);
        assert!(failed(&install(&status)).is_some(), "a plan of the same says so");
        assert_eq!(former(&install(&status), None), Ok(Version::new(1, 0, 0)));
        assert!(
            former(&install(&status), Some(&installed))
                .unwrap_err()
                .starts_with("2.0.0 is what is installed")
        );
    }

    #[test]
    fn while_something_else_is_wanted_it_is_what_is_installed() {
        let history = json!([record("Upgrade", "FINISHED", "1.0.0")]);
        let installed = Version::new(2, 0, 0);
        let back = |status: &Value| former(&install(status), None);

        let mut under_way = flow("IN_PROGRESS", None);
        under_way["history"] = history.clone();
        assert_eq!(back(&under_way), Ok(installed.clone()));
        // The new version answers already, and something of the former one is still to be removed.
        under_way["flow"]["from"] = json!("1.9.0");
        under_way["flow"]["to"] = json!("2.0.0");
        assert_eq!(back(&under_way), Ok(Version::new(1, 9, 0)));

        // What is asked for is not there, such as a version that the catalog does not have.
        let unmet = json!({"history": history, "installedFor": "=2.0.0"});
        assert_eq!(back(&unmet), Ok(installed.clone()));
        assert_eq!(former(&install(&unmet), Some(&installed)), Ok(installed));

        let mut reprovision = flow("IN_PROGRESS", None);
        reprovision["flow"]["action"] = json!("Reprovision");
        reprovision["history"] = history;
        assert_eq!(back(&reprovision), Ok(Version::new(1, 0, 0)), "that wants nothing else");
    }
}

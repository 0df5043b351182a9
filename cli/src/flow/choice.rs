//! What `retry` and `rollback` decide by. Pure.

use annex_apis::{Flow, FlowAction, Install, StageStatus};
use semver::Version;

use super::words::told;

/// The flow of an Install that a retry has begun again: one that has failed, or that waits until a handler is called once more. None: nothing
/// has failed.
pub(super) fn failed(install: &Install) -> Option<&Flow> {
    let flow = install.status.as_ref()?.flow.as_ref()?;
    let has_failed =
        matches!(flow.status, StageStatus::Failed | StageStatus::Cancelled | StageStatus::CancellationFailed);
    let waits = flow.finished_at.is_none() && flow.stages.iter().any(|stage| stage.next_try_at.is_some());
    (has_failed || waits).then_some(flow)
}

/// What a rollback goes back to: what was asked for; or what is installed, where an upgrade from it has failed and is still asked for; or what
/// was there before the last upgrade that got to its end.
pub(super) fn former(install: &Install, asked: Option<&Version>) -> Result<Version, String> {
    let status = install.status.as_ref();
    let installed: Option<Version> =
        status.and_then(|status| status.installed_version.as_ref()?.parse().ok());
    let has_failed = failed(install).is_some();
    let version = match (asked, &installed) {
        (Some(asked), _) => asked.clone(),
        (None, Some(installed)) if has_failed => installed.clone(),
        (None, _) => before_the_last(install)?,
    };
    if installed.as_ref() == Some(&version) && !has_failed {
        return Err(format!("{version} is what is installed; name another version with --to"));
    }
    Ok(version)
}

fn before_the_last(install: &Install) -> Result<Version, String> {
    let history = install.status.as_ref().map(|status| status.history.as_slice()).unwrap_or_default();
    let upgrade = history
        .iter()
        .find(|record| record.action == FlowAction::Upgrade && record.status == StageStatus::Finished)
        .ok_or("its history has no upgrade that got to its end; name a version with --to")?;
    let from =
        told(upgrade.from.as_deref()).ok_or("its last upgrade does not say from which version; use --to")?;
    from.parse()
        .map_err(|_| format!("its last upgrade says that it came from {from}, which is no version; use --to"))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

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
            assert_eq!(failed(&install(&flow(status, finished))).is_some(), expected, "{status}");
        }
        assert_eq!(failed(&install(&json!({}))), None);
        let mut waits = flow("IN_PROGRESS", None);
        waits["flow"]["stages"] =
            json!([{"name": "Lifecycle/main", "status": "IN_PROGRESS", "nextTryAt": "2026-11-23T12:09:00Z"}]);
        assert!(failed(&install(&waits)).is_some());
    }
}

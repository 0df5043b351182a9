//! How fast new versions are taken by themselves, over all tenants, and when no more are.
//!
//! It concerns Installs with `upgradePolicy: Automatic` that nobody has asked to change. What was tried is in their statuses, which outlive
//! this process; only how many began in the last minute is remembered here.

use std::collections::VecDeque;

use annex_apis::{ExtensionVersion, FlowAction, Install, ROLLOUT_ANNOTATION, StageStatus, UpgradePolicy};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use parking_lot::Mutex;

/// Fewer failures say nothing yet.
const FAILURES: usize = 3;
/// One in so many may fail.
const ONE_IN: usize = 5;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Lets so many upgrades begin in a minute.
#[derive(Debug)]
pub(crate) struct Rollout {
    per_minute: usize,
    begun: Mutex<VecDeque<Begun>>,
}

/// An upgrade that has its place: of which Install, to what, since when.
#[derive(Debug)]
struct Begun {
    install: String,
    version: String,
    at: Timestamp,
}

/// Why an upgrade does not begin now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// Others have begun. When there is room again.
    Full(Timestamp),
    /// Too many have failed: so many of so many.
    Halted(usize, usize),
}

impl Rollout {
    pub(crate) fn new(per_minute: usize) -> Self {
        Self { per_minute, begun: Mutex::default() }
    }

    /// Takes a place for an upgrade of `install` to `version` that is about to begin; `installs` are all of its extension. Whose place was
    /// taken a moment ago, and who could not write down that it began, has it still.
    pub(crate) fn begin<'a>(
        &self,
        install: &Install,
        version: &ExtensionVersion,
        installs: impl Iterator<Item = &'a Install>,
        now: Timestamp,
    ) -> Result<(), NotNow> {
        let goes_on = version.annotations().get(ROLLOUT_ANNOTATION).is_some_and(|word| word == "continue");
        let (failed, tried) = tried(installs, &version.spec.version);
        if !goes_on && failed >= FAILURES && failed * ONE_IN > tried {
            return Err(NotNow::Halted(failed, tried));
        }
        let mut begun = self.begun.lock();
        // A clock that was set back must not hold everything up until it is there again. But another worker, which asked for the time a moment
        // later, may have been here before.
        begun.retain(|begun| now.duration_since(begun.at).abs() < MINUTE);
        let (install, version) = (install.uid().unwrap_or_default(), version.name_any());
        if begun.iter().any(|begun| begun.install == install && begun.version == version) {
            return Ok(());
        }
        match begun.front() {
            Some(first) if begun.len() >= self.per_minute => Err(NotNow::Full(first.at + MINUTE)),
            _ if self.per_minute == 0 => Err(NotNow::Full(now + MINUTE)),
            _ => {
                begun.push_back(Begun { install, version, at: now });
                Ok(())
            }
        }
    }
}

/// How many upgrades to this version have failed, and how many have ended: of each Install the last one counts.
fn tried<'a>(installs: impl Iterator<Item = &'a Install>, version: &str) -> (usize, usize) {
    let ended = installs.filter_map(|install| {
        let history = &install.status.as_ref()?.history;
        let mut to_it = history.iter().filter(|record| {
            record.action == FlowAction::Upgrade
                && record.to.as_deref() == Some(version)
                && record.reason.as_deref() != Some("Superseded")
        });
        to_it.next().map(|record| record.status)
    });
    ended.fold((0, 0), |(failed, tried), status| {
        (failed + usize::from(status != StageStatus::Finished), tried + 1)
    })
}

/// Whether an Install is about to take `version` though nobody has asked for a change: it is another than the installed one, chosen for the
/// same wish.
pub(crate) fn is_by_itself(install: &Install, version: &ExtensionVersion) -> bool {
    let Some(status) = &install.status else { return false };
    install.spec.upgrade_policy == UpgradePolicy::Automatic
        && status.installed_for.as_deref() == Some(install.spec.version.as_str())
        && status.installed_version.as_deref().is_some_and(|installed| installed != version.spec.version)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn version(annotations: Value) -> ExtensionVersion {
        serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "ExtensionVersion",
            "metadata": { "name": "com.example.a-1.1.0", "annotations": annotations },
            "spec": { "extension": "com.example.a", "version": "1.1.0", "publisher": "p", "contentHash": "sha256:" },
        }))
        .unwrap()
    }

    fn install(history: &[(&str, &str)]) -> Install {
        let history: Vec<Value> = history
            .iter()
            .map(|(to, status)| {
                json!({ "id": "i", "action": "Upgrade", "status": status, "to": to, "startedAt": "2026-01-01T00:00:00Z" })
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install", "metadata": { "name": "a" },
            "spec": { "extension": "com.example.a", "upgradePolicy": "Automatic" },
            "status": { "installedVersion": "1.0.0", "installedFor": "*", "history": history },
        }))
        .unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn no_more_begin_in_a_minute_than_may() {
        let rollout = Rollout::new(2);
        let begin_of = |uid: i64, second: i64| {
            let mut install = install(&[]);
            install.metadata.uid = Some(uid.to_string());
            rollout.begin(&install, &version(json!({})), std::iter::empty(), at(second))
        };
        // Each time another Install.
        let begin = |second: i64| begin_of(second, second);
        assert_eq!(begin(0), Ok(()));
        assert_eq!(begin(30), Ok(()));
        assert_eq!(begin(59), Err(NotNow::Full(at(60))));
        assert_eq!(begin(60), Ok(()));
        assert_eq!(begin(61), Err(NotNow::Full(at(90))));
        assert_eq!(begin_of(60, 62), Ok(()), "it has its place");
        // Another worker has asked for the time a moment before.
        assert_eq!(begin(58), Err(NotNow::Full(at(90))));
        // The clock is set back by a day.
        assert_eq!(begin(-86_400), Ok(()));
        assert!(
            Rollout::new(0).begin(&install(&[]), &version(json!({})), std::iter::empty(), at(0)).is_err()
        );
    }

    #[test]
    fn when_too_many_fail_no_more_begin_until_somebody_says_so() {
        let rollout = Rollout::new(1000);
        let (good, bad) =
            (install(&[("1.1.0", "FINISHED")]), install(&[("1.1.0", "CANCELLED"), ("1.1.0", "FINISHED")]));
        let others = install(&[("1.0.5", "CANCELLED")]);
        let begin = |good_ones: usize, bad_ones: usize, annotations: Value| {
            let all = std::iter::repeat_n(&good, good_ones)
                .chain(std::iter::repeat_n(&bad, bad_ones))
                .chain([&others]);
            rollout.begin(&install(&[]), &version(annotations), all, at(0))
        };
        assert_eq!(begin(0, 2, json!({})), Ok(()), "two say nothing");
        assert_eq!(begin(0, 3, json!({})), Err(NotNow::Halted(3, 3)));
        assert_eq!(begin(12, 3, json!({})), Ok(()), "one in five");
        assert_eq!(begin(11, 3, json!({})), Err(NotNow::Halted(3, 14)));
        assert_eq!(begin(0, 9, json!({ "annex.sh/rollout": "continue" })), Ok(()));
    }

    #[test]
    fn only_what_nobody_asked_for_is_by_itself() {
        let new = version(json!({}));
        assert!(is_by_itself(&install(&[]), &new));
        let mut manual = install(&[]);
        manual.spec.upgrade_policy = UpgradePolicy::Manual;
        assert!(!is_by_itself(&manual, &new));
        let mut asked = install(&[]);
        asked.spec.version = "^1.1".to_owned();
        assert!(!is_by_itself(&asked, &new));
        let mut first = install(&[]);
        first.status = None;
        assert!(!is_by_itself(&first, &new));
    }
}

//! What an Install's status says that there is, and what a version has, as the plan's own values. Pure.

use annex_core::flow::{Held, Module, Place};
use annex_core::{highest, parse_requirement};
use kube::ResourceExt as _;
use semver::Version;

use crate::{
    EnabledModule, ExtensionVersion, Install, InstallStatus, PlaceReference, REPROVISION_ANNOTATION,
    RunnerReference, UpgradePolicy,
};

/// The place where one runner answers for all domains.
pub const DIRECT: &str = "direct";
/// The one module of an extension that names none.
const WHOLE: &str = "main";

/// What is there of an Install, apart from what a flow that is under way has made so far.
#[must_use]
pub fn held(install: &Install) -> Held {
    let status = install.status.clone().unwrap_or_default();
    let place = status.runner_ref.as_ref().map(place_of_runner);
    let host: Option<annex_core::HostName> = status.host.as_ref().and_then(|host| host.parse().ok());
    let content = status.content_hash.as_ref().and_then(|hash| hash.parse().ok());
    let modules = enabled(&status).iter();
    Held {
        places: status.places.iter().map(place_of_reference).chain(place.clone()).collect(),
        runners: place.clone().zip(content).into_iter().collect(),
        claims: host.clone().into_iter().collect(),
        mappings: host.clone().zip(place).into_iter().collect(),
        modules: modules.filter_map(|module| Some((module.name.clone(), module.parsed()?))).collect(),
        routes: host.zip(content).into_iter().collect(),
        // Handlers of a first flow may have stored something, too.
        data: status.installed_version.is_some() || status.flow.is_some(),
    }
}

/// The modules that are enabled now, in the middle of a flow too.
#[must_use]
pub fn enabled(status: &InstallStatus) -> &[EnabledModule] {
    let in_flow = status.flow.as_ref().and_then(|flow| flow.modules.as_deref());
    in_flow.unwrap_or(&status.modules)
}

impl EnabledModule {
    /// For the plan. None: its digest is none.
    #[must_use]
    pub fn parsed(&self) -> Option<Module> {
        Some(Module { version: self.version.clone(), digest: self.digest.parse().ok()? })
    }
}

/// The modules of a version that are to be enabled, in the order of its manifest: all but the deprecated ones. One that names none is
/// one module.
#[must_use]
pub fn modules_of(version: &ExtensionVersion) -> Vec<EnabledModule> {
    let spec = &version.spec;
    if spec.modules.is_empty() {
        return vec![EnabledModule {
            name: WHOLE.to_owned(),
            version: spec.version.clone(),
            digest: spec.content_hash.clone(),
        }];
    }
    let enabled = spec.modules.iter().filter(|module| !module.deprecated);
    enabled
        .map(|module| EnabledModule {
            name: module.name.clone(),
            version: module.version.clone(),
            digest: module.digest.clone(),
        })
        .collect()
}

/// The name of a place in a plan. Two environments may have one namespace, and an environment may be called anything but have a slash in
/// its name.
#[must_use]
pub fn place_of_reference(reference: &PlaceReference) -> Place {
    match &reference.environment {
        None => format!("platform/{}", reference.namespace),
        Some(environment) => format!("environment/{environment}/{}", reference.namespace),
    }
}

/// The same of what serves an extension.
#[must_use]
pub fn place_of_runner(runner: &RunnerReference) -> Place {
    match &runner.namespace {
        None => DIRECT.to_owned(),
        Some(namespace) => place_of_reference(&PlaceReference {
            environment: runner.environment.clone(),
            namespace: namespace.clone(),
        }),
    }
}

/// What was asked last, and not answered yet, to be made once more: as much of the annotation [`REPROVISION_ANNOTATION`] as a status holds.
#[must_use]
pub fn asked_again(install: &Install) -> Option<String> {
    let asked: String = install.annotations().get(REPROVISION_ANNOTATION)?.chars().take(256).collect();
    let answered = install.status.as_ref().and_then(|status| status.reprovisioned.as_ref());
    (answered != Some(&asked)).then_some(asked)
}

/// Why no version is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoChoice {
    /// `spec.version` is no requirement. Why.
    Invalid(String),
    /// The catalog has none that satisfies it. Its newest versions, the highest first.
    NoMatch(Vec<Version>),
    /// This one is installed and stays, and the catalog does not have it any more.
    Withdrawn(String),
}

/// Which of an extension's versions an Install gets. With `upgradePolicy: Manual` what is installed stays, withdrawn or not, as long as nobody
/// asks for something else.
///
/// Where `may_be_installed` says no it is passed over as long as there is another: it must not hold up who follows the catalog. Not so what is
/// installed, or on its way: that it may not be there any more has to be told. Where it says nothing, because nobody has looked yet, an
/// Install that takes the next version by itself goes on with what it has; for any other that one is waited for, as it would not be taken
/// later. Nobody is taken back to a lower version by this.
///
/// # Errors
/// See [`NoChoice`].
pub fn choose<'a, V: AsRef<ExtensionVersion>>(
    install: &Install,
    versions: &'a [V],
    may_be_installed: impl Fn(&ExtensionVersion) -> Option<bool>,
) -> Result<&'a V, NoChoice> {
    let spec = &install.spec;
    let requirement =
        parse_requirement(&spec.version).map_err(|error| NoChoice::Invalid(error.to_string()))?;
    let status = install.status.as_ref();
    let installed = status.and_then(|status| status.installed_version.as_deref());
    let is_installed = |version: &&V| Some((*version).as_ref().spec.version.as_str()) == installed;
    let unchanged = status.and_then(|status| status.installed_for.as_deref()) == Some(spec.version.as_str());
    if spec.upgrade_policy == UpgradePolicy::Manual
        && unchanged
        && let Some(installed) = installed
    {
        return versions.iter().find(is_installed).ok_or_else(|| NoChoice::Withdrawn(installed.to_owned()));
    }
    let parsed = |version: &&'_ V| (*version).as_ref().spec.version.parse::<Version>().ok();
    let flow = status.and_then(|status| status.flow.as_ref()).filter(|flow| flow.finished_at.is_none());
    let to = flow.and_then(|flow| flow.to.as_deref());
    let is_on_its_way = |version: &&V| Some((*version).as_ref().spec.version.as_str()) == to;
    let offered = || {
        let offered =
            versions.iter().filter(|version| !(*version).as_ref().spec.yanked || is_installed(version));
        offered.filter_map(|version| Some((parsed(&version)?, version)))
    };
    let least: Option<Version> = installed.and_then(|installed| installed.parse().ok());
    let least = least.filter(|installed| requirement.matches(installed));
    let waits = spec.upgrade_policy == UpgradePolicy::Manual || installed.is_none();
    let good = offered().filter(|(number, version)| {
        is_installed(version)
            || is_on_its_way(version)
            || least.as_ref().is_none_or(|least| least <= number)
                && may_be_installed((*version).as_ref()).unwrap_or(waits)
    });
    if let Some((_, version)) = highest(&requirement, good).or_else(|| highest(&requirement, offered())) {
        return Ok(version);
    }
    let there = versions.iter().filter(|version| !(*version).as_ref().spec.yanked);
    let mut numbers: Vec<Version> = there.filter_map(|version| parsed(&version)).collect();
    numbers.sort_by(|one, other| other.cmp(one));
    Err(NoChoice::NoMatch(numbers))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    const VERSIONS: [&str; 3] = ["1.0.0", "1.1.0", "1.2.0"];

    fn versions() -> Vec<Arc<ExtensionVersion>> {
        let version = |version: &str| {
            let spec = json!({ "extension": "com.example.a", "version": version, "publisher": "p", "contentHash": "" });
            Arc::new(ExtensionVersion::new(version, serde_json::from_value(spec).unwrap()))
        };
        VERSIONS.map(version).into()
    }

    /// What is chosen where these may not be installed, and nobody has looked at those yet.
    fn chosen(
        requirement: &str,
        (policy, status): (&str, serde_json::Value),
        bad: &[&str],
        new: &[&str],
    ) -> String {
        let install = json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install", "metadata": { "name": "a" },
            "spec": { "extension": "com.example.a", "version": requirement, "upgradePolicy": policy },
            "status": status,
        });
        let install: Install = serde_json::from_value(install).unwrap();
        let may = |version: &ExtensionVersion| {
            let number = version.spec.version.as_str();
            (!new.contains(&number)).then(|| !bad.contains(&number))
        };
        choose(&install, &versions(), may).unwrap().spec.version.clone()
    }

    fn to_1_2(finished: Option<&str>) -> serde_json::Value {
        let flow = json!({
            "id": "f", "action": "Upgrade", "status": "IN_PROGRESS", "to": "1.2.0", "stages": [],
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": finished,
        });
        json!({ "installedVersion": "1.1.0", "installedFor": "^1", "flow": flow })
    }

    fn has(version: &str) -> serde_json::Value {
        json!({ "installedVersion": version, "installedFor": "^1" })
    }

    #[test]
    fn what_may_not_be_installed_is_passed_over_while_there_is_another() {
        for policy in ["Automatic", "Manual"] {
            let fresh = || (policy, json!({}));
            assert_eq!(chosen("^1", fresh(), &[], &[]), "1.2.0");
            assert_eq!(chosen("^1", fresh(), &["1.2.0"], &[]), "1.1.0");
            assert_eq!(chosen("=1.2.0", fresh(), &["1.2.0"], &[]), "1.2.0", "it is told why not");
            assert_eq!(chosen("^1", fresh(), &VERSIONS, &[]), "1.2.0", "the same");
        }
    }

    #[test]
    fn what_nobody_has_looked_at_is_waited_for_where_it_would_not_be_taken_later() {
        for policy in ["Automatic", "Manual"] {
            assert_eq!(chosen("^1", (policy, json!({})), &[], &["1.2.0"]), "1.2.0", "{policy}");
        }
        assert_eq!(chosen("^1", ("Automatic", has("1.0.0")), &[], &["1.2.0"]), "1.1.0");
        assert_eq!(chosen("^1.0", ("Manual", has("1.0.0")), &[], &["1.2.0"]), "1.2.0", "another wish");
        assert_eq!(chosen("^1", ("Manual", has("1.0.0")), &[], &["1.2.0"]), "1.0.0", "the same wish");
    }

    #[test]
    fn what_is_installed_or_on_its_way_is_not_passed_over() {
        let automatic = |status| ("Automatic", status);
        assert_eq!(chosen("^1", automatic(has("1.2.0")), &["1.2.0"], &[]), "1.2.0", "nobody is taken back");
        // The catalog has lost it.
        assert_eq!(chosen("^1", automatic(has("1.1.5")), &["1.2.0"], &[]), "1.2.0", "nobody is taken back");
        assert_eq!(chosen("^1", automatic(to_1_2(None)), &["1.2.0"], &[]), "1.2.0");
        let ended = to_1_2(Some("2026-01-01T00:01:00Z"));
        assert_eq!(chosen("^1", automatic(ended), &["1.2.0"], &[]), "1.1.0");
    }
}

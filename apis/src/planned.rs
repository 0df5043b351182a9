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
/// # Errors
/// See [`NoChoice`].
pub fn choose<'a, V: AsRef<ExtensionVersion>>(
    install: &Install,
    versions: &'a [V],
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
    let offered = versions.iter().filter(|version| !(*version).as_ref().spec.yanked || is_installed(version));
    let offered = offered.filter_map(|version| Some((parsed(&version)?, version)));
    if let Some((_, version)) = highest(&requirement, offered) {
        return Ok(version);
    }
    let there = versions.iter().filter(|version| !(*version).as_ref().spec.yanked);
    let mut numbers: Vec<Version> = there.filter_map(|version| parsed(&version)).collect();
    numbers.sort_by(|one, other| other.cmp(one));
    Err(NoChoice::NoMatch(numbers))
}

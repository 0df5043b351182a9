//! What an Install's status says that there is, and what is wanted of it, as the plan's own values.

use std::collections::BTreeMap;

use annex_apis::{
    EnabledModule, ExtensionVersion, FlowTarget, Install, InstallStatus, PlaceReference, RunnerReference,
};
use annex_core::flow::{Held, Module, Wanted};
use kube_kcp::ClusterName;

use crate::install::{facts::recorded_host, resolve::Resolved, site::Site};

/// The place where one runner answers for all domains.
const DIRECT: &str = "direct";
/// The one module of an extension that names none.
const WHOLE: &str = "main";

/// What is there of an Install, apart from what a flow that is under way has made so far.
pub(super) fn held(install: &Install) -> Held {
    let status = install.status.clone().unwrap_or_default();
    let place = status.runner_ref.as_ref().map(place_of_runner);
    let host = recorded_host(install);
    let content = status.content_hash.as_ref().and_then(|hash| hash.parse().ok());
    Held {
        places: status.places.iter().map(place_of_reference).chain(place.clone()).collect(),
        runners: place.clone().zip(content).into_iter().collect(),
        claims: host.clone().into_iter().collect(),
        mappings: host.clone().zip(place).into_iter().collect(),
        modules: enabled(&status).iter().filter_map(|module| Some((module.name.clone(), parsed(module)?))).collect(),
        routes: host.zip(content).into_iter().collect(),
        // Handlers of a first flow may have stored something, too.
        data: status.installed_version.is_some() || status.flow.is_some(),
    }
}

/// The modules that are enabled now, in the middle of a flow too.
pub(super) fn enabled(status: &InstallStatus) -> &[EnabledModule] {
    let in_flow = status.flow.as_ref().and_then(|flow| flow.modules.as_deref());
    in_flow.unwrap_or(&status.modules)
}

fn parsed(module: &EnabledModule) -> Option<Module> {
    Some(Module { version: module.version.clone(), digest: module.digest.parse().ok()? })
}

/// The modules of a version that are to be enabled, in the order of its manifest: all but the deprecated ones. One that names none is
/// one module.
pub(in crate::install) fn modules_of(version: &ExtensionVersion) -> Vec<EnabledModule> {
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

/// What a flow to it is to reach.
pub(in crate::install) fn target(resolved: &Resolved, place: &str) -> FlowTarget {
    FlowTarget {
        content_hash: resolved.identity.content_hash.to_string(),
        host: resolved.host.to_string(),
        place: place.to_owned(),
    }
}

/// The same for the plan.
pub(in crate::install) fn wanted(resolved: &Resolved, place: &str) -> Wanted {
    let modules = modules_of(&resolved.published);
    Wanted::Installed {
        place: place.to_owned(),
        host: resolved.host.clone(),
        content: resolved.identity.content_hash,
        modules: modules.iter().filter_map(|module| Some((module.name.clone(), parsed(module)?))).collect(),
    }
}

/// The name of where an Install of `cluster` is to run.
pub(in crate::install) fn place_name(site: &Site, cluster: &ClusterName) -> String {
    match site {
        Site::Cluster(place, _) => place_of_reference(&place.reference(cluster)),
        Site::Direct | Site::None(_) | Site::Unknown | Site::Gone => DIRECT.to_owned(),
    }
}

/// Two environments may have one namespace, and an environment may be called anything but have a slash in its name.
fn place_of_reference(reference: &PlaceReference) -> String {
    match &reference.environment {
        None => format!("platform/{}", reference.namespace),
        Some(environment) => format!("environment/{environment}/{}", reference.namespace),
    }
}

fn place_of_runner(runner: &RunnerReference) -> String {
    match &runner.namespace {
        None => DIRECT.to_owned(),
        Some(namespace) => place_of_reference(&PlaceReference {
            environment: runner.environment.clone(),
            namespace: namespace.clone(),
        }),
    }
}

/// Which of `to` are not in `from`, or are another there: what a flow from one to the other calls.
pub(super) fn changed<'a>(
    from: &'a [EnabledModule],
    to: &'a [EnabledModule],
) -> impl Iterator<Item = (Option<&'a EnabledModule>, &'a EnabledModule)> {
    let former: BTreeMap<&str, &EnabledModule> =
        from.iter().map(|module| (module.name.as_str(), module)).collect();
    to.iter().filter_map(move |module| {
        let former = former.get(module.name.as_str()).copied();
        (former.map(|former| &former.digest) != Some(&module.digest)).then_some((former, module))
    })
}

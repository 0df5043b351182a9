//! What an Install's extension needs of the others in its workspace, and they of it.

use std::sync::Arc;

use annex_apis::{
    DependencyPolicy, DependencyStatus, ExtensionVersion, INSTALLED_FOR_ANNOTATION, INTERFACE_PREFIX,
    Install, InstallSpec, as_installed, in_its_workspace, offered,
};
use annex_core::{
    ExtensionName,
    dependencies::{
        Along, Catalog, Checked, Installed, Needed, Present, State, breaks, check, cycle, dependents,
        to_install,
    },
    version_object_name,
};
use kube::ResourceExt as _;
use kube_kcp::ObjectKey;

use super::{
    conditions::Because,
    facts::Facts,
    resolve::{Verification, verification},
};
use crate::context::Context;

/// As many as a status holds.
const MOST_NAMED: usize = 64;
/// A message names no more.
const MOST_TOLD: usize = 5;

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Needs {
    /// For the status.
    pub(super) dependencies: Vec<DependencyStatus>,
    /// The names of the Installs that need this one.
    pub(super) dependents: Vec<String>,
    /// Why it cannot be installed, or upgraded, as things are.
    pub(super) refusal: Option<Because>,
    /// It is not there yet; what is there of the workspace, to find out what else has to be.
    pub(super) there: Vec<Installed>,
    pub(super) own: Option<Installed>,
}

/// Looks at the workspace. `version` is what is to be installed. `flows`: it is on its way; what is installed already is not stopped by
/// something that is not ready for a moment.
pub(super) fn needs(context: &Context, facts: &Facts, version: &ExtensionVersion, flows: bool) -> Needs {
    let mut needs = Needs { dependents: named_dependents(context, facts), ..Needs::default() };
    let Some(own) = as_installed(version, !flows) else { return needs };
    if own.needs.is_empty() && !is_named(context, facts) {
        return needs;
    }
    let there = neighbours(context, facts);
    let present: Vec<Present> = there.iter().map(|other| other.present.clone()).collect();
    let checked = check(&own.present, &own.needs, &present);
    let said = |checked| said(&own.present.extension, checked, flows);
    needs.dependencies = checked.iter().take(MOST_NAMED).map(said).collect();
    needs.refusal = refusal(&own, &checked, &there, flows);
    if needs.refusal.is_none() && flows {
        let before =
            installed_version(context, &facts.install).and_then(|version| as_installed(&version, true));
        let there: Vec<Installed> = there.iter().cloned().chain(before).collect();
        needs.refusal = broken(&own.present, &there);
    }
    needs.there = there;
    needs.own = Some(own);
    needs
}

fn refusal(own: &Installed, checked: &[Checked], there: &[Installed], flows: bool) -> Option<Because> {
    let unmet: Vec<&Checked> = checked.iter().filter(|checked| !is_met(checked, flows)).collect();
    if unmet.is_empty() {
        return None;
    }
    let all: Vec<Installed> = there.iter().chain([own]).cloned().collect();
    if let Some(cycle) = cycle(&own.present.extension, &all) {
        return Some(Because::new("DependencyCycle", cycle.to_string()));
    }
    let waits = unmet.iter().all(|checked| matches!(checked.state, State::NotReady { .. }));
    let reason = if waits { "DependencyNotReady" } else { "DependencyMissing" };
    let told: Vec<String> = unmet.iter().take(MOST_TOLD).map(ToString::to_string).collect();
    Some(Because::new(reason, format!("it needs what is not there: {}", told.join("; "))))
}

fn is_met(checked: &Checked, flows: bool) -> bool {
    checked.is_met() || !flows && matches!(checked.state, State::NotReady { .. })
}

/// Whom it would break; `there` has the extension as it is before that.
fn broken(own: &Present, there: &[Installed]) -> Option<Because> {
    let broken = breaks(own, there);
    if broken.is_empty() {
        return None;
    }
    let told: Vec<String> = broken.iter().take(MOST_TOLD).map(ToString::to_string).collect();
    let message =
        format!("version {} will not do for others in this workspace: {}", own.version, told.join("; "));
    Some(Because::new("BreaksDependents", message))
}

fn said(own: &ExtensionName, checked: &Checked, flows: bool) -> DependencyStatus {
    let there = match &checked.state {
        State::Satisfied { by, version }
        | State::NotReady { by, version }
        | State::WrongVersion { by, version } => Some((by, version)),
        State::Missing | State::Absent => None,
    };
    let is_interface = matches!(checked.need.of, Needed::Interface(_));
    let provider = there.map(|(by, _)| by).filter(|by| is_interface && *by != own);
    DependencyStatus {
        extension: checked.need.of.to_string(),
        version: checked.need.version.to_string(),
        provided_by: provider.map(ToString::to_string),
        installed_version: there.map(|(_, version)| version.to_string()),
        satisfied: is_met(checked, flows),
    }
}

/// The Installs of the workspace that say they need this one's extension, or an interface that only it may provide.
pub(super) fn named_dependents(context: &Context, facts: &Facts) -> Vec<String> {
    if !is_named(context, facts) {
        return Vec::new();
    }
    let others = context.installs_of(&facts.key.cluster);
    let installed = installed_version(context, &facts.install);
    let needy = installed.and_then(|version| as_installed(&version, true)).map(|mut own| {
        own.present.is_leaving = facts.install.metadata.deletion_timestamp.is_some();
        let needy = dependents(&own, &neighbours(context, facts)).into_iter();
        needy.map(|dependent| dependent.extension.to_string()).collect::<Vec<_>>()
    });
    // Of a version that the catalog has lost it is known only who needed it before.
    let before = facts.install.status.iter().flat_map(|status| &status.dependents).collect::<Vec<_>>();
    let mut dependents: Vec<String> = others
        .iter()
        .filter(|(key, install)| {
            *key != facts.key
                && match &needy {
                    Some(needy) => needy.contains(&install.spec.extension),
                    // Where all are deleted, none waits for the others: in which order they could go, nobody knows any more.
                    None => {
                        before.contains(&&key.name)
                            && names(install, &facts.install.spec.extension)
                            && !(is_deleted(&facts.install) && is_deleted(install))
                    }
                }
        })
        .map(|(key, _)| key.name.clone())
        .collect();
    dependents.sort();
    dependents.dedup();
    dependents.truncate(MOST_NAMED);
    dependents
}

fn is_deleted(install: &Install) -> bool {
    install.metadata.deletion_timestamp.is_some()
}

/// Whether another Install of the workspace says that it needs this one's extension, or some interface.
fn is_named(context: &Context, facts: &Facts) -> bool {
    let others = context.installs_of(&facts.key.cluster);
    others.iter().any(|(key, install)| *key != facts.key && names(install, &facts.install.spec.extension))
}

/// Whether an Install's status says that it needs this extension, or some interface.
pub(crate) fn names(install: &Install, extension: &str) -> bool {
    let dependencies = install.status.iter().flat_map(|status| &status.dependencies);
    dependencies
        .into_iter()
        .any(|one| one.extension == extension || one.extension.starts_with(INTERFACE_PREFIX))
}

/// The other extensions of the workspace: those that are installed, and those that are on their way.
fn neighbours(context: &Context, facts: &Facts) -> Vec<Installed> {
    let others = context.installs_of(&facts.key.cluster);
    let others = others.iter().filter(|(key, _)| *key != facts.key);
    others
        .filter_map(|(_, install)| in_its_workspace(install, |version| published(context, install, version)))
        .collect()
}

fn installed_version(context: &Context, install: &Install) -> Option<Arc<ExtensionVersion>> {
    published(context, install, install.status.as_ref()?.installed_version.as_ref()?)
}

fn published(context: &Context, install: &Install, version: &str) -> Option<Arc<ExtensionVersion>> {
    let extension: ExtensionName = install.spec.extension.parse().ok()?;
    let name = version_object_name(&extension, &version.parse().ok()?).ok()?;
    context.catalog.versions.named(&name).filter(|found| found.spec.version == version)
}

/// The Installs that have to be made along, in the order in which they can be installed; or why that cannot be.
pub(super) fn along(context: &Context, facts: &Facts, needs: &Needs) -> Result<Vec<Install>, Because> {
    let Some(own) = &needs.own else { return Ok(Vec::new()) };
    let layers = to_install(own, &needs.there, &catalog(context, facts))
        .map_err(|refusal| Because::new("DependencyMissing", refusal.to_string()))?;
    Ok(layers.into_iter().flatten().map(|along| install_along(facts, &along)).collect())
}

/// What there is already where an Install is to be made along.
pub(super) enum InItsWay {
    Nothing,
    /// One that was made along.
    MadeAlong,
    /// One that somebody else made: a second one of its extension, or of its name, would get nowhere. What is to be waited for.
    Another(String),
}

/// Looks for it.
pub(super) fn in_its_way(context: &Context, facts: &Facts, along: &Install) -> InItsWay {
    let extension = &along.spec.extension;
    let others = context.installs_of(&facts.key.cluster);
    let of_it = others.iter().find(|(_, install)| install.spec.extension == *extension);
    if let Some((key, install)) = of_it {
        if install.annotations().contains_key(INSTALLED_FOR_ANNOTATION) {
            return InItsWay::MadeAlong;
        }
        let (namespace, name) = (&key.namespace, &key.name);
        return InItsWay::Another(format!(
            "it waits for {extension}, which the Install {namespace}/{name} asks for"
        ));
    }
    let has_its_name = |key: &ObjectKey| key.namespace == facts.key.namespace && key.name == along.name_any();
    match others.iter().find(|(key, _)| has_its_name(key)) {
        Some((_, install)) => InItsWay::Another(format!(
            "{extension} cannot be installed along, as the Install of its name is of {}",
            install.spec.extension
        )),
        None => InItsWay::Nothing,
    }
}

fn install_along(facts: &Facts, along: &Along) -> Install {
    let spec = InstallSpec {
        extension: along.extension.to_string(),
        version: along.requirement.to_string(),
        dependencies: DependencyPolicy::Auto,
        environment_ref: facts.install.spec.environment_ref.clone(),
        ..serde_json::from_value(serde_json::json!({ "extension": along.extension.as_str() }))
            .unwrap_or_default()
    };
    let mut install = Install::new(along.extension.as_str(), spec);
    install.metadata.namespace = facts.install.namespace();
    install.annotations_mut().insert(INSTALLED_FOR_ANNOTATION.to_owned(), facts.install.name_any());
    install
}

/// What the tenant may install.
fn catalog(context: &Context, facts: &Facts) -> Catalog {
    let allowed = facts.tenant.spec.allowed_extensions.as_ref();
    offered(context.catalog.versions.filter(|version| {
        let is_good = !matches!(verification(version, facts.allow_unsigned), Verification::Refused(_));
        is_good && allowed.is_none_or(|allowed| allowed.contains(&version.spec.extension))
    }))
}

//! What would become of an Install. Pure.

use std::sync::Arc;

use annex_apis::{
    DeletionPolicy, DependencyPolicy, ExtensionVersion, Install, NoChoice, as_installed, asked_again, choose,
    held, modules_of, place_of_reference, place_of_runner,
};
use annex_core::dependencies::{
    Checked, Dependent, Installed, Present, State, breaks, check, cycle, dependents, to_install,
};
use annex_core::flow::{Action, Held, Place, Wanted, action, plan};
use annex_core::{ContentHash, HostName};
use kube::ResourceExt as _;
use serde::Serialize;

use super::needs::{catalog, is_refused, may_be_installed, neighbours, published, verified};
use super::stages::{Scene, Step};
use crate::flow::choice::failed;
use crate::flow::words::told;
use crate::printable::one_line;

/// As many versions as are named where none fits.
const MOST_NAMED: usize = 5;
/// A host name that nobody can have, in the place of one that is not known yet.
const NOBODY: &str = "unknown.invalid";
/// No place is called so.
const NOWHERE: &str = "?";

/// What would happen. Printed as JSON, its field names are an interface.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outlook {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) extension: String,
    /// `Install`, `Upgrade`, `Reprovision` or `Revoke`; null where there is nothing to do.
    pub(super) action: Option<&'static str>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// In their order.
    pub(super) stages: Vec<Step>,
    /// Why it would not go ahead as things are.
    pub(super) blocked: Vec<String>,
    /// What it needs of the others in the workspace.
    pub(super) dependencies: Vec<Dependency>,
    /// What would be installed along, in an order in which it can be.
    pub(super) along: Vec<Along>,
    /// The extensions that would be without something that they need.
    pub(super) dependents: Vec<Broken>,
    /// What else one should know.
    pub(super) notes: Vec<String>,
}

/// What is needed, and how that stands.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Dependency {
    pub(super) of: String,
    pub(super) version: String,
    pub(super) satisfied: bool,
    /// The same for people.
    pub(super) said: String,
}

/// An extension that would be installed along.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Along {
    pub(super) extension: String,
    pub(super) version: String,
    pub(super) requirement: String,
    pub(super) needed_by: Vec<String>,
}

/// An extension that would be without something.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Broken {
    pub(super) extension: String,
    pub(super) needs: Vec<String>,
}

impl Outlook {
    /// What would become of `install`, or of it with `delete`. `installs` are those of the workspace; it may be among them itself.
    ///
    /// # Errors
    /// No version can be chosen, and why.
    pub(super) fn of(
        install: &Install,
        installs: &[Install],
        versions: &[Arc<ExtensionVersion>],
        delete: bool,
    ) -> Result<Self, String> {
        let status = install.status.as_ref();
        let from = status.and_then(|status| status.installed_version.as_deref());
        let view = View {
            install,
            there: neighbours(install, installs, versions),
            versions,
            from: from.and_then(|from| published(versions, &install.spec.extension, from)),
        };
        let mut outlook = Self {
            namespace: one_line(&install.namespace().unwrap_or_default()),
            name: one_line(&install.name_any()),
            extension: one_line(&install.spec.extension),
            action: None,
            from: told(from),
            to: None,
            stages: Vec::new(),
            blocked: Vec::new(),
            dependencies: Vec::new(),
            along: Vec::new(),
            dependents: Vec::new(),
            notes: Vec::new(),
        };
        let is_going = install.metadata.deletion_timestamp.is_some();
        if is_going && !delete {
            outlook.notes.push("it is being deleted, and this is what the deletion does".to_owned());
        }
        if delete || is_going {
            outlook.goes(&view)?;
        } else {
            outlook.comes(&view, installs)?;
        }
        Ok(outlook)
    }

    /// Whether nothing is known that would hold it up.
    pub(super) fn goes_ahead(&self) -> bool {
        self.blocked.is_empty()
    }

    fn goes(&mut self, view: &View<'_>) -> Result<(), String> {
        let purge = view.install.spec.deletion_policy == DeletionPolicy::Purge;
        self.runs(view, None, &Wanted::Gone { purge }, false)?;
        if !purge {
            self.notes.push("spec.deletionPolicy is Retain: what the extension stored stays".to_owned());
        }
        if let Some(mut own) = view.from.and_then(|from| as_installed(from, true)) {
            own.present.is_leaving = true;
            self.stand_in_the_way(&dependents(&own, &view.there), "needs it still");
        }
        Ok(())
    }

    fn comes(&mut self, view: &View<'_>, installs: &[Install]) -> Result<(), String> {
        let install = view.install;
        let to = view.chosen()?;
        self.to = told(Some(&to.spec.version));
        let modules = modules_of(to);
        let wanted = Wanted::Installed {
            place: view.place(),
            host: view.host()?,
            content: to.spec.content_hash.parse::<ContentHash>().map_err(|error| error.to_string())?,
            modules: modules
                .iter()
                .filter_map(|module| Some((module.name.clone(), module.parsed()?)))
                .collect(),
        };
        self.runs(view, Some(to), &wanted, asked_again(install).is_some())?;
        self.takes(install, to);
        if self.action.is_none() {
            return Ok(());
        }
        self.about(view, to);
        if let Some(other) = installs.iter().find(|other| view.is_rival(other)) {
            let (namespace, name) = (other.namespace().unwrap_or_default(), other.name_any());
            self.blocked
                .push(one_line(&format!("install/{name} in namespace {namespace} has this extension")));
        }
        if let Some(own) = as_installed(to, false) {
            self.need(view, &own);
            let mut there = view.there.clone();
            there.extend(view.from.and_then(|from| as_installed(from, true)));
            self.stand_in_the_way(&breaks(&own.present, &there), "cannot do with that version");
        }
        Ok(())
    }

    /// The stages of the very plan that the controller makes.
    fn runs(
        &mut self,
        view: &View<'_>,
        to: Option<&ExtensionVersion>,
        wanted: &Wanted,
        again: bool,
    ) -> Result<(), String> {
        let held: Held = held(view.install);
        self.action = action(&held, wanted, again).map(|action| match action {
            Action::Install => "Install",
            Action::Upgrade => "Upgrade",
            Action::Reprovision => "Reprovision",
            Action::Revoke => "Revoke",
        });
        let (nowhere, nobody) = (NOWHERE.to_owned(), nobody()?);
        let scene = Scene { to, from: view.from, nowhere: &nowhere, nobody: &nobody };
        self.stages = plan(&held, wanted, again).iter().map(|stage| scene.step(stage)).collect();
        Ok(())
    }

    /// Whether the version takes the parameters.
    fn takes(&mut self, install: &Install, version: &ExtensionVersion) {
        if !install.spec.parameters_from.is_empty() {
            let note = "the parameters are not checked: spec.parametersFrom takes some out of Secrets, which are not read here";
            return self.notes.push(note.to_owned());
        }
        let parameters = install.spec.parameters.clone().into_iter().collect();
        if let Err(why) = annex_parameters::check(version.spec.parameters_schema.as_ref(), &parameters) {
            self.blocked.push(one_line(&format!("its parameters are not what the version takes: {why}")));
        }
    }

    /// What is to be known of the version and of how things are.
    fn about(&mut self, view: &View<'_>, to: &ExtensionVersion) {
        let version = one_line(&to.spec.version);
        if is_refused(to) {
            self.blocked.push(format!("version {version} did not pass verification"));
        } else if verified(to) != Some("True") {
            self.notes.push(format!(
                "nobody has verified version {version}: it is installed only where the operator allows that"
            ));
        }
        if to.spec.deprecated {
            self.notes.push(format!("version {version} is deprecated"));
        }
        if view.install.spec.suspend {
            self.notes.push("spec.suspend is true: nothing happens until it is false".to_owned());
        }
        let ended = failed(view.install).is_some_and(|flow| flow.finished_at.is_some() && flow.to == self.to);
        if ended {
            self.notes.push(
                "the last flow to this version did not get to its end: it is begun again for a change of the spec, or with \
                 kubectl annex retry"
                    .to_owned(),
            );
        }
    }

    fn need(&mut self, view: &View<'_>, own: &Installed) {
        let present: Vec<Present> = view.there.iter().map(|other| other.present.clone()).collect();
        let checked = check(&own.present, &own.needs, &present);
        self.dependencies = checked.iter().map(Dependency::of).collect();
        let unmet: Vec<&Checked> = checked.iter().filter(|checked| !checked.is_met()).collect();
        let all: Vec<Installed> = view.there.iter().chain([own]).cloned().collect();
        if unmet.is_empty() {
            return;
        }
        if let Some(circle) = cycle(&own.present.extension, &all) {
            self.blocked.push(one_line(&circle.to_string()));
            return;
        }
        let waits = unmet.iter().all(|checked| matches!(checked.state, State::NotReady { .. }));
        if waits || view.install.spec.dependencies == DependencyPolicy::Manual {
            self.blocked.extend(unmet.iter().map(|checked| one_line(&checked.to_string())));
            return;
        }
        match to_install(own, &view.there, &catalog(view.versions)) {
            Ok(layers) => self.along = layers.iter().flatten().map(Along::of).collect(),
            Err(refusal) => self.blocked.push(one_line(&refusal.to_string())),
        }
    }

    fn stand_in_the_way(&mut self, dependents: &[Dependent], why: &str) {
        self.dependents = dependents.iter().map(Broken::of).collect();
        let told = self
            .dependents
            .iter()
            .map(|broken| format!("{} {why}: it needs {}", broken.extension, broken.needs.join(", ")));
        self.blocked.extend(told);
    }
}

impl Dependency {
    fn of(checked: &Checked) -> Self {
        Self {
            of: one_line(&checked.need.of.to_string()),
            version: checked.need.version.to_string(),
            satisfied: checked.is_met(),
            said: one_line(&checked.to_string()),
        }
    }
}

impl Along {
    fn of(along: &annex_core::dependencies::Along) -> Self {
        Self {
            extension: along.extension.to_string(),
            version: along.version.to_string(),
            requirement: along.requirement.to_string(),
            needed_by: along.needed_by.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Broken {
    fn of(dependent: &Dependent) -> Self {
        Self {
            extension: dependent.extension.to_string(),
            needs: dependent.needs.iter().map(|need| one_line(&need.to_string())).collect(),
        }
    }
}

/// An Install and what is around it.
struct View<'a> {
    install: &'a Install,
    there: Vec<Installed>,
    versions: &'a [Arc<ExtensionVersion>],
    /// What is installed.
    from: Option<&'a ExtensionVersion>,
}

impl<'a> View<'a> {
    fn chosen(&self) -> Result<&'a ExtensionVersion, String> {
        let spec = &self.install.spec;
        let own: Vec<Arc<ExtensionVersion>> = self
            .versions
            .iter()
            .filter(|version| version.spec.extension == spec.extension)
            .cloned()
            .collect();
        let chosen = choose(self.install, &own, may_be_installed).map_err(|no_choice| match no_choice {
            NoChoice::Withdrawn(version) => {
                format!(
                    "{version} is installed and not in the catalog any more; set spec.version to get another"
                )
            }
            NoChoice::Invalid(reason) => format!("spec.version: {reason}"),
            NoChoice::NoMatch(there) if there.is_empty() => {
                format!("the catalog has no version of {} that could be chosen", spec.extension)
            }
            NoChoice::NoMatch(there) => {
                let newest: Vec<String> = there.iter().take(MOST_NAMED).map(ToString::to_string).collect();
                let newest = newest.join(", ");
                format!(
                    "no version of {} satisfies {}; the newest are {newest}",
                    spec.extension, spec.version
                )
            }
        })?;
        let number = &chosen.spec.version;
        published(self.versions, &spec.extension, number)
            .ok_or_else(|| format!("version {number} is not there"))
    }

    /// Where it is to run, as far as that is known: where it does, as long as it is not to run in another environment.
    fn place(&self) -> Place {
        let wanted = self.install.spec.environment_ref.as_ref().map(|environment| &environment.name);
        let status = self.install.status.as_ref();
        let runner = status.and_then(|status| status.runner_ref.as_ref());
        let runner = runner.filter(|runner| runner.environment.as_ref() == wanted).map(place_of_runner);
        let made = status.into_iter().flat_map(|status| &status.places);
        let mut made = made.filter(|place| place.environment.as_ref() == wanted).map(place_of_reference);
        runner.or_else(|| made.next()).unwrap_or_else(|| NOWHERE.to_owned())
    }

    fn host(&self) -> Result<HostName, String> {
        let host = self.install.status.as_ref().and_then(|status| status.host.as_deref());
        host.and_then(|host| host.parse().ok()).map_or_else(nobody, Ok)
    }

    /// There is one Install of an extension in a workspace: what has it keeps it, and else the oldest gets it.
    fn is_rival(&self, other: &Install) -> bool {
        let own = self.install;
        let is_other = (other.name_any(), other.namespace()) != (own.name_any(), own.namespace());
        is_other && other.spec.extension == own.spec.extension && rank(other) < rank(own)
    }
}

/// The lowest of an extension has it. What has not been made yet is the last.
fn rank(install: &Install) -> (bool, bool, Option<jiff::Timestamp>) {
    let installed = install.status.as_ref().and_then(|status| status.installed_version.as_ref());
    let made = install.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (installed.is_none(), made.is_none(), made)
}

fn nobody() -> Result<HostName, String> {
    NOBODY.parse().map_err(|error: annex_core::HostNameError| error.to_string())
}

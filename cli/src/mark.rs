//! `kubectl annex deprecate` and `yank`: what a version that was published still lets change.
//!
//! Both are a patch of the ExtensionVersion with the caller's own rights. There is no endpoint of the registry for it, so that who
//! may do it is RBAC and nothing else.

use annex_apis::ExtensionVersion;
use annex_core::{ExtensionName, version_object_name};
use clap::Args;
use kube::Api;
use kube::api::{Patch, PatchParams};
use semver::Version;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::outcome::Failure;
use crate::server::{ProviderArguments, ServerError, TIMEOUT, block_on};

/// Where the reason of a deprecation is. The kind has no field for it.
pub(crate) const MESSAGE_ANNOTATION: &str = "annex.sh/deprecation-message";

/// The most characters of a reason.
const MAX_MESSAGE: usize = 256;

pub(crate) const DEPRECATE_HELP: &str = "\
Sets spec.deprecated of the ExtensionVersion in the provider's workspace, and the annotation annex.sh/deprecation-message. The \
version can still be installed; catalogs show the mark and the message. You need the right `patch` on \
extensionversions there.

Examples:
  kubectl annex deprecate com.example.notes 1.2.3 --message 'take 2.0, it keeps drafts'
  kubectl annex deprecate com.example.notes 1.2.3 --undo

Exit codes: 0 done, or it was so already, 1 there is no such version, or its change is refused, 2 wrong usage, 3 the server could not be \
asked (forbidden, no connection, no kubeconfig).";

pub(crate) const YANK_HELP: &str = "\
Sets spec.yanked of the ExtensionVersion in the provider's workspace. No new install and no upgrade gets the version; where it is \
installed it stays, and the Install says so. What was published wrongly is yanked; what is dangerous the operator denies \
(the denylist). You need the right `patch` on extensionversions there.

Examples:
  kubectl annex yank com.example.notes 1.2.3
  kubectl annex yank com.example.notes 1.2.3 --undo

Exit codes: 0 done, or it was so already, 1 there is no such version, or its change is refused, 2 wrong usage, 3 the server could not be \
asked (forbidden, no connection, no kubeconfig).";

#[derive(Debug, Args)]
pub(crate) struct DeprecateArguments {
    #[command(flatten)]
    pub(crate) version: VersionArguments,
    /// Why, or what to take instead
    #[arg(long, value_name = "TEXT", value_parser = message, conflicts_with = "undo")]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct YankArguments {
    #[command(flatten)]
    pub(crate) version: VersionArguments,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArguments {
    /// The extension, such as com.example.notes
    pub(crate) name: ExtensionName,
    /// The version, such as 1.2.3
    pub(crate) version: Version,
    /// Take the mark away again
    #[arg(long)]
    pub(crate) undo: bool,
    #[command(flatten)]
    pub(crate) provider: ProviderArguments,
}

/// Marks the version as deprecated, or no longer.
pub(crate) fn deprecate(arguments: &DeprecateArguments) -> Result<String, Failure> {
    let version = &arguments.version;
    // A null takes it away. Without a new message an old one is of another time.
    let message = json!({ MESSAGE_ANNOTATION: arguments.message });
    let patch = json!({
        "metadata": {"annotations": message},
        "spec": {"version": version.version, "deprecated": !version.undo},
    });
    mark(version, &patch, if version.undo { "no longer deprecated" } else { "deprecated" })
}

/// Takes the version out of choice, or lets it be chosen again.
pub(crate) fn yank(arguments: &YankArguments) -> Result<String, Failure> {
    let version = &arguments.version;
    let done = if version.undo { "no longer yanked" } else { "yanked" };
    mark(version, &json!({"spec": {"version": version.version, "yanked": !version.undo}}), done)
}

/// The patch names the version, which cannot change: 1.0.0+a and 1.0.0-a have one name, and the server then refuses to mark the other.
fn mark(arguments: &VersionArguments, patch: &Value, done: &str) -> Result<String, Failure> {
    let (name, version) = (&arguments.name, &arguments.version);
    let object = version_object_name(name, version)
        .map_err(|error| Failure::Usage(format!("no version {version} of {name} can be there: {error}")))?;
    block_on(async {
        let provider = arguments.provider.connect().await?;
        let api: Api<ExtensionVersion> = Api::all(provider.client.clone());
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
        match timeout(TIMEOUT, api.patch(&object, &parameters, &patch)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(error, &provider.server, arguments)),
            Err(_) => Err(ServerError::Timeout { server: provider.server }.into()),
        }
    })??;
    Ok(format!("extensionversion.annex.sh/{object} {done}"))
}

fn failure(error: kube::Error, server: &str, arguments: &VersionArguments) -> Failure {
    let (name, version) = (&arguments.name, &arguments.version);
    match error {
        // What admission and the kind's own rules say.
        kube::Error::Api(status) if [400, 409, 422].contains(&status.code) => {
            Failure::Refused(status.message)
        }
        error => match ServerError::of(error, server) {
            ServerError::NotFound { server, .. } => Failure::Refused(format!(
                "{server} has no version {version} of {name}; kubectl annex catalog {name} --all lists those that are there"
            )),
            other => other.into(),
        },
    }
}

/// One line that a table can show.
fn message(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if length == 0 || length > MAX_MESSAGE {
        return Err(format!("it has {length} characters, not 1 to {MAX_MESSAGE}"));
    }
    if text.chars().any(char::is_control) {
        return Err("it must be one line, without control characters".to_owned());
    }
    Ok(text.to_owned())
}

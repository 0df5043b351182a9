//! `kubectl annex rollback`: back to an earlier version.

use annex_apis::Install;
use clap::Args;
use semver::Version;
use serde_json::{Map, json};

use super::choice::{former, parameters_back};
use super::workspace::{Decision, DryRun, InstallArguments, Workspace, object};
use crate::outcome::Failure;
use crate::server::block_on;

pub(crate) const HELP: &str = "\
Sets spec.version of the Install to exactly one version: what --to says; or what is installed, where something else is asked for that failed, \
is under way or cannot be, with the spec.parameters that it is handed; else the one before the last upgrade in its history that got to its end. What becomes of it is an upgrade like any \
other, with the handlers of that version; status.history says how it went. \
kubectl annex plan says beforehand what it would do.

Examples:
  kubectl annex rollback install/notes
  kubectl annex rollback install/notes --to 1.4.2 --dry-run=server

Exit codes: 0 done, or it was so already, 1 there is nothing to go back to, it is what is installed, or the change is refused, 2 wrong \
usage, 3 the server could not be asked (not there, forbidden, no connection, no kubeconfig), or the Install keeps changing.";

#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    #[command(flatten)]
    pub(crate) install: InstallArguments,
    /// The version, instead of the one before the last upgrade
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<Version>,
    /// Only ask the server whether it would take the change
    #[arg(long, value_enum, value_name = "server")]
    pub(crate) dry_run: Option<DryRun>,
}

/// Sets the version.
pub(crate) fn run(arguments: &RollbackArguments) -> Result<String, Failure> {
    let (given, dry_run) = (&arguments.install, arguments.dry_run.is_some());
    block_on(async {
        let workspace = Workspace::connect(&given.server, given.namespace.as_deref()).await?;
        let object = object(&given.target);
        let history = workspace.command(&["annex", "history", &object]);
        let refused = |reason: String| Failure::Refused(format!("{object}: {reason}"));
        let decide = |install: &Install| {
            if install.metadata.deletion_timestamp.is_some() {
                return Err(refused("it is being deleted".to_owned()));
            }
            let version = former(install, arguments.to.as_ref()).map_err(refused)?;
            let (requirement, parameters) = (format!("={version}"), parameters_back(install, &version));
            if install.spec.version == requirement && parameters.is_none() {
                let said = format!("{object}: spec.version is {requirement} already");
                return Ok(Decision::Leave { said });
            }
            let mut spec = Map::from_iter([("version".to_owned(), json!(requirement))]);
            let mut with = "";
            if let Some(parameters) = parameters {
                spec.insert("parameters".to_owned(), parameters);
                with = ", with the parameters that it is handed";
            }
            let said = if dry_run {
                format!("{object}: spec.version would be {requirement}{with} (server dry run)")
            } else {
                format!(
                    "{object}: spec.version is now {requirement}{with}\n\nNext: see how it goes\n  {history}"
                )
            };
            Ok(Decision::Change { patch: json!({ "spec": spec }), said })
        };
        workspace.decide(&given.target, dry_run, decide).await
    })?
}

//! `kubectl annex plan`: what would become of an Install.
//!
//! Everything is read first: the Install, as admission lets it pass ([`manifest`]), the others of its workspace, and the catalog. From there
//! on all is pure: [`outlook`] says what would happen, with the very plan that the controller makes, and [`text`] how that is said.

#[cfg(test)]
mod examples;
mod manifest;
mod needs;
mod outlook;
mod stages;
mod text;

use std::path::PathBuf;
use std::sync::Arc;

use annex_apis::{ExtensionVersion, Install};
use clap::Args;
use kube::Api;
use kube::api::ListParams;

use super::workspace::{Workspace, install};
use crate::args::Output;
use crate::explain::Target;
use crate::outcome::{Failure, Outcome};
use crate::server::{ProviderArguments, ServerError, block_on};
use crate::{catalog, format};
use outlook::Outlook;

/// Installs that are read at once.
const PAGE: u32 = 500;

pub(crate) const HELP: &str = "\
With -f the manifest is first given to the API server in a dry run, so that admission speaks. Then the catalog in the provider's \
workspace is asked for the version, and the stages are shown that the Install would go through, in their order, with what is missing of \
other extensions and whom it would break. Nothing is changed. What the platform's operator alone knows is not looked at: quotas, and \
which extensions you may install.

Examples:
  kubectl annex plan -f install.yaml
  kubectl annex plan install/notes
  kubectl annex plan install/notes --delete

Exit codes: 0 it would go ahead, or there is nothing to do, 1 it would not go ahead as things are, or the manifest is refused, 2 wrong \
usage, 3 something could not be read (not there, forbidden, no connection, no kubeconfig).";

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    /// An Install that is there, such as install/hello
    #[arg(value_name = "install/NAME", value_parser = install, required_unless_present = "filename")]
    pub(crate) target: Option<Target>,
    /// The manifest of an Install, as YAML or JSON; - for standard input
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["target", "delete"])]
    pub(crate) filename: Option<PathBuf>,
    /// What its deletion would do
    #[arg(long)]
    pub(crate) delete: bool,
    /// The Install's namespace, instead of the manifest's or the context's
    #[arg(short, long, value_name = "NS")]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) provider: ProviderArguments,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

/// What a plan is made of.
struct Facts {
    /// As it is, or would be once it is applied.
    install: Install,
    /// All of the workspace; the Install may be among them.
    installs: Vec<Install>,
    /// False: only those of the namespace could be read.
    is_whole: bool,
    // Shared, because a version is chosen by reference.
    versions: Vec<Arc<ExtensionVersion>>,
}

/// Reads what is there and says what would become of it.
pub(crate) fn run(arguments: &PlanArguments) -> Outcome {
    let outlook = gathered(arguments).and_then(|facts| {
        let mut outlook = Outlook::of(&facts.install, &facts.installs, &facts.versions, arguments.delete)
            .map_err(Failure::Refused)?;
        if !facts.is_whole {
            outlook
                .notes
                .push("you may not list the Installs of other namespaces: they are not looked at".to_owned());
        }
        Ok(outlook)
    });
    let printed = outlook.and_then(|outlook| {
        let printed = match arguments.output {
            Output::Text => text::render(&outlook),
            Output::Json => format::json(&outlook)?,
        };
        Ok((printed, outlook.goes_ahead()))
    });
    match printed {
        Ok((printed, true)) => Outcome::Done(printed),
        Ok((printed, false)) => Outcome::NotReady(printed),
        Err(failure) => Outcome::Failed(failure),
    }
}

fn gathered(arguments: &PlanArguments) -> Result<Facts, Failure> {
    // Before anything is asked: what is no manifest needs no server.
    let manifest = arguments.filename.as_deref().map(manifest::read).transpose()?;
    let namespace = arguments.namespace.as_deref();
    block_on(async {
        let (workspace, install) = match (&manifest, &arguments.target) {
            (Some(manifest), _) => {
                let namespace = manifest.namespace(namespace)?;
                let workspace = Workspace::connect(&arguments.provider.server, namespace).await?;
                let install = manifest.dry_run(&workspace).await?;
                (workspace, install)
            }
            (None, Some(target)) => {
                let workspace = Workspace::connect(&arguments.provider.server, namespace).await?;
                let install = workspace.install(target).await?;
                (workspace, install)
            }
            (None, None) => {
                return Err(Failure::Usage("give install/NAME, or a manifest with -f".to_owned()));
            }
        };
        let (installs, is_whole) = workspace.in_time(all(&workspace)).await??;
        let versions = catalog::versions(&arguments.provider).await?;
        Ok(Facts { install, installs, is_whole, versions: versions.into_iter().map(Arc::new).collect() })
    })?
}

/// Extensions of a workspace may need each other across its namespaces. Whoever may only look into one gets those of that one, and false.
async fn all(workspace: &Workspace) -> Result<(Vec<Install>, bool), Failure> {
    let failed = |error| ServerError::of(error, &workspace.server);
    match list(&Api::all(workspace.client.clone())).await {
        Ok(found) => Ok((found, true)),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Ok((list(&workspace.installs()).await.map_err(failed)?, false))
        }
        Err(error) => Err(failed(error).into()),
    }
}

async fn list(api: &Api<Install>) -> Result<Vec<Install>, kube::Error> {
    let mut parameters = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&parameters).await?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

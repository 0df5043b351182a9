//! Installs in the caller's own workspace.

use annex_apis::Install;
use clap::{Args, ValueEnum};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tokio::time::timeout;

use crate::explain::{Kind, Kubectl, Target, missing};
use crate::outcome::Failure;
use crate::server::{ConfigError, ServerArguments, ServerError, TIMEOUT};

/// How often a change is decided anew before a person is asked to.
const TRIES: usize = 5;

/// Which Install.
#[derive(Debug, Clone, Args)]
pub(crate) struct InstallArguments {
    /// The Install, such as install/hello
    #[arg(value_name = "install/NAME", value_parser = install)]
    pub(crate) target: Target,
    /// Its namespace, instead of the context's
    #[arg(short, long, value_name = "NS")]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArguments,
}

/// Whether a change is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// The API server says whether it would take it, and keeps nothing
    Server,
}

/// What is to be done about an Install, and what is said when that is done.
pub(super) enum Decision {
    /// Nothing.
    Leave { said: String },
    /// This merge patch.
    Change { patch: Value, said: String },
}

/// `install/NAME`, as `explain` takes it; no other kind has flows.
pub(super) fn install(text: &str) -> Result<Target, String> {
    let target: Target =
        text.parse().map_err(|error: <Target as std::str::FromStr>::Err| error.to_string())?;
    if target.kind() == Kind::Install {
        Ok(target)
    } else {
        Err("only installs have flows: give install/NAME".to_owned())
    }
}

/// The workspace that the kubeconfig's context names, with the caller's own rights.
pub(super) struct Workspace {
    pub(super) client: Client,
    pub(super) namespace: String,
    /// Its address, for messages.
    pub(super) server: String,
    /// For commands to go on with.
    pub(super) kubectl: Kubectl,
}

impl Workspace {
    /// `namespace`: instead of the context's.
    pub(super) async fn connect(
        arguments: &ServerArguments,
        namespace: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let config = arguments.config().await?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let kubectl = Kubectl::new(arguments.kubeconfig.as_deref(), arguments.context.as_deref(), &server);
        let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
        let client = Client::try_from(config).map_err(|error| ConfigError::Client(error.to_string()))?;
        Ok(Self { client, namespace, server, kubectl })
    }

    /// Those of the namespace.
    pub(super) fn installs(&self) -> Api<Install> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Reads one.
    pub(super) async fn install(&self, target: &Target) -> Result<Install, Failure> {
        match self.in_time(self.installs().get(target.name())).await? {
            Ok(install) => Ok(install),
            Err(error) => Err(self.failure(error, target)),
        }
    }

    /// Reads one and does what is decided of it, anew where it was changed in between: what was decided by it would be wrong of another. The
    /// controller, too, changes one while a flow is under way.
    pub(super) async fn decide(
        &self,
        target: &Target,
        dry_run: bool,
        decide: impl Fn(&Install) -> Result<Decision, Failure>,
    ) -> Result<String, Failure> {
        for _ in 0..TRIES {
            let install = self.install(target).await?;
            match decide(&install)? {
                Decision::Leave { said } => return Ok(said),
                Decision::Change { patch, said } => {
                    if self.patch(target, &install, patch, dry_run).await? {
                        return Ok(said);
                    }
                }
            }
        }
        Err(Failure::Unable(format!("{} has changed meanwhile; try again", object(target))))
    }

    /// Changes one, if it is still as it was read. False: it is not.
    async fn patch(
        &self,
        target: &Target,
        read: &Install,
        mut patch: Value,
        dry_run: bool,
    ) -> Result<bool, Failure> {
        if let (Some(fields), Some(version)) = (patch.as_object_mut(), read.resource_version()) {
            let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("resourceVersion".to_owned(), Value::String(version));
            }
        }
        let parameters = PatchParams { dry_run, ..PatchParams::default() };
        match self.in_time(self.installs().patch(target.name(), &parameters, &Patch::Merge(&patch))).await? {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(self.failure(error, target)),
        }
    }

    /// Waits for an answer, but not for ever.
    pub(super) async fn in_time<T>(&self, asked: impl Future<Output = T>) -> Result<T, Failure> {
        timeout(TIMEOUT, asked).await.map_err(|_| ServerError::Timeout { server: self.server.clone() }.into())
    }

    /// What came of a question about an Install.
    pub(super) fn failure(&self, error: kube::Error, target: &Target) -> Failure {
        match error {
            // What admission and the kind's own rules say.
            kube::Error::Api(status) if [400, 409, 422].contains(&status.code) => {
                Failure::Refused(status.message)
            }
            error => match ServerError::of(error, &self.server) {
                ServerError::NotFound { server, status } => {
                    Failure::Unable(missing(&status, target, self.namespace.clone(), server).to_string())
                }
                other => other.into(),
            },
        }
    }

    /// A command about the object, for a person to paste.
    pub(super) fn command(&self, words: &[&str]) -> String {
        self.kubectl.command(&[words, &["-n", &self.namespace]].concat())
    }
}

/// As people write it.
pub(super) fn object(target: &Target) -> String {
    format!("{}/{}", target.kind().singular(), target.name())
}

//! Which server, and as whom.

use std::path::PathBuf;

use clap::Args;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use secrecy::SecretString;

use crate::outcome::Failure;

/// How kubectl's own options choose it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServerArguments {
    /// The kubeconfig to use, instead of $KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "F")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use, instead of its current one
    #[arg(long, value_name = "C")]
    pub(crate) context: Option<String>,
}

/// Why there is no server to ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("no kubeconfig{0}; give one with --kubeconfig or in KUBECONFIG")]
    NoKubeconfig(String),
    #[error("the kubeconfig has no context {0}")]
    NoContext(String),
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(KubeconfigError),
    #[error("setting up the client: {0}")]
    Client(String),
}

impl ServerArguments {
    /// Reads the kubeconfig.
    pub(crate) async fn config(&self) -> Result<Config, ConfigError> {
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = Config::from_custom_kubeconfig(kubeconfig?, &options).await?;
        // A person waits: better to say that the server is busy than to try again for minutes.
        config.default_retry = false;
        token_of_file(&mut config)?;
        Ok(config)
    }
}

/// Takes the token of a file that the kubeconfig names, as kubectl reads it: without the white space around it, which kube would send.
fn token_of_file(config: &mut Config) -> Result<(), ConfigError> {
    let auth = &mut config.auth_info;
    let (None, Some(path)) = (&auth.token, &auth.token_file) else { return Ok(()) };
    let token = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Client(format!("reading the token in {path} failed: {error}")))?;
    auth.token = Some(SecretString::from(token.trim().to_owned()));
    Ok(())
}

impl From<KubeconfigError> for ConfigError {
    fn from(error: KubeconfigError) -> Self {
        match error {
            KubeconfigError::FindPath => Self::NoKubeconfig(String::new()),
            KubeconfigError::ReadConfig(reason, path) => {
                Self::NoKubeconfig(format!(" at {}: {reason}", path.display()))
            }
            KubeconfigError::LoadContext(context) => Self::NoContext(context),
            other => Self::Kubeconfig(other),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Unable(error.to_string())
    }
}

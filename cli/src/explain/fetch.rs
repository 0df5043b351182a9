//! Reading the object from the API server.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::{DynamicObject, Status};
use kube::{Api, Client, Config};

use super::kubectl::Kubectl;
use super::target::Target;
use crate::args::ExplainArguments;

/// The object, and how kubectl reaches what is around it.
pub(crate) struct Fetched {
    pub(crate) object: DynamicObject,
    pub(crate) kubectl: Kubectl,
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no kubeconfig{0}; give one with --kubeconfig or in KUBECONFIG")]
    NoKubeconfig(String),
    #[error("the kubeconfig has no context {0}")]
    NoContext(String),
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(KubeconfigError),
    #[error("{what} is not there in namespace {namespace} of {server}; another namespace is given with -n")]
    NotFound { what: String, namespace: String, server: String },
    #[error(
        "{server} serves no annex.sh/v1alpha1: is it the workspace that you mean, and is the API bound there \
         (kubectl get apibinding annex.sh)?"
    )]
    NotServed { server: String },
    #[error("forbidden at {server}: {message}")]
    Forbidden { server: String, message: String },
    #[error("{server} does not know these credentials: {message}")]
    Unauthorized { server: String, message: String },
    #[error("{server} refused: {message}")]
    Refused { server: String, message: String },
    #[error("cannot reach {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("{server} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout { server: String },
    #[error("setting up the client: {0}")]
    Client(String),
}

/// For all of it: credentials from an exec plugin, connecting, the answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the object that `arguments` name. Blocks, at most half a minute.
pub(crate) fn fetch(arguments: &ExplainArguments) -> Result<Fetched, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| FetchError::Client(error.to_string()))?;
    let result = runtime.block_on(read(arguments));
    // A name that resolves slowly is not waited for.
    runtime.shutdown_background();
    result
}

async fn read(arguments: &ExplainArguments) -> Result<Fetched, FetchError> {
    let config = config(arguments.kubeconfig.as_deref(), arguments.context.clone()).await?;
    let server = config.cluster_url.to_string();
    let server = server.trim_end_matches('/').to_owned();
    let kubectl = Kubectl::new(arguments.kubeconfig.as_deref(), arguments.context.as_deref(), &server);
    let namespace = arguments.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| FetchError::Client(error.to_string()))?;
    let target = &arguments.target;
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &target.kind().api_resource());
    match tokio::time::timeout(TIMEOUT, api.get(target.name())).await {
        Ok(Ok(object)) => Ok(Fetched { object, kubectl }),
        Ok(Err(error)) => Err(failure(error, target, namespace, server)),
        Err(_) => Err(FetchError::Timeout { server }),
    }
}

async fn config(kubeconfig: Option<&Path>, context: Option<String>) -> Result<Config, FetchError> {
    let kubeconfig = match kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig?, &options).await?;
    // A person waits: better to say that the server is busy than to try again for minutes.
    config.default_retry = false;
    Ok(config)
}

impl From<KubeconfigError> for FetchError {
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

fn failure(error: kube::Error, target: &Target, namespace: String, server: String) -> FetchError {
    match error {
        kube::Error::Api(status) => refusal(*status, target, namespace, server),
        // Its own words before the cause are only the name of the variant.
        kube::Error::Service(error) => FetchError::Unreachable { server, reason: chain(error.as_ref()) },
        other => FetchError::Unreachable { server, reason: chain(&other) },
    }
}

fn refusal(status: Status, target: &Target, namespace: String, server: String) -> FetchError {
    let message = status.message;
    match status.code {
        401 => FetchError::Unauthorized { server, message },
        403 => FetchError::Forbidden { server, message },
        // A missing object is named in the details; where the whole API is missing nothing is.
        404 if status.details.is_some_and(|details| details.name == target.name()) => {
            let what = format!("{}/{}", target.kind().singular(), target.name());
            FetchError::NotFound { what, namespace, server }
        }
        404 => FetchError::NotServed { server },
        _ => FetchError::Refused { server, message },
    }
}

/// An error and its causes in one line, each once: kube's errors often say their cause themselves.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

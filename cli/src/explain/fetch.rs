//! Reading the object from the API server.

use kube::core::{DynamicObject, Status};
use kube::{Api, Client};

use super::kubectl::Kubectl;
use super::target::Target;
use crate::args::ExplainArguments;
use crate::server::{ConfigError, ServerError, TIMEOUT, block_on};

/// The object, and how kubectl reaches what is around it.
pub(crate) struct Fetched {
    pub(crate) object: DynamicObject,
    pub(crate) kubectl: Kubectl,
}

/// Why there is nothing to explain.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{what} is not there in namespace {namespace} of {server}; another namespace is given with -n")]
    NotFound { what: String, namespace: String, server: String },
    #[error(
        "{server} serves no annex.sh/v1alpha1: is it the workspace that you mean, and is the API bound there \
         (kubectl get apibinding annex.sh)?"
    )]
    NotServed { server: String },
    #[error(transparent)]
    Server(ServerError),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Reads the object that `arguments` name. Blocks, at most half a minute.
pub(crate) fn fetch(arguments: &ExplainArguments) -> Result<Fetched, FetchError> {
    block_on(read(arguments))?
}

async fn read(arguments: &ExplainArguments) -> Result<Fetched, FetchError> {
    let config = arguments.server.config().await?;
    let server = config.cluster_url.to_string();
    let server = server.trim_end_matches('/').to_owned();
    let (kubeconfig, context) = (&arguments.server.kubeconfig, &arguments.server.context);
    let kubectl = Kubectl::new(kubeconfig.as_deref(), context.as_deref(), &server);
    let namespace = arguments.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| ConfigError::Client(error.to_string()))?;
    let target = &arguments.target;
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &target.kind().api_resource());
    match tokio::time::timeout(TIMEOUT, api.get(target.name())).await {
        Ok(Ok(object)) => Ok(Fetched { object, kubectl }),
        Ok(Err(error)) => Err(match ServerError::of(error, &server) {
            ServerError::NotFound { server, status } => missing(&status, target, namespace, server),
            other => FetchError::Server(other),
        }),
        Err(_) => Err(FetchError::Server(ServerError::Timeout { server })),
    }
}

/// What a 404 means. A missing object is named in the details; where the whole API is missing nothing is.
pub(crate) fn missing(status: &Status, target: &Target, namespace: String, server: String) -> FetchError {
    if status.details.as_ref().is_some_and(|details| details.name == target.name()) {
        let what = format!("{}/{}", target.kind().singular(), target.name());
        return FetchError::NotFound { what, namespace, server };
    }
    FetchError::NotServed { server }
}

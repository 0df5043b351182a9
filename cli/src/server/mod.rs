//! The API server, as the kubeconfig in use reaches it.

mod config;
mod error;
mod provider;
mod token;

pub(crate) use config::{ConfigError, ServerArguments};
pub(crate) use error::{ServerError, chain};
pub(crate) use provider::{PROVIDER_WORKSPACE, Provider, ProviderArguments};
pub(crate) use token::bearer_token;

use std::time::Duration;

/// For all of a command's questions to the API server: credentials from an exec plugin, connecting, the answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs a command that waits for others.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, ConfigError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ConfigError::Client(error.to_string()))?;
    let result = runtime.block_on(work);
    // A name that resolves slowly is not waited for.
    runtime.shutdown_background();
    Ok(result)
}

//! `secrets`.

use async_trait::async_trait;

use super::view::HostState;
use super::wit::secrets;
use crate::call::CallContext;

/// Where secrets come from. Values never go into a log or an error.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// One value of a Secret that the install's tenant lets the extension read.
    async fn get(&self, context: &CallContext, name: &str, key: &str) -> Result<Vec<u8>, SecretError>;
}

/// Why there is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The install does not name it.
    #[error("the install does not let the extension read this Secret")]
    NotGranted,
    /// The Secret or the key is not there.
    #[error("the Secret does not exist or has no such key")]
    NotFound,
    /// The broker cannot be reached.
    #[error("secrets cannot be read now")]
    Unavailable,
}

impl From<SecretError> for secrets::Error {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::NotGranted => Self::NotGranted,
            SecretError::NotFound => Self::NotFound,
            SecretError::Unavailable => Self::Unavailable,
        }
    }
}

/// The longest name of an object of Kubernetes, and of a key in a Secret.
const MAX_NAME_BYTES: usize = 253;

impl secrets::Host for HostState {
    async fn get(&mut self, name: String, key: String) -> wasmtime::Result<Result<Vec<u8>, secrets::Error>> {
        if name.len() > MAX_NAME_BYTES || key.len() > MAX_NAME_BYTES {
            // Nothing of that name exists, and no broker has to look at it.
            return Ok(Err(secrets::Error::NotGranted));
        }
        Ok(self.host.secrets.get(&self.context, &name, &key).await.map_err(Into::into))
    }
}

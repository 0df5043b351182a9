//! What a server answers where it does not give what was asked for.

use kube::core::Status;

use super::TIMEOUT;
use crate::outcome::Failure;

/// Why the server gave no answer to use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("forbidden at {server}: {message}")]
    Forbidden { server: String, message: String },
    #[error("{server} does not know these credentials: {message}")]
    Unauthorized { server: String, message: String },
    #[error("{server} has nothing there: {}", .status.message)]
    NotFound { server: String, status: Box<Status> },
    #[error("{server} refused: {message}")]
    Refused { server: String, message: String },
    #[error("cannot reach {server}: {reason}")]
    Unreachable { server: String, reason: String },
    #[error("{server} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout { server: String },
}

impl ServerError {
    /// What came of a request to `server`.
    pub(crate) fn of(error: kube::Error, server: &str) -> Self {
        let server = server.to_owned();
        match error {
            kube::Error::Api(status) => match status.code {
                401 => Self::Unauthorized { server, message: status.message },
                403 => Self::Forbidden { server, message: status.message },
                404 => Self::NotFound { server, status },
                _ => Self::Refused { server, message: status.message },
            },
            // Its own words before the cause are only the name of the variant.
            kube::Error::Service(error) => Self::Unreachable { server, reason: chain(error.as_ref()) },
            other => Self::Unreachable { server, reason: chain(&other) },
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        Self::Unable(error.to_string())
    }
}

/// An error and its causes in one line, each once: kube's errors often say their cause themselves.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
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

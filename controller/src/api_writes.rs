use std::{future::Future, time::Duration};

use kube::core::Status;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// A write that takes longer is given up; the key comes again.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(15);

/// Counts what the controller writes, by what and how it ended, and bounds how long each write may take.
#[derive(Clone, Debug, Default)]
pub(crate) struct ApiWrites {
    writes: Family<Label, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    what: &'static str,
    result: &'static str,
}

/// A write that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The server said no, or could not be reached.
    #[error("{what} cannot be written: {}", kube_kcp::Brief(&**error))]
    Refused {
        /// What was written.
        what: &'static str,
        /// Why it was not.
        error: Box<kube::Error>,
    },
    /// It had to be read first.
    #[error("{what} cannot be read: {}", kube_kcp::Brief(&**error))]
    Unread {
        /// What was read.
        what: &'static str,
        /// Why it was not.
        error: Box<kube::Error>,
    },
    /// No answer.
    #[error("{0} was not written in time")]
    Timeout(&'static str),
    /// No client.
    #[error(transparent)]
    Connect(#[from] kube_kcp::NoClient),
}

impl WriteError {
    /// The object has changed since it was read. Its new state is on the way through the watch.
    pub(crate) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The object, or its workspace, is not there any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.code() == Some(404)
    }

    /// There is no right to.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// What was to be written, or read.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Refused { what, .. } | Self::Unread { what, .. } | Self::Timeout(what) => what,
            Self::Connect(_) => "client",
        }
    }

    fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    /// The server's own words, where it has answered.
    pub(crate) fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { error, .. } | Self::Unread { error, .. } => match &**error {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            Self::Timeout(_) | Self::Connect(_) => None,
        }
    }
}

impl ApiWrites {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let writes = Self::default();
        registry.register("api_writes", "Writes to the API servers", writes.writes.clone());
        writes
    }

    /// Runs one write.
    pub(crate) async fn count<T>(
        &self,
        what: &'static str,
        write: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        self.count_within(TIMEOUT, what, write).await
    }

    /// Runs one write to a server that may take no longer than `limit`.
    pub(crate) async fn count_within<T>(
        &self,
        limit: Duration,
        what: &'static str,
        write: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        let result = tokio::time::timeout(limit, write).await;
        let label = match &result {
            Ok(Ok(_)) => "ok",
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => "conflict",
            Ok(Err(_)) => "error",
            Err(_) => "timeout",
        };
        self.writes.get_or_create(&Label { what, result: label }).inc();
        result
            .map_err(|_| WriteError::Timeout(what))?
            .map_err(|error| WriteError::Refused { what, error: Box::new(error) })
    }
}

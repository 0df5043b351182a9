//! TLS of a listener: its certificate comes from files, and follows them.

mod args;
mod handshake;
mod key_pair;
mod metrics;
mod served;

use std::{fmt, sync::Arc};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

pub use args::{KeyPairFiles, OperationsTlsArgs, TlsArgs};
pub use key_pair::KeyPairError;

use metrics::Metrics;
use served::Served;

/// The certificates of a process's listeners, and what an operator is told of them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Certificates {
    served: Arc<Mutex<Vec<Arc<Served>>>>,
    metrics: Metrics,
}

/// What one listener speaks: plain HTTP, or TLS with a certificate that is read again when its files change. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tls(Option<Arc<Served>>);

impl Certificates {
    /// Registers the metrics `tls_…`. Call it once per registry.
    pub fn register(registry: &mut Registry) -> Self {
        Self { served: Arc::default(), metrics: Metrics::register(registry) }
    }

    /// Reads the certificate of a listener; no files means plain HTTP. `listener` is its name in metrics and messages.
    ///
    /// # Errors
    /// The files hold nothing that can be served. Later, when they change into that, the former certificate is kept.
    pub fn listener(&self, listener: &'static str, files: Option<KeyPairFiles>) -> Result<Tls, KeyPairError> {
        let Some(files) = files else { return Ok(Tls(None)) };
        let served = Arc::new(Served::load(listener, files, self.metrics.clone())?);
        self.served.lock().push(served.clone());
        Ok(Tls(Some(served)))
    }

    /// A line for each listener whose certificate needs a person.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.served.lock().iter().filter_map(|served| served.note()).collect()
    }
}

impl Tls {
    /// Looks at the files now, and takes over what changed. A listener that is served does it by itself every two seconds.
    pub async fn check(&self) {
        if let Some(served) = &self.0 {
            Served::check(served).await;
        }
    }

    /// The scheme of the listener's URLs.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.0.is_some() { "https" } else { "http" }
    }

    pub(crate) fn served(&self) -> Option<&Arc<Served>> {
        self.0.as_ref()
    }

    /// Follows the files for ever.
    pub(crate) async fn follow(&self) {
        match &self.0 {
            Some(served) => Served::follow(served).await,
            None => std::future::pending().await,
        }
    }
}

// By hand: what is in there leads to a private key, which no log may show.
impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Tls").field(&self.scheme()).finish()
    }
}

//! What an engine knows of a content.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annex_core::ContentHash;
use moka::Expiry;
use parking_lot::Mutex;
use wasmtime::component::Component;

use crate::capability::Capabilities;
use crate::extension::Extension;
use crate::load_error::LoadError;
use crate::run::Sandbox;

/// What an engine knows of a content.
#[derive(Clone)]
pub(crate) enum Known {
    /// It can be run.
    Ready(Arc<Ready>),
    /// It cannot, whoever asks.
    Refused(LoadError),
}

/// A component and what was made of it.
pub(crate) struct Ready {
    component: Component,
    /// As many as there are sets of capabilities, which are few.
    extensions: Mutex<BTreeMap<Capabilities, Extension>>,
}

/// What is set down for a refusal, in bytes. More than it takes, so that many of them are not forgotten to cost something.
const REFUSAL_BYTES: u32 = 1 << 10;

/// The least that is set down for code, in bytes: however small, it takes a mapping and a file descriptor.
const READY_BYTES: u32 = 64 << 10;

impl Known {
    /// An error that is not the component's fault is none to be known.
    pub(crate) fn of(component: Result<Component, LoadError>) -> Result<Self, LoadError> {
        match component {
            Ok(component) => Ok(Self::ready(component)),
            Err(error) if error.is_of_the_content() => Ok(Self::Refused(error)),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn ready(component: Component) -> Self {
        Self::Ready(Arc::new(Ready { component, extensions: Mutex::default() }))
    }

    /// In bytes of code.
    pub(crate) fn weight(&self) -> u32 {
        match self {
            Self::Ready(ready) => {
                u32::try_from(ready.component.text().len()).unwrap_or(u32::MAX).max(READY_BYTES)
            }
            Self::Refused(_) => REFUSAL_BYTES,
        }
    }
}

impl Ready {
    /// The extension with these capabilities. All of them share the code.
    pub(crate) fn extension(
        &self,
        sandbox: &Arc<Sandbox>,
        hash: ContentHash,
        capabilities: Capabilities,
    ) -> Result<Extension, LoadError> {
        if let Some(extension) = self.extensions.lock().get(&capabilities) {
            return Ok(extension.clone());
        }
        // Not under the lock. Two who come at the same time make the same.
        let pre = sandbox.linkers.link(&self.component, &capabilities)?;
        let extension = Extension::new(Arc::clone(sandbox), pre, hash, capabilities.clone());
        self.extensions.lock().insert(capabilities, extension.clone());
        Ok(extension)
    }
}

/// Forgets refusals after a time: what a compiler could not do under load, or in an older version, it may do later.
pub(crate) struct RefusalsExpire(pub(crate) Duration);

impl RefusalsExpire {
    fn after(&self, known: &Known) -> Option<Duration> {
        matches!(known, Known::Refused(_)).then_some(self.0)
    }
}

impl Expiry<ContentHash, Known> for RefusalsExpire {
    fn expire_after_create(&self, _: &ContentHash, known: &Known, _: Instant) -> Option<Duration> {
        self.after(known)
    }

    fn expire_after_update(
        &self,
        _: &ContentHash,
        known: &Known,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.after(known)
    }
}

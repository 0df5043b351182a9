//! A component that is ready to be called.

use std::fmt;

use annex_core::ContentHash;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::capability::Capabilities;
use crate::state::CallState;

/// A component that is compiled, and linked with what was granted. Cheap to clone; code is shared.
#[derive(Clone)]
pub struct Extension {
    pub(crate) pre: ProxyPre<CallState>,
    hash: ContentHash,
    capabilities: Capabilities,
}

impl Extension {
    pub(crate) fn new(pre: ProxyPre<CallState>, hash: ContentHash, capabilities: Capabilities) -> Self {
        Self { pre, hash, capabilities }
    }

    /// The content that it came from.
    pub fn content_hash(&self) -> ContentHash {
        self.hash
    }

    /// What was granted.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The size of its compiled code, in bytes.
    pub fn code_bytes(&self) -> usize {
        self.pre.instance_pre().component().text().len()
    }
}

impl fmt::Debug for Extension {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let capabilities: Vec<_> = self.capabilities.iter().map(|capability| capability.name()).collect();
        formatter.debug_struct("Extension").field("hash", &self.hash).field("capabilities", &capabilities).finish()
    }
}

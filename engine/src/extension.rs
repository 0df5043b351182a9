//! A component that is ready to be called.

use std::fmt;
use std::sync::Arc;

use annex_core::ContentHash;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::call::{Call, Outcome};
use crate::capability::Capabilities;
use crate::run::Sandbox;
use crate::state::CallState;

/// A component that is compiled, and linked with what was granted. Cheap to clone; code is shared.
#[derive(Clone)]
pub struct Extension {
    sandbox: Arc<Sandbox>,
    pre: ProxyPre<CallState>,
    hash: ContentHash,
    capabilities: Capabilities,
}

impl Extension {
    pub(crate) fn new(
        sandbox: Arc<Sandbox>,
        pre: ProxyPre<CallState>,
        hash: ContentHash,
        capabilities: Capabilities,
    ) -> Self {
        Self { sandbox, pre, hash, capabilities }
    }

    /// Calls it: in an instance of its own, which is gone when the outcome is there.
    ///
    /// An answer counts only when the guest has ended well. Why there is none is one of [`CallError`](crate::CallError), each
    /// with its own code; none of them harms the next call.
    ///
    /// When the future is dropped, the guest ends and everything that it held is freed: at once, or when its turn would have come. Nobody hears
    /// then what it used: who has to know calls from a task that outlives the one who asks. A guest begins on the caller's task; one that
    /// computes for long goes on elsewhere, where it takes the processor from no other, and so does a call of a tenant who has many while
    /// others call. It lets others run at each tick of the engine.
    pub async fn call(&self, call: Call) -> Outcome {
        self.sandbox.call(&self.pre, call).await
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
        formatter
            .debug_struct("Extension")
            .field("hash", &self.hash)
            .field("capabilities", &capabilities)
            .finish()
    }
}

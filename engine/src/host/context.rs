//! `context`.

use super::view::HostState;
use super::wit::context;

impl context::Host for HostState {
    fn current(&mut self) -> wasmtime::Result<context::Call> {
        let call = &self.context;
        Ok(context::Call {
            request_id: call.request_id.clone(),
            tenant: call.tenant.to_string(),
            extension: call.extension.to_string(),
            version: call.version.clone(),
            install: call.install.clone(),
            config: call.config.clone(),
        })
    }
}

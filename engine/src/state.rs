//! What the store of a call holds.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::call::CallContext;
use crate::egress::Hooks;
use crate::host::{Host, HostState, Level, Stdio};
use crate::limiter::Limiter;
use crate::limits::CallLimits;

/// What the store of a call holds. It is made for the call and dropped with it.
pub(crate) struct CallState {
    pub(crate) limiter: Limiter,
    pub(crate) host: HostState,
    pub(crate) hooks: Hooks,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
}

impl CallState {
    pub(crate) fn new(context: CallContext, host: Host, limits: &CallLimits) -> Self {
        let context = Arc::new(context);
        let hooks = Hooks::new(Arc::clone(&context), Arc::clone(&host.egress), limits.egress_requests);
        let host = HostState::new(context, host, limits);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.resources);
        // No argument, no environment, no file, no address: a builder has none of them by itself.
        let wasi = WasiCtx::builder()
            .stdout(Stdio::new(Level::Info, host.lines()))
            .stderr(Stdio::new(Level::Warn, host.lines()))
            .max_random_size(64 << 10)
            .allow_tcp(false)
            .allow_udp(false)
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits.header_bytes);
        Self { limiter: Limiter::new(limits), host, hooks, table, wasi, http }
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

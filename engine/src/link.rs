//! Which host functions a component gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi_http::p2::bindings::{LinkOptions, ProxyPre, http};
use wasmtime_wasi_http::{WasiHttp, WasiHttpView as _};

use crate::capability::{Capabilities, Capability, Import, import};
use crate::host::{HostState, HostView, wit};
use crate::load_error::LoadError;
use crate::shown;
use crate::state::CallState;

/// The host functions, by what was granted: making them takes longer than all else of loading a component that is compiled.
#[derive(Default)]
pub(crate) struct Linkers(Mutex<BTreeMap<Capabilities, Arc<Linker<CallState>>>>);

impl Linkers {
    /// Links a component with what every component has and what was granted, and with nothing else.
    pub(crate) fn link(
        &self,
        component: &Component,
        granted: &Capabilities,
    ) -> Result<ProxyPre<CallState>, LoadError> {
        check_imports(component, granted)?;
        let mismatch =
            |error: wasmtime::Error| LoadError::ImportMismatch { reason: shown::line(format!("{error:#}")) };
        let known = self.0.lock().get(granted).cloned();
        let linker = match known {
            Some(known) => known,
            None => {
                let made = Arc::new(linker(component.engine(), granted).map_err(mismatch)?);
                Arc::clone(self.0.lock().entry(granted.clone()).or_insert(made))
            }
        };
        // Not under the lock: how long it takes is the component's to say.
        let pre = linker.instantiate_pre(component).map_err(mismatch)?;
        ProxyPre::new(pre).map_err(|_| LoadError::NoHandler)
    }
}

/// Names what is missing. That nothing else is linked does not depend on it.
fn check_imports(component: &Component, granted: &Capabilities) -> Result<(), LoadError> {
    for (name, _) in component.component_type().imports(component.engine()) {
        match import(name) {
            Import::Free => {}
            Import::Needs(capability) if granted.has(capability) => {}
            Import::Needs(capability) => {
                return Err(LoadError::CapabilityMissing { capability, import: shown::line(name) });
            }
            Import::Unknown => return Err(LoadError::UnknownImport { import: shown::line(name) }),
        }
    }
    Ok(())
}

fn linker(engine: &wasmtime::Engine, granted: &Capabilities) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    for_everyone(&mut linker)?;
    for capability in granted.iter() {
        grant(&mut linker, capability)?;
    }
    Ok(linker)
}

/// What [`import`] calls free.
fn for_everyone(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    random::insecure::add_to_linker::<_, WasiRandom>(linker, CallState::random)?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, CallState::random)?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, CallState::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, CallState::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, CallState::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, CallState::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, CallState::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, CallState::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, CallState::cli)?;
    filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, CallState::filesystem)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, CallState::filesystem)?;
    http::types::add_to_linker::<_, WasiHttp>(linker, &(&LinkOptions::default()).into(), CallState::http)
}

fn grant(linker: &mut Linker<CallState>, capability: Capability) -> wasmtime::Result<()> {
    match capability {
        // Behind it is `Hooks`, which knows only our Egress.
        Capability::HttpFetch => {
            http::outgoing_handler::add_to_linker::<_, WasiHttp>(linker, CallState::http)
        }
        Capability::StorageKv => wit::storage_kv::add_to_linker::<_, HostView>(linker, annex_host),
        Capability::Secrets => wit::secrets::add_to_linker::<_, HostView>(linker, annex_host),
        Capability::Log => wit::log::add_to_linker::<_, HostView>(linker, annex_host),
        Capability::Metrics => wit::metrics::add_to_linker::<_, HostView>(linker, annex_host),
        Capability::Context => wit::context::add_to_linker::<_, HostView>(linker, annex_host),
    }
}

fn annex_host(state: &mut CallState) -> &mut HostState {
    &mut state.host
}

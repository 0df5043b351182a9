//! From the bytes of a component to code that can be run.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use wasmtime::component::Component;

use crate::code_cache::{CodeCache, CodeId, config_digest};
use crate::compile::{CompileError, Compiler};
use crate::load_error::LoadError;
use crate::options::{CodeOptions, EngineOptions};
use crate::sealed::Sealed;
use crate::shown;

/// Where code comes from: the disk, or a compiler.
pub(crate) struct Code {
    wasm: wasmtime::Engine,
    compiler: Arc<dyn Compiler>,
    cache: Option<CodeCache>,
    config: [u8; 32],
    options: CodeOptions,
    component_bytes: usize,
    turns: Semaphore,
}

impl Code {
    pub(crate) fn new(
        wasm: wasmtime::Engine,
        options: &EngineOptions,
        compiler: Arc<dyn Compiler>,
        cache: Option<CodeCache>,
    ) -> Self {
        Self {
            config: config_digest(&wasm),
            wasm,
            compiler,
            cache,
            options: options.code,
            component_bytes: options.component_bytes,
            turns: Semaphore::new(options.compilations.clamp(1, Semaphore::MAX_PERMITS)),
        }
    }

    /// `expected`: the SHA-256 that the bytes must have.
    pub(crate) async fn component(
        self: &Arc<Self>,
        bytes: Bytes,
        expected: Option<[u8; 32]>,
    ) -> Result<Component, LoadError> {
        let limit = self.component_bytes;
        if bytes.len() > limit {
            return Err(LoadError::TooLarge { bytes: bytes.len(), limit });
        }
        let (code, component) = (Arc::clone(self), bytes.clone());
        let (id, cached) = blocking(move || {
            let id = code.id(Sha256::digest(component).into());
            if expected.is_some_and(|expected| expected != id.component) {
                return Err(LoadError::Source { reason: "it is not what was verified".to_owned() });
            }
            Ok((id, code.cached(&id)))
        })
        .await??;
        if let Some(component) = cached {
            return Ok(component);
        }
        let turn = self.turns.acquire().await.map_err(CompileError::unavailable)?;
        let machine_code = self.compiler.compile(bytes, self.options).await?;
        drop(turn);
        let code = Arc::clone(self);
        blocking(move || code.keep(&id, &machine_code)).await?
    }

    /// What is on disk for the component with this SHA-256.
    pub(crate) async fn kept(self: &Arc<Self>, digest: [u8; 32]) -> Option<Component> {
        let code = Arc::clone(self);
        // Without threads to read with there is nothing to read.
        blocking(move || code.cached(&code.id(digest))).await.ok()?
    }

    fn id(&self, component: [u8; 32]) -> CodeId {
        CodeId { component, config: self.config }
    }

    fn cached(&self, id: &CodeId) -> Option<Component> {
        let cache = self.cache.as_ref()?;
        match load_kept(&self.wasm, &cache.get(id)?) {
            Ok(component) => Some(component),
            Err(error) if error.chain().any(|cause| cause.is::<std::io::Error>()) => {
                tracing::warn!(error = format!("{error:#}"), "compiled code cannot be loaded now");
                None
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "compiled code does not load and is deleted");
                cache.remove(id);
                None
            }
        }
    }

    /// Loads what was just compiled, and keeps it if it can be loaded.
    fn keep(&self, id: &CodeId, code: &[u8]) -> Result<Component, LoadError> {
        let component = load_made(&self.wasm, code)
            .map_err(|error| LoadError::TooDemanding { reason: shown::line(format!("{error:#}")) })?;
        if let Some(cache) = &self.cache {
            cache.put(id, code);
        }
        Ok(component)
    }
}

#[expect(unsafe_code, reason = "wasmtime cannot check machine code, and we vouch for where it comes from")]
fn load_made(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: it comes from our own `Compiler` just now, and no publisher's bytes do.
    unsafe { Component::deserialize(engine, code) }
}

#[expect(unsafe_code, reason = "wasmtime cannot check machine code, and we vouch for where it comes from")]
fn load_kept(engine: &wasmtime::Engine, code: &Sealed) -> wasmtime::Result<Component> {
    // SAFETY: it comes from the cache, whose MAC only we can make over what our own compiler made.
    unsafe { code.load(engine) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CompileError> {
    tokio::task::spawn_blocking(work).await.map_err(CompileError::unavailable)
}

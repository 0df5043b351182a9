//! Loads components, and keeps them ready.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use annex_core::ContentHash;
use bytes::Bytes;
use moka::future::Cache;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use wasmtime::component::Component;

use crate::capability::Capabilities;
use crate::code_cache::{CodeCache, CodeId, config_digest};
use crate::compile::{CompileError, Compiler};
use crate::config;
use crate::extension::Extension;
use crate::link::link;
use crate::load_error::LoadError;
use crate::options::EngineOptions;
use crate::run::Sandbox;
use crate::shown;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The options do not go together, or the machine has not the room that they ask for.
    #[error("the engine cannot be made with these options: {reason}")]
    Options {
        /// What wasmtime said.
        reason: String,
    },
    /// The system gives no thread.
    #[error("the engine's clock cannot be started: {0}")]
    Thread(io::Error),
}

/// Loads components. One process has one; clones share it.
#[derive(Clone)]
pub struct Engine {
    sandbox: Arc<Sandbox>,
    ready: Cache<(ContentHash, Capabilities), Extension>,
    code: Arc<Code>,
}

/// Where code comes from.
struct Code {
    compiler: Arc<dyn Compiler>,
    cache: Option<CodeCache>,
    config: [u8; 32],
    turns: Semaphore,
}

impl Engine {
    /// Makes an engine, and sets its room aside. With a cache, components that were compiled before a restart are there at once
    /// after it.
    ///
    /// # Errors
    /// When the options do not go together, or the machine has not the room.
    pub fn new(
        options: EngineOptions,
        compiler: Arc<dyn Compiler>,
        cache: Option<CodeCache>,
    ) -> Result<Self, EngineError> {
        let wasm = wasmtime::Engine::new(&config::pooled(&options))
            .map_err(|error| EngineError::Options { reason: shown::line(format!("{error:#}")) })?;
        let code = Code {
            compiler,
            cache,
            config: config_digest(&wasm),
            turns: Semaphore::new(options.compilations.clamp(1, Semaphore::MAX_PERMITS)),
        };
        let ready = Cache::builder()
            .max_capacity(options.ready_code_bytes)
            .weigher(|_, extension: &Extension| u32::try_from(extension.code_bytes()).unwrap_or(u32::MAX))
            .build();
        let sandbox = Sandbox::new(wasm, options).map_err(EngineError::Thread)?;
        Ok(Self { sandbox: Arc::new(sandbox), ready, code: Arc::new(code) })
    }

    /// The extension of this content with these capabilities: the one that is ready, or one that is made of the component.
    ///
    /// `component` is awaited only when it is needed, and once for all who ask at the same time. Its bytes must have been
    /// verified to be of this content. Failures are not kept: the next one who asks tries again.
    ///
    /// # Errors
    /// When the component is none, imports what was not granted, or cannot be compiled.
    pub async fn load<F, E>(
        &self,
        hash: ContentHash,
        capabilities: Capabilities,
        component: F,
    ) -> Result<Extension, LoadError>
    where
        F: Future<Output = Result<Bytes, E>>,
        E: Display,
    {
        let key = (hash, capabilities.clone());
        let extension = self.ready.try_get_with(key, async {
            let bytes = component.await.map_err(|error| LoadError::Source { reason: shown::line(error) })?;
            let component = self.component(bytes).await?;
            let pre = link(&component, &capabilities)?;
            Ok(Extension::new(Arc::clone(&self.sandbox), pre, hash, capabilities))
        });
        extension.await.map_err(|error: Arc<LoadError>| (*error).clone())
    }

    /// Forgets all extensions of a content, for instance one that was revoked. Calls that run end as they would.
    pub async fn forget(&self, hash: ContentHash) {
        for (key, _) in &self.ready {
            if key.0 == hash {
                self.ready.invalidate(&*key).await;
            }
        }
    }

    /// Calls that run now.
    pub fn running(&self) -> u32 {
        self.sandbox.running()
    }

    async fn component(&self, bytes: Bytes) -> Result<Component, LoadError> {
        let limit = self.sandbox.options.component_bytes;
        if bytes.len() > limit {
            return Err(LoadError::TooLarge { bytes: bytes.len(), limit });
        }
        let (engine, code) = (self.sandbox.wasm.clone(), Arc::clone(&self.code));
        let component = bytes.clone();
        let (id, cached) = blocking(move || code.cached(&engine, &component)).await?;
        if let Some(component) = cached {
            return Ok(component);
        }
        let turn = self.code.turns.acquire().await.map_err(CompileError::unavailable)?;
        let machine_code = self.code.compiler.compile(bytes, self.sandbox.options.code).await?;
        drop(turn);
        let (engine, code) = (self.sandbox.wasm.clone(), Arc::clone(&self.code));
        blocking(move || code.keep(&engine, &id, &machine_code)).await?
    }
}

impl Code {
    /// What is on disk for a component.
    fn cached(&self, engine: &wasmtime::Engine, component: &[u8]) -> (CodeId, Option<Component>) {
        let id = CodeId { component: Sha256::digest(component).into(), config: self.config };
        let Some(cache) = &self.cache else { return (id, None) };
        let component = cache.get(&id).and_then(|code| match load_code(engine, &code) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "compiled code does not load and is deleted");
                cache.remove(&id);
                None
            }
        });
        (id, component)
    }

    /// Loads what was just compiled, and keeps it if it can be loaded.
    fn keep(&self, engine: &wasmtime::Engine, id: &CodeId, code: &[u8]) -> Result<Component, LoadError> {
        let component = load_code(engine, code)
            .map_err(|error| LoadError::TooDemanding { reason: shown::line(format!("{error:#}")) })?;
        if let Some(cache) = &self.cache {
            cache.put(id, code);
        }
        Ok(component)
    }
}

#[expect(unsafe_code, reason = "wasmtime cannot check machine code, and we vouch for where it comes from")]
fn load_code(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the code is what our own compiler made: it comes from a `Compiler` just now, or from the cache, whose MAC only
    // we can make. No other way leads here, and no publisher's bytes do. It is read from memory, so that nobody can change it
    // after it was verified.
    unsafe { Component::deserialize(engine, code) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CompileError> {
    tokio::task::spawn_blocking(work).await.map_err(CompileError::unavailable)
}

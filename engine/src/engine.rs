//! Loads components, and keeps them ready.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use annex_core::ContentHash;
use bytes::Bytes;
use moka::future::Cache;
use tokio::sync::Semaphore;

use crate::capability::Capabilities;
use crate::code::Code;
use crate::code_cache::CodeCache;
use crate::compile::{CompileError, Compiler};
use crate::config;
use crate::extension::Extension;
use crate::held::Held;
use crate::known::{Known, RefusalsExpire};
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
    code: Arc<Code>,
    known: Cache<ContentHash, Known>,
    loads: Arc<Semaphore>,
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
        let code = Code::new(wasm.clone(), &options, compiler, cache);
        let known = Cache::builder()
            .max_capacity(options.ready_code_bytes)
            .weigher(|_, known: &Known| known.weight())
            .expire_after(RefusalsExpire(options.refusals_kept))
            .build();
        let loads = Arc::new(Semaphore::new(options.loads.min(Semaphore::MAX_PERMITS)));
        let sandbox = Sandbox::new(wasm, options).map_err(EngineError::Thread)?;
        Ok(Self { sandbox: Arc::new(sandbox), code: Arc::new(code), known, loads })
    }

    /// The extension of this content with these capabilities: the one that is ready, or one that is made of the component.
    ///
    /// `component` is awaited only when it is needed, and once for all who ask at the same time. Its bytes must have been
    /// verified to be of this content. A component that cannot be loaded is not compiled again for a while
    /// ([`EngineOptions::refusals_kept`]); a source or a compiler that is away is asked again by whoever comes next.
    ///
    /// Whoever stops waiting does not stop the compiler: what takes longer than any caller's patience would never be ready.
    /// So this must be called within a runtime of tokio.
    ///
    /// # Errors
    /// When the component is none, imports what was not granted, or cannot be compiled; or too many wait already.
    pub async fn load<F, E>(
        &self,
        hash: ContentHash,
        capabilities: Capabilities,
        component: F,
    ) -> Result<Extension, LoadError>
    where
        F: Future<Output = Result<Bytes, E>> + Send + 'static,
        E: Display,
    {
        self.load_known(hash, capabilities, None, component).await
    }

    /// The same of a component whose SHA-256 is known, and was verified as its bytes would be: where its code is on the disk, the bytes are
    /// not needed.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub async fn load_known<F, E>(
        &self,
        hash: ContentHash,
        capabilities: Capabilities,
        digest: Option<[u8; 32]>,
        component: F,
    ) -> Result<Extension, LoadError>
    where
        F: Future<Output = Result<Bytes, E>> + Send + 'static,
        E: Display,
    {
        let known = match self.known.get(&hash).await {
            Some(known) => known,
            None => self.learn(hash, digest, component).await?,
        };
        match known {
            Known::Ready(ready) => ready.extension(&self.sandbox, hash, capabilities),
            Known::Refused(error) => Err(error),
        }
    }

    async fn learn<F, E>(
        &self,
        hash: ContentHash,
        digest: Option<[u8; 32]>,
        component: F,
    ) -> Result<Known, LoadError>
    where
        F: Future<Output = Result<Bytes, E>> + Send + 'static,
        E: Display,
    {
        let waits = Arc::clone(&self.loads).try_acquire_owned().map_err(|_| LoadError::TooManyLoads)?;
        let (code, known) = (Arc::clone(&self.code), self.known.clone());
        let learned = tokio::spawn(async move {
            let learning = async {
                if let Some(digest) = digest
                    && let Some(ready) = code.kept(digest).await
                {
                    return Ok(Known::ready(ready));
                }
                let bytes = component.await;
                let bytes = bytes.map_err(|error| LoadError::Source { reason: shown::line(error) })?;
                Known::of(code.component(bytes, digest).await)
            };
            let learned = known.try_get_with(hash, learning).await;
            drop(waits);
            learned
        });
        let learned = learned.await.map_err(CompileError::unavailable)?;
        learned.map_err(|error: Arc<LoadError>| (*error).clone())
    }

    /// Forgets a content, for instance one that was revoked, or a refusal of it. Calls that run end as they would, and who waits
    /// for it to be loaded gets it: whoever revokes asks at each call.
    pub async fn forget(&self, hash: ContentHash) {
        self.known.invalidate(&hash).await;
    }

    /// Calls that run now.
    pub fn running(&self) -> u32 {
        self.sandbox.running()
    }

    /// What they hold.
    pub fn held(&self) -> Held {
        Held::of(&self.sandbox.wasm)
    }
}

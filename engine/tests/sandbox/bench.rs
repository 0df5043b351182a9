//! An engine, and calls to what is loaded into it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use annex_core::ContentHash;
use annex_engine::{
    Answer, Call, CallContext, CallError, CallLimits, Capabilities, Capability, CodeOptions, CompileError,
    Compiler, Engine, EngineOptions, Extension, Host, InProcess, LoadError,
};
use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::{guest, wat_guest};

pub fn options() -> EngineOptions {
    EngineOptions { concurrency: 8, memory_bytes: 64 << 20, ..EngineOptions::default() }
}

pub fn engine() -> Engine {
    engine_with(options())
}

pub fn engine_with(options: EngineOptions) -> Engine {
    Engine::new(options, Arc::new(Remembering), None).unwrap()
}

/// Compiles each component once for all tests: a compiler that is not optimized takes seconds.
struct Remembering;

static COMPILED: Mutex<BTreeMap<(bool, Bytes), Vec<u8>>> = Mutex::const_new(BTreeMap::new());

#[async_trait]
impl Compiler for Remembering {
    async fn compile(&self, component: Bytes, options: CodeOptions) -> Result<Vec<u8>, CompileError> {
        let mut compiled = COMPILED.lock().await;
        let key = (options.fuel, component.clone());
        if let Some(code) = compiled.get(&key) {
            return Ok(code.clone());
        }
        let code = InProcess.compile(component, options).await?;
        compiled.insert(key, code.clone());
        Ok(code)
    }
}

pub fn counting_engine() -> Engine {
    engine_with(EngineOptions { code: CodeOptions { fuel: true }, ..options() })
}

pub async fn load(engine: &Engine, component: Bytes, granted: Capabilities) -> Result<Extension, LoadError> {
    let hash = ContentHash::from_sha256(Sha256::digest(&component).into());
    engine.load(hash, granted, async { Ok::<_, Infallible>(component) }).await
}

pub fn everything() -> Capabilities {
    Capability::ALL.into_iter().collect()
}

/// An extension under attack.
pub struct Bench {
    pub engine: Engine,
    pub extension: Extension,
    pub host: Host,
    pub limits: CallLimits,
}

impl Bench {
    /// With the guest of `tests/guests`, and everything granted.
    pub async fn new() -> Self {
        Self::with(engine(), guest::component()).await
    }

    /// With a core module of WebAssembly text.
    pub async fn wat(module: &str) -> Self {
        Self::with(engine(), wat_guest::component(module)).await
    }

    pub async fn with(engine: Engine, component: Bytes) -> Self {
        let extension = load(&engine, component, everything()).await.unwrap();
        // Enough for a slow machine, so that only what is meant to end by it does.
        let limits = CallLimits { timeout: Duration::from_secs(30), ..CallLimits::default() };
        Self { engine, extension, host: Host::in_memory(), limits }
    }

    pub fn within(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    pub fn call(&self, path: &str) -> Call {
        let request = http::Request::get(path).body(Bytes::new()).unwrap();
        Call { context: context("acme"), limits: self.limits, host: self.host.clone(), request }
    }

    pub async fn get(&self, path: &str) -> Result<Answer, CallError> {
        self.extension.call(self.call(path)).await
    }

    pub async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await.unwrap();
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// Asks for what must fail, and then for what must not: whatever the guest did, the next call is as if it had not been.
    pub async fn attack(&self, path: &str) -> CallError {
        let error = self.get(path).await.unwrap_err();
        self.is_unharmed().await;
        error
    }

    pub async fn is_unharmed(&self) {
        assert_eq!(self.engine.running(), 0);
        assert_eq!(self.text("/hello").await, "hello");
    }
}

pub fn context(tenant: &str) -> CallContext {
    CallContext {
        request_id: "request-1".into(),
        tenant: tenant.parse().unwrap(),
        extension: "com.example.hello".parse().unwrap(),
        version: "1.2.3".into(),
        install: "0198c0de".into(),
        config: r#"{"greeting":"hi"}"#.into(),
    }
}

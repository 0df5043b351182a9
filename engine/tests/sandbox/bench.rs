//! An engine, and calls to what is loaded into it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use annex_core::ContentHash;
use annex_engine::{
    Call, CallContext, CallError, CallLimits, Capabilities, Capability, CodeOptions, CompileError, Compiler,
    Engine, EngineOptions, Extension, Held, Host, InProcess, LoadError, Outcome, Usage,
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
    engine.load(content_hash(&component), granted, async move { Ok::<_, Infallible>(component) }).await
}

pub fn content_hash(component: &[u8]) -> ContentHash {
    ContentHash::from_sha256(Sha256::digest(component).into())
}

pub fn everything() -> Capabilities {
    Capability::ALL.into_iter().collect()
}

/// An extension under attack, and an honest one beside it.
pub struct Bench {
    pub engine: Engine,
    pub extension: Extension,
    pub host: Host,
    pub limits: CallLimits,
    honest: Extension,
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
        let honest = load(&engine, guest::component(), everything()).await.unwrap();
        Self { engine, extension, host: Host::in_memory(), limits: patient(), honest }
    }

    pub fn within(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    pub fn call(&self, path: &str) -> Call {
        let request = http::Request::get(path).body(Bytes::new()).unwrap();
        Call { context: context("acme"), limits: self.limits, host: self.host.clone(), request }
    }

    pub async fn get(&self, path: &str) -> Outcome {
        self.extension.call(self.call(path)).await
    }

    pub async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await.answer.unwrap();
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// Asks for what must fail, and shows that nothing is left of it.
    pub async fn attack(&self, path: &str) -> CallError {
        self.attack_as(self.call(path)).await.0
    }

    pub async fn attack_as(&self, call: Call) -> (CallError, Usage) {
        let outcome = self.extension.call(call).await;
        self.is_unharmed().await;
        (outcome.answer.unwrap_err(), outcome.usage)
    }

    /// Whatever a guest did, the engine is as if it had not been: its memory is back, the host is let go of, and an honest
    /// call succeeds and leaves nothing either. A call that nobody waits for any more ends when its turn comes.
    pub async fn is_unharmed(&self) {
        wait_for(&self.engine, 0).await;
        self.is_idle();
        answers(&self.honest).await;
        self.is_idle();
    }

    /// Nothing of a call is there any more.
    pub fn is_idle(&self) {
        assert_eq!(self.engine.running(), 0);
        let held = self.engine.held();
        assert_eq!(held, Held { kept_bytes: held.kept_bytes, ..Held::default() });
        // 1280 KiB for each of two memories of eight calls.
        assert!(held.kept_bytes <= (1280 << 10) * 2 * 8, "{held:?}");
        // The state of each call has its own share in these.
        assert_eq!(Arc::strong_count(&self.host.kv), 1);
        assert_eq!(Arc::strong_count(&self.host.secrets), 1);
        assert_eq!(Arc::strong_count(&self.host.metrics), 1);
    }
}

async fn answers(honest: &Extension) {
    let request = http::Request::get("/hello").body(Bytes::new()).unwrap();
    let call = Call { context: context("honest"), limits: patient(), host: Host::in_memory(), request };
    let answer = honest.call(call).await.answer.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"hello"[..]));
}

/// Loads what must not be loaded, and then what may be, which answers.
pub async fn refusal(engine: &Engine, component: Bytes, granted: Capabilities) -> LoadError {
    let error = load(engine, component, granted).await.unwrap_err();
    answers(&load(engine, guest::component(), everything()).await.unwrap()).await;
    error
}

/// Enough for a slow machine, so that only what is meant to end by it does.
pub fn patient() -> CallLimits {
    CallLimits { timeout: Duration::from_secs(30), ..CallLimits::default() }
}

/// Waits until so many calls run, and does so for a bounded time.
pub async fn wait_for(engine: &Engine, running: u32) {
    let waiting = async {
        while engine.running() != running {
            // Not without a pause: it would take the processor that the guest is to end on.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
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

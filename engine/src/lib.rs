//! Runs extensions: WebAssembly components that answer HTTP requests, each call in an instance of its own.
//!
//! A guest exports `wasi:http/incoming-handler@0.2`. It is linked with what every component has, which reaches nothing, and
//! with what was granted ([`Capabilities`]): the interfaces of `wit/host.wit`, and `wasi:http/outgoing-handler` through
//! [`Egress`]. What is not granted is not there: the component is not loaded, and the error names the capability.
//!
//! There is no server in here and no Kubernetes, so that a runner in a cluster and a developer's machine run the same thing.
//!
//! | question | where |
//! |---|---|
//! | how large is it? | [`EngineOptions`] |
//! | what may one call use? | [`CallLimits`] |
//! | who compiles, and where is the code kept? | [`Compiler`], [`CodeCache`] |
//! | what is behind the imports? | [`Host`] and its traits |
//! | why not? | [`LoadError`] and [`CallError`], each with a code that stays |
//!
//! What a hostile guest can try, and the test that shows what it gets, is in `docs/threat-model.md`.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use annex_engine::{
//!     Call, CallContext, CallLimits, Capabilities, Capability, Engine, EngineOptions, Host, InProcess,
//! };
//!
//! # async fn example(component: bytes::Bytes, context: CallContext) -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::new(EngineOptions::default(), Arc::new(InProcess), None)?;
//! let hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".parse()?;
//! let granted = Capabilities::from_iter([Capability::StorageKv, Capability::Log]);
//! let extension = engine.load(hash, granted, async move { Ok::<_, std::io::Error>(component) }).await?;
//!
//! let request = http::Request::get("/notes").body(bytes::Bytes::new())?;
//! let call = Call { context, limits: CallLimits::default(), host: Host::in_memory(), request };
//! let outcome = extension.call(call).await;
//! println!("{} bytes of memory", outcome.usage.memory_bytes);
//! assert_eq!(outcome.answer?.status, 200);
//! # Ok(())
//! # }
//! ```

mod admission;
mod answer;
mod call;
mod call_error;
mod capability;
mod code;
mod code_cache;
mod compile;
mod config;
mod egress;
mod engine;
mod extension;
mod failure;
mod held;
mod hop_by_hop;
mod host;
mod known;
mod lanes;
mod limiter;
mod limits;
mod link;
mod load_error;
mod metered;
mod options;
mod run;
mod sealed;
mod shown;
mod state;
mod ticker;
mod traffic;

pub use annex_core::{Kv, KvError, MAX_KEY_BYTES, MAX_LISTED_KEYS, MAX_VALUE_BYTES};
pub use answer::BadAnswer;
pub use call::{Answer, Call, CallContext, Outcome, Usage};
pub use call_error::{CallError, Scope};
pub use capability::{Capabilities, Capability, UnknownCapability};
pub use code_cache::{CodeCache, CodeCacheError};
pub use compile::{
    CompileError, CompileLimits, Compiler, CompilerProcess, InProcess, compile_standard_input, precompile,
};
pub use egress::{Egress, EgressBody, EgressError, NoEgress, Patience};
pub use engine::{Engine, EngineError};
pub use extension::Extension;
pub use held::Held;
pub use hop_by_hop::hop_by_hop;
pub use host::{
    Host, KeptLog, KeptMetrics, Level, Log, MAX_LINE_BYTES, MemoryKv, MemorySecrets, Metrics, SecretError,
    Secrets,
};
pub use limits::CallLimits;
pub use load_error::LoadError;
pub use options::{CodeOptions, EngineOptions};

//! `POST /v1/execute`: a call that the gateway granted, in the sandbox.
//!
//! | step | where | refusal |
//! |---|---|---|
//! | the grant is for this runner, now, for this very body, and new | [`annex_grant::admit`] | `GrantRefused` |
//! | the request says what the grant says | `question.rs` | `GrantRefused`, `MalformedRequest` |
//! | the bundle is verified | `crate::cache` | `VerificationFailed`, `BundleUnavailable` |
//! | its component is compiled and linked with what was granted | [`Engine::load`] | `CapabilityDenied`, … |
//! | it is called in an instance of its own | [`annex_engine`] | `Timeout`, `GuestLimit`, … |
//!
//! The tenant, the extension and what it may use come of the grant. A request that says otherwise is nobody's.

mod args;
mod behind;
mod broker;
mod measured;
mod order;
mod parts;
mod question;
mod refusal;
mod said;
mod secrets;
mod stored;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use annex_bundle::BundlePath;
use annex_bundle_client::LoadError;
use annex_core::InstallIdentity;
use annex_engine::{Answer, Call, CallContext, CallLimits, Capabilities, Engine, Extension};
use annex_grant::{
    Audience, BROKER_TOKEN_HEADER, Base64Bytes, EXECUTE_PATH, ExecuteResponse, Expected, Grant, KeyRing,
    ORDER_PATH, ReplayGuard, RunnerErrorCode, TOKEN_HEADER, UnixMillis, admit,
};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router, body::Body};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::cache::{Bundle, Cache};

pub use args::ExecuteArgs;
pub(crate) use behind::Behind;
pub(crate) use measured::Measured;
pub(crate) use parts::{Keys, executor};
use question::Question;
use refusal::Refusal;

/// The largest request: the gateway's 10 MiB as base64, and what is around them.
const LARGEST_REQUEST: usize = 15 << 20;

/// By how much the gateway's clock may differ.
const SKEW: Duration = Duration::from_secs(5);

/// Grants that are remembered at a time: as many as are used within their life, which is some minutes at the most.
const REMEMBERED: usize = 1 << 20;

/// The component of a bundle.
const COMPONENT: &str = "main.wasm";

/// Executes what is granted.
pub(crate) struct Executor {
    engine: Engine,
    cache: Arc<Cache>,
    keys: Keys,
    audience: Audience,
    replays: ReplayGuard,
    behind: Behind,
    measured: Arc<Measured>,
    stop: CancellationToken,
}

// By hand: neither keys nor a database's URL are shown.
impl std::fmt::Debug for Executor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Executor").field("audience", &self.audience).finish_non_exhaustive()
    }
}

pub(crate) fn router(executor: Arc<Executor>) -> Router {
    Router::new()
        .route(EXECUTE_PATH, post(execute))
        .route(ORDER_PATH, post(order::order))
        .with_state(executor)
}

async fn execute(State(executor): State<Arc<Executor>>, headers: HeaderMap, body: Body) -> Response {
    // Counted also when the gateway goes away, which drops this future and ends the guest.
    let counted = executor.measured.begin();
    let outcome = executor.execute(&headers, body).await;
    counted.end(outcome.as_ref().err().map(|refusal| refusal.code));
    match outcome {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

impl Executor {
    async fn execute(&self, headers: &HeaderMap, body: Body) -> Result<ExecuteResponse, Refusal> {
        if self.stop.is_cancelled() {
            return Err(Refusal::new(RunnerErrorCode::Draining, "the runner ends"));
        }
        let body = axum::body::to_bytes(body, LARGEST_REQUEST).await.map_err(|_| {
            Refusal::new(RunnerErrorCode::RequestTooLarge, "the request is too large, or broke off")
        })?;
        let grant = self.admit(headers, &body)?;
        let question = Question::parse(&body, &grant)?;
        // It may be large, and the call long.
        drop(body);
        let extension = self.extension(&grant).await?;
        let call = Call {
            context: CallContext {
                request_id: question.request_id,
                tenant: grant.tenant.clone(),
                extension: grant.extension.clone(),
                version: question.version,
                install: grant.install.to_string(),
                config: question.config,
            },
            limits: limits(&grant),
            host: self.behind.host(&extension.manifest_egress, text(headers, BROKER_TOKEN_HEADER)),
            request: question.request,
        };
        let outcome = extension.extension.call(call).await;
        self.measured.used(&outcome.usage);
        Ok(response(outcome.answer.map_err(Refusal::of_call)?))
    }

    fn admit(&self, headers: &HeaderMap, body: &[u8]) -> Result<Grant, Refusal> {
        let now = UnixMillis::from(SystemTime::now());
        let expected = Expected { audience: &self.audience, now, skew: SKEW };
        let keys: Arc<KeyRing> = self.keys.get();
        let token = text(headers, TOKEN_HEADER).unwrap_or_default();
        admit(token, body, &keys, expected, &self.replays).map_err(|refusal| {
            self.measured.refused_grant(refusal);
            tracing::warn!(code = refusal.code(), "a grant is refused");
            Refusal::new(RunnerErrorCode::GrantRefused, "there is no grant for this request")
        })
    }

    /// The extension of the grant, with what it grants.
    async fn extension(&self, grant: &Grant) -> Result<Loaded, Refusal> {
        let identity = InstallIdentity {
            tenant_id: grant.tenant.clone(),
            extension_id: grant.extension.clone(),
            content_hash: grant.content,
        };
        let bundle = self.cache.get(&identity).await.map_err(|error| Refusal::of_bundle(&error))?;
        let granted = capabilities(grant)?;
        let manifest_egress = behind::manifest_egress(bundle.manifest())?;
        let digest = bundle.digest(COMPONENT);
        let component = component(Arc::clone(&self.cache), identity, bundle);
        let loaded = self.engine.load_known(grant.content, granted, digest, component).await;
        let extension = loaded.map_err(|error| Refusal::of_load(&error))?;
        Ok(Loaded { extension, manifest_egress })
    }
}

struct Loaded {
    extension: Extension,
    manifest_egress: Arc<annex_egress::ManifestList>,
}

/// The bytes of the component, which the listing vouches for.
async fn component(
    cache: Arc<Cache>,
    identity: InstallIdentity,
    bundle: Arc<Bundle>,
) -> Result<Bytes, LoadError> {
    let lost = || LoadError::Unavailable("the bundle has no component".to_owned());
    let path = BundlePath::parse(COMPONENT.as_bytes()).map_err(|_| lost())?;
    let entry = bundle.file(&path).ok_or_else(lost)?;
    cache.read_whole(&identity, bundle, (&path, entry)).await
}

fn capabilities(grant: &Grant) -> Result<Capabilities, Refusal> {
    // What it does not know, a later gateway granted.
    Capabilities::named(grant.capabilities.iter())
        .map_err(|name| Refusal::new(RunnerErrorCode::CapabilityDenied, name))
}

fn limits(grant: &Grant) -> CallLimits {
    let memory_bytes = usize::try_from(grant.limits.memory_mb).unwrap_or(usize::MAX).saturating_mul(1 << 20);
    CallLimits {
        timeout: Duration::from_millis(grant.limits.timeout_ms.into()),
        memory_bytes,
        fuel: grant.limits.fuel,
        ..CallLimits::default()
    }
}

fn response(answer: Answer) -> ExecuteResponse {
    // A value that is no text stays here: JSON could not carry it.
    let header = |(name, value): (&HeaderName, &axum::http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    ExecuteResponse {
        status: answer.status.as_u16(),
        headers: answer.headers.iter().filter_map(header).collect(),
        body_b64: (!answer.body.is_empty()).then(|| Base64Bytes(answer.body.into())),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

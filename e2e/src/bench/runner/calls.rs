//! Who grants calls: a double of the gateway, with real keys and real grants.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use annex_core::ContentHash;
use annex_grant::{
    BodyDigest, Capabilities, EXECUTE_PATH, ExecuteContext, ExecuteRequest, Grant, HttpRequest, KeyRing,
    Limits, Nonce, TOKEN_HEADER, UnixMillis,
};
use anyhow::{Context as _, Result};
use http::Request;

use super::load::Prepared;

const AUDIENCE: &str = "direct";
const KEY: (&str, &str) = ("bench", "a secret of a bench that is long enough");
/// As long as the gateway's own: the timeout of a call and a margin.
const LIFE: Duration = Duration::from_secs(60);

/// What is called.
#[derive(Clone, Debug)]
pub(super) struct Callee {
    pub(super) tenant: String,
    pub(super) extension: String,
    pub(super) content: ContentHash,
    pub(super) capabilities: &'static [&'static str],
    pub(super) path: &'static str,
    pub(super) limits: Limits,
}

impl Callee {
    pub(super) fn new(tenant: &str, extension: &str, content: ContentHash) -> Self {
        Self {
            tenant: tenant.to_owned(),
            extension: extension.to_owned(),
            content,
            capabilities: &[],
            path: "/hello",
            limits: Limits { timeout_ms: 10_000, memory_mb: 64, fuel: None },
        }
    }
}

/// Grants.
pub(super) struct Gateway {
    keys: KeyRing,
    nonces: AtomicU64,
}

impl Gateway {
    pub(super) fn new() -> Result<Self> {
        let keys = KeyRing::parse(&[(KEY.0.to_owned(), KEY.1.as_bytes().to_vec())])?;
        Ok(Self { keys, nonces: AtomicU64::new(0) })
    }

    /// What the runner verifies by, as its flag has it.
    pub(super) fn for_a_runner(&self) -> Result<String> {
        let derived = self.keys.derived(&AUDIENCE.parse()?);
        let (id, key) = derived.first().context("no key")?;
        Ok(format!("{}={key}", id.as_str()))
    }

    /// A call with a grant of its own.
    pub(super) fn call(&self, callee: &Callee) -> Result<Prepared> {
        let number = self.nonces.fetch_add(1, Ordering::Relaxed);
        let asked = ExecuteRequest {
            context: ExecuteContext {
                request_id: format!("0f5a2b31-7ab6-4a56-a0b2-{number:012x}"),
                tenant_id: callee.tenant.parse()?,
                extension_id: callee.extension.parse()?,
                install_id: format!("{}-7ab6-4a56-a0b2-3f5f9c1b3a11", callee.tenant).parse()?,
                content_hash: callee.content,
                version: "1.0.0".to_owned(),
                config: [("colour".to_owned(), "blue".into())].into(),
            },
            http: HttpRequest {
                method: "GET".to_owned(),
                path: callee.path.to_owned(),
                query: None,
                headers: [("accept", "application/json"), ("accept-language", "en"), ("user-agent", "bench")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                body_b64: None,
            },
            limits: callee.limits,
        };
        let body = serde_json::to_vec(&asked)?;
        let now = UnixMillis::from(SystemTime::now());
        let mut nonce = [0; 16];
        for (to, from) in nonce.iter_mut().zip(number.to_be_bytes()) {
            *to = from;
        }
        let grant = Grant {
            audience: AUDIENCE.parse()?,
            tenant: asked.context.tenant_id,
            install: asked.context.install_id,
            extension: asked.context.extension_id,
            content: asked.context.content_hash,
            capabilities: Capabilities::of(callee.capabilities.iter().copied())?,
            limits: asked.limits,
            nonce: Nonce(nonce),
            issued: now,
            expires: now.after(LIFE),
            body: BodyDigest::of(&body),
        };
        let token = self.keys.sign(&grant)?;
        let request = Request::post(EXECUTE_PATH)
            .header("host", "runner")
            .header("content-type", "application/json")
            .header(TOKEN_HEADER, token.as_str());
        Ok(request.body(bytes::Bytes::from(body).into())?)
    }

    /// So many calls, made before they are timed.
    pub(super) fn calls(&self, callee: &Callee, count: usize) -> Result<Vec<Prepared>> {
        (0..count).map(|_| self.call(callee)).collect()
    }
}

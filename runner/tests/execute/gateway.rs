//! Who grants calls: a double of the gateway, with its real keys.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use annex_grant::{
    Audience, BROKER_TOKEN_HEADER, Base64Bytes, BodyDigest, Capabilities, EXECUTE_PATH, ExecuteContext,
    ExecuteRequest, ExecuteResponse, Grant, HttpRequest, KeyRing, Limits, Nonce, ORDER_PATH, Order,
    OrderContext, RunnerError, TOKEN_HEADER, UnixMillis,
};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::{support::Runner, world::World};

pub const AUDIENCE: &str = "annex-1s8uv2zt5c3nc1hy/exec";
pub const NOTES: &str = "com.example.notes";

/// A key of the gateway's; runners have what is derived of it.
const KEY: &str = "k1";
const SECRET: &str = "a secret of the tests that is long enough";

pub struct Gateway {
    keys: KeyRing,
    client: Client,
    pub extension: String,
    pub tenant: String,
    pub hash: String,
    pub capabilities: Vec<&'static str>,
    pub limits: Limits,
    pub config: BTreeMap<String, Value>,
    /// What the call brings for the broker.
    pub for_broker: Option<String>,
}

/// How a runner answered.
pub type Answer = Result<ExecuteResponse, Refused>;

pub type Refused = (StatusCode, RunnerError);

impl Gateway {
    /// For calls of this content.
    pub fn new(extension: &str, hash: &str, capabilities: &[&'static str]) -> Self {
        annex_service::install_tls_provider();
        Self {
            keys: keys(),
            client: Client::new(),
            extension: extension.to_owned(),
            tenant: "acme".to_owned(),
            hash: hash.to_owned(),
            capabilities: capabilities.to_vec(),
            limits: Limits { timeout_ms: 20_000, memory_mb: 64, fuel: None },
            config: [("colour".to_owned(), json!("blue"))].into(),
            for_broker: None,
        }
    }

    pub fn request(&self, method: &str, path: &str, body: &str) -> ExecuteRequest {
        ExecuteRequest {
            context: ExecuteContext {
                request_id: "r-1".into(),
                tenant_id: self.tenant.parse().unwrap(),
                extension_id: self.extension.parse().unwrap(),
                install_id: "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a11".parse().unwrap(),
                content_hash: self.hash.parse().unwrap(),
                version: "1.0.0".into(),
                config: self.config.clone(),
            },
            http: HttpRequest {
                method: method.into(),
                path: path.split('?').next().unwrap().into(),
                query: path.split_once('?').map(|(_, query)| query.to_owned()),
                headers: vec![("x-mine".into(), "1".into())],
                body_b64: (!body.is_empty()).then(|| Base64Bytes(body.as_bytes().to_vec())),
            },
            limits: self.limits,
        }
    }

    /// What a gateway grants for this request, sent as `body`.
    pub fn grant(&self, request: &ExecuteRequest, body: &[u8]) -> Grant {
        // As many as there are calls: a test that polls makes more than a byte can count.
        static NONCES: AtomicU64 = AtomicU64::new(0);
        let number = NONCES.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        let now = UnixMillis::from(SystemTime::now());
        Grant {
            audience: audience(),
            tenant: request.context.tenant_id.clone(),
            install: request.context.install_id.clone(),
            extension: request.context.extension_id.clone(),
            content: request.context.content_hash,
            capabilities: Capabilities::of(self.capabilities.iter().copied()).unwrap(),
            limits: request.limits,
            nonce: Nonce(std::array::from_fn(|at| *number.get(at % 8).unwrap())),
            issued: now,
            expires: now.after(Duration::from_secs(60)),
            body: BodyDigest::of(body),
        }
    }

    pub fn sign(&self, grant: &Grant) -> String {
        self.keys.sign(grant).unwrap().as_str().to_owned()
    }

    /// Sends these bytes with this token.
    pub async fn send(&self, runner: &Runner, token: &str, body: Vec<u8>) -> Answer {
        let answer = self.post(runner, EXECUTE_PATH, token, body).await;
        let status = answer.status();
        let bytes = answer.bytes().await.unwrap();
        if status.is_success() {
            return Ok(serde_json::from_slice(&bytes).unwrap());
        }
        Err((status, refused(&bytes)))
    }

    /// The same, where orders are taken.
    pub async fn send_order(&self, runner: &Runner, token: &str, body: Vec<u8>) -> Result<(), Refused> {
        let answer = self.post(runner, ORDER_PATH, token, body).await;
        let status = answer.status();
        let bytes = answer.bytes().await.unwrap();
        if status == StatusCode::NO_CONTENT {
            assert!(bytes.is_empty());
            return Ok(());
        }
        Err((status, refused(&bytes)))
    }

    async fn post(&self, runner: &Runner, path: &str, token: &str, body: Vec<u8>) -> Response {
        let url = format!("http://{}{path}", runner.internal);
        let mut question = self.client.post(url).header(TOKEN_HEADER, token);
        if let Some(token) = &self.for_broker {
            question = question.header(BROKER_TOKEN_HEADER, token);
        }
        question.body(body).send().await.unwrap()
    }

    /// Has an order carried out for the content.
    pub async fn order(&self, runner: &Runner, order: fn(OrderContext) -> Order) -> Result<(), Refused> {
        let body = self.order_body(order);
        let token = self.sign(&self.order_grant(&body));
        self.send_order(runner, &token, body).await
    }

    pub fn order_body(&self, order: fn(OrderContext) -> Order) -> Vec<u8> {
        let context = self.request("", "", "").context;
        let order = order(OrderContext {
            request_id: context.request_id,
            tenant_id: context.tenant_id,
            extension_id: context.extension_id,
            install_id: context.install_id,
            content_hash: context.content_hash,
        });
        serde_json::to_vec(&order).unwrap()
    }

    /// What a controller grants for an order: the same as for a call.
    pub fn order_grant(&self, body: &[u8]) -> Grant {
        self.grant(&self.request("", "", ""), body)
    }

    /// Has the guest called.
    pub async fn call(&self, runner: &Runner, method: &str, path: &str, body: &str) -> Answer {
        let request = self.request(method, path, body);
        let bytes = serde_json::to_vec(&request).unwrap();
        let token = self.sign(&self.grant(&request, &bytes));
        self.send(runner, &token, bytes).await
    }

    /// The status and body that the guest answered with.
    pub async fn told(&self, runner: &Runner, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self.call(runner, method, path, body).await.unwrap();
        let body = answer.body_b64.map(|body| String::from_utf8(body.0).unwrap());
        (answer.status, body.unwrap_or_default())
    }
}

fn refused(bytes: &[u8]) -> RunnerError {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"))
}

pub fn audience() -> Audience {
    AUDIENCE.parse().unwrap()
}

pub fn keys() -> KeyRing {
    KeyRing::parse(&[(KEY.to_owned(), SECRET.as_bytes().to_vec())]).unwrap()
}

/// A runner that executes, for [`AUDIENCE`], with storage of the world's.
pub async fn executing(world: &World, more: &[&str]) -> Runner {
    executing_with(world, env!("CARGO_BIN_EXE_annex-runner"), more).await
}

/// The same with another program to compile with.
pub async fn executing_with(world: &World, compiler: &str, more: &[&str]) -> Runner {
    let (id, derived) = keys().derived(&audience()).remove(0);
    let given = format!("{}={derived}", id.as_str());
    let storage = format!("sqlite://{}", world.at("kv.db").display());
    let code = world.at("code").display().to_string();
    let args = [
        "--grant-keys",
        &given,
        "--audience",
        AUDIENCE,
        "--storage-url",
        &storage,
        "--code-cache-dir",
        &code,
        "--compiler",
        compiler,
        "--concurrency",
        "16",
    ];
    world.runner(&[&args[..], more].concat()).await
}

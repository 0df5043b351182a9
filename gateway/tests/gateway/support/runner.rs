//! A double of a runner: a server that admits what was granted to it, and answers as a test wants.

use std::{sync::Arc, time::Duration, time::SystemTime};

use annex_grant::{ExecuteRequest, Expected, Grant, KeyRing, Refusal, ReplayGuard, UnixMillis, admit};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

type Behaviour = Arc<dyn Fn(&ExecuteRequest) -> Option<Response> + Send + Sync>;

/// What came.
#[derive(Clone)]
pub struct Seen {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub request: ExecuteRequest,
    pub grant: Grant,
}

#[derive(Clone)]
pub struct Runner {
    pub url: String,
    inner: Arc<Inner>,
}

struct Inner {
    keys: KeyRing,
    audience: String,
    replays: ReplayGuard,
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Runner {
    /// `keys` are what the gateway derived for `audience`.
    pub async fn start(keys: KeyRing, audience: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let hello: Behaviour =
            Arc::new(|_| Some(Json(json!({ "status": 200, "body_b64": "aGVsbG8=" })).into_response()));
        let inner = Arc::new(Inner {
            keys,
            audience: audience.to_owned(),
            replays: ReplayGuard::new(1000),
            behaviour: Mutex::new(hello),
            seen: Mutex::default(),
            server: Mutex::default(),
        });
        let router = Router::new()
            .route("/v1/execute", post(execute))
            .layer(axum::extract::DefaultBodyLimit::max(32 << 20))
            .with_state(inner.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        *inner.server.lock() = Some(server);
        Self { url, inner }
    }

    /// None: it never answers.
    pub fn does(&self, behaviour: impl Fn(&ExecuteRequest) -> Option<Response> + Send + Sync + 'static) {
        *self.inner.behaviour.lock() = Arc::new(behaviour);
    }

    pub fn answers(&self, answer: serde_json::Value) {
        self.does(move |_| Some(Json(answer.clone()).into_response()));
    }

    pub fn refuses(&self, status: u16, code: &str, message: &str) {
        let (status, body) =
            (StatusCode::from_u16(status).unwrap(), json!({ "code": code, "message": message }));
        self.does(move |_| Some((status, Json(body.clone())).into_response()));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().clone()
    }

    /// The one call that came.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1);
        seen[0].clone()
    }

    pub async fn stop(&self) {
        let server = self.inner.server.lock().take().unwrap();
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
    }

    pub fn admit(&self, token: &str, body: &[u8]) -> Result<Grant, Refusal> {
        self.inner.admit(token, body)
    }
}

impl Inner {
    fn admit(&self, token: &str, body: &[u8]) -> Result<Grant, Refusal> {
        let audience = self.audience.parse().unwrap();
        let now = UnixMillis::from(SystemTime::now());
        let expected = Expected { audience: &audience, now, skew: Duration::from_secs(5) };
        admit(token, body, &self.keys, expected, &self.replays)
    }
}

async fn execute(State(runner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let token = headers["x-annex-grant"].to_str().unwrap();
    let grant = match runner.admit(token, &body) {
        Ok(grant) => grant,
        Err(refusal) => {
            let body = json!({ "code": "GrantRefused", "message": refusal.code() });
            return (StatusCode::UNAUTHORIZED, Json(body)).into_response();
        }
    };
    let request: ExecuteRequest = serde_json::from_slice(&body).unwrap();
    runner.seen.lock().push(Seen { headers: headers.clone(), body, request: request.clone(), grant });
    let behaviour = runner.behaviour.lock().clone();
    match behaviour(&request) {
        Some(response) => response,
        None => std::future::pending().await,
    }
}

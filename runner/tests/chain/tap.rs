//! Whoever sits between gateway and runner.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use annex_grant::{EXECUTE_PATH, ExecuteRequest};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use tokio::net::TcpListener;

/// A call as it went by.
#[derive(Clone)]
pub struct Call {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    pub fn token(&self, header: &str) -> String {
        self.headers[header].to_str().unwrap().to_owned()
    }

    pub fn request(&self) -> ExecuteRequest {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
pub struct Tap {
    pub url: String,
    inner: Arc<Inner>,
}

struct Inner {
    client: reqwest::Client,
    runner: Mutex<Option<SocketAddr>>,
    keeps: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

impl Tap {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            client: reqwest::Client::new(),
            runner: Mutex::default(),
            keeps: AtomicBool::default(),
            calls: Mutex::default(),
        });
        let router = Router::new()
            .route(EXECUTE_PATH, post(pass))
            .layer(DefaultBodyLimit::max(32 << 20))
            .with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, inner }
    }

    pub fn leads_to(&self, runner: SocketAddr) {
        *self.inner.runner.lock().unwrap() = Some(runner);
    }

    /// The calls since it was asked last.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.inner.calls.lock().unwrap())
    }

    /// From now on, what comes is kept from the runner, or not.
    pub fn keep(&self, keeps: bool) {
        self.inner.keeps.store(keeps, Ordering::SeqCst);
    }

    /// Says this to the runner.
    pub async fn say(&self, headers: HeaderMap, body: Bytes) -> (u16, Bytes) {
        let (status, _, body) = self.inner.send(headers, body).await;
        (status.as_u16(), body)
    }
}

impl Inner {
    async fn send(&self, headers: HeaderMap, body: Bytes) -> (StatusCode, HeaderMap, Bytes) {
        let runner = self.runner.lock().unwrap().unwrap();
        let asked = self.client.post(format!("http://{runner}{EXECUTE_PATH}")).headers(headers).body(body);
        let answer = asked.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.bytes().await.unwrap())
    }
}

async fn pass(State(tap): State<Arc<Inner>>, mut headers: HeaderMap, body: Bytes) -> Response {
    tap.calls.lock().unwrap().push(Call { headers: headers.clone(), body: body.clone() });
    if tap.keeps.load(Ordering::SeqCst) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    headers.remove("host");
    let (status, mut headers, body) = tap.send(headers, body).await;
    headers.remove("transfer-encoding");
    (status, headers, Body::from(body)).into_response()
}

//! What the tests need around a runner: a double of the registry, the runner in this process, and a client that says
//! exactly the bytes it is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use it, where a panic is the answer"
)]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use annex_runner::{Config, Server};
use annex_service::Tls;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The one host that the double knows.
pub const KNOWN: &str = "acme--hello.apps.localhost";

/// What the double answers for it.
pub const IDENTITY: &str = concat!(
    r#"{"tenant_id":"acme","extension_id":"com.example.hello","content_hash":"sha256:"#,
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    r#""}"#
);

/// How the double behaves when asked for [`KNOWN`]. It answers 404 for any other host.
#[derive(Clone)]
pub enum Behaviour {
    Answers,
    AnswersAfter(Duration),
    NeverAnswers,
    Says(StatusCode, String),
    RedirectsTo(String),
    /// Fails for every host, the readiness probe's too.
    FailsForAll,
}

/// A double of the registry: no registry, only the answers of one.
pub struct RegistryDouble {
    pub address: SocketAddr,
    /// The questions so far, the probe's not counted.
    pub questions: Arc<AtomicUsize>,
    scheme: &'static str,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Double {
    behaviour: Behaviour,
    questions: Arc<AtomicUsize>,
}

impl RegistryDouble {
    pub async fn start(behaviour: Behaviour) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), behaviour).await
    }

    pub async fn start_at(address: SocketAddr, behaviour: Behaviour) -> Self {
        Self::start_with(address, behaviour, Tls::default()).await
    }

    pub async fn start_with(address: SocketAddr, behaviour: Behaviour, tls: Tls) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let questions = Arc::new(AtomicUsize::new(0));
        let double = Double { behaviour, questions: Arc::clone(&questions) };
        let router = Router::new()
            .route("/api/installs/lookup-by-host", get(answer))
            .route("/elsewhere", get(async || IDENTITY))
            .with_state(double);
        let scheme = tls.scheme();
        let serving = tokio::spawn(annex_service::serve_until(listener, tls, router, std::future::pending()));
        Self { address, questions, scheme, serving }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn questions(&self) -> usize {
        self.questions.load(Ordering::SeqCst)
    }
}

impl Drop for RegistryDouble {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(
    State(double): State<Double>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if matches!(double.behaviour, Behaviour::FailsForAll) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    assert!(headers.contains_key("x-request-id"), "every question has the request's id");
    let host = query.get("host").expect("every question names a host");
    if host != "readiness.invalid" {
        double.questions.fetch_add(1, Ordering::SeqCst);
    }
    if host != KNOWN {
        return (StatusCode::NOT_FOUND, r#"{"error":"unknown host"}"#).into_response();
    }
    match double.behaviour {
        Behaviour::Answers => IDENTITY.into_response(),
        Behaviour::AnswersAfter(time) => {
            tokio::time::sleep(time).await;
            IDENTITY.into_response()
        }
        Behaviour::NeverAnswers => std::future::pending().await,
        Behaviour::Says(status, body) => (status, body).into_response(),
        Behaviour::RedirectsTo(url) => (StatusCode::FOUND, [("location", url)]).into_response(),
        Behaviour::FailsForAll => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// A runner in this process.
pub struct Runner {
    pub public: SocketAddr,
    pub internal: SocketAddr,
    pub stop: CancellationToken,
    pub serving: JoinHandle<()>,
}

impl Runner {
    pub async fn start(registry: &str) -> Self {
        // Much longer than a test's answer takes on a busy machine, and short for those that wait for it.
        Self::start_with_timeout(registry, 1000).await
    }

    pub async fn start_with_timeout(registry: &str, milliseconds: u64) -> Self {
        let args = ["--lookup-timeout-ms", &milliseconds.to_string(), "--lookup-ttl-ms=0"];
        Self::start_as(registry, &args).await.unwrap()
    }

    /// With more arguments; the error is why it does not start.
    pub async fn start_as(registry: &str, args: &[&str]) -> anyhow::Result<Self> {
        annex_service::install_tls_provider();
        let fixed = ["annex-runner", "--listen=127.0.0.1:0", "--internal-listen=127.0.0.1:0"];
        let config = Config::try_parse_from([&fixed[..], &["--registry-base-url", registry], args].concat())?;
        let server = Server::bind(&config).await?;
        let public = server.public_address().unwrap();
        let internal = server.internal_address().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone()));
        Ok(Self { public, internal, stop, serving })
    }

    pub async fn get(&self, host: &str) -> Answer {
        get_from(self.public, "/", host).await
    }

    pub async fn internal(&self, path: &str) -> Answer {
        get_from(self.internal, path, "localhost").await
    }
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    /// Of what is no text, what can be shown of it.
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The one value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }

    /// All of it but for what tells one answer from the next.
    pub fn repeatable(&self) -> (u16, Vec<(String, String)>, &[u8]) {
        let own = |name: &str| ["date", "x-request-id"].contains(&name);
        let mut headers: Vec<_> = self.headers.iter().filter(|(name, _)| !own(name)).cloned().collect();
        headers.sort();
        (self.status, headers, &self.bytes)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    /// The code of a refusal, after checking what all refusals and answers have in common.
    pub fn code(&self) -> String {
        let body = self.json();
        assert!(body["error"].as_str().is_some_and(|error| !error.is_empty()), "{body}");
        assert_eq!(body.as_object().unwrap().len(), 2, "nothing else is said: {body}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        self.check_common_headers();
        body["code"].as_str().unwrap().to_owned()
    }

    pub fn check_common_headers(&self) {
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        let id = self.header("x-request-id").expect("a request id");
        assert_eq!(id.len(), 36, "{id}");
    }
}

pub async fn get_from(address: SocketAddr, path: &str, host: &str) -> Answer {
    say(address, format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes()).await
}

/// Sends exactly `request`, which must ask for the connection to be closed, and reads the answer to its end.
pub async fn say(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let body = &bytes[end + 4..];
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let bytes = if chunked { dechunked(body) } else { body.to_vec() };
    Answer { status, headers, body: String::from_utf8_lossy(&bytes).into_owned(), bytes }
}

/// The body that came in pieces, each after its length in hexadecimal; the last has none.
fn dechunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("the length of a piece");
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        rest = &rest[end + 2..];
        body.extend_from_slice(&rest[..length]);
        rest = &rest[length + 2..];
    }
}

/// Waits until `condition` holds, at most ten seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! The guide's example of each capability, of a guest in Rust and of the same in JavaScript: called through a real runner, with an outside
//! world that answers.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, LazyLock, Mutex},
};

use annex_grant::{Base64Bytes, SECRETS_PATH, SecretAnswer, SecretQuestion, TOKEN_HEADER};
use annex_service::Tls;
use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    gateway::{Gateway, executing},
    guests, node, outside,
    support::Runner,
    world::{World, end},
};

const ALL: [&str; 6] = ["storage.kv", "secrets", "log", "metrics", "context", "http.fetch"];
const RATES: &str = "rates.example.com";
const RATES_BODY: &str = r#"{"EUR":1}"#;
/// What the call brings for the broker.
const FOR_BROKER: &str = "a grant for the broker";
const TOKEN: &str = "a token that nobody else may see";

#[test]
fn the_examples_in_rust_do_what_the_guide_says() {
    let refused = (424, "rates.example.com is not allowed here");
    inside(move || examples(guests::capabilities(), "rust", refused));
}

#[test]
fn the_examples_in_javascript_do_what_the_guide_says() {
    // `fetch` does not say why.
    let refused = (502, "the other side was not reached");
    let component = node::capabilities();
    inside(async move || {
        let _turn = node::turn().await;
        examples(component, "javascript", refused).await;
    });
}

fn inside<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    logged();
    outside::inside(RATES, "/v1/rates", RATES_BODY, test);
}

/// With a tenant for each language, by whom lines of the log are told apart.
async fn examples(component: &'static [u8], tenant: &str, refused: (u16, &str)) {
    let world = World::new().await;
    let manifest = fs::read_to_string(guests::root().join("samples/capabilities/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["capabilities"], json!(ALL));
    let hash = world.publish_as(&manifest, component, &[]);
    let mut gateway = Gateway::new(manifest["name"].as_str().unwrap(), &hash, &ALL);
    gateway.tenant = tenant.to_owned();
    let broker = broker().await;

    let runner = executing(&world, &["--broker-url", &broker, "--egress-allowlist", RATES]).await;
    stores(&gateway, &runner).await;
    reads_secrets(&mut gateway, &runner).await;
    reports(&gateway, &runner).await;
    knows_whose_call_it_is(&mut gateway, &runner).await;
    assert_eq!(gateway.told(&runner, "GET", "/rates", "").await, (200, RATES_BODY.into()));
    assert_eq!(gateway.told(&runner, "GET", "/nothing", "").await.0, 404);
    end(runner).await;

    // Each is asked for by its name.
    let runner = executing(&world, &[]).await;
    for missing in ALL {
        gateway.capabilities = ALL.into_iter().filter(|capability| *capability != missing).collect();
        let (status, error) = gateway.call(&runner, "GET", "/greeting", "").await.unwrap_err();
        let told = (status.as_u16(), error.code.as_str(), error.message.as_str());
        assert_eq!(told, (403, "CapabilityDenied", missing));
    }
    gateway.capabilities = ALL.to_vec();
    // Where the operator's list does not have the host.
    assert_eq!(gateway.told(&runner, "GET", "/rates", "").await, (refused.0, refused.1.into()));
    end(runner).await;
}

async fn stores(gateway: &Gateway, runner: &Runner) {
    let told = async |method, path, body| gateway.told(runner, method, path, body).await;
    assert_eq!(told("GET", "/theme", "").await, (200, "light".into()));
    assert_eq!(told("PUT", "/theme", "dark").await, (200, "dark".into()));
    assert_eq!(told("GET", "/theme", "").await, (200, "dark".into()));
    let long = "x".repeat((64 << 10) + 1);
    assert_eq!(told("PUT", "/theme", &long).await, (413, "a value has 64 KiB at the most".into()));

    // Two at a time, and none is lost.
    let mut numbers = Vec::new();
    for _ in 0..5 {
        let (one, other) = futures::join!(told("POST", "/visits", ""), told("POST", "/visits", ""));
        numbers.extend([one, other].map(|(status, body)| (status, body.parse::<u32>().unwrap())));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=10).map(|number| (200, number)).collect::<Vec<_>>());
    assert_eq!(told("GET", "/keys", "").await, (200, "theme\nvisits".into()));
}

async fn reads_secrets(gateway: &mut Gateway, runner: &Runner) {
    let not_set_up = "not set up: the Install needs a Secret `payments` with a `token`";
    for (for_broker, status, answer) in [
        (None, 424, not_set_up),
        (Some("somebody else's"), 424, not_set_up),
        (Some("without such a secret"), 424, not_set_up),
        (Some("on a bad day"), 503, "try again later"),
        (Some(FOR_BROKER), 200, &format!("paid with a token of {} bytes", TOKEN.len())),
    ] {
        gateway.for_broker = for_broker.map(str::to_owned);
        assert_eq!(
            gateway.told(runner, "POST", "/payments", "").await,
            (status, answer.into()),
            "{for_broker:?}"
        );
    }
    assert!(!logged().contains(TOKEN));
}

async fn reports(gateway: &Gateway, runner: &Runner) {
    assert_eq!(gateway.told(runner, "POST", "/report", "four").await, (200, "thank you".into()));
    let logged = logged();
    let tenant = format!("tenant={}", gateway.tenant);
    let lines: Vec<_> = logged.lines().filter(|line| line.contains(&tenant)).collect();
    let has = |level: &str, text: &str| lines.iter().any(|line| line.contains(level) && line.contains(text));
    assert!(has("WARN", "a report of 4 bytes") && has("INFO", "a report came in"), "{logged}");
    let metrics = runner.internal("/metrics").await.body;
    for (metric, name, value) in
        [("guest_counts_total", "reports", "1"), ("guest_values_sum", "report_bytes", "4.0")]
    {
        let line =
            format!("annex_runner_{metric}{{extension=\"{}\",name=\"{name}\"}} {value}", gateway.extension);
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

async fn knows_whose_call_it_is(gateway: &mut Gateway, runner: &Runner) {
    let greeting = format!("Hello, {}, in blue!", gateway.tenant);
    assert_eq!(gateway.told(runner, "GET", "/greeting", "").await, (200, greeting));
    gateway.tenant = "globex".to_owned();
    gateway.config = [("colour".to_owned(), json!("green"))].into();
    assert_eq!(gateway.told(runner, "GET", "/greeting", "").await, (200, "Hello, globex, in green!".into()));
    gateway.config.clear();
    assert_eq!(gateway.told(runner, "GET", "/greeting", "").await, (200, "Hello, globex, in blue!".into()));
    // Another tenant has nothing of what the first one stored.
    assert_eq!(gateway.told(runner, "GET", "/theme", "").await, (200, "light".into()));
}

/// A double of the gateway's broker: it gives one Secret, to one call.
async fn broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route(SECRETS_PATH, post(give));
    tokio::spawn(annex_service::serve_until(listener, Tls::default(), router, std::future::pending()));
    url
}

async fn give(headers: HeaderMap, Json(question): Json<SecretQuestion>) -> Response {
    assert_eq!(question.name, "payments");
    match headers[TOKEN_HEADER].to_str().unwrap() {
        FOR_BROKER => {
            let data = BTreeMap::from([("token".to_owned(), Base64Bytes(TOKEN.into()))]);
            Json(SecretAnswer { data }).into_response()
        }
        "without such a secret" => StatusCode::NOT_FOUND.into_response(),
        "on a bad day" => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        _ => StatusCode::FORBIDDEN.into_response(),
    }
}

/// What was logged in this process since this was first asked.
fn logged() -> String {
    static LOG: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(|| {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = Writer(Arc::clone(&log));
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
        log
    });
    String::from_utf8(LOG.lock().unwrap().clone()).unwrap()
}

#[derive(Clone)]
struct Writer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

//! What goes over the wire to a runner, and what is made of its answers. The runner is a double: a server that keeps what came and says
//! what a test wants.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use annex_apis::RunnerReference;
use annex_grant::{
    Audience, BROKER_AUDIENCE, BodyDigest, Capabilities, EXECUTE_PATH, Expected, Grant, KeyRing, Limits,
    Nonce, ORDER_PATH, ReplayGuard, RunnerErrorCode, UnixMillis, admit,
};
use annex_runner_client::{
    DIRECT_AUDIENCE, Executed, NotExecuted, Ordered, Place, Presented, RunnerSettings, Runners, sign,
};
use annex_service::RequestId;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header::RETRY_AFTER},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use tokio::net::TcpListener;

/// So much that only a defect takes it.
const PATIENCE: Duration = Duration::from_secs(30);

fn keys() -> KeyRing {
    KeyRing::parse(&[("k1".to_owned(), b"a secret of the tests that is long enough".to_vec())]).unwrap()
}

fn grant(capabilities: &[&str], body: &[u8]) -> Grant {
    let now = UnixMillis::from(SystemTime::now());
    Grant {
        audience: DIRECT_AUDIENCE.parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        install: "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a11".parse().unwrap(),
        extension: "com.example.hello".parse().unwrap(),
        content: format!("sha256:{}", "0a".repeat(32)).parse().unwrap(),
        capabilities: Capabilities::of(capabilities.iter().copied()).unwrap(),
        limits: Limits { timeout_ms: 1000, memory_mb: 64, fuel: None },
        nonce: Nonce([7; 16]),
        issued: now,
        expires: now.after(Duration::from_secs(60)),
        body: BodyDigest::of(body),
    }
}

fn presented(body: &[u8]) -> Presented {
    sign(&keys(), &grant(&["secrets"], body), false).unwrap()
}

#[test]
fn one_grant_is_signed_for_the_runner_and_where_the_broker_is_asked_another_for_it() {
    for (capabilities, asks_the_broker, has_one) in [
        (&["log", "context"][..], false, false),
        (&["log", "secrets"], false, true),
        (&["storage.kv"], false, true),
        (&[], true, true),
    ] {
        let granted = grant(capabilities, b"body");
        let signed = sign(&keys(), &granted, asks_the_broker).unwrap();
        assert_eq!(signed.broker.is_some(), has_one, "{capabilities:?}");
        let (ours, brokers): (Audience, Audience) =
            (granted.audience.clone(), BROKER_AUDIENCE.parse().unwrap());
        let verified = |token: &str, audience: &Audience| {
            let expected = Expected { audience, now: granted.issued, skew: Duration::ZERO };
            keys().verify(token, expected).ok()
        };
        assert_eq!(verified(signed.grant.as_str(), &ours).as_ref(), Some(&granted));
        assert_eq!(verified(signed.grant.as_str(), &brokers), None);
        if let Some(broker) = &signed.broker {
            let of_broker = Grant { audience: brokers.clone(), ..granted.clone() };
            assert_eq!(verified(broker.as_str(), &brokers), Some(of_broker));
            assert_eq!(verified(broker.as_str(), &ours), None);
        }
    }
}

#[test]
fn a_grant_that_nobody_would_accept_is_not_signed() {
    let granted = grant(&[], b"");
    let expires = granted.issued.after(annex_grant::LONGEST_LIFE + Duration::from_secs(1));
    assert!(sign(&keys(), &Grant { expires, ..granted }, false).is_err());
}

#[derive(Clone, Debug)]
struct Seen {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Clone)]
struct Double {
    /// None: it never answers.
    answer: Option<(StatusCode, HeaderMap, Vec<u8>)>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

async fn answered(State(double): State<Double>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    double.seen.lock().unwrap().push(Seen { path: uri.to_string(), headers, body });
    match double.answer {
        Some(answer) => answer.into_response(),
        None => std::future::pending().await,
    }
}

struct World {
    url: String,
    runners: Runners,
    place: Place,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl World {
    async fn that_answers(status: u16, headers: HeaderMap, body: impl Into<Vec<u8>>) -> Self {
        Self::new(Some((StatusCode::from_u16(status).unwrap(), headers, body.into()))).await
    }

    async fn new(answer: Option<(StatusCode, HeaderMap, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let direct = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let router = Router::new().fallback(answered).with_state(Double { answer, seen: Arc::clone(&seen) });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let (runners, place) = direct_runner(direct.clone());
        Self { url: direct, runners, place, seen }
    }

    async fn order(&self, body: &'static [u8], within: Duration) -> Result<Ordered, NotExecuted> {
        let (presented, id) = (presented(body), RequestId::default());
        self.runners.order(&self.place, &presented, Bytes::from_static(body), &id, within).await
    }

    async fn execute(&self, body: &'static [u8], within: Duration) -> Result<Executed, NotExecuted> {
        let (presented, id) = (presented(body), RequestId::default());
        self.runners.execute(&self.place, &presented, Bytes::from_static(body), &id, within).await
    }
}

fn direct_runner(url: String) -> (Runners, Place) {
    annex_service::install_tls_provider();
    let settings = RunnerSettings {
        direct: Some(url),
        exec: "http://exec.{namespace}".to_owned(),
        ..RunnerSettings::default()
    };
    let runners = Runners::new(&settings).unwrap();
    let reference = RunnerReference { mode: "direct".into(), namespace: None, name: None, environment: None };
    let place = runners.of(Some(&reference)).unwrap();
    (runners, place)
}

fn refusal(code: &str) -> Vec<u8> {
    json!({ "code": code, "message": "why" }).to_string().into_bytes()
}

#[tokio::test]
async fn an_order_and_a_call_go_each_to_its_place_with_what_was_signed_for_them() {
    let world = World::that_answers(204, HeaderMap::new(), "").await;
    assert!(matches!(world.order(b"an order", PATIENCE).await, Ok(Ordered::Done)));
    // No runner answers a call so.
    assert!(matches!(world.execute(b"a call", PATIENCE).await, Err(NotExecuted::Malformed)));
    let seen = world.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 2, "nothing is tried again");
    for (seen, path, body) in [(&seen[0], ORDER_PATH, "an order"), (&seen[1], EXECUTE_PATH, "a call")] {
        assert_eq!((seen.path.as_str(), &seen.body[..]), (path, body.as_bytes()));
        assert_eq!(seen.headers["content-type"], "application/json");
        assert!(!seen.headers["x-request-id"].is_empty());
        assert!(seen.headers.contains_key("x-annex-broker-grant"));
        let audience = DIRECT_AUDIENCE.parse().unwrap();
        let now = UnixMillis::from(SystemTime::now());
        let expected = Expected { audience: &audience, now, skew: Duration::from_secs(5) };
        let token = seen.headers["x-annex-grant"].to_str().unwrap();
        let admitted = admit(token, &seen.body, &keys(), expected, &ReplayGuard::new(10));
        assert_eq!(admitted.unwrap().body, BodyDigest::of(body.as_bytes()));
    }
}

#[tokio::test]
async fn what_a_runner_refuses_it_refuses_in_its_own_words() {
    let after = |value: &str| HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
    let world = World::that_answers(403, HeaderMap::new(), refusal("CapabilityDenied")).await;
    let Ok(Ordered::Refused(error)) = world.order(b"{}", PATIENCE).await else { panic!("it is refused") };
    assert_eq!((error.code, error.message.as_str()), (RunnerErrorCode::CapabilityDenied, "why"));

    for (said, expected) in [("7", Some(7)), ("tomorrow", None)] {
        let world = World::that_answers(429, after(said), refusal("Busy")).await;
        let Ok(Executed::Refused { error, retry_after }) = world.execute(b"{}", PATIENCE).await else {
            panic!("it is refused")
        };
        assert_eq!((error.code, retry_after), (RunnerErrorCode::Busy, expected), "{said}");
    }
    // A code that a later runner has is no reason to take it for a proxy.
    let world = World::that_answers(418, HeaderMap::new(), refusal("Teapot")).await;
    let Ok(Ordered::Refused(error)) = world.order(b"{}", PATIENCE).await else { panic!("it is refused") };
    assert_eq!(error.code, RunnerErrorCode::Unknown);
}

#[tokio::test]
async fn what_no_runner_says_is_not_taken_for_done_nor_for_a_refusal() {
    for (status, body) in [
        (200, b"{}".to_vec()),
        (200, Vec::new()),
        (202, Vec::new()),
        (404, Vec::new()),
        (502, b"<html>".to_vec()),
        // The code is of another status.
        (502, refusal("Busy")),
    ] {
        let world = World::that_answers(status, HeaderMap::new(), body.clone()).await;
        let ordered = world.order(b"{}", PATIENCE).await;
        assert!(matches!(ordered, Err(NotExecuted::Malformed)), "{status} {body:?}: {ordered:?}");
    }
    // A redirect would hand the grant to another.
    let there = World::that_answers(204, HeaderMap::new(), "").await;
    let to = format!("{}{ORDER_PATH}", there.url);
    let location = HeaderMap::from_iter([(axum::http::header::LOCATION, to.parse().unwrap())]);
    let here = World::that_answers(307, location, "").await;
    assert!(matches!(here.order(b"{}", PATIENCE).await, Err(NotExecuted::Malformed)));
    assert!(there.seen.lock().unwrap().is_empty());
    // Nor is more read than any refusal has.
    let world = World::that_answers(500, HeaderMap::new(), vec![b' '; 1 << 20]).await;
    assert!(matches!(world.order(b"{}", PATIENCE).await, Err(NotExecuted::TooLarge(_))));
}

#[tokio::test]
async fn who_is_not_there_and_who_does_not_answer_are_told_apart_and_no_error_names_the_url() {
    let silent = World::new(None).await;
    let within = Duration::from_millis(300);
    assert!(matches!(silent.order(b"{}", within).await, Err(NotExecuted::Timeout)));
    assert!(matches!(silent.execute(b"{}", within).await, Err(NotExecuted::Timeout)));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (runners, place) = direct_runner(format!("http://{address}"));
    let id = RequestId::default();
    let error = runners.order(&place, &presented(b""), Bytes::new(), &id, PATIENCE).await.unwrap_err();
    assert!(matches!(error, NotExecuted::Unreachable(_)), "{error:?}");
    // Its sources are the system's, which name addresses; the sentences themselves are shown to people.
    assert!(!error.to_string().contains(&address.port().to_string()));
}

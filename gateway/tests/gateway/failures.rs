//! What the caller gets when something is wrong: every row of the table in docs/gateway-api.md.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::support::{HOST, Options, World, to};

const INSIDE: &str = "wasm trap at /srv/cache/sha256/0a0a in tenant globex";

#[tokio::test]
async fn each_refusal_of_a_runner_has_its_answer_and_none_its_words() {
    let world = World::new().await;
    for (status, code, told, as_code) in [
        (400, "MalformedRequest", 400, "MalformedRequest"),
        (401, "GrantRefused", 502, "ExtensionFailed"),
        (403, "CapabilityDenied", 403, "CapabilityDenied"),
        (413, "RequestTooLarge", 413, "TooLarge"),
        (422, "VerificationFailed", 502, "ExtensionFailed"),
        (429, "Busy", 429, "TooManyRequests"),
        (500, "GuestFailed", 502, "ExtensionFailed"),
        (507, "GuestLimit", 502, "ExtensionFailed"),
        (502, "ResponseTooLarge", 502, "ExtensionFailed"),
        (503, "BundleUnavailable", 503, "RunnerUnavailable"),
        (503, "Draining", 503, "RunnerUnavailable"),
        (504, "Timeout", 504, "Timeout"),
        (500, "Internal", 502, "ExtensionFailed"),
        (599, "OfTomorrow", 502, "ExtensionFailed"),
        // What a proxy between may say.
        (404, "Busy", 502, "ExtensionFailed"),
    ] {
        world.runner.refuses(status, code, INSIDE);
        let answer = world.get("/notes", "alice").await;
        assert_eq!(answer.refusal(), (told, as_code.to_owned()), "{code}");
        for word in ["trap", "srv", "globex", "0a0a"] {
            assert!(!answer.text().contains(word), "{code}: {answer:?}");
        }
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    world.runner.refuses(403, "CapabilityDenied", "storage.kv");
    assert!(world.get("/notes", "alice").await.text().contains("storage.kv"));
    world.runner.answers(json!({ "status": 200 }));
    assert_eq!(world.get("/notes", "alice").await.status, 200, "the next honest call");
}

#[tokio::test]
async fn how_long_to_wait_is_what_the_runner_says_within_reason() {
    let world = World::new().await;
    for (said, told) in
        [(Some("7"), "7"), (Some("0"), "1"), (Some("60000"), "3600"), (Some("x"), "2"), (None, "2")]
    {
        world.runner.does(move |_| {
            let body = axum::Json(json!({ "code": "Busy", "message": "" }));
            let mut response = (StatusCode::TOO_MANY_REQUESTS, body).into_response();
            if let Some(said) = said {
                response.headers_mut().insert("retry-after", said.parse().unwrap());
            }
            Some(response)
        });
        let answer = world.get("/notes", "alice").await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, told), "{said:?}");
    }
}

#[tokio::test]
async fn what_a_hostile_guest_says_is_not_passed_on() {
    let world = World::new().await;
    let large = STANDARD.encode(vec![b'x'; (10 << 20) + 1]);
    let headers = |headers: serde_json::Value| json!({ "status": 200, "headers": headers });
    for (what, answer) in [
        ("100", json!({ "status": 100 })),
        ("101", json!({ "status": 101 })),
        ("103", json!({ "status": 103 })),
        ("none", json!({ "status": 0 })),
        ("600", json!({ "status": 600 })),
        ("too much for a status", json!({ "status": 65536 })),
        ("a header that breaks the line", headers(json!([["x-ext-a", "1\r\nset-cookie: a=b"]]))),
        ("a name that breaks the line", headers(json!([["x-ext-a: 1\r\nset-cookie", "a=b"]]))),
        ("bytes beyond ASCII", headers(json!([["x-ext-a", "ü"]]))),
        ("a NUL", headers(json!([["location", "a\u{0}b"]]))),
        ("two content types", headers(json!([["content-type", "a/b"], ["content-type", "text/html"]]))),
        ("endless headers", headers(json!(vec![("x-ext-a", "1"); 5000]))),
        ("a header without end", headers(json!([["x-ext-a", "x".repeat(100_000)]]))),
        ("a body where none can be", json!({ "status": 204, "body_b64": "eA==" })),
        ("a body that is none", json!({ "status": 200, "body_b64": "!" })),
        ("a body too large", json!({ "status": 200, "body_b64": large })),
        ("nothing", json!({})),
        ("null", json!(null)),
    ] {
        world.runner.answers(answer);
        let answer = world.get("/notes", "alice").await;
        assert_eq!(answer.refusal(), (502, "ExtensionFailed".into()), "{what}");
        assert!(!answer.headers.contains_key("set-cookie"), "{what}");
    }
    world.runner.answers(json!({ "status": 200, "headers": [["set-cookie", "a=b"]] }));
    let answer = world.get("/notes", "alice").await;
    assert!(answer.status == 200 && !answer.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn what_is_no_runners_answer_is_not_passed_on() {
    let world = World::new().await;
    let bodies: [(u16, &str, Vec<u8>); 6] = [
        (200, "text", b"hello".to_vec()),
        (200, "empty", Vec::new()),
        (200, "no text", vec![0xff; 100]),
        (302, "a redirect", b"{}".to_vec()),
        (500, "a page", b"<html>".to_vec()),
        (500, "an endless error", vec![b' '; 1 << 20]),
    ];
    for (status, what, body) in bodies {
        world.runner.does(move |_| {
            let mut response = Response::new(Body::from(body.clone()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            response.headers_mut().insert("location", "http://127.0.0.1:1/".parse().unwrap());
            Some(response)
        });
        assert_eq!(world.get("/notes", "alice").await.refusal(), (502, "ExtensionFailed".into()), "{what}");
    }
    // An answer that never ends is not read for ever.
    world.runner.does(|_| {
        let endless = futures_of(Bytes::from(vec![b' '; 1 << 20]));
        Some(Response::new(Body::from_stream(endless)))
    });
    assert_eq!(world.get("/notes", "alice").await.refusal(), (502, "ExtensionFailed".into()));
}

/// The same piece, for ever.
fn futures_of(piece: Bytes) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    futures::stream::repeat_with(move || Ok(piece.clone()))
}

#[tokio::test]
async fn a_runner_that_is_slow_is_a_timeout_and_one_that_is_away_says_to_come_back() {
    let world = World::with(Options { timeout: Duration::from_millis(200), ..Options::default() }).await;
    world.runner.does(|_| None);
    assert_eq!(world.get("/notes", "alice").await.refusal(), (504, "Timeout".into()));
    assert_eq!(world.runner.only().grant.limits.timeout_ms, 200, "the guest is ended as soon");
    world.runner.stop().await;
    let away = world.get("/notes", "alice").await;
    assert_eq!(away.refusal(), (503, "RunnerUnavailable".into()));
    assert!(!away.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_body_of_ten_mib_passes_and_one_byte_more_does_not() {
    let world = World::new().await;
    let post = |body: Body| to("POST", "/notes", HOST, "alice").body(body).unwrap();
    let most = 10 << 20;
    assert_eq!(world.send(post(Body::from(vec![b'x'; most]))).await.status, 200);
    assert_eq!(world.runner.only().request.http.body_b64.unwrap().0.len(), most);
    // It says so, or it does not; and it may lie.
    let too_large = (413, "TooLarge".to_owned());
    let announced = to("POST", "/notes", HOST, "alice")
        .header("content-length", (most + 1).to_string())
        .body(Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()))
        .unwrap();
    let announced = world.send(announced).await;
    assert_eq!(announced.refusal(), too_large, "before anything of it is read");
    assert_eq!(announced.header("connection"), "close");
    assert_eq!(world.send(post(Body::from(vec![b'x'; most + 1]))).await.refusal(), too_large);
    let pieces =
        futures::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 1 << 20]))));
    assert_eq!(world.send(post(Body::from_stream(pieces))).await.refusal(), too_large);
    assert_eq!(world.runner.seen().len(), 1);
    assert_eq!(world.app.bodies.taken(), 0, "their memory is given back");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_malformed_and_one_that_does_not_come_ends() {
    let world = World::new().await;
    let pieces = futures::stream::iter([Ok(Bytes::from("a")), Err(std::io::Error::other("reset"))]);
    let broken = to("POST", "/notes", HOST, "alice").body(Body::from_stream(pieces)).unwrap();
    assert_eq!(world.send(broken).await.refusal(), (400, "MalformedRequest".into()));
    tokio::time::pause();
    let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let slow = world.send(to("POST", "/notes", HOST, "alice").body(never).unwrap()).await;
    assert_eq!(slow.refusal(), (408, "RequestTimeout".into()));
    assert!(world.runner.seen().is_empty());
}

#[tokio::test]
async fn bodies_that_fill_the_memory_are_refused_until_there_is_room() {
    let world = World::with(Options { bodies_mib: 10, ..Options::default() }).await;
    world.runner.does(|_| None);
    let post = || to("POST", "/notes", HOST, "alice");
    let large =
        post().body(Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())).unwrap();
    let router = annex_gateway::router(world.app.clone());
    let held = tokio::spawn(tower::ServiceExt::oneshot(router, large));
    while world.app.bodies.taken() == 0 {
        tokio::task::yield_now().await;
    }
    let refused = world.send(post().header("content-length", "1").body(Body::from("x")).unwrap()).await;
    assert_eq!(refused.refusal(), (503, "TooBusy".into()));
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
    world.runner.answers(json!({ "status": 200 }));
    let next = world.send(post().header("content-length", "1").body(Body::from("x")).unwrap()).await;
    assert_eq!(next.status, 200);
}

//! What guests get of the host.

use std::sync::{Arc, Mutex};

use annex_engine::{
    CallContext, Egress, EgressBody, EgressError, KeptLog, KeptMetrics, Level, MemorySecrets, Patience,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};

use crate::bench::{Bench, context};

#[tokio::test]
async fn a_request_comes_as_it_was_sent() {
    let bench = Bench::new().await;
    let mut call = bench.call("/echo");
    *call.request.body_mut() = Bytes::from_static(b"what was sent");
    assert_eq!(&bench.extension.call(call).await.answer.unwrap().body[..], b"what was sent");

    let mut call = bench.call("/request");
    call.request.headers_mut().insert("x-one", "1".parse().unwrap());
    call.request.headers_mut().insert("host", "notes.example".parse().unwrap());
    let answer = bench.extension.call(call).await.answer.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.contains("notes.example") && text.contains("x-one: 1"), "{text}");
}

#[tokio::test]
async fn a_request_without_a_host_has_nobodys() {
    assert!(Bench::new().await.text("/request").await.contains("extension.invalid"));
}

#[tokio::test]
async fn around_a_guest_there_is_nothing() {
    let bench = Bench::new().await;
    assert_eq!(bench.text("/surroundings").await, "env 0 args 0 files 0 stdin 0");
    bench.is_unharmed().await;
}

#[tokio::test]
async fn values_are_kept() {
    let bench = Bench::new().await;
    assert_eq!(bench.text("/kv").await, r#"true false true ["a", "c"] ["c"] 3"#);
    assert_eq!(bench.text("/kv-get?a").await, "3");
}

#[tokio::test]
async fn values_of_another_tenant_or_extension_are_not_there() {
    let bench = Bench::new().await;
    bench.text("/kv").await;
    let mut others = bench.call("/kv-get?a");
    others.context = context("other");
    assert_eq!(&bench.extension.call(others).await.answer.unwrap().body[..], b"none");
    let mut another = bench.call("/kv-get?a");
    another.context.extension = "com.example.other".parse().unwrap();
    assert_eq!(&bench.extension.call(another).await.answer.unwrap().body[..], b"none");
    bench.is_unharmed().await;
}

#[tokio::test]
async fn keys_and_values_are_so_long() {
    let bench = Bench::new().await;
    let said = bench.text("/kv-limits").await;
    assert_eq!(said, "bad-key bad-key true true value-too-large");
    bench.is_unharmed().await;
}

#[tokio::test]
async fn a_call_moves_so_many_bytes() {
    let bench = Bench::new().await;
    assert_eq!(bench.text("/kv-budget").await, "call-budget-spent");
    bench.is_unharmed().await;
}

#[tokio::test]
async fn a_secret_is_there_if_it_was_granted() {
    let mut bench = Bench::new().await;
    let secrets: MemorySecrets = [(("api".into(), "token".into()), b"s3cret".to_vec())].into_iter().collect();
    bench.host.secrets = Arc::new(secrets);
    assert_eq!(bench.text("/secret?api").await, "s3cret");
    assert_eq!(bench.text("/secret?other").await, "not-granted");
    assert_eq!(bench.text(&format!("/secret?{}", "x".repeat(254))).await, "not-granted");
    bench.is_unharmed().await;
}

#[tokio::test]
async fn what_is_printed_is_logged() {
    let mut bench = Bench::new().await;
    let log = Arc::new(KeptLog::default());
    bench.host.log = Arc::clone(&log) as _;
    bench.text("/print?2").await;
    bench.attack("/panic").await;
    let lines = log.lines();
    assert!(lines.contains(&(Level::Info, "line 1".into())), "{lines:?}");
    assert!(lines.contains(&(Level::Warn, "error 1".into())), "{lines:?}");
    assert!(lines.contains(&(Level::Warn, "no end".into())), "{lines:?}");
    // Whoever wrote the extension sees why it panicked. Whoever called it does not.
    assert!(lines.iter().any(|(_, line)| line.contains("as asked")), "{lines:?}");
}

#[tokio::test]
async fn metrics_are_counted_by_good_names() {
    let mut bench = Bench::new().await;
    let metrics = Arc::new(KeptMetrics::default());
    bench.host.metrics = Arc::clone(&metrics) as _;
    bench.text("/metrics").await;
    let values: Vec<_> = metrics.values().into_iter().collect();
    assert_eq!(values, [("saved".to_owned(), 5.0), ("size".to_owned(), 1.5)]);
}

#[tokio::test]
async fn a_guest_knows_its_call() {
    let said = Bench::new().await.text("/context").await;
    assert_eq!(said, r#"request-1 acme com.example.hello 1.2.3 0198c0de {"greeting":"hi"}"#);
}

#[tokio::test]
async fn nothing_goes_out_unless_somebody_lets_it() {
    let bench = Bench::new().await;
    for authority in ["127.0.0.1:80", "169.254.169.254", "example.com"] {
        assert_eq!(bench.text(&format!("/fetch?{authority}")).await, "ErrorCode::HttpRequestDenied");
    }
    bench.is_unharmed().await;
}

/// Answers everything, and remembers what it was asked.
#[derive(Default)]
struct Recording(Mutex<Vec<String>>);

#[async_trait]
impl Egress for Recording {
    async fn send(
        &self,
        context: &CallContext,
        request: Request<EgressBody>,
        _patience: Patience,
    ) -> Result<Response<EgressBody>, EgressError> {
        self.0.lock().unwrap().push(format!("{} {}", context.tenant, request.uri()));
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Ok(Response::builder().status(204).body(body).unwrap())
    }
}

#[tokio::test]
async fn what_goes_out_goes_through_egress_and_so_often() {
    let mut bench = Bench::new().await;
    let egress = Arc::new(Recording::default());
    bench.host.egress = Arc::clone(&egress) as _;
    assert_eq!(bench.text("/fetch?example.com").await, "204");
    assert_eq!(*egress.0.lock().unwrap(), ["acme http://example.com/"]);
    assert_eq!(bench.text("/fetch-often?33").await, "ErrorCode::ConnectionLimitReached");
    assert_eq!(egress.0.lock().unwrap().len(), 1 + 32);
    bench.is_unharmed().await;
}

//! Grants that went by on the network between gateway and runner, in the hands of somebody else.

use annex_grant::{BROKER_TOKEN_HEADER, ExecuteRequest, RunnerError, TOKEN_HEADER};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue};

use crate::chain::{Chain, EXTENSION, HOST, OTHER, refusal};
use crate::tap::Call;

/// The one call that a request of this workspace's makes.
async fn overheard(chain: &Chain, token: &str, host: &str) -> Call {
    assert_eq!(chain.get_as(token, host, "/hello").await.body, "hello");
    let calls = chain.tap.calls();
    assert_eq!(calls.len(), 1);
    calls[0].clone()
}

/// The same, which does not reach the runner: its grant is still good.
async fn kept(chain: &Chain, token: &str, host: &str) -> Call {
    chain.tap.keep(true);
    assert_eq!(refusal(&chain.get_as(token, host, "/hello").await), (502, "ExtensionFailed".into()));
    chain.tap.keep(false);
    chain.tap.calls()[0].clone()
}

async fn is_refused(chain: &Chain, token: &str, body: impl Into<Bytes>, what: &str) {
    let mut headers = HeaderMap::new();
    headers.insert(TOKEN_HEADER, HeaderValue::from_str(token).unwrap());
    let (status, answer) = chain.tap.say(headers, body.into()).await;
    let error: RunnerError = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, error.code.as_str()), (401, "GrantRefused"), "{what}");
    assert_eq!(error.message, "there is no grant for this request", "{what}");
}

pub async fn all(chain: &Chain) {
    let used = overheard(chain, "alice", HOST).await;
    is_refused(chain, &used.token(TOKEN_HEADER), used.body, "used before").await;

    let (acme, globex) = (kept(chain, "alice", HOST).await, kept(chain, "bob", OTHER).await);
    let (ours, theirs) = (acme.token(TOKEN_HEADER), globex.token(TOKEN_HEADER));
    is_refused(chain, &theirs, acme.body.clone(), "another install's").await;
    type Change = fn(&mut ExecuteRequest);
    let changes: [(&str, Change); 6] = [
        ("another tenant", |request| request.context.tenant_id = "globex".parse().unwrap()),
        ("another install", |request| {
            request.context.install_id = "6f1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c13".parse().unwrap();
        }),
        ("another extension", |request| request.context.extension_id = "com.example.tables".parse().unwrap()),
        ("another path", |request| request.http.path = "/kv".to_owned()),
        ("more memory", |request| request.limits.memory_mb = 4096),
        ("more time", |request| request.limits.timeout_ms = 600_000),
    ];
    for (what, change) in changes {
        let mut request = acme.request();
        change(&mut request);
        is_refused(chain, &ours, serde_json::to_vec(&request).unwrap(), what).await;
    }
    is_refused(chain, &acme.token(BROKER_TOKEN_HEADER), acme.body.clone(), "what opens the broker").await;
    for (what, token) in [
        ("none", String::new()),
        ("half", ours[..ours.len() / 2].to_owned()),
        ("with more", format!("{ours}A")),
        ("padded", format!("{ours}=")),
        ("two", format!("{ours},{theirs}")),
        ("in other letters", ours.to_ascii_uppercase()),
    ] {
        is_refused(chain, &token, acme.body.clone(), what).await;
    }
    // None of that used it up. It is good for what was granted, and once.
    for (call, token) in [(&acme, &ours), (&globex, &theirs)] {
        let mut headers = HeaderMap::new();
        headers.insert(TOKEN_HEADER, HeaderValue::from_str(token).unwrap());
        let (status, answer) = chain.tap.say(headers, call.body.clone()).await;
        assert_eq!(status, 200, "{answer:?}");
        is_refused(chain, token, call.body.clone(), "used").await;
    }
    chain.is_well("grants of others").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_overheard_is_good_for_nothing() {
    let chain = Chain::new().await;
    all(&chain).await;
    let metrics = chain.runner.metrics().await;
    for code in ["Malformed", "Replayed", "BodyMismatch"] {
        assert!(
            metrics.contains(&format!("annex_runner_grants_refused_total{{code=\"{code}\"}}")),
            "{metrics}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_calls_have_one_grant() {
    let chain = Chain::new().await;
    let mut tokens = Vec::new();
    for _ in 0..10 {
        tokens.push(overheard(&chain, "alice", HOST).await.token(TOKEN_HEADER));
    }
    tokens.sort();
    tokens.dedup();
    assert_eq!(tokens.len(), 10, "{EXTENSION}");
}

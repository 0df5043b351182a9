//! `POST /v1/secrets`.

use axum::{body::Body, http::Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{Answer, World};

const VALUE: &str = "hunter2-of-acme";

async fn ask(world: &World, token: &str, body: &Value) -> Answer {
    let mut request = Request::post("/v1/secrets");
    if !token.is_empty() {
        request = request.header("x-annex-grant", token);
    }
    world.send_to_broker(request.body(Body::from(body.to_string())).unwrap()).await
}

fn secret(type_: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": type_, "metadata": { "name": "smtp", "namespace": "default" },
        "data": { "password": STANDARD.encode(value) },
    })
}

/// A world in which a call was made: and what came with it, to the runner and for the broker.
async fn called() -> (World, String, String) {
    let world = World::new().await;
    world.kcp.keep_secret("acme", "smtp", secret("Opaque", VALUE));
    world.kcp.keep_secret("acme", "other", secret("Opaque", VALUE));
    world.kcp.keep_secret("globex", "smtp", secret("Opaque", "of-globex"));
    assert_eq!(world.get("/notes", "alice").await.status, 200);
    let headers = world.runner.only().headers;
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (grant, broker) = (header("x-annex-grant"), header("x-annex-broker-grant"));
    (world, grant, broker)
}

#[tokio::test]
async fn a_call_may_read_what_its_install_names() {
    let (world, _, broker) = called().await;
    for _ in 0..2 {
        let answer = ask(&world, &broker, &json!({ "name": "smtp" })).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), json!({ "data": { "password": STANDARD.encode(VALUE) } }));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn without_what_came_with_a_call_there_is_nothing() {
    let (world, grant, broker) = called().await;
    let mut flipped = broker.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    // The runner's own grant is not enough: it has the key to make such.
    for token in ["", "x", &flipped, &grant] {
        let answer = ask(&world, token, &json!({ "name": "smtp" })).await;
        assert_eq!(answer.refusal(), (401, "Unauthenticated".into()));
    }
}

#[tokio::test]
async fn what_is_not_named_and_not_granted_is_refused_in_the_same_words() {
    let (world, _, broker) = called().await;
    let smtp = json!({ "name": "smtp" });
    let refused = ask(&world, &broker, &json!({ "name": "absent" })).await;
    assert_eq!(refused.refusal(), (403, "Forbidden".into()));
    for name in ["other", "", "../../globex/secrets/smtp", "smtp "] {
        assert_eq!(ask(&world, &broker, &json!({ "name": name })).await.body, refused.body, "{name}");
    }
    // All of what the call was granted by may be taken back while it is under way.
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 4] = [
        ("the name", |install| install["spec"]["secrets"] = json!([])),
        ("the capability", |install| install["spec"]["grantedCapabilities"] = json!(["log"])),
        ("the install", |install| install["metadata"]["deletionTimestamp"] = json!("2026-11-03T12:00:00Z")),
        ("another in its place", |install| install["metadata"]["uid"] = json!("another")),
    ];
    for (what, change) in changes {
        world.install("acme", change);
        assert_eq!(ask(&world, &broker, &smtp).await.body, refused.body, "{what}");
    }
    world.install("acme", |_| {});
    assert_eq!(ask(&world, &broker, &smtp).await.status, 200);
    let suspended = annex_apis::TenantSpec { suspended: true, ..Default::default() };
    world.app.catalog.tenants.put(annex_apis::Tenant::new("acme", suspended));
    assert_eq!(ask(&world, &broker, &smtp).await.body, refused.body);
}

#[tokio::test]
async fn what_opens_kcp_is_no_secret_of_a_guest() {
    let (world, _, broker) = called().await;
    for type_ in ["annex.sh/managed-environment", "kubernetes.io/service-account-token"] {
        world.kcp.keep_secret("acme", "smtp", secret(type_, VALUE));
        let answer = ask(&world, &broker, &json!({ "name": "smtp" })).await;
        assert_eq!(answer.refusal(), (403, "Forbidden".into()), "{type_}");
    }
    assert!(annex_apis::MANAGED_ENVIRONMENT_SECRET_TYPE.contains("managed-environment"));
}

#[tokio::test]
async fn what_is_wrong_is_said_without_the_value() {
    let (world, _, broker) = called().await;
    let smtp = json!({ "name": "smtp" });
    world.kcp.keep_secret("acme", "smtp", secret("Opaque", &VALUE.repeat(20_000)));
    let large = ask(&world, &broker, &smtp).await;
    assert_eq!(large.refusal(), (502, "SecretTooLarge".into()));
    world.kcp.keep_secret("acme", "smtp", json!({ "kind": "Secret", "data": { "password": VALUE } }));
    let malformed = ask(&world, &broker, &smtp).await;
    assert_eq!(malformed.refusal(), (503, "KcpUnavailable".into()));
    world.kcp.set_down(true);
    let down = ask(&world, &broker, &smtp).await;
    assert_eq!(down.refusal(), (503, "KcpUnavailable".into()));
    for answer in [large, malformed, down] {
        assert!(!answer.text().contains("hunter2"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_absent_secret_and_a_malformed_question_are_said() {
    let (world, _, broker) = called().await;
    world.install("acme", |install| install["spec"]["secrets"] = json!([{ "name": "gone" }]));
    let absent = ask(&world, &broker, &json!({ "name": "gone" })).await;
    assert_eq!(absent.refusal(), (404, "SecretNotFound".into()));
    let large = ask(&world, &broker, &json!({ "name": "x".repeat(5000) })).await;
    assert_eq!(large.refusal(), (413, "TooLarge".into()));
    for bad in [json!({}), json!({ "name": 1 }), json!({ "name": "a", "tenant": "b" })] {
        assert_eq!(ask(&world, &broker, &bad).await.refusal(), (400, "MalformedRequest".into()), "{bad}");
    }
    let get = Request::get("/v1/secrets").body(Body::empty()).unwrap();
    assert_eq!(world.send_to_broker(get).await.refusal(), (405, "MethodNotAllowed".into()));
    let execute = Request::post("/v1/execute").body(Body::empty()).unwrap();
    assert_eq!(world.send_to_broker(execute).await.refusal(), (404, "NotFound".into()));
}

//! `GET /api/installs/lookup-by-host` and `…/validate`.

use annex_apis::{Tenant, TenantSpec};
use annex_service::RunnerTokens;
use serde_json::json;

use crate::support::{Options, RUNNER, World};

const HASH: &str = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";
const HOST: &str = "acme--hello.apps.test";

fn lookup(host: &str) -> String {
    format!("/api/installs/lookup-by-host?host={host}")
}

fn validate(tenant: &str, extension: &str, hash: &str) -> String {
    format!("/api/installs/validate?tenant={tenant}&extension={extension}&hash={hash}")
}

#[tokio::test]
async fn a_host_is_told_to_runners_alone() {
    let world = World::new().await;
    world.install("acme", "uid-1", HOST, HASH);
    let found = world.get(&lookup(HOST), RUNNER).await;
    let identity = json!({ "tenant_id": "acme", "extension_id": "com.example.hello", "content_hash": HASH });
    assert_eq!((found.status, found.json()), (200, identity));
    for token in ["", "alice"] {
        assert_eq!(world.get(&lookup(HOST), token).await.refusal(), (401, "Unauthenticated".into()));
    }
    let tokens = RunnerTokens::parse(RUNNER.as_bytes()).unwrap();
    assert_eq!(world.get(&lookup(HOST), &tokens.of_workspace("acme").unwrap()).await.status, 200);
    let other = tokens.of_workspace("globex").unwrap();
    assert_eq!(world.get(&lookup(HOST), &other).await.refusal(), (404, "UnknownHost".into()));
    assert_eq!(world.get(&lookup("nobody.apps.test"), RUNNER).await.refusal(), (404, "UnknownHost".into()));
}

#[tokio::test]
async fn what_is_no_host_is_malformed_and_never_unknown() {
    for synced in [true, false] {
        let world = World::with(Options { synced, ..Options::default() }).await;
        for query in [
            "",
            "?other=x",
            "?host=",
            "?host=a%20b",
            "?host=..",
            "?host=user@a.test",
            "?host=a.test&host=b.test",
        ] {
            let answer = world.get(&format!("/api/installs/lookup-by-host{query}"), RUNNER).await;
            assert_eq!(answer.refusal(), (400, "MalformedHost".into()), "{query}");
        }
    }
}

#[tokio::test]
async fn before_all_is_known_what_is_unknown_may_exist() {
    let world = World::with(Options { synced: false, ..Options::default() }).await;
    world.install("acme", "uid-1", HOST, HASH);
    assert_eq!(world.get(&lookup(HOST), RUNNER).await.status, 200);
    assert_eq!(world.get(&lookup("other.apps.test"), RUNNER).await.refusal(), (503, "NotSynced".into()));
    assert_eq!(world.get(&validate("acme", "com.example.hello", HASH), RUNNER).await.status, 200);
    let unknown = world.get(&validate("globex", "com.example.hello", HASH), RUNNER).await;
    assert_eq!(unknown.refusal(), (503, "NotSynced".into()));
}

#[tokio::test]
async fn a_suspended_tenant_is_nobody_and_an_id_is_what_the_operator_gave() {
    let world = World::new().await;
    world.install("acme", "uid-1", HOST, HASH);
    let tenant = |spec| world.app.catalog.tenants.put(Tenant::new("acme", spec));
    tenant(TenantSpec { id: Some("customer-7".into()), ..Default::default() });
    assert_eq!(world.get(&lookup(HOST), RUNNER).await.json()["tenant_id"], "customer-7");
    for (id, valid) in [("customer-7", true), ("acme", false)] {
        let answer = world.get(&validate(id, "com.example.hello", HASH), RUNNER).await;
        assert_eq!(answer.json(), json!({ "valid": valid }), "{id}");
    }
    tenant(TenantSpec { suspended: true, ..Default::default() });
    assert_eq!(world.get(&lookup(HOST), RUNNER).await.refusal(), (404, "UnknownHost".into()));
    let answer = world.get(&validate("acme", "com.example.hello", HASH), RUNNER).await;
    assert_eq!(answer.json(), json!({ "valid": false }));
}

#[tokio::test]
async fn what_is_valid_is_exactly_what_answers() {
    let world = World::new().await;
    world.install("acme", "uid-1", HOST, HASH);
    let other = HASH.replace("0a0a", "0b0b");
    for (path, valid) in [
        (validate("acme", "com.example.hello", HASH), true),
        (validate("acme", "com.example.hello", &other), false),
        (validate("acme", "com.example.other", HASH), false),
        (validate("globex", "com.example.hello", HASH), false),
    ] {
        assert_eq!(world.get(&path, RUNNER).await.json(), json!({ "valid": valid }), "{path}");
    }
    let tokens = RunnerTokens::parse(RUNNER.as_bytes()).unwrap();
    let answer = world
        .get(&validate("acme", "com.example.hello", HASH), &tokens.of_workspace("globex").unwrap())
        .await;
    assert_eq!(answer.json(), json!({ "valid": false }));
    for path in [
        "/api/installs/validate".to_owned(),
        "/api/installs/validate?tenant=acme&extension=com.example.hello".to_owned(),
        validate("acme", "com.example.hello", "sha256:0A"),
        validate("", "com.example.hello", HASH),
    ] {
        assert_eq!(world.get(&path, RUNNER).await.refusal(), (400, "MalformedRequest".into()), "{path}");
    }
}

#[tokio::test]
async fn what_a_list_lacks_goes_on_answering_until_it_is_known_to_be_gone() {
    let world = World::new().await;
    let key = world.install("acme", "uid-1", HOST, HASH);
    assert!(world.lose_everything(), "nobody said that it was deleted");
    assert_eq!(world.get(&lookup(HOST), RUNNER).await.status, 200);
    world.app.installs.gone(&key);
    assert_eq!(world.get(&lookup(HOST), RUNNER).await.refusal(), (404, "UnknownHost".into()));
}

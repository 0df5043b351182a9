//! `POST /v1/kv`, over a real store: in a file, and where it may matter in a real server of PostgreSQL as well.

use std::{
    path::Path,
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime},
};

use annex_grant::{
    BodyDigest, Capabilities, Grant, KV_CAPABILITY, KeyRing, Limits, Nonce, SECRETS_CAPABILITY, UnixMillis,
};
use annex_postgres_server::{PASSWORD, Server};
use annex_storage::{Store, StoreOptions};
use axum::{body::Body, http::Request};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, EXTENSION, HASH, Options, UID, World};

pub const OF_GLOBEX: &str = "7a1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c22";
const OF_OTHER: &str = "8b1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c33";
const OTHER: &str = "com.example.other";

pub struct Stored {
    pub world: World,
    pub store: Store,
    /// What came with a call for the broker.
    pub token: String,
    _database: Database,
}

/// What has to be there for as long as the store is.
enum Database {
    Folder(#[expect(dead_code, reason = "it is removed when it is dropped")] TempDir),
    Server(#[expect(dead_code, reason = "it ends when the last is dropped")] Arc<Server>),
}

/// A world in which a call was made, with a store in a file.
async fn called(options: StoreOptions) -> Stored {
    let folder = tempfile::tempdir().unwrap();
    stored_in(store(folder.path(), options), Database::Folder(folder)).await
}

/// The same with one in PostgreSQL.
async fn called_on_postgres(options: StoreOptions) -> Stored {
    let server = Server::shared().await;
    let store = Store::open(&server.database().await, options).unwrap();
    stored_in(store, Database::Server(server)).await
}

async fn stored_in(store: Store, database: Database) -> Stored {
    let world = World::with(Options { storage: Some(store.clone()), ..Options::default() }).await;
    let token = token_of_a_call(&world).await.unwrap();
    Stored { world, store, token, _database: database }
}

fn store(folder: &Path, options: StoreOptions) -> Store {
    Store::open(&format!("sqlite://{}", folder.join("kv.db").display()), options).unwrap()
}

/// With so much time that only a defect takes it, also where many tests share a small machine.
fn patient() -> StoreOptions {
    StoreOptions { timeout: Duration::from_secs(30), ..StoreOptions::default() }
}

/// What the last call had for the broker.
async fn token_of_a_call(world: &World) -> Option<String> {
    assert_eq!(world.get("/notes", "alice").await.status, 200);
    let headers = world.runner.seen().pop().unwrap().headers;
    headers.get("x-annex-broker-grant").map(|token| token.to_str().unwrap().to_owned())
}

fn question(token: &str, body: Body) -> Request<Body> {
    let request = Request::post("/v1/kv");
    let request = if token.is_empty() { request } else { request.header("x-annex-grant", token) };
    request.body(body).unwrap()
}

pub async fn ask(world: &World, token: &str, body: &Value) -> Answer {
    world.send_to_broker(question(token, Body::from(body.to_string()))).await
}

pub fn get(key: &str) -> Value {
    json!({ "get": { "key": key } })
}

pub fn set(key: &str, value: &str) -> Value {
    json!({ "set": { "key": key, "value": STANDARD.encode(value) } })
}

pub fn value(value: &str) -> Value {
    json!({ "value": STANDARD.encode(value) })
}

pub fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

impl Stored {
    pub async fn new() -> Self {
        called(StoreOptions::default()).await
    }

    async fn on_both(options: StoreOptions) -> [Self; 2] {
        [called(options).await, called_on_postgres(options).await]
    }

    /// What is answered to the call.
    pub async fn told(&self, body: &Value) -> Value {
        let answer = ask(&self.world, &self.token, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
        answer.json()
    }

    pub async fn refusal(&self, body: &Value) -> (u16, String) {
        ask(&self.world, &self.token, body).await.refusal()
    }

    /// A token for the broker, of whatever the gateway would sign.
    pub fn signed(&self, change: impl FnOnce(&mut Grant)) -> String {
        signed_by(&self.world, change)
    }
}

/// The same of any world.
pub fn signed_by(world: &World, change: impl FnOnce(&mut Grant)) -> String {
    world.app.keys.get().sign(&grant(change)).unwrap().as_str().to_owned()
}

fn grant(change: impl FnOnce(&mut Grant)) -> Grant {
    let now = UnixMillis::from(SystemTime::now());
    let mut grant = Grant {
        audience: "annex-gateway/broker".parse().unwrap(),
        tenant: "acme".parse().unwrap(),
        install: UID.parse().unwrap(),
        extension: EXTENSION.parse().unwrap(),
        content: HASH.parse().unwrap(),
        capabilities: Capabilities::of([KV_CAPABILITY, SECRETS_CAPABILITY]).unwrap(),
        limits: Limits { timeout_ms: 1000, memory_mb: 64, fuel: None },
        nonce: Nonce(uuid::Uuid::new_v4().into_bytes()),
        issued: now,
        expires: now.after(Duration::from_secs(30)),
        body: BodyDigest::of(b""),
    };
    change(&mut grant);
    grant
}

#[tokio::test]
async fn what_a_call_stores_the_next_one_reads() {
    for stored in Stored::on_both(patient()).await {
        assert_eq!(stored.told(&get("a")).await, json!({ "value": null }));
        assert_eq!(stored.told(&set("a", "one")).await, json!({ "done": true }));
        assert_eq!(stored.told(&set("b", "")).await, json!({ "done": true }));
        let next = token_of_a_call(&stored.world).await.unwrap();
        let answer = ask(&stored.world, &next, &get("a")).await;
        assert_eq!((answer.status, answer.json()), (200, value("one")));

        let swap = |expected: Value, new: &str| json!({ "compareAndSet": { "key": "a", "expected": expected, "value": STANDARD.encode(new) } });
        assert_eq!(stored.told(&swap(Value::Null, "two")).await, json!({ "done": false }));
        assert_eq!(stored.told(&swap(json!(STANDARD.encode("two")), "two")).await, json!({ "done": false }));
        assert_eq!(stored.told(&get("a")).await, value("one"));
        assert_eq!(stored.told(&swap(json!(STANDARD.encode("one")), "two")).await, json!({ "done": true }));
        assert_eq!(stored.told(&get("a")).await, value("two"));

        let list = |prefix: &str, after: Value, limit: u32| json!({ "listKeys": { "prefix": prefix, "after": after, "limit": limit } });
        assert_eq!(stored.told(&list("", Value::Null, u32::MAX)).await, json!({ "keys": ["a", "b"] }));
        assert_eq!(stored.told(&list("", Value::Null, 1)).await, json!({ "keys": ["a"] }));
        assert_eq!(stored.told(&list("", json!("a"), 9)).await, json!({ "keys": ["b"] }));
        assert_eq!(stored.told(&list("b", Value::Null, 9)).await, json!({ "keys": ["b"] }));
        for _ in 0..2 {
            assert_eq!(stored.told(&json!({ "delete": { "key": "a" } })).await, json!({ "done": true }));
        }
        assert_eq!(stored.told(&get("a")).await, json!({ "value": null }));
    }
}

#[tokio::test]
async fn of_those_who_compare_at_one_time_one_sets() {
    for stored in Stored::on_both(patient()).await {
        let swaps = (0..20).map(|number| {
            let new = STANDARD.encode(number.to_string());
            let swap = json!({ "compareAndSet": { "key": "a", "expected": null, "value": new } });
            let (world, token) = (&stored.world, &stored.token);
            async move { ask(world, token, &swap).await.json() }
        });
        let answers = futures::future::join_all(swaps).await;
        assert_eq!(
            answers.iter().filter(|answer| **answer == json!({ "done": true })).count(),
            1,
            "{answers:?}"
        );
        assert_eq!(answers.iter().filter(|answer| **answer == json!({ "done": false })).count(), 19);
    }
}

#[tokio::test]
async fn another_tenants_and_another_extensions_keys_are_not_reached() {
    for stored in Stored::on_both(patient()).await {
        let world = &stored.world;
        world.install("globex", |install| {
            install["metadata"]["uid"] = json!(OF_GLOBEX);
            install["status"]["routes"] = json!([]);
        });
        world.install("acme", |install| {
            install["metadata"]["name"] = json!("other");
            install["metadata"]["uid"] = json!(OF_OTHER);
            install["spec"]["extension"] = json!(OTHER);
            install["status"]["routes"] = json!([]);
        });
        let globex = stored.signed(|grant| {
            grant.tenant = "globex".parse().unwrap();
            grant.install = OF_GLOBEX.parse().unwrap();
        });
        let other = stored.signed(|grant| {
            grant.extension = OTHER.parse().unwrap();
            grant.install = OF_OTHER.parse().unwrap();
        });
        stored.told(&set("a", "of acme")).await;
        let list = json!({ "listKeys": { "prefix": "", "after": null, "limit": 9 } });
        for (token, theirs) in [(&globex, "of globex"), (&other, "of other")] {
            assert_eq!(ask(world, token, &get("a")).await.json(), json!({ "value": null }));
            assert_eq!(ask(world, token, &list).await.json(), json!({ "keys": [] }));
            assert_eq!(ask(world, token, &json!({ "delete": { "key": "a" } })).await.status, 200);
            assert_eq!(ask(world, token, &set("a", theirs)).await.status, 200);
            // A question that says whose it is, is none.
            let named = json!({ "get": { "key": "a", "tenant_id": "acme", "extension_id": EXTENSION } });
            assert_eq!(ask(world, token, &named).await.refusal(), refused(400, "MalformedRequest"));
        }
        assert_eq!(stored.told(&get("a")).await, value("of acme"));
        assert_eq!(ask(world, &globex, &get("a")).await.json(), value("of globex"));
        assert_eq!(ask(world, &other, &get("a")).await.json(), value("of other"));
        // A grant whose parts are of several installs is nobody's.
        type Change = fn(&mut Grant);
        let mixed: [Change; 3] = [
            |grant| grant.tenant = "globex".parse().unwrap(),
            |grant| grant.extension = OTHER.parse().unwrap(),
            |grant| grant.install = OF_GLOBEX.parse().unwrap(),
        ];
        for change in mixed {
            let answer = ask(world, &stored.signed(change), &get("a")).await;
            assert_eq!(answer.refusal(), refused(403, "Forbidden"));
        }
    }
}

#[tokio::test]
async fn without_what_came_with_a_call_there_is_nothing() {
    let stored = Stored::new().await;
    let world = &stored.world;
    stored.told(&set("a", "hunter2")).await;
    assert_eq!(ask(world, &stored.signed(|_| {}), &get("a")).await.json(), value("hunter2"));
    let runners_own = world.runner.only().headers["x-annex-grant"].to_str().unwrap().to_owned();
    let mut flipped = stored.token.clone().into_bytes();
    let middle = flipped.len() / 2;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let expired = stored.signed(|grant| {
        grant.issued = UnixMillis(grant.issued.0 - 120_000);
        grant.expires = UnixMillis(grant.issued.0 + 60_000);
    });
    let of_another = stored.signed(|grant| grant.audience = "direct".parse().unwrap());
    let keys = vec![("k1".to_owned(), b"a secret of another gateway, of the same name".to_vec())];
    let foreign = KeyRing::parse(&keys).unwrap().sign(&grant(|_| {})).unwrap();
    for (what, token) in [
        ("none", ""),
        ("rubbish", "x"),
        ("one bit", &String::from_utf8(flipped).unwrap()),
        ("the runner's own grant", &runners_own),
        ("expired", &expired),
        ("another audience", &of_another),
        ("another gateway's key", foreign.as_str()),
    ] {
        let answer = ask(world, token, &get("a")).await;
        assert_eq!(answer.refusal(), refused(401, "Unauthenticated"), "{what}");
    }
}

#[tokio::test]
async fn a_call_reaches_only_what_its_capabilities_say() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Some(store(folder.path(), StoreOptions::default()));
    let world = World::with(Options { storage, ..Options::default() }).await;
    let with = async |capabilities: &[&str]| {
        world.publish(|version| version["spec"]["capabilities"] = json!(capabilities));
        token_of_a_call(&world).await
    };
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "smtp", "namespace": "default" }, "data": {},
    });
    world.kcp.keep_secret("acme", "smtp", secret);
    let ask_for_secret = async |token: &str| {
        let request = Request::post("/v1/secrets").header("x-annex-grant", token);
        world.send_to_broker(request.body(Body::from(r#"{"name":"smtp"}"#)).unwrap()).await
    };
    assert_eq!(with(&["log", "context"]).await, None, "nothing that the broker answers for");

    let stores = with(&["storage.kv"]).await.unwrap();
    assert_eq!(ask(&world, &stores, &get("a")).await.status, 200);
    assert_eq!(ask_for_secret(&stores).await.refusal(), refused(403, "Forbidden"));

    let reads = with(&["secrets"]).await.unwrap();
    assert_eq!(ask_for_secret(&reads).await.status, 200);
    assert_eq!(ask(&world, &reads, &get("a")).await.refusal(), refused(403, "Forbidden"));

    let both = with(&["secrets", "storage.kv"]).await.unwrap();
    assert_eq!(ask_for_secret(&both).await.status, 200);
    assert_eq!(ask(&world, &both, &get("a")).await.status, 200);
}

#[tokio::test]
async fn what_was_granted_may_be_taken_back_while_a_call_is_under_way() {
    let stored = Stored::new().await;
    let world = &stored.world;
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 4] = [
        ("the capability", |install| install["spec"]["grantedCapabilities"] = json!(["log", "secrets"])),
        ("the install", |install| install["metadata"]["deletionTimestamp"] = json!("2026-11-03T12:00:00Z")),
        ("another extension", |install| install["spec"]["extension"] = json!(OTHER)),
        ("another in its place", |install| install["metadata"]["uid"] = json!("another")),
    ];
    for (what, change) in changes {
        world.install("acme", change);
        assert_eq!(stored.refusal(&get("a")).await, refused(403, "Forbidden"), "{what}");
    }
    world.install("acme", |install| install["spec"]["grantedCapabilities"] = json!(["storage.kv"]));
    stored.told(&get("a")).await;
    let suspended = annex_apis::TenantSpec { suspended: true, ..Default::default() };
    world.app.catalog.tenants.put(annex_apis::Tenant::new("acme", suspended));
    assert_eq!(stored.refusal(&get("a")).await, refused(403, "Forbidden"));
}

#[tokio::test]
async fn what_no_sandbox_would_ask_is_refused() {
    let stored = Stored::new().await;
    let largest = STANDARD.encode("v".repeat(64 << 10));
    let larger = STANDARD.encode("v".repeat((64 << 10) + 1));
    let (long, longer) = ("k".repeat(1 << 10), "k".repeat((1 << 10) + 1));
    stored.told(&json!({ "set": { "key": long, "value": largest } })).await;
    let swap = json!({ "compareAndSet": { "key": long, "expected": largest, "value": largest } });
    assert_eq!(stored.told(&swap).await, json!({ "done": true }));
    for (question, answer) in [
        (json!({ "set": { "key": "a", "value": larger } }), refused(413, "ValueTooLarge")),
        (
            json!({ "compareAndSet": { "key": "a", "expected": larger, "value": "" } }),
            refused(413, "ValueTooLarge"),
        ),
        (get(""), refused(400, "BadKey")),
        (get(&longer), refused(400, "BadKey")),
        (json!({ "delete": { "key": "" } }), refused(400, "BadKey")),
        (json!({ "set": { "key": longer, "value": "" } }), refused(400, "BadKey")),
        (json!({ "listKeys": { "prefix": longer, "after": null, "limit": 1 } }), refused(400, "BadKey")),
        (json!({ "listKeys": { "prefix": "", "after": longer, "limit": 1 } }), refused(400, "BadKey")),
        (json!({ "set": { "key": "a", "value": "v".repeat(300_000) } }), refused(413, "TooLarge")),
        (json!({ "purge": { "key": "a" } }), refused(400, "MalformedRequest")),
        (json!({ "get": {} }), refused(400, "MalformedRequest")),
        (json!({ "set": { "key": "a", "value": "hunter2!" } }), refused(400, "MalformedRequest")),
        (json!({ "compareAndSet": { "key": "a", "value": "" } }), refused(400, "MalformedRequest")),
        (json!(null), refused(400, "MalformedRequest")),
    ] {
        let told = ask(&stored.world, &stored.token, &question).await;
        assert_eq!(told.refusal(), answer, "{question}");
        assert!(!told.text().contains("hunter2"));
    }
    assert_eq!(stored.told(&get("a")).await, json!({ "value": null }), "nothing of it was written");
    let read = Request::get("/v1/kv").header("x-annex-grant", &stored.token).body(Body::empty()).unwrap();
    assert_eq!(stored.world.send_to_broker(read).await.refusal(), refused(405, "MethodNotAllowed"));
}

#[tokio::test]
async fn a_store_says_why_it_does_not() {
    for stored in Stored::on_both(StoreOptions { quota_bytes: 1000, ..patient() }).await {
        stored.told(&set("a", "one")).await;
        assert_eq!(stored.refusal(&set("b", &"v".repeat(1000))).await, refused(507, "QuotaExceeded"));
        assert_eq!(stored.told(&get("a")).await, value("one"));
        stored.store.close().await;
        let answer = ask(&stored.world, &stored.token, &get("a")).await;
        assert_eq!(answer.refusal(), refused(503, "StorageUnavailable"));
        for word in ["sqlite", "postgres", PASSWORD] {
            assert!(!answer.text().contains(word), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_database_that_went_away_is_told_and_is_used_again_when_it_is_back() {
    let mut server = Server::stopped();
    server.start().await;
    // How long it is waited for, and not until when it may answer: it is not there.
    let options = StoreOptions { timeout: Duration::from_secs(2), ..StoreOptions::default() };
    let store = Store::open(&server.database().await, options).unwrap();
    let world = World::with(Options { storage: Some(store), ..Options::default() }).await;
    let token = token_of_a_call(&world).await.unwrap();
    let until_is = async |status: u16, question: &Value| {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let answer = ask(&world, &token, question).await;
            if answer.status == status {
                return answer;
            }
            assert!(std::time::Instant::now() < deadline, "{answer:?}");
        }
    };
    until_is(200, &set("a", "one")).await;
    server.crash().await;
    let answer = until_is(503, &get("a")).await;
    assert_eq!(answer.refusal(), refused(503, "StorageUnavailable"));
    assert!(!answer.text().contains(PASSWORD) && !answer.text().contains("postgres"), "{answer:?}");
    server.start().await;
    assert_eq!(until_is(200, &get("a")).await.json(), value("one"));
}

#[tokio::test]
async fn without_a_store_it_says_so_to_those_who_may_ask() {
    let world = World::new().await;
    let token = token_of_a_call(&world).await.unwrap();
    assert_eq!(ask(&world, &token, &get("a")).await.refusal(), refused(503, "StorageNotConfigured"));
    assert_eq!(ask(&world, "", &get("a")).await.refusal(), refused(401, "Unauthenticated"));
}

#[tokio::test]
async fn who_is_slow_to_ask_is_not_waited_for_and_takes_nobodys_place() {
    let stored = Stored::new().await;
    let world = &stored.world;
    let silent = || {
        let body = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
        Box::pin(world.send_to_broker(question(&stored.token, body)))
    };
    let mut waiting: Vec<_> = (0..128).map(|_| silent()).collect();
    for ask in &mut waiting {
        assert!(matches!(futures::poll!(ask), Poll::Pending));
    }
    let told = ask(world, &stored.token, &get("a")).await;
    assert_eq!(told.refusal(), refused(429, "TooManyRequests"));
    assert!(!told.header("retry-after").is_empty());
    drop(waiting);
    stored.told(&get("a")).await;

    tokio::time::pause();
    assert_eq!(silent().await.refusal(), refused(408, "RequestTimeout"));
}

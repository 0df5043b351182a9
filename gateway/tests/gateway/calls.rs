//! What reaches the runner, and what comes back.

use annex_grant::{Base64Bytes, BodyDigest, Refusal};
use axum::body::Body;
use serde_json::json;

use crate::support::{EXTENSION, GATEWAY, HASH, HOST, UID, World, to};

#[tokio::test]
async fn a_call_reaches_the_runner_with_a_grant_of_just_this_call() {
    let world = World::new().await;
    let answer = world
        .send(
            to("POST", "/notes?a=b&c", HOST, "alice")
                .header("content-type", "text/plain")
                .body(Body::from("note"))
                .unwrap(),
        )
        .await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let seen = world.runner.only();
    let (request, grant) = (&seen.request, &seen.grant);
    let context = &request.context;
    assert_eq!(context.request_id, answer.header("x-request-id"));
    assert_eq!(seen.headers["x-request-id"], answer.header("x-request-id"));
    assert_eq!((context.tenant_id.as_str(), context.extension_id.as_str()), ("acme", EXTENSION));
    assert_eq!((context.install_id.as_str(), context.version.as_str()), (UID, "1.2.3"));
    assert_eq!(context.content_hash.to_string(), HASH);
    assert_eq!(context.config["greeting"], "hi");
    // What the platform made of it goes along.
    assert_eq!(context.config["annex"]["version"], "1.2.3");
    assert_eq!((request.http.method.as_str(), request.http.path.as_str()), ("POST", "/notes"));
    assert_eq!(request.http.query.as_deref(), Some("a=b&c"));
    assert_eq!(request.http.headers, [("content-type".to_owned(), "text/plain".to_owned())]);
    assert_eq!(request.http.body_b64, Some(Base64Bytes(b"note".to_vec())));
    assert_eq!((request.limits.timeout_ms, request.limits.memory_mb), (20_000, 64));
    assert_eq!((&grant.tenant, &grant.extension), (&context.tenant_id, &context.extension_id));
    assert_eq!((&grant.install, grant.content), (&context.install_id, context.content_hash));
    assert_eq!((grant.limits, grant.body), (request.limits, BodyDigest::of(&seen.body)));
    assert_eq!(grant.capabilities.iter().collect::<Vec<_>>(), ["log", "secrets", "storage.kv"]);
    // Whoever took it on the way has nothing.
    let token = seen.headers["x-annex-grant"].to_str().unwrap();
    assert_eq!(world.runner.admit(token, &seen.body), Err(Refusal::Replayed));
    assert_eq!(world.runner.admit(token, b"{}"), Err(Refusal::BodyMismatch));
}

#[tokio::test]
async fn the_install_and_the_operator_say_how_much() {
    let world = World::new().await;
    world.publish(|version| version["spec"]["limits"] = json!({ "timeoutMs": 700, "memoryMiB": 256 }));
    world.install("acme", |install| install["spec"]["grantedCapabilities"] = json!(["log", "other"]));
    let tenant = |quota| serde_json::from_value(json!({ "quota": quota, "id": "customer-7" })).unwrap();
    world.app.catalog.tenants.put(annex_apis::Tenant::new("acme", tenant(json!({ "memoryMiB": 100 }))));
    assert_eq!(world.get("/notes", "alice").await.status, 200);
    let seen = world.runner.only();
    assert_eq!((seen.grant.limits.timeout_ms, seen.grant.limits.memory_mb), (700, 100));
    assert_eq!(seen.grant.capabilities.iter().collect::<Vec<_>>(), ["log"], "what both say");
    assert_eq!(seen.grant.tenant.as_str(), "customer-7");
    assert!(!seen.headers.contains_key("x-annex-broker-grant"), "it may not read secrets");
}

#[tokio::test]
async fn credentials_and_what_belongs_to_the_connection_stay_here() {
    let world = World::new().await;
    let request = to("GET", "/notes", HOST, "alice")
        .header("cookie", "session=1")
        .header("connection", "close, x-ext-hop")
        .header("x-ext-hop", "1")
        .header("x-ext-own", "2")
        .header("x-forwarded-for", "10.0.0.1")
        .header("x-annex-grant", "forged")
        .header("accept", "text/plain")
        .body(Body::empty())
        .unwrap();
    assert_eq!(world.send(request).await.status, 200);
    let seen = world.runner.only();
    let mut names: Vec<_> = seen.request.http.headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "x-ext-own"]);
    let sent = String::from_utf8_lossy(&seen.body).into_owned();
    for secret in ["alice", "session", "10.0.0.1", "forged"] {
        assert!(!sent.contains(secret), "{secret}");
    }
    assert!(!seen.headers.contains_key("authorization") && !seen.headers.contains_key("cookie"));
}

#[tokio::test]
async fn of_an_answer_only_the_harmless_headers_pass() {
    let world = World::new().await;
    world.runner.answers(json!({
        "status": 418, "body_b64": "aGVsbG8=",
        "headers": [
            ["content-type", "text/html"], ["etag", "\"1\""], ["cache-control", "public, max-age=60"], ["x-ext-a", "1"],
            ["set-cookie", "a=b"], ["location", "https://evil.test"], ["x-request-id", "forged"],
            ["content-security-policy", "default-src *"], ["transfer-encoding", "chunked"],
        ],
    }));
    let answer = world.get("/notes", "alice").await;
    assert_eq!((answer.status, answer.text().as_str()), (418, "hello"));
    let mut names: Vec<_> = answer.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    let expected = [
        "cache-control",
        "content-length",
        "content-security-policy",
        "content-type",
        "etag",
        "x-content-type-options",
        "x-ext-a",
        "x-request-id",
    ];
    assert_eq!(names, expected);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_ne!(answer.header("x-request-id"), "forged");
    assert!(answer.header("content-security-policy").contains("sandbox"));
}

#[tokio::test]
async fn what_is_no_endpoint_of_the_version_is_not_called() {
    let world = World::new().await;
    for (method, path) in
        [("GET", "/other"), ("DELETE", "/notes"), ("GET", "/"), ("GET", ""), ("GET", "/notes/7/x")]
    {
        let answer = world.send(to(method, path, HOST, "alice").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.refusal(), (404, "NoSuchEndpoint".into()), "{method} {path}");
    }
    for path in [
        "/../notes",
        "/%2e%2e/notes",
        "/notes/%2e%2e",
        "/notes/..%2f",
        "//notes",
        "/notes/",
        "/notes/%00",
        "/notes/%zz",
    ] {
        let answer = world.get(path, "alice").await;
        assert_eq!(answer.refusal(), (400, "MalformedRequest".into()), "{path}");
    }
    assert!(world.runner.seen().is_empty());
    assert_eq!(world.get("/%6eotes/a%20b%3a", "alice").await.status, 200);
    assert_eq!(
        world.runner.only().request.http.path,
        "/notes/a%20b:",
        "in the one spelling that was compared"
    );
}

#[tokio::test]
async fn other_paths_are_nothing() {
    let world = World::new().await;
    for path in ["/", "/api/ext", "/v1/execute", "/v1/secrets", "/metrics", "/api/extension"] {
        let request = axum::http::Request::get(path).header("host", GATEWAY).body(Body::empty()).unwrap();
        assert_eq!(world.send(request).await.refusal(), (404, "NotFound".into()), "{path}");
    }
}

#[tokio::test]
async fn an_install_on_knative_is_called_at_its_own_runner_with_a_grant_for_that_one() {
    let world = World::with(crate::support::Options { knative: true, ..Default::default() }).await;
    let of = |namespace: &'static str| json!({ "mode": "knative", "namespace": namespace, "name": "runner" });
    world.install("acme", |install| install["status"]["runnerRef"] = of("annex-acme"));
    let called = world.get("/notes", "alice").await;
    assert_eq!(called.status, 200, "{called:?}");
    assert_eq!(world.runner.only().grant.audience.as_str(), "annex-acme/exec");
    // The same runner has no key for what is granted to another.
    world.install("acme", |install| install["status"]["runnerRef"] = of("annex-globex"));
    assert_eq!(world.get("/notes", "alice").await.refusal(), (502, "ExtensionFailed".into()));
    assert_eq!(world.runner.seen().len(), 1);
}

/// Whatever a manifest says: a version may have been published before such endpoints were refused.
#[tokio::test]
async fn handlers_of_an_extensions_life_are_called_by_nobody_outside() {
    let world = World::new().await;
    world.publish(|version| {
        version["spec"]["endpoints"] = json!([
            { "method": "POST", "path": "/.annex/lifecycle/setup", "handler": "h" },
            { "method": "POST", "path": "/{*rest}", "handler": "h" },
        ]);
        version["spec"]["lifecycle"] = json!({ "install": "setup" });
    });
    for path in [
        "/.annex/lifecycle/setup",
        "/.annex",
        "/%2eannex/lifecycle/setup",
        "/.ANNEX/lifecycle/setup",
        "/%2E%41nnex/lifecycle/setup",
    ] {
        let answer = world.send(to("POST", path, HOST, "alice").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    for path in ["//.annex/lifecycle/setup", "/a/../.annex/lifecycle/setup", "/%2f.annex/lifecycle/setup"] {
        let answer = world.send(to("POST", path, HOST, "alice").body(Body::empty()).unwrap()).await;
        assert!((400..=404).contains(&answer.status), "{path}: {}", answer.status);
    }
    assert!(world.runner.seen().is_empty());
    let answer = world.send(to("POST", "/annex/.annex", HOST, "alice").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200, "only the first segment is the platform's");
}

/// Whoever waits for Ready may be told before this gateway is.
#[tokio::test]
async fn who_calls_before_the_gateway_has_heard_of_the_install_is_answered_all_the_same() {
    for (what, unheard) in [
        ("the host", json!({})),
        ("the runner", json!({ "routes": [{ "host": HOST, "contentHash": HASH }] })),
    ] {
        let world = World::new().await;
        world.install("acme", |install| install["status"] = unheard);
        let is_told = async {
            // Until the call waits for nothing else.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            assert!(world.runner.seen().is_empty());
            world.install("acme", |_| {});
        };
        let (answer, ()) = tokio::join!(world.get("/notes", "alice"), is_told);
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    }
    let world = World::new().await;
    world.install("acme", |install| install["status"] = json!({}));
    assert_eq!(world.get("/notes", "alice").await.refusal(), (400, "WorkspaceUnknown".into()));
}

/// Who waits for an Install of a workspace of their own does not get another's, whose host they asked for and nobody knew yet.
#[tokio::test]
async fn who_waits_gets_what_they_may_call_and_nothing_else() {
    const VICTIM: &str = "globex--hello.apps.test";
    let world = World::new().await;
    world.app.catalog.tenants.put(annex_apis::Tenant::new("globex", Default::default()));
    world.install("acme", |install| install["status"]["runnerRef"] = json!(null));
    let request = to("GET", "/notes", VICTIM, "alice").header("x-annex-workspace", "acme");
    let call = world.send(request.body(Body::empty()).unwrap());
    let is_told = async {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        world.install("globex", |install| {
            install["metadata"]["uid"] = json!("0e1c2a1e-6a53-4a8e-9b7e-0d8a4f4d3c11");
            install["status"]["host"] = json!(VICTIM);
            install["status"]["routes"] = json!([{ "host": VICTIM, "contentHash": HASH }]);
        });
    };
    let (answer, ()) = tokio::join!(call, is_told);
    assert_eq!(answer.refusal(), (503, "NotReady".into()));
    assert!(world.runner.seen().is_empty());
    // From now on it is known whose it is.
    let request = to("GET", "/notes", VICTIM, "alice").header("x-annex-workspace", "acme");
    let refused = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(refused.refusal().1, "WorkspaceMismatch");
}

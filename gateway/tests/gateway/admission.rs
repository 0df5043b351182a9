//! Who may call: workspace, identity, right.

use axum::{
    body::Body,
    http::{Request, header::HOST as HOST_HEADER},
};
use serde_json::json;

use crate::support::{ACCOUNT, EXTENSION, GATEWAY, HOST, Options, REMEMBERED, World, to};

/// Asks for `/notes`.
async fn ask(world: &World, host: &str, workspace: &str, token: &str) -> (u16, String) {
    let mut request = to("GET", "/notes", host, token);
    if !workspace.is_empty() {
        request = request.header("x-annex-workspace", workspace);
    }
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    if answer.status == 200 { (200, String::new()) } else { answer.refusal() }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

const OK: (u16, String) = (200, String::new());

#[tokio::test]
async fn the_workspace_is_what_host_header_and_token_agree_on() {
    let world = World::new().await;
    // Each alone.
    assert_eq!(ask(&world, HOST, "", "alice").await, OK);
    assert_eq!(ask(&world, GATEWAY, "acme", "alice").await, OK);
    assert_eq!(ask(&world, GATEWAY, "", "account-of-acme").await, OK);
    assert_eq!(ask(&world, GATEWAY, "", "alice").await, refused(400, "WorkspaceUnknown"));
    assert_eq!(ask(&world, GATEWAY, "", "").await, refused(400, "WorkspaceUnknown"));
    // Together.
    assert_eq!(ask(&world, HOST, "acme", "account-of-acme").await, OK);
    for (host, workspace, token) in [
        (HOST, "globex", "alice"),
        (HOST, "globex", "account-of-acme"),
        (HOST, "globex", "account-of-globex"),
        (HOST, "", "account-of-globex"),
        (GATEWAY, "acme", "account-of-globex"),
        (GATEWAY, "globex", "account-of-acme"),
        (HOST, "globex", ""),
    ] {
        let answer = ask(&world, host, workspace, token).await;
        assert_eq!(answer, refused(400, "WorkspaceMismatch"), "{host} {workspace} {token}");
    }
    for bad in ["root:acme", "*", "../acme", "a b"] {
        assert_eq!(ask(&world, GATEWAY, bad, "alice").await, refused(400, "MalformedRequest"), "{bad}");
    }
    assert_eq!(world.runner.seen().len(), 4);
}

#[tokio::test]
async fn a_namesake_of_another_workspace_is_nobody_here() {
    let world = World::new().await;
    // kcp, as this double, may know both by one name; and the other workspace has the extension, too.
    world.kcp.allow("globex", ACCOUNT, "");
    for (host, workspace) in [(HOST, ""), (GATEWAY, "acme"), (HOST, "acme")] {
        let answer = ask(&world, host, workspace, "account-of-globex").await;
        assert_eq!(answer, refused(400, "WorkspaceMismatch"));
    }
    assert!(world.kcp.asked().is_empty(), "it is not even asked what they may");
    assert!(world.runner.seen().is_empty());
    assert_eq!(ask(&world, HOST, "", "account-of-acme").await, OK);
}

#[tokio::test]
async fn all_that_kcp_says_of_somebody_is_passed_on_in_the_tenants_workspace() {
    let world = World::new().await;
    assert_eq!(ask(&world, HOST, "", "alice").await, OK);
    let (cluster, asked) = world.kcp.asked().pop().unwrap();
    assert_eq!(cluster, "acme");
    assert_eq!((&asked["user"], &asked["uid"]), (&json!("alice"), &json!("u-alice")));
    assert_eq!(
        (&asked["groups"], &asked["extra"]),
        (&json!(["people"]), &json!({ "example.com/of": ["one"] }))
    );
    let attributes = json!({
        "group": "annex.sh", "resource": "installs", "subresource": "invoke", "verb": "create",
        "namespace": "default", "name": "hello",
    });
    assert_eq!(asked["resourceAttributes"], attributes);
}

#[tokio::test]
async fn without_a_good_token_there_is_nothing() {
    let world = World::new().await;
    assert_eq!(ask(&world, HOST, "", "").await, refused(401, "Unauthenticated"));
    let unknown = world.get("/notes", "mallory").await;
    assert_eq!(unknown.refusal(), refused(401, "Unauthenticated"));
    assert_eq!(unknown.header("www-authenticate"), "Bearer");
    assert!(!unknown.text().contains("mallory"));
    for value in ["Basic YTpi", "Bearer", "alice", ""] {
        let request =
            to("GET", "/notes", HOST, "").header("authorization", value).body(Body::empty()).unwrap();
        assert_eq!(world.send(request).await.refusal(), refused(401, "Unauthenticated"), "{value:?}");
    }
    let twice = to("GET", "/notes", HOST, "alice")
        .header("authorization", "Bearer alice")
        .body(Body::empty())
        .unwrap();
    assert_eq!(world.send(twice).await.refusal(), refused(401, "Unauthenticated"));
    assert!(world.runner.seen().is_empty());
}

#[tokio::test]
async fn who_may_not_call_learns_nothing_of_what_is_there() {
    let world = World::new().await;
    let forbidden = world.get("/notes", "bob").await;
    assert_eq!(forbidden.refusal(), refused(403, "Forbidden"));
    // An extension that is not there, a path that is none, an install that is not ready: all the same.
    let request = |path: &str, token: &str| {
        let request = Request::get(path).header(HOST_HEADER, GATEWAY).header("x-annex-workspace", "acme");
        let request = if token.is_empty() {
            request
        } else {
            request.header("authorization", format!("Bearer {token}"))
        };
        request.body(Body::empty()).unwrap()
    };
    let absent = "/api/ext/com.example.absent/notes";
    assert_eq!(world.send(request(absent, "bob")).await.body, forbidden.body);
    assert_eq!(world.get("/nothing", "bob").await.body, forbidden.body);
    let anonymous = world.get("/notes", "").await;
    assert_eq!(world.send(request(absent, "")).await.body, anonymous.body);
    world.install("acme", |install| install["status"]["routes"] = json!([]));
    world.install("acme", |install| install["status"] = json!({}));
    let here = format!("/api/ext/{EXTENSION}/notes");
    assert_eq!(world.send(request(&here, "bob")).await.body, forbidden.body);
    assert_eq!(world.send(request(&here, "")).await.body, anonymous.body);
    // Who may call all of the workspace's extensions is told.
    world.kcp.allow("acme", ACCOUNT, "");
    assert_eq!(world.send(request(absent, "account-of-acme")).await.refusal(), refused(404, "NotInstalled"));
    assert!(world.runner.seen().is_empty());
}

#[tokio::test]
async fn on_an_installs_own_host_there_is_no_other() {
    let world = World::new().await;
    world.install("acme", |install| {
        install["metadata"] = json!({ "name": "other", "namespace": "default", "uid": "uid-other" });
        install["spec"]["extension"] = json!("com.example.other");
        install["status"]["routes"] = json!([]);
    });
    world.kcp.allow("acme", "alice", "");
    let request = Request::get("/api/ext/com.example.other/notes")
        .header("host", HOST)
        .header("authorization", "Bearer alice")
        .body(Body::empty())
        .unwrap();
    assert_eq!(world.send(request).await.refusal(), refused(404, "NotInstalled"));
}

#[tokio::test]
async fn only_what_the_install_lists_is_public() {
    let world = World::new().await;
    world.install("acme", |install| {
        install["spec"]["public"] = json!(["GET /notes/{id}", "DELETE /notes", "GET /nothing"]);
    });
    assert_eq!(world.get("/notes/7", "").await.status, 200);
    assert!(world.kcp.asked().is_empty() && world.kcp.reviews() == 0);
    for (method, path) in [("GET", "/notes"), ("POST", "/notes"), ("DELETE", "/notes"), ("GET", "/nothing")] {
        let answer = world.send(to(method, path, HOST, "").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.refusal(), refused(401, "Unauthenticated"), "{method} {path}");
    }
    // No way from there to another, and no identity is better than one that is not good.
    assert_eq!(world.get("/notes/%2e%2e", "").await.refusal(), refused(400, "MalformedRequest"));
    assert_eq!(world.get("/notes/7", "mallory").await.refusal(), refused(401, "Unauthenticated"));
    assert_eq!(world.runner.seen().len(), 1);
}

#[tokio::test]
async fn what_kcp_said_holds_for_some_seconds_and_no_longer() {
    let world = World::new().await;
    for _ in 0..5 {
        assert_eq!(ask(&world, HOST, "", "alice").await, OK);
        assert_eq!(ask(&world, HOST, "", "bob").await, refused(403, "Forbidden"));
    }
    assert_eq!((world.kcp.asked().len(), world.kcp.reviews()), (2, 2), "asked once of each");
    // kubectl delete rolebinding; kubectl create rolebinding.
    world.kcp.take_back("acme", "alice", "hello");
    world.kcp.allow("acme", "bob", "hello");
    assert_eq!(ask(&world, HOST, "", "alice").await, OK, "it is not asked again yet");
    pass(REMEMBERED).await;
    assert_eq!(ask(&world, HOST, "", "alice").await, refused(403, "Forbidden"));
    assert_eq!(ask(&world, HOST, "", "bob").await, OK);
    assert_eq!((world.kcp.asked().len(), world.kcp.reviews()), (4, 4));
}

/// The clock that decisions go by, and nothing else, is that much later.
async fn pass(time: std::time::Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_kcp_that_does_not_answer_lets_nobody_in() {
    let world = World::new().await;
    assert_eq!(ask(&world, HOST, "", "alice").await, OK);
    world.kcp.set_down(true);
    assert_eq!(ask(&world, HOST, "", "alice").await, OK, "what it said still holds");
    pass(REMEMBERED).await;
    let refused_answer = world.get("/notes", "alice").await;
    assert_eq!(refused_answer.refusal(), refused(503, "KcpUnavailable"));
    assert!(!refused_answer.header("retry-after").is_empty());
    assert_eq!(world.runner.seen().len(), 2);
}

#[tokio::test]
async fn before_all_is_known_what_is_unknown_may_exist() {
    let world = World::with(Options { synced: false, ..Options::default() }).await;
    assert_eq!(ask(&world, HOST, "", "alice").await, OK);
    assert_eq!(ask(&world, GATEWAY, "globex", "alice").await, refused(503, "NotSynced"));
}

#[tokio::test]
async fn a_request_has_one_host() {
    let world = World::new().await;
    let malformed = refused(400, "MalformedRequest");
    let two = to("GET", "/notes", HOST, "alice").header("host", GATEWAY).body(Body::empty()).unwrap();
    assert_eq!(world.send(two).await.refusal(), malformed);
    for bad in ["", "user@acme--hello.apps.test", "acme hello"] {
        assert_eq!(ask(&world, bad, "", "alice").await, malformed, "{bad:?}");
    }
    let absolute = Request::get(format!("http://{GATEWAY}/api/ext/{EXTENSION}/notes"))
        .header("host", HOST)
        .header("authorization", "Bearer alice")
        .body(Body::empty())
        .unwrap();
    assert_eq!(world.send(absolute).await.refusal(), malformed);
    for same in ["ACME--Hello.apps.test:8443", "acme--hello.apps.test."] {
        assert_eq!(ask(&world, same, "", "alice").await, OK, "{same}");
    }
}

#[tokio::test]
async fn what_does_not_answer_says_why_in_a_word() {
    let world = World::new().await;
    let tenant = |suspended| {
        let spec = annex_apis::TenantSpec { suspended, ..Default::default() };
        world.app.catalog.tenants.put(annex_apis::Tenant::new("acme", spec));
    };
    tenant(true);
    assert_eq!(ask(&world, HOST, "", "alice").await, refused(403, "TenantSuspended"));
    tenant(false);
    let condition = |status: &str, reason: &str| json!([{ "type": "Ready", "status": status, "reason": reason, "message": "m", "lastTransitionTime": "2026-11-03T12:00:00Z" }]);
    for (reason, told) in
        [("Suspended", "Suspended"), ("RunnerUnreachable", "RunnerUnreachable"), ("a\nb", "NotReady")]
    {
        world.install("acme", |install| {
            install["status"] = json!({ "conditions": condition("False", reason) });
        });
        let request = to("GET", "/notes", GATEWAY, "alice").header("x-annex-workspace", "acme");
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.refusal(), refused(503, "NotReady"));
        assert!(answer.text().contains(told) && !answer.header("retry-after").is_empty(), "{answer:?}");
    }
    world.install("acme", |install| install["metadata"]["deletionTimestamp"] = json!("2026-11-03T12:00:00Z"));
    assert_eq!(ask(&world, HOST, "", "alice").await, refused(503, "NotReady"));
    assert!(world.runner.seen().is_empty());
    // Suspended means that nothing is changed: what is installed goes on answering.
    world.install("acme", |install| {
        install["spec"]["suspend"] = json!(true);
        install["status"]["conditions"] = condition("True", "Suspended");
    });
    assert_eq!(ask(&world, HOST, "", "alice").await, OK);
    // And so does what was installed before a newer version that is refused.
    world
        .install("acme", |install| install["status"]["conditions"] = condition("False", "NoMatchingVersion"));
    assert_eq!(ask(&world, HOST, "", "alice").await, OK);
}

//! `domain` and `explain`. The API server is a double that knows a few objects.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::Path as UrlPath;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Ended, kubeconfig, run, status};

/// A double of a workspace's API server, and a kubeconfig for it whose context has namespace `team`.
struct Workspace {
    kubeconfig: PathBuf,
}

impl Workspace {
    async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}/clusters/root:acme", listener.local_addr().unwrap());
        let path = "/clusters/root:acme/apis/annex.sh/v1alpha1/namespaces/{namespace}/{plural}/{name}";
        let router = Router::new().route(path, get(object));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { kubeconfig: kubeconfig(name, &server) }
    }

    async fn explain(&self, arguments: &[&str]) -> Ended {
        explain(&self.kubeconfig, arguments).await
    }
}

async fn explain(kubeconfig: &Path, arguments: &[&str]) -> Ended {
    let mut all = vec!["explain", "--kubeconfig", kubeconfig.to_str().unwrap()];
    all.extend(arguments);
    run(&all).await
}

async fn object(UrlPath((namespace, plural, name)): UrlPath<(String, String, String)>) -> Response {
    let ready = |status: &str, reason: &str| {
        axum::Json(json!({
            "apiVersion": "annex.sh/v1alpha1",
            "kind": "Install",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"extension": "com.example.hello", "version": "*"},
            "status": {"conditions": [{"type": "Ready", "status": status, "reason": reason, "message": plural}]},
        }))
        .into_response()
    };
    match name.as_str() {
        "fine" => ready("True", "Ready"),
        "broken" => ready("False", "NoMatchingVersion"),
        "secret" => status(403, "Forbidden", "alice cannot get it", json!({"name": name})),
        "stranger" => status(401, "Unauthorized", "Unauthorized", Value::Null),
        "busy" => status(429, "TooManyRequests", "try later", Value::Null),
        "unserved" => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
        "unbound" => status(
            404,
            "NotFound",
            "the server could not find the requested resource",
            json!({"kind": plural}),
        ),
        _ => status(404, "NotFound", "not found", json!({"name": name, "kind": plural})),
    }
}

#[tokio::test]
async fn domain_prints_the_host() {
    let ended = run(&["domain", "acme", "hello", "apps.localhost"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "acme--hello.apps.localhost\n"), "{}", ended.stderr);
    let ended = run(&["domain", "--", "-Acme-", "--hello", "apps.localhost"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "acme--hello.apps.localhost\n"), "{}", ended.stderr);
}

#[tokio::test]
async fn domain_refuses_with_2_and_names_the_part() {
    for (arguments, part) in [
        (["domain", "--", "---", "hello", "apps.localhost"], "error: tenant: "),
        (["domain", "--", "acme", "", "apps.localhost"], "error: extension: "),
        (["domain", "--", "acme", "hello", "localhost"], "error: root: "),
    ] {
        let ended = run(&arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
        assert!(ended.stderr.starts_with(part), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn wrong_usage_is_2_and_help_tells_the_codes() {
    for arguments in [
        &["domain", "acme", "hello"] as &[&str],
        &["domain", "-acme", "hello", "apps.localhost"],
        &["explain", "hello"],
        &["explain", "pod/hello"],
        &["explain", "install/hello", "-o", "yaml"],
        &["nothing"],
        &[],
    ] {
        assert_eq!(run(arguments).await.code, 2, "{arguments:?}");
    }
    for command in ["domain", "explain"] {
        let ended = run(&[command, "--help"]).await;
        assert_eq!(ended.code, 0);
        assert!(ended.stdout.contains("Usage: kubectl annex ") && ended.stdout.contains("Exit codes: 0"));
    }
}

#[tokio::test]
async fn explain_exits_by_readiness() {
    let workspace = Workspace::start("readiness").await;
    let ended = workspace.explain(&["install/fine"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.starts_with("install/fine in namespace team\n"), "the context's: {}", ended.stdout);

    let ended = workspace.explain(&["installs/broken", "-n", "other", "--context", "acme"]).await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stdout.starts_with("install/broken in namespace other\n"), "{}", ended.stdout);
    let next = "/clusters/root:annex --kubeconfig ";
    assert!(ended.stdout.contains(next) && ended.stdout.ends_with(" --context acme\n"), "{}", ended.stdout);

    let ended = workspace.explain(&["environment/fine", "-o", "json"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["type"], "managedenvironment");
    assert_eq!(report["conditions"][0]["message"], "managedenvironments", "what was asked for");
}

#[tokio::test]
async fn what_cannot_be_read_is_3_and_says_why() {
    let workspace = Workspace::start("unreadable").await;
    for (name, says) in [
        ("install/absent", "install/absent is not there in namespace team of http://127.0.0.1:"),
        ("install/unserved", "serves no annex.sh/v1alpha1"),
        ("install/unbound", "serves no annex.sh/v1alpha1"),
        ("install/secret", "forbidden at http://"),
        ("install/stranger", "does not know these credentials"),
        ("install/busy", "refused: try later"),
    ] {
        let ended = workspace.explain(&[name]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (3, ""), "{name}");
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(says), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[tokio::test]
async fn no_server_and_no_kubeconfig_are_3() {
    // Bound, so that nobody else has the port, and then let go.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let ended = explain(&kubeconfig(scheme, &format!("{scheme}://{free}")), &["install/x"]).await;
        assert_eq!(ended.code, 3);
        assert!(
            ended.stderr.starts_with(&format!("error: cannot reach {scheme}://{free}: client error")),
            "{}",
            ended.stderr
        );
    }

    let ended = run(&["explain", "install/x"]).await;
    assert_eq!(ended.code, 3);
    assert!(
        ended.stderr.starts_with("error: no kubeconfig at /nonexistent/.kube/config: "),
        "{}",
        ended.stderr
    );

    let ended = explain(Path::new("/nonexistent/file"), &["install/x"]).await;
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.starts_with("error: no kubeconfig at /nonexistent/file: "), "{}", ended.stderr);

    let workspace = Workspace::start("contexts").await;
    let ended = workspace.explain(&["install/x", "--context", "globex"]).await;
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("the kubeconfig has no context globex"), "{}", ended.stderr);
}

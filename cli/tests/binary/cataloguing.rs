//! `catalog`, `deprecate` and `yank`. The API server is a double with one extension.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, patch};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Ended, kubeconfig, run, status};

/// A double of the provider's workspace, and a kubeconfig whose context is a tenant's.
struct Provider {
    kubeconfig: String,
    patched: Arc<Mutex<Option<(String, String, Value)>>>,
}

#[derive(serde::Deserialize)]
struct Page {
    #[serde(rename = "continue")]
    token: Option<String>,
}

impl Provider {
    async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}/clusters/root:acme", listener.local_addr().unwrap());
        let patched: Arc<Mutex<_>> = Arc::default();
        let base = "/clusters/root:annex/apis/annex.sh/v1alpha1";
        let router = Router::new()
            .route(&format!("{base}/extensions"), get(|| async { axum::Json(extensions()).into_response() }))
            .route(&format!("{base}/extensionversions"), get(versions))
            .route(&format!("{base}/extensionversions/{{name}}"), patch(patch_version))
            .with_state(Arc::clone(&patched));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let path = kubeconfig(&format!("provider-{name}"), &server);
        Self { kubeconfig: path.to_str().unwrap().to_owned(), patched }
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        run(&[arguments, &["--kubeconfig", &self.kubeconfig]].concat()).await
    }
}

fn list(kind: &str, items: &[Value], token: &str) -> Value {
    let metadata = json!({"resourceVersion": "1", "continue": token});
    json!({"apiVersion": "annex.sh/v1alpha1", "kind": format!("{kind}List"), "metadata": metadata, "items": items})
}

fn extensions() -> Value {
    let spec = json!({"displayName": "Notes", "publisher": "example.com"});
    list("Extension", &[json!({"metadata": {"name": "com.example.notes"}, "spec": spec})], "")
}

fn version(version: &str, yanked: bool) -> Value {
    json!({
        "metadata": {"name": format!("com.example.notes-{version}"), "creationTimestamp": "2026-11-03T12:00:00Z"},
        "spec": {
            "extension": "com.example.notes", "version": version, "publisher": "example.com",
            "contentHash": format!("sha256:{}", "0a".repeat(32)), "capabilities": ["storage.kv"], "yanked": yanked,
        },
        "status": {"conditions": [{
            "type": "Verified", "status": "True", "reason": "Verified", "message": "",
            "lastTransitionTime": "2026-11-03T12:00:00Z",
        }]},
    })
}

/// In two pages.
async fn versions(Query(page): Query<Page>) -> Response {
    let page = match page.token.as_deref() {
        None => list("ExtensionVersion", &[version("1.0.0", false)], "next"),
        Some("next") => list("ExtensionVersion", &[version("1.10.0", true), version("1.9.0", false)], ""),
        Some(_) => return status(410, "Expired", "too old", Value::Null),
    };
    axum::Json(page).into_response()
}

type Patched = Arc<Mutex<Option<(String, String, Value)>>>;

async fn patch_version(
    State(patched): State<Patched>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    let kind = headers["content-type"].to_str().unwrap().to_owned();
    let object = match name.as_str() {
        "com.example.notes-1.0.0" => axum::Json(version("1.0.0", true)).into_response(),
        "com.example.notes-2.0.0" => status(403, "Forbidden", "alice cannot patch", Value::Null),
        "com.example.notes-3.0.0-a" => status(422, "Invalid", "version cannot change", Value::Null),
        _ => status(404, "NotFound", "not found", Value::Null),
    };
    *patched.lock().unwrap() = Some((name, kind, body));
    object
}

#[tokio::test]
async fn the_catalog_is_read_from_the_providers_workspace() {
    let provider = Provider::start("list").await;
    let table = provider.run(&["catalog"]).await.done();
    assert_eq!(
        table,
        "NAME                VERSION   PUBLISHER     CAPABILITIES   VERIFIED   STATE\n\
         com.example.notes   1.9.0     example.com   storage.kv     True       <none>\n\
         com.example.notes   1.0.0     example.com   storage.kv     True       <none>\n"
    );
    let wide = provider.run(&["catalog", "--all", "-o", "wide"]).await.done();
    assert!(wide.lines().nth(1).unwrap().contains("1.10.0") && wide.contains("yanked"), "{wide}");
    let json = provider.run(&["catalog", "com.example.notes", "-o", "json"]).await.done();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["extensions"][0]["versions"][0]["version"], "1.9.0");
    assert_eq!(json["extensions"][0]["displayName"], "Notes");
    let yaml = provider.run(&["catalog", "-o", "yaml"]).await.done();
    assert!(yaml.contains("displayName: Notes"), "{yaml}");

    provider
        .run(&["catalog", "com.example.other"])
        .await
        .refused(1, "com.example.other is not in the catalog");
    provider.run(&["catalog", "--workspace", "root:other"]).await.refused(3, "--workspace");
    assert_eq!(provider.run(&["catalog", "--workspace", "../x"]).await.code, 2);
    assert_eq!(provider.run(&["catalog", "Notes"]).await.code, 2);
}

#[tokio::test]
async fn a_version_is_marked_with_a_patch_that_names_it() {
    let provider = Provider::start("mark").await;
    let taken = || provider.patched.lock().unwrap().take().unwrap();
    let notes = "com.example.notes";
    let said = provider.run(&["yank", notes, "1.0.0"]).await.done();
    assert_eq!(said, "extensionversion.annex.sh/com.example.notes-1.0.0 yanked\n");
    let merge = "application/merge-patch+json".to_owned();
    let name = "com.example.notes-1.0.0".to_owned();
    let spec = json!({"spec": {"version": "1.0.0", "yanked": true}});
    assert_eq!(taken(), (name, merge, spec));
    provider.run(&["yank", notes, "1.0.0", "--undo"]).await.done();
    assert_eq!(taken().2["spec"]["yanked"], false);

    provider.run(&["deprecate", notes, "1.0.0", "--message", "take 2"]).await.done();
    let (_, _, body) = taken();
    assert_eq!(body["spec"]["deprecated"], true);
    assert_eq!(body["metadata"]["annotations"]["annex.sh/deprecation-message"], "take 2");
    let said = provider.run(&["deprecate", notes, "1.0.0", "--undo"]).await.done();
    assert!(said.ends_with(" no longer deprecated\n"), "{said}");
    assert_eq!(taken().2["metadata"]["annotations"]["annex.sh/deprecation-message"], Value::Null);
}

#[tokio::test]
async fn what_cannot_be_marked_is_said_why() {
    let provider = Provider::start("unmarked").await;
    let notes = "com.example.notes";
    provider.run(&["yank", notes, "2.0.0"]).await.refused(3, "alice cannot patch");
    provider.run(&["yank", notes, "3.0.0+a"]).await.refused(1, "version cannot change");
    provider.run(&["yank", notes, "4.0.0"]).await.refused(1, "kubectl annex catalog com.example.notes --all");
    for wrong in [
        &["yank", notes, "latest"] as &[&str],
        &["yank", "notes", "1.0.0"],
        &["yank", notes],
        &["deprecate", notes, "1.0.0", "--message", "a\nb"],
        &["deprecate", notes, "1.0.0", "--message", "a", "--undo"],
    ] {
        assert_eq!(provider.run(wrong).await.code, 2, "{wrong:?}");
    }
}

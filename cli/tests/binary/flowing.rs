//! `plan`, `history`, `retry` and `rollback`. The API server is a double with a tenant's workspace and the provider's.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path as UrlPath, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Ended, kubeconfig, run, status};

/// Query and body of what was sent to be changed.
type Changes = Arc<Mutex<Vec<(String, Value)>>>;

struct Double {
    kubeconfig: String,
    changes: Changes,
}

impl Double {
    async fn start(name: &str) -> Self {
        Self::with(name, get(installs)).await
    }

    /// One that gives this for the Installs of the whole workspace.
    async fn with(name: &str, installs_of_all: MethodRouter<Changes>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}/clusters/root:acme", listener.local_addr().unwrap());
        let changes = Changes::default();
        let api = |workspace: &str| format!("/clusters/root:{workspace}/apis/annex.sh/v1alpha1");
        let router = Router::new()
            .route(&format!("{}/extensionversions", api("annex")), get(versions))
            .route(&format!("{}/installs", api("acme")), installs_of_all)
            .route(&format!("{}/namespaces/team/installs", api("acme")), get(installs).post(create))
            .route(&format!("{}/namespaces/team/installs/{{name}}", api("acme")), get(read).patch(change))
            .with_state(Arc::clone(&changes));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let path = kubeconfig(&format!("flows-{name}"), &server);
        Self { kubeconfig: path.to_str().unwrap().to_owned(), changes }
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        run(&[arguments, &["--kubeconfig", &self.kubeconfig]].concat()).await
    }

    fn changed(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.changes.lock().unwrap())
    }
}

fn hash(of: &str) -> String {
    format!("sha256:{}", of.repeat(32))
}

async fn versions() -> Response {
    let version = |version: &str, content: &str| {
        json!({
            "metadata": {"name": format!("com.example.notes-{version}")},
            "spec": {
                "extension": "com.example.notes", "version": version, "publisher": "example.com",
                "contentHash": hash(content), "lifecycle": {"upgrade": "on-upgrade"},
            },
        })
    };
    list("ExtensionVersion", &[version("1.0.0", "0a"), version("2.0.0", "0b")])
}

async fn installs() -> Response {
    list("Install", &[install("fine", "FINISHED")])
}

fn list(kind: &str, items: &[Value]) -> Response {
    let kind = format!("{kind}List");
    axum::Json(json!({"apiVersion": "annex.sh/v1alpha1", "kind": kind, "metadata": {}, "items": items}))
        .into_response()
}

/// One with version 2.0.0, before which 1.0.0 was there.
fn install(name: &str, status: &str) -> Value {
    let (started, finished) = ("2026-11-23T12:00:00Z", "2026-11-23T12:01:00Z");
    let host = "acme--notes.apps.localhost";
    json!({
        "apiVersion": "annex.sh/v1alpha1",
        "kind": "Install",
        "metadata": {"name": name, "namespace": "team", "resourceVersion": "7", "generation": 2},
        "spec": {"extension": "com.example.notes", "version": "^2"},
        "status": {
            "installedVersion": "2.0.0", "installedFor": "^2", "contentHash": hash("0b"), "host": host,
            "routes": [{"host": host, "contentHash": hash("0b")}], "runnerRef": {"mode": "direct"},
            "modules": [{"name": "main", "version": "2.0.0", "digest": hash("0b")}],
            "flow": {
                "id": "f", "action": "Upgrade", "status": status, "from": "1.0.0", "to": "2.0.0",
                "startedAt": started, "finishedAt": finished,
                "stages": [{"name": "Resolve", "status": "FINISHED", "startedAt": started, "finishedAt": finished}],
            },
            "history": [{
                "id": "f", "action": "Upgrade", "status": status, "from": "1.0.0", "to": "2.0.0",
                "startedAt": started, "finishedAt": finished,
            }],
        },
    })
}

async fn read(UrlPath(name): UrlPath<String>) -> Response {
    match name.as_str() {
        "fine" | "busy" | "stirred" => axum::Json(install(&name, "FINISHED")).into_response(),
        "failed" => axum::Json(install(&name, "FAILED")).into_response(),
        _ => status(404, "NotFound", "not found", json!({"name": name, "kind": "installs"})),
    }
}

async fn create(State(changes): State<Changes>, RawQuery(query): RawQuery, body: String) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    changes.lock().unwrap().push((query.unwrap_or_default(), body.clone()));
    if body["spec"].get("nonsense").is_some() {
        return status(422, "Invalid", "spec.nonsense: not allowed", Value::Null);
    }
    axum::Json(body).into_response()
}

async fn change(
    State(changes): State<Changes>,
    UrlPath(name): UrlPath<String>,
    RawQuery(query): RawQuery,
    body: String,
) -> Response {
    let body: Value = serde_json::from_str(&body).unwrap();
    let changes_so_far = {
        let mut changes = changes.lock().unwrap();
        changes.push((query.unwrap_or_default(), body.clone()));
        changes.len()
    };
    if name == "busy" || name == "stirred" && changes_so_far < 3 {
        return status(409, "Conflict", "the object has been modified", Value::Null);
    }
    let mut changed = install(&name, "FINISHED");
    if let Some(version) = body.pointer("/spec/version") {
        changed["spec"]["version"] = version.clone();
    }
    axum::Json(changed).into_response()
}

fn manifest(name: &str, spec: &Value) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.install.yaml"));
    let object = json!({
        "apiVersion": "annex.sh/v1alpha1", "kind": "Install", "metadata": {"name": name}, "spec": spec,
    });
    std::fs::write(&path, object.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn history_shows_the_flows_of_an_install() {
    let double = Double::start("history").await;
    let text = double.run(&["history", "install/fine"]).await.done();
    assert!(
        text.starts_with("install/fine in namespace team\n\nUpgrade 1.0.0 → 2.0.0: FINISHED, "),
        "{text}"
    );
    let json = double.run(&["history", "install/failed", "-o", "json"]).await.done();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["flow"]["status"], &json["history"][0]["id"]), (&json!("FAILED"), &json!("f")));
    double.run(&["history", "install/none"]).await.refused(3, "install/none is not there in namespace team");
    assert_eq!(double.run(&["history", "environment/x"]).await.code, 2);
    assert_eq!(double.changed(), []);
}

#[tokio::test]
async fn retry_is_asked_for_only_where_something_failed() {
    let double = Double::start("retry").await;
    let text = double.run(&["retry", "install/fine"]).await.done();
    assert_eq!(text, "install/fine: nothing has failed, so nothing is begun again\n");
    assert_eq!(double.changed(), []);
    let text = double.run(&["retry", "install/failed"]).await.done();
    assert!(text.contains("Upgrade 1.0.0 → 2.0.0, which is FAILED, is begun again\n"), "{text}");
    assert!(text.contains("\n  kubectl annex history install/failed -n team --kubeconfig "), "{text}");
    let [(_, patch)] = double.changed().try_into().unwrap();
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    let at = patch["metadata"]["annotations"]["annex.sh/retry"].as_str().unwrap();
    assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at}");
    assert_eq!(patch.get("spec"), None);
}

#[tokio::test]
async fn rollback_sets_one_version_and_not_what_is_installed() {
    let double = Double::start("rollback").await;
    let text = double.run(&["rollback", "install/fine"]).await.done();
    assert!(text.starts_with("install/fine: spec.version is now =1.0.0\n"), "{text}");
    let expected = json!({"metadata": {"resourceVersion": "7"}, "spec": {"version": "=1.0.0"}});
    let [(query, patch)] = double.changed().try_into().unwrap();
    assert_eq!((query.contains("dryRun"), patch), (false, expected));

    let given = ["rollback", "install/fine", "--to", "1.5.0", "--dry-run=server"];
    let text = double.run(&given).await.done();
    assert_eq!(text, "install/fine: spec.version would be =1.5.0 (server dry run)\n");
    let [(query, patch)] = double.changed().try_into().unwrap();
    assert!(query.contains("dryRun=All") && patch["spec"]["version"] == "=1.5.0", "{query} {patch}");

    // Its upgrade has failed: what is installed is not what is asked for.
    double.run(&["rollback", "install/failed"]).await.done();
    let [(_, patch)] = double.changed().try_into().unwrap();
    assert_eq!(patch["spec"]["version"], "=2.0.0");
    double.run(&["rollback", "install/fine", "--to", "2.0.0"]).await.refused(1, "2.0.0 is what is installed");
    assert_eq!(double.changed(), []);
    // Who writes the status while a flow is under way may be in between once or twice, and not for ever.
    double.run(&["rollback", "install/stirred"]).await.done();
    assert_eq!(double.changed().len(), 3);
    double.run(&["rollback", "install/busy"]).await.refused(3, "has changed meanwhile; try again");
    assert_eq!(double.changed().len(), 5);
    assert_eq!(double.run(&["rollback", "install/fine", "--to", "^1"]).await.code, 2);
    assert_eq!(double.run(&["rollback", "install/fine", "--dry-run=client"]).await.code, 2);
}

#[tokio::test]
async fn plan_lets_admission_speak_and_changes_nothing() {
    let double = Double::start("plan").await;
    let ended = double.run(&["plan", "install/fine"]).await.done();
    assert!(ended.contains("  nothing to do: com.example.notes, 2.0.0\n"), "{ended}");
    assert_eq!(double.changed(), []);

    let spec = json!({"extension": "com.example.notes", "version": "=1.0.0"});
    let back = double.run(&["plan", "-f", &manifest("fine", &spec)]).await.done();
    assert!(back.contains("  Upgrade of com.example.notes, 2.0.0 → 1.0.0\n"), "{back}");
    assert!(
        back.contains("calls the upgrade handler on-upgrade of the module main (2.0.0 → 1.0.0)\n"),
        "{back}"
    );
    let [(query, patch)] = double.changed().try_into().unwrap();
    assert!(query.contains("dryRun=All") && patch["spec"]["version"] == "=1.0.0", "{query} {patch}");

    // The workspace has an install of the extension already.
    let ended = double.run(&["plan", "-f", &manifest("second", &spec), "-o", "json"]).await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(json["action"], "Install");
    assert_eq!(json["blocked"], json!(["install/fine in namespace team has this extension"]));
    let [(query, _)] = double.changed().try_into().unwrap();
    assert!(query.contains("dryRun=All"), "{query}");
    let gone = double.run(&["plan", "install/fine", "--delete"]).await.done();
    assert!(gone.contains("  Revoke of com.example.notes, 2.0.0 → none\n"), "{gone}");
    assert_eq!(double.changed(), []);
}

#[tokio::test]
async fn who_may_look_into_one_namespace_only_is_told_so() {
    let forbidden = || async { status(403, "Forbidden", "alice cannot list", Value::Null) };
    let double = Double::with("namespaced", get(forbidden)).await;
    let spec = json!({"extension": "com.example.notes", "version": "*"});
    let ended = double.run(&["plan", "-f", &manifest("namespaced", &spec)]).await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(
        ended.stdout.contains("  install/fine in namespace team has this extension\n"),
        "{}",
        ended.stdout
    );
    assert!(ended.stdout.contains("\nNote: you may not list the Installs of other"), "{}", ended.stdout);
}

#[tokio::test]
async fn what_cannot_be_planned_is_said_why() {
    let double = Double::start("unplanned").await;
    let nonsense = json!({"extension": "com.example.notes", "version": "*", "nonsense": 1});
    let file = manifest("nonsense", &nonsense);
    double.run(&["plan", "-f", &file]).await.refused(1, "spec.nonsense: not allowed");
    let spec = json!({"extension": "com.example.notes", "version": "3"});
    let file = manifest("three", &spec);
    double.run(&["plan", "-f", &file]).await.refused(1, "the newest are 2.0.0, 1.0.0");
    let ended = double.run(&["plan", "-f", &file, "-n", "other"]).await;
    assert_eq!(ended.code, 3, "the manifest has no namespace, and the double no such: {}", ended.stderr);
    double.run(&["plan", "-f", "/nonexistent/file"]).await.refused(3, "reading /nonexistent/file failed");
    double.run(&["plan", "install/none"]).await.refused(3, "is not there in namespace team");
    for wrong in
        [&["plan"] as &[&str], &["plan", "install/fine", "-f", &file], &["plan", "-f", &file, "--delete"]]
    {
        assert_eq!(double.run(wrong).await.code, 2, "{wrong:?}");
    }
}

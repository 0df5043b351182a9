//! `publish`. The registry is a double that keeps what it was sent.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Ended, Publisher, kubeconfig};

type Received = (HeaderMap, Vec<u8>);

/// A registry that gives one answer to all.
struct Registry {
    url: String,
    kubeconfig: String,
    received: Arc<Mutex<Option<Received>>>,
}

#[derive(Clone)]
struct Answer {
    status: u16,
    body: String,
    /// Before the upload is read.
    early: bool,
    received: Arc<Mutex<Option<Received>>>,
}

impl Registry {
    async fn start(name: &str, status: u16, body: Value, early: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::default();
        let answer = Answer { status, body: body.to_string(), early, received: Arc::clone(&received) };
        let router = Router::new().route("/api/bundles", post(bundles)).with_state(answer);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let kubeconfig = kubeconfig(&format!("registry-{name}"), "https://kcp.invalid/clusters/root:acme");
        Self { url, kubeconfig: kubeconfig.to_str().unwrap().to_owned(), received }
    }

    async fn publish(&self, publisher: &Publisher, more: &[&str]) -> Ended {
        let arguments =
            ["publish", "notes.tar.zst", "--registry", &self.url, "--kubeconfig", &self.kubeconfig];
        publisher.run(&[arguments.as_slice(), more].concat()).await
    }
}

async fn bundles(State(answer): State<Answer>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !answer.early {
        let body = to_bytes(body, 16 << 20).await.unwrap().to_vec();
        *answer.received.lock().unwrap() = Some((parts.headers, body));
    } else {
        // As the registry does: who is cut off while sending does not see the answer.
        tokio::spawn(body.into_data_stream().for_each(async |_| {}));
    }
    let status = StatusCode::from_u16(answer.status).unwrap();
    (status, [("x-request-id", "r1")], Body::from(answer.body)).into_response()
}

fn published(created: bool) -> Value {
    json!({
        "name": "com.example.notes-0.1.0", "extension": "com.example.notes", "version": "0.1.0",
        "publisher": "example.com", "contentHash": "sha256:00", "archive": {"digest": "sha256:01", "size": 7},
        "capabilities": [], "keyId": "sha256:02", "publishedAt": "2026-11-03T12:00:00Z",
        "created": created, "createdExtension": created, "new": true,
    })
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[tokio::test]
async fn both_files_are_sent_as_who_the_kubeconfig_says() {
    let publisher = Publisher::signed().await;
    let registry = Registry::start("ok", 201, published(true), false).await;
    let said = registry.publish(&publisher, &[]).await.done();
    assert!(said.starts_with("published com.example.notes 0.1.0 of example.com\n"), "{said}");
    assert!(said.contains("extensionversion.annex.sh/com.example.notes-0.1.0\n"), "{said}");
    assert!(said.contains("com.example.notes is new in the catalog"), "{said}");

    let (headers, body) = registry.received.lock().unwrap().take().unwrap();
    assert_eq!(headers[AUTHORIZATION], "Bearer t0ken");
    assert!(headers[CONTENT_TYPE].to_str().unwrap().starts_with("multipart/form-data; boundary="));
    assert_eq!(headers["content-length"], body.len().to_string().as_str());
    let signature = find(&body, b"name=\"signature\"").unwrap();
    let archive = find(&body, b"name=\"archive\"").unwrap();
    assert!(signature < archive, "the signature comes first");
    assert!(find(&body, &publisher.read("notes.tar.zst")).is_some_and(|at| at > archive));
    assert!(
        find(&body, &publisher.read("notes.tar.zst.sig")).is_some_and(|at| at > signature && at < archive)
    );
}

#[tokio::test]
async fn publishing_again_is_said_to_be() {
    let publisher = Publisher::signed().await;
    let registry = Registry::start("again", 200, published(false), false).await;
    let said = registry.publish(&publisher, &[]).await.done();
    assert!(said.starts_with("was published already: com.example.notes 0.1.0"), "{said}");
    let json = registry.publish(&publisher, &["-o", "json"]).await.done();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["created"], &json["name"]), (&false.into(), &"com.example.notes-0.1.0".into()));
}

#[tokio::test]
async fn a_refusal_has_the_registrys_code_and_words() {
    let publisher = Publisher::signed().await;
    for (status, exit, code, next) in [
        (409, 1, "VersionExists", "count version in manifest.json up"),
        (422, 1, "UntrustedSigner", "has to trust your key"),
        (403, 1, "Forbidden", "b ecause"),
        (401, 3, "Unauthenticated", "--context"),
        (503, 3, "NotSynced", "can be run again (request r1)"),
    ] {
        let body = json!({"code": code, "message": "b\u{1b}ecause"});
        let registry = Registry::start(code, status, body, false).await;
        let ended = registry.publish(&publisher, &[]).await;
        assert!(!ended.stderr.contains('\u{1b}') && ended.stdout.is_empty());
        ended.refused(exit, next);
    }
    let registry = Registry::start("html", 502, json!("<html>"), false).await;
    registry.publish(&publisher, &[]).await.refused(3, "is it one?");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_is_read() {
    let publisher = Publisher::signed().await;
    // Too large for the buffers in between, and too random to be packed.
    let mut seed = 7_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[0]
    })
    .take(24 << 20)
    .collect();
    publisher.write("notes/ui/noise.bin", &noise);
    publisher.bundle("notes.tar.zst").await.done();
    publisher.run(&["sign", "notes.tar.zst", "--key", "my.key"]).await.done();
    let body = json!({"code": "UntrustedSigner", "message": "nobody who signed is trusted"});
    let registry = Registry::start("early", 422, body, true).await;
    registry.publish(&publisher, &[]).await.refused(1, "UntrustedSigner: nobody who signed is trusted");
}

#[tokio::test]
async fn what_cannot_go_well_is_not_sent() {
    let publisher = Publisher::signed().await;
    let registry = Registry::start("unsent", 201, published(true), false).await;
    let publish = |more: &'static [&'static str]| registry.publish(&publisher, more);
    publish(&["--context", "globex"]).await.refused(3, "no context globex");
    publish(&["--certificate-authority", "my.key.pub"]).await.refused(2, "no PEM block CERTIFICATE");
    let plain = publisher.run(&["publish", "notes.tar.zst", "--registry", "http://registry.invalid"]).await;
    assert!(plain.code == 2 && plain.stderr.contains("plain http"), "{}", plain.stderr);
    assert_eq!(publisher.run(&["publish", "notes.tar.zst"]).await.code, 2, "no registry is named");

    publisher.write("no.kubeconfig", br#"{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"https://x"}}],"users":[{"name":"u","user":{}}],"contexts":[{"name":"x","context":{"cluster":"c","user":"u"}}],"current-context":"x"}"#);
    let arguments =
        ["publish", "notes.tar.zst", "--registry", &registry.url, "--kubeconfig", "no.kubeconfig"];
    publisher.run(&arguments).await.refused(3, "no token");

    let archive = publisher.read("notes.tar.zst");
    publisher.write("notes.tar.zst", &archive[..archive.len() - 1]);
    publish(&[]).await.refused(1, "notes.tar.zst: ");
    publisher.write("notes.tar.zst", &archive);
    std::fs::remove_file(publisher.path("notes.tar.zst.sig")).unwrap();
    publish(&[]).await.refused(1, "Unsigned: ");
    assert!(registry.received.lock().unwrap().is_none());
}

#[tokio::test]
async fn the_token_is_what_a_file_or_a_program_gives() {
    let publisher = Publisher::signed().await;
    let registry = Registry::start("token", 201, published(true), false).await;
    publisher.write("token", b"from-file\n");
    let users = [
        (json!({"tokenFile": publisher.path("token")}), "Bearer from-file"),
        (
            json!({"exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "interactiveMode": "Never",
                "args": ["-c", "echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"from-program\"}}'"],
            }}),
            "Bearer from-program",
        ),
    ];
    for (user, expected) in users {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": "https://kcp.invalid"}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        });
        publisher.write("k", config.to_string().as_bytes());
        publisher
            .run(&["publish", "notes.tar.zst", "--registry", &registry.url, "--kubeconfig", "k"])
            .await
            .done();
        let (headers, _) = registry.received.lock().unwrap().take().unwrap();
        assert_eq!(headers[AUTHORIZATION], expected);
    }
}

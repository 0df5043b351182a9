//! A double of kcp: it knows a few people, what they may, and some Secrets. By user name alone, which is how namesakes are mixed up where
//! nobody looks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// Tokens are names. `account-of-CLUSTER` is the ServiceAccount `annex:annex` of that workspace. Who is none of these is unknown.
const PEOPLE: &[&str] = &["alice", "bob"];

#[derive(Clone, Default)]
pub struct Kcp(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Workspace, user, and name of the Install; empty is all of them.
    rights: BTreeSet<(String, String, String)>,
    secrets: BTreeMap<(String, String), Value>,
    installs: BTreeMap<(String, String), Value>,
    asked: Vec<(String, Value)>,
    reviews: usize,
    down: bool,
}

#[derive(Clone)]
struct Of(Kcp, String);

impl Kcp {
    /// As the gateway sees one workspace; the provider's own is `provider`.
    pub fn client(&self, cluster: &str) -> Client {
        let router = Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(token_review))
            .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(access_review))
            .route("/api/v1/namespaces/{namespace}/secrets/{name}", get(secret))
            .route("/apis/annex.sh/v1alpha1/namespaces/{namespace}/installs/{name}", get(install))
            .with_state(Of(self.clone(), cluster.to_owned()));
        let kcp = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (router, down) = (router.clone(), kcp.0.lock().down);
            async move {
                if down {
                    return Err(std::io::Error::other("connection refused"));
                }
                let response = router.oneshot(request.map(Body::new)).await;
                Ok::<_, std::io::Error>(response.unwrap_or_else(|never| match never {}))
            }
        });
        Client::new(service, "default")
    }

    pub fn allow(&self, cluster: &str, user: &str, install: &str) {
        self.0.lock().rights.insert((cluster.into(), user.into(), install.into()));
    }

    pub fn take_back(&self, cluster: &str, user: &str, install: &str) {
        self.0.lock().rights.remove(&(cluster.into(), user.into(), install.into()));
    }

    pub fn set_down(&self, down: bool) {
        self.0.lock().down = down;
    }

    pub fn keep_secret(&self, cluster: &str, name: &str, secret: Value) {
        self.0.lock().secrets.insert((cluster.into(), name.into()), secret);
    }

    /// An Install as it is by now, though the gateway may not have heard of that yet.
    pub fn keep_install(&self, cluster: &str, name: &str, install: Value) {
        self.0.lock().installs.insert((cluster.into(), name.into()), install);
    }

    /// Workspaces and questions of who may do what, as they came.
    pub fn asked(&self) -> Vec<(String, Value)> {
        self.0.lock().asked.clone()
    }

    /// How many tokens were shown.
    pub fn reviews(&self) -> usize {
        self.0.lock().reviews
    }
}

async fn token_review(State(Of(kcp, cluster)): State<Of>, Json(mut question): Json<Value>) -> Response {
    if cluster != "provider" {
        return status(403, "Forbidden");
    }
    kcp.0.lock().reviews += 1;
    let token = question["spec"]["token"].as_str().unwrap_or_default().to_owned();
    question["status"] = if PEOPLE.contains(&token.as_str()) {
        json!({ "authenticated": true, "user": {
            "username": token, "uid": format!("u-{token}"), "groups": ["people"], "extra": { "example.com/of": ["one"] },
        } })
    } else if let Some(home) = token.strip_prefix("account-of-") {
        json!({ "authenticated": true, "user": {
            "username": "system:serviceaccount:annex:annex", "groups": ["system:authenticated"],
            "extra": { "authentication.kcp.io/cluster-name": [home] },
        } })
    } else {
        json!({ "authenticated": false })
    };
    Json(question).into_response()
}

async fn access_review(State(Of(kcp, cluster)): State<Of>, Json(mut question): Json<Value>) -> Json<Value> {
    let mut inner = kcp.0.lock();
    let spec = question["spec"].clone();
    inner.asked.push((cluster.clone(), spec.clone()));
    let attributes = &spec["resourceAttributes"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let is_invoke = attributes["verb"] == "create"
        && attributes["group"] == "annex.sh"
        && attributes["resource"] == "installs"
        && attributes["subresource"] == "invoke";
    let user = text(&spec["user"]);
    let may = |name: &str| inner.rights.contains(&(cluster.clone(), user.clone(), name.to_owned()));
    let allowed = is_invoke && (may("") || may(&text(&attributes["name"])));
    question["status"] = json!({ "allowed": allowed });
    Json(question)
}

async fn secret(State(Of(kcp, cluster)): State<Of>, Path((_, name)): Path<(String, String)>) -> Response {
    let found = kcp.0.lock().secrets.get(&(cluster, name)).cloned();
    found.map_or_else(|| status(404, "NotFound"), |secret| Json(secret).into_response())
}

async fn install(State(Of(kcp, cluster)): State<Of>, Path((_, name)): Path<(String, String)>) -> Response {
    let found = kcp.0.lock().installs.get(&(cluster, name)).cloned();
    found.map_or_else(|| status(404, "NotFound"), |install| Json(install).into_response())
}

fn status(code: u16, reason: &str) -> Response {
    let body = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason });
    (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
}

//! A kcp that is a function: it knows a few people and keeps what is created.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, patch, post},
};
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// What it knows. Tokens are names: `alice` and `bob` may publish and add extensions, `carol` may publish `com.example.hello` only,
/// `dave` may nothing. Whoever else sends a token is unknown.
#[derive(Clone, Default)]
pub struct Kcp(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<(String, String), Value>,
    version: u64,
    /// Questions of who may do what, as they came.
    pub asked: Vec<Value>,
    /// Methods and paths.
    pub seen: Vec<String>,
    down: bool,
    /// Just before this kind is created, this object comes to be there.
    racing: Option<(String, Value)>,
}

impl Kcp {
    pub fn client(&self) -> Client {
        let router = Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(token_review))
            .route("/apis/authorization.k8s.io/v1/subjectaccessreviews", post(access_review))
            .route("/apis/annex.sh/v1alpha1/{kind}", get(list).post(create))
            .route("/apis/annex.sh/v1alpha1/{kind}/{name}", get(read))
            .route("/apis/annex.sh/v1alpha1/{kind}/{name}/status", patch(patch_status))
            .route("/apis/annex.sh/v1alpha1/namespaces/{namespace}/{kind}/{name}", patch(patch_metadata))
            .with_state(self.clone());
        let kcp = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (router, kcp) = (router.clone(), kcp.clone());
            async move {
                kcp.0.lock().seen.push(format!("{} {}", request.method(), request.uri().path()));
                if kcp.0.lock().down {
                    return Err(std::io::Error::other("connection refused"));
                }
                let response = router.oneshot(request.map(Body::new)).await;
                Ok::<_, std::io::Error>(response.unwrap_or_else(|never| match never {}))
            }
        });
        Client::new(service, "default")
    }

    pub fn set_down(&self, down: bool) {
        self.0.lock().down = down;
    }

    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        self.0.lock().objects.get(&(kind.to_owned(), name.to_owned())).cloned()
    }

    pub fn put(&self, kind: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.0.lock().keep(kind, &name, object);
    }

    pub fn forget(&self, kind: &str, name: &str) {
        self.0.lock().objects.remove(&(kind.to_owned(), name.to_owned()));
    }

    pub fn race(&self, kind: &str, object: Value) {
        self.0.lock().racing = Some((kind.to_owned(), object));
    }

    pub fn asked(&self) -> Vec<Value> {
        self.0.lock().asked.clone()
    }

    pub fn seen(&self, what: &str) -> usize {
        self.0.lock().seen.iter().filter(|seen| seen.contains(what)).count()
    }
}

impl Inner {
    fn keep(&mut self, kind: &str, name: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        }
        object["metadata"]["generation"] = json!(1);
        object["metadata"]["creationTimestamp"] = json!("2026-11-03T12:00:00Z");
        self.objects.insert((kind.to_owned(), name.to_owned()), object.clone());
        object
    }
}

fn status(code: u16, reason: &str) -> Response {
    let body = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": reason });
    (StatusCode::from_u16(code).unwrap(), Json(body)).into_response()
}

async fn token_review(Json(mut question): Json<Value>) -> Json<Value> {
    let token = question["spec"]["token"].as_str().unwrap_or_default().to_owned();
    question["status"] = if ["alice", "bob", "carol", "dave"].contains(&token.as_str()) {
        json!({ "authenticated": true, "user": {
            "username": token, "uid": format!("u-{token}"), "groups": ["people", "system:authenticated"],
            "extra": { "example.com/of": ["one", "two"] },
        } })
    } else if let Some(cluster) = token.strip_prefix("account-of-") {
        json!({ "authenticated": true, "user": {
            "username": "system:serviceaccount:annex:annex", "groups": ["system:authenticated"],
            "extra": { "authentication.kcp.io/cluster-name": [cluster] },
        } })
    } else {
        json!({ "authenticated": false })
    };
    Json(question)
}

async fn access_review(State(kcp): State<Kcp>, Json(mut question): Json<Value>) -> Json<Value> {
    let mut inner = kcp.0.lock();
    inner.asked.push(question["spec"].clone());
    let spec = &question["spec"];
    let attributes = &spec["resourceAttributes"];
    let verb = attributes["verb"].as_str().unwrap();
    let allowed = match spec["user"].as_str().unwrap() {
        "alice" | "bob" => true,
        "carol" => verb == "publish" && attributes["name"] == "com.example.hello",
        name => name.starts_with("system:serviceaccount:") && verb == "update",
    };
    question["status"] = json!({ "allowed": allowed });
    Json(question)
}

async fn list(State(kcp): State<Kcp>, Path(kind): Path<String>) -> Json<Value> {
    let inner = kcp.0.lock();
    let of_kind = inner.objects.iter().filter(|((of, _), _)| *of == kind);
    let items: Vec<Value> = of_kind.map(|(_, object)| object.clone()).collect();
    Json(
        json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": items }),
    )
}

async fn create(State(kcp): State<Kcp>, Path(kind): Path<String>, Json(object): Json<Value>) -> Response {
    let mut inner = kcp.0.lock();
    if let Some((racing, other)) = inner.racing.take_if(|(racing, _)| *racing == kind) {
        let name = other["metadata"]["name"].as_str().unwrap().to_owned();
        inner.keep(&racing, &name, other);
    }
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    if inner.objects.contains_key(&(kind.clone(), name.clone())) {
        return status(409, "AlreadyExists");
    }
    (StatusCode::CREATED, Json(inner.keep(&kind, &name, object))).into_response()
}

async fn read(State(kcp): State<Kcp>, Path((kind, name)): Path<(String, String)>) -> Response {
    match kcp.get(&kind, &name) {
        Some(object) => Json(object).into_response(),
        None => status(404, "NotFound"),
    }
}

async fn patch_status(
    State(kcp): State<Kcp>,
    Path((kind, name)): Path<(String, String)>,
    Json(patch): Json<Value>,
) -> Response {
    let mut inner = kcp.0.lock();
    let Some(mut object) = inner.objects.get(&(kind.clone(), name.clone())).cloned() else {
        return status(404, "NotFound");
    };
    if object["metadata"]["resourceVersion"] != patch["metadata"]["resourceVersion"] {
        return status(409, "Conflict");
    }
    object["status"] = patch["status"].clone();
    Json(inner.keep(&kind, &name, object)).into_response()
}

async fn patch_metadata(
    State(kcp): State<Kcp>,
    Path((_, kind, name)): Path<(String, String, String)>,
    Json(patch): Json<Value>,
) -> Response {
    let mut inner = kcp.0.lock();
    let object = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": { "name": name, "annotations": patch["metadata"]["annotations"] },
    });
    Json(inner.keep(&kind, &name, object)).into_response()
}

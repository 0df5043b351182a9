//! An API server that is a function, for tests.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use kube::Client;
use serde_json::{Value, json};
use tower::service_fn;

/// What a server is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Method and path, such as `GET /api/v1/namespaces`.
    pub(crate) what: String,
    pub(crate) query: String,
}

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }
}

pub(crate) type Answer = Response<Body>;

/// A client of a server that answers so. No connection is made, so time may be paused.
pub(crate) fn client(answer: impl Fn(Asked) -> Answer + Send + Sync + 'static) -> Client {
    let answer = Arc::new(answer);
    let service = service_fn(move |request: Request<kube::client::Body>| {
        let answer = answer.clone();
        async move {
            let (parts, _) = request.into_parts();
            Ok::<_, kube::Error>(answer(Asked {
                what: format!("{} {}", parts.method, parts.uri.path()),
                query: parts.uri.query().unwrap_or_default().to_owned(),
            }))
        }
    });
    Client::new(service, "default")
}

pub(crate) fn answer(code: u16, body: impl Into<Body>) -> Answer {
    Response::builder().status(code).body(body.into()).unwrap()
}

pub(crate) fn object(object: Value) -> Answer {
    answer(200, object.to_string())
}

pub(crate) fn list(items: Value) -> Answer {
    object(
        json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": items }),
    )
}

pub(crate) fn refusal(code: u16, message: &str) -> Answer {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": "" });
    answer(code, status.to_string())
}

/// A watch of which nothing comes.
pub(crate) fn quiet() -> Answer {
    answer(200, Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>()))
}

/// A watch whose connection breaks after a while.
pub(crate) fn breaks_after(wait: Duration) -> Answer {
    let error = async move {
        tokio::time::sleep(wait).await;
        Err::<Vec<u8>, _>(std::io::Error::other("connection reset"))
    };
    answer(200, Body::from_stream(futures::stream::once(error)))
}

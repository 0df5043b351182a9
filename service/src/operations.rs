use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};

use crate::tls::Certificates;

/// What `/readyz` says.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// What the process cannot work without and does not have; empty means ready.
    pub waiting_for: Vec<String>,
    /// What is worth knowing all the same.
    pub notes: Vec<String>,
}

/// The operator's listener: `/healthz`, `/readyz` (503 while something is waited for, and what) and `/metrics`.
pub struct Operations {
    /// Asked on each `/readyz` and `/metrics`.
    pub status: Box<dyn Fn() -> Status + Send + Sync>,
    /// Written out on each `/metrics`.
    pub registry: Registry,
    /// What needs a person with them is a note on `/readyz`.
    pub certificates: Certificates,
}

impl Operations {
    /// The routes, for [`serve`](crate::serve).
    pub fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(Arc::new(self))
    }
}

async fn readyz(State(operations): State<Arc<Operations>>) -> impl IntoResponse {
    let Status { waiting_for, notes } = (operations.status)();
    let code = if waiting_for.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let first = if waiting_for.is_empty() {
        "ok".to_owned()
    } else {
        format!("waiting for {}", waiting_for.join(", "))
    };
    let notes = notes.into_iter().chain(operations.certificates.notes());
    let mut text = std::iter::once(first).chain(notes).collect::<Vec<_>>().join("\n");
    text.push('\n');
    (code, text)
}

async fn metrics(State(operations): State<Arc<Operations>>) -> impl IntoResponse {
    // Gauges that are read and not counted are brought up to date by the same function.
    let _ = (operations.status)();
    let mut text = String::new();
    match encode(&mut text, &operations.registry) {
        Ok(()) => ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

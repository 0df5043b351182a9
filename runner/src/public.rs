//! The public listener: what a browser sees.

use std::sync::Arc;

use annex_core::InstallIdentity;
use annex_service::{RequestId, attach_request_id};
use axum::extract::{Extension, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::host_header::requested_host;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::registry::Registry;

pub(crate) fn router(registry: Registry, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/", get(identity))
        // For Knative, which probes the port that it routes to. It says nothing that the port itself does not.
        .route("/healthz", get("ok"))
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .with_state(registry)
        .layer(middleware::from_fn(attach_request_id))
        // Outermost, so that nothing that is answered goes uncounted.
        .layer(middleware::from_fn_with_state(metrics, count))
}

/// Which install the request's host is.
async fn identity(
    State(registry): State<Registry>,
    Extension(request_id): Extension<RequestId>,
    target: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let host = requested_host(&target, &headers)?;
    match registry.lookup(&host, &request_id).await {
        Ok(Some(identity)) => Ok(identity_response(identity)),
        Ok(None) => Err(Refusal::UnknownHost),
        Err(error) => {
            let category = error.category();
            tracing::warn!(%host, category, error = format!("{:#}", anyhow::Error::from(error)), "lookup failed");
            Err(Refusal::RegistryUnavailable)
        }
    }
}

fn identity_response(identity: InstallIdentity) -> Response {
    // The install may be upgraded or deleted at any time.
    ([(CACHE_CONTROL, "no-store")], Json(identity)).into_response()
}

async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics.answered(response.status());
    response
}

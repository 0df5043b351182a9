//! The public listener: what a browser sees.

use std::sync::Arc;

use annex_core::IDENTITY_PATH;
use annex_service::attach_request_id;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;

use crate::forward;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::ui::{self, SecurityHeaders, Site, protect};

pub(crate) fn router(site: Site, security: SecurityHeaders, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/", get(ui::index))
        .route(IDENTITY_PATH, get(ui::identity))
        .route(ui::FILES, ui::files())
        .route(forward::CALLS, forward::calls())
        // For Knative, which probes the port that it routes to. It says nothing that the port itself does not.
        .route("/healthz", get("ok"))
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .with_state(site)
        .layer(middleware::from_fn_with_state(security, protect))
        .layer(middleware::from_fn(attach_request_id))
        // Outermost, so that nothing that is answered goes uncounted.
        .layer(middleware::from_fn_with_state(metrics, count))
}

async fn count(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics.answered(response.status());
    response
}

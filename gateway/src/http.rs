//! Which path is answered by what.

use std::sync::Arc;

use annex_answering::Refusal;
use annex_grant::{KV_PATH, ORDER_PATH, SECRETS_PATH};
use annex_service::attach_request_id;
use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode, header::CONTENT_SECURITY_POLICY},
    middleware::{self, Next},
    response::Response,
    routing::post,
};

use crate::{app::App, broker, call, refusals::not_found};

/// `ANY /api/ext/{extension}/{path…}`. One handler for all paths, which it reads as they came: a router would decode them.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .fallback(call::call)
        .with_state(app)
        .layer(middleware::from_fn(no_page))
        .layer(middleware::from_fn(attach_request_id))
}

/// What runners ask.
pub fn broker_router(app: Arc<App>) -> Router {
    Router::new()
        .route(SECRETS_PATH, post(broker::secret))
        .route(KV_PATH, post(broker::kv))
        .route(ORDER_PATH, post(broker::order))
        .fallback(async || not_found())
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "this path takes another method")
        })
        .with_state(app)
        .layer(middleware::from_fn(attach_request_id))
}

/// An answer is data. Opened as a page, on a host that all extensions share, it must not be one: no script, and no origin.
async fn no_page(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

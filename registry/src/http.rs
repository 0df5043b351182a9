//! Which path is answered by what.

use std::sync::Arc;

use annex_answering::Refusal;
use annex_service::attach_request_id;
use axum::{
    Router,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};

use crate::{app::App, bundles, listing, lookup, publish, reprovision};

/// The registry's API.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/bundles", post(publish::publish))
        .route("/api/keys", get(keys))
        .route("/api/catalog", get(listing::catalog))
        .route("/api/installs/lookup-by-host", get(lookup::by_host))
        .route("/api/installs/validate", get(lookup::validate))
        .route("/api/installs/{id}/reprovision", post(reprovision::reprovision))
        .route("/bundles/sha256/{hash}/{file}", get(bundles::file))
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "NotFound", "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "this path takes another method")
        })
        .with_state(app)
        .layer(middleware::from_fn(attach_request_id))
}

/// The keys that receipts were signed with.
async fn keys(State(app): State<Arc<App>>) -> Response {
    let mut response = app.policy.keys.get().published().to_json().into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    response
}

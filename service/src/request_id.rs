//! The id that an answer, its log lines and the questions asked for it share.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::X_CONTENT_TYPE_OPTIONS;
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, info_span};
use uuid::Uuid;

/// The header that carries it.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// A random UUID. Never the caller's own: one from outside could repeat, or forge log lines.
#[derive(Debug, Clone)]
pub struct RequestId(Arc<str>);

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl RequestId {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::new_v4().to_string().into())
    }

    /// As the header has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives an answer the headers that all have, the id among them.
    pub fn attach_to(&self, response: &mut Response) {
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(self.as_str()) {
            headers.insert(REQUEST_ID_HEADER, value);
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
}

/// Gives every request its id, as an extension for handlers and a field of the log, and every answer the headers that
/// all have.
pub async fn attach_request_id(mut request: Request, next: Next) -> Response {
    let id = RequestId::new();
    let span =
        info_span!("request", id = id.as_str(), method = %request.method(), path = request.uri().path());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).instrument(span).await;
    id.attach_to(&mut response);
    response
}

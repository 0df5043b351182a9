//! Answers that say no.

use std::borrow::Cow;

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// What a request gets that is not answered: a status, a word for programs and a sentence for people. Nothing in it is a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// One CamelCase word that never changes.
    pub code: &'static str,
    /// What is wrong, and what to do about it.
    pub message: Cow<'static, str>,
    /// After how many seconds to ask again.
    retry_after: Option<u16>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
}

impl Refusal {
    /// A status, a word and a sentence.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// A request that says nothing that can be answered.
    #[must_use]
    pub fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MalformedRequest", message)
    }

    /// Nobody who is known.
    #[must_use]
    pub fn unauthenticated(message: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthenticated", message)
    }

    /// Somebody who may not.
    #[must_use]
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// What is unknown may exist: not everything was read yet.
    #[must_use]
    pub fn not_synced() -> Self {
        Self::busy(
            StatusCode::SERVICE_UNAVAILABLE,
            "NotSynced",
            "not everything has been read from kcp yet; try again",
        )
    }

    /// kcp cannot be asked.
    #[must_use]
    pub fn kcp() -> Self {
        Self::busy(StatusCode::SERVICE_UNAVAILABLE, "KcpUnavailable", "kcp does not answer; try again")
    }

    /// More bytes than may be.
    #[must_use]
    pub fn too_large(what: &str, most: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", format!("{what} has more than {most} bytes"))
    }

    /// A fault of ours.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal",
            "a fault of the service; its log has more under this answer's x-request-id",
        )
    }

    /// The same, to be tried again after so many seconds.
    #[must_use]
    pub fn after(self, seconds: u16) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Something that passes.
    #[must_use]
    pub fn busy(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { retry_after: Some(2), ..Self::new(status, code, message) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(Body { code: self.code, message: &self.message });
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // What is left of the body is not read, and must not be taken for the next request.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

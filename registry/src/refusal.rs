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
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MalformedRequest", message)
    }

    pub(crate) fn unauthenticated(message: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthenticated", message)
    }

    pub(crate) fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    pub(crate) fn not_synced() -> Self {
        Self::busy(
            StatusCode::SERVICE_UNAVAILABLE,
            "NotSynced",
            "the registry has not read everything yet; try again",
        )
    }

    pub(crate) fn kcp() -> Self {
        Self::busy(
            StatusCode::SERVICE_UNAVAILABLE,
            "KcpUnavailable",
            "kcp does not answer the registry; try again",
        )
    }

    pub(crate) fn store() -> Self {
        Self::busy(
            StatusCode::SERVICE_UNAVAILABLE,
            "StoreUnavailable",
            "the content store does not answer; try again",
        )
    }

    pub(crate) fn disk_full() -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "DiskFull",
            "the registry has no room for this archive; its operator has to make some",
        )
    }

    pub(crate) fn too_large(what: &str, most: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", format!("{what} has more than {most} bytes"))
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal",
            "a fault of the registry; its log has more under this answer's x-request-id",
        )
    }

    /// Something that passes.
    pub(crate) fn busy(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { retry_after: Some(2), ..Self::new(status, code, message) }
    }

    /// What the bytes of a bundle were refused for.
    pub(crate) fn of_bundle(refusal: &annex_bundle::Refusal) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.code(), refusal.to_string())
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

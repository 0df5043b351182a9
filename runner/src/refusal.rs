//! Answers that say no.

use annex_service::HostHeaderError;
use axum::Json;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_RANGE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request does not get what it asks for. What it says to the outside names no tenant and nothing of the inside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    MalformedHost(#[from] HostHeaderError),
    #[error("nothing is installed on this host")]
    UnknownHost,
    #[error("the registry cannot say now what is installed here, try again")]
    RegistryUnavailable,
    #[error("there is nothing at this path")]
    NotFound,
    #[error("the extension that is installed here cannot be shown: it did not pass verification")]
    VerificationFailed,
    /// The size of the file.
    #[error("the file has {0} bytes")]
    RangeNotSatisfiable(u64),
    #[error("the gateway does not answer now, try again")]
    GatewayUnavailable,
    #[error("only GET and HEAD are answered here")]
    MethodNotAllowed,
}

#[derive(Serialize)]
struct Body {
    error: String,
    code: &'static str,
}

impl Refusal {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::MalformedHost(_) => (StatusCode::BAD_REQUEST, "MalformedHost"),
            Self::UnknownHost => (StatusCode::NOT_FOUND, "UnknownHost"),
            Self::RegistryUnavailable => (StatusCode::BAD_GATEWAY, "RegistryUnavailable"),
            Self::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
            Self::VerificationFailed => (StatusCode::BAD_GATEWAY, "VerificationFailed"),
            Self::RangeNotSatisfiable(_) => (StatusCode::RANGE_NOT_SATISFIABLE, "RangeNotSatisfiable"),
            Self::GatewayUnavailable => (StatusCode::BAD_GATEWAY, "GatewayUnavailable"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let mut response = (status, Json(Body { error: self.to_string(), code })).into_response();
        let headers = response.headers_mut();
        // A host may get its install in the next second.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::MethodNotAllowed => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Self::RangeNotSatisfiable(size) => {
                if let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}")) {
                    headers.insert(CONTENT_RANGE, range);
                }
            }
            _ => {}
        }
        response
    }
}

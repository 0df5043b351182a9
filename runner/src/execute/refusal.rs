//! Why there is no answer of a guest's, as the gateway is told.

use annex_bundle_client::LoadError as BundleError;
use annex_engine::{CallError, LoadError};
use annex_grant::{RunnerError, RunnerErrorCode};
use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// What the gateway goes by, and what its log says.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: RunnerErrorCode,
    message: String,
}

impl Refusal {
    pub(super) fn new(code: RunnerErrorCode, message: &str) -> Self {
        Self { code, message: message.to_owned() }
    }

    pub(super) fn of_bundle(error: &BundleError) -> Self {
        let code = match error {
            BundleError::Refused { .. } => RunnerErrorCode::VerificationFailed,
            BundleError::Missing | BundleError::Unavailable(_) => RunnerErrorCode::BundleUnavailable,
        };
        Self::new(code, &error.to_string())
    }

    pub(super) fn of_load(error: &LoadError) -> Self {
        let code = match error {
            // There the message is the capability's name.
            LoadError::CapabilityMissing { capability, .. } => {
                return Self::new(RunnerErrorCode::CapabilityDenied, capability.name());
            }
            LoadError::Source { .. } => RunnerErrorCode::BundleUnavailable,
            LoadError::TooManyLoads => RunnerErrorCode::Busy,
            LoadError::TooDemanding { .. } | LoadError::TooLarge { .. } => RunnerErrorCode::GuestLimit,
            LoadError::Compiler(_) => RunnerErrorCode::Internal,
            // It imports what there is not, or is no component: whoever wrote it has to mend it.
            _ => RunnerErrorCode::GuestFailed,
        };
        Self::new(code, &format!("{}: {error}", error.code()))
    }

    pub(super) fn of_call(error: CallError) -> Self {
        let code = match &error {
            CallError::Busy { .. } => RunnerErrorCode::Busy,
            CallError::BadRequest => RunnerErrorCode::MalformedRequest,
            CallError::Timeout { .. } => RunnerErrorCode::Timeout,
            CallError::MemoryLimit { .. }
            | CallError::TableLimit { .. }
            | CallError::OutOfFuel
            | CallError::TooManyResources { .. } => RunnerErrorCode::GuestLimit,
            CallError::ResponseTooLarge { .. } | CallError::HeadersTooLarge { .. } => {
                RunnerErrorCode::ResponseTooLarge
            }
            CallError::FuelNotCounted => RunnerErrorCode::Internal,
            _ => RunnerErrorCode::GuestFailed,
        };
        Self::new(code, &format!("{}: {error}", error.code()))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response =
            (status, Json(RunnerError { code: self.code, message: self.message })).into_response();
        if self.code == RunnerErrorCode::Busy {
            // Calls take seconds at the most, and whoever was refused is not queued.
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

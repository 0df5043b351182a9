//! What the registry alone says no with.

use annex_answering::Refusal;
use axum::http::StatusCode;

/// The content store cannot be asked.
pub(crate) fn store_unavailable() -> Refusal {
    Refusal::busy(
        StatusCode::SERVICE_UNAVAILABLE,
        "StoreUnavailable",
        "the content store does not answer; try again",
    )
}

/// There is no room for an upload.
pub(crate) fn disk_full() -> Refusal {
    Refusal::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "DiskFull",
        "the registry has no room for this archive; its operator has to make some",
    )
}

/// What the bytes of a bundle were refused for.
pub(crate) fn of_bundle(refusal: &annex_bundle::Refusal) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.code(), refusal.to_string())
}

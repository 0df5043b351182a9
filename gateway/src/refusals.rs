//! What the gateway alone says no with.

use annex_answering::Refusal;
use axum::http::StatusCode;

pub(crate) fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "NotFound", "there is nothing at this path")
}

pub(crate) fn no_endpoint() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "NoSuchEndpoint",
        "the extension has no endpoint of this method and path",
    )
}

/// Said only to who may call any extension of the workspace.
pub(crate) fn not_installed() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "NotInstalled", "the workspace has no such extension")
}

/// The same whether or not there is such an extension.
pub(crate) fn may_not_call() -> Refusal {
    Refusal::forbidden(
        "you may not call this extension in this workspace: that needs the verb create on installs/invoke in group annex.sh, for the Install",
    )
}

/// The same whether or not there is such an extension.
pub(crate) fn needs_identity() -> Refusal {
    Refusal::unauthenticated("this needs an Authorization: Bearer token")
}

pub(crate) fn no_workspace() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "WorkspaceUnknown",
        "say which workspace is meant: by the extension's own host, by x-annex-workspace, or with a token of the workspace",
    )
}

pub(crate) fn workspaces_disagree() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "WorkspaceMismatch",
        "host, x-annex-workspace and the token's workspace are not one and the same",
    )
}

pub(crate) fn tenant_suspended() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "TenantSuspended",
        "the platform's operator has suspended this workspace",
    )
}

/// `reason` is one word of the Install's condition Ready.
pub(crate) fn not_ready(reason: &str) -> Refusal {
    // A tenant cannot write it, but who reads it may be anybody.
    let is_word = (1..=64).contains(&reason.len()) && reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let reason = if is_word { reason } else { "NotReady" };
    Refusal::busy(
        StatusCode::SERVICE_UNAVAILABLE,
        "NotReady",
        format!("the extension is not ready: {reason}; kubectl annex explain has more"),
    )
}

pub(crate) fn too_busy() -> Refusal {
    Refusal::busy(StatusCode::SERVICE_UNAVAILABLE, "TooBusy", "too many requests are under way; try again")
}

pub(crate) fn body_too_slow() -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeout", "the request's body did not come in time")
}

pub(crate) fn runner_unavailable() -> Refusal {
    Refusal::busy(
        StatusCode::SERVICE_UNAVAILABLE,
        "RunnerUnavailable",
        "nothing executes the extension; try again",
    )
}

pub(crate) fn runner_elsewhere() -> Refusal {
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        "RunnerNotReachable",
        "the extension runs where this gateway does not reach it",
    )
}

pub(crate) fn timed_out() -> Refusal {
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", "the extension did not answer in time")
}

/// Whatever is wrong with an answer, or with what should have answered. Why is in the log.
pub(crate) fn bad_gateway() -> Refusal {
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        "ExtensionFailed",
        "the extension gave no answer that can be passed on",
    )
}

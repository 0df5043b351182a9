//! What the caller is told of what the runner made of a call. Pure.

use annex_answering::Refusal;
use annex_grant::{ExecuteResponse, RunnerError, RunnerErrorCode};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};

use crate::{
    bodies::LARGEST_BODY,
    refusals::{bad_gateway, runner_unavailable, timed_out},
    response_headers::{InvalidHeaders, passed},
};

/// An answer of a guest that nobody is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidAnswer {
    /// Informational ones are no answers: what follows would be read as the next.
    #[error("the status {0} is none of an answer")]
    Status(u16),
    #[error("{0}")]
    Headers(#[from] InvalidHeaders),
    #[error("the body has more than {LARGEST_BODY} bytes")]
    TooLarge,
    #[error("the status {0} has no body")]
    Body(u16),
}

/// The guest's answer, as far as it may pass.
///
/// # Errors
/// It may not at all.
pub(crate) fn guest(answer: ExecuteResponse) -> Result<Response, InvalidAnswer> {
    let status = StatusCode::from_u16(answer.status).ok().filter(|_| (200..600).contains(&answer.status));
    let status = status.ok_or(InvalidAnswer::Status(answer.status))?;
    let mut headers = passed(&answer.headers)?;
    let body = answer.body_b64.map(|body| body.0).unwrap_or_default();
    if body.len() > LARGEST_BODY {
        return Err(InvalidAnswer::TooLarge);
    }
    if !body.is_empty() && matches!(status.as_u16(), 204 | 205 | 304) {
        return Err(InvalidAnswer::Body(answer.status));
    }
    if !body.is_empty() && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// What the caller learns of a runner that says no: never its words, but for the name of a capability.
pub(crate) fn refused(error: &RunnerError, retry_after: Option<u16>) -> Refusal {
    use RunnerErrorCode as Code;
    match error.code {
        Code::MalformedRequest => Refusal::malformed("the extension cannot be asked this"),
        Code::RequestTooLarge => Refusal::too_large("the request", LARGEST_BODY as u64),
        Code::CapabilityDenied => {
            let name = &error.message;
            let is_name = (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'));
            let what = if is_name { format!("the capability {name}") } else { "a capability".to_owned() };
            let message = format!("the extension needs {what}, which the Install does not grant");
            Refusal::new(StatusCode::FORBIDDEN, "CapabilityDenied", message)
        }
        Code::Busy => {
            let busy = Refusal::busy(
                StatusCode::TOO_MANY_REQUESTS,
                "TooManyRequests",
                "too many calls of this extension are under way; try again",
            );
            // What is said is kept, and never so long that a client gives up for a day.
            retry_after.map_or(busy.clone(), |seconds| busy.after(seconds.clamp(1, 3600)))
        }
        Code::Timeout => timed_out(),
        Code::Draining | Code::BundleUnavailable => runner_unavailable(),
        Code::GrantRefused
        | Code::VerificationFailed
        | Code::GuestFailed
        | Code::GuestLimit
        | Code::ResponseTooLarge
        | Code::Internal
        | Code::Unknown => bad_gateway(),
    }
}

#[cfg(test)]
mod tests {
    use annex_grant::Base64Bytes;

    use super::*;

    fn answered(status: u16, body: &[u8]) -> Result<u16, InvalidAnswer> {
        let body_b64 = (!body.is_empty()).then(|| Base64Bytes(body.to_vec()));
        guest(ExecuteResponse { status, headers: Vec::new(), body_b64 })
            .map(|answer| answer.status().as_u16())
    }

    #[test]
    fn only_a_final_status_is_an_answer() {
        for status in [200, 204, 301, 304, 404, 418, 500, 599] {
            assert_eq!(answered(status, b""), Ok(status));
        }
        for status in [0, 1, 99, 100, 101, 103, 199, 600, 999, 1000, u16::MAX] {
            assert_eq!(answered(status, b""), Err(InvalidAnswer::Status(status)));
        }
    }

    #[test]
    fn a_body_is_where_one_can_be_and_not_too_large() {
        for status in [204, 205, 304] {
            assert_eq!(answered(status, b"x"), Err(InvalidAnswer::Body(status)));
        }
        assert_eq!(answered(200, &vec![0; LARGEST_BODY]), Ok(200));
        assert_eq!(answered(200, &vec![0; LARGEST_BODY + 1]), Err(InvalidAnswer::TooLarge));
    }

    #[test]
    fn of_every_refusal_the_caller_learns_what_the_table_says() {
        for code in RunnerErrorCode::ALL {
            let error = RunnerError { code: *code, message: "wasm trap at /srv/tenant-b".into() };
            let told = refused(&error, None);
            let expected = match code.as_str() {
                "MalformedRequest" => 400,
                "CapabilityDenied" => 403,
                "RequestTooLarge" => 413,
                "Busy" => 429,
                "Draining" | "BundleUnavailable" => 503,
                "Timeout" => 504,
                _ => 502,
            };
            assert_eq!(told.status.as_u16(), expected, "{code:?}");
            assert!(!told.message.contains("tenant-b"), "{told:?}");
        }
        let denied = RunnerError { code: RunnerErrorCode::CapabilityDenied, message: "storage.kv".into() };
        assert!(refused(&denied, None).message.contains("storage.kv"));
    }
}

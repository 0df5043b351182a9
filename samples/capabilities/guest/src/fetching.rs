//! http.fetch: the one way out.

use std::io::Read as _;

use wasip2::http::outgoing_handler;
use wasip2::http::types::{ErrorCode, Fields, OutgoingRequest, Scheme};

use crate::Problem;

pub fn rates() -> Result<String, Problem> {
    match get("rates.example.com", "/v1/rates") {
        Ok((200, body)) => Ok(String::from_utf8_lossy(&body).into_owned()),
        Ok((status, _)) => Err(Problem::new(502, format!("the other side answered {status}"))),
        // One of the two lists does not have it: the manifest's `egress`, or the operator's.
        Err(ErrorCode::HttpRequestDenied) => Err(Problem::new(424, "rates.example.com is not allowed here")),
        Err(error) => Err(Problem::new(502, format!("the other side was not reached: {error:?}"))),
    }
}

/// A status, and the first 64 KiB of the body: how long it is, is the other side's to say.
fn get(authority: &str, path: &str) -> Result<(u16, Vec<u8>), ErrorCode> {
    let request = OutgoingRequest::new(Fields::new());
    // They refuse what is none, which is for whoever makes them of what a caller said to see to.
    let _ = request.set_scheme(Some(&Scheme::Https));
    let _ = request.set_authority(Some(authority));
    let _ = request.set_path_with_query(Some(path));
    let answer = outgoing_handler::handle(request, None)?;
    answer.subscribe().block();
    let answered = answer.get().and_then(Result::ok);
    let response = answered.unwrap_or(Err(ErrorCode::InternalError(None)))?;
    let mut bytes = Vec::new();
    if let Ok(body) = response.consume() {
        if let Ok(stream) = body.stream() {
            let read = stream.take(64 << 10).read_to_end(&mut bytes);
            read.map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
        }
    }
    Ok((response.status(), bytes))
}

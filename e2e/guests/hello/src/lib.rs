//! Answers `hello`, whatever it is asked.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Component;

wasip2::http::proxy::export!(Component);

impl Guest for Component {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        let headers = Fields::new();
        headers.append("content-type", b"text/plain").unwrap();
        let response = OutgoingResponse::new(headers);
        let body = response.body().unwrap();
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().unwrap();
        stream.blocking_write_and_flush(b"hello").unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}

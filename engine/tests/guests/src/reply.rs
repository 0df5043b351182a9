//! Requests and replies.

use std::io::{Read, Write};

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

pub struct Reply {
    pub status: u16,
    pub headers: Fields,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn bytes(body: Vec<u8>) -> Self {
        Self { status: 200, headers: Fields::new(), body }
    }

    pub fn text(body: impl Into<String>) -> Self {
        Self::bytes(body.into().into_bytes())
    }

    pub fn send(self, out: ResponseOutparam) {
        let response = OutgoingResponse::new(self.headers);
        response.set_status_code(self.status).unwrap();
        let body = response.body().unwrap();
        ResponseOutparam::set(out, Ok(response));
        let mut stream = body.write().unwrap();
        stream.write_all(&self.body).unwrap();
        stream.flush().unwrap();
        drop(stream);
        OutgoingBody::finish(body, None).unwrap();
    }
}

pub fn read_body(request: &IncomingRequest) -> Vec<u8> {
    let body = request.consume().unwrap();
    let mut stream = body.stream().unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

pub fn describe(request: &IncomingRequest) -> String {
    let mut lines = vec![format!("{:?}", request.method()), request.authority().unwrap_or_default()];
    for (name, value) in request.headers().entries() {
        lines.push(format!("{name}: {}", String::from_utf8_lossy(&value)));
    }
    lines.join("\n")
}

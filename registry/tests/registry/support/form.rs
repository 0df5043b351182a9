//! Bodies of uploads.

use std::convert::Infallible;

use axum::{body::Body, http::Request};
use bytes::Bytes;
use futures::{Stream, stream};

const BOUNDARY: &str = "annex-test-boundary";

/// A multipart body, part by part.
#[derive(Clone, Default)]
pub struct Form {
    parts: Vec<(String, Bytes)>,
}

impl Form {
    pub fn new(archive: &[u8]) -> Self {
        Self::default().part("archive", archive)
    }

    /// The signature goes first, as clients are told.
    pub fn signature(mut self, signature: &[u8]) -> Self {
        self.parts.insert(0, ("signature".to_owned(), Bytes::copy_from_slice(signature)));
        self
    }

    pub fn part(mut self, name: &str, content: &[u8]) -> Self {
        self.parts.push((name.to_owned(), Bytes::copy_from_slice(content)));
        self
    }

    pub fn reversed(mut self) -> Self {
        self.parts.reverse();
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, content) in &self.parts {
            body.extend_from_slice(
                format!("--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        body
    }

    pub fn request(&self, token: &str) -> Request<Body> {
        Self::request_of(token, Body::from(self.bytes()))
    }

    pub fn request_of(token: &str, body: Body) -> Request<Body> {
        let mut request = Request::post("/api/bundles")
            .header("content-type", format!("multipart/form-data; boundary={BOUNDARY}"));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(body).unwrap()
    }

    /// The first bytes, and then nothing, with the connection open.
    pub fn stalled(&self, bytes: usize) -> Body {
        let first = Bytes::from(self.bytes()[..bytes].to_vec());
        let body: std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, Infallible>> + Send>> =
            Box::pin(stream::StreamExt::chain(stream::once(async move { Ok(first) }), stream::pending()));
        Body::from_stream(body)
    }
}

//! A file as an answer.

use std::ops::Range;

use annex_bundle::{BundlePath, FileEntry};
use annex_core::ContentHash;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, VARY,
};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use mime_guess::mime;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use crate::cache::Content;

/// The path holds the content's hash: what is there never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// A document is held by the headers that came with it: one that was kept for a year would be held by those of then, whatever the operator
/// says now. So a browser asks about it again, and a 304 brings the headers of today.
const ASKED_AGAIN: HeaderValue = HeaderValue::from_static("public, no-cache");
/// The pieces of a large file.
const PIECE: usize = 64 << 10;
/// What is smaller does not get smaller by enough to be worth the work.
const WORTH_COMPRESSING: u64 = 1 << 10;

/// A file of a bundle, by its listing: all that an answer says of it, before it is opened.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) etag: String,
    pub(super) size: u64,
    content_type: String,
}

impl Described {
    pub(super) fn new(path: &BundlePath, entry: FileEntry) -> Self {
        let digest = ContentHash::from_sha256(*entry.digest.as_bytes());
        Self {
            etag: format!("\"{}\"", digest.hex()),
            size: entry.size,
            content_type: content_type(path.as_str()),
        }
    }

    /// 304.
    pub(super) fn not_modified(&self) -> Response {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        self.set(response.headers_mut());
        response
    }

    /// 200, or 206 for a part of it.
    pub(super) fn with(&self, content: Content, part: Option<Range<u64>>) -> Response {
        let (body, length) = match content {
            Content::Small(bytes) => {
                let length = bytes.len() as u64;
                (Body::from(bytes), length)
            }
            Content::Large(file, length) => {
                let file = tokio::fs::File::from_std(file).take(length);
                (Body::from_stream(ReaderStream::with_capacity(file, PIECE)), length)
            }
        };
        let mut response = Response::new(body);
        if let Some(part) = part {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = part.end.saturating_sub(1);
            let range = value(&format!("bytes {}-{last}/{}", part.start, self.size));
            response.headers_mut().insert(CONTENT_RANGE, range);
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.insert(CONTENT_TYPE, value(&self.content_type));
        self.set(headers);
        response
    }

    fn set(&self, headers: &mut HeaderMap) {
        headers.insert(ETAG, value(&self.etag));
        let lasting = if is_document(&self.content_type) { ASKED_AGAIN } else { FOR_EVER };
        headers.insert(CACHE_CONTROL, lasting);
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
    }
}

fn value(text: &str) -> HeaderValue {
    // All of them are numbers, digests and types out of a table.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// By the name alone; what has none that is known is bytes, which no browser renders or runs (`nosniff`).
fn content_type(path: &str) -> String {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    match (guess.type_(), guess.subtype()) {
        // Some of its names have the type that RFC 9239 made obsolete.
        (_, mime::JAVASCRIPT) => "text/javascript; charset=utf-8".to_owned(),
        (mime::TEXT, _) => format!("{guess}; charset=utf-8"),
        _ => guess.to_string(),
    }
}

/// What a browser shows as a page, and runs scripts in.
fn is_document(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence == "text/html" || essence.ends_with("xml")
}

/// Whether an answer is worth compressing: text and WebAssembly are, images, fonts and archives have it behind them.
pub(super) fn is_compressible(status: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let essence = text(CONTENT_TYPE).split(';').next().unwrap_or_default();
    let compressible = essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence,
            "application/json" | "application/manifest+json" | "application/wasm" | "application/xml"
        );
    let large = text(CONTENT_LENGTH).parse().is_ok_and(|length: u64| length >= WORTH_COMPRESSING);
    status == StatusCode::OK && compressible && large
}

/// A strong tag says that every byte is the same, which it is not in another encoding. A weak one still saves a browser the download,
/// and no range is taken by it.
pub(super) async fn weaken(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if headers.contains_key(CONTENT_ENCODING)
        && let Some(weak) =
            headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(|tag| value(&format!("W/{tag}")))
    {
        headers.insert(ETAG, weak);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_the_names() {
        for (path, expected) in [
            ("ui/index.html", "text/html; charset=utf-8"),
            ("ui/app.js", "text/javascript; charset=utf-8"),
            ("ui/app.mjs", "text/javascript; charset=utf-8"),
            ("ui/style.CSS", "text/css; charset=utf-8"),
            ("ui/data.json", "application/json"),
            ("ui/logo.svg", "image/svg+xml"),
            ("ui/logo.png", "image/png"),
            ("ui/font.woff2", "font/woff2"),
            ("ui/x.wasm", "application/wasm"),
            ("ui/unknown.annex", "application/octet-stream"),
            ("ui/LICENSE", "application/octet-stream"),
        ] {
            assert_eq!(content_type(path), expected, "{path}");
        }
    }

    #[test]
    fn only_what_gets_smaller_is_compressed() {
        let asked = |status: StatusCode, content_type: &str, length: u64| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value(content_type));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            is_compressible(status, Version::HTTP_11, &headers, &Extensions::new())
        };
        for yes in ["text/html; charset=utf-8", "image/svg+xml", "application/json", "application/wasm"] {
            assert!(asked(StatusCode::OK, yes, 1024), "{yes}");
            assert!(!asked(StatusCode::OK, yes, 1023), "{yes}");
            assert!(!asked(StatusCode::PARTIAL_CONTENT, yes, 4096), "{yes}");
        }
        for no in ["image/png", "font/woff2", "application/zip", "application/octet-stream"] {
            assert!(!asked(StatusCode::OK, no, 4096), "{no}");
        }
    }
}

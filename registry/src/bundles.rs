//! `GET /bundles/sha256/{hash}/{file}`.

use std::sync::Arc;

use annex_answering::Refusal;
use annex_bundle::ARCHIVE_MEDIA_TYPE;
use annex_core::ContentHash;
use annex_service::{Asked, asked};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG},
    },
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use crate::{
    app::App,
    publish::store,
    runner_auth::scope,
    store::{BundleFile, Marker},
};

const FOR_EVER: &str = "private, max-age=31536000, immutable";
/// A receipt is written anew when the registry's key for it is no more.
const ASK_AGAIN: &str = "private, no-cache";

/// A file of a bundle, or some of its bytes. `HEAD`, too.
///
/// A runner of one workspace may have any bundle whose hash it knows: what is in the catalog is no secret among tenants.
pub(crate) async fn file(
    State(app): State<Arc<App>>,
    Path((hash, file)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    scope(&app, &headers)?;
    let unknown =
        || Refusal::new(StatusCode::NOT_FOUND, "UnknownBundle", "there is no such file of a bundle");
    let content: ContentHash = format!("sha256:{hash}").parse().map_err(|_| unknown())?;
    let (file, content_type, caching) = match file.as_str() {
        "bundle.tar.zst" => (BundleFile::Archive, ARCHIVE_MEDIA_TYPE, FOR_EVER),
        "bundle.sig" => (BundleFile::Signature, "application/json", ASK_AGAIN),
        "receipt.json" => (BundleFile::Receipt, "application/json", ASK_AGAIN),
        _ => return Err(unknown()),
    };
    let source = Source::of(&app, content, file).await?.ok_or_else(unknown)?;
    let asked = asked(&headers, &source.etag, source.size);
    let mut response = match &asked {
        Asked::NotModified => StatusCode::NOT_MODIFIED.into_response(),
        Asked::Unsatisfiable => Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "RangeNotSatisfiable",
            format!("the file has {} bytes", source.size),
        )
        .into_response(),
        Asked::Whole => source.body(&app, &method, None).await?,
        Asked::Part(range) => {
            let mut response = source.body(&app, &method, Some(range.clone())).await?;
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            response
        }
    };
    let headers = response.headers_mut();
    match asked {
        Asked::Unsatisfiable => {
            headers.insert(CONTENT_RANGE, value(&format!("bytes */{}", source.size)));
            return Ok(response);
        }
        Asked::Part(range) => {
            let last = range.end.saturating_sub(1);
            headers.insert(CONTENT_RANGE, value(&format!("bytes {}-{last}/{}", range.start, source.size)));
        }
        Asked::Whole | Asked::NotModified => {}
    }
    headers.insert(CONTENT_TYPE, value(content_type));
    headers.insert(ETAG, value(&source.etag));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    Ok(response)
}

fn value(text: &str) -> HeaderValue {
    // All of them are numbers, digests and constants.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Where the bytes come from.
struct Source {
    content: ContentHash,
    marker: Marker,
    file: BundleFile,
    /// Small files are here already.
    small: Option<Bytes>,
    etag: String,
    size: u64,
}

impl Source {
    async fn of(app: &App, content: ContentHash, file: BundleFile) -> Result<Option<Self>, Refusal> {
        let failed = |error| store(&error);
        if file == BundleFile::Archive {
            let Some(marker) = app.store.marker(&content).await.map_err(failed)? else { return Ok(None) };
            let etag = format!("\"{}\"", marker.archive);
            return Ok(Some(Self { content, marker, file, small: None, etag, size: marker.size }));
        }
        let Some(stored) = app.store.get(&content).await.map_err(failed)? else { return Ok(None) };
        let bytes = if file == BundleFile::Signature { stored.signature } else { stored.receipt };
        let etag = format!("\"{}\"", annex_bundle::ArchiveDigest::of(&bytes));
        let size = bytes.len() as u64;
        Ok(Some(Self { content, marker: stored.marker, file, small: Some(bytes), etag, size }))
    }

    async fn body(
        &self,
        app: &App,
        method: &Method,
        range: Option<std::ops::Range<u64>>,
    ) -> Result<Response, Refusal> {
        let length = range.as_ref().map_or(self.size, |range| range.end.saturating_sub(range.start));
        let body = match &self.small {
            _ if method == Method::HEAD => Body::empty(),
            Some(bytes) => Body::from(part_of(bytes, range)),
            None => {
                let bytes = app.store.read(&self.content, &self.marker, self.file, range).await;
                Body::from_stream(bytes.map_err(|error| store(&error))?)
            }
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        Ok(response)
    }
}

fn part_of(bytes: &Bytes, range: Option<std::ops::Range<u64>>) -> Bytes {
    let Some(range) = range else { return bytes.clone() };
    let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(range.start)..at(range.end))
}

//! Files that were answered lately, and may be again.
//!
//! A page's files are asked for by many, and what decides about them is the same for each: the host, the path, the encodings that are taken,
//! and what the registry and the policy say now. Only the last is asked again, of what is in memory anyway; no path is parsed, no header looked
//! up and nothing compressed twice.

use std::sync::Arc;

use annex_core::{HostName, InstallIdentity};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HOST, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{self, HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use moka::sync::Cache;

use super::Site;
use super::path::PREFIX;

/// What all of it may take, in bytes: most of that is for what was compressed.
const IN_MEMORY: u64 = 32 << 20;
/// What one takes besides its names and bytes.
const EACH: usize = 2 << 10;
/// The longest host, path and encodings, in characters, of a request that is remembered. A name has 253, and no browser writes more; who does may
/// not have this process hold it.
const LONGEST: [usize; 3] = [260, 1024, 128];

/// What was answered, by what was asked.
#[derive(Clone, Debug)]
pub(crate) struct Remembered(Cache<String, Arc<Answer>>);

#[derive(Debug)]
struct Answer {
    file: WholeFile,
    headers: HeaderMap,
    /// The file in another encoding. None: as it is.
    encoded: Option<Bytes>,
}

/// What an answer is, of which all is in memory: a file of a bundle that a host has.
#[derive(Clone, Debug)]
pub(super) struct WholeFile {
    pub(super) host: HostName,
    pub(super) identity: InstallIdentity,
    pub(super) digest: [u8; 32],
}

impl Default for Remembered {
    fn default() -> Self {
        let weigher = |question: &String, answer: &Arc<Answer>| {
            let bytes = question.len() + answer.encoded.as_ref().map_or(0, Bytes::len) + EACH;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(IN_MEMORY).weigher(weigher).build())
    }
}

/// What a request asks for, if that is a whole file and nothing else; none for all that has to be looked at more closely. It is the host, the
/// path and the encodings as they came, with what none of them can have between them.
pub(crate) fn question<B>(request: &http::Request<B>) -> Option<String> {
    let (target, headers) = (request.uri(), request.headers());
    let plain = request.method() == Method::GET
        && target.authority().is_none()
        && target.query().is_none()
        && target.path().starts_with(PREFIX)
        && ![RANGE, IF_RANGE, IF_NONE_MATCH].iter().any(|name| headers.contains_key(name));
    let only = |name| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().map_or(Some(""), |value| value.to_str().ok());
        if values.next().is_none() { value } else { None }
    };
    let parts = [only(HOST)?, target.path(), only(ACCEPT_ENCODING)?];
    let short = parts.iter().zip(LONGEST).all(|(part, longest)| part.len() <= longest);
    (plain && short).then(|| parts.join("\n"))
}

impl Site {
    /// The answer, if it was given before and nothing has changed since.
    pub(crate) async fn again(&self, question: &str) -> Option<Response> {
        let answer = self.remembered.0.get(question)?;
        let WholeFile { host, identity, digest } = &answer.file;
        if !self.registry.stands_by(host, identity, self.strict).await {
            return None;
        }
        let cache = self.cache.as_ref()?;
        let bytes = match &answer.encoded {
            Some(encoded) => cache.still_has(&identity.content_hash).then(|| encoded.clone()),
            None => cache.in_memory(&identity.content_hash, digest).await,
        }?;
        let mut response = Response::new(Body::from(bytes));
        response.headers_mut().clone_from(&answer.headers);
        Some(response)
    }
}

/// Keeps what is answered, as far as it may be answered again.
pub(super) async fn remember(State(site): State<Site>, request: Request, next: Next) -> Response {
    let question = question(&request);
    let mut response = next.run(request).await;
    let file = response.extensions_mut().remove::<WholeFile>();
    let (Some(question), Some(file), StatusCode::OK) = (question, file, response.status()) else {
        return response;
    };
    // All that it will have, so that it is there at once the next time.
    site.security.protect(&mut response);
    let encoded = if response.headers().contains_key(CONTENT_ENCODING) {
        // All of the file is in memory already, and it has become smaller.
        let body = std::mem::take(response.body_mut());
        let Ok(bytes) = to_bytes(body, usize::MAX).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        *response.body_mut() = Body::from(bytes.clone());
        Some(bytes)
    } else {
        None
    };
    let mut headers = response.headers().clone();
    if let Some(encoded) = &encoded {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(encoded.len()));
    }
    let answer = Answer { file, headers, encoded };
    site.remembered.0.insert(question, Arc::new(answer));
    response
}

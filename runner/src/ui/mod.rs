//! An extension's pages, on its own host.
//!
//! The host decides whose they are: the registry says which install it is, and a path or query that names another extension or content
//! is not there. Files come from `ui/` of the verified bundle and from nowhere else, and the first page is what the manifest says. There is no
//! fallback: a file that is missing is 404, and never a page.

mod file;
mod path;
mod query;
mod remembered;
mod security;

use std::sync::Arc;

use annex_bundle_client::LoadError;
use annex_core::{HostName, InstallIdentity};
use annex_service::{Asked, RequestId, asked, requested_host};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

use crate::cache::{Cache, Content};
use crate::forward::Gateway;
use crate::refusal::Refusal;
use crate::registry::{Known, LookupError, Registry};
use file::Described;
use path::{UiPath, path_of};
use query::agrees;
use remembered::WholeFile;

pub(crate) use remembered::{Remembered, question};
pub use security::{FrameAncestors, FrameAncestorsError};
pub(crate) use security::{SecurityHeaders, protect};

/// What the public listener answers from. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) registry: Registry,
    /// None: nothing can be verified, and no pages are served.
    pub(crate) cache: Option<Arc<Cache>>,
    /// Whether the registry is asked about each path, too, and not about its host alone.
    pub(crate) strict: bool,
    /// Where an extension's calls go; none: there are none.
    pub(crate) gateway: Option<Gateway>,
    pub(crate) security: SecurityHeaders,
    pub(crate) remembered: Remembered,
}

/// Where files are.
pub(crate) const FILES: &str = "/ext-ui/{*path}";

/// Files, compressed for those who take it. Parts of files never are.
pub(crate) fn files(site: &Site) -> MethodRouter<Site> {
    // The fastest of each: it is done again for what was not asked for lately.
    let compression =
        CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(file::is_compressible);
    get(answer_file)
        .layer(compression)
        .layer(middleware::from_fn(file::weaken))
        .layer(middleware::from_fn_with_state(site.clone(), remembered::remember))
}

/// Which install the request's host is.
pub(crate) async fn identity(
    State(site): State<Site>,
    Extension(request_id): Extension<RequestId>,
    target: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let host = requested_host(&target, &headers)?;
    Ok(identity_response(site.identity_now(&host, &request_id).await?))
}

/// To the first page. What has none answers with its identity, and so does a runner that cannot verify.
pub(crate) async fn index(
    State(site): State<Site>,
    Extension(request_id): Extension<RequestId>,
    target: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let host = requested_host(&target, &headers)?;
    // The way in, where an install that ended is to be seen first.
    let identity = site.identity_now(&host, &request_id).await?;
    if !agrees(target.query(), &identity) {
        return Err(Refusal::NotFound);
    }
    let Some(cache) = &site.cache else { return Ok(identity_response(identity)) };
    let entry = match cache.get(&identity).await {
        Ok(bundle) => bundle.manifest().ui.as_ref().and_then(|ui| path_of(&identity, &ui.entry)),
        // Nothing was published: the catalog alone has it.
        Err(LoadError::Missing) => None,
        Err(error) => return Err(unserved(&host, &identity, &error)),
    };
    let Some(location) = entry.and_then(|path| HeaderValue::from_str(&path).ok()) else {
        return Ok(identity_response(identity));
    };
    Ok((StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response())
}

async fn answer_file(
    State(site): State<Site>,
    Extension(request_id): Extension<RequestId>,
    target: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let host = requested_host(&target, &headers)?;
    let path = UiPath::parse(target.path()).ok_or(Refusal::NotFound)?;
    let agree = |identity: &InstallIdentity| path.is_of(identity) && agrees(target.query(), identity);
    let Known { mut identity, is_of_now } = site.identity(&host, &request_id).await?;
    if !agree(&identity) && !is_of_now {
        // What the host was a moment ago says nothing of a page that came with an upgrade.
        identity = site.identity_now(&host, &request_id).await?;
    }
    if !agree(&identity) {
        return Err(Refusal::NotFound);
    }
    if !site.is_valid(&host, &identity, &request_id).await? {
        return Err(Refusal::NotFound);
    }
    let Some(cache) = &site.cache else {
        tracing::warn!(%host, "no pages are served: there is no trust bundle, or no file of the registry's keys");
        return Err(Refusal::VerificationFailed);
    };
    let failed = |error: LoadError| unserved(&host, &identity, &error);
    let bundle = cache.get(&identity).await.map_err(failed)?;
    let entry = bundle.file(&path.file).ok_or(Refusal::NotFound)?;
    let described = Described::new(&path.file, entry);
    let part = match asked(&headers, &described.etag, described.size) {
        Asked::NotModified => return Ok(described.not_modified()),
        Asked::Unsatisfiable => return Err(Refusal::RangeNotSatisfiable(described.size)),
        Asked::Whole => None,
        Asked::Part(part) => Some(part),
    };
    let range = part.clone().unwrap_or(0..described.size);
    let content = cache.read(&identity, bundle, (&path.file, entry), range).await.map_err(failed)?;
    let whole = matches!((&content, &part), (Content::Small(_), None));
    let mut response = described.with(content, part);
    if whole {
        let digest = *entry.digest.as_bytes();
        response.extensions_mut().insert(WholeFile { host, identity, digest });
    }
    Ok(response)
}

impl Site {
    pub(crate) async fn identity(&self, host: &HostName, request_id: &RequestId) -> Result<Known, Refusal> {
        known(host, self.registry.lookup(host, request_id).await)
    }

    /// The same, as the registry says it now.
    async fn identity_now(
        &self,
        host: &HostName,
        request_id: &RequestId,
    ) -> Result<InstallIdentity, Refusal> {
        known(host, self.registry.lookup_now(host, request_id).await)
    }

    /// Whether the registry stands by what it said of the host.
    async fn is_valid(
        &self,
        host: &HostName,
        identity: &InstallIdentity,
        request_id: &RequestId,
    ) -> Result<bool, Refusal> {
        if !self.strict {
            return Ok(true);
        }
        self.registry.validate(identity, request_id).await.map_err(|error| unanswered(host, error))
    }
}

fn identity_response(identity: InstallIdentity) -> Response {
    // The install may be upgraded or deleted at any time.
    ([(CACHE_CONTROL, "no-store")], Json(identity)).into_response()
}

fn known<T>(host: &HostName, answer: Result<Option<T>, Arc<LookupError>>) -> Result<T, Refusal> {
    answer.map_err(|error| unanswered(host, error))?.ok_or(Refusal::UnknownHost)
}

fn unanswered(host: &HostName, error: Arc<LookupError>) -> Refusal {
    let category = error.category();
    tracing::warn!(%host, category, error = format!("{:#}", anyhow::Error::from(error)), "lookup failed");
    Refusal::RegistryUnavailable
}

/// The log has the reason. Whoever browses is told no more than that there is one.
fn unserved(host: &HostName, identity: &InstallIdentity, error: &LoadError) -> Refusal {
    tracing::warn!(%host, content = %identity.content_hash, %error, "the bundle cannot be served");
    match error {
        LoadError::Missing => Refusal::NotFound,
        LoadError::Refused { .. } => Refusal::VerificationFailed,
        LoadError::Unavailable(_) => Refusal::RegistryUnavailable,
    }
}

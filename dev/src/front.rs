//! What stands before the runner's public listener, where in production the gateway asks for a token.
//!
//! Here it asks for none, so that a page of any site that its author has open could call the extension from the browser. Browsers say
//! whose page asks, and what is another's is refused. Names that lead to 127.0.0.1 do not help either: the runner answers on hosts that it knows.

use std::sync::Arc;

use annex_core::{ContentHash, InstallIdentity};
use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HOST, LOCATION, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use parking_lot::RwLock;
use serde_json::json;
use tokio::time::Instant;

use crate::terminal::CALLS;

const API: &str = "/api/ext/";
const PAGES: &str = "/ext-ui/";

/// What is installed now.
pub(crate) type Current = Arc<RwLock<Option<InstallIdentity>>>;

pub(crate) fn before(router: Router, current: Current) -> Router {
    router.layer(middleware::from_fn_with_state(current, front))
}

async fn front(State(current): State<Current>, request: Request, next: Next) -> Response {
    if is_of_another_page(request.headers(), request.uri()) {
        let body = json!({ "error": "a page of another origin may not call here", "code": "CrossOrigin" });
        return (StatusCode::FORBIDDEN, [(CACHE_CONTROL, "no-store")], Json(body)).into_response();
    }
    if text(request.headers(), "sec-fetch-mode") == Some("navigate") {
        let moved = current.read().as_ref().and_then(|identity| moved(request.uri(), identity));
        if let Some(location) = moved.and_then(|to| HeaderValue::from_str(&to).ok()) {
            return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location), (CACHE_CONTROL, NO_STORE)])
                .into_response();
        }
    }
    let (method, path, started) = (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let response = next.run(request).await;
    let status = response.status();
    // Browsers ask for it by themselves.
    let is_worth_a_line = path.starts_with(API) || (status.as_u16() >= 400 && path != "/favicon.ico");
    if is_worth_a_line {
        let milliseconds = started.elapsed().as_millis();
        tracing::info!(target: CALLS, "{method} {path} {} {milliseconds} ms", status.as_u16());
    }
    response
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Whether a browser says that the page that asks is of another origin. Whoever is no browser may say what it wants.
fn is_of_another_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let of_another_origin = headers.get_all(ORIGIN).iter().any(|origin| {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://")) != Some(host)
    });
    // A link from elsewhere to the page is one thing, a call another. `none`: typed by a person.
    let of_another_site = uri.path().starts_with(API)
        && text(headers, "sec-fetch-site").is_some_and(|site| !matches!(site, "same-origin" | "none"));
    of_another_origin || of_another_site
}

/// Where a page is now that was opened before a change: so that its author can load it anew.
fn moved(uri: &Uri, current: &InstallIdentity) -> Option<String> {
    let (extension, rest) = uri.path().strip_prefix(PAGES)?.split_once('/')?;
    let (hash, file) = rest.split_once('/')?;
    let former: ContentHash = hash.parse().ok()?;
    let is_former = extension == current.extension_id.as_str() && former != current.content_hash;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    is_former.then(|| format!("{PAGES}{extension}/{}/{file}{query}", current.content_hash))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(path: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost:8787"))]);
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        is_of_another_page(&map, &path.parse().unwrap())
    }

    #[test]
    fn pages_of_others_call_nothing() {
        let call = "/api/ext/com.example.a/notes";
        assert!(!is_refused(call, &[]));
        assert!(!is_refused(call, &[("origin", "http://localhost:8787"), ("sec-fetch-site", "same-origin")]));
        assert!(!is_refused(call, &[("sec-fetch-site", "none")]));
        for origin in [
            "https://evil.test",
            "http://localhost:3000",
            "http://localhost",
            "https://localhost:8787",
            "null",
        ] {
            assert!(
                is_refused(call, &[("origin", origin)]) && is_refused("/", &[("origin", origin)]),
                "{origin}"
            );
        }
        for site in ["cross-site", "same-site"] {
            assert!(is_refused(call, &[("sec-fetch-site", site)]), "{site}");
            assert!(!is_refused("/", &[("sec-fetch-site", site)]), "a link to the page");
        }
    }

    #[test]
    fn a_page_that_was_open_is_led_to_what_it_is_now() {
        let (former, now) = (ContentHash::from_sha256([1; 32]), ContentHash::from_sha256([2; 32]));
        let current = InstallIdentity {
            tenant_id: "dev".parse().unwrap(),
            extension_id: "com.example.a".parse().unwrap(),
            content_hash: now,
        };
        let moved = |path: String| moved(&path.parse().unwrap(), &current);
        assert_eq!(
            moved(format!("/ext-ui/com.example.a/{former}/ui/a.html?b=c")),
            Some(format!("/ext-ui/com.example.a/{now}/ui/a.html?b=c"))
        );
        for stays in [
            format!("/ext-ui/com.example.a/{now}/a.html"),
            format!("/ext-ui/com.example.b/{former}/a.html"),
            "/ext-ui/com.example.a/x/a.html".to_owned(),
            format!("/ext-ui/com.example.a/{former}"),
            "/".to_owned(),
        ] {
            assert_eq!(moved(stays.clone()), None, "{stays}");
        }
    }
}

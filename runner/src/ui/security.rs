//! The headers that hold a page in its place.

use std::fmt;
use std::str::FromStr;

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;

/// Who may show an extension's pages in a frame, as CSP's `frame-ancestors` has it: `'none'`, or `'self'` and origins such as
/// `https://app.example.com` and `https://*.example.com`, with spaces between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameAncestors(String);

/// Why a text says of nobody that they may frame pages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameAncestorsError {
    /// Nothing there.
    #[error("is empty; 'none' means nobody")]
    Empty,
    /// `'none'` beside others.
    #[error("has 'none' beside others")]
    NoneBesideOthers,
    /// Neither a keyword nor an origin.
    #[error("has {0:?}, which is neither 'none', 'self' nor an origin such as https://app.example.com")]
    Source(String),
}

impl FromStr for FrameAncestors {
    type Err = FrameAncestorsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sources: Vec<&str> = text.split_ascii_whitespace().collect();
        if sources.is_empty() {
            return Err(FrameAncestorsError::Empty);
        }
        if sources.len() > 1 && sources.contains(&"'none'") {
            return Err(FrameAncestorsError::NoneBesideOthers);
        }
        match sources.iter().find(|source| !matches!(**source, "'none'" | "'self'") && !is_origin(source)) {
            Some(source) => Err(FrameAncestorsError::Source((*source).to_owned())),
            None => Ok(Self(sources.join(" "))),
        }
    }
}

/// A scheme, a host that may begin with `*.`, and a port. Nothing in it can end the directive or begin another.
fn is_origin(source: &str) -> bool {
    let host = source.strip_prefix("https://").or_else(|| source.strip_prefix("http://"));
    host.map(|host| host.strip_prefix("*.").unwrap_or(host)).is_some_and(|host| {
        let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte));
        let bare = format!("http://{host}")
            .parse::<Uri>()
            .is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
        plain && bare
    })
}

impl fmt::Display for FrameAncestors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What of a device a page may use: nothing. Features that are not named here are asked of the user by the browser, or are harmless.
const PERMISSIONS: &str = "accelerometer=(), autoplay=(), bluetooth=(), browsing-topics=(), camera=(), display-capture=(), \
    encrypted-media=(), fullscreen=(), gamepad=(), geolocation=(), gyroscope=(), hid=(), idle-detection=(), \
    local-fonts=(), magnetometer=(), microphone=(), midi=(), payment=(), picture-in-picture=(), \
    publickey-credentials-get=(), screen-wake-lock=(), serial=(), storage-access=(), usb=(), web-share=(), \
    window-management=(), xr-spatial-tracking=()";

/// The headers of every answer. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SecurityHeaders {
    content_security_policy: HeaderValue,
}

impl SecurityHeaders {
    pub(crate) fn new(ancestors: &FrameAncestors) -> Self {
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors {ancestors}"
        );
        // What was parsed is ASCII. Were it not, a page that may do nothing is the safe answer.
        let content_security_policy = HeaderValue::from_str(&policy)
            .unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
        Self { content_security_policy }
    }

    /// As [`protect`] does with every answer.
    pub(crate) fn protect(&self, response: &mut Response) {
        let lasting = matches!(
            response.status(),
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
        );
        let headers = response.headers_mut();
        if !lasting || !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        self.set(headers);
    }

    fn set(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_SECURITY_POLICY, self.content_security_policy.clone());
        for (name, value) in [
            (REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("permissions-policy"), PERMISSIONS),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            // Tenants' hosts are one site. Each is to have a process of its own all the same.
            (HeaderName::from_static("origin-agent-cluster"), "?1"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

/// Gives every answer its headers, `nosniff` apart, which all services set. Only what a hashed path holds may be kept by others.
pub(crate) async fn protect(
    State(security): State<SecurityHeaders>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    security.protect(&mut response);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_keywords_are_taken() {
        for text in [
            "'none'",
            "'self'",
            "https://app.example.com",
            "'self' https://*.example.com:8443 http://localhost:3000",
        ] {
            let ancestors: FrameAncestors = text.parse().unwrap();
            let policy = SecurityHeaders::new(&ancestors).content_security_policy;
            assert!(policy.to_str().unwrap().ends_with(&format!("; frame-ancestors {text}")), "{policy:?}");
        }
    }

    #[test]
    fn nothing_else_gets_into_the_policy() {
        for text in [
            "",
            " ",
            "'none' https://a.example",
            "*",
            "https:",
            "https://",
            "https://*",
            "https://a.example/path",
            "https://a.example; script-src *",
            "https://a.example;script-src",
            "https://a.example,https://b.example",
            "app.example.com",
            "https://u@a.example",
            "'unsafe-inline'",
            "https://ü.example",
        ] {
            assert!(text.parse::<FrameAncestors>().is_err(), "{text}");
        }
    }
}

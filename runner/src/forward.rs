//! `/api/ext/{extension}/…` on an extension's own host: to the gateway, so that a page calls its API at its own origin.
//!
//! Who may call what is the gateway's to say. What is checked here is that the page of one extension reaches no other one.

use std::time::Duration;

use annex_engine::hop_by_hop;
use annex_service::{REQUEST_ID_HEADER, RequestId, requested_host};
use anyhow::Context as _;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use reqwest::{Certificate, Client, Url, redirect};

use crate::authorities::checked_by;
use crate::refusal::Refusal;
use crate::registry::Known;
use crate::ui::Site;

/// Where calls are.
pub(crate) const CALLS: &str = "/api/ext/{extension}/{*path}";

/// The gateway ends a call by its own timeouts, which are minutes at the most. This is for one that does not.
const WITHIN: Duration = Duration::from_secs(15 * 60);

/// The gateway, over one pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    client: Client,
    base: Url,
}

impl Gateway {
    /// The gateway at `base`. `authorities`: what an https one is checked by; none means the system's.
    ///
    /// # Errors
    /// TLS cannot be set up, or `base` cannot have a path.
    pub(crate) fn new(base: Url, authorities: Option<Vec<Certificate>>) -> anyhow::Result<Self> {
        anyhow::ensure!(!base.cannot_be_a_base(), "the gateway's URL has no place for a path");
        let client = Client::builder().timeout(WITHIN).no_proxy().redirect(redirect::Policy::none());
        let client = checked_by(client, &base, authorities).build().context("a client of the gateway")?;
        Ok(Self { client, base })
    }

    /// Where the gateway answers what was asked of `target`. The path goes on as it came: what its escapes mean, the gateway says. None: a URL
    /// makes another path of it, as of dots, which may be another extension's.
    fn url(&self, target: &Uri) -> Option<Url> {
        let mut url = self.base.clone();
        url.set_path(target.path());
        url.set_query(target.query());
        (url.path() == target.path()).then_some(url)
    }

    async fn send(
        &self,
        url: Url,
        request: Request,
        request_id: &RequestId,
    ) -> Result<Response, reqwest::Error> {
        let (head, body) = request.into_parts();
        let mut headers = end_to_end(head.headers);
        if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
            headers.insert(REQUEST_ID_HEADER, id);
        }
        let body = reqwest::Body::wrap_stream(body.into_data_stream());
        let answer = self.client.request(head.method, url).headers(headers).body(body).send().await?;
        let (status, headers) = (answer.status(), end_to_end(answer.headers().clone()));
        let mut response = Response::new(Body::from_stream(answer.bytes_stream()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Calls of this host's extension.
pub(crate) fn calls() -> MethodRouter<Site> {
    any(forward)
}

async fn forward(
    State(site): State<Site>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Refusal> {
    let gateway = site.gateway.clone().ok_or(Refusal::NotFound)?;
    let host = requested_host(request.uri(), request.headers())?;
    let Known { identity, .. } = site.identity(&host, &request_id).await?;
    // The text of the path and not what it decodes to: a name has nothing to escape.
    let called = request.uri().path().strip_prefix("/api/ext/").and_then(|rest| rest.split('/').next());
    if called != Some(identity.extension_id.as_str()) {
        return Err(Refusal::NotFound);
    }
    let url = gateway.url(request.uri()).ok_or(Refusal::NotFound)?;
    gateway.send(url, request, &request_id).await.map_err(|error| {
        tracing::warn!(%host, error = format!("{:#}", anyhow::Error::from(error.without_url())), "the gateway does not answer");
        Refusal::GatewayUnavailable
    })
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    // Without its host, the gateway would not know whose call it is.
    for name in hop_by_hop(&headers).into_iter().filter(|name| *name != header::HOST) {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_on_as_it_came_or_not_at_all() {
        annex_service::install_tls_provider();
        let gateway = Gateway::new("http://gateway.test/".parse().unwrap(), Some(Vec::new())).unwrap();
        let url = |target: &str| gateway.url(&target.parse().unwrap()).map(|url| url.to_string());
        for target in [
            "/api/ext/a.b/notes/7?x=%2e%2e",
            "/api/ext/a.b/%6eotes//..%2f",
            "/api/ext/a.b/%zz?",
            "/api/ext/a.b",
        ] {
            assert_eq!(url(target), Some(format!("http://gateway.test{target}")));
        }
        for target in [
            "/api/ext/a.b/../c.d/",
            "/api/ext/a.b/%2e%2E/c.d",
            "/api/ext/a.b/./x",
            "/api/ext/a.b/..",
            "/api/ext/a.b\\..\\c.d",
        ] {
            assert_eq!(url(target), None, "{target}");
        }
    }

    #[test]
    fn what_is_between_neighbours_stays_there_and_the_host_goes_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "a.example"),
            ("connection", "close, X-Mine, host"),
            ("x-mine", "1"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer t"),
            ("content-length", "3"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut names: Vec<_> = end_to_end(headers).keys().map(ToString::to_string).collect();
        names.sort();
        assert_eq!(names, ["authorization", "content-length", "host"]);
    }
}

//! `/api/ext/{extension}/…` on an extension's own host: to the gateway, so that a page calls its API at its own origin.
//!
//! Who may call what is the gateway's to say. What is checked here is that the page of one extension reaches no other one.

use std::time::Duration;

use annex_service::{REQUEST_ID_HEADER, RequestId, requested_host};
use anyhow::Context as _;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use reqwest::{Certificate, Client, Url, redirect};

use crate::refusal::Refusal;
use crate::ui::Site;

/// Where calls are.
pub(crate) const CALLS: &str = "/api/ext/{extension}/{*path}";

/// The gateway ends a call by its own timeouts, which are minutes at the most. This is for one that does not.
const WITHIN: Duration = Duration::from_secs(15 * 60);

/// What is between two neighbours on the wire (RFC 9110, section 7.6.1), and what the client here says itself.
const NOT_FORWARDED: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

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
        let mut client = Client::builder().timeout(WITHIN).no_proxy().redirect(redirect::Policy::none());
        if let Some(authorities) = authorities {
            client = client.tls_certs_only(authorities);
        }
        Ok(Self { client: client.build().context("a client of the gateway")?, base })
    }

    async fn send(&self, request: Request, request_id: &RequestId) -> Result<Response, reqwest::Error> {
        let (head, body) = request.into_parts();
        let mut url = self.base.clone();
        // As it came: what its escapes mean, the gateway says.
        url.set_path(head.uri.path());
        url.set_query(head.uri.query());
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
    let identity = site.identity(&host, &request_id).await?;
    // The text of the path and not what it decodes to: a name has nothing to escape.
    let called = request.uri().path().strip_prefix("/api/ext/").and_then(|rest| rest.split('/').next());
    if called != Some(identity.extension_id.as_str()) {
        return Err(Refusal::NotFound);
    }
    gateway.send(request, &request_id).await.map_err(|error| {
        tracing::warn!(%host, error = format!("{:#}", anyhow::Error::from(error.without_url())), "the gateway does not answer");
        Refusal::GatewayUnavailable
    })
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Without its host, the gateway would not know whose call it is.
        .filter(|name| *name != header::HOST)
        .collect();
    for name in NOT_FORWARDED.into_iter().chain(named) {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

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

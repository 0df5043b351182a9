//! The public listener: what a browser sees.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use annex_core::IDENTITY_PATH;
use annex_service::{RequestId, attach_request_id};
use axum::body::HttpBody;
use axum::extract::State;
use axum::http::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use axum::{BoxError, Router};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::Service;

use crate::forward;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::ui::{self, Site, protect, question};

/// What answers there. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Public {
    before: Arc<Before>,
    router: Router,
}

/// By which what was answered a moment ago is answered before anything else is done: layers, routes and spans take longer than all of it.
struct Before {
    site: Site,
    metrics: Arc<Metrics>,
}

impl Public {
    pub(crate) fn new(site: Site, metrics: Arc<Metrics>) -> Self {
        let before = Before { site: site.clone(), metrics: Arc::clone(&metrics) };
        Self { before: Arc::new(before), router: router(site, metrics) }
    }
}

impl<B> Service<Request<B>> for Public
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(question) = question(&request) else { return self.router.call(request).boxed() };
        let Self { before, mut router } = self.clone();
        async move {
            match before.site.again(&question).await {
                Some(response) => Ok(before.finish(response)),
                None => router.call(request).await,
            }
        }
        .boxed()
    }
}

impl Before {
    /// What the layers of the router do, as far as it is another each time.
    fn finish(&self, mut response: Response) -> Response {
        RequestId::new().attach_to(&mut response);
        self.metrics.answered(response.status());
        self.metrics.answered_again();
        response
    }
}

fn router(site: Site, metrics: Arc<Metrics>) -> Router {
    let security = site.security.clone();
    Router::new()
        .route("/", get(ui::index))
        .route(IDENTITY_PATH, get(ui::identity))
        .route(ui::FILES, ui::files(&site))
        .route(forward::CALLS, forward::calls())
        // For Knative, which probes the port that it routes to. It says nothing that the port itself does not.
        .route("/healthz", get("ok"))
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .with_state(site)
        .layer(middleware::from_fn_with_state(security, protect))
        .layer(middleware::from_fn(attach_request_id))
        // Outermost, so that nothing that is answered goes uncounted.
        .layer(middleware::from_fn_with_state(metrics, count))
}

async fn count(State(metrics): State<Arc<Metrics>>, request: axum::extract::Request, next: Next) -> Response {
    let response = next.run(request).await;
    metrics.answered(response.status());
    response
}

use std::sync::Arc;

use annex_core::HostName;
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::json;

use crate::routes::Routes;

struct Lookup {
    routes: Arc<Routes>,
    complete: Box<dyn Fn() -> bool + Send + Sync>,
}

#[derive(Deserialize)]
struct ByHost {
    host: Option<String>,
}

/// `GET /api/installs/lookup-by-host?host=`: 200 with the identity, 400 malformed, 404 unknown. While the installs of
/// some shard are not known yet, an unknown host is a 503: it may be one of theirs.
///
/// `complete` says whether all installs are known.
pub(crate) fn router(routes: Arc<Routes>, complete: impl Fn() -> bool + Send + Sync + 'static) -> Router {
    let lookup = Lookup { routes, complete: Box::new(complete) };
    Router::new().route("/api/installs/lookup-by-host", get(by_host)).with_state(Arc::new(lookup))
}

async fn by_host(State(lookup): State<Arc<Lookup>>, Query(query): Query<ByHost>) -> Response {
    let Some(host) = query.host else {
        return refusal(StatusCode::BAD_REQUEST, "MalformedHost", "the query names no host");
    };
    let host = match host.parse::<HostName>() {
        Ok(host) => host,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, "MalformedHost", &format!("the host {error}")),
    };
    match lookup.routes.lookup(&host) {
        Some(identity) => Json(identity).into_response(),
        None if !(lookup.complete)() => {
            refusal(StatusCode::SERVICE_UNAVAILABLE, "NotSynced", "not all installs are known yet")
        }
        None => refusal(StatusCode::NOT_FOUND, "UnknownHost", "no install answers on this host"),
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "code": code, "error": message }))).into_response()
}

#[cfg(test)]
mod tests {
    use annex_core::InstallIdentity;
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use kube_kcp::ObjectKey;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    const HOST: &str = "acme--hello.apps.localhost";

    fn identity() -> InstallIdentity {
        serde_json::from_value(json!({
            "tenant_id": "acme", "extension_id": "com.example.hello", "content_hash": format!("sha256:{}", "0a".repeat(32)),
        }))
        .unwrap()
    }

    /// Asks a lookup that knows one host.
    async fn answer(query: &str, complete: bool) -> (u16, Value) {
        let routes = Arc::new(Routes::default());
        let install =
            ObjectKey { cluster: "acme".parse().unwrap(), namespace: "default".into(), name: "hello".into() };
        routes.set(&install, &HOST.parse().unwrap(), identity());
        let request =
            Request::get(format!("/api/installs/lookup-by-host{query}")).body(Body::empty()).unwrap();
        let response = router(routes, move || complete).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn code((status, body): (u16, Value)) -> (u16, String) {
        let (code, error) = (body["code"].as_str().unwrap(), body["error"].as_str().unwrap());
        assert!(!error.is_empty());
        (status, code.to_owned())
    }

    #[tokio::test]
    async fn a_known_host_has_its_identity_even_before_all_are_known() {
        for complete in [true, false] {
            let (status, body) = answer(&format!("?host={HOST}"), complete).await;
            assert_eq!((status, body), (200, serde_json::to_value(identity()).unwrap()), "{complete}");
        }
    }

    #[tokio::test]
    async fn an_unknown_host_is_not_found_once_all_are_known() {
        let query = "?host=nobody--nothing.apps.localhost";
        assert_eq!(code(answer(query, true).await), (404, "UnknownHost".into()));
        assert_eq!(code(answer(query, false).await), (503, "NotSynced".into()));
    }

    #[tokio::test]
    async fn what_is_no_host_is_malformed_and_never_unknown() {
        for query in [
            "",
            "?other=x",
            "?host=",
            "?host=a%20b",
            "?host=..",
            "?host=user@a.example.com",
            "?host=%5B::1%5D",
        ] {
            for complete in [true, false] {
                assert_eq!(
                    code(answer(query, complete).await),
                    (400, "MalformedHost".into()),
                    "{query} {complete}"
                );
            }
        }
    }
}

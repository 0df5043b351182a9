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

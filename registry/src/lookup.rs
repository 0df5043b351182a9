//! `GET /api/installs/lookup-by-host` and `…/validate`.

use std::sync::Arc;

use annex_answering::Refusal;
use annex_core::{ContentHash, ExtensionId, HostName, InstallIdentity, TenantId};
use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
};
use kube_kcp::ClusterName;
use serde_json::{Value, json};

use crate::{
    app::App,
    query::one,
    runner_auth::{covers, scope},
};

/// Which install a host is.
pub(crate) async fn by_host(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<InstallIdentity>, Refusal> {
    let result = look_up(&app, query.as_deref(), &headers);
    app.metrics.looked_up(result.as_ref().map_or_else(|refusal| refusal.code, |_| "Found"));
    result.map(Json)
}

fn look_up(app: &App, query: Option<&str>, headers: &HeaderMap) -> Result<InstallIdentity, Refusal> {
    let scope = scope(app, headers)?;
    let malformed = |message: String| Refusal::new(StatusCode::BAD_REQUEST, "MalformedHost", message);
    let host = one(query, "host").map_err(|error| malformed(error.to_owned()))?;
    let host: HostName = host.parse().map_err(|error| malformed(format!("the host {error}")))?;
    match app.installs.lookup(&app.catalog, &host).filter(|(cluster, _)| covers(&scope, cluster)) {
        Some((_, identity)) => Ok(identity),
        None if !app.is_synced() => Err(Refusal::not_synced()),
        None => Err(Refusal::new(StatusCode::NOT_FOUND, "UnknownHost", "no install answers on this host")),
    }
}

/// Whether a tenant has a content.
pub(crate) async fn validate(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let scope = scope(&app, &headers)?;
    let query = query.as_deref();
    let (tenant, extension, hash) = (one(query, "tenant"), one(query, "extension"), one(query, "hash"));
    let tenant = tenant.map_err(Refusal::malformed)?.parse::<TenantId>();
    let tenant = tenant.map_err(|error| Refusal::malformed(format!("the tenant {error}")))?;
    let extension = extension.map_err(Refusal::malformed)?.parse::<ExtensionId>();
    let extension = extension.map_err(|error| Refusal::malformed(format!("the extension {error}")))?;
    let hash = hash.map_err(Refusal::malformed)?.parse::<ContentHash>();
    let hash = hash.map_err(|error| Refusal::malformed(format!("the hash {error}")))?;
    let covers = |cluster: &ClusterName| covers(&scope, cluster);
    let valid = app.installs.validate(&app.catalog, (&tenant, &extension, &hash), covers);
    if !valid && !app.is_synced() {
        return Err(Refusal::not_synced());
    }
    Ok(Json(json!({ "valid": valid })))
}

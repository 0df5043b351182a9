//! A double of the registry for one install: the questions that a runner asks, over the same paths, answered out of memory.
//!
//! Which install a host is, is looked up by the code of the real one; what is missing is its store, kcp, and publishing.

use std::collections::VecDeque;
use std::sync::Arc;

use annex_answering::{Catalog, Installs};
use annex_core::{ContentHash, ExtensionId, HostName, InstallIdentity, TenantId};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::signing::Published;

/// The versions that are kept: the one that answers, and those of calls that are still under way.
const KEPT: usize = 4;

pub(crate) struct Registry {
    pub(crate) catalog: Catalog,
    pub(crate) installs: Arc<Installs>,
    bundles: RwLock<VecDeque<(ContentHash, Arc<Published>)>>,
}

impl Registry {
    pub(crate) fn new(catalog: Catalog, installs: Arc<Installs>) -> Self {
        Self { catalog, installs, bundles: RwLock::default() }
    }

    /// Has it handed out from now on.
    pub(crate) fn keep(&self, content: ContentHash, published: Published) {
        let mut bundles = self.bundles.write();
        bundles.retain(|(kept, _)| *kept != content);
        bundles.push_front((content, Arc::new(published)));
        bundles.truncate(KEPT);
    }

    fn published(&self, content: ContentHash) -> Option<Arc<Published>> {
        self.bundles.read().iter().find(|(kept, _)| *kept == content).map(|(_, published)| published.clone())
    }
}

pub(crate) fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/api/installs/lookup-by-host", get(lookup))
        .route("/api/installs/validate", get(validate))
        .route("/bundles/sha256/{hash}/{file}", get(file))
        .with_state(registry)
}

#[derive(Deserialize)]
struct ByHost {
    host: String,
}

async fn lookup(
    State(registry): State<Arc<Registry>>,
    Query(asked): Query<ByHost>,
) -> Result<Json<InstallIdentity>, StatusCode> {
    let host: HostName = asked.host.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    let found = registry.installs.lookup(&registry.catalog, &host);
    found.map(|(_, identity)| Json(identity)).ok_or(StatusCode::NOT_FOUND)
}

#[derive(Deserialize)]
struct Asked {
    tenant: TenantId,
    extension: ExtensionId,
    hash: ContentHash,
}

async fn validate(State(registry): State<Arc<Registry>>, Query(asked): Query<Asked>) -> Json<Value> {
    let named = (&asked.tenant, &asked.extension, &asked.hash);
    Json(json!({ "valid": registry.installs.validate(&registry.catalog, named, |_| true) }))
}

async fn file(
    State(registry): State<Arc<Registry>>,
    Path((hash, file)): Path<(String, String)>,
) -> Result<Vec<u8>, StatusCode> {
    let content: ContentHash = format!("sha256:{hash}").parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    let published = registry.published(content).ok_or(StatusCode::NOT_FOUND)?;
    match file.as_str() {
        "bundle.tar.zst" => Ok(published.archive.clone()),
        "bundle.sig" => Ok(published.signature.clone()),
        "receipt.json" => Ok(published.receipt.clone()),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

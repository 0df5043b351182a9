//! A registry that hands out what it was given: the answers of one, and no registry.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use annex_service::Tls;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The three files of a bundle, as they are handed out.
#[derive(Clone, Debug)]
pub struct Stored {
    pub archive: Vec<u8>,
    pub signature: Vec<u8>,
    pub receipt: Vec<u8>,
}

/// What it knows. It may change between two questions.
#[derive(Debug, Default)]
pub struct Known {
    /// By host.
    pub installs: HashMap<String, Value>,
    /// By the hexadecimal digits of the content hash.
    pub bundles: HashMap<String, Stored>,
    /// What `validate` says no to, though a host has it.
    pub withdrawn: bool,
    /// How often an archive was handed out.
    pub archives: usize,
    /// How often it was asked which install a host is.
    pub lookups: usize,
    /// What `validate` was asked.
    pub validated: Vec<HashMap<String, String>>,
    /// Bundles cannot be had just now.
    pub store_is_down: bool,
}

pub struct PublishedRegistry {
    pub url: String,
    known: Arc<Mutex<Known>>,
    serving: JoinHandle<()>,
}

impl PublishedRegistry {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let known = Arc::<Mutex<Known>>::default();
        let router = Router::new()
            .route("/api/installs/lookup-by-host", get(lookup))
            .route("/api/installs/validate", get(validate))
            .route("/bundles/sha256/{hash}/{file}", get(file))
            .with_state(known.clone());
        let never = std::future::pending();
        let serving = tokio::spawn(annex_service::serve_until(listener, Tls::default(), router, never));
        Self { url, known, serving }
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }
}

impl Drop for PublishedRegistry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn lookup(
    State(known): State<Arc<Mutex<Known>>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let mut known = known.lock().unwrap();
    let host = &query["host"];
    if host != "readiness.invalid" {
        known.lookups += 1;
    }
    match known.installs.get(host) {
        Some(identity) => Json(identity.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn validate(
    State(known): State<Arc<Mutex<Known>>>,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let mut known = known.lock().unwrap();
    let asked = json!({
        "tenant_id": query.get("tenant"), "extension_id": query.get("extension"), "content_hash": query.get("hash"),
    });
    known.validated.push(query);
    let valid = !known.withdrawn && known.installs.values().any(|identity| *identity == asked);
    Json(json!({ "valid": valid }))
}

async fn file(
    State(known): State<Arc<Mutex<Known>>>,
    Path((hash, file)): Path<(String, String)>,
) -> Result<Vec<u8>, StatusCode> {
    let mut known = known.lock().unwrap();
    if known.store_is_down {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let stored = known.bundles.get(&hash).cloned().ok_or(StatusCode::NOT_FOUND)?;
    match file.as_str() {
        "bundle.tar.zst" => {
            known.archives += 1;
            Ok(stored.archive)
        }
        "bundle.sig" => Ok(stored.signature),
        "receipt.json" => Ok(stored.receipt),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

//! What a runner needs around it: bundles that are really packed, signed and received, a registry that hands them out (the answers of one,
//! and no registry), and the operator's files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annex_bundle::{
    Denylist, Discard, KeyType, Limits, PublishPolicy, RegistryKey, RegistryKeys, SigningKey, TrustBundle,
    issue_receipt, pack_files, sign, verify_at_publish,
};
use annex_core::ContentHash;
use anyhow::Result;
use axum::Router;
use axum::extract::{self, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::calls::Gateway;
use super::process::{Process, free_address};

/// The host that the pages are on.
pub(super) const HOST: &str = "acme--pages.apps.localhost";

#[derive(Clone, Debug)]
struct Stored {
    archive: Bytes,
    signature: Bytes,
    receipt: Bytes,
}

#[derive(Debug, Default)]
struct Known {
    /// What [`HOST`] is, as JSON.
    install: Bytes,
    bundles: HashMap<String, Stored>,
}

type Shared = Arc<parking_lot::RwLock<Known>>;

/// A publisher, a registry, and a folder with all that runners read and keep.
pub(super) struct Published {
    pub(super) folder: TempDir,
    url: String,
    publisher: SigningKey,
    registry: SigningKey,
    known: Shared,
}

impl Published {
    pub(super) async fn new() -> Result<Self> {
        let (publisher, registry) =
            (SigningKey::generate(KeyType::Ed25519)?, SigningKey::generate(KeyType::Ed25519)?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let known = Shared::default();
        let router = Router::new()
            .route("/api/installs/lookup-by-host", get(lookup))
            .route("/api/installs/validate", get(async || r#"{"valid":true}"#))
            .route("/bundles/sha256/{hash}/{file}", get(file))
            .with_state(Arc::clone(&known));
        tokio::spawn(annex_service::serve_until(
            listener,
            annex_service::Tls::default(),
            router,
            std::future::pending(),
        ));
        let published = Self { folder: tempfile::tempdir()?, url, publisher, registry, known };
        fs::write(published.at("trust.pem"), published.trust())?;
        fs::write(published.at("denylist"), "")?;
        let public = RegistryKey::new(published.registry.public_key().clone(), Timestamp::UNIX_EPOCH, None);
        fs::write(published.at("keys.json"), RegistryKeys::new(vec![public]).to_json())?;
        Ok(published)
    }

    /// Packs, signs and receives a bundle.
    pub(super) fn publish(
        &self,
        name: &str,
        component: &[u8],
        files: &[(&str, Vec<u8>)],
    ) -> Result<ContentHash> {
        let mut manifest = json!({ "name": name, "publisher": "example.com", "version": "1.0.0" });
        if let (Some((entry, _)), Some(manifest)) = (files.first(), manifest.as_object_mut()) {
            manifest.insert("ui".to_owned(), json!({ "entry": entry }));
        }
        let manifest = manifest.to_string();
        let own = [("manifest.json", manifest.as_bytes()), ("main.wasm", component)];
        let given = files.iter().map(|(path, bytes)| (*path, bytes.as_slice()));
        let mut archive = Vec::new();
        let unpacked = pack_files(own.into_iter().chain(given), &Limits::default(), &mut archive)?;
        let signature = sign(&unpacked, &self.publisher, &[], Timestamp::now())?;
        let trust = TrustBundle::parse(self.trust().as_bytes())?;
        let (denylist, limits) = (Denylist::default(), Limits::default());
        let policy =
            PublishPolicy { trust: &trust, denylist: &denylist, now: Timestamp::now(), limits: &limits };
        let verified = verify_at_publish(archive.as_slice(), Some(&signature), &policy, Discard)?;
        let receipt = issue_receipt(&verified, &self.registry)?;
        let hash = unpacked.content_hash;
        let stored = Stored { archive: archive.into(), signature: signature.into(), receipt: receipt.into() };
        self.known.write().bundles.insert(hash.hex(), stored);
        Ok(hash)
    }

    /// Has [`HOST`] be this extension.
    pub(super) fn install(&self, extension: &str, hash: &ContentHash) {
        let identity =
            json!({ "tenant_id": "acme", "extension_id": extension, "content_hash": hash.to_string() });
        self.known.write().install = identity.to_string().into();
    }

    fn trust(&self) -> String {
        format!("# annex-publisher: example.com\n{}", self.publisher.public_key().to_pem())
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A runner as a process of its own, with what it kept under this name before. All limits, checks and metrics are on, as they always are.
    pub(super) fn runner(&self, program: &Path, gateway: &Gateway, name: &str) -> Result<Runner> {
        let (public, internal) = (free_address()?, free_address()?);
        let at = |file: &str| self.at(file).display().to_string();
        let arguments = [
            ("--listen", public.to_string()),
            ("--internal-listen", internal.to_string()),
            ("--registry-base-url", self.url.clone()),
            ("--trust-bundle", at("trust.pem")),
            ("--denylist", at("denylist")),
            ("--registry-keys", at("keys.json")),
            ("--grant-keys", gateway.for_a_runner()?),
            ("--storage-url", format!("sqlite://{}", at(&format!("{name}.db")))),
            ("--cache-dir", at(&format!("{name}-bundles"))),
            ("--code-cache-dir", at(&format!("{name}-code"))),
        ];
        let arguments = arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        let log = self.at(&format!("{name}.log"));
        let process = Process::start(program, arguments, &log, || is_ready(internal))?;
        Ok(Runner { process, public, internal })
    }
}

/// A runner, and where it listens.
pub(super) struct Runner {
    pub(super) process: Process,
    pub(super) public: std::net::SocketAddr,
    pub(super) internal: std::net::SocketAddr,
}

/// Whether `/readyz` says so: the registry answered, and calls are executed.
fn is_ready(address: std::net::SocketAddr) -> bool {
    answer_to(address, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// The whole answer to a GET. None: nobody answers.
pub(super) fn answer_to(address: std::net::SocketAddr, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

async fn lookup(State(known): State<Shared>, Query(query): Query<HashMap<String, String>>) -> Response {
    if query.get("host").is_some_and(|host| host == HOST) {
        return known.read().install.clone().into_response();
    }
    StatusCode::NOT_FOUND.into_response()
}

async fn file(
    State(known): State<Shared>,
    extract::Path((hash, file)): extract::Path<(String, String)>,
) -> Result<Bytes, StatusCode> {
    let known = known.read();
    let stored = known.bundles.get(&hash).ok_or(StatusCode::NOT_FOUND)?;
    match file.as_str() {
        "bundle.tar.zst" => Ok(stored.archive.clone()),
        "bundle.sig" => Ok(stored.signature.clone()),
        "receipt.json" => Ok(stored.receipt.clone()),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

//! An authority of our own, a service under its certificates, and a client that knows that authority alone.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use annex_service::{Certificates, KeyPairFiles, Operations, Status, Tls, serve_until};
use axum::{Router, body::Body, http::Request, routing::get};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower::ServiceExt as _;

/// Who signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn pair(&self, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.sign(CertificateParams::new(names).unwrap())
    }

    /// For localhost, until the first day of `year`.
    pub fn pair_until(&self, year: i32) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// `tls.crt` and `tls.key` in a folder.
pub struct Files(PathBuf);

impl Files {
    pub fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    pub fn names(&self) -> KeyPairFiles {
        KeyPairFiles { cert: self.0.join("tls.crt"), key: self.key() }
    }

    pub fn key(&self) -> PathBuf {
        self.0.join("tls.key")
    }

    pub fn replace(&self, pair: &Pair) {
        fs::write(self.0.join("tls.crt"), &pair.cert).unwrap();
        fs::write(self.key(), &pair.key).unwrap();
    }
}

/// Something that listens, until it is dropped.
pub struct Listening {
    pub address: SocketAddr,
    pub tls: Tls,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Listening {
    pub async fn start(folder: &Path) -> Self {
        let files = Files::new(folder).names();
        Self::with(Certificates::default().listener("test", Some(files)).unwrap()).await
    }

    pub async fn with(tls: Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let router = Router::new().route("/", get(async || "hello"));
        let serving = tokio::spawn(serve_until(listener, tls.clone(), router, async {
            let _ = stopped.await;
        }));
        Self { address, tls, stop: Some(stop), serving }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A listener with its operator's side.
pub struct Service {
    pub address: SocketAddr,
    pub tls: Tls,
    pub files: Files,
    operations: Router,
    listening: Listening,
    _folder: TempDir,
}

impl Service {
    pub async fn start(pair: &Pair) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path());
        files.replace(pair);
        let mut registry = Registry::with_prefix("annex_test");
        let certificates = Certificates::register(&mut registry);
        let tls = certificates.listener("test", Some(files.names())).unwrap();
        let operations = Operations { status: Box::new(Status::default), registry, certificates }.router();
        let listening = Listening::with(tls.clone()).await;
        Self { address: listening.address, tls, files, operations, listening, _folder: folder }
    }

    /// What the operator's listener answers.
    pub async fn operations(&self, path: &str) -> String {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.operations.clone().oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// What `/readyz` answers once the files have been looked at and it says this. The listener's own look may be under way, and may
    /// have read what was there before.
    pub async fn told(&self, message: &str) -> String {
        let mut ready = String::new();
        eventually(message, async || {
            self.tls.check().await;
            ready = self.operations("/readyz").await;
            ready.contains(message)
        })
        .await;
        ready
    }

    /// When the metrics say that the certificate ends.
    pub async fn not_after(&self) -> i64 {
        let name = r#"annex_test_tls_not_after_seconds{listener="test"} "#;
        let metrics = self.operations("/metrics").await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).parse().unwrap()
    }

    /// Ends it, and returns when all connections have ended.
    pub async fn stop(mut self) {
        self.listening.stop.take().unwrap().send(()).unwrap();
        (&mut self.listening.serving).await.unwrap();
    }
}

/// One connection, kept open.
pub struct Connection(TlsStream<TcpStream>);

impl Connection {
    pub async fn open(address: SocketAddr, trusted: &Authority) -> std::io::Result<Self> {
        Self::open_with(address, trusted, rustls::ALL_VERSIONS).await
    }

    pub async fn open_with(
        address: SocketAddr,
        trusted: &Authority,
        versions: &[&'static SupportedProtocolVersion],
    ) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.issuer.pem().as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = TcpStream::connect(address).await?;
        let name = "localhost".try_into().unwrap();
        Ok(Self(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }

    pub fn alpn(&self) -> Option<&[u8]> {
        self.0.get_ref().1.alpn_protocol()
    }

    /// Asks, and leaves the connection open.
    pub async fn get(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.expect("an answer has its length").parse().unwrap();
                if body.len() >= length {
                    return body.to_owned();
                }
            }
            let mut chunk = [0; 1024];
            let read = self.0.read(&mut chunk).await.unwrap();
            assert!(read > 0, "the connection was closed after {text:?}");
            answer.extend_from_slice(&chunk[..read]);
        }
    }
}

/// Waits until `condition` holds, at most thirty seconds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

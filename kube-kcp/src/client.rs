use std::{
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt as _};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{
        self,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _, middleware::BaseUriLayer},
    config::KubeconfigError,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tower::{BoxError, Layer as _, Service, ServiceBuilder, service_fn, util::BoxCloneSyncService};

use crate::{
    ClusterName, Fence, ShardUrl,
    answer::{Answer, Size},
    lanes::{Lane, Lanes, Source},
};

pub(crate) type Shared = BoxCloneSyncService<Request<Body>, Response<Answer<Incoming>>, BoxError>;

const LANES: usize = 8;

/// How long is waited for a server that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the head of an answer. The body may take longer, and a watch's never ends.
    pub answer: Duration,
    /// An HTTP/2 connection is asked for a sign of life after so much silence ...
    pub ping_after: Duration,
    /// ... and is taken for dead if none comes for so long.
    pub ping: Duration,
}

impl Default for Timeouts {
    /// 10 s for a connection, 30 s for an answer; a connection that is half open is noticed within 30 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            ping_after: Duration::from_secs(20),
            ping: Duration::from_secs(10),
        }
    }
}

/// How long a connection that nobody uses stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
const BOUNDED_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// What holds for a server that is not trusted.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// What is connected to, whatever the name in the URL leads to. The certificate is still checked against the URL. A URL with
    /// an address in place of a name is connected to by that address: whoever vets addresses has to vet that one.
    pub addresses: Vec<SocketAddr>,
    /// The most bytes of one answer. A longer one is an error once they have been read,
    /// [`AnswerTooLarge`](crate::AnswerTooLarge); a watch ends then.
    pub answer_bytes: usize,
    /// The most JSON objects of one answer, nested ones included. More are the same error. Bytes alone do not bound memory: `{},`
    /// are three of them, and an item of a list with no field set takes some 500 once it is read.
    pub answer_objects: usize,
}

/// Why no connection could be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig's TLS or credentials.
    #[error("the kubeconfig cannot be used: {0}")]
    Config(#[from] kube::Error),
    /// A URL that cannot be asked.
    #[error("not a URL: {0}")]
    Url(#[from] http::uri::InvalidUri),
    /// The kubeconfig's file.
    #[error("{path} cannot be read: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// What the kubeconfig says.
    #[error("{path} is no kubeconfig that can be used: {error}")]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: KubeconfigError,
    },
    /// Certificates that are none.
    #[error("not a PEM file with certificates")]
    NotPem,
}

/// Makes `config` also trust the authorities of a PEM file: those of shards, where they are not the front proxy's. Where the
/// configuration names no authority of its own, these are trusted in place of the machine's.
///
/// # Errors
/// The file holds no certificate, or something that looks like one and is none.
pub fn trust_also(config: &mut Config, pem: &[u8]) -> Result<(), ConnectError> {
    let certificates: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem)
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|_| ConnectError::NotPem)?;
    if certificates.is_empty() {
        return Err(ConnectError::NotPem);
    }
    config.root_cert.get_or_insert_default().extend(certificates);
    Ok(())
}

/// One pool of connections, TLS configuration and identity for every workspace of a kcp, over HTTP/2 where the server speaks
/// it: a thousand watches are a thousand streams on a few connections, not a thousand connections.
///
/// A Kubernetes API server allows 100 streams on a connection, and more requests than that wait in the client without a word.
/// So clients are spread over [`Connection::STREAMS`] / 100 connections, each opened when it is first used.
///
/// Clients made from it are cheap. None of them retries by itself: a reconcile that waits for a retry keeps its place in the
/// queue busy, so the queue backs off instead.
#[derive(Clone)]
pub struct Connection {
    lanes: Arc<Lanes>,
    next: Arc<AtomicUsize>,
    home: Uri,
    default_namespace: String,
    fence: Option<Fence>,
}

impl Connection {
    /// How many requests, watches included, can be under way at a time when they are spread evenly.
    pub const STREAMS: usize = LANES * 100;

    /// Prepares a connection with the identity and TLS of `config`; nothing is sent yet. `config.cluster_url` is
    /// [`Connection::home`].
    ///
    /// # Errors
    /// Certificates or credentials of the configuration cannot be used.
    pub fn new(config: Config) -> Result<Self, ConnectError> {
        Self::with(config, Timeouts::default())
    }

    /// Like [`Connection::new`], with other patience.
    ///
    /// # Errors
    /// Certificates or credentials of the configuration cannot be used.
    pub fn with(config: Config, timeouts: Timeouts) -> Result<Self, ConnectError> {
        let lanes = Lanes::fixed(lanes(&config, timeouts)?);
        Ok(Self::of(config, lanes))
    }

    /// Prepares a connection with what the current context of a kubeconfig says, after `adapt` has changed it, and follows the file: when
    /// the server refuses the credentials (401), or cannot be talked to, and the file holds something else by then, that is used from the
    /// next request on. So credentials and certificates may be replaced while the process runs. The server's address is that of the
    /// beginning.
    ///
    /// # Errors
    /// The file cannot be read, or what it holds cannot be used.
    pub async fn from_kubeconfig(
        path: impl Into<PathBuf>,
        adapt: impl Fn(&mut Config) + Send + Sync + 'static,
    ) -> Result<Self, ConnectError> {
        let source = Source::new(path.into(), Box::new(adapt));
        let config = source.config(&source.read().await?).await?;
        let lanes = Lanes::following(lanes(&config, Timeouts::default())?, source);
        Ok(Self::of(config, lanes))
    }

    /// Prepares a connection to a server that is not trusted, within `bounds`. No name is looked up, no redirect followed and no
    /// proxy used. It is one connection, which is closed soon after its last use, because such servers are many.
    ///
    /// # Errors
    /// Certificates or credentials of the configuration cannot be used.
    pub fn bounded(config: Config, bounds: Bounds) -> Result<Self, ConnectError> {
        let Bounds { addresses, answer_bytes, answer_objects } = bounds;
        let most = Size { bytes: answer_bytes, objects: answer_objects };
        let fixed = service_fn(move |_: Name| {
            futures::future::ready(Ok::<_, Infallible>(addresses.clone().into_iter()))
        });
        let http = HttpConnector::new_with_resolver(fixed);
        let only = lane(&config, http, BOUNDED_IDLE_TIMEOUT, most, Timeouts::default())?;
        Ok(Self::of(config, Lanes::fixed([only].into())))
    }

    fn of(config: Config, lanes: Lanes) -> Self {
        Self {
            lanes: Arc::new(lanes),
            next: Arc::default(),
            home: config.cluster_url,
            default_namespace: config.default_namespace,
            fence: None,
        }
    }

    /// The same connections, with `fence` before every write: of the clients made from it, and not of those made from this one.
    #[must_use]
    pub fn fenced(&self, fence: &Fence) -> Self {
        Self { fence: Some(fence.clone()), ..self.clone() }
    }

    /// The client of the configuration's own workspace.
    #[must_use]
    pub fn home(&self) -> Client {
        self.client(self.home.clone())
    }

    /// The client of one workspace in a virtual workspace.
    ///
    /// # Errors
    /// `shard` and `cluster` do not make a URL.
    pub fn workspace(&self, shard: &ShardUrl, cluster: &ClusterName) -> Result<Client, ConnectError> {
        Ok(self.client(format!("{shard}/clusters/{cluster}").parse()?))
    }

    /// The client that sees all workspaces of a virtual workspace at once. It can list and watch across namespaces; anything
    /// namespaced is a 400.
    ///
    /// # Errors
    /// `shard` does not make a URL.
    pub fn wildcard(&self, shard: &ShardUrl) -> Result<Client, ConnectError> {
        Ok(self.client(format!("{shard}/clusters/*").parse()?))
    }

    /// The client of any base URL, with this connection's pool, TLS and identity.
    #[must_use]
    pub fn client(&self, base: Uri) -> Client {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let lane = Lane { lanes: self.lanes.clone(), turn };
        let lane = ServiceBuilder::new().option_layer(self.fence.clone()).service(lane);
        Client::new(BaseUriLayer::new(base).layer(lane), self.default_namespace.clone())
    }
}

/// Several connections, by which clients are spread.
pub(crate) fn lanes(config: &Config, timeouts: Timeouts) -> Result<Arc<[Shared]>, ConnectError> {
    (0..LANES).map(|_| lane(config, HttpConnector::new(), IDLE_TIMEOUT, Size::UNBOUNDED, timeouts)).collect()
}

/// One connection, reopened when it breaks.
fn lane<R>(
    config: &Config,
    mut http: HttpConnector<R>,
    idle_timeout: Duration,
    most: Size,
    timeouts: Timeouts,
) -> Result<Shared, ConnectError>
where
    R: Service<Name> + Clone + Send + Sync + 'static,
    R::Response: Iterator<Item = SocketAddr>,
    R::Error: Into<BoxError>,
    R::Future: Send,
{
    http.enforce_http(false);
    http.set_connect_timeout(Some(timeouts.connect));
    http.set_nodelay(true);
    let https = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config.rustls_client_config()?)
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(http);
    let client: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(idle_timeout)
        // Watches and writes share a connection. With the default windows of 64 KiB, one watch that is read slowly would hold
        // back every other stream.
        .http2_initial_stream_window_size(1 << 20)
        .http2_initial_connection_window_size(64 << 20)
        // A half-open connection is noticed soon instead of never.
        .http2_keep_alive_interval(timeouts.ping_after)
        .http2_keep_alive_timeout(timeouts.ping)
        .http2_keep_alive_while_idle(true)
        .build(https);
    let stack = ServiceBuilder::new()
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    let limited = move |answer: Response<Incoming>| answer.map(|body| Answer::new(body, most));
    let stack = ServiceBuilder::new()
        .map_response(limited)
        .service(AnswerTimeout { inner: stack, timeout: timeouts.answer });
    Ok(BoxCloneSyncService::new(stack))
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("home", &self.home).finish_non_exhaustive()
    }
}

/// A server that accepts and never answers must not hold a reconcile for ever.
#[derive(Clone)]
struct AnswerTimeout<S> {
    inner: S,
    timeout: Duration,
}

impl<S> Service<Request<Body>> for AnswerTimeout<S>
where
    S: Service<Request<Body>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Response: 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (answer, timeout) = (self.inner.call(request), self.timeout);
        async move {
            tokio::time::timeout(timeout, answer)
                .await
                .map_err(|_| BoxError::from(format!("no answer in {} s", timeout.as_secs_f64())))?
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{AnswerTooLarge, NotLeader};

    /// Answers one request with 100 bytes and two objects, and returns its head.
    async fn answer_once(listener: TcpListener) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}{}", "{}{}", "x".repeat(96));
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn a_bounded_connection_goes_to_its_address_and_reads_so_much() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        for (answer_bytes, answer_objects, refused) in [
            (100, 2, None),
            (99, 2, Some(AnswerTooLarge::Bytes(99))),
            (100, 1, Some(AnswerTooLarge::Objects(1))),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            // A name that nobody can look up, by definition.
            let url = format!("http://server.invalid:{}", address.port());
            let mut config = Config::new(url.parse().unwrap());
            config.root_cert = Some(Vec::new());
            let bounds = Bounds { addresses: vec![address], answer_bytes, answer_objects };
            let client = Connection::bounded(config, bounds).unwrap().home();
            let request = Request::get("/a").body(Vec::new()).unwrap();
            let (head, answer) = tokio::join!(answer_once(listener), client.request_text(request));
            assert!(head.contains(&format!("host: server.invalid:{}", address.port())), "{head}");
            assert_eq!(answer.is_err(), refused.is_some(), "{answer:?}");
            assert_eq!(answer.err().and_then(|error| AnswerTooLarge::cause_of(&error)), refused);
        }
    }

    #[tokio::test]
    async fn a_fenced_connection_refuses_writes_and_leaves_the_one_it_was_made_of_as_it_is() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fence = Fence::default();
        for (method, uses_fence) in [("GET", true), ("GET", false), ("PUT", true), ("PUT", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut config = Config::new(format!("http://{address}").parse().unwrap());
            config.root_cert = Some(Vec::new());
            let connection = Connection::new(config).unwrap();
            let fenced = connection.fenced(&fence);
            let connection = if uses_fence { fenced } else { connection };
            let request = || Request::builder().method(method).uri("/a").body(Vec::new()).unwrap();
            if method == "PUT" && uses_fence {
                let shard = format!("http://{address}").parse().unwrap();
                let workspace = connection.workspace(&shard, &"1s8uv2zt5c3nc1hy".parse().unwrap()).unwrap();
                for client in [connection.home(), connection.wildcard(&shard).unwrap(), workspace] {
                    let refused = client.request_text(request()).await.unwrap_err();
                    assert_eq!(NotLeader::cause_of(&refused), Some(NotLeader::Refused));
                }
            } else {
                let client = connection.home();
                let (head, _) = tokio::join!(answer_once(listener), client.request_text(request()));
                assert!(head.starts_with(&format!("{method} /a ")), "{head}");
            }
        }
    }
}

use std::{collections::VecDeque, net::IpAddr, sync::Arc};

use annex_core::IpNet;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::FutureExt as _;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use secrecy::SecretString;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::environment::{credentials::Auth, resolver};

/// What a server says to a path.
enum Reply {
    Json(u16, Value),
    Raw(&'static str),
    /// The head of an answer, and then bytes for ever.
    Endless,
    /// Nothing, and the connection stays.
    Silent,
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        Self::named("authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// One of the kubeconfig's own that has come to its end.
    fn ended() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority of before");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(2020, 1, 1));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// One that this one vouches for, until the first day of `year`.
    fn until(&self, year: i32) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority below");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(year, 1, 1));
        Self(CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    /// A server that shows this authority's own certificate beside its own, good one.
    fn server_with_chain(&self) -> ServerConfig {
        annex_service::install_tls_provider();
        let (mut chain, key) = der(&self.issue(|_| ()));
        chain.push(self.0.der().clone());
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
    }

    fn data(&self) -> String {
        STANDARD.encode(self.0.pem())
    }

    /// A certificate and its key, as PEM.
    fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(vec!["127.0.0.1".to_owned(), "server.test".to_owned()]).unwrap();
        change(&mut params);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        annex_service::install_tls_provider();
        let (chain, key) = der(&self.issue(change));
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap()
    }

    /// A server that wants a client certificate of this authority.
    fn asking_server(&self) -> ServerConfig {
        annex_service::install_tls_provider();
        let (chain, key) = der(&self.issue(|_| ()));
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(roots.into()).build().unwrap();
        ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap()
    }
}

fn der((chain, key): &(String, String)) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
}

/// A server on loopback; it ends when it is dropped.
struct Server {
    address: SocketAddr,
    /// The heads of the requests that came.
    seen: Arc<Mutex<Vec<String>>>,
    /// How often somebody connected.
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(tls: ServerConfig, reply: fn(&str) -> Reply) -> Self {
        Self::on("127.0.0.1:0", Some(tls), reply).await
    }

    async fn on(address: &str, tls: Option<ServerConfig>, reply: fn(&str) -> Reply) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (heads, count) = (seen.clone(), connections.clone());
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *count.lock() += 1;
                let (acceptor, heads) = (acceptor.clone(), heads.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => converse(stream, heads, reply).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                converse(stream, heads, reply).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen, connections, task }
    }

    fn url(&self) -> ApiUrl {
        ApiUrl::parse(&format!("https://{}", self.address)).unwrap()
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    heads: Arc<Mutex<Vec<String>>>,
    reply: fn(&str) -> Reply,
) {
    // One answer to a connection, so that each request shows where it connects to.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split_whitespace().nth(1).unwrap().to_owned();
    heads.lock().push(head);
    let written = match reply(&path) {
        Reply::Json(status, body) => {
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await
        }
        Reply::Raw(answer) => stream.write_all(answer.as_bytes()).await,
        Reply::Endless => {
            let mut written = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"kind\":\"").await;
            while written.is_ok() {
                written = stream.write_all(&[b'x'; 8192]).await;
            }
            written
        }
        Reply::Silent => std::future::pending().await,
    };
    if written.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// A Kubernetes API server with the namespace `mine`, without Knative.
fn sound(path: &str) -> Reply {
    match path {
        "/api/v1/namespaces?limit=1" => Reply::Json(200, json!({ "kind": "NamespaceList", "items": [] })),
        "/api/v1/namespaces/mine" => {
            Reply::Json(200, json!({ "kind": "Namespace", "metadata": { "name": "mine" } }))
        }
        "/api/v1/namespaces/theirs" => Reply::Json(403, json!({ "kind": "Status", "code": 403 })),
        _ => Reply::Json(404, json!({ "kind": "Status", "code": 404 })),
    }
}

fn with_token(server: ApiUrl, authority: &Authority) -> Credentials {
    let token = Auth::token(SecretString::from("t0ken")).unwrap();
    Credentials::new(server, Some(&authority.data()), false, token).unwrap()
}

fn allowing(networks: &[&str]) -> Prober {
    let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
    Prober {
        policy: AddressPolicy::new(networks),
        resolver: resolver::system(),
        deadline: DEADLINE,
        fence: Fence::default(),
    }
}

fn on_loopback() -> Prober {
    allowing(&["127.0.0.0/8"])
}

async fn reason(
    prober: &Prober,
    credentials: &Credentials,
    namespaces: &[&str],
) -> std::borrow::Cow<'static, str> {
    let namespaces: Vec<String> = namespaces.iter().map(|&name| name.to_owned()).collect();
    match prober.probe(credentials, &namespaces, false).await {
        Ok(_) => "Ready".into(),
        Err(error) => Because::from(error).reason,
    }
}

/// The reason that a server with a good certificate is refused for.
async fn reason_of(reply: fn(&str) -> Reply) -> std::borrow::Cow<'static, str> {
    let authority = Authority::new();
    let server = Server::start(authority.server(|_| ()), reply).await;
    reason(&on_loopback(), &with_token(server.url(), &authority), &[]).await
}

#[tokio::test]
async fn a_server_that_lets_the_credentials_in_is_opened() {
    let authority = Authority::new();
    let server = Server::start(authority.server(|_| ()), sound).await;
    let credentials = with_token(server.url(), &authority);
    let opened =
        on_loopback().probe(&credentials, &[], false).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(opened.knative, Knative::NotServed);
    assert_eq!(opened.addresses.into_iter().collect::<Vec<_>>(), [server.address]);
    assert!(server.seen.lock().iter().all(|head| head.contains("authorization: Bearer t0ken")));
    for (namespaces, expected) in [
        (&["mine"][..], "Ready"),
        (&["mine", "theirs"], "Forbidden"),
        (&["mine", "nowhere"], "NamespaceNotFound"),
    ] {
        assert_eq!(reason(&on_loopback(), &credentials, namespaces).await, expected);
    }
}

#[tokio::test]
async fn knative_is_seen_where_it_is_served() {
    let authority = Authority::new();
    for (reply, expected) in [
        (
            (|path| match path {
                "/apis/serving.knative.dev/v1" => {
                    Reply::Json(200, json!({ "resources": [{ "name": "services" }] }))
                }
                _ => sound(path),
            }) as fn(&str) -> Reply,
            Knative::Served,
        ),
        (
            |path| match path {
                "/apis/serving.knative.dev/v1" => Reply::Json(403, json!({})),
                _ => sound(path),
            },
            Knative::Unknown,
        ),
    ] {
        let server = Server::start(authority.server(|_| ()), reply).await;
        let opened = on_loopback().probe(&with_token(server.url(), &authority), &[], false).await;
        assert_eq!(opened.map(|opened| opened.knative).unwrap_or_else(|error| panic!("{error}")), expected);
    }
}

#[tokio::test]
async fn each_bad_answer_has_its_reason() {
    assert_eq!(reason_of(|_| Reply::Json(401, json!({}))).await, "CredentialsRejected");
    assert_eq!(reason_of(|_| Reply::Json(403, json!({}))).await, "Forbidden");
    assert_eq!(reason_of(|_| Reply::Json(503, json!({}))).await, "ServerError");
    assert_eq!(reason_of(|_| Reply::Json(429, json!({}))).await, "ServerError");
    assert_eq!(reason_of(|_| Reply::Json(200, json!({ "kind": "PodList" }))).await, "NotKubernetes");
    assert_eq!(reason_of(|_| Reply::Json(404, json!({}))).await, "NotKubernetes");
    assert_eq!(
        reason_of(|_| Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n<p>")).await,
        "NotKubernetes"
    );
    assert_eq!(reason_of(|_| Reply::Raw("hello\r\n\r\n")).await, "Unreachable");
    assert_eq!(reason_of(|_| Reply::Endless).await, "AnswerTooLarge");
}

#[tokio::test]
async fn only_what_is_no_answer_is_a_miss() {
    let is_miss = async |prober: &Prober, tls: ServerConfig, trust: &Authority, reply| {
        let server = Server::start(tls, reply).await;
        let Err(error) = prober.probe(&with_token(server.url(), trust), &[], false).await else {
            panic!("it was opened")
        };
        error.is_miss()
    };
    let (authority, other) = (Authority::new(), Authority::named("another"));
    let good = || authority.server(|_| ());
    for (reply, expected) in [
        ((|_| Reply::Json(503, json!({}))) as fn(&str) -> Reply, true),
        (|_| Reply::Json(429, json!({})), true),
        (|_| Reply::Raw("hello\r\n\r\n"), true),
        // Half an answer, of a length that is known and of one that is not.
        (|_| Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"), true),
        (|_| Reply::Raw("HTTP/1.1 200 OK\r\n\r\n{"), true),
        (|_| Reply::Json(401, json!({})), false),
        (|_| Reply::Json(403, json!({})), false),
        (|_| Reply::Raw("HTTP/1.1 302 X\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"), false),
        (|_| Reply::Endless, false),
    ] {
        assert_eq!(is_miss(&on_loopback(), good(), &authority, reply).await, expected);
    }
    let brief = Prober { deadline: Duration::from_secs(1), ..on_loopback() };
    assert!(is_miss(&brief, good(), &authority, |_| Reply::Silent).await);
    assert!(!is_miss(&on_loopback(), good(), &other, sound).await, "another's certificate");
    assert!(!is_miss(&allowing(&[]), good(), &authority, sound).await, "an address that is not allowed");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    static ANSWER: Mutex<&str> = Mutex::new("");
    let authority = Authority::new();
    let elsewhere = Server::start(authority.server(|_| ()), sound).await;
    let server = Server::start(authority.server(|_| ()), |_| Reply::Raw(*ANSWER.lock())).await;
    let credentials = with_token(server.url(), &authority);
    for status in ["301", "302", "307", "308"] {
        let answer =
            format!("HTTP/1.1 {status} X\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n", elsewhere.url());
        *ANSWER.lock() = answer.leak();
        assert_eq!(reason(&on_loopback(), &credentials, &[]).await, "Redirected");
    }
    assert_eq!(server.seen.lock().len(), 4);
    assert_eq!(*elsewhere.connections.lock(), 0);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let authority = Authority::new();
    let server = Server::start(authority.server(|_| ()), |_| Reply::Silent).await;
    let prober = Prober { deadline: Duration::from_secs(1), ..on_loopback() };
    assert_eq!(reason(&prober, &with_token(server.url(), &authority), &[]).await, "Unreachable");
    assert_eq!(server.seen.lock().len(), 1);
    // Not even a handshake.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ApiUrl::parse(&format!("https://{}", mute.local_addr().unwrap())).unwrap();
    assert_eq!(reason(&prober, &with_token(url, &authority), &[]).await, "Unreachable");
    // A name that is never found.
    let prober = Prober { resolver: Arc::new(|_, _| std::future::pending().boxed()), ..prober };
    let url = ApiUrl::parse("https://server.test").unwrap();
    assert_eq!(reason(&prober, &with_token(url, &authority), &[]).await, "Unreachable");
}

#[tokio::test]
async fn a_closed_port_and_a_server_without_tls() {
    let authority = Authority::new();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = ApiUrl::parse(&format!("https://{closed}")).unwrap();
    assert_eq!(reason(&on_loopback(), &with_token(url, &authority), &[]).await, "Unreachable");
    let plain = Server::on("127.0.0.1:0", None, sound).await;
    let raw = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = ApiUrl::parse(&format!("https://{}", raw.local_addr().unwrap())).unwrap();
    let answering = tokio::spawn(async move {
        let (mut stream, _) = raw.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    assert_eq!(reason(&on_loopback(), &with_token(url, &authority), &[]).await, "TLSFailed");
    answering.await.unwrap();
    // One that waits for a request in clear gets none, and so no token.
    let prober = Prober { deadline: Duration::from_secs(1), ..on_loopback() };
    assert_eq!(reason(&prober, &with_token(plain.url(), &authority), &[]).await, "Unreachable");
    assert!(plain.seen.lock().is_empty());
}

#[tokio::test]
async fn a_certificate_is_of_the_authority_in_time_and_for_the_host() {
    let (authority, other) = (Authority::new(), Authority::new());
    let message = async |tls: ServerConfig, trust: &Authority| {
        let server = Server::start(tls, sound).await;
        let Err(error) = on_loopback().probe(&with_token(server.url(), trust), &[], false).await else {
            panic!("it was opened")
        };
        assert!(server.seen.lock().is_empty(), "a token was sent");
        let because = Because::from(error);
        assert_eq!(because.reason, "CertificateInvalid", "{}", because.message);
        because.message
    };
    assert!(message(authority.server(|_| ()), &other).await.contains("did not issue it"));
    let renamed = Authority::named("another");
    assert!(message(authority.server(|_| ()), &renamed).await.contains("did not issue it"));
    let expired = authority.server(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    assert!(message(expired, &authority).await.contains("has expired"));
    // Nor does an authority go on vouching for others after its own end.
    assert!(message(authority.until(2020).server_with_chain(), &authority).await.contains("has expired"));
    let lasting = Server::start(authority.until(2090).server_with_chain(), sound).await;
    assert_eq!(reason(&on_loopback(), &with_token(lasting.url(), &authority), &[]).await, "Ready");
    let ended = Authority::ended();
    assert!(message(ended.server(|_| ()), &ended).await.contains("has expired"));
    let early = authority.server(|params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    assert!(message(early, &authority).await.contains("not valid yet"));
    let foreign = authority.server(|params| params.subject_alt_names.clear());
    assert!(message(foreign, &authority).await.contains("not for the host"));
    // Unless both sides agreed not to look.
    let server = Server::start(other.server(|_| ()), sound).await;
    let token = Auth::token(SecretString::from("t")).unwrap();
    let unchecked = Credentials::new(server.url(), None, true, token).unwrap();
    assert_eq!(reason(&on_loopback(), &unchecked, &[]).await, "Ready");
}

#[tokio::test]
async fn a_client_certificate_opens_and_a_foreign_one_does_not() {
    let (authority, other, renamed) = (Authority::new(), Authority::new(), Authority::named("another"));
    let server = Server::start(authority.asking_server(), sound).await;
    for (issuer, expected) in
        [(&authority, "Ready"), (&other, "CredentialsRejected"), (&renamed, "CredentialsRejected")]
    {
        let (chain, key) = issuer.issue(|_| ());
        let auth =
            Auth::client_certificate(&STANDARD.encode(chain), &SecretString::from(STANDARD.encode(key)))
                .unwrap();
        let credentials = Credentials::new(server.url(), Some(&authority.data()), false, auth).unwrap();
        assert_eq!(reason(&on_loopback(), &credentials, &[]).await, expected);
    }
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_connected_to() {
    let authority = Authority::new();
    let server = Server::start(authority.server(|_| ()), sound).await;
    let credentials = with_token(server.url(), &authority);
    assert_eq!(reason(&allowing(&[]), &credentials, &[]).await, "AddressRefused");
    assert_eq!(reason(&allowing(&["10.0.0.0/8"]), &credentials, &[]).await, "AddressRefused");
    // One bad address among several is enough: nobody chooses which one a connection takes.
    let public: IpAddr = "8.8.8.8".parse().unwrap();
    let both = vec![SocketAddr::new(public, 1), server.address];
    let mixed: Resolver = Arc::new(move |_, _| futures::future::ready(Ok(both.clone())).boxed());
    let prober = Prober { resolver: mixed, ..allowing(&[]) };
    let named = ApiUrl::parse(&format!("https://server.test:{}", server.address.port())).unwrap();
    assert_eq!(reason(&prober, &with_token(named.clone(), &authority), &[]).await, "AddressRefused");
    let nothing: Resolver = Arc::new(|_, _| futures::future::ready(Ok(Vec::new())).boxed());
    let prober = Prober { resolver: nothing, ..on_loopback() };
    assert_eq!(reason(&prober, &with_token(named, &authority), &[]).await, "HostNotFound");
    assert_eq!(*server.connections.lock(), 0);
    // The platform's own server is wherever it is.
    assert!(allowing(&[]).probe(&credentials, &[], true).await.is_ok());
}

/// The resolver is a double: it answers with a vetted address first and with an internal one from then on, which is what the
/// owner of a name does who wants to be let in.
#[tokio::test]
async fn a_name_that_changes_after_it_was_vetted_changes_nothing() {
    let authority = Authority::new();
    let vetted = Server::start(authority.server(|_| ()), sound).await;
    let port = vetted.address.port();
    let internal = Server::on(&format!("127.0.0.2:{port}"), Some(authority.server(|_| ())), sound).await;
    let answers = Arc::new(Mutex::new(VecDeque::from([vetted.address])));
    let (queue, fallback) = (answers.clone(), internal.address);
    let double: Resolver = Arc::new(move |_, _| {
        let answer = queue.lock().pop_front().unwrap_or(fallback);
        futures::future::ready(Ok(vec![answer])).boxed()
    });
    let prober = Prober { resolver: double, ..allowing(&["127.0.0.1/32"]) };
    let credentials = with_token(ApiUrl::parse(&format!("https://server.test:{port}")).unwrap(), &authority);
    let opened = prober.probe(&credentials, &[], false).await.unwrap_or_else(|error| panic!("{error}"));
    let before = *vetted.connections.lock();
    // What is asked later is asked there too, on a connection of its own.
    namespaces_can_be_listed(&opened.client).await.unwrap();
    assert_eq!(*vetted.connections.lock(), before + 1);
    assert!(vetted.seen.lock().last().unwrap().contains(&format!("host: server.test:{port}")));
    assert_eq!(*internal.connections.lock(), 0);
    // The next probe asks for the name anew, and judges what it says then.
    assert_eq!(reason(&prober, &credentials, &[]).await, "AddressRefused");
    assert_eq!(*internal.connections.lock(), 0);
}

#[tokio::test]
async fn what_is_asked_later_is_bounded_too() {
    let authority = Authority::new();
    let server = Server::start(authority.server(|_| ()), |path| match path {
        "/endless" => Reply::Endless,
        "/list" => Reply::Json(200, json!({ "items": vec![json!({}); 30_000] })),
        _ => sound(path),
    })
    .await;
    let opened = on_loopback().probe(&with_token(server.url(), &authority), &[], false).await;
    let client = opened.unwrap_or_else(|error| panic!("{error}")).client;
    let request = Request::get("/endless").body(Vec::new()).unwrap();
    let error = client.request_text(request).await.unwrap_err();
    assert_eq!(AnswerTooLarge::cause_of(&error), Some(AnswerTooLarge::Bytes(LONGEST_ANSWER)));
    // A short answer that would be long in memory.
    let request = Request::get("/list").body(Vec::new()).unwrap();
    let error = client.request_text(request).await.unwrap_err();
    assert_eq!(AnswerTooLarge::cause_of(&error), Some(AnswerTooLarge::Objects(MOST_OBJECTS)));
}

//! A way out, names that lead where a test wants, and an honest server.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annex_egress::{EgressLimits, EgressMetrics, EgressOptions, ManifestList, Resolver, WayOut};
use annex_engine::{CallContext, Egress, EgressBody, EgressError, Patience};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::sync::Semaphore;

use crate::namespace::PUBLIC;
use crate::pki::Authority;
use crate::server::{HELLO, Server, answers};

/// What both lists allow, but for tests that are about lists.
const OPERATOR: &str = "*.example.com, *.example.com:8443, http://*.plain.example, http://45.33.10.2";
const MANIFEST: [&str; 4] = ["*.example.com", "*.example.com:8443", "*.plain.example:80", "45.33.10.2:80"];

/// The honest server's name.
pub const HONEST: &str = "honest.example.com";

/// Answers with each name's next list of addresses, and again and again with its last.
#[derive(Default)]
pub struct Names {
    answers: Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
    /// While it has no permit no look-up ends.
    open: Option<Arc<Semaphore>>,
}

impl Names {
    pub fn leads(&self, name: &str, answers: &[&[&str]]) {
        let answers =
            answers.iter().map(|answer| answer.iter().map(|text| text.parse().unwrap()).collect()).collect();
        self.answers.lock().unwrap().insert(name.to_owned(), answers);
    }

    /// How often a name was asked for.
    pub fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }
}

#[async_trait]
impl Resolver for Names {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap().push(name.to_owned());
        if let Some(open) = &self.open {
            open.acquire().await.unwrap().forget();
        }
        let mut answers = self.answers.lock().unwrap();
        let answers = answers.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

pub struct World {
    pub names: Arc<Names>,
    pub authority: Authority,
    pub metrics: EgressMetrics,
    pub way_out: WayOut,
    pub honest: Server,
}

/// An answer, all of it.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Times that no honest server needs on the slowest machine.
pub fn limits() -> EgressLimits {
    EgressLimits {
        request_bytes: 1 << 20,
        response_bytes: 1 << 20,
        head_bytes: 16 << 10,
        connect: Duration::from_secs(30),
        first_byte: Duration::from_secs(30),
        between_bytes: Duration::from_secs(30),
        total: Duration::from_secs(60),
        ..EgressLimits::default()
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(limits()).await
    }

    pub async fn with(limits: EgressLimits) -> Self {
        Self::made(limits, OPERATOR, &[], None).await
    }

    pub async fn whose_operator_allows(list: &str) -> Self {
        Self::made(limits(), list, &[], None).await
    }

    pub async fn whose_operator_blocks(networks: &[&str]) -> Self {
        Self::made(limits(), OPERATOR, networks, None).await
    }

    pub async fn whose_lookups_wait_for(open: Arc<Semaphore>, limits: EgressLimits) -> Self {
        Self::made(limits, OPERATOR, &[], Some(open)).await
    }

    async fn made(limits: EgressLimits, list: &str, blocked: &[&str], open: Option<Arc<Semaphore>>) -> Self {
        let names = Arc::new(Names { open, ..Names::default() });
        let authority = Authority::new();
        let metrics = EgressMetrics::default();
        let options = EgressOptions {
            blocked: blocked.iter().map(|network| network.parse().unwrap()).collect(),
            system_roots: false,
            extra_ca: Some(authority.pem()),
            limits,
        };
        let resolver: Arc<dyn Resolver> = Arc::clone(&names) as _;
        let way_out = WayOut::new(list.parse().unwrap(), &options, resolver, metrics.clone()).unwrap();
        let honest = Server::start(PUBLIC, 443, Some(authority.server(&[HONEST])), answers(HELLO)).await;
        names.leads(HONEST, &[&[PUBLIC]]);
        Self { names, authority, metrics, way_out, honest }
    }

    /// One call's end of the way out.
    pub fn call(&self) -> Arc<dyn Egress> {
        self.call_of(&MANIFEST)
    }

    pub fn call_of(&self, manifest: &[&str]) -> Arc<dyn Egress> {
        self.way_out.for_call(Arc::new(ManifestList::parse(manifest.iter().copied()).unwrap()))
    }

    pub async fn get(&self, uri: &str) -> Result<Answer, EgressError> {
        self.get_with(uri, Patience::default()).await
    }

    pub async fn get_with(&self, uri: &str, patience: Patience) -> Result<Answer, EgressError> {
        send(&*self.call(), get(uri), patience).await
    }

    /// After an attack, an honest request of the same tenant succeeds.
    pub async fn is_unharmed(&self) {
        let answer = self.get(&format!("https://{HONEST}/")).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hello"[..]));
    }
}

pub fn context(tenant: &str) -> CallContext {
    CallContext {
        request_id: "1".into(),
        tenant: tenant.parse().unwrap(),
        extension: "com.example.notes".parse().unwrap(),
        version: "1.0.0".into(),
        install: "uid".into(),
        config: "{}".into(),
    }
}

pub fn get(uri: &str) -> Request<EgressBody> {
    Request::get(uri).body(Empty::new().map_err(|never| match never {}).boxed_unsync()).unwrap()
}

pub fn post(uri: &str, body: Vec<u8>) -> Request<EgressBody> {
    Request::post(uri).body(Full::from(body).map_err(|never| match never {}).boxed_unsync()).unwrap()
}

/// Sends a request and reads the whole answer.
pub async fn send(
    call: &dyn Egress,
    request: Request<EgressBody>,
    patience: Patience,
) -> Result<Answer, EgressError> {
    let (head, body) = call.send(&context("tenant"), request, patience).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}

//! Whether a server that a tenant names opens to the tenant's credentials.

use std::{
    collections::BTreeSet,
    error::Error,
    io,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use annex_core::{AddressPolicy, ForbiddenAddress};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body};
use kube_kcp::{AnswerTooLarge, Bounds, ConnectError, Connection, Fence};
use serde_json::Value;

use super::{api_url::ApiUrl, credentials::Credentials, resolver::Resolver};
use crate::conditions::Because;

/// All of a probe, the name's look-up included.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// The longest answer to the probe's questions, and to any that is asked with the client later. Tenants' servers are many, and all
/// of them may send this much at a time.
const LONGEST_ANSWER: usize = 1024 * 1024;
/// The most JSON objects of such an answer.
const MOST_OBJECTS: usize = 20_000;
/// Questions at a time.
const AT_A_TIME: usize = 8;

/// Asks servers.
pub(super) struct Prober {
    pub(super) policy: AddressPolicy,
    pub(super) resolver: Resolver,
    pub(super) deadline: Duration,
    /// Before every write of whoever gets in.
    pub(super) fence: Fence,
}

/// A server that let the credentials in.
pub(super) struct Opened {
    /// Connects to `addresses` only.
    pub(super) client: Client,
    pub(super) addresses: BTreeSet<SocketAddr>,
    pub(super) knative: Knative,
}

/// Whether the server serves `serving.knative.dev/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knative {
    Served,
    NotServed,
    /// The credentials may not ask, or the answer was none.
    Unknown,
}

/// Why a server is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("the host of spec.apiURL has no address")]
    NotResolved,
    #[error(
        "the host of spec.apiURL has {0}, and the platform connects to public addresses only, unless its operator allows more"
    )]
    Address(ForbiddenAddress),
    #[error(
        "no client can be made of the kubeconfig: the system's certificates cannot be used, and it brings none"
    )]
    Client(#[source] ConnectError),
    #[error("the server cannot be reached")]
    Unreachable,
    #[error("the server did not answer in {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("the server's certificate is not accepted: {0}")]
    Certificate(&'static str),
    #[error("no TLS connection comes about")]
    Tls,
    #[error("the server does not know the credentials")]
    Rejected,
    #[error("{0}")]
    Forbidden(String),
    #[error("the server has no namespace {0}")]
    NoNamespace(String),
    #[error("the server redirects, and no redirect is followed; name the server itself")]
    Redirected,
    #[error("the server's answer has more than {} KiB or {MOST_OBJECTS} JSON objects", LONGEST_ANSWER / 1024)]
    TooLarge,
    #[error("the server does not answer as a Kubernetes API server does")]
    NotKubernetes,
    #[error("the server answers {0}")]
    Server(u16),
}

impl From<ProbeError> for Because {
    fn from(error: ProbeError) -> Self {
        let reason = match error {
            ProbeError::NotResolved => "HostNotFound",
            ProbeError::Address(_) => "AddressRefused",
            ProbeError::Client(_) => "CredentialsInvalid",
            ProbeError::Unreachable | ProbeError::TimedOut(_) => "Unreachable",
            ProbeError::Certificate(_) => "CertificateInvalid",
            ProbeError::Tls => "TLSFailed",
            ProbeError::Rejected => "CredentialsRejected",
            ProbeError::Forbidden(_) => "Forbidden",
            ProbeError::NoNamespace(_) => "NamespaceNotFound",
            ProbeError::Redirected => "Redirected",
            ProbeError::TooLarge => "AnswerTooLarge",
            ProbeError::NotKubernetes => "NotKubernetes",
            ProbeError::Server(_) => "ServerError",
        };
        Self::new(reason, error.to_string())
    }
}

impl ProbeError {
    /// Whether the server, or who knows its address, failed to answer. That says nothing about the credentials: the next probe may
    /// find everything as it was.
    pub(super) fn is_miss(&self) -> bool {
        match self {
            // Half an answer, or the page that a proxy shows while the server behind it is restarted, is none.
            Self::NotResolved
            | Self::Unreachable
            | Self::TimedOut(_)
            | Self::Tls
            | Self::NotKubernetes
            | Self::Server(_) => true,
            Self::Address(_)
            | Self::Client(_)
            | Self::Certificate(_)
            | Self::Rejected
            | Self::Forbidden(_)
            | Self::NoNamespace(_)
            | Self::Redirected
            | Self::TooLarge => false,
        }
    }
}

impl Prober {
    /// Looks the host up once, judges every address, and asks the server for `namespaces`, or whether they can be listed.
    ///
    /// `trusted` exempts the host from the judgement of addresses: for the platform's own server only.
    pub(super) async fn probe(
        &self,
        credentials: &Credentials,
        namespaces: &[String],
        trusted: bool,
    ) -> Result<Opened, ProbeError> {
        tokio::time::timeout(self.deadline, self.ask(credentials, namespaces, trusted))
            .await
            .unwrap_or(Err(ProbeError::TimedOut(self.deadline)))
    }

    async fn ask(
        &self,
        credentials: &Credentials,
        namespaces: &[String],
        trusted: bool,
    ) -> Result<Opened, ProbeError> {
        let addresses = self.addresses(credentials.server(), trusted).await?;
        let bounds = Bounds {
            addresses: addresses.iter().copied().collect(),
            answer_bytes: LONGEST_ANSWER,
            answer_objects: MOST_OBJECTS,
        };
        let Some(config) = credentials.config(SystemTime::now()) else {
            return Err(ProbeError::Certificate(
                "the kubeconfig's certificate-authority-data, which is to vouch for it, has expired",
            ));
        };
        let connection = Connection::bounded(config, bounds).map_err(ProbeError::Client)?;
        let client = connection.fenced(&self.fence).home();
        if namespaces.is_empty() {
            namespaces_can_be_listed(&client).await?;
        } else {
            futures::stream::iter(namespaces.to_vec())
                .map(|name| namespace_is_there(&client, name))
                .buffered(AT_A_TIME)
                .try_collect::<()>()
                .await?;
        }
        let knative = knative(&client).await?;
        Ok(Opened { client, addresses, knative })
    }

    /// The host's addresses, if every one of them may be connected to: of several, nobody chooses which one is used.
    async fn addresses(&self, server: &ApiUrl, trusted: bool) -> Result<BTreeSet<SocketAddr>, ProbeError> {
        let found = (self.resolver)(server.host().to_owned(), server.port()).await.unwrap_or_default();
        if found.is_empty() {
            return Err(ProbeError::NotResolved);
        }
        if !trusted {
            for address in &found {
                self.policy.check(address.ip()).map_err(ProbeError::Address)?;
            }
        }
        Ok(found.into_iter().collect())
    }
}

async fn namespaces_can_be_listed(client: &Client) -> Result<(), ProbeError> {
    let (status, answer) = get(client, "/api/v1/namespaces?limit=1").await?;
    match status {
        StatusCode::OK if is_kind(&answer, "NamespaceList") => Ok(()),
        StatusCode::FORBIDDEN => Err(ProbeError::Forbidden(
            "the credentials may not list namespaces; name the ones to use in spec.namespaces".to_owned(),
        )),
        _ => Err(ProbeError::NotKubernetes),
    }
}

async fn namespace_is_there(client: &Client, name: String) -> Result<(), ProbeError> {
    let (status, answer) = get(client, &format!("/api/v1/namespaces/{name}")).await?;
    match status {
        StatusCode::OK
            if is_kind(&answer, "Namespace")
                && answer.pointer("/metadata/name").and_then(Value::as_str) == Some(&name) =>
        {
            Ok(())
        }
        StatusCode::FORBIDDEN => Err(ProbeError::Forbidden(format!(
            "the credentials may not read the namespace {name}, which spec.namespaces names"
        ))),
        StatusCode::NOT_FOUND if is_kind(&answer, "Status") => Err(ProbeError::NoNamespace(name)),
        _ => Err(ProbeError::NotKubernetes),
    }
}

async fn knative(client: &Client) -> Result<Knative, ProbeError> {
    let (status, answer) = get(client, "/apis/serving.knative.dev/v1").await?;
    let serves = |plural: &str| {
        let resources = answer.get("resources").and_then(Value::as_array);
        resources
            .into_iter()
            .flatten()
            .any(|resource| resource.get("name").and_then(Value::as_str) == Some(plural))
    };
    Ok(match status {
        StatusCode::OK if serves("services") => Knative::Served,
        StatusCode::OK | StatusCode::NOT_FOUND => Knative::NotServed,
        _ => Knative::Unknown,
    })
}

fn is_kind(answer: &Value, kind: &str) -> bool {
    answer.get("kind").and_then(Value::as_str) == Some(kind)
}

/// One question. What is no answer of an API server at all is an error; what the others mean is the asker's to say.
async fn get(client: &Client, path: &str) -> Result<(StatusCode, Value), ProbeError> {
    let request = Request::get(path)
        .header(http::header::ACCEPT, "application/json")
        .body(Body::empty())
        .map_err(|_| ProbeError::NotKubernetes)?;
    let answer = client.send(request).await.map_err(|error| failure(&error))?;
    let status = answer.status();
    match status.as_u16() {
        300..=399 => return Err(ProbeError::Redirected),
        401 => return Err(ProbeError::Rejected),
        429 | 500.. => return Err(ProbeError::Server(status.as_u16())),
        _ => {}
    }
    let body = answer.into_body().collect().await.map_err(|error| failure(&error))?;
    // Errors need not be JSON: a proxy in between writes its own.
    let answer = serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null);
    Ok((status, answer))
}

/// What went wrong with a connection. The error's own text goes to nobody: it can name what the tenant is not to see.
fn failure(error: &(dyn Error + 'static)) -> ProbeError {
    if AnswerTooLarge::cause_of(error).is_some() {
        return ProbeError::TooLarge;
    }
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(reason)) => ProbeError::Certificate(certificate(reason)),
        // The server's answer to a client certificate.
        Some(rustls::Error::AlertReceived(alert)) if is_about_the_client(*alert) => ProbeError::Rejected,
        Some(_) => ProbeError::Tls,
        None => ProbeError::Unreachable,
    }
}

/// The TLS error among the causes. An I/O error hides what it carries from `source`.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(error);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}

fn certificate(reason: &rustls::CertificateError) -> &'static str {
    use rustls::CertificateError as Is;
    match reason {
        Is::Expired | Is::ExpiredContext { .. } => "it has expired",
        Is::NotValidYet | Is::NotValidYetContext { .. } => "it is not valid yet",
        // The latter of an authority that was made anew under its old name, as clusters name theirs alike.
        Is::UnknownIssuer | Is::BadSignature => {
            "the kubeconfig's certificate-authority-data, or without it the system's certificates, did not issue it"
        }
        Is::NotValidForName | Is::NotValidForNameContext { .. } => "it is not for the host of spec.apiURL",
        _ => "it is malformed, revoked or not for a server",
    }
}

fn is_about_the_client(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Is;
    matches!(
        alert,
        Is::NoCertificate
            | Is::BadCertificate
            | Is::UnsupportedCertificate
            | Is::CertificateRevoked
            | Is::CertificateExpired
            | Is::CertificateUnknown
            | Is::UnknownCA
            | Is::DecryptError
            | Is::AccessDenied
            | Is::CertificateRequired
    )
}

#[cfg(test)]
mod tests;

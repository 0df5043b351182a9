//! The questions to the registry.

use std::sync::Arc;
use std::time::Duration;

use annex_bundle_client::Source;
use annex_core::{HostName, InstallIdentity};
use annex_service::{Followed, REQUEST_ID_HEADER, RequestId};
use moka::future::Cache;
use reqwest::header::{ACCEPT, HeaderName};
use reqwest::{Certificate, Client, Response, StatusCode, Url, redirect};
use serde::Deserialize;
use tokio::time::Instant;

use crate::authorities::checked_by;
use crate::metrics::Metrics;
use crate::registry_url::RegistryUrl;

/// The registry, over one pool of connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    client: Client,
    url: RegistryUrl,
    /// What the registry knows this runner by. Absent where it asks for nothing.
    token: Followed<Option<String>>,
    metrics: Arc<Metrics>,
    /// What it said a moment ago. Only what it knows: a host that is new, or a registry that is back, is seen at once, and
    /// whoever asks for hosts that nobody has takes no memory.
    identities: Cache<HostName, InstallIdentity>,
    valid: Cache<InstallIdentity, ()>,
}

/// What the registry says a host is.
pub(crate) struct Known {
    pub(crate) identity: InstallIdentity,
    /// It was asked for this very question.
    pub(crate) is_of_now: bool,
}

/// What is not kept. Whoever asked in the same moment hears it, too.
enum Unkept {
    No,
    Failed(Arc<LookupError>),
}

impl From<LookupError> for Unkept {
    fn from(error: LookupError) -> Self {
        Self::Failed(Arc::new(error))
    }
}

/// Why the registry gave no answer to use. For the log: callers outside learn only that it is unavailable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("the registry did not answer in time")]
    Timeout(#[source] reqwest::Error),
    #[error("the registry cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the registry answered with status {0}")]
    Status(StatusCode),
    #[error("the registry's answer is larger than {MAX_ANSWER} bytes")]
    Oversized,
    #[error("the registry's answer is malformed")]
    Malformed(#[source] serde_json::Error),
}

impl LookupError {
    /// A word for metrics and readiness, out of a fixed few.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Status(_) => "status",
            Self::Oversized => "oversized",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl From<reqwest::Error> for LookupError {
    fn from(error: reqwest::Error) -> Self {
        // The URL holds the host that was asked for, which the log has as a field of its own.
        let error = error.without_url();
        if error.is_timeout() { Self::Timeout(error) } else { Self::Unreachable(error) }
    }
}

/// An identity has some 600 bytes. More than this is not the registry, and must not fill the memory.
const MAX_ANSWER: usize = 64 * 1024;

/// How many answers are kept: with the longest names there are, 10 MiB.
const KEPT: u64 = 10_000;

/// A host that no install can have (RFC 2606 reserves `.invalid`).
const NO_HOST: &str = "readiness.invalid";

impl Registry {
    /// A client of the registry at `url` that spends at most `timeout` on each question, and may take an answer of at most
    /// `kept_for` ago for today's. `authorities` is what an https registry is checked by, none the system's.
    ///
    /// # Errors
    /// When TLS cannot be set up: `url` is https and the system has no root certificates.
    pub(crate) fn new(
        url: RegistryUrl,
        authorities: Option<Vec<Certificate>>,
        timeout: Duration,
        kept_for: Duration,
        token: Followed<Option<String>>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        let builder = Client::builder()
            .user_agent(concat!("annex-runner/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            // Sooner than the registry closes them: a question on a connection that is just closed fails.
            .pool_idle_timeout(Duration::from_secs(20))
            // A redirect or a proxy from the environment would let another party say which install a host is.
            .redirect(redirect::Policy::none())
            .no_proxy();
        let client = checked_by(builder, url.as_url(), authorities).build()?;
        let identities = Cache::builder().max_capacity(KEPT).time_to_live(kept_for).build();
        let valid = Cache::builder().max_capacity(KEPT).time_to_live(kept_for).build();
        Ok(Self { client, url, token, metrics, identities, valid })
    }

    /// The install that `host` is, or none if the registry does not know it.
    pub(crate) async fn lookup(
        &self,
        host: &HostName,
        request_id: &RequestId,
    ) -> Result<Option<Known>, Arc<LookupError>> {
        let question = async { self.timed_lookup(host, request_id).await?.ok_or(Unkept::No) };
        let entry = answer(self.identities.entry_by_ref(host).or_try_insert_with(question).await)?;
        Ok(entry.map(|entry| Known { is_of_now: entry.is_fresh(), identity: entry.into_value() }))
    }

    /// The same, asked now.
    pub(crate) async fn lookup_now(
        &self,
        host: &HostName,
        request_id: &RequestId,
    ) -> Result<Option<InstallIdentity>, Arc<LookupError>> {
        let identity = self.timed_lookup(host, request_id).await?;
        match &identity {
            Some(identity) => self.identities.insert(host.clone(), identity.clone()).await,
            None => self.identities.invalidate(host).await,
        }
        Ok(identity)
    }

    /// Whether it said a moment ago that the host is this install, and, where that is `validated`, that the install is there.
    pub(crate) async fn stands_by(
        &self,
        host: &HostName,
        identity: &InstallIdentity,
        validated: bool,
    ) -> bool {
        let said = self.identities.get(host).await;
        said.is_some_and(|said| said == *identity) && (!validated || self.valid.contains_key(identity))
    }

    async fn timed_lookup(
        &self,
        host: &HostName,
        request_id: &RequestId,
    ) -> Result<Option<InstallIdentity>, LookupError> {
        let started = Instant::now();
        let result = self.ask(host, request_id).await;
        let outcome = match &result {
            Ok(Some(_)) => "found",
            Ok(None) => "unknown",
            Err(error) => error.category(),
        };
        self.metrics.lookup_ended(outcome, started.elapsed());
        result
    }

    /// Whether the tenant has an install of that extension with that content.
    pub(crate) async fn validate(
        &self,
        identity: &InstallIdentity,
        request_id: &RequestId,
    ) -> Result<bool, Arc<LookupError>> {
        let question =
            async { if self.is_valid(identity, request_id).await? { Ok(()) } else { Err(Unkept::No) } };
        Ok(answer(self.valid.try_get_with_by_ref(identity, question).await)?.is_some())
    }

    async fn is_valid(
        &self,
        identity: &InstallIdentity,
        request_id: &RequestId,
    ) -> Result<bool, LookupError> {
        #[derive(Deserialize)]
        struct Answer {
            valid: bool,
        }
        let response = self.send(self.url.validate(identity), request_id).await?;
        match response.status() {
            StatusCode::OK => {
                let answer: Answer =
                    serde_json::from_slice(&body(response).await?).map_err(LookupError::Malformed)?;
                Ok(answer.valid)
            }
            status => Err(LookupError::Status(status)),
        }
    }

    /// The registry's bundles, over the same connections.
    pub(crate) fn bundles(&self) -> Source {
        Source::new(self.client.clone(), self.url.as_url().clone(), self.token.clone())
    }

    /// Asks for a host that does not exist: any answer that is no server error shows that lookups are possible, unless
    /// the registry does not know this runner.
    pub(crate) async fn probe(&self) -> Result<(), LookupError> {
        let host = NO_HOST.parse().map_err(|_| LookupError::Status(StatusCode::BAD_REQUEST))?;
        let response = self.send(self.url.lookup_by_host(&host), &RequestId::new()).await?;
        let status = response.status();
        // Reading it lets the connection be used again.
        body(response).await?;
        if status.is_server_error() || status == StatusCode::UNAUTHORIZED {
            Err(LookupError::Status(status))
        } else {
            Ok(())
        }
    }

    /// Keeps what it is known by equal to its file, for ever.
    pub(crate) async fn follow_token(self) {
        self.token.follow().await;
    }

    /// What is asked, for people.
    pub(crate) fn url(&self) -> &RegistryUrl {
        &self.url
    }

    async fn ask(
        &self,
        host: &HostName,
        request_id: &RequestId,
    ) -> Result<Option<InstallIdentity>, LookupError> {
        let response = self.send(self.url.lookup_by_host(host), request_id).await?;
        match response.status() {
            StatusCode::OK => {
                let body = body(response).await?;
                serde_json::from_slice(&body).map(Some).map_err(LookupError::Malformed)
            }
            StatusCode::NOT_FOUND => {
                body(response).await?;
                Ok(None)
            }
            status => Err(LookupError::Status(status)),
        }
    }

    async fn send(&self, url: Url, request_id: &RequestId) -> Result<Response, LookupError> {
        let mut request = self
            .client
            .get(url)
            .header(ACCEPT, "application/json")
            .header(HeaderName::from_static(REQUEST_ID_HEADER), request_id.as_str());
        if let Some(token) = &*self.token.get() {
            request = request.bearer_auth(token);
        }
        Ok(request.send().await?)
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, LookupError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(LookupError::Oversized);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn answer<T>(kept: Result<T, Arc<Unkept>>) -> Result<Option<T>, Arc<LookupError>> {
    match kept {
        Ok(answer) => Ok(Some(answer)),
        Err(unkept) => match &*unkept {
            Unkept::No => Ok(None),
            Unkept::Failed(error) => Err(Arc::clone(error)),
        },
    }
}

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use annex_core::{HostName, IDENTITY_PATH, InstallIdentity};
use anyhow::{Context as _, ensure};
use futures::FutureExt as _;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, watch},
};

/// An answer of the runner for a host is taken as still true for this long.
const TRUSTED_FOR: Duration = Duration::from_secs(300);
/// How long one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// A single lost probe, of a runner that restarts or a machine that stalls, must not turn every Install over.
const MISSES: u32 = 3;
/// Probes at a time. A runner that hangs holds each for seconds, and what does not need it must go on meanwhile.
const PROBES: usize = 8;
/// The runner's answer is three short strings.
const LONGEST_ANSWER: usize = 16 * 1024;

/// Whoever answers for the domains, as the controller sees it: the runner, or the ingress before the runners.
#[derive(Debug)]
pub(crate) struct Runner {
    http: reqwest::Client,
    base: reqwest::Url,
    ingress: bool,
    answered: Mutex<HashMap<HostName, (InstallIdentity, Instant)>>,
    probes: Semaphore,
    reachable: watch::Sender<bool>,
}

/// Why a host does not answer as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// No connection, or no answer in time.
    #[error("the runner cannot be reached")]
    Unreachable,
    /// An answer that is not the host's.
    #[error("the runner answers {0} for this host")]
    Refused(u16),
    /// Another identity.
    #[error("the runner answers for this host, but not yet with this install's content")]
    Other,
}

/// Finds every host where the runner is: DNS may not lead there yet, and must not decide where a probe goes.
#[derive(Debug)]
struct ToBase {
    host: String,
}

impl Resolve for ToBase {
    fn resolve(&self, _: Name) -> Resolving {
        // An IPv6 address is in brackets in a URL.
        let host = self.host.trim_matches(['[', ']']).to_owned();
        async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        }
        .boxed()
    }
}

impl Runner {
    /// `ingress`: an ingress answers at `base`, to which no host of its own is known. `ca` holds what an https `base` is checked
    /// by; none means the system's certificates.
    pub(crate) fn new(base: &str, ingress: bool, ca: Option<&Path>) -> anyhow::Result<Self> {
        let base = reqwest::Url::parse(base).context("--runner-url is no URL")?;
        let resolver = ToBase { host: base.host_str().unwrap_or_default().to_owned() };
        let mut http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(resolver));
        if let Some(ca) = ca {
            http = http.tls_certs_only(authorities(ca)?);
        } else if base.scheme() != "https" {
            // Without it the client reads the system's certificates even for http, and fails in an image from scratch.
            http = http.tls_certs_only([]);
        }
        let http = http.build().context(
            "the client of the runner cannot be set up (an https one needs --runner-ca-file or the system's certificates)",
        )?;
        Ok(Self {
            http,
            base,
            ingress,
            answered: Mutex::default(),
            probes: Semaphore::new(PROBES),
            reachable: watch::Sender::new(true),
        })
    }

    /// Asks the runner for `host`. `Ok` means that it answers with exactly `identity`.
    pub(crate) async fn probe(&self, host: &HostName, identity: &InstallIdentity) -> Result<(), ProbeError> {
        if self
            .answered
            .lock()
            .get(host)
            .is_some_and(|(was, at)| was == identity && at.elapsed() < TRUSTED_FOR)
        {
            return Ok(());
        }
        // Without asking: while nothing comes back each probe would only wait, and follow_runner wakes everything later.
        if !*self.reachable.borrow() {
            return Err(ProbeError::Unreachable);
        }
        let _place = self.probes.acquire().await.map_err(|_| ProbeError::Unreachable)?;
        let unreachable = |error: reqwest::Error| {
            tracing::debug!(%error, %host, "the runner was asked in vain");
            ProbeError::Unreachable
        };
        let mut url = self.base.clone();
        // As a browser asks: the host is in the Host header, and with TLS in what the certificate is chosen by.
        url.set_host(Some(host.as_str())).map_err(|_| ProbeError::Unreachable)?;
        // Not `/`, which leads a browser to the extension's pages.
        url.set_path(IDENTITY_PATH);
        let mut response = self.http.get(url).send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(ProbeError::Refused(status));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                return Err(ProbeError::Other);
            }
        }
        if serde_json::from_slice::<InstallIdentity>(&body).ok().as_ref() != Some(identity) {
            return Err(ProbeError::Other);
        }
        let mut answered = self.answered.lock();
        // Looked at under the lock: an answer from before the runner went away must not be trusted after.
        if *self.reachable.borrow() {
            answered.insert(host.clone(), (identity.clone(), Instant::now()));
        }
        Ok(())
    }

    /// What is known of `host` is void.
    pub(crate) fn forget(&self, host: &HostName) {
        self.answered.lock().remove(host);
    }

    /// Whether the runner answered lately; changes wake the receiver.
    pub(crate) fn reachable(&self) -> watch::Receiver<bool> {
        self.reachable.subscribe()
    }

    /// Whether it answers about itself. An ingress knows no host of its own and has a certificate for none: of it, that it takes a
    /// connection is all that can be asked.
    async fn is_healthy(&self) -> bool {
        if self.ingress {
            let at = (self.base.host_str().unwrap_or_default().trim_matches(['[', ']']), self.port());
            return matches!(tokio::time::timeout(TIMEOUT, TcpStream::connect(at)).await, Ok(Ok(_)));
        }
        let mut health = self.base.clone();
        health.set_path("/healthz");
        self.http.get(health).send().await.is_ok_and(|response| response.status().is_success())
    }

    fn port(&self) -> u16 {
        self.base.port_or_known_default().unwrap_or_default()
    }

    /// Asks for the runner's health for ever.
    pub(crate) async fn watch_health(&self) {
        let mut misses = 0;
        let mut ticks = tokio::time::interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            misses = if self.is_healthy().await { 0 } else { misses + 1 };
            let now = misses < MISSES;
            if *self.reachable.borrow() != now {
                tracing::info!(reachable = now, "the runner");
                // One step for whoever holds the lock: nobody finds an old answer once it is known that the runner went away.
                let mut answered = self.answered.lock();
                answered.clear();
                self.reachable.send_replace(now);
            }
        }
    }
}

fn authorities(path: &Path) -> anyhow::Result<Vec<reqwest::Certificate>> {
    let pem =
        std::fs::read(path).with_context(|| format!("--runner-ca-file {} cannot be read", path.display()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
    ensure!(!certificates.is_empty(), "--runner-ca-file {} holds no PEM certificate", path.display());
    Ok(certificates)
}

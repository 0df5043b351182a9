use std::time::Duration;

use annex_apis::RunnerReference;
use annex_grant::{
    Audience, BROKER_AUDIENCE, BROKER_TOKEN_HEADER, EXECUTE_PATH, ExecuteResponse, ORDER_PATH, RunnerError,
    RunnerErrorCode, TOKEN_HEADER,
};
use annex_service::{REQUEST_ID_HEADER, RequestId};
use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::Bytes;
use reqwest::{
    Certificate, Client, RequestBuilder, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HOST, RETRY_AFTER},
    redirect,
};
use tokio::time::timeout;

use crate::{DIRECT_AUDIENCE, NoPlace, Place, Presented};

/// A body of 10 MiB in base64, and its headers. More is not read.
const LARGEST_ANSWER: usize = (10 << 20) / 3 * 4 + (256 << 10);
/// An error is a code and a sentence.
const LARGEST_ERROR: usize = 16 << 10;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The Knative Service of a workspace's own namespace that answers for its domains, beside which `exec` is.
const RUNNER_SERVICE: &str = "runner";

/// What an operator says of runners.
#[derive(Clone, Debug, Default)]
pub struct RunnerSettings {
    /// The internal listener of the runner in direct mode. None: no install is in that mode.
    pub direct: Option<String>,
    /// Of the Knative Service `exec`, with `{namespace}` in it.
    pub exec: String,
    /// `HOST:PORT` of an ingress that leads to all of them by their Host header. None: their names resolve.
    pub exec_connect: Option<String>,
    /// The gateway's broker, for [`Runners::storage_of`]. None: it is not asked.
    pub broker: Option<String>,
    /// PEM certificates that https is checked by. None: the system's.
    pub authorities: Option<Vec<u8>>,
}

/// The runners, over one pool of connections.
#[derive(Debug)]
pub struct Runners {
    client: Client,
    direct: Option<Url>,
    exec: String,
    /// What stands in for the host and port of `exec`, which then goes into the Host header.
    exec_connect: Option<Url>,
    broker: Option<Url>,
    direct_audience: Audience,
    broker_audience: Audience,
}

/// What a runner made of a call.
#[derive(Debug)]
pub enum Executed {
    /// The guest answered.
    Answer(ExecuteResponse),
    /// The runner says no.
    Refused {
        /// Why.
        error: RunnerError,
        /// In how many seconds it may say yes.
        retry_after: Option<u16>,
    },
}

/// What a runner made of an order.
#[derive(Debug)]
pub enum Ordered {
    /// It is done.
    Done,
    /// The runner says no.
    Refused(RunnerError),
}

/// Why nothing can be made of it. No error names the URL.
#[derive(Debug, thiserror::Error)]
pub enum NotExecuted {
    /// No connection.
    #[error("the runner cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// No answer, though it may have been done.
    #[error("the runner did not answer in time")]
    Timeout,
    /// Half an answer, or none.
    #[error("the connection to the runner broke off")]
    BrokeOff(#[source] reqwest::Error),
    /// More than may be.
    #[error("the runner's answer has more than {0} bytes")]
    TooLarge(usize),
    /// What no runner answers.
    #[error("the runner's answer is malformed")]
    Malformed,
}

impl Runners {
    /// Prepares the connections; nothing is sent yet.
    ///
    /// # Errors
    /// A URL is none, or the certificates are none.
    pub fn new(settings: &RunnerSettings) -> anyhow::Result<Self> {
        let direct = settings.direct.as_deref().map(base).transpose().context("--runner-url")?;
        if !settings.exec.contains("{namespace}") {
            bail!("--exec-url needs {{namespace}} in it");
        }
        // So that a mistake is told now and not at the first call.
        let exec = base(&settings.exec.replace("{namespace}", "annex")).context("--exec-url")?;
        let broker = settings.broker.as_deref().map(base).transpose().context("--broker-internal-url")?;
        let mut builder = Client::builder()
            .user_agent(concat!("annex/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            // Sooner than a runner closes them: a call on a connection that is just closed fails.
            .pool_idle_timeout(Duration::from_secs(20))
            // A redirect or a proxy from the environment would hand the call and its grant to another.
            .redirect(redirect::Policy::none())
            .no_proxy();
        let is_https = |url: &Url| url.scheme() == "https";
        let authorities = match &settings.authorities {
            Some(pem) => Some(Certificate::from_pem_bundle(pem).context("--runner-ca-file")?),
            // Without it the client reads the system's certificates even for http, and fails where there are none.
            None if ![&direct, &broker].into_iter().flatten().chain([&exec]).any(is_https) => {
                Some(Vec::new())
            }
            None => None,
        };
        if let Some(authorities) = authorities {
            builder = builder.tls_certs_only(authorities);
        }
        let direct_audience = DIRECT_AUDIENCE.parse()?;
        let connect = |address: &String| {
            // Of TLS the name would be the ingress's and not the runner's.
            ensure!(exec.scheme() == "http", "--exec-connect is for an --exec-url of http");
            base(&format!("http://{address}")).context("--exec-connect")
        };
        let exec_connect = settings.exec_connect.as_ref().map(connect).transpose()?;
        Ok(Self {
            client: builder.build()?,
            direct,
            exec: settings.exec.clone(),
            exec_connect,
            broker,
            direct_audience,
            broker_audience: BROKER_AUDIENCE.parse()?,
        })
    }

    /// Where an install executes, by its `status.runnerRef`.
    ///
    /// # Errors
    /// Nowhere yet, or nowhere that is reached from here.
    pub fn of(&self, reference: Option<&RunnerReference>) -> Result<Place, NoPlace> {
        match reference {
            None => Err(NoPlace::Unknown),
            Some(RunnerReference { environment: Some(_), .. }) => Err(NoPlace::Elsewhere),
            Some(RunnerReference { mode, namespace: Some(namespace), name: Some(name), .. })
                if mode == "knative" && name == RUNNER_SERVICE =>
            {
                let url = Url::parse(&self.exec.replace("{namespace}", namespace)).ok();
                let audience = format!("{namespace}/exec").parse().ok();
                let (url, audience) = url.zip(audience).ok_or(NoPlace::Elsewhere)?;
                let Some(connect) = self.exec_connect.clone() else {
                    return Ok(Place { url, host: None, audience });
                };
                let host = url.host_str().map(|host| match url.port() {
                    Some(port) => format!("{host}:{port}"),
                    None => host.to_owned(),
                });
                Ok(Place { url: connect, host, audience })
            }
            // One runner for all, by the URL that the operator gave.
            Some(_) => self.direct().ok_or(NoPlace::Elsewhere),
        }
    }

    /// Who removes what an install stored: its own runner, and where that is not reached from here, whoever kept it while the install ran
    /// on the platform. An install moves, and what it stored stays.
    ///
    /// # Errors
    /// It ran nowhere yet, or nobody who is reached from here has kept anything.
    pub fn storage_of(&self, reference: Option<&RunnerReference>) -> Result<Place, NoPlace> {
        self.of(reference).or_else(|no_place| match no_place {
            NoPlace::Unknown => Err(no_place),
            NoPlace::Elsewhere => self.broker().or_else(|| self.direct()).ok_or(no_place),
        })
    }

    fn direct(&self) -> Option<Place> {
        let url = self.direct.clone()?;
        Some(Place { url, host: None, audience: self.direct_audience.clone() })
    }

    fn broker(&self) -> Option<Place> {
        let url = self.broker.clone()?;
        Some(Place { url, host: None, audience: self.broker_audience.clone() })
    }

    /// Has a call executed. The body is sent as it is: the grant is of these bytes.
    ///
    /// # Errors
    /// See [`NotExecuted`]. Nothing is tried again: whether the guest was called already is not known.
    pub async fn execute(
        &self,
        place: &Place,
        presented: &Presented,
        body: Bytes,
        request_id: &RequestId,
        within: Duration,
    ) -> Result<Executed, NotExecuted> {
        let request = self.request(place, EXECUTE_PATH, presented, request_id).body(body);
        timeout(within, async { read(send(request).await?).await }).await.unwrap_or(Err(NotExecuted::Timeout))
    }

    /// Has an [`Order`](annex_grant::Order) carried out, of which `body` is the JSON.
    ///
    /// # Errors
    /// See [`NotExecuted`]. Every order can be given again.
    pub async fn order(
        &self,
        place: &Place,
        presented: &Presented,
        body: Bytes,
        request_id: &RequestId,
        within: Duration,
    ) -> Result<Ordered, NotExecuted> {
        let request = self.request(place, ORDER_PATH, presented, request_id).body(body);
        let exchange = async {
            let answer = send(request).await?;
            match answer.status() {
                StatusCode::NO_CONTENT => Ok(Ordered::Done),
                _ => refusal(answer).await.map(|(error, _)| Ordered::Refused(error)),
            }
        };
        timeout(within, exchange).await.unwrap_or(Err(NotExecuted::Timeout))
    }

    fn request(
        &self,
        place: &Place,
        path: &str,
        presented: &Presented,
        request_id: &RequestId,
    ) -> RequestBuilder {
        let mut url = place.url.clone();
        url.set_path(path);
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(REQUEST_ID_HEADER, request_id.as_str())
            .header(TOKEN_HEADER, presented.grant.as_str());
        if let Some(host) = &place.host {
            request = request.header(HOST, host);
        }
        match &presented.broker {
            Some(broker) => request.header(BROKER_TOKEN_HEADER, broker.as_str()),
            None => request,
        }
    }
}

async fn send(request: RequestBuilder) -> Result<Response, NotExecuted> {
    request.send().await.map_err(|error| {
        // The URL is the log's already.
        let error = error.without_url();
        match error.is_connect() {
            true => NotExecuted::Unreachable(error),
            false => NotExecuted::BrokeOff(error),
        }
    })
}

async fn read(answer: Response) -> Result<Executed, NotExecuted> {
    if answer.status() == StatusCode::OK {
        let bytes = limited(answer, LARGEST_ANSWER).await?;
        return serde_json::from_slice(&bytes).map(Executed::Answer).map_err(|_| NotExecuted::Malformed);
    }
    let (error, retry_after) = refusal(answer).await?;
    Ok(Executed::Refused { error, retry_after })
}

async fn refusal(answer: Response) -> Result<(RunnerError, Option<u16>), NotExecuted> {
    let (status, retry_after) = (answer.status(), answer.headers().get(RETRY_AFTER).cloned());
    let bytes = limited(answer, LARGEST_ERROR).await?;
    let error: RunnerError = serde_json::from_slice(&bytes).map_err(|_| NotExecuted::Malformed)?;
    // Of a proxy between, not of a runner.
    if error.code != RunnerErrorCode::Unknown && error.code.status() != status.as_u16() {
        return Err(NotExecuted::Malformed);
    }
    Ok((error, retry_after.and_then(|value| value.to_str().ok()?.parse().ok())))
}

async fn limited(mut answer: Response, most: usize) -> Result<Vec<u8>, NotExecuted> {
    let mut bytes = Vec::new();
    while let Some(chunk) =
        answer.chunk().await.map_err(|error| NotExecuted::BrokeOff(error.without_url()))?
    {
        if bytes.len() + chunk.len() > most {
            return Err(NotExecuted::TooLarge(most));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn base(url: &str) -> anyhow::Result<Url> {
    let parsed = Url::parse(url).map_err(|error| anyhow!("{url:?} is no URL: {error}"))?;
    let plain = parsed.path() == "/" && parsed.query().is_none() && parsed.username().is_empty();
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() || !plain {
        bail!("{url:?} is no http or https URL without a path");
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runners(direct: Option<&str>) -> Runners {
        let exec = "http://exec.{namespace}.svc.cluster.local".to_owned();
        let direct = direct.map(str::to_owned);
        Runners::new(&RunnerSettings { direct, exec, ..RunnerSettings::default() }).unwrap()
    }

    fn reference(mode: &str, namespace: &str, name: &str) -> RunnerReference {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        RunnerReference { mode: mode.into(), namespace: some(namespace), name: some(name), environment: None }
    }

    #[test]
    fn each_install_has_its_place_and_each_place_its_audience() {
        annex_service::install_tls_provider();
        let (with, without) = (runners(Some("http://runner:8093")), runners(None));
        let place = |runners: &Runners, reference: &RunnerReference| {
            let place = runners.of(Some(reference))?;
            Ok::<_, NoPlace>((place.url.to_string(), place.audience.to_string()))
        };
        let direct = reference("direct", "", "");
        assert_eq!(place(&with, &direct), Ok(("http://runner:8093/".into(), "direct".into())));
        assert_eq!(place(&without, &direct), Err(NoPlace::Elsewhere));
        let own = reference("knative", "annex-1s8uv", "runner");
        let expected = ("http://exec.annex-1s8uv.svc.cluster.local/".into(), "annex-1s8uv/exec".into());
        assert_eq!(place(&without, &own), Ok(expected));
        let elsewhere = RunnerReference { environment: Some("mine".into()), ..own };
        assert_eq!(place(&with, &elsewhere), Err(NoPlace::Elsewhere));
        let shared = reference("knative", "annex-runner", "shared");
        assert_eq!(place(&without, &shared), Err(NoPlace::Elsewhere));
        assert_eq!(place(&with, &shared).map(|(_, audience)| audience), Ok("direct".into()));
        assert_eq!(with.of(None), Err(NoPlace::Unknown));
    }

    #[test]
    fn what_an_install_stored_before_it_moved_is_removed_by_who_kept_it() {
        annex_service::install_tls_provider();
        let place = |direct: Option<&str>, broker: Option<&str>, reference: Option<&RunnerReference>| {
            let exec = "http://exec.{namespace}".to_owned();
            let (direct, broker) = (direct.map(str::to_owned), broker.map(str::to_owned));
            let settings = RunnerSettings { direct, exec, broker, ..RunnerSettings::default() };
            let place = Runners::new(&settings).unwrap().storage_of(reference)?;
            Ok::<_, NoPlace>((place.url.to_string(), place.audience.to_string()))
        };
        let (runner, broker) = (Some("http://runner:8093"), Some("http://broker:8098"));
        let own = reference("knative", "annex-1s8uv", "runner");
        let moved = RunnerReference { environment: Some("mine".into()), ..own.clone() };
        let at_its_runner = Ok(("http://exec.annex-1s8uv/".into(), "annex-1s8uv/exec".into()));
        assert_eq!(place(runner, broker, Some(&own)), at_its_runner);
        let at_the_broker = Ok(("http://broker:8098/".into(), BROKER_AUDIENCE.to_owned()));
        assert_eq!(place(runner, broker, Some(&moved)), at_the_broker);
        let at_the_runner_of_all = Ok(("http://runner:8093/".into(), "direct".into()));
        assert_eq!(place(runner, None, Some(&moved)), at_the_runner_of_all);
        assert_eq!(place(None, None, Some(&moved)), Err(NoPlace::Elsewhere));
        assert_eq!(place(runner, broker, None), Err(NoPlace::Unknown));
    }

    #[test]
    fn an_ingress_stands_in_for_names_that_do_not_resolve() {
        annex_service::install_tls_provider();
        let new = |exec: &str, connect: &str| {
            let (exec, exec_connect) = (exec.to_owned(), Some(connect.to_owned()));
            Runners::new(&RunnerSettings { exec, exec_connect, ..RunnerSettings::default() })
        };
        let runners = new("http://exec.{namespace}.svc.cluster.local", "10.89.0.2:30081").unwrap();
        let place = runners.of(Some(&reference("knative", "annex-1s8uv", "runner"))).ok().unwrap();
        assert_eq!(place.url.as_str(), "http://10.89.0.2:30081/");
        assert_eq!(place.host.as_deref(), Some("exec.annex-1s8uv.svc.cluster.local"));
        assert!(new("https://exec.{namespace}", "10.89.0.2:30081").is_err());
        assert!(new("http://exec.{namespace}", "10.89.0.2/x").is_err());
    }

    #[test]
    fn what_is_no_base_url_is_refused_at_the_start() {
        annex_service::install_tls_provider();
        let refused = |direct: Option<&str>, exec: &str| {
            let settings = RunnerSettings {
                direct: direct.map(str::to_owned),
                exec: exec.into(),
                ..RunnerSettings::default()
            };
            Runners::new(&settings).is_err()
        };
        for bad in ["", "runner", "ftp://runner", "http://u@runner", "http://runner/v1", "http://runner?x"] {
            assert!(refused(Some(bad), "http://exec.{namespace}"), "{bad}");
        }
        assert!(refused(None, "http://exec"));
        assert!(refused(None, "exec.{namespace}"));
        assert!(!refused(None, "http://exec.{namespace}"));
    }
}

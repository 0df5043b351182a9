use reqwest::StatusCode;
use serde_json::Value;
use xtask::Settings;

/// Asks the runner for a host, and the lookup who a host is.
#[derive(Clone, Debug)]
pub struct RunnerClient {
    http: reqwest::Client,
    runner: String,
    lookup: String,
}

impl RunnerClient {
    /// `lookup`: where the controller answers who a host is.
    pub(crate) fn new(settings: &Settings, lookup: &str) -> anyhow::Result<Self> {
        let http =
            reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(10)).build()?;
        let lookup = format!("{lookup}/api/installs/lookup-by-host");
        Ok(Self { http, runner: settings.runner_url(), lookup })
    }

    /// `GET /` with this Host header: the status, and the body where it is JSON.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, host: &str) -> anyhow::Result<(StatusCode, Value)> {
        answer(self.http.get(&self.runner).header("host", host)).await
    }

    /// Asks the lookup for a host.
    ///
    /// # Errors
    /// No answer.
    pub async fn lookup(&self, host: &str) -> anyhow::Result<(StatusCode, Value)> {
        answer(self.http.get(&self.lookup).query(&[("host", host)])).await
    }

    /// The body of any URL of the environment.
    ///
    /// # Errors
    /// No answer, or one that is not 200.
    pub async fn text(&self, url: &str) -> anyhow::Result<String> {
        Ok(self.http.get(url).send().await?.error_for_status()?.text().await?)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> anyhow::Result<(StatusCode, Value)> {
    let response = request.send().await?;
    let status = response.status();
    Ok((status, serde_json::from_str(&response.text().await?).unwrap_or_default()))
}

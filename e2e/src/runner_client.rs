use std::path::Path;

use annex_core::IDENTITY_PATH;
use reqwest::StatusCode;
use serde_json::Value;
use xtask::Settings;

use crate::until;

/// Asks the runner for a host, and the lookup who a host is.
#[derive(Clone, Debug)]
pub struct RunnerClient {
    http: reqwest::Client,
    runner: String,
    registry: String,
    token: String,
}

impl RunnerClient {
    /// `registry`: where it answers who a host is; `tokens`: the file of what runners are known to it by.
    pub(crate) fn new(settings: &Settings, registry: &str, tokens: &Path) -> anyhow::Result<Self> {
        let http =
            reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(60)).build()?;
        let token = std::fs::read_to_string(tokens)?.trim().to_owned();
        Ok(Self { http, runner: settings.runner_url(), registry: registry.to_owned(), token })
    }

    /// Asks the runner which install this host is: the status, and the body where it is JSON.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, host: &str) -> anyhow::Result<(StatusCode, Value)> {
        answer(self.http.get(format!("{}{IDENTITY_PATH}", self.runner)).header("host", host)).await
    }

    /// Asks the lookup for a host.
    ///
    /// # Errors
    /// No answer.
    pub async fn lookup(&self, host: &str) -> anyhow::Result<(StatusCode, Value)> {
        self.lookup_at(&self.registry, host).await
    }

    /// Returns once nobody is this host any more. The registry hears of what a status says by a watch of its own, a moment later.
    ///
    /// # Errors
    /// Somebody still is, or no answer.
    pub async fn is_nobodys(&self, host: &str) -> anyhow::Result<()> {
        until(&format!("{host} is nobody's"), || async {
            Ok((self.lookup(host).await?.0 == StatusCode::NOT_FOUND).then_some(()))
        })
        .await
    }

    /// Asks another registry than the environment's for a host.
    ///
    /// # Errors
    /// No answer.
    pub async fn lookup_at(&self, registry: &str, host: &str) -> anyhow::Result<(StatusCode, Value)> {
        let question = self.http.get(format!("{registry}/api/installs/lookup-by-host"));
        let question = question.bearer_auth(&self.token);
        answer(question.query(&[("host", host)])).await
    }

    /// What a URL of the environment says, whatever its status is.
    ///
    /// # Errors
    /// No answer.
    pub async fn said(&self, url: &str) -> anyhow::Result<String> {
        Ok(self.http.get(url).send().await?.text().await?)
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

use std::path::Path;

use anyhow::Context as _;
use kube::config::Kubeconfig;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

/// Somebody who calls an extension's API on its own domain.
#[derive(Clone, Debug)]
pub struct Caller {
    http: Client,
    base: String,
    token: Option<String>,
}

impl Caller {
    /// Calls `url`, as an Install's status has it, which leads to this machine. Without a token, at first.
    ///
    /// # Errors
    /// It is no URL with a host.
    pub fn of(url: &str) -> anyhow::Result<Self> {
        let parsed = url::Url::parse(url)?;
        let (host, port) =
            (parsed.host_str().context("a host")?, parsed.port_or_known_default().context("a port")?);
        let http = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(crate::PATIENCE)
            .resolve(host, ([127, 0, 0, 1], port).into())
            .build()?;
        Ok(Self { http, base: url.trim_end_matches('/').to_owned(), token: None })
    }

    /// The same, with a token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same, with the token of a kubeconfig.
    ///
    /// # Errors
    /// There is none in it.
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> anyhow::Result<Self> {
        Ok(self.with_token(&token_in(kubeconfig)?))
    }

    /// Calls an extension: the status, and the body as text.
    ///
    /// # Errors
    /// No answer.
    pub async fn call(
        &self,
        method: Method,
        extension: &str,
        path: &str,
        json: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, String)> {
        let mut request = self.http.request(method, format!("{}/api/ext/{extension}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(json) = json {
            request = request.json(json);
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    /// Asks an extension, and returns the status and the code of a refusal, which is empty where there is none.
    ///
    /// # Errors
    /// No answer.
    pub async fn outcome(&self, extension: &str, path: &str) -> anyhow::Result<(u16, String)> {
        let (status, body) = self.call(Method::GET, extension, path, None).await?;
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        Ok((status.as_u16(), body.get("code").and_then(Value::as_str).unwrap_or_default().to_owned()))
    }
}

/// The token of the first user of a kubeconfig.
///
/// # Errors
/// There is none.
pub fn token_in(kubeconfig: &Path) -> anyhow::Result<String> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let info = kubeconfig.auth_infos.into_iter().next().and_then(|named| named.auth_info);
    let token = info.and_then(|info| info.token).context("the user has no token")?;
    Ok(secrecy::ExposeSecret::expose_secret(&token).to_owned())
}

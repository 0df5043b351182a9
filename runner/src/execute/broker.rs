//! Secrets, as the gateway's broker gives them for one call.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use annex_engine::{CallContext, SecretError, Secrets};
use annex_grant::{Base64Bytes, SECRETS_PATH, SecretAnswer, SecretQuestion, TOKEN_HEADER};
use async_trait::async_trait;
use reqwest::{Certificate, Client, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

/// How long one question may take. The call's own timeout ends it earlier.
const WITHIN: Duration = Duration::from_secs(10);
/// A Secret of Kubernetes has 1 MiB at most; as base64, and with its keys.
const LARGEST_ANSWER: u64 = 2 << 20;
/// The most names that one call asks for: without it, a guest has the broker asked without an end.
const MOST_NAMES: usize = 16;

/// Where the broker answers. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    client: Client,
    url: Url,
}

impl Broker {
    /// `base` is the listener of the gateway's broker. `authorities`: what an https one is checked by; none means the system's.
    pub(super) fn new(base: &Url, authorities: Option<Vec<Certificate>>) -> anyhow::Result<Self> {
        let mut client =
            Client::builder().timeout(WITHIN).no_proxy().redirect(reqwest::redirect::Policy::none());
        if let Some(authorities) = authorities {
            client = client.tls_certs_only(authorities);
        }
        Ok(Self { client: client.build()?, url: base.join(SECRETS_PATH)? })
    }

    /// For one call, which has brought `token`.
    pub(super) fn for_call(&self, token: &str) -> CallSecrets {
        CallSecrets { broker: self.clone(), token: token.to_owned().into(), asked: Mutex::default() }
    }

    async fn ask(&self, token: &SecretString, name: &str) -> Result<Values, SecretError> {
        let question = SecretQuestion { name: name.to_owned() };
        let asked =
            self.client.post(self.url.clone()).header(TOKEN_HEADER, token.expose_secret()).json(&question);
        // Errors of the way there name the URL, which is no secret; what was asked for and answered is in none of them.
        let answer = asked.send().await.map_err(|error| unavailable(&error))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(SecretError::NotGranted),
            StatusCode::NOT_FOUND => return Err(SecretError::NotFound),
            status => {
                tracing::warn!(%status, "the broker of secrets refuses");
                return Err(SecretError::Unavailable);
            }
        }
        if answer.content_length().is_none_or(|length| length > LARGEST_ANSWER) {
            tracing::warn!("the broker's answer is larger than any Secret, or does not say how large it is");
            return Err(SecretError::Unavailable);
        }
        let answer: SecretAnswer = answer.json().await.map_err(|error| unavailable(&error.without_url()))?;
        Ok(answer.data)
    }
}

fn unavailable(error: &reqwest::Error) -> SecretError {
    // A body that is no JSON is quoted nowhere: serde_json says where it broke, not what was there.
    tracing::warn!(error = format!("{error:#}"), "the broker of secrets does not answer");
    SecretError::Unavailable
}

type Values = BTreeMap<String, Base64Bytes>;

/// The secrets of one call. What was asked for once is not asked again: within a call, a Secret does not change.
pub(super) struct CallSecrets {
    broker: Broker,
    token: SecretString,
    asked: Mutex<HashMap<String, Result<Values, SecretError>>>,
}

#[async_trait]
impl Secrets for CallSecrets {
    async fn get(&self, _: &CallContext, name: &str, key: &str) -> Result<Vec<u8>, SecretError> {
        let mut asked = self.asked.lock().await;
        if !asked.contains_key(name) {
            if asked.len() >= MOST_NAMES {
                return Err(SecretError::NotGranted);
            }
            let answer = self.broker.ask(&self.token, name).await;
            asked.insert(name.to_owned(), answer);
        }
        match asked.get(name) {
            Some(Ok(values)) => values.get(key).map(|value| value.0.clone()).ok_or(SecretError::NotFound),
            Some(Err(error)) => Err(*error),
            None => Err(SecretError::Unavailable),
        }
    }
}

/// Where there is no broker, or the call brought nothing for it.
pub(super) struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    async fn get(&self, _: &CallContext, _: &str, _: &str) -> Result<Vec<u8>, SecretError> {
        Err(SecretError::NotGranted)
    }
}

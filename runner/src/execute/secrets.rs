//! Secrets, as the gateway's broker gives them for one call.

use std::collections::{BTreeMap, HashMap};

use annex_engine::{CallContext, SecretError, Secrets};
use annex_grant::{Base64Bytes, SecretAnswer, SecretQuestion};
use async_trait::async_trait;
use reqwest::StatusCode;
use tokio::sync::Mutex;

use super::broker::{Broker, BrokerToken, Of, is_within};

/// A Secret of Kubernetes has 1 MiB at most; as base64, and with its keys.
const LARGEST_ANSWER: u64 = 2 << 20;
/// The most names that one call asks for: without it, a guest has the broker asked without an end.
const MOST_NAMES: usize = 16;

impl CallSecrets {
    /// For one call, which has brought `token`.
    pub(super) fn new(broker: Broker, token: BrokerToken) -> Self {
        Self { broker, token, asked: Mutex::default() }
    }

    async fn ask(&self, name: &str) -> Result<Values, SecretError> {
        let question = SecretQuestion { name: name.to_owned() };
        let asked = self.broker.ask(Of::Secrets, &self.token, &question).await;
        let answer = asked.map_err(|error| unavailable(&error))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(SecretError::NotGranted),
            StatusCode::NOT_FOUND => return Err(SecretError::NotFound),
            status => {
                tracing::warn!(%status, "the broker of secrets refuses");
                return Err(SecretError::Unavailable);
            }
        }
        if !is_within(&answer, LARGEST_ANSWER) {
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
    token: BrokerToken,
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
            let answer = self.ask(name).await;
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

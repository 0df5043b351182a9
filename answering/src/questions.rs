//! The questions to kcp, each within a time.

use std::{fmt::Debug, future::Future, time::Duration};

use kube::{Api, Client, Resource, api::PostParams};
use kube_kcp::Brief;
use serde::{Serialize, de::DeserializeOwned};

use crate::refusal::Refusal;

/// Whoever asks waits for it; an idle kcp answers in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What kcp answered, or that it did not: then the log has why, and the caller learns only that.
///
/// # Errors
/// kcp cannot be reached, does not answer in time, or refuses the service.
pub async fn ask<T>(
    what: &'static str,
    question: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Refusal> {
    match answer(what, question).await? {
        Ok(answer) => Ok(answer),
        Err(error) => Err(unexpected(what, &error)),
    }
}

/// The same, where what kcp says no to is for the caller to look at.
///
/// # Errors
/// kcp cannot be reached, or does not answer in time.
pub async fn answer<T>(
    what: &'static str,
    question: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Result<T, Box<kube::core::Status>>, Refusal> {
    match tokio::time::timeout(TIMEOUT, question).await {
        Ok(Ok(answer)) => Ok(Ok(answer)),
        Ok(Err(kube::Error::Api(status))) => Ok(Err(status)),
        Ok(Err(error)) => {
            tracing::warn!(what, error = %Brief(&error), "kcp cannot be asked");
            Err(Refusal::kcp())
        }
        Err(_) => {
            tracing::warn!(what, "kcp does not answer in time");
            Err(Refusal::kcp())
        }
    }
}

/// What kcp was not expected to say: the log has it, and the caller learns only that kcp did not answer.
#[must_use]
pub fn unexpected(what: &'static str, status: &kube::core::Status) -> Refusal {
    tracing::warn!(what, status = status.code, reason = status.reason, error = status.message, "kcp refuses");
    Refusal::kcp()
}

/// An object of the provider's workspace, as kcp has it at this moment.
///
/// # Errors
/// See [`ask`].
pub async fn read<K>(client: &Client, what: &'static str, name: &str) -> Result<Option<K>, Refusal>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    ask(what, Api::<K>::all(client.clone()).get_opt(name)).await
}

/// Makes an object that is a question, and returns what kcp has made of it.
///
/// # Errors
/// See [`ask`].
pub async fn review<K>(client: &Client, what: &'static str, question: &K) -> Result<K, Refusal>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    ask(what, Api::<K>::all(client.clone()).create(&PostParams::default(), question)).await
}

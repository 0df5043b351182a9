//! `storage.kv`, as the gateway's broker keeps it for one call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annex_engine::{CallContext, Kv, KvError};
use annex_grant::{Base64Bytes, KvAnswer, KvQuestion, KvRefusal, KvRefusalCode, LARGEST_KV_ANSWER};
use async_trait::async_trait;
use parking_lot::Mutex;
use reqwest::{Response, StatusCode};

use super::broker::{Broker, BrokerToken, Of, is_within};

/// A refusal is a code and a sentence.
const LARGEST_REFUSAL: u64 = 16 << 10;

/// The storage of one call. The context that comes with each operation is not asked: whose it is the token says, which the gateway made.
pub(super) struct CallKv {
    broker: Broker,
    token: BrokerToken,
    outage: Arc<Outage>,
}

/// Why there is no answer of the store, for the log.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("it does not answer: {0:#}")]
    Unreachable(anyhow::Error),
    #[error("it refuses, with {0} and {1:?}: {2}")]
    Refused(StatusCode, KvRefusalCode, String),
    #[error("its answer is none")]
    Malformed,
}

impl CallKv {
    pub(super) fn new(broker: Broker, token: BrokerToken, outage: Arc<Outage>) -> Self {
        Self { broker, token, outage }
    }

    /// Asks once, whatever comes of it: what was sent may have been done.
    async fn ask(&self, question: &KvQuestion) -> Result<KvAnswer, KvError> {
        match self.answer(question).await {
            Ok(Ok(answer)) => {
                self.outage.ended();
                Ok(answer)
            }
            Ok(Err(error)) => Err(error),
            Err(unanswered) => Err(self.unavailable(&unanswered)),
        }
    }

    fn unavailable(&self, why: &Unanswered) -> KvError {
        self.outage.noticed(why);
        KvError::Unavailable
    }

    async fn answer(&self, question: &KvQuestion) -> Result<Result<KvAnswer, KvError>, Unanswered> {
        let answer = self.broker.ask(Of::Kv, &self.token, question).await.map_err(unreachable)?;
        if answer.status() != StatusCode::OK {
            return refused(answer).await.map(Err);
        }
        if !is_within(&answer, LARGEST_KV_ANSWER as u64) {
            return Err(Unanswered::Malformed);
        }
        let bytes = answer.bytes().await.map_err(unreachable)?;
        // Its error would quote what is stored.
        serde_json::from_slice(&bytes).map(Ok).map_err(|_| Unanswered::Malformed)
    }
}

fn unreachable(error: reqwest::Error) -> Unanswered {
    Unanswered::Unreachable(error.into())
}

/// What the store itself says is the guest's to know; all else is the operator's.
async fn refused(answer: Response) -> Result<KvError, Unanswered> {
    let status = answer.status();
    let refusal: Option<KvRefusal> = match is_within(&answer, LARGEST_REFUSAL) {
        true => answer.bytes().await.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()),
        false => None,
    };
    match refusal {
        Some(KvRefusal { code: KvRefusalCode::QuotaExceeded, .. }) => Ok(KvError::QuotaExceeded),
        Some(KvRefusal { code, message }) => Err(Unanswered::Refused(status, code, message)),
        None => Err(Unanswered::Malformed),
    }
}

#[async_trait]
impl Kv for CallKv {
    async fn get(&self, _: &CallContext, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        match self.ask(&KvQuestion::Get { key: key.to_owned() }).await? {
            KvAnswer::Value(value) => Ok(value.map(|value| value.0)),
            KvAnswer::Done(_) | KvAnswer::Keys(_) => Err(self.unavailable(&Unanswered::Malformed)),
        }
    }

    async fn set(&self, _: &CallContext, key: &str, value: Vec<u8>) -> Result<(), KvError> {
        match self.ask(&KvQuestion::Set { key: key.to_owned(), value: Base64Bytes(value) }).await? {
            KvAnswer::Done(true) => Ok(()),
            _ => Err(self.unavailable(&Unanswered::Malformed)),
        }
    }

    async fn compare_and_set(
        &self,
        _: &CallContext,
        key: &str,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> Result<bool, KvError> {
        let question = KvQuestion::CompareAndSet {
            key: key.to_owned(),
            expected: expected.map(Base64Bytes),
            value: Base64Bytes(value),
        };
        match self.ask(&question).await? {
            KvAnswer::Done(done) => Ok(done),
            KvAnswer::Value(_) | KvAnswer::Keys(_) => Err(self.unavailable(&Unanswered::Malformed)),
        }
    }

    async fn delete(&self, _: &CallContext, key: &str) -> Result<(), KvError> {
        match self.ask(&KvQuestion::Delete { key: key.to_owned() }).await? {
            KvAnswer::Done(true) => Ok(()),
            _ => Err(self.unavailable(&Unanswered::Malformed)),
        }
    }

    async fn list_keys(
        &self,
        _: &CallContext,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, KvError> {
        let question =
            KvQuestion::ListKeys { prefix: prefix.to_owned(), after: after.map(str::to_owned), limit };
        match self.ask(&question).await? {
            KvAnswer::Keys(keys) if keys.len() <= limit as usize => Ok(keys),
            _ => Err(self.unavailable(&Unanswered::Malformed)),
        }
    }
}

/// Where nothing is stored: every operation says so, instead of losing what was written at the next restart.
pub(super) struct NoStorage;

#[async_trait]
impl Kv for NoStorage {
    async fn get(&self, _: &CallContext, _: &str) -> Result<Option<Vec<u8>>, KvError> {
        Err(KvError::Unavailable)
    }

    async fn set(&self, _: &CallContext, _: &str, _: Vec<u8>) -> Result<(), KvError> {
        Err(KvError::Unavailable)
    }

    async fn compare_and_set(
        &self,
        _: &CallContext,
        _: &str,
        _: Option<Vec<u8>>,
        _: Vec<u8>,
    ) -> Result<bool, KvError> {
        Err(KvError::Unavailable)
    }

    async fn delete(&self, _: &CallContext, _: &str) -> Result<(), KvError> {
        Err(KvError::Unavailable)
    }

    async fn list_keys(
        &self,
        _: &CallContext,
        _: &str,
        _: Option<&str>,
        _: u32,
    ) -> Result<Vec<String>, KvError> {
        Err(KvError::Unavailable)
    }
}

/// Between two lines about failures: how many operations fail, guests decide.
const PAUSE: Duration = Duration::from_secs(10);

/// Says in the log that the broker does not store, and that it does again.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    warned: Option<Instant>,
    /// Since the last line.
    failures: u64,
    /// Whether a line has said so, and none since then that it is over.
    reported: bool,
}

impl Outage {
    fn ended(&self) {
        if std::mem::take(&mut self.0.lock().reported) {
            tracing::info!("the broker stores again");
        }
    }

    fn noticed(&self, why: &Unanswered) {
        let mut seen = self.0.lock();
        seen.failures += 1;
        if seen.warned.is_some_and(|warned| warned.elapsed() < PAUSE) {
            return;
        }
        seen.warned = Some(Instant::now());
        seen.reported = true;
        let failures = std::mem::take(&mut seen.failures);
        drop(seen);
        tracing::warn!(%why, failures, "the broker does not store");
    }
}

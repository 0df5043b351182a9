//! The gateway's broker: what it gives and keeps for one call, which has brought a token for it.

use std::time::Duration;

use annex_grant::{KV_PATH, ORDER_PATH, SECRETS_PATH, TOKEN_HEADER};
use bytes::Bytes;
use reqwest::{Certificate, Client, Response, Url, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;

use crate::authorities::checked_by;

/// How long one question may take. The call's own timeout ends it earlier.
const WITHIN: Duration = Duration::from_secs(10);
/// Sooner than the gateway closes them: what is asked on a connection that is just closed may have been done, and is not asked again.
const IDLE: Duration = Duration::from_secs(20);

/// Where the broker answers. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Broker {
    client: Client,
    secrets: Url,
    kv: Url,
    orders: Url,
}

/// What one call has brought for it. Not shown.
#[derive(Clone, Debug)]
pub(super) struct BrokerToken(SecretString);

/// What the broker is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    Secrets,
    Kv,
}

impl Broker {
    /// `base` is the listener of the gateway's broker. `authorities`: what an https one is checked by; none means the system's.
    pub(super) fn new(base: &Url, authorities: Option<Vec<Certificate>>) -> anyhow::Result<Self> {
        let client = Client::builder()
            .timeout(WITHIN)
            .pool_idle_timeout(IDLE)
            .no_proxy()
            .redirect(redirect::Policy::none())
            // Not even what HTTP allows to be sent twice: what a guest stores is done once or not at all.
            .retry(reqwest::retry::never());
        let client = checked_by(client, base, authorities).build()?;
        Ok(Self {
            client,
            secrets: base.join(SECRETS_PATH)?,
            kv: base.join(KV_PATH)?,
            orders: base.join(ORDER_PATH)?,
        })
    }

    /// Hands an order on, in the bytes that the grant has the digest of.
    pub(super) async fn order(&self, token: &BrokerToken, order: Bytes) -> reqwest::Result<Response> {
        let token = token.0.expose_secret();
        self.client.post(self.orders.clone()).header(TOKEN_HEADER, token).body(order).send().await
    }

    /// Asks once. An error names the URL, which is no secret, and nothing of question and answer.
    pub(super) async fn ask(
        &self,
        of: Of,
        token: &BrokerToken,
        question: &impl Serialize,
    ) -> reqwest::Result<Response> {
        let url = match of {
            Of::Secrets => &self.secrets,
            Of::Kv => &self.kv,
        };
        let token = token.0.expose_secret();
        let request = self.client.post(url.clone()).header(TOKEN_HEADER, token).json(question);
        // On a task of its own: where guests compute is less urgent, and threads that the client starts would be so for good.
        match AbortOnDropHandle::new(tokio::spawn(request.send())).await {
            Ok(answer) => answer,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and everybody who waits with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl BrokerToken {
    pub(super) fn new(token: &str) -> Self {
        Self(token.to_owned().into())
    }
}

/// Whether the body may be read: it says how long it is, and that is not too long.
pub(super) fn is_within(answer: &Response, most: u64) -> bool {
    answer.content_length().is_some_and(|length| length <= most)
}

//! `POST /v1/orders`: what is done for an extension without calling it, granted as a call is.

use std::sync::Arc;

use annex_grant::{BROKER_TOKEN_HEADER, Grant, LARGEST_ORDER, Order, RunnerErrorCode};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

use super::behind::Storage;
use super::broker::BrokerToken;
use super::refusal::Refusal;
use super::{Executor, text};

pub(super) async fn order(State(executor): State<Arc<Executor>>, headers: HeaderMap, body: Body) -> Response {
    match executor.order(&headers, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

impl Executor {
    async fn order(&self, headers: &HeaderMap, body: Body) -> Result<(), Refusal> {
        if self.stop.is_cancelled() {
            return Err(Refusal::new(RunnerErrorCode::Draining, "the runner ends"));
        }
        let body = axum::body::to_bytes(body, LARGEST_ORDER).await.map_err(|_| {
            Refusal::new(RunnerErrorCode::RequestTooLarge, "the order is too large, or broke off")
        })?;
        let grant = self.admit(headers, &body)?;
        let order: Order = serde_json::from_slice(&body)
            .map_err(|error| Refusal::new(RunnerErrorCode::MalformedRequest, &error.to_string()))?;
        if !order.agrees(&grant) {
            return Err(Refusal::new(
                RunnerErrorCode::GrantRefused,
                "the order says something else than its grant",
            ));
        }
        let outcome = match &order {
            Order::Prepare(_) => self.extension(&grant).await.map(drop),
            Order::Purge(_) => self.purge(&grant, headers, body.clone()).await,
        };
        let code = outcome.as_ref().err().map(|refusal| refusal.code);
        self.measured.ordered(&order, code);
        tracing::info!(
            tenant = %grant.tenant, extension = %grant.extension, content = %grant.content, install = %grant.install,
            request = order.context().request_id, order = word(&order), code = code.map_or("Done", RunnerErrorCode::as_str), "ordered"
        );
        outcome
    }

    async fn purge(&self, grant: &Grant, headers: &HeaderMap, order: Bytes) -> Result<(), Refusal> {
        let unavailable = |why: &str| Refusal::new(RunnerErrorCode::Internal, why);
        match &self.behind.storage {
            Storage::Own { store, .. } => {
                let removed = store.delete_all(&grant.tenant, &grant.extension).await;
                removed.map(drop).map_err(|error| unavailable(&error.to_string()))
            }
            Storage::OfBroker(_) => {
                let broker = self.behind.broker.as_ref().ok_or_else(|| unavailable("there is no broker"))?;
                let token = text(headers, BROKER_TOKEN_HEADER)
                    .map(BrokerToken::new)
                    .ok_or_else(|| unavailable("the order brought nothing for the broker"))?;
                let answer = broker.order(&token, order).await;
                match answer.map(|answer| answer.status()) {
                    Ok(StatusCode::NO_CONTENT) => Ok(()),
                    Ok(status) => Err(unavailable(&format!("the broker answers {status}"))),
                    Err(error) => {
                        Err(unavailable(&format!("the broker cannot be asked: {}", error.without_url())))
                    }
                }
            }
            // Nothing was ever stored.
            Storage::None => Ok(()),
        }
    }
}

/// For logs and metrics.
pub(super) fn word(order: &Order) -> &'static str {
    match order {
        Order::Prepare(_) => "prepare",
        Order::Purge(_) => "purge",
    }
}

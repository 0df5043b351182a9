//! `POST /v1/orders`: what an extension stored is removed for good.

use std::sync::Arc;

use annex_answering::Refusal;
use annex_grant::{LARGEST_ORDER, Order};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use super::{admitted, question, verified};
use crate::{
    app::App,
    metrics::{Asked, Counted},
};

/// `POST /v1/orders`. Who brings it is not asked: whose storage it is, and that it is to be removed, the controller has signed.
pub(crate) async fn order(State(app): State<Arc<App>>, request: Request) -> Response {
    let mut counted = app.metrics.begin(Asked::Storage("none"));
    let carried_out = carry_out(&app, request, &mut counted).await;
    counted.end(carried_out.as_ref().map_or_else(|refusal| refusal.code, |()| "Answered"));
    match carried_out {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn carry_out(app: &App, request: Request, counted: &mut Counted<'_>) -> Result<(), Refusal> {
    let (parts, body) = request.into_parts();
    verified(app, &parts.headers)?;
    let bytes = question(body, LARGEST_ORDER, app.settings.upload).await?;
    let refused = || Refusal::unauthenticated("this needs a grant for this very order");
    // What a call has brought for its storage must not be taken for an order to remove it, nor one order for another later.
    let grant = admitted(app, &parts.headers, &bytes).map_err(|_| refused())?;
    let order: Order =
        serde_json::from_slice(&bytes).map_err(|_| Refusal::malformed("the body is no order"))?;
    if !order.agrees(&grant) {
        return Err(refused());
    }
    let Order::Purge(context) = &order else {
        return Err(Refusal::malformed("nothing is prepared here"));
    };
    counted.asked = Asked::Storage("purge");
    // Where there is no store, nothing was ever stored.
    let Some(storage) = &app.storage else { return Ok(()) };
    let removed = storage.store().delete_all(&grant.tenant, &grant.extension).await;
    match removed {
        Ok(keys) => {
            tracing::info!(
                tenant = %grant.tenant, extension = %grant.extension, install = %grant.install, request = context.request_id, keys,
                "what it stored is removed"
            );
            Ok(())
        }
        Err(error) => {
            tracing::warn!(tenant = %grant.tenant, extension = %grant.extension, %error, "what it stored cannot be removed");
            Err(Refusal::busy(StatusCode::SERVICE_UNAVAILABLE, "StorageUnavailable", error.to_string()))
        }
    }
}

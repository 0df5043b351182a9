//! `POST /v1/secrets`: what an extension's Install lets it read, for as long as a call of it is under way.

use std::sync::Arc;

use annex_answering::{Refusal, questions::ask};
use annex_apis::CREDENTIALS_OF_KCP;
use annex_grant::{Base64Bytes, SECRETS_CAPABILITY, SecretAnswer, SecretQuestion};
use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::{Needed, question};
use crate::{app::App, metrics::Asked};

const LARGEST_QUESTION: usize = 4 << 10;
/// All values of a Secret. kcp keeps up to 1 MiB; what is read at each call should be small.
const LARGEST_SECRET: usize = 256 << 10;
const NEEDED: Needed = Needed {
    capability: SECRETS_CAPABILITY,
    otherwise: "this is no secret that the Install lets its extension read",
};

/// `POST /v1/secrets`.
pub(crate) async fn secret(State(app): State<Arc<App>>, request: Request) -> Response {
    let counted = app.metrics.begin(Asked::Secret);
    let answered = answer_to(&app, request).await;
    counted.end(answered.as_ref().map_or_else(|refusal| refusal.code, |_| "Read"));
    match answered {
        Ok(secret) => ([("cache-control", "no-store")], Json(secret)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer_to(app: &App, request: Request) -> Result<SecretAnswer, Refusal> {
    let (parts, body) = request.into_parts();
    let grant = NEEDED.granted(app, &parts.headers)?;
    let bytes = question(body, LARGEST_QUESTION, app.settings.upload).await?;
    let SecretQuestion { name } = serde_json::from_slice(&bytes).map_err(|_| malformed())?;
    let (key, install) = NEEDED.still_granted(app, &grant).await?;
    if !install.spec.secrets.iter().any(|secret| secret.name == name) {
        return Err(NEEDED.not_granted());
    }
    let client = (app.workspaces)(&key.cluster).map_err(|error| {
        tracing::warn!(%error, "a workspace cannot be asked");
        Refusal::kcp()
    })?;
    // With the label, or it is not there for Annex: so its owner says yes twice.
    let found = ask("Secret", Api::<Secret>::namespaced(client, &key.namespace).get_opt(&name)).await?;
    let secret = found.ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "SecretNotFound",
            "the Secret is not there, or lacks the label annex.sh/managed=true",
        )
    })?;
    if secret.type_.as_deref().is_some_and(|type_| CREDENTIALS_OF_KCP.contains(&type_)) {
        return Err(NEEDED.not_granted());
    }
    let data = secret.data.unwrap_or_default();
    if data.values().map(|value| value.0.len()).sum::<usize>() > LARGEST_SECRET {
        let message = format!("the Secret has more than {LARGEST_SECRET} bytes");
        return Err(Refusal::new(StatusCode::BAD_GATEWAY, "SecretTooLarge", message));
    }
    Ok(SecretAnswer { data: data.into_iter().map(|(key, value)| (key, Base64Bytes(value.0))).collect() })
}

fn malformed() -> Refusal {
    Refusal::malformed(r#"the body is no {"name": "a Secret's name"}"#)
}

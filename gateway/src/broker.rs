//! `POST /v1/secrets`: what an extension's Install lets it read, for as long as a call of it is under way.
//!
//! A runner holds no credential of a tenant. It presents what came with the call, which only the gateway can make.

use std::sync::Arc;

use annex_answering::{Refusal, questions::ask};
use annex_apis::{Install, MANAGED_ENVIRONMENT_SECRET_TYPE, tenant_id};
use annex_grant::{
    BROKER_AUDIENCE, Base64Bytes, Expected, Grant, SECRETS_CAPABILITY, SecretAnswer, SecretQuestion,
    TOKEN_HEADER, UnixMillis,
};
use axum::{
    Json,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube_kcp::ObjectKey;

use crate::app::App;

const LARGEST_QUESTION: usize = 4 << 10;
/// All values of a Secret. kcp keeps up to 1 MiB; what is read at each call should be small.
const LARGEST_SECRET: usize = 256 << 10;
/// What opens kcp, a guest does not get, even if its Install names it.
const NEVER: &[&str] = &[MANAGED_ENVIRONMENT_SECRET_TYPE, "kubernetes.io/service-account-token"];

/// `POST /v1/secrets`.
pub(crate) async fn secret(State(app): State<Arc<App>>, request: Request) -> Response {
    let answered = answer_to(&app, request).await;
    app.metrics.secret_asked(answered.as_ref().map_or_else(|refusal| refusal.code, |_| "Read"));
    match answered {
        Ok(secret) => ([("cache-control", "no-store")], Json(secret)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer_to(app: &App, request: Request) -> Result<SecretAnswer, Refusal> {
    let (parts, body) = request.into_parts();
    let grant = granted(app, &parts.headers)?;
    let SecretQuestion { name } = question(app, body).await?;
    let Some((key, install)) = app.installs.by_uid(grant.install.as_str()) else {
        return Err(if app.is_synced() { not_granted() } else { Refusal::not_synced() });
    };
    if !is_still_granted(app, &grant, &key, &install)
        || !install.spec.secrets.iter().any(|secret| secret.name == name)
    {
        return Err(not_granted());
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
    if secret.type_.as_deref().is_some_and(|type_| NEVER.contains(&type_)) {
        return Err(not_granted());
    }
    let data = secret.data.unwrap_or_default();
    if data.values().map(|value| value.0.len()).sum::<usize>() > LARGEST_SECRET {
        let message = format!("the Secret has more than {LARGEST_SECRET} bytes");
        return Err(Refusal::new(StatusCode::BAD_GATEWAY, "SecretTooLarge", message));
    }
    Ok(SecretAnswer { data: data.into_iter().map(|(key, value)| (key, Base64Bytes(value.0))).collect() })
}

/// What the runner was granted, if it still is.
fn granted(app: &App, headers: &HeaderMap) -> Result<Grant, Refusal> {
    let refused = || Refusal::unauthenticated("this needs the grant of a call that is under way");
    let token = headers.get(TOKEN_HEADER).and_then(|value| value.to_str().ok()).ok_or_else(refused)?;
    let audience = BROKER_AUDIENCE.parse().map_err(|_| Refusal::internal())?;
    let now = UnixMillis::from(std::time::SystemTime::now());
    // Both ends of it are gateways.
    let expected = Expected { audience: &audience, now, skew: app.settings.skew };
    let grant = app.keys.get().verify(token, expected).map_err(|refusal| {
        tracing::warn!(code = refusal.code(), "a grant is refused");
        refused()
    })?;
    if grant.capabilities.contains(SECRETS_CAPABILITY) { Ok(grant) } else { Err(not_granted()) }
}

/// What was true when the call began may have been taken back since.
fn is_still_granted(app: &App, grant: &Grant, key: &ObjectKey, install: &Install) -> bool {
    let tenant = app.catalog.tenants.get(key.cluster.as_str());
    let is_tenants = tenant.is_some_and(|tenant| {
        !tenant.spec.suspended && tenant_id(&tenant, &key.cluster) == grant.tenant.as_str()
    });
    let granted = install.spec.granted_capabilities.as_ref();
    is_tenants
        && install.metadata.deletion_timestamp.is_none()
        && install.spec.extension == grant.extension.as_str()
        && granted.is_none_or(|granted| granted.iter().any(|name| name == SECRETS_CAPABILITY))
}

async fn question(app: &App, body: Body) -> Result<SecretQuestion, Refusal> {
    let malformed = || Refusal::malformed(r#"the body is no {"name": "a Secret's name"}"#);
    let read = tokio::time::timeout(app.settings.upload, Limited::new(body, LARGEST_QUESTION).collect());
    let bytes =
        read.await.map_err(|_| crate::refusals::body_too_slow())?.map_err(|_| malformed())?.to_bytes();
    serde_json::from_slice(&bytes).map_err(|_| malformed())
}

/// The same for whatever is not granted, so that a guest does not learn what else there is.
fn not_granted() -> Refusal {
    Refusal::forbidden("this is no secret that the Install lets its extension read")
}

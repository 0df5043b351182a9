//! `POST /v1/kv`: what an extension stores, for a runner that has no database of its own.

use std::sync::Arc;
use std::time::Duration;

use super::{Needed, question};
use crate::{
    app::App,
    metrics::{Asked, Counted},
};
use annex_answering::Refusal;
use annex_core::{CallContext, Kv as _, KvError, MAX_KEY_BYTES, MAX_LISTED_KEYS, MAX_VALUE_BYTES};
use annex_grant::{
    Base64Bytes, Grant, KV_CAPABILITY, KvAnswer, KvQuestion, KvRefusalCode, LARGEST_KV_QUESTION,
};
use annex_service::RequestId;
use annex_storage::Store;
use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

/// How long a question may take to come. The store's own time comes on top, and both are less than a runner waits.
const QUESTION_WITHIN: Duration = Duration::from_secs(5);

const NEEDED: Needed =
    Needed { capability: KV_CAPABILITY, otherwise: "the Install does not let its extension store anything" };

/// `POST /v1/kv`.
pub(crate) async fn kv(State(app): State<Arc<App>>, request: Request) -> Response {
    let mut counted = app.metrics.begin(Asked::Storage("none"));
    let answered = answer_to(&app, request, &mut counted).await;
    counted.end(answered.as_ref().map_or_else(|refusal| refusal.code, |_| "Answered"));
    match answered {
        Ok(answer) => ([("cache-control", "no-store")], Json(answer)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer_to(app: &App, request: Request, counted: &mut Counted<'_>) -> Result<KvAnswer, Refusal> {
    let (parts, body) = request.into_parts();
    let grant = NEEDED.granted(app, &parts.headers)?;
    NEEDED.still_granted(app, &grant).await?;
    let storage = app.storage.as_ref().ok_or_else(not_configured)?;
    // Before the body: what is in memory is bounded for each tenant.
    let _place = storage.place(&grant.tenant).ok_or_else(too_many)?;
    let bytes = question(body, LARGEST_KV_QUESTION, QUESTION_WITHIN).await?;
    // What serde_json would say quotes the question.
    let question: KvQuestion = serde_json::from_slice(&bytes)
        .map_err(|_| Refusal::malformed(r#"the body is no question such as {"get": {"key": "a"}}"#))?;
    drop(bytes);
    counted.asked = Asked::Storage(question.operation());
    check(&question)?;
    let request_id = parts.extensions.get::<RequestId>().cloned().unwrap_or_default();
    answer(storage.store(), &context(&grant, &request_id), question).await.map_err(refused)
}

/// Whose it is. A store goes by tenant and extension alone, so that is all that the grant has to say.
fn context(grant: &Grant, request_id: &RequestId) -> CallContext {
    CallContext {
        request_id: request_id.as_str().to_owned(),
        tenant: grant.tenant.clone(),
        extension: grant.extension.clone(),
        version: String::new(),
        install: grant.install.to_string(),
        config: String::new(),
    }
}

/// The sandbox has checked it. Whoever took over a runner has not.
fn check(question: &KvQuestion) -> Result<(), Refusal> {
    let fits = |text: &str| text.len() <= MAX_KEY_BYTES;
    let is_key = |key: &str| !key.is_empty() && fits(key);
    let (keys, values): (bool, [Option<&Base64Bytes>; 2]) = match question {
        KvQuestion::Get { key } | KvQuestion::Delete { key } => (is_key(key), [None; 2]),
        KvQuestion::Set { key, value } => (is_key(key), [Some(value), None]),
        KvQuestion::CompareAndSet { key, expected, value } => (is_key(key), [Some(value), expected.as_ref()]),
        // An empty prefix is every key.
        KvQuestion::ListKeys { prefix, after, limit: _ } => {
            (fits(prefix) && after.as_deref().is_none_or(fits), [None; 2])
        }
    };
    if !keys {
        let message = format!("a key has 1 to {MAX_KEY_BYTES} bytes");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "BadKey", message));
    }
    if values.into_iter().flatten().any(|value| value.0.len() > MAX_VALUE_BYTES) {
        let message = format!("a value has at most {MAX_VALUE_BYTES} bytes");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "ValueTooLarge", message));
    }
    Ok(())
}

async fn answer(store: &Store, context: &CallContext, question: KvQuestion) -> Result<KvAnswer, KvError> {
    match question {
        KvQuestion::Get { key } => Ok(KvAnswer::Value(store.get(context, &key).await?.map(Base64Bytes))),
        KvQuestion::Set { key, value } => {
            store.set(context, &key, value.0).await?;
            Ok(KvAnswer::Done(true))
        }
        KvQuestion::CompareAndSet { key, expected, value } => {
            let expected = expected.map(|expected| expected.0);
            Ok(KvAnswer::Done(store.compare_and_set(context, &key, expected, value.0).await?))
        }
        KvQuestion::Delete { key } => {
            store.delete(context, &key).await?;
            Ok(KvAnswer::Done(true))
        }
        KvQuestion::ListKeys { prefix, after, limit } => {
            let limit = limit.min(MAX_LISTED_KEYS);
            Ok(KvAnswer::Keys(store.list_keys(context, &prefix, after.as_deref(), limit).await?))
        }
    }
}

fn refused(error: KvError) -> Refusal {
    refusal(error.into(), error.to_string())
}

fn not_configured() -> Refusal {
    refusal(KvRefusalCode::StorageNotConfigured, "the gateway has no store: --storage-url".to_owned())
}

fn refusal(code: KvRefusalCode, message: String) -> Refusal {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Refusal::new(status, code.as_str(), message)
}

fn too_many() -> Refusal {
    Refusal::busy(
        StatusCode::TOO_MANY_REQUESTS,
        "TooManyRequests",
        "too many questions of this tenant are under way",
    )
}

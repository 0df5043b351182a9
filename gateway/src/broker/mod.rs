//! What runners ask for while a call is under way.
//!
//! A runner holds no credential of a tenant, and with Knative none of the platform's database either. It presents what came with the call,
//! which only the gateway can make; whose call it is and what it may the gateway has of that alone.

mod kv;
mod order;
mod secrets;

use std::{sync::Arc, time::Duration};

use annex_answering::{Refusal, questions::ask};
use annex_apis::{FlowAction, FlowStage, Install, StageStatus, is_going, tenant_id};
use annex_grant::{BROKER_AUDIENCE, Expected, Grant, TOKEN_HEADER, UnixMillis, admit};
use axum::{body::Body, http::HeaderMap};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::{Api, ResourceExt as _};
use kube_kcp::ObjectKey;

pub(crate) use kv::kv;
pub(crate) use order::order;
pub(crate) use secrets::secret;

use crate::{app::App, refusals::body_too_slow};

/// A capability for which a call brings something for the broker.
struct Needed {
    capability: &'static str,
    /// What is said of all that is not granted: the same, so that a guest does not learn what else there is.
    otherwise: &'static str,
}

impl Needed {
    fn not_granted(&self) -> Refusal {
        Refusal::forbidden(self.otherwise)
    }

    /// What the call was granted.
    fn granted(&self, app: &App, headers: &HeaderMap) -> Result<Grant, Refusal> {
        let grant = verified(app, headers)?;
        if grant.capabilities.contains(self.capability) { Ok(grant) } else { Err(self.not_granted()) }
    }

    /// The Install, if it still grants it: what was true when the call began may have been taken back since.
    async fn still_granted(&self, app: &App, grant: &Grant) -> Result<(ObjectKey, Arc<Install>), Refusal> {
        let Some((key, mut install)) = app.installs.by_uid(grant.install.as_str()) else {
            return Err(if app.is_synced() { self.not_granted() } else { Refusal::not_synced() });
        };
        // That a handler is called is written down the moment before, and may be told here the moment after.
        if is_going(&install)
            && !is_called_away(&install)
            && is_issued_since_then(grant, &install, app.settings.skew)
        {
            install = as_it_is_now(app, &key, grant).await?.unwrap_or(install);
        }
        let tenant = app.catalog.tenants.get(key.cluster.as_str());
        let is_tenants = tenant.is_some_and(|tenant| {
            !tenant.spec.suspended && tenant_id(&tenant, &key.cluster) == grant.tenant.as_str()
        });
        let granted = install.spec.granted_capabilities.as_ref();
        let is_granted = is_tenants
            && (!is_going(&install) || is_called_away(&install))
            && install.spec.extension == grant.extension.as_str()
            && granted.is_none_or(|granted| granted.iter().any(|name| name == self.capability));
        if is_granted { Ok((key, install)) } else { Err(self.not_granted()) }
    }
}

/// What was signed for the broker.
fn verified(app: &App, headers: &HeaderMap) -> Result<Grant, Refusal> {
    let token = token(headers)?;
    with_expected(app, |expected| app.keys.get().verify(token, expected))
}

/// The same for exactly this body, and for the first time.
fn admitted(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<Grant, Refusal> {
    let token = token(headers)?;
    with_expected(app, |expected| admit(token, body, &app.keys.get(), expected, &app.orders))
}

fn token(headers: &HeaderMap) -> Result<&str, Refusal> {
    headers.get(TOKEN_HEADER).and_then(|value| value.to_str().ok()).ok_or_else(ungranted)
}

fn ungranted() -> Refusal {
    Refusal::unauthenticated("this needs the grant of a call that is under way")
}

fn with_expected(
    app: &App,
    verify: impl FnOnce(Expected<'_>) -> Result<Grant, annex_grant::Refusal>,
) -> Result<Grant, Refusal> {
    let audience = BROKER_AUDIENCE.parse().map_err(|_| Refusal::internal())?;
    let now = UnixMillis::from(std::time::SystemTime::now());
    // Both ends of it have the same keys.
    verify(Expected { audience: &audience, now, skew: app.settings.skew }).map_err(|refusal| {
        tracing::warn!(code = refusal.code(), "a grant is refused");
        ungranted()
    })
}

/// Whether a call was begun after the Install was deleted, as only those of its own handlers are. Others, which were under way, are not worth
/// a question each time that they ask for something.
fn is_issued_since_then(grant: &Grant, install: &Install, skew: Duration) -> bool {
    let Some(deleted) = &install.metadata.deletion_timestamp else { return false };
    let skew = u64::try_from(skew.as_millis()).unwrap_or(u64::MAX);
    let deleted = u64::try_from(deleted.0.as_millisecond()).unwrap_or_default();
    grant.issued.0.saturating_add(skew) >= deleted
}

/// The Install of the grant as kcp has it, if it is there.
async fn as_it_is_now(app: &App, key: &ObjectKey, grant: &Grant) -> Result<Option<Arc<Install>>, Refusal> {
    let client = (app.workspaces)(&key.cluster).map_err(|error| {
        tracing::warn!(%error, "a workspace cannot be asked");
        Refusal::kcp()
    })?;
    let installs = Api::<Install>::namespaced(client, &key.namespace);
    let found = ask("Install", installs.get_opt(&key.name)).await?;
    Ok(found.filter(|install| install.uid().as_deref() == Some(grant.install.as_str())).map(Arc::new))
}

/// Whether the Install is being deleted and its extension's own handlers are called for it. Not any longer once what it stored is being
/// removed: nothing may come after that.
fn is_called_away(install: &Install) -> bool {
    let flow = install.status.as_ref().and_then(|status| status.flow.as_ref());
    flow.is_some_and(|flow| {
        let at = |stage: &FlowStage| {
            stage.status == StageStatus::InProgress && stage.name.starts_with("Lifecycle/")
        };
        flow.action == FlowAction::Revoke && flow.finished_at.is_none() && flow.stages.iter().any(at)
    })
}

/// Reads a question.
async fn question(body: Body, most: usize, within: Duration) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(within, Limited::new(body, most).collect()).await {
        Err(_) => Err(body_too_slow()),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::too_large("the question", most as u64))
        }
        Ok(Err(_)) => Err(Refusal::malformed("the question broke off")),
    }
}

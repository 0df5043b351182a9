//! The way of one call: who, where, may they, what, and then have it executed.

use std::{sync::Arc, time::Duration};

use annex_answering::{Caller, Refusal};
use annex_apis::{Install, is_going};
use annex_core::ContentHash;
use annex_grant::{
    Audience, Base64Bytes, BodyDigest, ExecuteContext, ExecuteRequest, Grant, HttpRequest, Limits, Nonce,
    UnixMillis,
};
use annex_runner_client::{Executed, NoPlace, NotExecuted, Presented, sign};
use annex_service::{HostHeaderError, RequestId, requested_host};
use axum::{
    extract::{Request, State},
    http::{header::AUTHORIZATION, request::Parts},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use kube_kcp::{ClusterName, ObjectKey};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    answer,
    app::App,
    endpoints::{endpoint, is_public},
    heard::once_heard,
    installed::Installed,
    metrics::Asked,
    refusals::{
        bad_gateway, may_not_call, needs_identity, no_endpoint, not_installed, not_ready, runner_elsewhere,
        runner_unavailable, timed_out,
    },
    request_headers,
    target::Target,
    workspace::{agreed, named},
};

/// How much longer than the call its grant lives: it travels, and the runner may be slow to begin.
const GRANT_MARGIN: Duration = Duration::from_secs(5);

/// `ANY /api/ext/{extension}/{path…}`.
pub(crate) async fn call(State(app): State<Arc<App>>, request: Request) -> Response {
    let counted = app.metrics.begin(Asked::Call);
    let answered = answer_to(&app, request).await;
    counted.end(answered.as_ref().map_or_else(|refusal| refusal.code, |_| "Answered"));
    answered.unwrap_or_else(|refusal| {
        tracing::debug!(code = refusal.code, "refused");
        refusal.into_response()
    })
}

async fn answer_to(app: &App, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let target = Target::parse(parts.uri.path())?;
    let mut installed = admitted(app, &parts, &target).await?;
    let endpoint = endpoint(&installed.endpoints, parts.method.as_str(), &target.path);
    endpoint.ok_or_else(no_endpoint)?;
    let headers = request_headers::passed(&parts.headers)?;
    if let Some(takes) = &installed.takes {
        let more = app.parameters.read(takes).await?;
        installed.config.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    let held = app.bodies.read(&parts.headers, body, app.settings.upload).await?;
    let http = HttpRequest {
        method: parts.method.as_str().to_owned(),
        path: target.path.as_str().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers,
        body_b64: (!held.bytes.is_empty()).then(|| Base64Bytes(held.bytes.to_vec())),
    };
    let request_id = parts.extensions.get::<RequestId>().cloned().unwrap_or_default();
    execute(app, &installed, http, &request_id).await
}

/// The install that is called, once it is known that this caller may call it. Who may not learns nothing of it.
async fn admitted(app: &App, parts: &Parts, target: &Target) -> Result<Installed, Refusal> {
    let mut on_host = host_of(app, parts)?;
    let by_header = named(&parts.headers)?;
    let caller = match parts.headers.contains_key(AUTHORIZATION) {
        true => Some(app.callers.identify(&parts.headers).await?),
        false => None,
    };
    let by_token = caller.as_ref().map(Caller::home).transpose()?.flatten();
    let nobody_says = by_header.is_none() && by_token.is_none();
    if on_host.is_none() && nobody_says {
        on_host = once_heard(app, || host_of(app, parts).ok().flatten()).await;
    }
    let by_host = on_host.as_ref().map(|(key, ..)| &key.cluster);
    let workspace = agreed(by_host, by_header.as_ref(), by_token.as_ref())?;
    let Some((key, install, content)) = find(app, on_host, &workspace, target) else {
        // Some shard is not listed yet: it may be there.
        if !app.is_synced() {
            return Err(Refusal::not_synced());
        }
        return Err(match &caller {
            None => needs_identity(),
            Some(caller) if may(app, caller, &workspace, ("", "")).await? => not_installed(),
            Some(_) => may_not_call(),
        });
    };
    let dependency = |extension: &str| {
        app.installs.of_extension(&workspace, extension).into_iter().next().map(|(_, install)| install)
    };
    let as_it_is = |install: &Install| {
        Installed::of(&app.catalog, &key, install, content, app.settings.default_memory_mb, dependency)
    };
    let installed = as_it_is(&install);
    match caller {
        None => {
            // What is not known to be public is not.
            let is_public_call = installed.as_ref().is_ok_and(|installed| {
                endpoint(&installed.endpoints, parts.method.as_str(), &target.path)
                    .is_some_and(|endpoint| is_public(&installed.public, endpoint))
            });
            if !is_public_call {
                return Err(needs_identity());
            }
        }
        // Before a right is asked for: in kcp, ServiceAccounts have the same names in each workspace.
        Some(caller) => {
            if !may(app, &caller, &workspace, (&key.namespace, &key.name)).await? {
                return Err(may_not_call());
            }
        }
    }
    if !comes_up(&install) {
        return installed;
    }
    // Only now: who may not call it does not learn that it is coming up. And this very one, whoever has its host by then.
    let is_up = |now: &Arc<Install>| now.metadata.uid == install.metadata.uid && !comes_up(now);
    let heard = once_heard(app, || app.installs.index.get(&key).filter(is_up)).await;
    heard.map_or(installed, |now| as_it_is(&now))
}

async fn may(
    app: &App,
    caller: &Caller,
    workspace: &ClusterName,
    install: (&str, &str),
) -> Result<bool, Refusal> {
    // `agreed` has refused it already; it must not depend on that.
    if caller.is_foreign_to(workspace) {
        return Ok(false);
    }
    app.rights.may_invoke(caller, workspace, install).await
}

type OnHost = (ObjectKey, Arc<Install>, ContentHash);

/// Whether it is about to answer: it has its host, and not yet what executes it.
fn comes_up(install: &Install) -> bool {
    let status = install.status.as_ref();
    status.is_some_and(|status| !status.routes.is_empty() && status.runner_ref.is_none())
        && !is_going(install)
}

/// The install whose own host was asked. None: it is the gateway's host, or none that is known.
fn host_of(app: &App, parts: &Parts) -> Result<Option<OnHost>, Refusal> {
    match requested_host(&parts.uri, &parts.headers) {
        Ok(host) => Ok(app.installs.on_host(&host)),
        // By its address: what no install has.
        Err(HostHeaderError::Malformed(annex_core::HostNameError::Ipv6)) => Ok(None),
        Err(error) => Err(Refusal::malformed(error.to_string())),
    }
}

/// On an install's own host there is that one alone. Elsewhere, of several in the workspace the one that answers.
fn find(
    app: &App,
    on_host: Option<OnHost>,
    workspace: &ClusterName,
    target: &Target,
) -> Option<(ObjectKey, Arc<Install>, Option<ContentHash>)> {
    let extension = target.extension.as_str();
    match on_host {
        Some((key, install, content)) => {
            (install.spec.extension == extension).then_some((key, install, Some(content)))
        }
        None => {
            let installs = app.installs.of_extension(workspace, extension);
            let answers =
                |(_, install): &&(ObjectKey, Arc<Install>)| !annex_apis::routes_of_status(install).is_empty();
            let chosen = installs.iter().find(answers).or(installs.first());
            chosen.map(|(key, install)| (key.clone(), install.clone(), None))
        }
    }
}

async fn execute(
    app: &App,
    installed: &Installed,
    http: HttpRequest,
    request_id: &RequestId,
) -> Result<Response, Refusal> {
    let place = app.runners.of(installed.runner.as_ref()).map_err(|none| match none {
        NoPlace::Unknown => not_ready("RunnerUnknown"),
        NoPlace::Elsewhere => runner_elsewhere(),
    })?;
    let whole = u32::try_from(app.settings.timeout.as_millis()).unwrap_or(u32::MAX);
    let limits = Limits {
        timeout_ms: installed.timeout_ms.map_or(whole, |own| own.min(whole)),
        memory_mb: installed.memory_mb,
        fuel: None,
    };
    let identity = &installed.identity;
    let request = ExecuteRequest {
        context: ExecuteContext {
            request_id: request_id.as_str().to_owned(),
            tenant_id: identity.tenant_id.clone(),
            extension_id: identity.extension_id.clone(),
            install_id: installed.id.clone(),
            content_hash: identity.content_hash,
            version: installed.version.clone(),
            config: installed.config.clone(),
        },
        http,
        limits,
    };
    let body = Bytes::from(serde_json::to_vec(&request).map_err(|_| Refusal::internal())?);
    drop(request);
    let presented = presented(app, installed, limits, &place.audience, &body)?;
    let started = Instant::now();
    let executed = app.runners.execute(&place, &presented, body, request_id, app.settings.timeout).await;
    let answered = told(executed);
    let status = answered.as_ref().map_or_else(|refusal| refusal.status, Response::status).as_u16();
    tracing::info!(
        tenant = %identity.tenant_id, extension = %identity.extension_id, version = installed.version,
        content = %identity.content_hash, status, milliseconds = started.elapsed().as_millis(), "called"
    );
    answered
}

fn presented(
    app: &App,
    installed: &Installed,
    limits: Limits,
    audience: &Audience,
    body: &[u8],
) -> Result<Presented, Refusal> {
    let now = UnixMillis::from(std::time::SystemTime::now());
    let grant = Grant {
        audience: audience.clone(),
        tenant: installed.identity.tenant_id.clone(),
        install: installed.id.clone(),
        extension: installed.identity.extension_id.clone(),
        content: installed.identity.content_hash,
        capabilities: installed.capabilities.clone(),
        limits,
        nonce: Nonce(Uuid::new_v4().into_bytes()),
        issued: now,
        expires: now.after(app.settings.timeout + GRANT_MARGIN),
        body: BodyDigest::of(body),
    };
    sign(&app.keys.get(), &grant, false).map_err(|error| {
        tracing::error!(%error, "a grant cannot be signed");
        Refusal::internal()
    })
}

fn told(executed: Result<Executed, NotExecuted>) -> Result<Response, Refusal> {
    match executed {
        Ok(Executed::Answer(answer)) => answer::guest(answer).map_err(|error| {
            tracing::warn!(%error, "a guest's answer is not passed on");
            bad_gateway()
        }),
        Ok(Executed::Refused { error, retry_after }) => {
            tracing::info!(code = error.code.as_str(), message = ?error.message, "the runner refuses");
            Err(answer::refused(&error, retry_after))
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), "not executed");
            Err(match error {
                NotExecuted::Unreachable(_) => runner_unavailable(),
                NotExecuted::Timeout => timed_out(),
                NotExecuted::BrokeOff(_) | NotExecuted::TooLarge(_) | NotExecuted::Malformed => bad_gateway(),
            })
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

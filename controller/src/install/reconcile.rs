use std::{sync::Arc, time::Duration};

use annex_apis::{INSTALL_FINALIZER, Install};
use annex_core::HostName;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube_kcp::{ObjectKey, Outcome};

use super::{
    conditions::{Because, Findings, Stage},
    facts::{Facts, NotYet, dereference},
    resolve::{Resolved, resolve},
    status::{Done, Held, status, suspended, turned},
    writes::Writer,
};
use crate::{api_writes::WriteError, context::Context, runner::ProbeError, triggers::rank};

/// A Ready install is looked at again after this, though nothing was reported.
const RESYNC: Duration = Duration::from_secs(600);
/// An Install that nobody but its author can mend is looked at again after this; what mends it usually wakes it sooner.
const REFUSED_RESYNC: Duration = Duration::from_secs(300);

/// What is to happen after the status is written.
enum Next {
    Resync(Duration),
    /// Nothing that is watched will tell: try again with backoff.
    Retry,
}

pub(crate) async fn reconcile(context: &Context, key: &ObjectKey) -> Outcome {
    let Some(install) = context.tenants.installs.get(key) else {
        release(context, key);
        return Outcome::Done;
    };
    if !context.tenants.is_synced(&key.shard) {
        return Outcome::Again(Duration::from_millis(500));
    }
    let result = if install.metadata.deletion_timestamp.is_some() {
        delete(context, key, &install).await
    } else {
        apply(context, key, install).await
    };
    match result {
        Ok(outcome) => outcome,
        Err(error) if error.is_gone() => Outcome::Done,
        Err(error) if error.is_conflict() => {
            tracing::debug!(install = %key, "changed meanwhile; looked at again");
            Outcome::Failed
        }
        Err(error) => {
            tracing::warn!(install = %key, %error, "the Install is tried again");
            Outcome::Failed
        }
    }
}

/// Everything that the Install held is free again.
fn release(context: &Context, key: &ObjectKey) {
    context.routes.remove(key);
    context.wake(context.host_claims.release(key));
    context.wake(context.extension_claims.release(key));
}

async fn delete(context: &Context, key: &ObjectKey, install: &Install) -> Result<Outcome, WriteError> {
    release(context, key);
    if install.finalizers().iter().any(|finalizer| finalizer == INSTALL_FINALIZER) {
        let client = context.connection.workspace(&key.shard, &key.cluster)?;
        Writer { client, writes: &context.writes }.let_go(install).await?;
        tracing::info!(install = %key, extension = install.spec.extension, "uninstalled");
    }
    Ok(Outcome::Done)
}

async fn apply(context: &Context, key: &ObjectKey, install: Arc<Install>) -> Result<Outcome, WriteError> {
    let facts = match dereference(context, key, install.clone()) {
        Ok(facts) => facts,
        Err(NotYet::Unbound) => return Ok(Outcome::Again(REFUSED_RESYNC)),
        Err(NotYet::NoTenant) => return Ok(Outcome::Again(Duration::from_secs(1))),
    };
    let writer =
        Writer { client: context.connection.workspace(&key.shard, &key.cluster)?, writes: &context.writes };
    // Before anything is held that a deletion must give back.
    let held = install.finalizers().iter().any(|finalizer| finalizer == INSTALL_FINALIZER);
    let install = if held { install } else { Arc::new(writer.hold(&install).await?) };

    let installed = install.status.as_ref().is_some_and(|status| status.installed_version.is_some());
    let (status, next) = if install.spec.suspend && installed && !facts.tenant.spec.suspended {
        (suspended(&install, Timestamp::now()), Next::Resync(RESYNC))
    } else {
        let mut findings = Findings::default();
        let (done, next) = if install.spec.suspend {
            findings.refused(
                Stage::Resolved,
                Because::new("Suspended", "nothing is installed while spec.suspend is true"),
            );
            (Done::default(), Next::Resync(RESYNC))
        } else {
            install_it(context, &facts, &mut findings).await
        };
        let answering = context.routes.has(key) && done.host.is_none();
        (status(&install, &findings, &done, answering, Timestamp::now()), next)
    };
    if install.status.as_ref() != Some(&status) {
        let turned = turned(install.status.as_ref(), &status).cloned();
        writer.status(&install, status).await?;
        if let Some(ready) = turned {
            tracing::info!(install = %key, extension = install.spec.extension, ready = ready.status, reason = ready.reason, "the Install");
            writer.event(&install, &ready).await;
        }
    }
    Ok(match next {
        Next::Resync(after) => Outcome::Again(after),
        Next::Retry => Outcome::Failed,
    })
}

async fn install_it(context: &Context, facts: &Facts, findings: &mut Findings) -> (Done, Next) {
    let key = &facts.key;
    let Some(resolved) = resolve(facts, &context.domain.root, findings) else {
        if facts.tenant.spec.suspended {
            // What was installed stops answering; who holds which host stays as it is.
            context.routes.remove(key);
        }
        return (Done::default(), Next::Resync(REFUSED_RESYNC));
    };
    if !hold_host(context, facts, &resolved.host) {
        context.routes.remove(key);
        findings.refused(
            Stage::DomainReady,
            Because::new(
                "DomainConflict",
                format!(
                    "the host name {} is taken; ask the platform's operator for another slug",
                    resolved.host
                ),
            ),
        );
        return (Done::default(), Next::Resync(REFUSED_RESYNC));
    }
    context.routes.set(key, &resolved.host, resolved.identity.clone());
    let url = context.domain.url(&resolved.host);
    let answers = answers(context, &resolved, findings).await;
    let done = Done { host: Some(Held { resolved, url }), answers };
    (done, if answers { Next::Resync(RESYNC) } else { Next::Retry })
}

/// Whether the Install has its host name, now or already.
fn hold_host(context: &Context, facts: &Facts, host: &HostName) -> bool {
    let recorded =
        facts.install.status.as_ref().and_then(|status| status.host.as_deref()) == Some(host.as_str());
    let verdict = context.host_claims.claim(host, &facts.key, rank(&facts.install, !recorded));
    context.wake(verdict.wake);
    verdict.holder == facts.key
}

async fn answers(context: &Context, resolved: &Resolved, findings: &mut Findings) -> bool {
    match context.runner.probe(&resolved.host, &resolved.identity).await {
        Ok(()) => {
            findings.passed(
                Stage::DomainReady,
                Because::new("DomainAnswers", format!("{} answers", resolved.host)),
            );
            findings
                .passed(Stage::RunnerReady, Because::new("RunnerAnswers", "the runner serves this install"));
            findings.passed(
                Stage::Installed,
                Because::new("Installed", format!("version {} is installed", resolved.version)),
            );
            true
        }
        Err(error @ ProbeError::Unreachable) => {
            findings.passed(
                Stage::DomainReady,
                Because::new("DomainHeld", format!("{} is this install's", resolved.host)),
            );
            findings.refused(
                Stage::RunnerReady,
                Because::new("RunnerUnreachable", format!("{error}; it is tried again by itself")),
            );
            false
        }
        Err(error) => {
            context.runner.forget(&resolved.host);
            findings.refused(
                Stage::DomainReady,
                Because::new("DomainNotAnswering", format!("{error}; it is tried again by itself")),
            );
            false
        }
    }
}

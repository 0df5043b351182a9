use std::{sync::Arc, time::Duration};

use annex_apis::{INSTALL_FINALIZER, Install};
use annex_core::HostName;
use jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use kube_kcp::{Brief, ObjectKey, Outcome};

use super::{
    answer::{Answer, answer},
    conditions::{Because, Findings, Stage},
    facts::{Facts, NotYet, dereference, recorded_host, route_of_status},
    resolve::resolve,
    site::Site,
    status::{Done, Held, Recorded, status, suspended, turned, uninstalling},
    undo::{tidy, undo},
    writes::Writer,
};
use crate::{api_writes::WriteError, compute::Undone, context::Context, triggers::rank};

/// A Ready install is looked at again after this, though nothing was reported.
const RESYNC: Duration = Duration::from_secs(600);
/// An Install that nobody but its author can mend is looked at again after this; what mends it usually wakes it sooner.
const REFUSED_RESYNC: Duration = Duration::from_secs(300);

/// What an undo waits for is looked at again after this; the watch usually tells sooner.
const UNDO_RESYNC: Duration = Duration::from_secs(30);

/// Nobody has failed: a new shard is being listed, which takes kcp seconds for the first binding of a schema. With backoff the
/// first Install on it would wait for half a minute longer.
pub(crate) const NOT_LISTED_YET: Outcome = Outcome::Again(Duration::from_secs(1));

/// What is to happen after the status is written.
enum Next {
    Resync(Duration),
    /// Nothing that is watched will tell: try again with backoff.
    Retry,
}

pub(crate) async fn reconcile(context: &Context, key: &ObjectKey) -> Outcome {
    let Some(install) = context.tenants.installs.get(key) else {
        return gone(context, key).await;
    };
    if !context.tenants.is_synced(&key.shard) {
        return NOT_LISTED_YET;
    }
    let result = if install.metadata.deletion_timestamp.is_some() {
        delete(context, key, &install).await
    } else {
        apply(context, key, install).await
    };
    match result {
        Ok(outcome) => outcome,
        Err(error) if error.is_gone() && context.tenants.installs.get(key).is_none() => Outcome::Done,
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

/// The Install is in no list any more. Where the server reported its deletion, that is that. Where a relist just did not hold
/// it, its workspace is asked first: a list that is empty by a fault must not give every host away.
async fn gone(context: &Context, key: &ObjectKey) -> Outcome {
    if context.vanished.lock().contains(key) {
        let asked = match context.connection.workspace(&key.shard, &key.cluster) {
            Ok(client) => Api::<Install>::namespaced(client, &key.namespace).get_opt(&key.name).await,
            Err(error) => {
                tracing::warn!(install = %key, %error, "it cannot be asked whether it is gone");
                return Outcome::Failed;
            }
        };
        match asked {
            Ok(None) => {}
            // The workspace itself is gone, or no longer ours to see.
            Err(kube::Error::Api(status)) if status.code == 403 => {}
            Ok(Some(_)) => {
                tracing::warn!(install = %key, "a list did not hold it, but it is there");
                return Outcome::Failed;
            }
            Err(error) => {
                tracing::warn!(install = %key, error = %Brief(&error), "it cannot be asked whether it is gone");
                return Outcome::Failed;
            }
        }
        context.vanished.lock().remove(key);
    }
    release(context, key);
    Outcome::Done
}

/// Everything that the Install held is free again.
fn release(context: &Context, key: &ObjectKey) {
    silence(context, key);
    context.wake(context.host_claims.release(key));
    context.wake(context.extension_claims.release(key));
}

/// The Install answers nowhere; what it holds stays its own.
fn silence(context: &Context, key: &ObjectKey) {
    if let Some(host) = context.routes.remove(key)
        && let Some(runner) = &context.runner
    {
        runner.forget(&host);
    }
}

async fn delete(context: &Context, key: &ObjectKey, install: &Install) -> Result<Outcome, WriteError> {
    silence(context, key);
    let ours = install.finalizers().iter().any(|finalizer| finalizer == INSTALL_FINALIZER);
    if !ours {
        release(context, key);
        return Ok(Outcome::Done);
    }
    let writer =
        Writer { client: context.connection.workspace(&key.shard, &key.cluster)?, writes: &context.writes };
    if let Undone::Waiting(what) = undo(context, key, install).await? {
        let status = uninstalling(install, &what, Timestamp::now());
        if install.status.as_ref() != Some(&status) {
            writer.status(install, status).await?;
        }
        return Ok(Outcome::Again(UNDO_RESYNC));
    }
    // Not before: who gets the host next must not find the former mapping of it.
    release(context, key);
    close_unused(context, key, install);
    writer.let_go(install).await?;
    tracing::info!(install = %key, extension = install.spec.extension, "uninstalled");
    Ok(Outcome::Done)
}

/// A cluster that no Install runs on any more is not followed any longer.
fn close_unused(context: &Context, key: &ObjectKey, install: &Install) {
    let spec = install.spec.environment_ref.as_ref().map(|environment| &environment.name);
    let recorded =
        install.status.as_ref().and_then(|status| status.runner_ref.as_ref()?.environment.as_ref());
    for name in spec.into_iter().chain(recorded) {
        let environment = ObjectKey { name: name.clone(), ..key.clone() };
        if context.installs_naming(&environment).iter().all(|other| other == key) {
            context.places.close(&environment);
        }
    }
}

async fn apply(context: &Context, key: &ObjectKey, install: Arc<Install>) -> Result<Outcome, WriteError> {
    let facts = match dereference(context, key, install.clone()) {
        Ok(facts) => facts,
        Err(NotYet::Unbound) => return Ok(Outcome::Again(REFUSED_RESYNC)),
        // It comes through its own watch, which wakes this.
        Err(NotYet::NoTenant) => return Ok(Outcome::Failed),
        Err(NotYet::Listing) => return Ok(NOT_LISTED_YET),
    };
    let writer =
        Writer { client: context.connection.workspace(&key.shard, &key.cluster)?, writes: &context.writes };
    // Before anything is held that a deletion must give back.
    let held = install.finalizers().iter().any(|finalizer| finalizer == INSTALL_FINALIZER);
    let install = if held { install } else { Arc::new(writer.hold(&install).await?) };

    let now = Timestamp::now();
    let installed = install.status.as_ref().is_some_and(|status| status.installed_version.is_some());
    let (status, next) = if install.spec.suspend && installed && !facts.tenant.spec.suspended {
        (suspended(&install, keep_answering(context, &facts), now), Next::Resync(RESYNC))
    } else {
        let mut findings = Findings::default();
        let (done, next) = if install.spec.suspend && !facts.tenant.spec.suspended {
            findings.refused(
                Stage::Resolved,
                Because::new("Suspended", "nothing is installed while spec.suspend is true"),
            );
            (Done::default(), Next::Resync(RESYNC))
        } else {
            install_it(context, &facts, &mut findings).await?
        };
        let recorded = match findings.refusal() {
            // Who is suspended, and what is known to be bad, does not go on answering.
            Some("TenantSuspended" | "VerificationFailed") => {
                silence(context, key);
                Recorded::Silent
            }
            Some(_) if done.host.is_none() => keep_answering(context, &facts),
            Some(_) => Recorded::Silent,
            None => Recorded::Answers,
        };
        if !installed && done.host.is_none() {
            // Who cannot be installed must not keep another from being it. What it waits for itself stays claimed.
            release_unused(context, &facts);
        }
        (status(&install, &findings, &done, recorded, now), next)
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

async fn install_it(
    context: &Context,
    facts: &Facts,
    findings: &mut Findings,
) -> Result<(Done, Next), WriteError> {
    let key = &facts.key;
    let refused = || Ok((Done::default(), Next::Resync(REFUSED_RESYNC)));
    let Some(resolved) = resolve(facts, &context.domain.root, findings) else { return refused() };
    let host = resolved.host.clone();
    if let Err(holder) = hold_host(context, facts, &host) {
        let message = if holder.cluster == key.cluster {
            format!(
                "the host name {host} is that of the Install {}/{} in this workspace; ask the platform's operator to give one of \
                 the extensions another slug",
                holder.namespace, holder.name
            )
        } else {
            format!("the host name {host} is taken; ask the platform's operator for another slug")
        };
        findings.refused(Stage::DomainReady, Because::new("DomainConflict", message));
        return refused();
    }
    context.routes.set(key, &host, resolved.identity.clone());
    let (answers, next) = match answer(context, facts, &resolved, findings).await {
        Answer::Yes(runner) => (Some(runner), Next::Resync(RESYNC)),
        Answer::Watched => (None, Next::Resync(REFUSED_RESYNC)),
        Answer::No => (None, Next::Retry),
        Answer::Taken => return refused(),
    };
    // Only who has won the new host lets go of the former.
    context.wake(context.host_claims.keep_only(&host, key));
    let certificate = matches!(&facts.site, Site::Cluster(place, _) if place.has_certificate());
    let url = context.domain.url(&host, certificate);
    let mut done = Done { host: Some(Held { resolved, url }), answers };
    if let (Site::Cluster(place, _), Some(runner)) = (&facts.site, &mut done.answers)
        && tidy(context, key, &facts.install, place, &host).await? != Undone::Done
    {
        // The status must not forget where the install was before nothing is left there.
        if let Some(before) = facts.install.status.as_ref().and_then(|status| status.runner_ref.clone()) {
            *runner = before;
        }
        return Ok((done, Next::Resync(UNDO_RESYNC)));
    }
    Ok((done, next))
}

/// Makes the Install the host's holder, or says who is. The former host is kept.
fn hold_host(context: &Context, facts: &Facts, host: &HostName) -> Result<(), ObjectKey> {
    let recorded = recorded_host(&facts.install).as_ref() == Some(host);
    let verdict = context.host_claims.claim(host, &facts.key, rank(&facts.install, !recorded));
    context.wake(verdict.wake);
    if verdict.holder != facts.key {
        return Err(verdict.holder);
    }
    Ok(())
}

/// What was refused is a change; what is installed goes on answering, if its host is still its own.
fn keep_answering(context: &Context, facts: &Facts) -> Recorded {
    let (key, install) = (&facts.key, &facts.install);
    let held = recorded_host(install).filter(|host| context.host_claims.holds(host, key));
    match held.clone().zip(route_of_status(&context.catalog, key, install)) {
        Some((host, identity)) => {
            context.routes.set(key, &host, identity);
            Recorded::Answers
        }
        None => {
            silence(context, key);
            if held.is_some() { Recorded::Silent } else { Recorded::Lost }
        }
    }
}

fn release_unused(context: &Context, facts: &Facts) {
    let (key, resource) = (&facts.key, (facts.key.cluster.clone(), facts.install.spec.extension.clone()));
    if context.extension_claims.holds(&resource, key) {
        context.wake(context.extension_claims.release(key));
    }
}
